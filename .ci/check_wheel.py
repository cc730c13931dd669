"""Build the wheel, see what it ships, and train one step from it in an empty directory.

    .venv/bin/python .ci/check_wheel.py

The wheel is installed into a throwaway environment that sees the hosts of the calling one, so nothing is downloaded.
"""
import json
import os
import site
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIG = 'ssdlite_affnet-et_8xb16-200e_coco'
# Part of a path inside the wheel that must not be in any: data, tests, results, and the set-up of a checkout.
FORBIDDEN = ('tests/', 'data/', 'work_dirs/', 'tools/setup/', '__pycache__/', '.pyc', '.pth', '.jpg', '.png', '.ipynb')
COMMANDS = ('mmaffnet-train', 'mmaffnet-test', 'mmaffnet-predict', 'mmaffnet-config')
MAX_BYTES = 2 * 10**6


def expected_files(checkout: Path = CHECKOUT) -> set[str]:
    """What the wheel has to ship, read from the checkout's folders.

    Args:
        checkout (Path): Root of the checkout.

    Returns:
        set[str]: Paths inside the wheel: the package's modules, and configs, tools and model index under .mim.
    """
    package = {file.relative_to(checkout).as_posix() for file in (checkout / 'mmaffnet').rglob('*.py')}
    beside = [*(checkout / 'configs').rglob('*.py'), *(checkout / 'configs').rglob('*.yml'),
              *(checkout / 'tools').rglob('*.py'), *(checkout / 'tools').rglob('*.sh'), checkout / 'model-index.yml']
    names = {file.relative_to(checkout).as_posix() for file in beside}
    return package | {f'mmaffnet/.mim/{name}' for name in names if not name.startswith('tools/setup/')}


def inspect(wheel: Path, checkout: Path = CHECKOUT) -> list[str]:
    """Compare a wheel with the checkout.

    Args:
        wheel (Path): The wheel.
        checkout (Path): Root of the checkout it was built from.

    Returns:
        list[str]: A sentence for each thing that is wrong.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entries = next((archive.read(name).decode() for name in names if name.endswith('entry_points.txt')), '')
    shipped = {name for name in names if '.dist-info/' not in name}
    expected = expected_files(checkout)
    wrong = [f'{name} is missing.' for name in sorted(expected - shipped)]
    wrong += [f'{name} is shipped, and the checkout has no such file to ship.' for name in sorted(shipped - expected)]
    wrong += [f'{name} must not be shipped.' for name in sorted(shipped)
              if any(f'/{part}' in f'/{name}' or name.endswith(part) for part in FORBIDDEN)]
    wrong += [f'The command {command} is missing.' for command in COMMANDS if f'{command} = ' not in entries]
    if not any(name.endswith('licenses/LICENSE') for name in names):
        wrong.append('The licence is missing.')
    if wheel.stat().st_size > MAX_BYTES:
        wrong.append(f'The wheel has {wheel.stat().st_size} bytes, and {MAX_BYTES} are plenty.')
    return wrong


def build(folder: Path) -> Path:
    """Build the wheel with the packages that are installed.

    Args:
        folder (Path): Where to put it.

    Returns:
        Path: The wheel.
    """
    run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-cache-dir', '-w',
         folder, CHECKOUT], folder)
    return next(folder.glob('mmaffnet-*.whl'))


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment that sees the packages of this one.

    Args:
        wheel (Path): The wheel.
        folder (Path): The environment to make.

    Returns:
        Path: Its folder of programs.
    """
    run([sys.executable, '-m', 'venv', '--without-pip', folder], wheel.parent)
    packages = next(folder.glob('lib/python*/site-packages'))
    # a .pth file shows the hosts; the editable mmaffnet of this environment stays hidden, since the .pth files in a
    # folder that is added this way are not read
    (packages / 'hosts.pth').write_text('\n'.join(site.getsitepackages()) + '\n', encoding='utf-8')
    run([sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', 'install', '-q', '--no-deps', '--no-index',
         '--no-warn-script-location', wheel], wheel.parent)
    return folder / 'bin'


def tiny_coco(root: Path) -> None:
    """Draw four pictures with one box each, in COCO's layout and with its 80 classes.

    Args:
        root (Path): Folder that becomes the data root.
    """
    import numpy as np
    from mmdet.datasets import CocoDataset
    from PIL import Image
    categories = [dict(id=i, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'], 1)]
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(1, 5):
            pixels = np.random.default_rng(i).integers(0, 255, (120, 160, 3), np.uint8)
            pixels[30:90, 40:120] = 20 * i
            Image.fromarray(pixels).save(root / split / f'{i}.jpg')
            images.append(dict(id=i, file_name=f'{i}.jpg', width=160, height=120))
            annotations.append(dict(id=i, image_id=i, category_id=i, bbox=[40, 30, 80, 60], area=4800, iscrowd=0,
                                    segmentation=[[40, 30, 120, 30, 120, 90, 40, 90]]))
        (root / 'annotations' / f'instances_{split}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories)), encoding='utf-8')


def train_one_step(programs: Path, folder: Path) -> None:
    """Train on four pictures for one iteration with the installed command.

    Args:
        programs (Path): The environment's folder of programs.
        folder (Path): An empty directory to work in.
    """
    place = run([programs / 'python', '-c', 'import mmaffnet; print(mmaffnet.__file__)'], folder).strip()
    if not place.startswith(str(programs.parent)):
        sys.exit(f'Error: mmaffnet comes from {place}, not from the wheel in {programs.parent}.')
    tiny_coco(folder / 'data' / 'coco')
    output = run([programs / 'mmaffnet-train', CONFIG, '--cfg-options', 'train_cfg.max_epochs=1',
                  'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
                  'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
                  'val_dataloader.persistent_workers=False', 'default_hooks.logger.interval=1'], folder)
    checkpoints = sorted(folder.glob('work_dirs/*/*.pth'))
    if 'loss' not in output or not checkpoints:
        sys.exit(f'Error: mmaffnet-train ended without a loss or a checkpoint:\n{output[-3000:]}')
    print(f'mmaffnet-train from the wheel: one step, {checkpoints[-1].name}')


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Run a program in a directory and keep what it prints; end with its output where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f'{done.stdout[-6000:]}\nError: {" ".join(map(str, command))} ended with {done.returncode}.')
    return done.stdout


def main() -> int:
    with tempfile.TemporaryDirectory(prefix='mmaffnet-wheel-') as name:
        folder = Path(name)
        (folder / 'empty').mkdir()
        (folder / 'dist').mkdir()
        wheel = build(folder / 'dist')
        if wrong := inspect(wheel):
            print('\n'.join([f'{wheel.name}:', *wrong]), file=sys.stderr)
            return 1
        print(f'{wheel.name}: {wheel.stat().st_size} bytes, {len(expected_files())} files as expected')
        train_one_step(install(wheel, folder / 'environment'), folder / 'empty')
    return 0


if __name__ == '__main__':
    sys.exit(main())
