"""A loss that is no number ends the run before anything of it is saved."""
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from mmaffnet.engine.cli import train_main
from mmaffnet.engine.errors import LossNotFinite
from mmaffnet.engine.finite_loss import FiniteLossHook, files_of

THREE = ('bolt', 'nut', 'washer')
# Spoils a weight after the first epoch, as a step that is too large would.
SPOIL = """
from mmaffnet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module(force=True)
class Spoil{when}(Hook):
    priority = 'VERY_HIGH'

    def {when}(self, runner, *args, **kwargs):
        if runner.epoch == 1:
            next(runner.model.bbox_head.parameters()).data.fill_(float('nan'))
"""


@pytest.fixture
def stopped(own_set, small_config, tmp_path, capsys, monkeypatch):
    """Train two epochs with a hook that spoils a weight in the second: stopped(when) -> (error, folder, set)."""
    def run(when):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / f'spoil_{when}.py').write_text(SPOIL.format(when=when))
        root = own_set(THREE)
        config = small_config(root, epochs=2, extra=f"""classes = {THREE}
custom_imports = dict(imports=['mmaffnet', 'spoil_{when}'], allow_failed_imports=False)
custom_hooks = [dict(type='mmaffnet.Spoil{when}'),
                dict(type='EMAHook', ema_type='ExpMomentumEMA', priority=49)]""")
        folder = tmp_path / 'run'
        with pytest.raises(SystemExit) as stop:
            train_main([str(config), '--work-dir', str(folder), '--no-validate', '--seed', '0'])
        assert stop.value.code == 3
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert sorted(path.name for path in folder.glob('*.pth')) == ['epoch_1.pth']
        state = torch.load(folder / 'epoch_1.pth', weights_only=False)
        for part in ('state_dict', 'ema_state_dict'):
            assert all(value.isfinite().all() for value in state[part].values())
        assert (folder / 'last_checkpoint').read_text().strip().endswith('epoch_1.pth')
        return error, folder, root

    return run


def test_run_ends_with_iteration_rate_losses_files_and_the_last_checkpoint(stopped):
    error, folder, root = stopped('before_train_iter')
    # Two iterations an epoch; the warm-up's last step at iteration 2 reaches 7e-4, the cosine's second half 3.85e-4.
    assert error.startswith('error: the loss is not finite after iteration 3 (epoch 2) (loss nan, loss_cls nan, ')
    assert 'at learning rate 0.000385; ' in error and f'the last good checkpoint is {folder}/epoch_1.pth' in error
    files = re.search("the batch's pictures: ([^;]+);", error)[1].split(', ')
    assert len(set(files)) == 4 and all(re.fullmatch(rf'{root}/train2017/\d\.png', file) for file in files)


def test_weights_that_no_loss_has_met_yet_are_not_saved(stopped):
    error, folder, _ = stopped('after_train_epoch')
    assert re.match(r'error: the weight bbox_head\.\S+ is not finite after iteration 4 \(epoch 2\), though', error)
    assert f'the last good checkpoint is {folder}/epoch_1.pth' in error


def fake_runner(folder):
    return SimpleNamespace(
        distributed=False, iter=4, epoch=0, work_dir=folder,
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(generator=[0.1, 0.1], critic=[0.25])))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_each_loss_is_looked_at(tmp_path, value):
    outputs = dict(loss=torch.tensor(1.0, requires_grad=True), loss_aux=torch.tensor(value), acc=torch.tensor(3.0))
    with pytest.raises(LossNotFinite, match=r'iteration 5 .*loss_aux (nan|-?inf)\) at learning rate 0\.1, 0\.25; .*'
                                            'pictures: not known .*this run has no earlier checkpoint'):
        FiniteLossHook().after_train_iter(fake_runner(tmp_path), 0, dict(inputs=[]), outputs)


def test_finite_losses_and_other_numbers_pass(tmp_path):
    hook = FiniteLossHook()
    hook.after_train_iter(fake_runner(tmp_path), 0, {}, dict(loss=torch.tensor(3e38), acc=float('nan'), loss_b=0.5))
    hook.after_train_iter(fake_runner(tmp_path), 0, {}, None)


def test_infinite_buffers_are_no_weights():
    net = nn.Linear(2, 2)
    net.register_buffer('mask', torch.tensor([-float('inf'), 0]))
    FiniteLossHook().before_save_checkpoint(SimpleNamespace(model=net), {})


def test_files_are_found_in_every_host_s_batch():
    def sample(path):
        return BaseDataElement(metainfo=dict(img_path=path))

    plain = dict(inputs=[torch.zeros(1)], data_samples=[sample('a.jpg'), sample('b.jpg')])
    assert files_of(plain) == ['a.jpg', 'b.jpg']
    assert files_of(dict(inputs=torch.zeros(2), data_samples=[sample('a.jpg'), BaseDataElement()])) == ['a.jpg']
    assert files_of(dict(data_samples=dict(labelled=[sample('c.jpg')], unlabelled=[sample('d.jpg')]))) == [
        'c.jpg', 'd.jpg']
    assert files_of([torch.zeros(1), 3]) == []
