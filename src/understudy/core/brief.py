"""Objects that show themselves in a few lines, in a prompt and in a notebook, instead of all their arrays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from html import escape

_MAX_CHARACTERS = 900  # of a whole text: what a person reads in a cell's output; under 1,000 with the class's name
_MAX_IN_LINE = 300  # two to three lines of a notebook, so that one long value leaves room for the others


class Brief:
    """Shows the lines of `brief` as its text, and as a list in a notebook.

    A data class that derives from it passes `repr=False`.
    """

    @abstractmethod
    def brief(self) -> tuple[str, ...]:
        """The lines of its summary, the most important first."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: " + "\n  ".join(_cut(self.brief()))

    def _repr_html_(self) -> str:
        return as_html(self, self.brief())


def as_html(shown: Brief, lines: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> str:
    """The first line as a headline, a table whose first row is its header, and the other lines as a list."""
    first, *rest = _cut(lines)
    table = "".join(_row(cells, "td" if number else "th") for number, cells in enumerate(rows))
    items = "".join(f"<li>{escape(line)}</li>" for line in rest)
    parts = [f"<b>{escape(type(shown).__name__)}</b>: {escape(first)}"]
    parts += [f"<table>{table}</table>"] if table else []
    parts += [f"<ul>{items}</ul>"] if items else []
    return f"<div>{''.join(parts)}</div>"


def _row(cells: Sequence[str], tag: str) -> str:
    """A row of a table; Jupyter would align its text to the right."""
    texts = (escape(_shortened(cell)) for cell in cells)
    return "<tr>" + "".join(f'<{tag} style="text-align: left">{text}</{tag}>' for text in texts) + "</tr>"


def listing(names: tuple[str, ...], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(name if len(name) <= 20 else f"{name[:19]}…" for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _cut(lines: Sequence[str]) -> list[str]:
    """The lines that fit, each cut short."""
    kept: list[str] = []
    for line in lines:
        short = _shortened(line)
        if sum(map(len, kept)) + len(short) > _MAX_CHARACTERS:
            return [*kept, "…"]
        kept.append(short)
    return kept


def _shortened(line: str) -> str:
    return line if len(line) <= _MAX_IN_LINE else f"{line[: _MAX_IN_LINE - 1]}…"
