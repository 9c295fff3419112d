"""`understudy.suggest` and its command: a table that trains once it is filled in, a page, and clear refusals."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import understudy
from understudy.api.suggest import check_table_name
from understudy.cli.main import app
from understudy.core.errors import UserError

RUN = CliRunner()


def _picture(path: Path, kind: int, random: np.random.Generator) -> None:
    pixels = random.integers(0, 90, (24, 24, 3))
    pixels[4 * kind : 4 * kind + 8, :, kind % 3] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def unlabeled(tmp_path: Path) -> Path:
    """Sixty pictures of three kinds, a copy of one, a blank one, an unreadable one, and odd names."""
    random = np.random.default_rng(0)
    folder = tmp_path / "unlabeled"
    for at in range(60):
        _picture(folder / f"{at:02d}.png", at % 3, random)
    (folder / "copy.png").write_bytes((folder / "07.png").read_bytes())
    Image.new("RGB", (24, 24), "gray").save(folder / "blank.png")
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "00.png").rename(folder / "猫,<b>&.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the three kinds."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(1)
    for at in range(18):
        _picture(folder / "photos" / "abc"[at % 3] / f"{at}.png", at % 3, random)
    understudy.train(folder / "photos", budget="5steps", folder=folder / "run", size=24, method="supervised")
    return folder / "run"


def _cli(*words: object) -> str:
    result = RUN.invoke(app, [str(word) for word in ("suggest", *words)])
    assert result.exit_code == 0, result.output
    return result.output


def _refusal(*words: object) -> str:
    result = RUN.invoke(app, [str(word) for word in ("suggest", *words)])
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_suggest__a_filled_in_table_trains(unlabeled: Path) -> None:
    out = unlabeled.parent / "suggested.csv"
    text = _cli(unlabeled, "--count", 30, "--out", out)
    assert f"30 images to label are listed in {out} and shown in {unlabeled.parent / 'suggested.html'}" in text
    assert "Files that could not be read, and are not suggested: 1." in text
    assert "Copies of other images, which are not suggested: 1." in text
    assert "Blank images, which are not suggested: 1." in text
    lines = _table(out)
    assert list(lines[0]) == ["path", "label", "order", "reason", "cluster"]
    assert [line["order"] for line in lines] == [str(at) for at in range(1, 31)]
    assert all(line["label"] == "" for line in lines)
    assert not {"unlabeled/blank.png", "unlabeled/broken.png"} & {line["path"] for line in lines}
    kinds = [
        0 if "猫" in line["path"] else int(re.findall(r"\d+", line["path"].replace("copy", "7"))[0]) % 3
        for line in lines
    ]
    assert min(np.bincount(kinds, minlength=3)) >= 5
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(line | {"label": f"kind {kind}"} for line, kind in zip(lines, kinds, strict=True))
    result = understudy.train(out, unlabeled=unlabeled, budget="2steps", size=24)
    assert result.predictor.classes == ("kind 0", "kind 1", "kind 2")
    assert len(result.splits.labeled) + len(result.splits.test) == 30


def test_suggest__the_page_stands_alone(unlabeled: Path) -> None:
    found = understudy.suggest(unlabeled, count=59)
    page = found.sheet(unlabeled.parent / "look.html").read_text("utf-8")
    assert page.count('<div class="card">') == 59
    assert "猫,&lt;b&gt;&amp;.png" in page
    assert "<b>&" not in page
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "<script" not in page


def test_suggest__is_repeatable(unlabeled: Path) -> None:
    first, again = (understudy.suggest(unlabeled, count=10, seed=1) for _ in range(2))
    assert first.names == again.names
    assert first.names != understudy.suggest(unlabeled, count=10, seed=2).names


def test_suggest__after_a_run_names_what_it_is_unsure_of(unlabeled: Path, run: Path) -> None:
    out = unlabeled.parent / "next.csv"
    assert "uncertain" in _cli(unlabeled, "--run", run, "--count", 6, "--out", out)
    assert all(re.match(r"[abc] \d+ % or [abc] \d+ %, ", line["reason"]) for line in _table(out))


def test_suggest__what_is_labeled_is_not_suggested_again(unlabeled: Path) -> None:
    first = unlabeled.parent / "first.csv"
    understudy.suggest(unlabeled, count=20).save(first)
    header, *lines = first.read_text("utf-8").splitlines()
    filled = [line.replace(",,", ",x,") if at % 2 else line for at, line in enumerate(lines)]  # one half still empty
    first.write_text("\n".join([header, *filled, ""]), "utf-8")
    second = understudy.suggest(unlabeled, count=20, labeled=first)
    assert not {Path(line["path"]).name for line in _table(first)} & set(second.names)
    assert {(unlabeled / name).exists() for name in second.names} == {True}
    second.save(unlabeled.parent / "second.csv")
    assert {(unlabeled.parent / line["path"]).exists() for line in _table(unlabeled.parent / "second.csv")} == {True}


def test_suggest__of_vectors() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (40, 3)).astype(np.float32)
    found = understudy.suggest(rows, count=5)
    assert len(found.names) == 5
    with pytest.raises(UserError, match="these images were given in memory; take their names"):
        found.save("suggested.csv")


def test_suggest__refuses_a_count(unlabeled: Path) -> None:
    out = unlabeled.parent / "s.csv"
    assert _refusal(unlabeled, "--count", 0, "--out", out) == ("error: count is 0; give a whole number of at least 1")
    assert _refusal(unlabeled, "--count", 100, "--out", out) == (
        "error: 100 images were asked for and there are 60 to select from (1 blank and 1 copies left out); ask for "
        "fewer, or add images"
    )
    assert not out.exists()


def test_suggest__refuses_a_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty holds no image" in _refusal(tmp_path / "empty")
    assert "neither a folder of images nor a manifest" in _refusal(tmp_path / "missing")
    assert "neither a folder of images nor a manifest" in _refusal("digits")


def test_suggest__refuses_a_run(unlabeled: Path, run: Path) -> None:
    assert "holds no finished run" in _refusal(unlabeled, "--run", unlabeled)
    assert "is not there" in _refusal(unlabeled, "--run", unlabeled / "missing")
    other = unlabeled.parent / "labeled" / "wolf"
    other.mkdir(parents=True)
    (unlabeled / "01.png").rename(other / "1.png")
    assert "class 'wolf' is unknown to the model; " in _refusal(unlabeled, "--run", run, "--labeled", other.parent)


def test_suggest__refuses_names_of_files(unlabeled: Path) -> None:
    assert "and 's.parquet' was given; name one that ends in .csv" in _refusal(
        unlabeled, "--out", unlabeled.parent / "s.parquet"
    )
    assert "name one that ends in .html" in _refusal(unlabeled, "--out", unlabeled.parent / "s.csv", "--sheet", "s.png")
    (unlabeled.parent / "so_far.csv").write_text("path,label\nunlabeled/01.png,x\n")
    so_far = unlabeled.parent / "so_far.csv"
    assert "is the file of --labeled and would be replaced" in _refusal(unlabeled, "--labeled", so_far, "--out", so_far)


def test_suggest__table_elsewhere_has_absolute_paths(unlabeled: Path) -> None:
    _cli(unlabeled, "--count", 5, "--out", unlabeled.parent / "below" / "s.csv")
    paths = [Path(line["path"]) for line in _table(unlabeled.parent / "below" / "s.csv")]
    assert [path.parent for path in paths] == [unlabeled] * 5
    assert all(path.exists() for path in paths)


def test_suggest__keeps_a_table_that_was_filled_in(unlabeled: Path) -> None:
    table = unlabeled.parent / "s.csv"
    _cli(unlabeled, "--count", 2, "--out", table)
    assert "s.csv exists already; add --overwrite" in _refusal(unlabeled, "--count", 3, "--out", table)
    _cli(unlabeled, "--count", 3, "--out", table, "--overwrite")
    assert len(_table(table)) == 3, "nothing was filled in yet"
    filled = table.read_text(encoding="utf-8").replace(".png,,1,", ".png,cat,1,")
    table.write_text(filled, encoding="utf-8")
    arguments = (unlabeled, "--count", 2, "--out", table)
    assert "holds labels that were filled in and would be lost" in _refusal(*arguments, "--overwrite")
    assert "holds labels that were filled in and would be lost" in _refusal(*arguments)
    assert table.read_text(encoding="utf-8") == filled
    with pytest.raises(UserError, match="would be lost"):
        understudy.suggest(unlabeled, count=2).save(table)


@pytest.mark.parametrize(
    ("encoding", "separator", "first"),
    [("utf-8-sig", ";", ""), ("utf-16", "\t", ""), ("utf-8", ",", "sep=,\n"), ("cp1252", ";", "sep=;\n")],
)
def test_check_table_name__keeps_what_a_spreadsheet_saved(
    tmp_path: Path, encoding: str, separator: str, first: str
) -> None:
    table = tmp_path / "s.csv"
    text = "path,label,rank\n1.png,Stra\u00dfe,1\n2.png,,2\n".replace(",", separator)
    table.write_bytes((first + text).encode(encoding))
    with pytest.raises(UserError, match="would be lost"):
        check_table_name(table)
    table.write_bytes((first + text.replace("Stra\u00dfe", "")).encode(encoding))
    check_table_name(table)


def test_suggest__the_next_command_can_be_pasted(unlabeled: Path) -> None:
    text = _cli(unlabeled, "--count", 2, "--out", unlabeled.parent / "my table.csv")
    assert f"understudy train '{unlabeled.parent}/my table.csv' --unlabeled {unlabeled}" in text.replace("\n", " ")
