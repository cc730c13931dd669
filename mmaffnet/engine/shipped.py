"""The command ``mmaffnet-config``, for people who installed the wheel and have no checkout."""
from pathlib import Path

from .config import load_config
from .errors import UserError
from .paths import config_chain, config_root, find_config, shipped_configs


def add_config_arguments(parser):
    """Add the subcommands.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('list', help='names of all shipped configs')
    show = commands.add_parser('print', help='one config with everything that it inherits')
    show.add_argument('name')
    path = commands.add_parser('path', help='where the file of a shipped config is, for programs that want a path')
    path.add_argument('name')
    copy = commands.add_parser('copy', help='copy a config and its base files, to be changed')
    copy.add_argument('name')
    copy.add_argument('folder', nargs='?', default='configs', help='where to (default: configs)')
    copy.add_argument('--force', action='store_true', help='replace files that are there')


def run_config_command(args):
    """Do what ``mmaffnet-config`` was asked for, and print it.

    Args:
        args (argparse.Namespace): See :func:`add_config_arguments`.

    Raises:
        UserError: Where there is no such config, or a file would be overwritten.
    """
    if args.command == 'list':
        print('\n'.join(shipped_configs()))
    elif args.command == 'print':
        print(load_config(args.name).pretty_text)
    elif args.command == 'path':
        print(find_config(args.name).absolute())
    else:
        copied = copy_config(args.name, args.folder, args.force)
        print('\n'.join(f'written: {path}' for path in copied))


def copy_config(name, folder, force=False):
    """Copy a shipped config with its base files, in the folders that they have among themselves.

    Args:
        name (str): Shipped name.
        folder (str | Path): Where to; made where it is missing.
        force (bool): Whether files that are there are replaced.

    Returns:
        list[Path]: The files written, the config itself first.

    Raises:
        UserError: Where there is no such config, or a file with other content is there.
    """
    root = config_root().resolve()
    targets = {}
    for source in config_chain(find_config(name)):
        source = source.resolve()
        if not source.is_relative_to(root):
            raise UserError(f'{source} is no shipped config: mmaffnet-config list names them')
        targets[source] = Path(folder) / source.relative_to(root)
    for source, target in targets.items():
        if target.exists() and not force and target.read_bytes() != source.read_bytes():
            raise UserError(f'{target} is there already and differs; --force replaces it')
    for source, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return list(targets.values())
