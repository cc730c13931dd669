"""One table with its conventions and notes, printed in a terminal, as Markdown, or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TextIO

from mmaffnet.engine.errors import UserError

FORMATS = ('terminal', 'markdown', 'json')
MISSING = '–'
# A terminal of unknown width (a pipe, a file) gets what the widest table needs.
FALLBACK_WIDTH = 200


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        key (str): Its name in JSON.
        title (str): Its heading.
        digits (int, optional): Decimals of floats. Defaults to None: as Python prints them.
        signed (bool): Show the sign of numbers, for differences. Defaults to False.
    """

    key: str
    title: str
    digits: int | None = None
    signed: bool = False

    def text(self, value) -> str:
        """A value as it is shown."""
        if value is None:
            return MISSING
        if isinstance(value, float) and self.digits is not None:
            return f'{value:{"+" if self.signed else ""}.{self.digits}f}'
        return str(value)


class Noted(NamedTuple):
    """A cell with a footnote; an empty note is none."""

    value: object
    note: str


@dataclass
class Table:
    """A table.

    Args:
        title (str): Its heading.
        columns (Sequence[Column]): Its columns.
        conventions (str): One line on what its numbers mean.
        rows (list[list]): A value a column; None where there is none.
        notes (list[str]): Footnotes; cells refer to them as [1], [2] …
        marks (dict[tuple[int, int], int]): The number of the footnote of a cell (row, column), both from 0.
    """

    title: str
    columns: Sequence[Column]
    conventions: str
    rows: list[list] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marks: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, *values) -> None:
        """Add a row.

        Args:
            *values: One for each column, those with a footnote as :class:`Noted`.

        Raises:
            ValueError: There are more or fewer values than columns.
        """
        if len(values) != len(self.columns):
            raise ValueError(f'a row of {self.title!r} has {len(self.columns)} values, got {len(values)}')
        for i, cell in enumerate(values):
            if isinstance(cell, Noted) and cell.note:
                if cell.note not in self.notes:
                    self.notes.append(cell.note)
                self.marks[len(self.rows), i] = self.notes.index(cell.note) + 1
        self.rows.append([cell.value if isinstance(cell, Noted) else cell for cell in values])

    def texts(self) -> list[list[str]]:
        """The rows as they are shown."""
        return [[column.text(value) + (f' [{self.marks[r, c]}]' if (r, c) in self.marks else '')
                 for c, (column, value) in enumerate(zip(self.columns, row, strict=True))]
                for r, row in enumerate(self.rows)]

    def as_dict(self) -> dict:
        """What JSON holds: the numbers unrounded, under the columns' keys, and each row's footnotes by column."""
        keys = [column.key for column in self.columns]
        rows = []
        for r, row in enumerate(self.rows):
            notes = {key: self.notes[self.marks[r, c] - 1] for c, key in enumerate(keys) if (r, c) in self.marks}
            rows.append(dict(zip(keys, row, strict=True), notes=notes))
        return dict(title=self.title, conventions=self.conventions, notes=self.notes,
                    columns={column.key: column.title for column in self.columns}, rows=rows)

    def _footer(self) -> list[str]:
        return [self.conventions, *(f'[{number}] {note}' for number, note in enumerate(self.notes, start=1))]

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        def line(cells: Sequence[str]) -> str:
            return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'

        rows = self.texts()
        numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(self.columns))]
        head = [line([column.title for column in self.columns]),
                line(['---:' if right else '---' for right in numeric])]
        return '\n'.join([f'**{self.title}**', '', *head, *map(line, rows), '', '  \n'.join(self._footer())])

    def print(self, file: TextIO | None = None) -> None:
        """Print to a terminal.

        Args:
            file (TextIO, optional): Where to. Defaults to standard output.
        """
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable

        rows = self.texts()
        console = Console(file=file, highlight=False)
        if not console.is_terminal:
            console = Console(file=file, highlight=False, width=FALLBACK_WIDTH)
        shown = RichTable(title=self.title, title_justify='left', title_style='bold', box=box.SIMPLE_HEAD)
        for i, column in enumerate(self.columns):
            right = all(_is_number(row[i]) for row in rows)
            shown.add_column(column.title, justify='right' if right else 'left', overflow='fold')
        for row in rows:
            shown.add_row(*(cell.replace('[', r'\[') for cell in row))   # a note's number is no markup
        console.print(shown)
        for line in self._footer():
            console.print(line, markup=False)


def _is_number(text: str) -> bool:
    return text == MISSING or text.lstrip('+-').replace('.', '').replace(',', '').isdigit()


def render(tables: Sequence[Table], form: str, file: TextIO) -> None:
    """Write tables in one of the formats.

    Args:
        tables (Sequence[Table]): In order.
        form (str): 'terminal', 'markdown' or 'json' (a list with an object a table).
        file (TextIO): Where to.

    Raises:
        UserError: The format is unknown.
    """
    if form == 'json':
        json.dump([table.as_dict() for table in tables], file, indent=2, ensure_ascii=False)
        file.write('\n')
    elif form == 'markdown':
        file.write('\n\n'.join(table.markdown() for table in tables) + '\n')
    elif form == 'terminal':
        for table in tables:
            table.print(file)
    else:
        raise UserError(f'the format {form!r} is unknown; allowed: {", ".join(FORMATS)}')
