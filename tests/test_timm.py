"""AFFNet as a model of timm, used as timm's users do."""

import sys
import warnings

import pytest
import torch

from mmaffnet import create_model

timm = pytest.importorskip('timm')
import mmaffnet.timm  # noqa: E402

NAMES = ['affnet_base', 'affnet_et', 'affnet_t']


def test_listed_and_found():
    assert timm.list_models('affnet*') == NAMES and all(map(timm.is_model, NAMES))
    assert timm.list_models('affnet*', pretrained=True) == [], 'no weights are published'
    assert sys.modules['timm'] is timm and mmaffnet.timm.__name__ == 'mmaffnet.timm'


@pytest.mark.parametrize('name', NAMES)
def test_the_same_as_ours(name):
    ours = create_model(name, num_classes=10).eval()
    model = timm.create_model(name, num_classes=10).eval()
    model.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(x), ours(x), rtol=0, atol=0)
        torch.testing.assert_close(model.forward_head(model.forward_features(x)), model(x), rtol=0, atol=0)
    assert model.num_features == ours.num_features and model.num_classes == 10


def test_data_config_is_the_papers():
    model = timm.create_model('affnet_t')
    cfg = timm.data.resolve_data_config({}, model=model)
    assert cfg == dict(input_size=(3, 256, 256), interpolation='bicubic', mean=(0., 0., 0.), std=(1., 1., 1.),
                       crop_pct=pytest.approx(256 / 288), crop_mode='center')
    resize = timm.data.create_transform(**cfg).transforms[0]
    assert resize.size == 288
    assert model.default_cfg['classifier'] == 'head.fc' and model.default_cfg['first_conv'] == 'backbone.conv_1.conv'
    assert model.get_submodule('backbone.conv_1.conv').in_channels == 3


@pytest.mark.parametrize(('pool', 'shape'), [('avg', (1, 768)), ('', (1, 768, 2, 2))])
def test_without_classifier(pool, shape):
    model = timm.create_model('affnet_t', num_classes=0, global_pool=pool)
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == shape


@pytest.mark.parametrize('out_indices', [None, (1, 3), (-2,)])
def test_features_only(out_indices):
    ours = create_model('affnet_et')
    kwargs = {} if out_indices is None else dict(out_indices=out_indices)
    model = timm.create_model('affnet_et', features_only=True, **kwargs).eval()
    missing = model.model.load_state_dict(ours.state_dict(), strict=False).missing_keys
    assert missing == []
    x = torch.rand(1, 3, 64, 64)
    maps = model(x)
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [64 // m.shape[2] for m in maps] == model.feature_info.reduction()
    want = create_model('affnet_et', features_only=True, checkpoint=ours.state_dict(), **kwargs).eval()(x)
    for got, expected in zip(maps, want, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_forward_intermediates():
    model = timm.create_model('affnet_et').eval()
    x = torch.rand(1, 3, 64, 64)
    last, maps = model.forward_intermediates(x, indices=2)
    torch.testing.assert_close(last, model.forward_features(x))
    assert [tuple(m.shape[1:]) for m in maps] == [(104, 4, 4), (144, 2, 2)]
    assert len(model.forward_intermediates(x, indices=[0], stop_early=True, intermediates_only=True)) == 1
    assert model.prune_intermediate_layers([0, 2]) == [0, 2] and not hasattr(model.backbone, 'layer_4')
    assert model(x).shape == (1, 64, 8, 8) and model.num_features == 64


def test_own_options_and_files(tmp_path, reference, reference_weights):
    """``variant`` is our wiring, though timm has an argument of that name; converted weights load as any file."""
    from mmaffnet.engine.released import convert_file
    data = reference('cls_et.pt')
    torch.save(reference_weights.state_dict(data['spec']), tmp_path / 'released.pt')
    convert_file(tmp_path / 'released.pt', tmp_path / 'et.pth')
    silu = dict(type='AFF', act_cfg=dict(type='SiLU'))
    case = next(case for case in data['cases'] if case['options'] == dict(
        case['options'], variant='release', attn_norm_layer='layer_norm_2d', activation='swish',
        filter_activation='swish'))
    x = reference_weights.image(case['input']['shape'], case['input']['seed'])
    for how in (dict(checkpoint_path=str(tmp_path / 'et.pth')),
                dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / 'et.pth')))):
        model = timm.create_model('affnet_et', variant='release', token_mixer=silu, **how).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(x), case['outputs']['logits'], rtol=case['rtol'],
                                       atol=case['atol']['logits'])
    fewer = timm.create_model('affnet_et', variant='release', num_classes=5, drop_rate=0.1, drop_path_rate=0.1, **how)
    assert fewer.head.fc.out_features == 5


def test_optimizer_groups():
    from timm.models import group_parameters
    from timm.optim import create_optimizer_v2
    model = timm.create_model('affnet_et', num_classes=3)
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=0.05)
    spared = {names[id(p)] for group in optimizer.param_groups if group['weight_decay'] == 0 for p in group['params']}
    assert {'backbone.layer_3.1.blocks.0.token_mixer.b1', 'head.fc.bias'} <= spared
    assert not {name for name in spared if name.endswith(('w1', 'w2', 'conv.weight'))}
    # from the stem on, blocks of a stage after its MBConv and before its fusion, the classifier last
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    order = ['backbone.conv_1.conv.weight', 'backbone.layer_1.0.linear_conv.conv.weight',
             'backbone.layer_2.2.linear_conv.conv.weight', 'backbone.layer_3.0.linear_conv.conv.weight',
             'backbone.layer_3.1.blocks.0.norm1.weight', 'backbone.layer_3.1.blocks.1.norm1.weight',
             'backbone.layer_3.1.fusion.conv.weight', 'backbone.layer_4.0.linear_conv.conv.weight',
             'backbone.layer_5.1.conv_proj.conv.weight', 'head.fc.weight']
    numbers = [layers[name] for name in order]
    assert numbers == sorted(set(numbers))
    assert layers['backbone.conv_1x1_exp.conv.weight'] == layers['head.fc.weight']


def test_importing_twice_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        import mmaffnet.timm as again
    assert again is mmaffnet.timm
