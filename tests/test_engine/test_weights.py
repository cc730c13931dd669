import re

import pytest
import torch
from torch import nn

from mmaffnet import AFFNet
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.weights import fit_checkpoint, load_backbone, normalised, read_checkpoint


def filled(module, value):
    """The module's state dict with every floating-point tensor filled with one value."""
    return {key: torch.full_like(t, value) if t.is_floating_point() else t for key, t in module.state_dict().items()}


@pytest.fixture
def backbone():
    return AFFNet('et', out_indices=(3, 4))


def classifier():
    return AFFNet('et', out_indices=(5,))


@pytest.mark.parametrize('form', ['bare', 'classifier', 'detector', 'parallel', 'state_dict'])
def test_every_tensor_of_the_backbone_is_loaded_and_counted(form, backbone, tmp_path, capsys):
    inner = filled(backbone if form in ('bare', 'detector') else classifier(), 0.5)
    extra = {'head.fc.weight': torch.zeros(3), 'neck.x': torch.zeros(1)}
    checkpoint = {
        'bare': inner, 'state_dict': dict(state_dict=inner),
        'classifier': dict(inner, **{'classifier.fc.weight': torch.zeros(2)}),
        'detector': dict(state_dict={**{f'backbone.{k}': v for k, v in inner.items()}, **extra}, meta={}),
        'parallel': dict(state_dict={f'module.backbone.{k}': v for k, v in inner.items()})}[form]
    torch.save(checkpoint, tmp_path / 'w.pth')

    assert load_backbone(backbone, str(tmp_path / 'w.pth')) == len(backbone.state_dict())
    assert all((p == 0.5).all() for p in backbone.parameters())
    assert all((b == 0.5).all() for b in backbone.buffers() if b.is_floating_point())
    said = capsys.readouterr().out
    total = len(backbone.state_dict())
    assert f'{total} of {total} backbone tensors' in said
    assert ('conv_1x1_exp' in said) == (form in ('classifier', 'parallel', 'state_dict'))
    assert ('head (1), neck (1)' in said) == (form == 'detector')


@pytest.mark.parametrize(('change', 'hint'), [
    ('missing', r'1 tensors missing in the file \(layer_1'),
    ('shape', r'1 tensors of another shape \(layer_1\.\S+ \(1, 2\) instead of \(32, 16, 1, 1\)\)'),
    ('deeper', r'1 tensors unknown to the model \(layer_1.7.weight\)')])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(change, hint, backbone, tmp_path):
    state = filled(backbone, 0.5)
    key = next(k for k in state if k.startswith('layer_1') and state[k].ndim == 4)
    if change == 'missing':
        del state[key]
    elif change == 'shape':
        state[key] = torch.zeros(1, 2)
    else:
        state['layer_1.7.weight'] = torch.zeros(1)
    torch.save(state, tmp_path / 'w.pth')
    with pytest.raises(UserError, match=hint):
        load_backbone(backbone, str(tmp_path / 'w.pth'))
    assert not any((p == 0.5).all() for p in backbone.parameters())


def test_another_arch_is_refused(tmp_path):
    torch.save(AFFNet('t', out_indices=(4,)).state_dict(), tmp_path / 'w.pth')
    with pytest.raises(UserError, match='use weights of the same arch and variant'):
        load_backbone(AFFNet('et', out_indices=(4,)), str(tmp_path / 'w.pth'))


def test_counters_may_be_missing(backbone, tmp_path):
    torch.save({k: v for k, v in filled(backbone, 0.5).items() if 'num_batches' not in k}, tmp_path / 'w.pth')
    load_backbone(backbone, str(tmp_path / 'w.pth'))
    assert all((p == 0.5).all() for p in backbone.parameters())


@pytest.mark.parametrize(('content', 'hint'), [
    (None, 'not found'), (b'', 'is empty'), (b'no pickle', 'is no checkpoint'), ([1, 2], 'a list, not a dict'),
    ({'epoch': 3}, 'has no tensors'), ({'state_dict': {}}, 'has no tensors')])
def test_files_that_are_no_checkpoint_are_named(content, hint, tmp_path):
    path = tmp_path / 'w.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf'checkpoint {re.escape(str(path))}.*{hint}'):
        read_checkpoint(str(path), 'checkpoint')


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.cls = nn.Conv2d(4, 6 * classes, 1)
        self.reg = nn.Conv2d(4, 24, 1)
        self.num_classes = classes


class Detector(nn.Module):
    def __init__(self, classes, width=4):
        super().__init__()
        self.backbone = nn.Conv2d(3, width, 1)
        self.bbox_head = Head(classes)


def test_another_number_of_classes_keeps_all_that_does_not_depend_on_it():
    model = Detector(3)
    checkpoint = normalised(filled(Detector(80), 0.5), 'x', 'checkpoint')
    fresh = fit_checkpoint(model, checkpoint, 'x', True, num_old=80, num_new=3)
    assert fresh == ['bbox_head.cls.weight', 'bbox_head.cls.bias']
    own = model.bbox_head.cls.weight.detach().clone()
    model.load_state_dict(checkpoint['state_dict'])
    assert torch.equal(model.bbox_head.cls.weight, own)
    assert (model.backbone.weight == 0.5).all() and (model.bbox_head.reg.weight == 0.5).all()


def test_another_number_of_classes_is_a_mistake_in_testing():
    checkpoint = normalised(filled(Detector(80), 0.5), 'x', 'checkpoint')
    with pytest.raises(UserError, match='trained on 80 classes, the model has 3.*give the classes'):
        fit_checkpoint(Detector(3), checkpoint, 'x', False, num_old=80, num_new=3)


def test_other_differences_are_a_mistake_in_fine_tuning_too():
    checkpoint = normalised(filled(Detector(80, width=5), 0.5), 'x', 'checkpoint')
    with pytest.raises(UserError, match='backbone.weight'):
        fit_checkpoint(Detector(3), checkpoint, 'x', True, num_old=80, num_new=3)
    checkpoint = normalised({k: v for k, v in filled(Detector(80), 0.5).items() if 'reg' not in k}, 'x', 'checkpoint')
    with pytest.raises(UserError, match=r'2 tensors missing in the file \(bbox_head.reg.weight, bbox_head.reg.bias\)'):
        fit_checkpoint(Detector(3), checkpoint, 'x', True, num_old=80, num_new=3)
