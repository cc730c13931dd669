"""The demonstration: draw a data set, train on it as a user would, evaluate, and show it on one page."""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmaffnet.analysis.logs import plot_curves, read_scalars
from mmaffnet.analysis.report import Section, draw_beside_truth, write_page
from mmaffnet.datasets.shapes import generate_shapes
from mmaffnet.engine.config import add_common_arguments
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.train import add_train_arguments, prepare

CONFIG = 'ssdlite_affnet-et_shapes'
GOAL = 0.5  # of mAP_50, what a sound installation reaches
METRICS = ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75')
CURVES = ('loss_cls', 'loss_bbox', 'lr', 'coco/bbox_mAP', 'coco/bbox_mAP_50')
SHOWN = 12
NEXT_COMMAND = 'python tools/train.py configs/ssdlite_affnet_coco.py'


def run_demo(out: str | Path, quick: bool = False, epochs: int | None = None, seed: int = 0) -> dict:
    """Train SSDLite-AFFNet-et on drawn pictures, evaluate it beside an untrained net, and write one page.

    Args:
        out (str | Path): Folder for the data set, the run, the drawings and the page.
        quick (bool): A few pictures and two epochs, which show that everything runs and learn nothing.
        epochs (int, optional): Epochs instead of the config's.
        seed (int): Of the run. The data set has seeds of its own.

    Returns:
        dict: ``trained`` and ``untrained`` (metrics by name), ``page``, ``checkpoint``, ``minutes``, ``reached``
        (whether mAP_50 is at least 0.5; None for a quick run).

    Raises:
        UserError: ``out`` holds something else where the data set should stand.
    """
    start = time.monotonic()
    out = Path(out)
    _say('drawing the pictures')
    try:
        root = generate_shapes(out / 'shapes', *((32, 8) if quick else ()))
    except FileExistsError as error:
        raise UserError(str(error)) from error
    cfg = _config(root, out / 'run', seed, 2 if quick else epochs)

    _say('evaluating an untrained net')
    untrained = _evaluate_untrained(cfg, out / 'untrained')
    _say(f'training for {cfg.train_cfg.max_epochs} epochs ("eta" is the time left)')
    runner = RUNNERS.build(cfg)
    runner.train()
    curves = plot_curves({'demo': read_scalars(Path(runner.log_dir) / 'vis_data' / 'scalars.json')}, CURVES,
                         out / 'curves.png')
    _say('evaluating the trained net')
    trained = runner.test()
    drawn = _draw(runner, out / 'predictions')

    mean_ap_50 = trained['coco/bbox_mAP_50']
    result = dict(trained=trained, untrained=untrained, page=out / 'index.html',
                  checkpoint=out / 'run' / f'epoch_{cfg.train_cfg.max_epochs}.pth',
                  minutes=(time.monotonic() - start) / 60, reached=None if quick else mean_ap_50 >= GOAL)
    _write_page(result, cfg, root, curves, drawn)
    return result


def describe(result: dict) -> str:
    """What the demonstration prints at its end.

    Args:
        result (dict): Of :func:`run_demo`.

    Returns:
        str: A few lines.
    """
    rows = [f'{name[5:]:8s} {result["trained"]["coco/" + name]:.3f}   '
            f'(untrained {result["untrained"]["coco/" + name]:.3f})' for name in METRICS]
    if result['reached'] is None:
        verdict = 'A quick run: it shows that everything runs, and has learnt nothing.'
    elif result['reached']:
        verdict = f'mAP_50 is at least {GOAL}, as it should be.'
    else:
        verdict = (f'mAP_50 is BELOW {GOAL}: something is wrong with this run or this machine. "make doctor" and the '
                   f'log in {result["checkpoint"].parent} may tell what.')
    return '\n'.join([
        '', f'SSDLite-AFFNet-et on the validation pictures, after {result["minutes"]:.1f} minutes in all:', *rows,
        verdict, f'page:       {result["page"]}', f'checkpoint: {result["checkpoint"]}',
        f'real COCO:  {NEXT_COMMAND}   (data in data/coco)'])


def _say(what: str) -> None:
    print(f'[demo] {what}', flush=True)


def _config(root: Path, work_dir: Path, seed: int, epochs: int | None):
    """The config as ``tools/train.py`` makes it from the same arguments."""
    options = [f'data_root={root}/'] + ([f'train_cfg.max_epochs={epochs}'] if epochs else [])
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    add_common_arguments(parser)
    return prepare(parser.parse_args(
        [CONFIG, '--work-dir', str(work_dir), '--seed', str(seed), '--cfg-options', *options]))


def _evaluate_untrained(cfg, work_dir: Path) -> dict:
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = 'untrained'
    runner = RUNNERS.build(cfg)
    runner.model.init_weights()
    return runner.test()


@torch.no_grad()
def _draw(runner: Runner, folder: Path) -> list[Path]:
    """Draw ground truth and detections of the first validation pictures."""
    dataset = runner.test_dataloader.dataset
    runner.model.eval()
    samples = [runner.model.test_step(pseudo_collate([dataset[i]]))[0] for i in range(min(SHOWN, len(dataset)))]
    return draw_beside_truth(samples, folder, dataset.metainfo)


def _write_page(result: dict, cfg, root: Path, curves: Path, drawn: Sequence[Path]) -> None:
    rows = [(name[5:], f'{result["trained"]["coco/" + name]:.3f}', f'{result["untrained"]["coco/" + name]:.3f}')
            for name in METRICS]
    counts = {split: len(json.loads((root / f'annotations/instances_{split}2017.json').read_text())['images'])
              for split in ('train', 'val')}
    write_page(result['page'], 'mmaffnet: SSDLite-AFFNet-et on drawn shapes', [
        Section('Result', text=(
            f'{counts["train"]} drawn pictures for training, {counts["val"]} others for validation; '
            f'{cfg.train_cfg.max_epochs} epochs from scratch; {result["minutes"]:.1f} minutes in all, data set and '
            'evaluations included. The figures are COCO\'s, on the validation pictures.'),
            header=('', 'trained', 'untrained'), rows=rows),
        Section('Curves', pictures={'losses and learning rate by iteration, mAP by epoch': curves}),
        Section('Validation pictures: ground truth on the left, detections with a score of 0.3 or more on the right',
                pictures={path.stem: path for path in drawn}),
        Section('On real COCO', text='With COCO 2017 in data/coco:', code=NEXT_COMMAND),
    ])
