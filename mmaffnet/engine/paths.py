"""Where configs are found: a path, or the name of a config that mmaffnet ships, from any directory."""
import ast
import difflib
from pathlib import Path

import mmaffnet

from .errors import UserError

PACKAGE = Path(mmaffnet.__file__).resolve().parent


def config_root():
    """Find the folder of the shipped configs: ``.mim/configs`` in the installed package, else the checkout's.

    Returns:
        Path: The folder.

    Raises:
        UserError: Where there is neither.
    """
    places = (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs')
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f'the shipped configs are missing (looked for {places[0]} and {places[1]}): install mmaffnet again')


def shipped_configs():
    """list[str]: Names of all configs that can be run, relative to :func:`config_root`; base files are left out."""
    root = config_root()
    names = (path.relative_to(root).as_posix() for path in root.rglob('*.py'))
    return sorted(name for name in names if not name.startswith('_base_/'))


def find_config(name):
    """Find a config by path or by shipped name.

    Args:
        name (str | Path): A path; or a shipped config's name, with or without ``configs/``, its folder and ``.py``
            (``ssdlite_affnet_coco``).

    Returns:
        Path: The file, as given where it is a path.

    Raises:
        UserError: Where there is no such config; the sentence names similar ones.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    wanted = path.as_posix().removeprefix('./').removeprefix('configs/').removesuffix('.py')
    shipped = {shipped.removesuffix('.py'): shipped for shipped in shipped_configs()}
    matches = [full for stem, full in shipped.items() if wanted in (stem, stem.rsplit('/', 1)[-1])]
    if matches:
        return config_root() / matches[0]
    similar = difflib.get_close_matches(wanted.rsplit('/', 1)[-1], [stem.rsplit('/', 1)[-1] for stem in shipped],
                                        n=3, cutoff=0.5)
    hint = f'similar ones: {", ".join(similar)}' if similar else 'mmaffnet-config list names what is shipped'
    raise UserError(f'config {name} not found (looked for {path.absolute()} and in {config_root()}); {hint}')


def config_chain(path):
    """List a config file and everything that it inherits from through ``_base_``.

    Args:
        path (str | Path): A Python config file.

    Returns:
        list[Path]: The file, then its bases, depth first, without duplicates. Bases of other packages (``pkg::…``)
        are left out.
    """
    path = Path(path)
    bases = assigned_value(path, '_base_', default=())
    chain = {path.resolve(): path}
    for base in [bases] if isinstance(bases, str) else bases:
        if '::' not in base:
            chain.update({found.resolve(): found for found in config_chain(path.parent / base)})
    return list(chain.values())


def assigned_value(path, name, default=None):
    """Read what a config file itself assigns to a name, without running it.

    Args:
        path (Path): A Python config file.
        name (str): The variable.
        default: Returned where the file assigns nothing, or something that is no plain literal.

    Returns:
        object: The last literal assigned on the file's top level.
    """
    value = default
    for node in ast.parse(path.read_text(), filename=str(path)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                value = default
    return value
