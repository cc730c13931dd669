"""``tools/analysis_tools/paper_tables.py``: a table of the paper beside ours, counted and read there and then."""

import contextlib
import io
import os
import sys
import warnings
from functools import partial
from pathlib import Path

from mmaffnet.engine.errors import UserError

from .table import FORMATS, Table, render
from .table1 import table_1
from .table2 import table_2
from .table3 import table_3
from .table8 import table_8
from .table9 import table_9
from .table11 import table_11
from .table_ablations import CONFIGS as ABLATIONS
from .table_ablations import table_ablations

TABLES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)


def make_tables(number: int, with_peers: bool = True) -> list[Table]:
    """One of the paper's tables, in one part or two.

    Args:
        number (int): One of :data:`TABLES`.
        with_peers (bool): Also the rows of Tables 2, 3 and 11 that are no AFFNet. Defaults to True.

    Returns:
        list[Table]: Its parts.

    Raises:
        UserError: There is no such table.
    """
    makers = {1: table_1, 2: lambda: table_2(with_peers), 3: lambda: table_3(with_peers), 8: table_8, 9: table_9,
              11: lambda: table_11(with_peers),
              **{ablation: partial(table_ablations, ablation) for ablation in ABLATIONS}}
    if number not in makers:
        raise UserError(f'table {number} is none of those that are counted: {", ".join(map(str, TABLES))}')
    # Hosts print as they are imported, which would spoil JSON, and warn of torch's future, which is not about tables.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return makers[number]()


def write_tables(tables: list[Table], form: str = 'terminal', out: str | os.PathLike | None = None) -> None:
    """Print tables, or write them to a file.

    Args:
        tables (list[Table]): See :func:`make_tables`.
        form (str): 'terminal', 'markdown' or 'json'. Defaults to 'terminal'.
        out (str | os.PathLike, optional): The file. Defaults to standard output.

    Raises:
        UserError: The format is unknown, or the file cannot be written.
    """
    if out is None:
        render(tables, form, sys.stdout)
        return
    text = io.StringIO()
    render(tables, form, text)
    try:
        Path(out).write_text(text.getvalue(), encoding='utf-8')
    except OSError as error:
        raise UserError(f'--out {out} cannot be written: {error.strerror or error}') from error


def add_arguments(parser) -> None:
    """Add the command's arguments.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('--table', type=int, choices=TABLES, required=True, help='number of the table in the paper')
    parser.add_argument('--format', choices=FORMATS, default='terminal', help='(default: terminal)')
    parser.add_argument('--out', help='file to write (default: standard output)')
    parser.add_argument('--no-peers', action='store_true', help='of Tables 2, 3 and 11 the rows of AFFNet only')


def run(args) -> None:
    """Make and write the table that the arguments ask for.

    Args:
        args (argparse.Namespace): See :func:`add_arguments`.
    """
    if args.out and not Path(args.out).absolute().parent.is_dir():   # before minutes of counting
        raise UserError(f'--out {args.out}: the folder {Path(args.out).absolute().parent} does not exist; make it')
    write_tables(make_tables(args.table, not args.no_peers), args.format, args.out)
