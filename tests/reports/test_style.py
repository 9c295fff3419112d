"""A figure's SVG is one piece of a page: its colors, its font, its width, and nobody else's ids."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from tests.reports import made
from understudy.reports.figures import by_class, model
from understudy.reports.figures.picture import Picture
from understudy.reports.figures.style import INK, clean, quoted, save, short_names, shorten, svg, tinted


def _accuracies(seed: int = 0) -> Picture:
    picture = model.accuracies(made.result(seed=seed))
    assert picture is not None
    return picture


def test_svg__takes_the_colors_and_the_width_of_the_page() -> None:
    text = svg(_accuracies().figure)
    root = ElementTree.fromstring(text)
    assert root.attrib["width"] == "100%"
    assert "height" not in root.attrib
    assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", root.attrib["viewBox"])
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"].startswith("Accuracy. Accuracy on ")
    for name in ("--ink", "--muted", "--grid", "--paper"):
        assert f"var({name})" in text
    assert not re.search("(?i)#000000|#000;|black|DejaVu|<style|<metadata|<?xml|date", text.replace("<svg", ""))
    assert all("fill: var(--" in one.attrib["style"] for one in root.iter("text"))


@pytest.mark.parametrize("draw", [model.robustness, by_class.confusion])
def test_svg__refers_to_own_ids_only(draw: object) -> None:
    assert callable(draw)
    text = svg(draw(made.result()).figure)
    root = ElementTree.fromstring(text)
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    assert len(ids) == len(set(ids))
    assert used == set(ids)


def test_svg__figures_share_no_ids() -> None:
    found = []
    for seed in (0, 1):
        root = ElementTree.fromstring(svg(_accuracies(seed).figure))
        found.append({one.attrib["id"] for one in root.iter() if "id" in one.attrib})
    assert found[0]
    assert not found[0] & found[1]


def test_svg__equal_figures_are_equal() -> None:
    assert svg(_accuracies().figure) == svg(_accuracies().figure)
    code = (
        "import hashlib\nfrom tests.reports import made\nfrom understudy.reports.figures import by_class, model\n"
        "from understudy.reports.figures.style import svg\n"
        "print(hashlib.sha256(svg(model.accuracies(made.result()).figure).encode()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == hashlib.sha256(svg(_accuracies().figure).encode()).hexdigest()


def test_svg__is_the_same_whatever_the_user_has_set() -> None:
    plain = svg(_accuracies().figure)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "text.parse_math": True}):
        assert svg(_accuracies().figure) == plain


def test_save__writes_both_files_alike_each_time(tmp_path: Path) -> None:
    for name in ("one", "two.of"):
        save(_accuracies().figure, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.of.png").read_bytes()
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.of.svg").read_text(encoding="utf-8")
    assert "var(--" not in text
    assert INK in text
    assert text.startswith("<?xml")


def test_save__any_letters(tmp_path: Path) -> None:
    picture = by_class.confusion(made.result(made.HOSTILE, 300))
    assert picture is not None
    save(picture.figure, tmp_path / "confusion")
    ElementTree.parse(tmp_path / "confusion.svg")


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("cat", "cat"),
        ("two\nlines\t ", "two lines"),
        ("x" * 25, "x" * 23 + "…"),
        ("猫" * 12, "猫" * 12),
        ("猫" * 13, "猫" * 11 + "…"),
        ("\u202ea\u0000b\ud800", "a b"),
        ("word " * 9, "word word word word wor…"),
    ],
)
def test_shorten__to_columns(name: str, short: str) -> None:
    assert shorten(name) == short


def test_shorten__splits_no_joined_characters() -> None:
    family = "👩‍👩‍👧‍👦"
    assert shorten(f"{'x' * 20}{family}") == f"{'x' * 20}…"
    assert shorten("e\u0301" * 40) == "e\u0301" * 23 + "…"


def test_short_names__that_would_be_alike_keep_their_ends() -> None:
    assert short_names(["Tomato leaf with a disease A", "Tomato leaf with a disease B", "", "x"]) == [
        "Tomato leaf…a disease A",
        "Tomato leaf…a disease B",
        "(empty)",
        "x",
    ]


def test_quoted__isolates_what_runs_from_right_to_left() -> None:
    assert quoted("cat") == "'cat'"
    name = made.HOSTILE[4]
    assert quoted(name) == f"'\u2068{name}\u2069'"


def test_clean__keeps_plain_text() -> None:
    assert clean("café 猫 <b>") == "café 猫 <b>"


def test_tinted__clear_where_there_is_nothing() -> None:
    pixels = tinted([[0.0, float("nan"), 2.0]])
    assert pixels[0, :, 3].tolist() == [0, 0, 255]


@pytest.mark.parametrize("backend", ["module://no_such_module.backend_inline", "none-such"])
def test_new_figure__backend_in_the_environment_is_not_there(backend: str) -> None:
    code = (
        "import os\nfrom understudy.reports.figures.style import new_figure, svg\nfigure = new_figure()\n"
        "figure.subplots().plot([1, 2])\nassert svg(figure)\nprint(os.environ['MPLBACKEND'])"
    )
    environment = {**os.environ, "MPLBACKEND": backend}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (output.stdout.strip(), output.stderr) == (backend, "")


def test_new_figure__usable_backend_stays_that_of_the_user() -> None:
    code = (
        "from understudy.reports.figures.style import new_figure\nnew_figure()\n"
        "import matplotlib\nprint(matplotlib.rcParams['backend'])"
    )
    environment = {**os.environ, "MPLBACKEND": "svg"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "svg"
