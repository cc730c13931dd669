"""mmaffnet.create_model: the same numbers as the hosts' models, and every kind of checkpoint."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmaffnet
from mmaffnet.engine.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = dict(et=1_436_264, t=2_654_232, base=5_568_696)   # Table 2 in full
CHANNELS = dict(et=[32, 48, 64, 104, 144], t=[32, 48, 96, 160, 192], base=[32, 64, 128, 256, 320])


@pytest.mark.parametrize('arch', PARAMETERS)
def test_the_same_numbers_as_the_model_of_our_config(arch, config_root):
    pytest.importorskip('mmpretrain')
    from mmpretrain.registry import MODELS
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(config_root / 'imagenet' / f'affnet-{arch}_8xb128-300e_in1k-256px.py')
    host = MODELS.build(cfg.model).eval()
    plain = mmaffnet.create_model(f'affnet_{arch}', checkpoint=host.state_dict()).eval()
    assert set(plain.state_dict()) == set(host.state_dict())
    assert sum(p.numel() for p in plain.parameters()) == PARAMETERS[arch]
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), host(x), rtol=0, atol=0)
        maps = mmaffnet.create_model(f'affnet_{arch}', features_only=True, checkpoint=host.state_dict()).eval()(x)
        _, want = plain.forward_intermediates(x)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 96 // s, 64 // s) for c, s in zip(CHANNELS[arch], (2, 4, 8, 16, 32), strict=True)]
    for got, expected in zip(maps, want, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_it_starts_as_the_config_does():
    model = mmaffnet.create_model('affnet_et')
    weight = model.backbone.layer_5[0].expand_conv.conv.weight   # 208 outputs of 1x1
    assert weight.std().item() == pytest.approx((2 / 208) ** 0.5, rel=0.05)
    assert model.head.fc.weight.std().item() == pytest.approx(0.02, rel=0.05) and (model.head.fc.bias == 0).all()
    assert model.backbone.layer_3[1].blocks[0].token_mixer.w1.std().item() == pytest.approx(0.02, rel=0.1)


def test_no_host_and_no_compiled_operator_is_imported():
    """In a process where they cannot be: what mmcv-lite and no host would be."""
    code = '''
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmpretrain', 'mmdet', 'mmseg', 'timm') or name in ('mmcv.ops', 'mmcv._ext'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Absent())
import mmaffnet
assert 'mmaffnet.factory' not in sys.modules and 'mmaffnet.checkpoint' not in sys.modules
import torch
model = mmaffnet.create_model('affnet_et', token_norm_cfg=dict(type='mmaffnet.ChannelNorm'))
print(tuple(model(torch.rand(2, 3, 64, 64)).shape))
'''
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, cwd=ROOT)
    assert done.stdout == '(2, 1000)\n', done.stderr


def test_an_installed_host_is_not_imported_for_nothing():
    code = ("import sys, mmaffnet; mmaffnet.create_model('affnet_et'); "
            "print([name for name in ('mmpretrain', 'mmdet', 'mmseg', 'timm') if name in sys.modules])")
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, cwd=ROOT)
    assert done.stdout == '[]\n', done.stderr


# Checkpoints


@pytest.fixture(scope='module')
def released(reference, reference_weights):
    data = reference('cls_et.pt')
    return data, reference_weights.state_dict(data['spec'])


@pytest.fixture
def converted(released, tmp_path, capsys):
    from mmaffnet.engine.released import convert_file
    torch.save(released[1], tmp_path / 'source.pt')
    convert_file(tmp_path / 'source.pt', tmp_path / 'et.pth', 'channel', 'relu', safetensors='')
    capsys.readouterr()
    return tmp_path / 'et.pth'


def reference_case(data, norm, act):
    return next(case for case in data['cases'] if (
        case['options']['attn_norm_layer'], case['options']['activation'], case['options']['filter_activation'],
        case['options']['variant']) == (norm, act, act, 'release'))


def check(model, case, weights):
    with torch.no_grad():
        got = model.eval()(weights.image(case['input']['shape'], case['input']['seed']))
    torch.testing.assert_close(got, case['outputs']['logits'], rtol=case['rtol'], atol=case['atol']['logits'])


def test_released_layout(released, reference_weights, tmp_path, capsys):
    data, state = released
    torch.save(dict(model_state_dict={key: v + 1 for key, v in state.items()}, ema_state_dict=state), tmp_path / 'c.pt')
    model = mmaffnet.create_model('affnet_et', checkpoint=tmp_path / 'c.pt')
    said = capsys.readouterr().out
    assert 'taken: ema_state_dict' in said and 'SiLU and group norm, which the tensors do not tell' in said
    check(model, reference_case(data, 'layer_norm_2d', 'swish'), reference_weights)
    relu = dict(act_cfg=dict(type='ReLU'), token_mixer=dict(type='AFF', act_cfg=dict(type='ReLU')))
    model = mmaffnet.create_model('affnet_et', checkpoint=state, **relu)
    check(model, reference_case(data, 'layer_norm_2d', 'relu'), reference_weights)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_converted_weights_bring_their_wiring_norm_and_activation(suffix, released, converted, reference_weights):
    model = mmaffnet.create_model('affnet_et', checkpoint=converted.with_suffix(suffix))
    check(model, reference_case(released[0], 'layer_norm', 'relu'), reference_weights)
    with pytest.raises(UserError, match="variant='paper' does not fit checkpoint .*'release': leave variant out"):
        mmaffnet.create_model('affnet_et', checkpoint=converted.with_suffix(suffix), variant='paper')


def test_a_checkpoint_of_our_runs_brings_what_its_config_says(config_root, capsys):
    cfg = Config.fromfile(config_root / 'imagenet' / 'affnet-et_release_3rdparty_in1k-256px.py')
    state = mmaffnet.create_model('affnet_et', variant='release').state_dict()
    # as mmengine writes it with an averaging hook: the average under state_dict, the trained model beside it
    checkpoint = dict(meta=dict(cfg=cfg.pretty_text), state_dict=state, ema_state_dict=dict(steps=torch.tensor(3)),
                      optimizer={})
    model = mmaffnet.create_model('affnet_et', checkpoint=checkpoint)
    block = model.backbone.layer_4[1].blocks[2]
    assert block.variant == 'release' and block.token_mixer.with_skip
    assert isinstance(block.token_mixer.act, torch.nn.SiLU)
    with pytest.raises(UserError, match="variant='paper' does not fit the checkpoint"):
        mmaffnet.create_model('affnet_et', variant='paper', checkpoint=checkpoint)
    cfg = Config.fromfile(config_root / 'imagenet' / 'affnet-et_8xb128-300e_in1k-256px.py')
    with pytest.raises(UserError, match="variant='release' does not fit .* of 'paper'"):
        mmaffnet.create_model('affnet_et', variant='release',
                              checkpoint=dict(checkpoint, meta=dict(cfg=cfg.pretty_text)))
    mmaffnet.create_model('affnet_et', checkpoint=dict(checkpoint, meta=dict(cfg='model = dict(type=x)')))
    assert 'the config in the checkpoint cannot be read' in capsys.readouterr().out
    assert mmaffnet.create_model('affnet_et', checkpoint=dict(state_dict=state)).backbone.layer_3[1].blocks[0].variant \
        == 'paper', 'a file that says nothing is what the default is'


def test_another_number_of_classes_gets_a_fresh_classifier_and_says_so(converted, capsys):
    model = mmaffnet.create_model('affnet_et', num_classes=7, checkpoint=converted).eval()
    assert 'its classifier has 1000 classes, the model 7: a fresh classifier' in capsys.readouterr().out
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7) and (model.head.fc.bias == 0).all()
    held = torch.load(converted, weights_only=True)['state_dict']
    assert all(torch.equal(value, held[key]) for key, value in model.state_dict().items() if 'head' not in key)


def test_parts_without_a_place_are_left_and_named(converted, capsys):
    mmaffnet.create_model('affnet_et', num_classes=0, checkpoint=converted)
    assert 'not used: head.fc\n' in capsys.readouterr().out
    mmaffnet.create_model('affnet_et', features_only=True, out_indices=(2, 3), checkpoint=converted)
    assert 'not used: backbone.conv_1x1_exp, backbone.layer_5, head.fc\n' in capsys.readouterr().out
    state = {f'module.{key}': value for key, value in torch.load(converted, weights_only=True)['state_dict'].items()
             if 'head' not in key and 'conv_1x1_exp' not in key} | {'module.neck.x': torch.zeros(1)}
    mmaffnet.create_model('affnet_et', features_only=True, checkpoint=dict(state_dict=state))   # of a detector
    assert 'not used: neck.x\n' in capsys.readouterr().out


def test_a_backbone_alone(converted):
    state = {key.removeprefix('backbone.'): value for key, value in torch.load(
        converted, weights_only=True)['state_dict'].items() if key.startswith('backbone.')}
    model = mmaffnet.create_model('affnet_et', num_classes=0, checkpoint=state)
    assert torch.equal(model.state_dict()['backbone.conv_1.conv.weight'], state['conv_1.conv.weight'])
    with pytest.raises(UserError, match=r'head\.fc\.weight, head\.fc\.bias\); num_classes=0 and reset_classifier'):
        mmaffnet.create_model('affnet_et', checkpoint=state)


def test_what_does_not_fit_is_named(converted, tmp_path):
    state = torch.load(converted, weights_only=True)['state_dict']
    key = 'backbone.layer_4.1.fusion.conv.weight'
    for change, hint in (({}, 'missing in the file'), ({key: torch.zeros(2)}, r'of another shape .*\(2,\) instead of'),
                         ({key: state[key], 'backbone.layer_6.weight': torch.zeros(1)}, 'layer_6')):
        with pytest.raises(UserError, match=hint):
            mmaffnet.create_model('affnet_et', checkpoint={**{k: v for k, v in state.items() if k != key}, **change})
    with pytest.raises(UserError, match=r'et\.pth does not fit the model: \d+ tensors of another shape'):
        mmaffnet.create_model('affnet_t', checkpoint=converted)
    with pytest.raises(UserError, match='none.pth not found'):
        mmaffnet.create_model('affnet_t', checkpoint=tmp_path / 'none.pth')
    with pytest.raises(UserError, match='no checkpoint of AFFNet: no state dict found.*epoch'):
        mmaffnet.create_model('affnet_t', checkpoint=dict(epoch=1))
    with pytest.raises(ValueError, match='name must be one of affnet_et, affnet_t, affnet_base.*affnet_xl'):
        mmaffnet.create_model('affnet_xl')


# The modules


def test_head_and_features():
    model = mmaffnet.create_model('affnet_et', num_classes=10, drop_rate=0.5, in_chans=1).eval()
    x = torch.rand(2, 1, 64, 96)
    features = model.forward_features(x)
    assert features.shape == (2, 576, 2, 3) and model.num_features == 576
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, features.mean((2, 3)))
    torch.testing.assert_close(model(x), pooled @ model.head.fc.weight.T + model.head.fc.bias)
    assert model.get_classifier() is model.head.fc and model.head.drop.p == 0.5
    model.double().reset_classifier(3)
    assert model(x.double()).shape == (2, 3) and model.num_classes == 3
    model.reset_classifier(0)
    torch.testing.assert_close(model(x.double()), model.forward_features(x.double()).mean((2, 3)))
    model.reset_classifier(0, '')
    assert model(x.double()).shape == (2, 576, 2, 3)
    with pytest.raises(ValueError, match="global_pool='' leaves a map, which needs num_classes=0; got 3"):
        model.reset_classifier(3)
    with pytest.raises(ValueError, match="global_pool must be one of .*'max'"):
        model.reset_classifier(0, 'max')


def test_feature_info_is_true():
    x = torch.rand(1, 3, 64, 64)
    model = mmaffnet.create_model('affnet_base', features_only=True, out_indices=(-1, 1), output_stride=16)
    maps = model.eval()(x)
    assert [m.shape[1] for m in maps] == model.feature_info.channels() == [320, 64]
    assert [64 // m.shape[2] for m in maps] == model.feature_info.reduction() == [16, 4]
    assert model.feature_info.module_name() == ['backbone.layer_5', 'backbone.layer_2']
    assert model.feature_info.channels(0) == 32 and model.feature_info.channels([2, 3]) == [128, 256]
    assert len(model.feature_info) == 5 and model.feature_info[4]['reduction'] == 16
    shallow = mmaffnet.create_model('affnet_base', features_only=True, out_indices=(0,))
    assert not hasattr(shallow.backbone, 'layer_2') and shallow(x)[0].shape == (1, 32, 32, 32)
    for wrong in ((5,), (0, 0), (-6,), (), 9):
        with pytest.raises(ValueError, match='out_indices must be different numbers from -5 to 4'):
            mmaffnet.create_model('affnet_base', features_only=True, out_indices=wrong)


def test_recomputing_changes_nothing_but_memory():
    model = mmaffnet.create_model('affnet_et', num_classes=3).eval()
    other = copy.deepcopy(model)
    other.set_grad_checkpointing()
    assert sum(getattr(module, 'with_cp', False) for module in other.modules()) > 20
    x = torch.rand(1, 3, 64, 64)
    for net in (model, other):
        net(x).sum().backward()
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
