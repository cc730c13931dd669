import json

import pytest
from mmengine.config import Config

from mmaffnet.engine.check_data import check_classes, check_data, coco_categories
from mmaffnet.engine.config import load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.own_data import apply_classes, apply_own_data, leaf_datasets

COCO = 'ssdlite_affnet_coco'


def roots(cfg):
    return [leaf_datasets(cfg[loader])[0].data_root for loader in ('train_dataloader', 'val_dataloader',
                                                                   'test_dataloader')]


def test_data_root_reaches_data_sets_and_metrics():
    cfg = load_config(COCO, dict(data_root='elsewhere'))
    apply_own_data(cfg)
    assert roots(cfg) == ['elsewhere'] * 3
    assert cfg.val_evaluator.ann_file == 'elsewhere/annotations/instances_val2017.json'
    assert cfg.test_evaluator.ann_file == 'elsewhere/annotations/instances_val2017.json'


def test_data_root_of_an_inheriting_config_reaches_them(tmp_path, config_root):
    (tmp_path / 'mine.py').write_text(f"_base_ = '{config_root}/ssdlite_affnet_coco.py'\ndata_root = 'mine/'\n")
    cfg = load_config(tmp_path / 'mine.py')
    apply_own_data(cfg)
    assert roots(cfg) == ['mine/'] * 3


def test_a_root_written_out_in_a_data_set_wins():
    cfg = load_config(COCO, {'train_dataloader.dataset.data_root': 'special', 'data_root': 'elsewhere'})
    apply_own_data(cfg)
    assert roots(cfg) == ['special', 'elsewhere', 'elsewhere']


def test_files_and_folders_of_own_names():
    cfg = load_config(COCO, dict(data_root='mine', train_ann_file='train.json', train_image_dir='pictures',
                                 val_ann_file='val.json', val_image_dir='pictures'))
    apply_own_data(cfg)
    assert cfg.train_dataloader.dataset.ann_file == 'train.json'
    assert cfg.val_dataloader.dataset.data_prefix == dict(img='pictures')
    assert cfg.test_dataloader.dataset.ann_file == 'val.json'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == 'mine/val.json'


def test_classes_reach_data_sets_and_all_heads():
    cfg = Config(dict(
        model=dict(head=dict(num_classes=80), heads=[dict(num_classes=80), dict(other=1)]),
        data_preprocessor=dict(num_classes=80),
        train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(type='D'))),
        val_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[dict(type='D', metainfo=dict(
            classes=('x',), palette=[(0, 0, 0)])), dict(type='D')]))))
    apply_classes(cfg, ['cat', 'dog'])
    assert cfg.model.head.num_classes == cfg.model['heads'][0].num_classes == cfg.data_preprocessor.num_classes == 2
    assert 'num_classes' not in cfg.model['heads'][1]
    leaves = leaf_datasets(cfg.train_dataloader) + leaf_datasets(cfg.val_dataloader)
    assert [leaf.metainfo.to_dict() for leaf in leaves] == [dict(classes=('cat', 'dog'))] * 3


def test_one_name_is_one_class():
    cfg = Config(dict(model=dict(num_classes=80)))
    apply_classes(cfg, 'cat')
    assert cfg.model.num_classes == 1


@pytest.mark.parametrize('classes', [('cat', 'cat'), ('cat', ''), (1, 2)])
def test_bad_classes_are_named(classes):
    with pytest.raises(UserError, match='list of different names'):
        apply_classes(Config(dict(model=dict(num_classes=80))), classes)


def coco_cfg(root, **options):
    cfg = load_config(COCO, dict(data_root=str(root), **options))
    apply_own_data(cfg)
    return cfg


def test_present_data_pass(own_set):
    cfg = coco_cfg(own_set(('bolt', 'nut')), classes=['bolt', 'nut'])
    check_data(cfg, ('train', 'val'))
    check_classes(cfg, ('train', 'val'))


@pytest.mark.parametrize('gone', ['annotations/instances_train2017.json', 'val2017'])
def test_what_is_missing_is_named_with_a_way_to_get_it(own_set, gone):
    root = own_set(('bolt', 'nut'))
    (root / gone).rename(root / 'away')
    with pytest.raises(UserError, match=rf'{gone}/? of the .* data is missing \(looked for /.*cocodataset.*data_root'):
        check_data(coco_cfg(root, classes=['bolt', 'nut']), ('train', 'val'))


def test_unused_parts_are_not_asked_for(own_set):
    root = own_set(('bolt', 'nut'))
    (root / 'val2017').rename(root / 'away')
    check_data(coco_cfg(root, classes=['bolt', 'nut']), ('train',))


def test_other_classes_than_the_files_are_named_with_the_line_that_mends_it(own_set):
    root = own_set(('bolt', 'nut'))
    with pytest.raises(UserError, match=r"no category 'person', 'bicycle', 'car' and 77 more of the 80.*"
                                        r"classes = \('bolt', 'nut'\)"):
        check_classes(coco_cfg(root), ('train',))


def test_classes_in_another_order_than_the_file_are_refused(own_set):
    root = own_set(('bolt', 'nut'))
    with pytest.raises(UserError, match=r"order.*classes = \('bolt', 'nut'\)"):
        check_classes(coco_cfg(root, classes=['nut', 'bolt']), ('train',))


@pytest.mark.parametrize('keys', [('images', 'annotations', 'categories'), ('categories', 'images', 'annotations')])
def test_categories_are_read_wherever_they_stand(tmp_path, keys):
    parts = dict(images=[dict(id=1, file_name='a "categories" : [].jpg')], annotations=[dict(id=5, bbox=[1, 2, 3, 4])],
                 categories=[dict(id=3, name='Zürich'), dict(id=1, name='b')])
    (tmp_path / 'a.json').write_text(json.dumps({key: parts[key] for key in keys}), encoding='utf-8')
    assert coco_categories(tmp_path / 'a.json') == ['Zürich', 'b']


def test_categories_of_real_coco(data_root):
    from mmdet.datasets import CocoDataset
    path = data_root / 'coco' / 'annotations' / 'instances_val2017.json'
    assert tuple(coco_categories(path)) == CocoDataset.METAINFO['classes']


@pytest.mark.parametrize('text', ['', '{"images": []}', '{"images": [], "categories": [{"id": 1, "na', '[1, 2'])
def test_a_file_without_categories_is_named(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(UserError, match=r'a\.json (is empty|has no list|lacks|is no COCO|is cut short|holds)'):
        coco_categories(tmp_path / 'a.json')
