import multiprocessing
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from mmaffnet.engine.cli import train_main
from mmaffnet.engine.workers import no_workers_left


def runner_of(**loaders):
    loops = {f'_{name}_loop': SimpleNamespace(dataloader=loader) for name, loader in loaders.items()}
    return SimpleNamespace(**{'_train_loop': None, '_val_loop': dict(type='ValLoop'), '_test_loop': None, **loops})


def test_workers_end_and_start_again():
    loader = DataLoader(torch.arange(6.), batch_size=2, num_workers=2, persistent_workers=True)
    with pytest.raises(KeyError), no_workers_left(runner_of(train=loader)):
        assert torch.cat(list(loader)).tolist() == [0, 1, 2, 3, 4, 5]
        workers = list(loader._iterator._workers)
        assert all(worker.is_alive() for worker in workers)
        raise KeyError  # however a training ends
    assert not any(worker.is_alive() for worker in workers) and len(workers) == 2
    with no_workers_left(runner_of(test=loader)):
        assert torch.cat(list(loader)).tolist() == [0, 1, 2, 3, 4, 5]
    assert [worker for worker in multiprocessing.active_children() if worker in workers] == []


def test_no_worker_outlives_a_training(own_set, small_config, tmp_path):
    pytest.importorskip('mmdet')
    before = set(multiprocessing.active_children())
    workers = 'dict(num_workers=1, persistent_workers=True)'
    config = small_config(own_set(('nut', 'bolt')), extra=(
        f"classes = ('nut', 'bolt')\ntrain_dataloader.update({workers})\nval_dataloader.update({workers})"))
    train_main([str(config), '--work-dir', str(tmp_path / 'run')])
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    assert set(multiprocessing.active_children()) <= before
