"""Predict on pictures with any config of ours: drawn on the picture, and as JSON."""
import json
import uuid
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, VISUALIZERS

from mmaffnet.pictures import BadPicture

from .bad_pictures import LOADERS
from .config import add_option_argument, import_host, load_config
from .errors import UserError
from .hooks import classes_of
from .own_data import apply_own_data, leaf_datasets
from .predictions import as_json, draw
from .weights import fit_checkpoint, read_checkpoint

IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def add_predict_arguments(parser):
    """Add the arguments of ``tools/predict.py``.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('images', nargs='+', metavar='IMAGE|FOLDER', help='pictures; folders are searched to the end')
    parser.add_argument('--config', required=True, help='config file, or the name of a shipped one')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file; its classes are used')
    parser.add_argument('--out', required=True, help='folder for drawn pictures (vis/) and JSON (preds/)')
    parser.add_argument('--score-thr', type=float, default=0.3,
                        help='boxes with a lower score are not drawn; the JSON holds all (default: 0.3)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: what this machine has)')
    add_option_argument(parser)


def predict(args):
    """Predict as the arguments of ``tools/predict.py`` say.

    Args:
        args (argparse.Namespace): See :func:`add_predict_arguments`.

    Returns:
        int: 0, or 1 where a picture could not be read (it is named, the others are done).

    Raises:
        UserError: Where something that the user gave is missing or wrong.
    """
    images = find_images(args.images)
    predictor = Predictor(args.config, args.checkpoint, args.device, args.cfg_options)
    out = Path(args.out)
    broken = []
    for image, name in zip(images, output_names(images, args.images), strict=True):
        try:
            sample = predictor(image)
        except BadPicture as error:
            print(f'left out: {error}', flush=True)
            broken.append(image)
            continue
        result = as_json(predictor.host, sample, predictor.classes)
        _write(out / 'preds' / f'{name}.json', dict(image=str(image), **result))
        draw(predictor.visualizer, predictor.host, image, sample, out / 'vis' / f'{name}.jpg', args.score_thr)
    print(f'{len(images) - len(broken)} of {len(images)} pictures done: {out / "vis"} and {out / "preds"}')
    return 1 if broken else 0


class LoadedModel:
    """A config's model with its test pipeline.

    Args:
        config (str): Path or shipped name.
        checkpoint (str | None): A file; where its meta names classes, the model is built for them. None: fresh weights.
        device (str | None): None: what mmengine finds.
        cfg_options (dict | None): Changes to the config.

    Attributes:
        model (torch.nn.Module): In evaluation mode, on the device.
        host (str): 'mmdet', 'mmseg' or 'mmpretrain'.
        classes (tuple[str]): Empty where they are not known.
        cfg (Config): With the changes.
        meta (dict): The checkpoint's.

    Raises:
        UserError: Where config or checkpoint is missing, or they do not fit.
    """

    def __init__(self, config, checkpoint, device=None, cfg_options=None):
        self.cfg = cfg = load_config(config, cfg_options)
        loaded = None if checkpoint is None else read_checkpoint(checkpoint, 'checkpoint')
        self.meta = loaded['meta'] if loaded else {}
        self.classes = classes_of(loaded) if loaded else None
        if self.classes and not cfg.get('classes'):
            cfg.classes = self.classes
        apply_own_data(cfg)
        self.host = import_host(cfg)
        self.classes = tuple(cfg.get('classes') or self.classes or ())
        self.model = _build_model(cfg, loaded, checkpoint).to(device or get_device()).eval()
        self.load, self.transform = _test_pipeline(cfg)

    def read(self, image):
        """Read a picture, as the first step of the test pipeline does.

        Args:
            image (str | Path): The file.

        Returns:
            dict: What the other steps work on; its ``img`` is (H, W, 3), BGR.

        Raises:
            BadPicture: Where the file cannot be read; the sentence names it and the reason.
        """
        return self.load(dict(img_path=str(image), img_id=0, sample_idx=0, seg_fields=[], reduce_zero_label=False))


class Predictor(LoadedModel):
    """A model with its test pipeline, ready for one picture at a time.

    Args:
        config (str): Path or shipped name.
        checkpoint (str): A file; where its meta names classes, the model is built for them.
        device (str | None): None: what mmengine finds.
        cfg_options (dict | None): Changes to the config.

    Raises:
        UserError: Where config or checkpoint is missing, or they do not fit, or no classes of a segmentor are known.
    """

    def __init__(self, config, checkpoint, device=None, cfg_options=None):
        super().__init__(config, checkpoint, device, cfg_options)
        if self.host == 'mmseg' and not self.classes:  # its visualizer draws no class without a name
            raise UserError(f'checkpoint {checkpoint} names no classes (looked for dataset_meta in its meta), which '
                            'segments are drawn with: give all of them, in the order of their labels, with '
                            '--cfg-options "classes=[\'road\',\'sky\']"')
        self.visualizer = _visualizer(self.cfg, self.meta, self.host, self.classes)

    @torch.no_grad()
    def __call__(self, image):
        """Predict on one picture.

        Args:
            image (str | Path): The file.

        Returns:
            DetDataSample | SegDataSample | DataSample: The host's prediction.

        Raises:
            BadPicture: Where the file cannot be read; the sentence names it and the reason.
        """
        return self.model.test_step(pseudo_collate([self.transform(self.read(image))]))[0]


def find_images(places):
    """List pictures.

    Args:
        places (Sequence[str]): Files, and folders that are searched to the end.

    Returns:
        list[Path]: Files as given, and those in folders whose ending is a picture's, in order of their names.

    Raises:
        UserError: Where a place does not exist, or a folder holds no picture.
    """
    images = []
    for place in map(Path, places):
        if place.is_dir():
            found = sorted(p for p in place.rglob('*') if p.suffix.lower() in IMAGE_ENDINGS and p.is_file())
            if not found:
                raise UserError(f'folder {place} holds no picture ({" ".join(IMAGE_ENDINGS)})')
            images += found
        elif place.is_file():
            images.append(place)
        else:
            raise UserError(f'picture or folder {place} not found (looked for {place.absolute()})')
    return images


def output_names(images, places):
    """Name what is written for each picture: its path below the place given, without ending where that is unique.

    Args:
        images (Sequence[Path]): As found by :func:`find_images`.
        places (Sequence[str]): As given to it.

    Returns:
        list[str]: One name for each picture, all different.
    """
    folders = [Path(place) for place in places if Path(place).is_dir()]
    relative = []
    for image in images:
        folder = next((f for f in folders if image.is_relative_to(f)), image.parent)
        relative.append(image.relative_to(folder))
    stems = [str(path.with_suffix('')) for path in relative]
    names, used = [], set()
    for path, stem in zip(relative, stems, strict=True):
        base = stem if stems.count(stem) == 1 else str(path).replace('.', '_')
        name = next(n for i in range(len(images) + 1) if (n := base if not i else f'{base}_{i}') not in used)
        used.add(name)
        names.append(name)
    return names


def _build_model(cfg, checkpoint, path):
    model_cfg = cfg.model
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = revert_sync_batchnorm(MODELS.build(model_cfg))
    if checkpoint is None:
        model.init_weights()
        return model
    fit_checkpoint(model, checkpoint, path, reinit_classes=False)
    model.load_state_dict(checkpoint['state_dict'], strict=False)  # fit_checkpoint has compared names and shapes
    return model


def _test_pipeline(cfg):
    """The transform that reads the picture, and the rest; what reads annotations is left out."""
    datasets = leaf_datasets(cfg.get('test_dataloader'))
    if not datasets or not datasets[0].get('pipeline'):
        raise UserError(f'config {cfg.filename} has no test_dataloader with a pipeline: it cannot predict')
    pipeline = [step for step in datasets[0].pipeline if not step['type'].endswith('Annotations')]
    if pipeline[0]['type'] not in LOADERS:
        raise UserError(f'the test pipeline of {cfg.filename} starts with {pipeline[0]["type"]}; predicting from files '
                        'needs LoadImageFromFile there')
    # Whatever the config's loader does with bad pictures: here each is named, and the exit code tells.
    load = dict(pipeline[0], type='mmaffnet.LoadImageFromFile', on_bad='raise', log=None, label_maps=False,
                ignore_empty=False)
    return Compose([load]), Compose(pipeline[1:])


def _visualizer(cfg, meta, host, classes):
    types = dict(mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer', mmpretrain='UniversalVisualizer')
    # mmengine keeps one object for each name: this one shall be nobody else's.
    visualizer_cfg = dict(cfg.get('visualizer') or dict(type=types[host]), vis_backends=None, name=uuid.uuid4().hex)
    visualizer = VISUALIZERS.build(visualizer_cfg)
    palette = (meta.get('dataset_meta') or {}).get('palette')
    if palette is None or len(palette) < len(classes):
        palette = 'random'
        if host == 'mmseg':  # draws from a list only
            palette = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    visualizer.dataset_meta = dict(classes=classes or None, palette=palette)
    return visualizer


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + '\n')
