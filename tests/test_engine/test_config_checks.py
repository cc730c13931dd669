"""Mistakes in a config are named by their place before the first iteration; sound configs pass."""
import json
import re

import pytest
import torch
from mmengine.config import Config

from mmaffnet.engine.check_data import check_classes, coco_categories, use_checked_coco
from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.config import HOSTS, import_host, load_config
from mmaffnet.engine.config_checks import check_config
from mmaffnet.engine.config_types import accepted_keys, config_mistakes
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.own_data import apply_own_data
from mmaffnet.engine.shipped import shipped_configs

COCO = 'ssdlite_affnet_coco'
PARTS = ('train', 'val', 'test')


def prepared(options=None, name=COCO):
    cfg = load_config(name, options)
    apply_own_data(cfg)
    import_host(cfg)
    use_checked_coco(cfg)
    return cfg


@pytest.mark.parametrize('name', shipped_configs())
def test_shipped_configs_pass(name):
    check_config(prepared(name=name), PARTS)


@pytest.mark.parametrize(('options', 'says'), [
    # keys of our modules
    ({'model.backbone.out_index': (3, 4)}, r"model\.backbone \(AFFNet\) has no 'out_index'; did you mean"),
    ({'model.backbone.token_mixer': dict(type='AFF', group=8)},
     r"model\.backbone\.token_mixer \(AFF\) has no 'group'; did you mean groups"),
    ({'model.neck.extra': 1}, r"model\.neck \(SSDLiteNeck\) has no 'extra'; allowed: act_cfg, in_channels"),
    ({'model.bbox_head.anchor_generator.ratio': 1}, r"model\.bbox_head\.anchor_generator \(SSDLiteAnchorG.*ratios"),
    ({'train_dataloader.dataset.max_bad_shares': 1},
     r"train_dataloader\.dataset \(CocoDataset\) has no 'max_bad_shares'; did you mean max_bad_share"),
    ({'train_dataloader.dataset.pipeline.2.min_iou': 1},
     r"train_dataloader\.dataset\.pipeline\.2 \(SSDRandomCrop\) has no 'min_iou'; did you mean min_ious"),
    ({'model.backbone.type': 'mmaffnet.AFNet'}, r"model\.backbone\.type is 'mmaffnet\.AFNet', but.*mean AFFNet"),
    # values
    ({'model.backbone.out_indices': 7}, r'AFFNet: out_indices must be different numbers from -6 to 5.*got 7'),
    ({'model.backbone.out_indices': (3, 3)}, r'AFFNet: out_indices must be different numbers.*got \(3, 3\)'),
    ({'model.backbone.out_indices': ((3, 4), )}, r'AFFNet: out_indices must be different numbers.*got \(\(3, 4\),\)'),
    ({'model.backbone.out_indices': 'abc'}, r"AFFNet: out_indices must be different numbers.*got 'abc'"),
    ({'model.backbone.act_cfg': dict(type='Foo')}, r'AFFNet: Foo is not in the .*registry$'),
    ({'model.backbone.arch': 'huge'}, r"AFFNet: arch must be one of \('et', 't', 'base'\), got 'huge'"),
    ({'model.backbone.norm_cfg.type': 'BNN'}, r"model\.backbone\.norm_cfg\.type is 'BNN', which is no known norm"),
    # numbers that must agree
    ({'model.backbone.out_indices': (4, )}, r'neck\.in_channels is \[256, 320\], but the backbone gives \[320\]'),
    ({'model.backbone.out_indices': (4, 3)}, r'in_channels is \[256, 320\], but the backbone gives \[320, 256\]'),
    ({'model.backbone.arch': 'et'}, r'\[256, 320\], but the backbone gives \[104, 144\] \(arch and out_indices'),
    ({'model.bbox_head.num_classes': 79}, r'model\.bbox_head\.num_classes is 79, but the train data have 80 classes '
                                          r'\(person, bicycle, car, motorcycle, airplane, …\)'),
    ({'val_dataloader.dataset.metainfo': dict(classes=('cat', 'dog'))}, r'num_classes is 80, but the val data have 2 '),
    # plain numbers
    ({'train_dataloader.batch_size': 0}, r'train_dataloader\.batch_size must be a whole number from 1 on, but is 0'),
    ({'train_dataloader.batch_size': 2.5}, r'whole number from 1 on, but is 2\.5'),
    ({'val_dataloader.num_workers': -1}, r'val_dataloader\.num_workers must be a whole number from 0 on, but is -1'),
    ({'train_dataloader.num_workers': 0}, r'train_dataloader\.persistent_workers needs workers.*=False'),
    ({'train_cfg.max_epochs': 0}, r'train_cfg\.max_epochs must be a whole number from 1 on, but is 0'),
    ({'train_cfg.val_interval': '2x'}, r"train_cfg\.val_interval must be a whole number from 1 on, but is '2x'"),
    ({'optim_wrapper.optimizer.lr': 'fast'}, r"optim_wrapper\.optimizer\.lr must be a number from 0 on, but is 'fast'"),
    ({'optim_wrapper.optimizer.lr': -1}, r'lr must be a number from 0 on, but is -1')])
def test_mistakes(options, says):
    cfg = prepared()
    for key, value in options.items():
        cfg.merge_from_dict({key: value})
    with pytest.raises(UserError, match=says) as caught:
        check_config(cfg, PARTS)
    assert '\n' not in str(caught.value)


def test_fewer_classes_than_a_head_that_names_none(own_set):
    cfg = prepared()
    cfg.train_dataloader.dataset.metainfo = dict(classes=('bolt', 'nut'))
    del cfg.model.bbox_head['num_classes']  # then SSDLiteHead's own 80 stand
    with pytest.raises(UserError, match=r'num_classes is 80, but the train data have 2 classes \(bolt, nut\)'):
        check_config(cfg, ('train',))


HOST_MODELS = {
    'mmseg': dict(
        model=dict(type='EncoderDecoder', backbone=dict(type='AFFNet', arch='et', out_indices=(2, 3, 4)),
                   decode_head=dict(type='FCNHead', in_channels=144, in_index=2, channels=16, num_classes=150),
                   auxiliary_head=[dict(type='FCNHead', in_channels=104, in_index=1, channels=16, num_classes=150)]),
        train_dataloader=dict(dataset=dict(type='ADE20KDataset'))),
    'mmpretrain': dict(
        model=dict(type='ImageClassifier', backbone=dict(type='AFFNet', arch='et', out_indices=(5,)),
                   neck=dict(type='GlobalAveragePooling'),
                   head=dict(type='LinearClsHead', num_classes=1000, in_channels=576)),
        train_dataloader=dict(dataset=dict(type='ImageNet')))}


@pytest.mark.parametrize(('host', 'options', 'says'), [
    ('mmseg', {}, None),
    ('mmseg', {'model.decode_head.num_classes': 19}, r'decode_head\.num_classes is 19, but the train data have 150'),
    ('mmseg', {'model.auxiliary_head.0.num_classes': 19}, r'auxiliary_head\.0\.num_classes is 19'),
    ('mmseg', {'model.auxiliary_head.0.in_index': 0}, r'auxiliary_head\.0\.in_channels is 104 at in_index 0, but the '
                                                      r'backbone gives \[64, 104, 144\]'),
    ('mmseg', {'model.decode_head.in_index': 3}, r'decode_head\.in_channels is 144 at in_index 3'),
    ('mmseg', {'model.backbone.archs': 'et'}, r"model\.backbone \(AFFNet\) has no 'archs'; did you mean arch"),
    ('mmpretrain', {}, None),
    ('mmpretrain', {'model.head.num_classes': 10}, r'model\.head\.num_classes is 10, but the train data have 1000'),
    ('mmpretrain', {'model.head.in_channels': 500}, r'head\.in_channels is 500, but the backbone gives \[576\]'),
    ('mmpretrain', {'model.backbone.out_indices': (4,)}, r'head\.in_channels is 576, but the backbone gives \[144\]')])
def test_other_hosts(host, options, says, tmp_path):
    pytest.importorskip(host)
    assert host in HOSTS
    (tmp_path / 'mine.py').write_text('')
    cfg = Config(dict(HOST_MODELS[host], default_scope=host), filename=tmp_path / 'mine.py')
    cfg.merge_from_dict(options)
    import_host(cfg)
    if says is None:
        check_config(cfg, ('train',))
    else:
        with pytest.raises(UserError, match=says):
            check_config(cfg, ('train',))


def test_accepted_keys_follow_kwargs_into_the_bases():
    from mmaffnet.datasets.coco import CocoDataset
    keys = accepted_keys(CocoDataset)
    assert {'max_bad_share', 'seg_map_suffix', 'ann_file', 'indices'} <= keys and 'self' not in keys
    assert accepted_keys(lambda a, *, b: None) == {'a', 'b'}


def test_only_constructors_and_look_ups_are_the_configs_mistake(tmp_path):
    from mmengine.registry import MODELS
    (tmp_path / 'mine.py').write_text('')
    cfg = Config(dict(), filename=tmp_path / 'mine.py')
    with pytest.raises(UserError, match=r'mine\.py: AFFNet: output_stride must be one of'), config_mistakes(cfg):
        MODELS.build(dict(type='AFFNet', output_stride=7))
    with pytest.raises(UserError, match=r'mine\.py: AFNet is not in the .* registry$'), config_mistakes(cfg):
        MODELS.build(dict(type='AFNet'))
    with pytest.raises(UserError, match=r"unexpected keyword argument 'colour'"), config_mistakes(cfg):
        MODELS.build(dict(type='BaseDataPreprocessor', colour=1))
    with pytest.raises(ValueError, match='^not the config$'), config_mistakes(cfg):
        raise ValueError('not the config')


# The data sets that are checked


@pytest.mark.parametrize(('kind', 'becomes'), [
    ('CocoDataset', 'mmaffnet.CocoDataset'), ('mmdet.CocoDataset', 'mmaffnet.CocoDataset'),
    ('mmaffnet.CocoDataset', 'mmaffnet.CocoDataset'), ('LVISV1Dataset', 'LVISV1Dataset'), ('my.CocoDataset',) * 2])
def test_plain_coco_is_read_by_ours(kind, becomes):
    leaf = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[dict(type=kind)]))
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=leaf)))
    use_checked_coco(cfg)
    assert cfg.train_dataloader.dataset.dataset.datasets[0] == dict(type=becomes)


def test_files_that_are_only_predicted_on_need_no_annotations():
    cfg = prepared({'test_evaluator.format_only': True, 'test_evaluator.outfile_prefix': 'out'})
    assert cfg.test_dataloader.dataset.require_annotations is False
    assert 'require_annotations' not in cfg.val_dataloader.dataset


def test_folder_as_annotation_file_and_category_twice(own_set):
    root = own_set(('bolt', 'nut', 'bolt'))
    with pytest.raises(UserError, match='is no file'):
        coco_categories(root)
    with pytest.raises(UserError, match=r"has the category 'bolt' more than once"):
        check_classes(prepared(dict(data_root=str(root), classes=['bolt', 'nut'])), ('train',))


# Through the tools


def damage(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def fails(main, args, capture):
    """The sentence with which a tool ends: exit code 2, one line, no traceback."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, args), '--work-dir', f'{args[0].parent}/run'])
    captured = capture.readouterr()
    assert end.value.code == 2
    sentence = captured.err.strip().splitlines()[-1]
    assert sentence.startswith('error: ') and 'Traceback' not in captured.err
    return sentence


def truncate(path):
    path.write_text(path.read_text()[:-300])


@pytest.mark.parametrize(('part', 'change', 'says'), [
    ('train', lambda d: d['annotations'][3].update(bbox=[1, 2, float('nan'), 4]),
     r'instances_train2017\.json: 1 of 16 annotations are bad.*annotation \d+ of image \d+ \(\d\.png\): bbox \[1, '),
    ('train', lambda d: d.update(annotations=[]), r'instances_train2017\.json has no annotations at all'),
    ('val', lambda d: d['annotations'][3].update(category_id=9, bbox=[0, 0, -4, 4]),
     r'instances_val2017\.json has boxes of negative width or height \(1\): annotation \d+')])
def test_train_ends_with_one_sentence(part, change, says, own_set, small_config, tmp_path, capsys):
    root = own_set(('bolt', 'nut'))
    damage(root / 'annotations' / f'instances_{part}2017.json', change)
    config = small_config(root, name=part + tmp_path.name, extra="classes = ('bolt', 'nut')")
    sentence = fails(train_main, [config], capsys)
    assert re.search(says, sentence), sentence


def test_config_mistakes_end_train_and_test(own_set, small_config, tmp_path, capsys):
    root = own_set(('bolt', 'nut'))
    config = small_config(root, name='first', extra="classes = ('bolt', 'nut')\n"
                                                    'model = dict(backbone=dict(out_indices=(4,)))')
    assert 'but the backbone gives [144]' in fails(train_main, [config], capsys)
    (tmp_path / 'c.pth').write_bytes(b'')
    assert 'but the backbone gives [144]' in fails(run_test, [config, tmp_path / 'c.pth'], capsys)
    # What only the building of a part of a host shows.
    config = small_config(root, name='second', extra="classes = ('bolt', 'nut')\nmodel = dict(type='SingleStage')")
    assert 'SingleStage is not in the' in fails(train_main, [config], capsys)
    # A file that breaks off is named by where, though its categories can still be read.
    config = small_config(root, name='third', extra="classes = ('bolt', 'nut')")
    path = root / 'annotations' / 'instances_train2017.json'
    document = json.loads(path.read_text())
    path.write_text(json.dumps({key: document[key] for key in ('categories', 'images', 'annotations')}))
    truncate(path)
    assert 'instances_train2017.json is cut short' in fails(train_main, [config], capsys)


def test_bad_annotation_is_left_out_of_a_training(own_set, small_config, tmp_path, capfd):
    root = own_set(('bolt', 'nut'))
    damage(root / 'annotations' / 'instances_train2017.json', lambda d: d['annotations'][3].update(area=None))
    config = small_config(root, name='skipping', extra="classes = ('bolt', 'nut')\nmax_bad_share = 0.1")
    train_main([str(config), '--work-dir', str(tmp_path / 'run'), '--seed', '0'])
    captured = capfd.readouterr()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    for text in (captured.out + captured.err, log):
        assert text.count('left out of the training: annotations whose area is missing, negative or not a num') == 1

    # An evaluation of what was trained: an empty box counts as missed, and a box that is none ends it.
    path = root / 'annotations' / 'instances_val2017.json'
    damage(path, lambda d: d['annotations'][3].update(bbox=[5, 5, 0, 8]))
    arguments = [config, tmp_path / 'run' / 'epoch_1.pth']
    run_test([*map(str, arguments), '--work-dir', str(tmp_path / 'test'), '--cfg-options', 'max_bad_share=0.1'])
    log = next((tmp_path / 'test').glob('*/*.log')).read_text()
    assert log.count("kept as COCO's evaluation counts them: boxes of no width or height (1): annotation") == 1
    capfd.readouterr()
    sentence = fails(run_test, [*arguments, '--cfg-options', 'max_bad_share=0.05'], capfd)
    assert '1 of 16 annotations are bad, more than max_bad_share = 0.05' in sentence
    damage(path, lambda d: d['annotations'][3].update(bbox=None))
    sentence = fails(run_test, [*arguments, '--cfg-options', 'max_bad_share=1'], capfd)
    assert 'instances_val2017.json has annotations whose bbox is missing or not four numbers (1): ann' in sentence


def test_a_batch_of_one_picture_that_cannot_be_normalised_says_what_to_do():
    cfg = load_config(COCO)
    with pytest.raises(UserError, match='train_dataloader.drop_last=True'), config_mistakes(cfg):
        torch.nn.BatchNorm2d(3)(torch.rand(1, 3, 1, 1))
