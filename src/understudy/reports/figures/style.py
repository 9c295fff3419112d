"""How figures look: few marks in a fixed meaning of colors, and pictures that take the page's light or dark colors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

INK, MUTED, GRID, PAPER = "#1c2127", "#66707b", "#dfe3e8", "#fffffe"
"""Colors that a page sets anew, and that nothing else may have."""
SUPERVISED, METHOD = MUTED, "#2a7fc9"
FURTHER = ("#e08a1e", "#119f78", "#b86fa8", "#4fb0dc", "#9a8a12", "#d1603d")
"""Of methods beside the first, in this order."""
RIGHT, WRONG = "#119f78", "#d1603d"
FULL = 0.8
"""How strong a cell of a table is at most, so that ink can be read on it on light and on dark paper."""
SMALL = 8.5
"""The least size of text, in points."""

_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_LONGEST = 24
_DOUBLE = ("W", "F")
_LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
_LOOK: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.bottom": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.facecolor": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "image.composite_image": False,
    "legend.borderaxespad": 0.2,
    "legend.borderpad": 0.2,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 9,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """The function, drawing in the house's look whatever the user's own settings of matplotlib are."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with _look():
            return draw(*args, **kwargs)

    return inner


def new_figure(width: float = 7.2, height: float = 3.6) -> Figure:
    """An empty figure of so many inches, which no window knows of."""
    with _look():
        from matplotlib.figure import Figure

        return Figure(figsize=(width, height), layout="constrained")


def name_figure(figure: Figure, name: str, label: str) -> None:
    """Say what the figure is called and what a screen reader is to say of it."""
    figure.set_gid(name)
    figure.set_label(label)


@styled
def svg(figure: Figure) -> str:
    """The figure as an `svg` element to stand in a page, which scales to its width and takes its colors.

    Text stays text; equal figures give equal characters; no id occurs in another figure.
    """
    root = ElementTree.fromstring(_written(figure))
    size = root.attrib["viewBox"]
    _strip(root, hashlib.sha256(_words(root).encode()).hexdigest()[:8])
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": size,
            "width": "100%",
            "role": "img",
            "aria-label": clean(str(figure.get_label())),
            "style": "font-family: system-ui, sans-serif; stroke-linejoin: round; stroke-linecap: butt",
        }
    )
    return ElementTree.tostring(root, encoding="unicode")


def framed(picture: str) -> str:
    """A picture of `svg` in a frame that brings the colors a page would, for a notebook."""
    colors = "; ".join(f"{name[4:-1]}: {color}" for color, name in _VARIABLES.items())
    return f'<div style="{colors}; background: {PAPER}; max-width: 46em">{picture}</div>'


@styled
def save(figure: Figure, stem: Path) -> None:
    """Write the figure beside each other as PNG on white and as SVG that stands alone.

    Args:
        stem: The path without a suffix; its folder is there.
    """
    stem.with_name(f"{stem.name}.svg").write_text(_written(figure), encoding="utf-8")
    write_png(figure, stem.with_name(f"{stem.name}.png"))


@styled
def write_png(figure: Figure, path: Path) -> None:
    """Write the figure as PNG on white."""
    with _any_glyph():
        figure.savefig(path, dpi=150, facecolor="white", metadata={"Software": None}, format="png")


def clean(text: str) -> str:
    """The text on one line, without what cannot be shown or what turns the text around it."""
    kept = (" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp", "Co", "Cn") else one for one in str(text))
    turning = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    return " ".join("".join(one for one in kept if one not in turning).split())


def shorten(text: str, longest: int = _LONGEST) -> str:
    """The clean text, cut with an ellipsis to about so many columns; Chinese and the like take two each."""
    text = clean(text)
    if _columns(text) <= longest:
        return text
    return _first(text, longest - 1).rstrip() + "…"


def short_names(names: Sequence[Any], longest: int = _LONGEST) -> list[str]:
    """The names cut; those that would then be alike keep their ends instead of their middles."""
    short = [shorten(name, longest) or "(empty)" for name in names]
    often = Counter(short)
    return [
        _cut_middle(clean(name), longest) if often[one] > 1 and one.endswith("…") else one
        for name, one in zip(names, short, strict=True)
    ]


def quoted(name: str) -> str:
    """The shortened name in quotation marks, for a sentence; one written from right to left does not turn the rest."""
    short = shorten(name) or "(empty)"
    turns = any(unicodedata.bidirectional(one) in ("R", "AL") for one in short)
    return f"'\u2068{short}\u2069'" if turns else f"'{short}'"


def color_of(number: int) -> str:
    """The color of the method at this place, supervised left out; beyond the palette it begins again."""
    return (METHOD, *FURTHER)[number % (1 + len(FURTHER))]


def tinted(shares: Any, color: str = METHOD) -> Any:
    """Pixels (..., 4) of one color as strong as the shares in [0, 1], clear at 0, so that any paper may be below."""
    import numpy as np
    from matplotlib.colors import to_rgb

    alpha = np.clip(np.nan_to_num(np.asarray(shares, float)), 0, 1)
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3] = np.round(255 * np.array(to_rgb(color)))
    pixels[..., 3] = np.round(63 * alpha) * 255 // 63  # few levels, which pack well
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def _matplotlib() -> ModuleType:
    """Matplotlib, whatever MPLBACKEND holds: figures are drawn without a window and need no backend.

    A notebook's kernel hands its backend on to programs in whose environment it may be missing, and matplotlib then
    refuses to be imported. So the variable is hidden during the import and applied afterwards where it is valid.
    """
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = backend
    return mpl


@contextmanager
def _look() -> Iterator[None]:
    mpl = _matplotlib()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK)
        yield


@contextmanager
def _any_glyph() -> Iterator[None]:
    """Names may have letters that the font lacks: a browser finds them elsewhere, a PNG shows boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield


def _written(figure: Figure) -> str:
    """The figure as a file of SVG with its own colors and no date."""
    if figure not in _DRAWN:
        _DRAWN[figure] = _draw(figure)
    return _DRAWN[figure]


# A page and the file beside it hold the same drawing, and drawing is most of what a report costs.
_DRAWN: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()


def _draw(figure: Figure) -> str:
    mpl = _matplotlib()
    target = StringIO()
    mpl.rcParams["svg.hashsalt"] = figure.get_gid() or "figure"
    with _any_glyph():
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return target.getvalue()


def _strip(root: ElementTree.Element, prefix: str) -> None:
    """Take from the parsed file what a page gives, and what no one refers to."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(r"url\(#([^)]+)\)", " ".join(v for one in root.iter() for v in one.attrib.values())))
    used |= {v[1:] for one in root.iter() for k, v in one.attrib.items() if k.endswith("href") and v.startswith("#")}
    for one in root.iter():
        one[:] = [child for child in one if len(child) or child.attrib.keys() - {"id"} or child.text]
        one.tag = one.tag.rpartition("}")[2]
        one.tail = None
        one.text = one.text if one.tag == "text" else None
        one.attrib = {key.rpartition("}")[2]: value for key, value in one.attrib.items()}
        if one.attrib.get("id") in used:
            one.attrib["id"] = f"{prefix}{one.attrib['id']}"
        else:
            one.attrib.pop("id", None)
        for key, value in one.attrib.items():
            if key in ("href", "clip-path"):
                value = re.sub(r"^(url\()?#", lambda found: f"{found[0]}{prefix}", "".join(value.split()))
            elif key == "style":
                value = _in_variables(value)
            elif key in ("d", "x", "y", "transform"):
                value = " ".join(_LONG_NUMBER.sub(r"\1", value).split())
            one.attrib[key] = value
        if one.attrib.get("transform", "").startswith("rotate(-0 "):
            del one.attrib["transform"]


def _in_variables(style: str) -> str:
    """A style with the page's colors and font for the figure's own."""
    return re.sub(
        "#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), re.sub(r"font-family: [^;]+; ", "", style)
    )


def _words(root: ElementTree.Element) -> str:
    return ElementTree.tostring(root, encoding="unicode")


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in _DOUBLE else 1 for one in text
    )


def _first(text: str, columns: int) -> str:
    """The longest beginning of so many columns that splits no joined characters."""
    kept, width = 0, 0
    for kept, one in enumerate(text):  # noqa: B007
        width += _columns(one)
        if width > columns:
            break
    while kept and (unicodedata.combining(text[kept]) or text[kept] in "\u200d\ufe0f" or text[kept - 1] == "\u200d"):
        kept -= 1
    return text[:kept]


def _cut_middle(text: str, longest: int) -> str:
    half = (longest - 1) // 2
    if _columns(text) <= longest:
        return text
    return _first(text, half).rstrip() + "…" + _first(text[::-1], half)[::-1].lstrip()
