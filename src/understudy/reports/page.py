"""One self-contained HTML file: the parts of a page, and how they become text that needs no network and no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.reports.figures.picture import Picture
from understudy.reports.figures.style import svg
from understudy.reports.pages.advice import Advice, Headline

_SMALL_PX = 48  # up to this size PNG is no larger than JPEG, and hard edges show the pixels


@dataclass(frozen=True)
class Tile:
    """A figure in large print, and what it is."""

    figure: str
    meaning: str


@dataclass(frozen=True)
class PageTable:
    """Cells by row; `numeric` columns, by number, are aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    numeric: Sequence[int] = ()


@dataclass(frozen=True)
class Image:
    """A small picture as a data URI; one of few pixels is shown with hard edges."""

    uri: str
    is_small: bool


@dataclass(frozen=True)
class Neighbor:
    """A labeled training image that looks like the one shown."""

    image: Image | None
    text: str


@dataclass(frozen=True)
class Card:
    """An image with a sentence, its name, and what looks like it."""

    image: Image | None
    text: str
    name: str
    neighbors: Sequence[Neighbor] = ()


@dataclass(frozen=True)
class Small:
    """An image of a grid with a few words below it, or two side by side.

    Args:
        kind: "right", "wrong" or empty.
        name: What it is called, in small letters.
    """

    image: Image | None
    text: str
    kind: str = ""
    second: Image | None = None
    name: str = ""


@dataclass(frozen=True)
class Grid:
    """Images side by side."""

    title: str
    caption: str
    tiles: Sequence[Small]

    @property
    def has_pairs(self) -> bool:
        """Whether two images are side by side in each place, which then is wider."""
        return any(one.second is not None for one in self.tiles)


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    title: str
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[PageTable] = ()
    cards: Sequence[Card] = ()
    grids: Sequence[Grid] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.sentences or self.pictures or self.tables or self.cards or self.grids)


@dataclass(frozen=True)
class Page:
    """All that is on a page, from top to bottom."""

    title: str
    kicker: str
    headline: Headline
    tiles: Sequence[Tile] = ()
    advice: Sequence[Advice] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
    footer: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """Every figure of the page."""
        return [picture for section in self.sections for picture in section.pictures]


def render(page: Page) -> str:
    """The page as one HTML text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("understudy.reports")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    template = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    css = Markup((here / "page.css").read_text(encoding="utf-8"))
    sections = [_plain(section) for section in page.sections if not section.is_empty]
    return template.render(page={**vars(page), "sections": sections}, css=css, version=version("understudy")) + "\n"


def known(pictures: Iterable[Picture | None]) -> list[Picture]:
    """Those figures whose data is there."""
    return [picture for picture in pictures if picture is not None]


def image(pictures: NDArray[np.uint8], number: int | None) -> Image | None:
    """The picture with this number; None without one."""
    if number is None or not 0 <= number < len(pictures):
        return None
    from PIL import Image as Pillow

    pixels = pictures[number]
    is_small, file = max(pixels.shape[:2]) <= _SMALL_PX, io.BytesIO()
    if is_small:
        Pillow.fromarray(pixels).save(file, "PNG", optimize=True)
    else:
        Pillow.fromarray(pixels).save(file, "JPEG", quality=82)
    kind = "png" if is_small else "jpeg"
    return Image(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", is_small)


def _plain(section: Section) -> Mapping[str, Any]:
    from markupsafe import Markup

    drawn = [
        {"name": one.name, "title": one.title, "caption": one.caption, "svg": Markup(svg(one.figure))}
        for one in section.pictures
    ]
    return {**vars(section), "pictures": drawn}
