"""One training of a study: a config and a seed, the folders that belong to it, and how far it has come."""
import argparse
import fcntl
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmaffnet.engine.atomic import write_atomically
from mmaffnet.engine.check_data import check_classes, check_data
from mmaffnet.engine.config import add_option_argument, import_host, load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.own_data import apply_own_data
from mmaffnet.engine.paths import config_root, find_config
from mmaffnet.engine.train import used_parts

from .results import OPTIONS, keep

OUTPUT = 'output.log'   # what the training prints, of all its starts
LOCK = '.lock'
TAIL = 4096             # bytes in which the last line is looked for
EPOCHS = 'train_cfg.max_epochs='
# In a change of the config the folders that a file lies in, from the root or the user's home on.
FOLDERS = re.compile(r"""(^|[='"(\[{,:\s])~?/(?:[^/,'")\]}\s]+/+)*(?=[^/])""")


@dataclass(frozen=True)
class StudyRun:
    """A training.

    Args:
        config (Path): Its config.
        seed (int): Its seed.
        epochs (int): That it is to have.
        work_dir (Path): Of the study; the run has a folder of its own in it.
        out (Path): Folder of kept runs.
        options (tuple[str, ...]): ``KEY=VALUE`` changes of the config.
    """

    config: Path
    seed: int
    epochs: int
    work_dir: Path
    out: Path
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """str: Of its folders."""
        return f'{self.config.stem}-seed{self.seed}'

    @property
    def folder(self) -> Path:
        """Path: Its work directory."""
        return self.work_dir / self.name

    @property
    def output(self) -> Path:
        """Path: The file that holds what it printed."""
        return self.folder / OUTPUT

    @property
    def is_kept(self) -> bool:
        """bool: Whether it has been trained to its end, and its record kept."""
        return (self.out / self.name / 'run.json').is_file()

    def arguments(self) -> list[str]:
        """list[str]: Of ``tools/train.py``; ``--resume`` starts at the beginning where there is no checkpoint."""
        options = ['--cfg-options', *self.options] if self.options else []
        return [str(self.config), '--seed', str(self.seed), '--work-dir', str(self.folder), '--resume', *options]

    def check(self) -> None:
        """See that what is there of this run is what is asked for.

        Raises:
            UserError: It was kept with other epochs, or begun with other changes of the config.
        """
        if self.is_kept:
            kept = self.out / self.name
            epochs = json.loads((kept / 'run.json').read_text())['epochs']
            if epochs != self.epochs:
                raise UserError(f'{kept} holds a run of {epochs} epochs, and {self.epochs} are asked for: give another '
                                '--out and --work-dir, or remove it')
            self._check_options(kept, public_options(self.options), '--out and --work-dir')
        else:
            self._check_options(self.folder, list(self.options), '--work-dir')

    def _check_options(self, folder: Path, asked: list[str], other: str) -> None:
        """Compare the changes with those that a folder tells of; it tells of none where no study has made it."""
        if not (folder / OPTIONS).is_file():
            return
        begun = json.loads((folder / OPTIONS).read_text())
        if begun != asked:
            raise UserError(f'{folder} was begun with the changes {begun} of the config, and {asked} are asked for: '
                            f'give another {other}, or remove it')

    def take(self) -> int | None:
        """Take the run for this process.

        Returns:
            int | None: A descriptor that holds a lock as long as it, or a copy of it in another process, is open; None
            where another process has the run.

        Raises:
            UserError: The file system of the folder has no locks.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise UserError(f'{self.folder} cannot be locked ({error.strerror}), by which two studies do not train the '
                            'same run: give a --work-dir on a file system with locks (Lustre has them with the mount '
                            'option flock)') from error
        if not (self.folder / OPTIONS).is_file():
            write_atomically(self.folder / OPTIONS, json.dumps(self.options))
        return descriptor

    def keep(self) -> str | None:
        """Keep the record of a finished run.

        Returns:
            str | None: Why it cannot be kept; None where it is.
        """
        try:
            keep(self.folder, self.out, public_options(json.loads((self.folder / OPTIONS).read_text())))
        except UserError as error:
            return str(error)
        return None

    def last_line(self) -> str:
        """str: The last one that it printed."""
        with self.output.open('rb') as file:
            file.seek(max(0, self.output.stat().st_size - TAIL))
            lines = [line.strip() for line in file.read().decode(errors='replace').splitlines() if line.strip()]
        return lines[-1] if lines else 'it printed nothing'


def public_options(options: Sequence[str]) -> list[str]:
    """Changes of a config as they are kept: without places on the machine, and without the epochs, kept beside them.

    Args:
        options (Sequence[str]): ``KEY=VALUE``; ``data_root=/home/me/cifar10``.

    Returns:
        list[str]: The same; ``data_root=cifar10``.
    """
    return [FOLDERS.sub(r'\1', option) for option in options if not option.startswith(EPOCHS)]


def plan(configs: Sequence[str], seeds: Sequence[int], epochs: int | None, options: Sequence[str],
         work_dir: str | os.PathLike, out: str | os.PathLike) -> list[StudyRun]:
    """List the runs of a study, in the order in which they are trained.

    All configs with the first seed come first, so that a study that ends early compares what it has.

    Args:
        configs (Sequence[str]): See :func:`find_configs`.
        seeds (Sequence[int]): Different ones.
        epochs (int | None): Of every run; None: as each config says.
        options (Sequence[str]): ``KEY=VALUE`` changes of every config.
        work_dir (str | os.PathLike): Of the study.
        out (str | os.PathLike): Folder of kept runs.

    Returns:
        list[StudyRun]: One for each seed and config.

    Raises:
        UserError: Something that was given is missing or wrong, or does not fit what an earlier study left.
    """
    if len(set(seeds)) != len(seeds) or min(seeds, default=0) < 0:
        raise UserError(f'--seeds must be different numbers from 0 on, got {" ".join(map(str, seeds))}')
    if epochs is not None:
        if epochs < 1:
            raise UserError(f'--epochs must be 1 or more, got {epochs}')
        options = [*options, f'{EPOCHS}{epochs}']
    paths = find_configs(configs)
    epochs_of = {path: _epochs(path, options) for path in paths}
    runs = [StudyRun(path, seed, epochs_of[path], Path(work_dir), Path(out), tuple(options))
            for seed in seeds for path in paths]
    for run in runs:
        run.check()
    return runs


def check_sets(runs: Sequence[StudyRun]) -> None:
    """See that the data of runs is there and has their classes, once for all; each training would stop at it.

    Runs that have been begun are not looked at: they may have come to their end, or another machine may train them.

    Args:
        runs (Sequence[StudyRun]): Those that are to be trained.

    Raises:
        UserError: See :func:`mmaffnet.engine.check_data.check_data` and ``check_classes`` there.
    """
    for path, options in dict.fromkeys((run.config, run.options) for run in runs if not run.output.is_file()):
        cfg = load_config(path, _parsed(options))
        apply_own_data(cfg)
        parts = used_parts(cfg)
        check_data(cfg, parts)
        if cfg.get('default_scope'):   # of one that has none its training tells
            import_host(cfg)
            check_classes(cfg, parts)


def find_configs(names: Sequence[str]) -> list[Path]:
    """Find the configs of a study.

    Args:
        names (Sequence[str]): Paths or shipped names; a folder stands for the configs in it, sorted by name.

    Returns:
        list[Path]: As many, or more where there are folders.

    Raises:
        UserError: One is missing, a folder is empty, or two have the same name, which their records would share.
    """
    paths = []
    for name in names:
        folder = next((place for place in (Path(name).expanduser(), _shipped_folder(name)) if place.is_dir()), None)
        paths += [find_config(name)] if folder is None else sorted(folder.glob('*.py'))
        if folder is not None and not any(folder.glob('*.py')):
            raise UserError(f'the folder {folder} holds no config (*.py); its subfolders are not looked into')
    stems = [path.stem for path in paths]
    double = sorted({stem for stem in stems if stems.count(stem) > 1})
    if double:
        raise UserError(f'more than one config is called {", ".join(double)}, by which runs are kept apart: name each '
                        'config once')
    return paths


def find_baseline(name: str | None, paths: Sequence[Path]) -> str:
    """The config that the others are compared with.

    Args:
        name (str | None): Its path or name, or the beginning of its name where it is the only one with it, up to an
            underscore; None: the first.
        paths (Sequence[Path]): The configs of the study.

    Returns:
        str: Its name.

    Raises:
        UserError: None of them, or several, are meant.
    """
    stems = [path.stem for path in paths]
    if name is None:
        return stems[0]
    wanted = Path(name).name.removesuffix('.py')
    found = [stem for stem in stems if stem == wanted] or [stem for stem in stems if stem.startswith(f'{wanted}_')]
    if len(found) != 1:
        raise UserError(f'--baseline {name} is {"several" if found else "none"} of the configs: {", ".join(stems)}')
    return found[0]


def _shipped_folder(name: str) -> Path:
    return config_root() / Path(name).as_posix().removeprefix('./').removeprefix('configs/')


def _epochs(path: Path, options: Sequence[str]) -> int:
    """Epochs of a config with its changes, which are checked by the way."""
    cfg = load_config(path, _parsed(options))
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not isinstance(epochs, int) or (cfg.train_cfg.get('by_epoch') is False):
        raise UserError(f'config {path} does not count epochs (train_cfg.max_epochs), by which a study tells what is '
                        'finished')
    return epochs


def _parsed(options: Sequence[str]) -> dict | None:
    parser = argparse.ArgumentParser()
    add_option_argument(parser)
    return parser.parse_args(['--cfg-options', *options]).cfg_options if options else None
