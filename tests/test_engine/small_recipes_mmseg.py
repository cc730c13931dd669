"""Semantic FPN and DeepLabV3+ on AFFNet, as shipped, at a size that a test can train."""
import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location('small_recipes', Path(__file__).with_name('small_recipes.py'))
small_recipes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_recipes)

# By iterations: 3 batches of the sampler's endless order are one pass over the six pictures.
BY_ITERATIONS = """
train_cfg = dict(max_iters=6, val_interval=3)
param_scheduler = dict()  # the recipe's, which ends with the run
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
SMALL = {
    ('train', 'RandomResize'): dict(scale=(256, 64)), ('train', 'RandomCrop'): dict(crop_size=(64, 64)),
    ('test', 'Resize'): dict(scale=(256, 64))}


def semantic_fpn(data_root, config_root, tmp_path):
    """The shipped recipe on all six pictures of ADE20K's training part; interrupt it in iterations, of which it has
    6."""
    return small_recipes.SHIPPED.format(
        base=config_root / 'semantic_fpn' / 'semantic-fpn_affnet-t_8xb4-40k_ade20k-512x512.py', batch=2, train='',
        root=data_root / 'ade20k' / 'ADEChallengeData2016', small=SMALL,
        more=small_recipes.SMALL_MODEL + BY_ITERATIONS)


def deeplabv3plus(data_root, config_root, tmp_path):
    """The shipped recipe on the same pictures: two epochs of three iterations."""
    return small_recipes.SHIPPED.format(
        base=config_root / 'deeplabv3plus' / 'deeplabv3plus_affnet-t_8xb2-120e_ade20k-512x512.py', batch=2, train='',
        root=data_root / 'ade20k' / 'ADEChallengeData2016', small=small_recipes.SMALL_SEGMENTATION,
        more=small_recipes.SMALL_MODEL)
