"""Training, testing and fine-tuning in this process, on small sets of own classes and on photographs."""
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load

from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.train import train

THREE = ('bolt', 'nut', 'washer')


def exit_message(capsys, main, argv):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in argv])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert len([line for line in error if line.startswith('error: ')]) == 1 and 'Traceback' not in '\n'.join(error)
    return error[-1]


def test_missing_data_config_checkpoint_end_with_one_line(capsys, tmp_path, monkeypatch, own_set, small_config):
    monkeypatch.chdir(tmp_path)
    assert 'data root data/coco/' in exit_message(capsys, train_main, ['ssdlite_affnet_coco'])
    assert 'nope.py not found' in exit_message(capsys, train_main, ['nope.py'])
    config = small_config(own_set(THREE), extra=f'classes = {THREE}')
    for option in ('pretrained', 'load_from'):
        message = exit_message(capsys, train_main, [config, '--cfg-options', f'{option}=nope.pth'])
        assert message.startswith(f'error: {option} nope.pth not found (looked for {tmp_path}/nope.pth)')
    assert 'resume nope.pth not found' in exit_message(capsys, train_main, [config, '--resume', 'nope.pth'])
    assert 'checkpoint nope.pth not found' in exit_message(capsys, run_test, [config, 'nope.pth'])
    assert 'did you mean batch_size' in exit_message(
        capsys, train_main, [config, '--cfg-options', 'train_dataloader.batchsize=2'])
    assert not (tmp_path / 'work_dirs').exists()  # nothing was started


@pytest.mark.slow
def test_own_set_trains_and_fine_tunes_with_another_number_of_classes(capsys, tmp_path, own_set, small_config):
    first = small_config(own_set(THREE), 'first', extra=f'classes = {THREE}')
    train_main([str(first), '--work-dir', str(tmp_path / 'first_run'), '--seed', '1'])
    assert 'training starts from scratch' in capsys.readouterr().out
    checkpoint = torch.load(tmp_path / 'first_run' / 'epoch_1.pth', weights_only=False)
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == THREE
    layer = checkpoint['state_dict']['bbox_head.pred_convs.0.pointwise_conv.conv.weight']
    assert len(layer) == 6 * (4 + 3 + 1)

    # Two other classes, whose ids are not 1 and 2: by options alone, without a step (learning rate 0).
    root = own_set(('gear', 'belt'), ids=(7, 90), name='other')
    train_main([str(first), '--work-dir', str(tmp_path / 'second_run'), '--seed', '2', '--cfg-options',
                f'data_root={root}', 'classes=gear,belt', f'load_from={tmp_path}/first_run/epoch_1.pth',
                'optim_wrapper.optimizer.lr=0'])
    said = capsys.readouterr().out
    total, fresh = len(checkpoint['state_dict']), 12  # weight and bias of six prediction layers
    assert f'load_from: {total - fresh} of {total} tensors' in said
    assert 'for 2 instead of 3 classes' in said and 'bbox_head.pred_convs.5.conv.bias' in said
    tuned = torch.load(tmp_path / 'second_run' / 'epoch_1.pth', weights_only=False)['state_dict']
    old = checkpoint['state_dict']
    for key, value in old.items():
        if 'running' in key or 'num_batches' in key:
            continue
        if tuned[key].shape == value.shape:
            assert torch.equal(tuned[key], value), key
        else:  # box rows stand last and are kept, class rows are new
            anchors = 4 if 'pred_convs.5' in key else 6
            assert torch.equal(tuned[key][-4 * anchors:], value[-4 * anchors:]), key
            assert len(tuned[key]) == anchors * (4 + 2 + 1)

    run_test([str(first), str(tmp_path / 'first_run' / 'epoch_1.pth'), '--work-dir', str(tmp_path / 'test_run'),
              '--out', str(tmp_path / 'metrics.json')])
    assert 'coco/bbox_mAP_50' in (tmp_path / 'metrics.json').read_text()
    run_test([str(first), str(tmp_path / 'first_run' / 'epoch_1.pth'), '--work-dir', str(tmp_path / 'test_run'),
              '--tta', '--out', str(tmp_path / 'predictions.pkl')])
    predictions = load(tmp_path / 'predictions.pkl')
    assert sorted(item['img_id'] for item in predictions) == list(range(1, 9))
    message = exit_message(capsys, run_test, [
        first, tmp_path / 'second_run' / 'epoch_1.pth', '--work-dir', tmp_path / 'test_run'])
    assert 'trained on 2 classes, the model has 3' in message


@pytest.fixture
def trained(monkeypatch):
    """Run train() and return the runner: trained(config, option, …) -> Runner."""
    def run(config, *argv):
        import argparse

        from mmaffnet.engine.config import add_common_arguments
        from mmaffnet.engine.train import add_train_arguments
        parser = argparse.ArgumentParser()
        add_train_arguments(parser)
        add_common_arguments(parser)
        return train(parser.parse_args([str(config), *map(str, argv)]))

    return run


def test_recipe_follows_epochs_flags_and_machine(trained, tmp_path, own_set, small_config, capsys):
    config = small_config(own_set(THREE), 'flags', epochs=3, batch=2, extra=f'classes = {THREE}')
    runner = trained(config, '--work-dir', tmp_path / 'run', '--auto-scale-lr', '--seed', 5, '--deterministic',
                     '--no-validate', '--tensorboard', '--cfg-options', 'train_cfg.max_epochs=2',
                     'param_scheduler.0.end=100', 'optim_wrapper.optimizer.lr=0.064')
    warmup, cosine = runner.param_schedulers
    assert cosine.T_max == 2 and cosine.end == 2
    assert 'LinearLR ends at iteration 100, but this run has 8' in capsys.readouterr().out
    # 0.064 · batch 2 / base batch 128 = 0.001
    assert cosine.base_values == [pytest.approx(0.001)] * len(cosine.base_values)
    assert type(runner.optim_wrapper).__name__ == 'OptimWrapper'  # the config says AmpOptimWrapper; no GPU here
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in runner.model.modules())
    assert runner.seed == 5 and runner.deterministic and runner.val_loop is None
    assert list((tmp_path / 'run').rglob('events.out.tfevents*'))
    dumped = Config.fromfile(tmp_path / 'run' / 'flags.py')
    assert dumped.optim_wrapper.type == 'AmpOptimWrapper'  # what is written down is right on GPUs too

    resumed = trained(config, '--work-dir', tmp_path / 'run', '--resume', '--no-validate')
    assert (resumed.epoch, resumed.iter) == (3, 12)  # one epoch of four iterations more
    torch.use_deterministic_algorithms(False)


def test_amp_is_asked_for_once(trained, tmp_path, own_set, small_config):
    from argparse import Namespace

    from mmaffnet.engine.train import prepare
    config = small_config(own_set(THREE), extra=f"classes = {THREE}\noptim_wrapper = dict(type='OptimWrapper')")
    args = Namespace(config=config, cfg_options=None, work_dir=tmp_path, launcher='none', resume=None, amp=True,
                     auto_scale_lr=False, seed=None, deterministic=False, no_validate=False, tensorboard=False)
    cfg = prepare(args)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 'dynamic'


def test_pretrained_backbone_is_in_the_model_before_the_first_step(trained, tmp_path, own_set, small_config, capsys):
    from mmaffnet import AFFNet
    torch.save({k: torch.full_like(v, 0.25) for k, v in AFFNet('et', out_indices=(5,)).state_dict().items()},
               tmp_path / 'w.pth')
    config = small_config(own_set(THREE), 'pre', extra=f'classes = {THREE}')
    runner = trained(config, '--work-dir', tmp_path / 'run', '--no-validate', '--cfg-options',
                     f'pretrained={tmp_path}/w.pth', 'optim_wrapper.optimizer.lr=0')
    assert all((p == 0.25).all() for p in runner.model.backbone.parameters())
    assert 'backbone tensors loaded from' in capsys.readouterr().out
