"""Pictures of many sizes through one backbone, one at a time or in batches, frozen, checkpointed, in mixed precision:
what the recipes of the detectors and segmentors ask of it."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import nn

from mmaffnet import AFFNet
from mmaffnet.models.token_mixers import AFF, aff, spectral

SMALL = dict(channels=(8, 8, 8, 16, 16, 16), expand_ratio=2, blocks=(1, 1, 1))
STAGES = ('conv_1', 'layer_1', 'layer_2', 'layer_3', 'layer_4', 'layer_5', 'conv_1x1_exp')
FPN = (1, 2, 3, 4)  # the maps of strides 4 to 32
STRIDES = {32: (2, 4, 8, 16, 32, 32), 16: (2, 4, 8, 16, 16, 16), 8: (2, 4, 8, 8, 8, 8)}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(*args, **kwargs):
    """A backbone whose mixers and norms show: fresh ones nearly vanish."""
    torch.manual_seed(3)
    net = AFFNet(*args, **kwargs)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, AFF):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.2)
    return net


def gradients(net, x, scale=1.):
    """Outputs and gradients of a loss that looks at every value of all maps. (Behind a batch norm the mean of all, or
    of their squares, would be no loss: it cannot change.)"""
    net.zero_grad()
    outs = net(x)
    weights = [torch.arange(out.numel(), device=out.device).sin().view_as(out) for out in outs]
    (scale * sum((weight * out).mean() for out, weight in zip(outs, weights, strict=True))).backward()
    return [out.detach() for out in outs], {name: p.grad.clone() for name, p in net.named_parameters()
                                            if p.grad is not None}


# Sizes


@pytest.mark.parametrize('transform', ['auto', 'dft'])
def test_sizes_one_after_another_do_not_meet(transform, monkeypatch):
    """The mixer keeps matrices for each size, also for maps turned by 90 degrees; each size gives what it gives alone,
    and the first gives it again."""
    monkeypatch.setattr(spectral, '_matrices', {})
    cfg = dict(arch=SMALL, out_indices=FPN, token_mixer=dict(type='AFF', transform=transform))
    net = build(**cfg).train()
    fft = build(**dict(cfg, token_mixer=dict(type='AFF', transform='fft'))).train()
    sizes = [(320, 320), (416, 416), (352, 352), (96, 160), (160, 96), (640, 640), (97, 131), (320, 320)]
    found = [gradients(net, torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(sum(size))))
             for size in sizes]
    for size, (outs, grads) in zip(sizes[:-1], found[:-1], strict=True):
        x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(sum(size)))
        wanted, wanted_grads = gradients(fft, x)
        for out, want in zip(outs, wanted, strict=True):
            assert (out - want).abs().max() < 1e-4 * want.std()
        for name, grad in grads.items():
            assert (grad - wanted_grads[name]).norm() <= 1e-3 * wanted_grads[name].norm() + 1e-6, (size, name)
    assert all(torch.equal(a, b) for a, b in zip(found[0][0], found[-1][0], strict=True))
    assert all(torch.equal(grad, found[-1][1][name]) for name, grad in found[0][1].items())
    assert (transform == 'dft') == any(key[1:3] == (40, 40) for key in spectral._matrices)


@pytest.mark.parametrize('stride', STRIDES)
@pytest.mark.parametrize('arch', ['et', 't', 'base'])
def test_shapes(arch, stride):
    net = build(arch, output_stride=stride, out_indices=range(5)).eval()
    for size in ((97, 131), (96, 160), (200, 333)):
        with torch.no_grad():
            outs = net(torch.rand(1, 3, *size))
        for out, index in zip(outs, range(5), strict=True):
            step = STRIDES[stride][index]
            assert out.shape[2:] == (-(-size[0] // step), -(-size[1] // step))
            assert out.isfinite().all()


RECIPES = {  # arch, (H, W) of the recipe, out_indices, output stride
    'yolox, least': ('et', (320, 320), (2, 3, 4), 32), 'yolox, tested': ('base', (416, 416), (2, 3, 4), 32),
    'yolox, largest': ('et', (640, 640), (2, 3, 4), 32), 'efficientdet-d0': ('et', (512, 512), (2, 3, 4), 32),
    'efficientdet-d1': ('t', (640, 640), (2, 3, 4), 32), 'ssdlite': ('et', (320, 320), (3, 4), 32),
    'fpn': ('t', (800, 1344), FPN, 32), 'fpn, upright': ('et', (1344, 800), (2, 3, 4), 32),
    'semantic fpn': ('t', (512, 512), FPN, 32), 'deeplabv3+': ('et', (512, 512), (1, 4), 16),
    'deeplabv3': ('et', (512, 512), (3, 4), 8), 'deeplabv3, whole': ('et', (512, 683), (3, 4), 8)}


@pytest.mark.parametrize('name', RECIPES)
def test_pictures_of_a_recipe(name):
    arch, size, indices, stride = RECIPES[name]
    net = build(arch, out_indices=indices, output_stride=stride).eval()
    with torch.no_grad():
        outs = net(torch.rand(1, 3, *size))
    sides = [tuple(-(-side // STRIDES[stride][index]) for side in size) for index in indices]
    assert [tuple(out.shape[2:]) for out in outs] == sides
    assert all(out.isfinite().all() and out.std() > 0.01 for out in outs)


@pytest.mark.parametrize('variant', ['paper', 'release'])
@pytest.mark.parametrize('size', [(33, 33), (64, 64), (97, 131)])
def test_one_picture_trains(size, variant):
    net = build('et', variant=variant, out_indices=FPN).train()
    outs, grads = gradients(net, torch.rand(1, 3, *size))
    assert all(out.isfinite().all() for out in outs)
    assert len(grads) == len(list(net.parameters())) and all(grad.isfinite().all() for grad in grads.values())
    assert [name for name, grad in grads.items() if not grad.any()] == []


def test_one_picture_of_one_cell_trains_where_batch_norms_do_not():
    """At 32 px the last map has one cell, of which a batch norm cannot take statistics."""
    x = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        build('et').train()(x)
    for net, batch in ((build('et', norm_eval=True), x), (build('et'), torch.rand(2, 3, 32, 32))):
        _, grads = gradients(net.train(), batch)
        assert all(grad.isfinite().all() for grad in grads.values())


# Frozen stages, norms


@pytest.mark.parametrize('norm_eval', [False, True])
@pytest.mark.parametrize('frozen', range(-1, 7))
def test_frozen_stages_through_steps_of_an_optimiser(frozen, norm_eval):
    """Weight decay, momentum and each epoch's call of train() leave what is frozen as it was."""
    net = build(SMALL, frozen_stages=frozen, norm_eval=norm_eval, out_indices=range(6))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    adam = dict(type='AdamW', lr=1e-2, weight_decay=1.)
    wrapper = build_optim_wrapper(net, dict(type='OptimWrapper', optimizer=adam))
    for size in ((64, 64), (80, 48)):
        net.train()
        loss = sum(out.square().mean() for out in net(torch.rand(2, 3, *size)))
        if frozen < 6:
            loss.backward()
            wrapper.step()
        else:
            assert not loss.requires_grad
    after = net.state_dict()
    for place, name in enumerate(STAGES):
        stage = getattr(net, name)
        still = place <= frozen
        # DDP waits for a gradient of each parameter that needs one, and for no other
        assert all(p.requires_grad != still for p in stage.parameters())
        assert all((p.grad is None) == still for p in stage.parameters())
        for key in stage.state_dict():
            statistic = key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
            moved = not torch.equal(after[f'{name}.{key}'], before[f'{name}.{key}'])
            assert moved == (not still and not (statistic and norm_eval)), key


# Gradient checkpointing

CHECKPOINTED = {
    'plain': dict(), 'drop path': dict(drop_path_rate=0.5), 'frozen': dict(frozen_stages=2),
    'frozen far': dict(frozen_stages=4, drop_path_rate=0.5), 'norms fixed': dict(norm_eval=True, frozen_stages=1),
    'release': dict(variant='release', output_stride=16), 'output stride': dict(output_stride=8, drop_path_rate=0.3),
    'several GPUs': dict(norm_cfg=dict(type='SyncBN'))}  # one process computes it as a BatchNorm


@pytest.mark.parametrize('name', CHECKPOINTED)
def test_recomputing_changes_nothing(name):
    """Gradients, outputs, and the norms' statistics, through two batches of different sizes."""
    plain, recomputing = (build(SMALL, with_cp=with_cp, out_indices=FPN, **CHECKPOINTED[name]).train()
                          for with_cp in (False, True))
    for size in ((97, 64), (64, 131)):
        x = torch.rand(3, 3, *size)
        found = []
        for net in (plain, recomputing):
            torch.manual_seed(11)  # of the dropped paths
            found.append(gradients(net, x))
        for a, b in zip(found[0][0], found[1][0], strict=True):
            assert torch.equal(a, b)
        assert found[0][1].keys() == found[1][1].keys()
        for key, grad in found[0][1].items():
            torch.testing.assert_close(found[1][1][key], grad, rtol=1e-5, atol=1e-7)
        state = recomputing.state_dict()
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=0, atol=0, msg=key)
    assert all(m.momentum == 0.1 for m in recomputing.modules() if isinstance(m, _BatchNorm))


# Mixed precision and memory formats


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('size', [(96, 160), (97, 131)])
def test_autocast(size, with_cp, monkeypatch):
    """Training in bfloat16: the spectral part computes in float32, and all comes near what float32 gives."""
    seen = set()

    def spy(transform):
        return lambda x: (seen.add(x.dtype), transform(x))[1]

    for name in ('rfft2', 'rdft2'):
        monkeypatch.setattr(aff, name, spy(getattr(aff, name)))
    net = build('et', out_indices=FPN, with_cp=with_cp).train()
    x = torch.rand(2, 3, *size)
    wanted, wanted_grads = gradients(net, x)
    seen.clear()
    with torch.autocast('cpu', torch.bfloat16):
        outs, grads = gradients(net, x)
    assert seen == {torch.float32}
    assert any(out.dtype == torch.bfloat16 for out in outs)
    for out, want in zip(outs, wanted, strict=True):
        assert out.isfinite().all() and (out.float() - want).std() < 0.2 * want.std()
    assert grads.keys() == wanted_grads.keys()
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads.values())
    both = [torch.cat([part[name].ravel() for name in grads]) for part in (grads, wanted_grads)]
    assert torch.cosine_similarity(*both, dim=0) > 0.95


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_on_a_gpu(dtype):
    net = build('et', out_indices=FPN, with_cp=True).train()
    if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        pytest.skip('this GPU has no bfloat16')
    scale = 2.**10 if dtype is torch.float16 else 1.
    for size in ((320, 320), (416, 416), (97, 131), (200, 333), (320, 320)):
        x = torch.rand(2, 3, *size)
        wanted, wanted_grads = gradients(net.cpu(), x)
        with torch.autocast('cuda', dtype):
            outs, grads = gradients(net.cuda(), x.cuda(), scale)
        for out, want in zip(outs, wanted, strict=True):
            assert out.isfinite().all() and (out.cpu().float() - want).std() < 0.2 * want.std(), size
        both = [torch.cat([part[name].cpu().ravel() for name in grads]) for part in (grads, wanted_grads)]
        assert both[0].isfinite().all() and torch.cosine_similarity(*both, dim=0) > 0.95, size


@pytest.mark.parametrize('batch', [1, 2])
def test_channels_last_trains_alike(batch):
    net = build('et', out_indices=FPN).train()
    last = build('et', out_indices=FPN).train().to(memory_format=torch.channels_last)
    for size in ((96, 160), (97, 131)):
        x = torch.rand(batch, 3, *size)
        wanted, wanted_grads = gradients(net, x)
        outs, grads = gradients(last, x.contiguous(memory_format=torch.channels_last))
        for out, want in zip(outs, wanted, strict=True):
            assert (out - want).abs().max() < 1e-3 * want.std()
        for name, grad in grads.items():
            assert (grad - wanted_grads[name]).norm() <= 1e-2 * wanted_grads[name].norm() + 1e-6, name
