"""The backbone: counts, arguments, layouts, freezing, fusing, tracing, registries."""

import copy
import subprocess
import sys

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn

import mmaffnet
from mmaffnet import AFFNet
from mmaffnet.models.layers import AFFBlock, MBConv
from mmaffnet.models.token_mixers import AFF
from mmaffnet.registry import TOKEN_MIXERS

CHANNELS = {'et': (32, 48, 64, 104, 144, 576), 't': (32, 48, 96, 160, 192, 768), 'base': (32, 64, 128, 256, 320, 960)}
SMALL = dict(channels=(8, 8, 8, 16, 16, 16), expand_ratio=2, blocks=(1, 1, 1))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def randomise(net: nn.Module) -> nn.Module:
    """Give norms and mixers numbers that show: a fresh net's mixers nearly vanish."""
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, AFF):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize('variant', ['paper', 'release'])
@pytest.mark.parametrize('arch, stages, full', [
    ('et', 775_168, 859_264), ('t', 1_736_240, 1_885_232), ('base', 4_298_576, 4_607_696)])
def test_parameters(arch, stages, full, variant):
    assert count(AFFNet(arch, variant=variant)) == stages
    assert count(AFFNet(arch, variant=variant, out_indices=5)) == full


def test_parameters_of_the_release_larger_modes():
    """17,178,104 and 46,068,088 with a classifier of 1000 classes: `keys.json`."""
    base = dict(channels=(16, 64, 128, 256, 512, 640), expand_ratio=4, fusion=(True, False, False))
    large = dict(base, channels=(16, 64, 128, 256, 512, 768), mbconvs=(2, 6), blocks=(4, 18, 6))
    assert count(AFFNet(base, out_indices=5)) + 961_000 == 17_178_104
    assert count(AFFNet(large, out_indices=5)) + 961_000 == 46_068_088


@pytest.mark.parametrize('size', [(64, 64), (65, 97), (32, 32), (33, 160)])
@pytest.mark.parametrize('arch', ['et', 't', 'base'])
def test_output_shapes(arch, size):
    net = AFFNet(arch, out_indices=range(6)).eval()
    with torch.no_grad():
        outs = net(torch.rand(1, 3, *size))
    strides = (2, 4, 8, 16, 32, 32)
    for out, channels, stride in zip(outs, CHANNELS[arch], strides, strict=True):
        assert out.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize('given, meant', [(5, (5, )), (-1, (5, )), ((4, 2), (4, 2)), ([-2, 0], (4, 0)), (0, (0, ))])
def test_out_indices(given, meant):
    net, every = AFFNet(SMALL, out_indices=given).eval(), AFFNet(SMALL, out_indices=range(6)).eval()
    every.load_state_dict(net.state_dict(), strict=False)
    assert hasattr(net, 'conv_1x1_exp') == (5 in meant)
    net.load_state_dict(every.state_dict(), strict=5 in meant)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for got, index in zip(net(x), meant, strict=True):
            torch.testing.assert_close(got, every(x)[index])


def test_output_stride():
    x = torch.rand(1, 3, 64, 96)
    for stride, sides in ((32, ((8, 12), (4, 6), (2, 3))), (16, ((8, 12), (4, 6), (4, 6))),
                          (8, ((8, 12), (8, 12), (8, 12)))):
        net = AFFNet(SMALL, output_stride=stride).eval()
        with torch.no_grad():
            assert tuple(out.shape[2:] for out in net(x)) == sides
        dilated = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
        assert dilated == (['layer_5.0.depthwise_conv.conv'] if stride == 8 else [])


@pytest.mark.parametrize('cfg, word', [
    (dict(arch='xl'), 'base'), (dict(arch=dict(channels=(1, 2))), 'expand_ratio'),
    (dict(arch=dict(SMALL, blocks=(1, 1))), '3 entries'), (dict(arch=dict(SMALL, blocks=(1, 0, 1))), '1 or more'),
    (dict(arch=dict(SMALL, depth=3)), 'channels'),
    (dict(variant='authors'), 'release'), (dict(out_indices=6), '-6 to 5'), (dict(out_indices=()), '-6 to 5'),
    (dict(out_indices=(4, -2)), 'different'), (dict(output_stride=4), '16'), (dict(frozen_stages=7), '-1'),
    (dict(frozen_stages=True), 'frozen_stages'), (dict(drop_path_rate=1.), 'less than 1'), (dict(img_size=16), '32'),
    (dict(arch='et', token_mixer=dict(type='AFF', groups=7)), 'groups'), (dict(order='both'), 'token_first'),
    (dict(channel_mixer='mlp'), 'ffn'), (dict(variant='release', order='token_first'), "variant='paper'")])
def test_bad_arguments_say_what_is_allowed(cfg, word):
    with pytest.raises(ValueError, match=word):
        AFFNet(**cfg)


@pytest.mark.parametrize('cfg', [
    dict(variant='release'), dict(token_mixer=dict(type='AFF', softshrink=0.1)), dict(act_cfg=dict(type='ReLU')),
    dict(token_norm_cfg=dict(type='mmaffnet.ChannelNorm')), dict(token_norm_cfg=dict(type='GN', num_groups=4)),
    dict(norm_cfg=dict(type='BN', eps=0.1)), dict(output_stride=8), dict(arch=dict(SMALL, fusion=(True, True, False))),
    dict(order='token_first')])
def test_arguments_change_the_output(cfg):
    net = randomise(AFFNet(SMALL)).eval()
    other = AFFNet(**{'arch': SMALL, **cfg}).eval()
    other.load_state_dict(net.state_dict(), strict='arch' not in cfg)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        got, plain = other(x)[-1], net(x)[-1]
    assert got.shape != plain.shape or not torch.allclose(got, plain, atol=1e-4)


def test_release_is_a_preset_that_options_override():
    net = AFFNet(SMALL, variant='release', token_mixer=dict(type='AFF', softshrink=0.))
    mixer = next(m for m in net.modules() if isinstance(m, AFF))
    assert mixer.with_skip and mixer.shrink is None
    mixer = next(m for m in AFFNet(SMALL, variant='release').modules() if isinstance(m, AFF))
    assert mixer.with_skip and mixer.shrink.lambd == 0.01
    assert not next(m for m in AFFNet(SMALL).modules() if isinstance(m, AFF)).with_skip


def test_paper_block_is_equation_8():
    block = randomise(AFFBlock(16, dict(type='AFF'))).eval()
    x = torch.randn(1, 16, 9, 7)

    def layer_norm(value, norm):
        mean, var = value.mean((1, 2, 3), keepdim=True), value.var((1, 2, 3), keepdim=True, correction=0)
        return (value - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]

    with torch.no_grad():
        hat = block.mlp(layer_norm(x, block.norm1)) + x
        torch.testing.assert_close(block(x), block.token_mixer(layer_norm(hat, block.norm2)) + hat)
        assert not block.mlp.with_skip


def test_mbconv_refuses_an_impossible_skip():
    with pytest.raises(ValueError, match='stride 2'):
        MBConv(8, 8, 2, stride=2, with_skip=True)


def test_drop_path():
    net = AFFNet(SMALL, drop_path_rate=0.6)
    rates = [getattr(m.drop_path, 'drop_prob', 0) for m in net.modules() if isinstance(m, AFFBlock)]
    assert rates == pytest.approx([0, 0.3, 0.6])
    x = torch.rand(4, 3, 64, 64)
    net.norm_eval = True
    net.train()
    assert not torch.equal(net(x)[-1], net(x)[-1])
    net.eval()
    assert torch.equal(net(x)[-1], net(x)[-1])


@pytest.mark.parametrize('frozen', [-1, 0, 2, 6])
def test_frozen_stages(frozen):
    net = AFFNet(SMALL, frozen_stages=frozen, out_indices=range(6)).train()
    names = ('conv_1', 'layer_1', 'layer_2', 'layer_3', 'layer_4', 'layer_5', 'conv_1x1_exp')
    before = copy.deepcopy(net.state_dict())
    outs = net(torch.rand(2, 3, 64, 64))
    if frozen < 6:
        sum(out.square().mean() for out in outs).backward()
        torch.optim.SGD([p for p in net.parameters() if p.grad is not None], 0.1).step()
    for k, name in enumerate(names):
        module = getattr(net, name)
        assert module.training == (k > frozen)
        moved = any(not torch.equal(value, before[f'{name}.{key}']) for key, value in module.state_dict().items())
        assert moved == (k > frozen), name


def test_norm_eval():
    net = AFFNet(SMALL, norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and net.training
    assert all(m.training for m in AFFNet(SMALL).train().modules())


def test_with_cp_gives_the_same_gradients():
    net = randomise(AFFNet(SMALL, norm_eval=True)).train()
    other = AFFNet(SMALL, norm_eval=True, with_cp=True).train()
    other.load_state_dict(net.state_dict())
    x = torch.rand(2, 3, 64, 64)
    saved = []
    for model in (net, other):
        # MBConvs recompute only where something before them trains: the stem does
        bytes_kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, b=bytes_kept: (b.append(t.numel()), t)[1], lambda t: t):
            model(x)[-1].square().mean().backward()
        saved.append(sum(bytes_kept))
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert saved[1] < saved[0] / 2


def test_gradients_reach_every_parameter():
    net = AFFNet('et', out_indices=5).train()
    net(torch.rand(2, 3, 64, 64))[0].square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initialisation():
    net = AFFNet('base')
    for value in net.parameters():
        value.data.fill_(7)
    net.init_weights()
    conv = net.layer_4[1].fusion.conv
    fan_out = conv.out_channels
    assert conv.weight.std().item() == pytest.approx((2 / fan_out)**0.5, rel=0.03)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            assert bool((module.weight == 1).all()) and bool((module.bias == 0).all())
        if isinstance(module, AFF):
            for parameter in module.parameters():
                assert parameter.std().item() == pytest.approx(0.02, rel=0.2)


def test_init_cfg_reaches_every_convolution(tmp_path):
    net = AFFNet(SMALL, init_cfg=dict(type='Constant', val=0.25, layer='Conv2d'))
    net.init_weights()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(bool((m.weight == 0.25).all()) for m in convs)
    convs[0].weight.data.fill_(3)
    net.init_weights()   # a second time: what has been trained meanwhile stays
    assert bool((convs[0].weight == 3).all())
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    other = AFFNet(SMALL, init_cfg=[dict(type='Constant', val=1, layer='Conv2d'),
                                    dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth'))])
    other.init_weights()
    for key, value in other.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key


@pytest.mark.parametrize('variant', ['paper', 'release'])
def test_fused_and_channels_last_agree(variant):
    net = randomise(AFFNet('et', variant=variant, out_indices=(2, 3, 4, 5))).eval()
    x = torch.rand(2, 3, 65, 96)
    fused = fuse_conv_bn(copy.deepcopy(net))
    # all that can be fused: no batch norm is left
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    last = copy.deepcopy(fused).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        want = net(x)
        for model, inp in ((fused, x), (last, x.contiguous(memory_format=torch.channels_last))):
            for got, value in zip(model(inp), want, strict=True):
                torch.testing.assert_close(got, value, rtol=1e-3, atol=1e-3 * value.std().item())


def test_channels_last_is_kept():
    net = AFFNet('et').eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        outs = net(torch.rand(2, 3, 96, 96).contiguous(memory_format=torch.channels_last))
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in outs)


@pytest.mark.filterwarnings('ignore')
def test_trace_and_export():
    net = randomise(AFFNet('et')).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        want = net(x)
        for model in (torch.jit.trace(net, x), torch.export.export(net, (x, )).module()):
            for got, value in zip(model(x), want, strict=True):
                torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-4)
        other = torch.rand(2, 3, 80, 33)
        for got, value in zip(torch.jit.trace(net, x)(other), net(other), strict=True):
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-4)


def test_autocast():
    net = randomise(AFFNet('et')).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        out = net(x)[-1]
    with torch.no_grad():
        want = net(x)[-1]
    assert (out.float() - want).std() < 0.1 * want.std()


def test_mixer_bound_to_a_size_gets_its_map_size():
    seen = []

    @TOKEN_MIXERS.register_module(name='SizeBoundForTest')
    class SizeBound(nn.Identity):
        needs_map_size = True

        def __init__(self, embed_dims, map_size):
            super().__init__()
            seen.append(map_size)

    try:
        AFFNet(SMALL, token_mixer=dict(type='SizeBoundForTest'), img_size=(64, 97))
        assert seen == [(8, 13), (4, 7), (2, 4)]
        seen.clear()
        AFFNet(SMALL, token_mixer=dict(type='SizeBoundForTest'), img_size=64, output_stride=8)
        assert seen == [(8, 8), (8, 8), (8, 8)]
        with pytest.raises(ValueError, match='img_size'):
            AFFNet(SMALL, token_mixer=dict(type='SizeBoundForTest'))
    finally:
        TOKEN_MIXERS.module_dict.pop('SizeBoundForTest')


HOSTS = ('mmpretrain', 'mmdet', 'mmseg')


def run_python(code: str, cwd, **env) -> str:
    result = subprocess.run([sys.executable, '-c', code], cwd=cwd, text=True, capture_output=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize('host', HOSTS)
def test_builds_through_host_registries(host, tmp_path):
    """In a process that has imported nothing, from an empty directory."""
    code = f'''
import {host}.registry as r
net = r.MODELS.build(dict(type='mmaffnet.AFFNet', arch='et'))
print(sum(p.numel() for p in net.parameters()))
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
import_modules_from_strings(['mmaffnet'])
net = r.MODELS.build(dict(type='AFFNet', arch='et'))
print(type(net).__module__)
'''
    assert run_python(code, tmp_path).split() == ['775168', 'mmaffnet.models.backbones.affnet']


def test_backbone_needs_no_host_and_no_compiled_ops(tmp_path):
    code = '''
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmdet', 'mmseg', 'mmpretrain') or name.startswith('mmcv._ext'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Block())
import mmaffnet, mmengine.registry, torch
net = mmengine.registry.MODELS.build(dict(type='mmaffnet.AFFNet', arch='et')).eval()
print(net(torch.rand(1, 3, 32, 32))[-1].shape[1], 'mmcv.ops' in sys.modules)
try:
    mmengine.registry.MODELS.build(dict(type='mmaffnet.SSDLiteHead'))
except Exception as error:
    text = ''
    while error is not None:
        text, error = text + str(error), error.__cause__ or error.__context__
    print('needs mmdet' in text)
'''
    assert run_python(code, tmp_path).split() == ['144', 'False', 'True']


def test_every_part_for_detection_is_known_where_it_cannot_be_imported():
    pytest.importorskip('mmdet')
    from mmaffnet.models import data_preprocessors, dense_heads, necks, task_modules
    parts = {name for package in (data_preprocessors, dense_heads, necks, task_modules) for name in package.__all__}
    assert set(mmaffnet._DETECTION_PARTS) == {*parts, 'CocoDataset'}


@pytest.mark.parametrize('broken', ['mmcv', 'mmdet'])
def test_failing_import_is_named(broken, tmp_path):
    """A host that is there but cannot be imported must not end as "not in the registry"."""
    (tmp_path / broken).mkdir()
    (tmp_path / broken / '__init__.py').write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    kind = 'AFFNet' if broken == 'mmcv' else 'SSDLiteHead'
    code = f'''
import sys
sys.path.insert(0, {str(tmp_path)!r})
import mmengine.registry
try:
    mmengine.registry.MODELS.build(dict(type='mmaffnet.{kind}'))
except Exception as error:
    text = ''
    while error is not None:
        text, error = text + str(error), error.__cause__ or error.__context__
    print('libfoo.so.3' in text)
'''
    assert run_python(code, tmp_path).split() == ['True']
