"""A config's training recipe in the terms of the paper's Table 9, every value read from the config."""

import re
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS

from mmaffnet.engine.errors import UserError

from .models import input_size
from .paper import NO, YES

DATASETS = {'ImageNet': 'ImageNet-1k', 'CocoDataset': 'COCO', 'ADE20KDataset': 'ADE20k',
            'PascalVOCDataset': 'PASCAL VOC'}
LOSSES = {'LabelSmoothLoss': 'CE', 'CrossEntropyLoss': 'CE', 'SSDLiteHead': 'Ssd Multibox'}
COSINES = ('WarmupCosineLR', 'CosineAnnealingLR')


def read_recipe(cfg: Config) -> dict[str, object]:
    """The rows of Table 9.

    Args:
        cfg (Config): A classification, SSDLite or DeepLabV3 config named as OpenMMLab names them.

    Returns:
        dict[str, object]: Value by the row's name.

    Raises:
        UserError: The config holds something that has no name in Table 9.
    """
    steps = {_plain(step['type']): step for step in cfg.train_dataloader.dataset.pipeline}
    optimizer = cfg.optim_wrapper.optimizer
    warm_up, scheduler, minimum = _schedule(cfg)
    augments = {_plain(augment['type']) for augment in (cfg.model.get('train_cfg') or {}).get('augments', [])}
    return {
        'EMA': _mark(any(_plain(hook['type']) == 'EMAHook' for hook in cfg.get('custom_hooks', []))),
        'Weight Initialization': _initialization(cfg),
        'Dataset': _named(DATASETS, _plain(cfg.train_dataloader.dataset.type), cfg),
        'Resolution': input_size(cfg, 'train'),
        'RandAug': _mark('RandAugment' in steps),
        'CutMix': _mark('CutMix' in augments),
        'MixUp': _mark('Mixup' in augments),
        'Random Resized Crop': _mark('RandomResizedCrop' in steps or {'RandomResize', 'RandomCrop'} <= set(steps)),
        'Random Horizontal Flip': _mark(_flips(steps.get('RandomFlip'))),
        'Random Erase': _mark('RandomErasing' in steps),
        'Gaussian Noise': _mark('RandomGaussianBlur' in steps),
        'Label Smoothing': _mark(_smoothing(cfg) > 0),
        'Loss': _named(LOSSES, _loss(cfg), cfg),
        'Optimizer': optimizer.type,
        'Weight Decay': optimizer.weight_decay,
        'Warm-up Iterations': warm_up,
        'LR Scheduler': scheduler,
        'Base LR': optimizer.lr,
        'Minimal LR': minimum,
        'Number of Epochs': cfg.train_cfg.max_epochs,
        'Batch Size': _gpus(cfg) * cfg.train_dataloader.batch_size,
    }


def _plain(name: str) -> str:
    """A registered name without its scope ('mmaffnet.', 'torchvision/')."""
    return re.split(r'[./]', name)[-1]


def _mark(is_there: bool) -> str:
    return YES if is_there else NO


def _named(names: dict, value: str, cfg: Config) -> str:
    if value not in names:
        raise UserError(f'{cfg.filename} has {value}, for which Table 9 has no name; known: {", ".join(names)}')
    return names[value]


def _flips(step: dict | None) -> bool:
    return step is not None and step.get('prob', 0) > 0 and step.get('direction', 'horizontal') == 'horizontal'


def _initialization(cfg: Config) -> str:
    if 'pretrained' in cfg:   # its recipe starts from a checkpoint
        return 'pretrained=None' if cfg.pretrained is None else 'ImageNet-1k pretrain'
    cfgs = MODELS.build(cfg.model.backbone).init_cfg
    convolutions = next((c for c in cfgs if 'Conv2d' in c.get('layer', ())), {})
    return f'{convolutions.get("type")} {convolutions.get("distribution", "")}'.strip()


def _loss(cfg: Config) -> str:
    if 'bbox_head' in cfg.model:
        return _plain(cfg.model.bbox_head.type)
    head = cfg.model.decode_head.loss_decode if 'decode_head' in cfg.model else cfg.model.head.loss
    return _plain(head.type)


def _smoothing(cfg: Config) -> float:
    if 'bbox_head' in cfg.model:
        return cfg.model.train_cfg.get('label_smoothing', 0)
    if 'decode_head' in cfg.model:
        return cfg.model.decode_head.loss_decode.get('label_smoothing', 0)
    return cfg.model.head.loss.get('label_smooth_val', 0)


def _schedule(cfg: Config) -> tuple[int, str, float]:
    """Warm-up iterations, scheduler and last learning rate."""
    given = cfg.param_scheduler
    warm_up, scheduler, minimum = 0, None, None
    for part in given if isinstance(given, list | tuple) else [given]:
        kind = _plain(part['type'])
        if kind == 'LinearLR' and not part.get('by_epoch', True):
            warm_up = part['end'] - part.get('begin', 0) - 1   # mmengine reaches the rate one iteration before its end
        if kind in COSINES:
            warm_up = part.get('warmup_iters', warm_up)
            scheduler = 'Cosine'
            minimum = part.get('eta_min', part.get('eta_min_ratio', 0) * cfg.optim_wrapper.optimizer.lr)
    if scheduler is None:
        raise UserError(f'{cfg.filename} has no cosine among its schedulers; known: {", ".join(COSINES)}')
    return warm_up, scheduler, minimum


def _gpus(cfg: Config) -> int:
    """GPUs of the recipe, by the config's name: 8 in ``…_8xb128-…``."""
    found = re.search(r'_(\d+)xb\d+', Path(cfg.filename).stem)
    if found is None:
        raise UserError(f'the name of {cfg.filename} tells no batch size as in _8xb128-: name it as OpenMMLab does')
    return int(found.group(1))
