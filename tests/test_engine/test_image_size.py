"""One line, ``image_size``, changes all that EfficientDet's configs know of the input's size."""
import pytest
from mmengine.config import Config, ConfigDict

from mmaffnet.engine.config import load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.image_size import apply_image_size
from mmaffnet.engine.own_data import apply_own_data

D0 = 'efficientdet/efficientdet-d0_efficientnet-b0_8xb16-300e_coco.py'
D1 = 'efficientdet/efficientdet-d1_affnet-t_8xb16-300e_coco.py'


def sizes(cfg):
    """All numbers of a config that say how large the input is, by hand."""
    train, test = cfg.train_dataloader.dataset.pipeline, cfg.val_dataloader.dataset.pipeline
    assert cfg.test_dataloader.dataset.pipeline == test
    return {*train[2].scale, *train[3].crop_size, *test[1].scale, cfg.model.data_preprocessor.pad_size_divisor}


@pytest.mark.parametrize(('name', 'size'), [(D0, 512), (D1, 640)])
def test_shipped_configs_have_their_size_without_our_tools(config_root, name, size):
    assert sizes(Config.fromfile(config_root / name)) == {size}


@pytest.mark.parametrize('name', [D0, D1])
@pytest.mark.parametrize('size', [512, 640, 768, 896])
def test_command_line(name, size):
    cfg = load_config(name, dict(image_size=size))
    for _ in range(2):
        apply_own_data(cfg)
        assert sizes(cfg) == {size}
    assert type(cfg.model.data_preprocessor.pad_size_divisor) is int
    # of these nothing is the input's size
    assert cfg.train_dataloader.dataset.pipeline[2].ratio_range == (0.1, 2.0)


def test_config_of_ones_own_and_sizes_of_ones_own(config_root, tmp_path):
    (tmp_path / 'd2.py').write_text(f"_base_ = '{config_root / D0}'\nimage_size = 768\n")
    cfg = load_config(tmp_path / 'd2.py', {'train_dataloader.dataset.pipeline.3.crop_size': (600, 512),
                                           'val_dataloader.dataset.pipeline.1.scale': (700, 700)})
    apply_own_data(cfg)
    train = cfg.train_dataloader.dataset.pipeline
    assert tuple(train[2].scale) == (768, 768) and cfg.model.data_preprocessor.pad_size_divisor == 768
    assert tuple(train[3].crop_size) == (600, 512), 'no size that the variable had'
    assert tuple(cfg.val_dataloader.dataset.pipeline[1].scale) == (700, 700)
    assert tuple(cfg.test_dataloader.dataset.pipeline[1].scale) == (768, 768)


@pytest.mark.parametrize('size', ['small', 0, -5, 512.5, (512, 512), True])
def test_no_number_of_pixels(size):
    with pytest.raises(UserError, match=r'image_size is .*; it must be the side of the square input in pixels'):
        apply_own_data(load_config(D1, dict(image_size=size)))


def test_variables_of_other_configs_are_left_alone():
    for variable, former in ((None, {640}), ((1024, 1024), {(1024, 1024), None}), (512, set())):
        cfg = ConfigDict(image_size=variable, tta_pipeline=[dict(scale=(1024, 1024)), dict(size=640)])
        apply_image_size(cfg, former)
        assert cfg.tta_pipeline == [dict(scale=(1024, 1024)), dict(size=640)]
