import pytest
from mmengine.config import Config

from mmaffnet.engine.cli import train_main
from mmaffnet.engine.config import check_option, import_host, load_config
from mmaffnet.engine.errors import UserError


@pytest.fixture
def cfg():
    return Config(dict(train_dataloader=dict(batch_size=4, dataset=dict(type='D')), default_hooks=dict(),
                       param_scheduler=[dict(type='LinearLR', end=5)], classes=None, lr=0.1))


@pytest.mark.parametrize('key', [
    'lr', 'train_dataloader.batch_size', 'train_dataloader.dataset.indices', 'param_scheduler.0.end', 'load_from',
    'data_root', 'randomness.seed', 'classes', 'pretrained', 'default_hooks.logger'])
def test_known_options_pass(cfg, key):
    check_option(cfg, key)


@pytest.mark.parametrize(('key', 'hint'), [
    ('dataroot', "'dataroot'; did you mean data_root"),
    ('train_dataloader.batchsize', "'batchsize'; did you mean batch_size"),
    ('train_dataloader.data_set.indices', "'data_set'; did you mean dataset"),
    ('param_scheduler.1.end', 'a list of 1'),
    ('lr.max', 'nothing below it'),
    ('train_loader.batch_size', 'did you mean train_dataloader')])
def test_an_option_that_would_change_nothing_is_named(cfg, key, hint):
    with pytest.raises(UserError, match=f'--cfg-options {key}.*{hint}'):
        check_option(cfg, key)


@pytest.mark.parametrize('option', ['batch_size', '=3', 'classes=[a,(b]'])
def test_a_malformed_option_is_answered_with_the_usage(option, capsys):
    with pytest.raises(SystemExit) as stop:
        train_main(['ssdlite_affnet_coco', '--cfg-options', option])
    assert stop.value.code == 2
    assert 'error: --cfg-options' in capsys.readouterr().err


def test_options_are_merged(tmp_path):
    (tmp_path / 'c.py').write_text("a = dict(b=1)\nsteps = [dict(end=1), dict(end=2)]\n")
    cfg = load_config(tmp_path / 'c.py', {'a.b': 3, 'steps.1.end': 9})
    assert cfg.a.b == 3 and [s.end for s in cfg.steps] == [1, 9]


@pytest.mark.parametrize(('text', 'hint'), [
    ('a = (', 'syntax|SyntaxError'), ("_base_ = 'nowhere.py'", 'nowhere.py'), ('a = 1 / 0', 'ZeroDivisionError'),
    ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module')])
def test_a_config_that_cannot_be_run_is_named(tmp_path, text, hint):
    (tmp_path / 'c.py').write_text(text + '\n')
    with pytest.raises(UserError, match=rf'c\.py cannot be read: .*({hint})'):
        load_config(tmp_path / 'c.py')


def test_a_scope_without_host_is_named():
    with pytest.raises(UserError, match="default_scope of .* is 'mmyolo'; allowed: 'mmdet', 'mmseg', 'mmpretrain'"):
        import_host(Config(dict(default_scope='mmyolo')))
