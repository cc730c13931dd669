"""Released state dicts of every task, size and container; what does not fit is named."""

import json
import re
from pathlib import Path

import pytest
import torch

from mmaffnet import AFFNet
from mmaffnet.checkpoint import convert_backbone_state, convert_release, convert_release_state_dict

KEYS = json.loads((Path(__file__).resolve().parents[1] / 'data' / 'reference' / 'keys.json').read_text())
BASE_MODE = dict(channels=(16, 64, 128, 256, 512, 640), expand_ratio=4, fusion=(True, False, False))
LARGE_MODE = dict(channels=(16, 64, 128, 256, 512, 768), expand_ratio=4, fusion=(True, False, False), mbconvs=(2, 6),
                  blocks=(4, 18, 6))
# README of the reference: parameters with the classifier of 1000 classes
TOLD = {
    'classification mode xx_small': ('classification', 'et', 1000, 1_436_264),
    'classification mode x_small': ('classification', 't', 1000, 2_654_232),
    'classification mode small': ('classification', 'base', 1000, 5_568_696),
    'classification mode base': ('classification', BASE_MODE, 1000, 17_178_104),
    'classification mode large': ('classification', LARGE_MODE, 1000, 46_068_088),
    'deeplabv3 mode xx_small, 150 classes, aspp 512, aux head': ('segmentation', 'et', 150, 4_446_508),
    'deeplabv3 mode xx_small, 150 classes, aspp 256, aux head': ('segmentation', 'et', 150, 2_352_940),
    'ssd mode xx_small, 81 classes': ('detection', 'et', 80, 1_659_386),
}
BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def shapes_only(name):
    """A state dict of a row of keys.json without data."""
    state = {}
    for key, shape, dtype in (row.split() for row in KEYS[name]['keys']):
        size = () if shape == 'scalar' else tuple(map(int, shape.split('x')))
        state[key] = torch.empty(size, dtype=getattr(torch, dtype), device='meta')
    return state


@pytest.fixture(scope='module')
def classifier():
    return shapes_only('classification mode xx_small')


@pytest.mark.parametrize('name', TOLD)
def test_task_and_size_are_told_from_keys_and_shapes(name):
    task, arch, num_classes, parameters = TOLD[name]
    weights = convert_release(shapes_only(name))
    assert (weights.task, weights.arch, weights.num_classes) == (task, arch, num_classes)
    assert len(weights.state_dict) == KEYS[name]['entries']
    numbers = sum(value.numel() for key, value in weights.state_dict.items() if not key.endswith(BUFFERS))
    assert numbers == parameters == KEYS[name]['parameters']


@pytest.mark.parametrize('name', ['classification mode base', 'classification mode large'])
def test_the_larger_modes_load_into_our_backbone(name):
    weights = convert_release(shapes_only(name))
    with torch.device('meta'):
        net = AFFNet(weights.arch, variant='release', out_indices=5)
    net.load_state_dict({key.removeprefix('backbone.'): value for key, value in weights.state_dict.items()
                         if key.startswith('backbone.')}, strict=True, assign=True)


# A made-up size: the release's names are made here from ours, by other means than the converter's.


def released_names(net, state):
    def rename(key):
        if match := re.fullmatch(r'(layer_(\d)\.1)\.norm\.(\w+)', key):
            return f'{match[1]}.global_rep.{net.arch["blocks"][int(match[2]) - 3]}.{match[3]}'
        key = re.sub(r'\.conv\.weight$', '.block.conv.weight', key)
        key = re.sub(r'\.bn\.', '.block.norm.', key)
        for ours, theirs in (('expand_conv', 'block.exp_1x1'), ('depthwise_conv', 'block.conv_3x3'),
                             ('linear_conv', 'block.red_1x1'), ('blocks', 'global_rep'), ('token_mixer', 'filter')):
            key = key.replace(f'.{ours}.', f'.{theirs}.')
        return key

    return {rename(key): value for key, value in state.items()}


@pytest.mark.parametrize('arch', [
    dict(channels=(8, 16, 24, 32, 40, 48), expand_ratio=3),
    dict(channels=(8, 16, 24, 64, 72, 80), expand_ratio=1, mlp_ratio=1, exp_channels=128),
    dict(channels=(24, 16, 40, 48, 64, 96), expand_ratio=2.5, mlp_ratio=4, mbconvs=(3, 1), blocks=(1, 2, 5),
         fusion=(False, True, False)),
])
def test_a_size_of_ones_own(arch):
    torch.manual_seed(0)
    net = AFFNet(arch, variant='release', out_indices=5).eval()
    width = arch.get('exp_channels') or 4 * arch['channels'][5]
    head = {'classifier.fc.weight': torch.rand(7, width), 'classifier.fc.bias': torch.rand(7)}
    weights = convert_release({**released_names(net, net.state_dict()), **head})
    assert weights.num_classes == 7 and weights.model['head'] == dict(num_classes=7, in_channels=width)
    other = AFFNet(weights.arch, variant='release', out_indices=5).eval()
    assert other.arch == net.arch
    other.load_state_dict({key.removeprefix('backbone.'): value for key, value in weights.state_dict.items()
                           if key.startswith('backbone.')})
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)


# Containers



@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('container', [None, 'model_state_dict', 'ema_state_dict', 'ema_model_state_dict'])
def test_containers_and_prefixes(container, prefix, classifier, capsys):
    state = {prefix + key: value for key, value in classifier.items()}
    converted = convert_release_state_dict(state if container is None else {container: state})
    assert list(converted)[0] == 'backbone.conv_1.conv.weight' and list(converted)[-1] == 'head.fc.bias'
    assert len(converted) == len(classifier)
    assert capsys.readouterr().out == '', 'nothing was chosen'


@pytest.mark.parametrize('ema', ['ema_state_dict', 'ema_model_state_dict'])
def test_of_the_trainers_checkpoint_the_average_is_taken_and_said(ema, capsys):
    rows = [row.split() for row in KEYS['classification mode xx_small']['keys']]
    trained, averaged = (
        {key: torch.full(() if shape == 'scalar' else tuple(map(int, shape.split('x'))), value)
         for key, shape, _ in rows} for value in (1., 2.))
    converted = convert_release_state_dict(dict(
        iterations=5, epoch=1, model_state_dict=trained, optim_state_dict=dict(state={}, param_groups=[]),
        best_metric=70.0, gradient_scalar_state_dict={}, **{ema: averaged}))
    assert all((value == 2).all() for value in converted.values())
    said = capsys.readouterr().out
    assert f'taken: {ema} (the averaged model, EMA); left: model_state_dict' in said


def test_a_trainer_without_average_writes_the_model(classifier, capsys):
    converted = convert_release_state_dict(dict(model_state_dict=classifier, ema_state_dict=None, epoch=2))
    assert len(converted) == len(classifier) and capsys.readouterr().out == ''


@pytest.mark.parametrize(('source', 'hint'), [
    ({}, 'it is empty'), ([1], 'got a list'), (dict(epoch=3, loss=0.5), 'epoch, loss are no tensors'),
    (dict(model_state_dict=dict(a=1)), 'under model_state_dict: a are no tensors')])
def test_what_holds_no_state_dict_is_refused(source, hint):
    with pytest.raises(ValueError, match=hint):
        convert_release_state_dict(source)


# Strictness


@pytest.mark.parametrize('name', ['classification mode xx_small', 'ssd mode xx_small, 81 classes',
                                  'deeplabv3 mode xx_small, 150 classes, aspp 256, aux head'])
def test_every_missing_misshapen_and_unknown_key_is_named(name):
    """Some of the backbone, and all convolutions of the heads, whose widths have few witnesses."""
    state = shapes_only(name)
    keys = [key for k, key in enumerate(state) if k % 40 == 0 or (
        'norm' not in key and not key.startswith(('layer_', 'encoder.')))]
    for key in keys:
        with pytest.raises(KeyError, match=re.escape(key)):
            convert_release_state_dict({k: v for k, v in state.items() if k != key})
        wrong = torch.empty(3, *state[key].shape, device='meta')
        with pytest.raises((KeyError, ValueError), match=re.escape(key)):
            convert_release_state_dict({**state, key: wrong})
    for key in ('other.weight', 'layer_1.7.block.exp_1x1.block.conv.weight', 'classifier.fc.scale'):
        with pytest.raises(KeyError, match=re.escape(f'1 unknown: {key}')):
            convert_release_state_dict({**state, key: torch.empty(1, device='meta')})


@pytest.mark.parametrize('leaf', ['conv.weight', 'norm.weight', 'norm.running_var'])
def test_one_tensor_of_another_width_is_the_wrong_one_not_all_others(leaf, classifier):
    key = f'layer_3.0.block.red_1x1.block.{leaf}'
    shape = (72, *classifier[key].shape[1:])
    with pytest.raises(ValueError, match=rf'1 of another shape: {re.escape(key)} \(72.* instead of \(64') as error:
        convert_release_state_dict({**classifier, key: torch.empty(shape, device='meta')})
    assert 'AFFNet et' in str(error.value)


def test_a_projection_that_is_gone_is_named():
    state = shapes_only('ssd mode xx_small, 81 classes')
    with pytest.raises(KeyError, match=r'6 missing: ssd_heads\.0\.proj_layer'):
        convert_release_state_dict({key: v for key, v in state.items() if not key.startswith('ssd_heads.0.proj')})


def test_a_truncated_file_names_what_is_gone(classifier):
    keys = list(classifier)
    for end in (1, 50, 150, 300, len(keys) - 1):
        with pytest.raises(KeyError, match='missing') as error:
            convert_release_state_dict({key: classifier[key] for key in keys[:end]})
        assert any(key in str(error.value) for key in keys[end:])


def test_two_closing_norms_do_not_hide_each_other(classifier):
    norm = {'layer_3.1.global_rep.9.weight': torch.empty(64, device='meta')}
    with pytest.raises(KeyError, match='unknown: layer_3.1.global_rep.9.weight'):
        convert_release_state_dict({**classifier, **norm})
    backbone = {key: value for key, value in classifier.items() if not key.startswith('classifier')}
    with pytest.raises(KeyError, match=r'more than one closing norm.*global_rep\.9'):
        convert_backbone_state({**backbone, **norm})


def test_other_layouts_are_named(classifier):
    with pytest.raises(KeyError, match='in our layout already'):
        convert_release_state_dict(convert_release_state_dict(classifier))
    with pytest.raises(KeyError, match='of no released model'):
        convert_release_state_dict({'features.0.weight': torch.zeros(1)})


# Heads of other sizes


def test_a_detector_of_other_widths_and_classes(classifier):
    state = shapes_only('ssd mode xx_small, 81 classes')
    for key, value in state.items():   # 20 classes and background; all widths 512 on the first level become 384
        shape = [384 if size == 512 else {510: 6 * 25, 340: 4 * 25}.get(size, size) for size in value.shape] \
            if key.startswith('ssd_heads.') else value.shape
        state[key] = torch.empty(tuple(shape), dtype=value.dtype, device='meta')
    weights = convert_release(dict(reversed(state.items())))   # the order of a file means nothing
    assert weights.num_classes == 20
    assert weights.model['bbox_head'] == dict(
        num_classes=20, in_channels=(104, 144, 256, 128, 128, 64), feat_channels=(384, 256, 256, 128, 128, 64))
    assert weights.state_dict['neck.extra_layers.0.pointwise_conv.conv.weight'].shape == (256, 144, 1, 1)
    assert weights.state_dict['neck.extra_layers.3.1.conv.weight'].shape == (64, 128, 1, 1)


def test_a_segmentor_without_auxiliary_head():
    state = shapes_only('deeplabv3 mode xx_small, 150 classes, aspp 256, aux head')
    weights = convert_release({key: value for key, value in state.items() if 'aux_head' not in key})
    assert weights.model['auxiliary_head'] is None
    assert weights.model['decode_head'] == dict(in_channels=144, channels=256, num_classes=150)
    assert not any(key.startswith('auxiliary_head') for key in weights.state_dict)
