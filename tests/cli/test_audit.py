"""`understudy audit`: the summary, the page, the JSON and the manifest; bad input is one sentence; Ctrl-C is clean."""

from __future__ import annotations

import json
import re
import shutil
import signal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import understudy as package
from tests.cli.conftest import QUICK, Run, start
from tests.inspection.made import CHANGES, FLAWED, photo


@pytest.fixture
def planted() -> Path:
    """photos, unlabeled and test below the working directory, with one fault of each kind."""
    for seed in range(20):
        kind = ("cat", "dog")[seed % 2]
        for name, offset in (
            (f"photos/{kind}/{seed}.png", 0),
            (f"unlabeled/{seed}.png", 100),
            (f"test/{kind}/{seed}.png", 200),
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            photo(offset + seed).save(name)
    photo(200).save("unlabeled/test-copy.png")
    CHANGES["jpeg 60"](photo(201)).save("unlabeled/test-near.png")
    FLAWED["blank"](photo(0)).save("unlabeled/<b>blank & odd.png")
    Path("unlabeled/broken.jpg").write_bytes(b"")
    return Path()


def test_audit__summary_page_json_and_manifest(understudy: Run, planted: Path) -> None:
    output = understudy(
        "audit", "photos", "--unlabeled", "unlabeled", "--test", "test", "--no-features", "--json", "found.json",
        "--write-manifest", "cleaned.csv",
    )  # fmt: skip
    assert output.code == 0, output.err
    text = output.out
    assert "63 images in 2 classes: 20 test, 20 labeled, 23 unlabeled." in text
    assert "2 things should be fixed before training, and 2 more to check." in text
    places = [
        text.index(part)
        for part in (
            "!! 1 exact copy of held-out images is among other images (1 unlabeled).",
            "!! 1 near copy of held-out images is among other images (1 unlabeled)",
            " ! 1 file cannot be read: unlabeled:broken.jpg (the file is empty).",
            " ! 1 image is blank: all pixels have nearly one color (1.6 % of all).",
            "Outliers and label errors were not searched for, as requested.",
            "Page: audit.html",
            "JSON: found.json",
            "Manifest: cleaned.csv lists 60 images; 3 are left out.",
            "  exact copy of a test image: 1",
            "They are listed in cleaned-left-out.csv.",
            "  understudy train cleaned.csv",
        )
    ]
    assert places == sorted(places)
    assert "\x1b" not in text
    found = json.loads(Path("found.json").read_text())
    assert [one["kind"] for one in found["findings"]] == ["exact_leaks", "near_leaks", "unreadable", "blank"]
    assert found["findings"][0]["partners"] == ["test:cat/0.png"]
    assert not Path("figures").exists()


def test_audit__the_manifest_trains(understudy: Run, planted: Path) -> None:
    assert (
        understudy(
            "audit", "photos", "--unlabeled", "unlabeled", "--no-features", "--write-manifest", "cleaned.csv"
        ).code
        == 0
    )
    output = understudy("train", "cleaned.csv", "--out", "run", *QUICK)
    assert output.code == 0, output.err
    assert Path("run/model.json").exists()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.sources += [value for key in ("src", "href") if (value := values.get(key)) and not value.startswith("#")]
        assert not any(name.startswith("on") for name in values)


def test_audit__page_stands_alone_and_shows_examples(understudy: Run, planted: Path) -> None:
    assert (
        understudy(
            "audit", "photos", "--unlabeled", "unlabeled", "--test", "test", "--no-features", "--out", "p.html"
        ).code
        == 0
    )
    text = Path("p.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "default-src 'none'" in text
    assert "&lt;b&gt;blank &amp; odd.png" in text
    for title in ("exact copies", "near copies", "Blank images", "Files that cannot be read", "Images per class"):
        assert title in text
    assert text.count('class="two"') == 2
    assert page.tags.count("img") == 5


def test_audit__clean_images(understudy: Run, planted: Path) -> None:
    shutil.rmtree("unlabeled")
    output = understudy("audit", "photos", "--test", "test", "--no-features")
    assert output.code == 0
    assert "No problem was found in these images." in output.out
    assert "!" not in output.out
    assert 'class="verdict good"' in Path("audit.html").read_text()


def test_audit__bad_input(understudy: Run, planted: Path) -> None:
    def error(*arguments: object) -> str:
        return understudy("audit", *arguments, "--no-features").error()

    assert "'nowhere' is not there; name a folder of images" in error("nowhere")
    assert "a report is a .html or .htm file, and 'page.txt' was given" in error("photos", "--out", "page.txt")
    Path("folder.html").mkdir()
    assert "folder.html is a folder, and a report is a file" in error("photos", "--out", "folder.html")
    assert "folder.html is a folder, and JSON is a file" in error("photos", "--json", "folder.html")
    image = next(Path("photos").rglob("*.png"))
    before = image.read_bytes()
    assert "exists and is not a JSON file" in error("photos", "--json", str(image))
    assert image.read_bytes() == before
    assert "add --write-manifest FILE" in error("photos", "--drop", "dark")
    assert "--drop names 'drak'; did you mean 'dark'?" in error("photos", "--drop", "drak", "--write-manifest", "a.csv")
    assert "--drop lists kinds of findings that --no-features does not look for" in (
        error("photos", "--drop", "dark, outliers", "--write-manifest", "a.csv")
    )
    assert "'a.txt' was given; name one that ends in .csv" in error("photos", "--write-manifest", "a.txt")
    assert "'digits' is neither a folder of images nor a manifest" in error("digits", "--write-manifest", "a.csv")
    assert "no-run is not there" in understudy("audit", "photos", "--run", "no-run", "--no-features").error()
    assert not Path("audit.html").exists()


def test_audit__digits_and_arrays(understudy: Run) -> None:
    output = understudy("audit", "digits", "--no-features")
    assert output.code == 0
    assert "images of under 16 px are too similar to tell apart" in output.out
    rows = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    rows[1] = rows[0]
    found = package.audit((rows, [0, 1] * 15), features=False)
    assert [one.kind for one in found.findings] == ["conflicts", "copies"]
    assert "exact copies of other" not in found.sentences()[0]
    text = found.report("vectors.html").read_text()
    assert "<img" not in text
    assert re.search(r"<td[^>]*>1</td>", text)


def test_audit__is_a_function_whatever_was_imported() -> None:
    import understudy.inspection.scan  # noqa: F401

    assert callable(package.audit)
    from understudy import audit

    assert audit is package.audit


def test_audit__with_the_network_of_a_run(
    understudy: Run, finished: Path, photos: Path, unlabeled: Path, test_photos: Path
) -> None:
    output = understudy("audit", photos, "--unlabeled", unlabeled, "--test", test_photos, "--run", finished)
    assert output.code == 0, output.err
    assert "not searched for, as requested" not in output.out
    assert Path("audit.html").exists()


def test_audit__no_images_at_all(understudy: Run) -> None:
    Path("empty").mkdir()
    assert "holds no image" in understudy("audit", "empty", "--no-features").error()
    Path("one/cat").mkdir(parents=True)
    Image.new("RGB", (30, 30)).save("one/cat/1.png")
    output = understudy("audit", "one", "--no-features")
    assert output.code == 0
    assert "1 image is blank" in output.out


def test_audit__interrupted(planted: Path) -> None:
    process = start("audit", "photos", "--unlabeled", "unlabeled", "--test", "test")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert err.splitlines() == ["interrupted"]
    assert not list(Path().glob("*.tmp"))
    assert not Path("audit.html").exists()


def test_docs__example_runs(planted: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    names: dict[str, object] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert Path("audit.html").exists()
    assert Path("cleaned.csv").exists()


def test_docs__every_kind_is_explained() -> None:
    from understudy.inspection.cleaning import ON_REQUEST
    from understudy.inspection.quality import QUALITY_KINDS

    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    for kind in {*ON_REQUEST, *QUALITY_KINDS, "exact_leaks", "near_leaks", "copies", "near_copies", "unreadable"}:
        assert f"`{kind}`" in text
