"""Blocks, stages and classifiers against numbers of the authors' code."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmaffnet import AFFNet
from mmaffnet.checkpoint import convert_backbone_key, convert_backbone_state, convert_classifier_state
from mmaffnet.models.layers import AFFBlock, AFFStage, ChannelNorm
from mmaffnet.models.token_mixers.aff import AFF

ARCHS = {'xx_small': 'et', 'x_small': 't', 'small': 'base'}
ACTS = {'relu': dict(type='ReLU'), 'swish': dict(type='SiLU')}
NORMS = {'layer_norm_2d': dict(type='GN', num_groups=1), 'layer_norm': dict(type='mmaffnet.ChannelNorm')}


def settings(options: dict) -> dict:
    return dict(variant=options['variant'], act_cfg=ACTS[options['activation']],
                token_mixer=dict(type='AFF', act_cfg=ACTS[options['filter_activation']]),
                token_norm_cfg=NORMS[options['attn_norm_layer']])


def close(case: dict, got: dict) -> None:
    for key, want in case['outputs'].items():
        value = got[key]
        if case['steps'][key] is not None:
            value = value[tuple(slice(None, None, step) for step in case['steps'][key])]
        torch.testing.assert_close(value, want, rtol=case['rtol'], atol=case['atol'][key])


def image(weights, case: dict) -> torch.Tensor:
    return weights.image(case['input']['shape'], case['input']['seed']) * case['input'].get('scale', 1.)


def strict_load(module: nn.Module, state: dict) -> nn.Module:
    module.load_state_dict(state, strict=True)
    return module.eval()


def test_blocks(reference, reference_weights):
    """Every case of block.pt: block, stage unit and norm, in both variants, norms and activations."""
    kinds = []
    for case in reference('block.pt')['cases']:
        options = case['options']
        state = reference_weights.state_dict(options['spec'])
        kinds.append(options['kind'])
        if options['kind'] == 'norm':
            norm = ChannelNorm(options['dim']) if options['attn_norm_layer'] == 'layer_norm' \
                else nn.GroupNorm(1, options['dim'])
            module = strict_load(norm, state)
        else:
            cfg = settings(options)
            if options['variant'] == 'release':
                cfg['token_mixer'].update(softshrink=0.01, with_skip=True)
            if options['kind'] == 'block':
                prefix, module = 'layer_3.1.global_rep.0.', AFFBlock(options['dim'], **cfg)
                ours = 'layer_3.1.blocks.0.'
            else:
                prefix, ours = 'layer_3.1.', 'layer_3.1.'
                module = AFFStage(options['dim'], [0.] * options['blocks'],
                                  with_fusion=any(row[0].startswith('fusion') for row in options['spec']), **cfg)
            state = convert_backbone_state({prefix + key: value for key, value in state.items()})
            strict_load(module, {key.removeprefix(ours): value for key, value in state.items()})
        with torch.no_grad():
            close(case, dict(output=module(image(reference_weights, case))))
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {'block': 16, 'aff_block': 16, 'norm': 4}


def test_stages(reference, reference_weights):
    data = reference('stages_et.pt')
    state = convert_backbone_state(reference_weights.state_dict(
        [row for row in data['spec'] if not row[0].startswith('classifier')]))
    names = ('layer_1', 'layer_2', 'layer_3', 'layer_4', 'layer_5', 'conv_1x1_exp')
    for case in data['cases']:
        net = strict_load(AFFNet('et', out_indices=range(6), **settings(case['options'])), state)
        with torch.no_grad():
            close(case, dict(zip(names, net(image(reference_weights, case)), strict=True)))


@pytest.mark.parametrize('transform', ['auto', 'dft'])
@pytest.mark.parametrize('name', ['et', 't', 'base'])
def test_classifiers(name, transform, reference, reference_weights):
    data = reference(f'cls_{name}.pt')
    state = convert_classifier_state(reference_weights.state_dict(data['spec']))
    backbone = {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}
    assert len(state) == len(data['spec']) == len(backbone) + 2
    cases = data['cases'] if transform == 'auto' else data['cases'][::5]
    for case in cases:
        cfg = settings(case['options'])
        cfg['token_mixer']['transform'] = transform
        net = strict_load(AFFNet(ARCHS[case['options']['mode']], out_indices=5, **cfg), backbone)
        with torch.no_grad():
            features = net(image(reference_weights, case))[0].mean((2, 3))
            close(case, dict(logits=F.linear(features, state['head.fc.weight'], state['head.fc.bias'])))


def test_conversion_is_strict(reference, reference_weights):
    state = reference_weights.state_dict([row for row in reference('stages_et.pt')['spec']
                                          if not row[0].startswith('classifier')])
    assert convert_backbone_key('seg_head.aspp.weight') is None
    with pytest.raises(KeyError, match='layer_9.0.weight'):
        convert_backbone_state({**state, 'layer_9.0.weight': torch.zeros(1)})
    converted = convert_backbone_state(state)
    assert len(converted) == len(state)
    assert set(converted) == set(AFFNet('et', out_indices=5).state_dict())


def test_mask_is_sparse_in_the_release():
    """The reference README: with these weights 4–9 % of the mask's real numbers are zeroed by SoftShrink."""
    torch.manual_seed(0)
    mixer = AFF(64, softshrink=0.01, init_std=0.2)
    mask = torch.view_as_real(mixer.mask(torch.fft.rfft2(torch.rand(1, 64, 16, 16), norm='ortho')))
    assert 0 < (mask == 0).float().mean() < 0.2


def test_reference_weights_are_the_known_ones(reference_weights):
    """Known answers of the generator, which every parity test relies on."""
    assert reference_weights.bits('conv_1.block.conv.weight', 3).tolist() == [
        11226485538328026371, 9236082829764842319, 4178327474615283652]
