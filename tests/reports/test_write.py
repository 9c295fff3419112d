"""A report is one file that loads nothing, shows any text as text, and can be looked at in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.reports import made
from tests.reports.whole import comparison_record, run_record
from understudy.core.errors import RunFolderError, UserError
from understudy.core.files import JsonLines, write_json
from understudy.reports.page import render
from understudy.reports.record import PartialRecord, Record, read
from understudy.reports.write import page_of, write_page, write_report

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a chromium on the path: apt-get install chromium, or the like"
)


class _Elements(HTMLParser):
    """Names of the elements, what they load, and their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def elements(*records: Record) -> _Elements:
    return _Elements(render(page_of(records)))


@cache
def rendered(name: str) -> str:
    """A page that several tests look at; drawing one takes seconds."""
    record: Record = comparison_record(num_labels=(40, 250)) if name == "comparison" else RECORDS[name]
    return render(page_of([record]))


RECORDS = {"run": run_record(), "hostile": run_record(made.HOSTILE)}


@pytest.mark.parametrize("name", ["run", "hostile", "comparison"])
def test_render__loads_nothing_and_runs_nothing(name: str) -> None:
    text = rendered(name)
    found = _Elements(text)
    assert not {"script", "link", "iframe", "object", "embed", "foreignobject"} & set(found.names)
    assert all(target.startswith(("data:image/", "#")) for target in found.loads)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    assert "default-src 'none'" in text


def test_render__shows_any_class_name_as_text() -> None:
    found = _Elements(rendered("hostile"))
    whole = "".join(found.words)
    for name in made.HOSTILE:
        if name.isprintable() and len(name) < 24 and name:
            assert name in whole, name
    assert found.names.count("h1") == 1


def test_page_of__an_unfinished_run_shows_what_there_is() -> None:
    history = [{"step": 10 * at, "progress": at / 20, "cpu_s": at, "wall_s": at, "supervised": 1.0} for at in (1, 2, 3)]
    words = "".join(elements(PartialRecord("photos-1", {"supervised": history})).words)
    assert "This run has not finished" in words
    assert "supervised 15 % done at step 30" in words


def test_page_of__several_runs_on_the_same_test_images() -> None:
    first, second = run_record(name="one"), run_record(name="two", seed=1)
    second.held_out["labels"][:] = first.held_out["labels"]  # type: ignore[index]
    words = "".join(elements(first, second).words)
    assert "None is proven better than one" in words
    assert "The best of several runs looks better" in words


@pytest.mark.parametrize(
    ("order", "words"), [((0, 1), "Proven better than one: two"), ((1, 0), "None is proven better than two")]
)
def test_page_of__several_runs_of_which_one_is_proven_better(order: tuple[int, int], words: str) -> None:
    runs = [run_record(name="one", n=200), run_record(name="two", n=200, seed=1)]
    labels = runs[0].held_out["labels"]
    runs[1].held_out["labels"][:] = labels
    runs[1].held_out["fixmatch"][:] = np.eye(10)[labels]
    page = page_of([runs[place] for place in order])
    assert page.headline.answer == words
    assert ("Proven worse than two: one. " in page.headline.detail) == (order == (1, 0))


def test_page_of__runs_tested_on_other_images_are_refused() -> None:
    other = run_record(name="two", data={**run_record().result["data"], "test_content": "c"})
    with pytest.raises(UserError, match="one and two were tested on different images"):
        page_of([run_record(name="one"), other])


def test_page_of__what_cannot_stand_beside_a_run() -> None:
    with pytest.raises(UserError, match="compare-1 is not a finished training run"):
        page_of([run_record(), comparison_record()])


def test_page_of__one_seed_says_why_nothing_is_proven() -> None:
    words = "".join(elements(comparison_record(num_labels=(40,), seeds=1)).words)
    assert "Run more seeds" in words


def ablation(**steps: float) -> list[dict[str, object]]:
    """An ablation whose ingredients add so much, each step of 10 points or more being proven."""
    added: list[dict[str, object]] = [{"adds": "bare", "accuracy": 0.6, "interval": None, "gain": None}]
    accuracy = 0.6
    for name, difference in steps.items():
        accuracy += difference
        gain = {
            "difference": difference,
            "interval": None,
            "p_value": 0.01,
            "p_holm": 0.02 if difference >= 0.1 else 0.4,
        }
        added.append({"adds": name, "accuracy": accuracy, "interval": None, "gain": gain})
    return added


@pytest.mark.parametrize(
    ("steps", "answer"),
    [
        ({"schedule": 0.2, "averaging": -0.01}, "Schedule adds most"),
        ({"schedule": 0.02, "averaging": 0.03}, "Averaging adds most, though nothing is proven"),
    ],
)
def test_page_of__an_ablation_begins_with_the_ingredient_that_adds_most(steps: dict[str, float], answer: str) -> None:
    record = comparison_record(num_labels=(40,))
    record.found["ablation"] = ablation(**steps)  # type: ignore[index]
    page = page_of([record])
    assert page.headline.answer == answer
    assert [one.what for one in page.advice] == ["Run more seeds"]
    assert "waterfall" in [picture.name for picture in page.pictures]


def test_page_of__a_comparison_in_which_methods_are_proven_worse() -> None:
    record = comparison_record(num_labels=(40,), methods=("supervised", "fixmatch", "uda"))
    for one, difference in zip(record.found["summaries"][1:], (-0.03, -0.05), strict=True):
        one["gain"] |= {"difference": difference, "p_holm": 0.01}
    found = page_of([record])
    assert found.headline.answer == "At this budget, the unlabeled images made it worse"
    assert "2 of 2 comparisons prove a loss, of 3.0 to 5.0 points." in found.headline.detail
    assert "Give each run more time, or use the labels alone" in [one.what for one in found.advice]


def test_page_of__a_comparison_with_an_upper_bound() -> None:
    record = comparison_record(num_labels=(40,))
    record.found["upper_bound"] = {"summary": {"accuracy": 0.987}}  # type: ignore[index]
    assert "98.7 %" in [tile.figure for tile in page_of([record]).tiles]


def test_write_page__a_hundred_classes_in_few_bytes_and_twenty_runs_in_seconds(tmp_path: Path) -> None:
    path = write_page(page_of([run_record(made.names(100))]), tmp_path / "hundred.html")
    assert path.stat().st_size < 5_000_000
    records = [run_record(name=f"run-{number}", seed=number) for number in range(20)]
    for record in records:
        record.held_out["labels"][:] = records[0].held_out["labels"]  # type: ignore[index]
    begun = time.process_time()
    write_page(page_of(records), tmp_path / "twenty.html")
    assert time.process_time() - begun < 10


def test_write_page__equal_records_give_equal_bytes(tmp_path: Path) -> None:
    assert render(page_of([run_record()])) == rendered("run")


def test_write_page__figures_lie_beside_it(tmp_path: Path) -> None:
    page = page_of([comparison_record()])
    write_page(page, tmp_path / "sub" / "report.html")
    names = {path.name for path in (tmp_path / "sub" / "figures").iterdir()}
    assert {f"report-{picture.name}.{kind}" for picture in page.pictures for kind in ("png", "svg")} == names


def test_write_report__errors_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not there; name the folder that"):
        write_report([tmp_path / "nowhere"])
    with pytest.raises(RunFolderError, match="holds neither a training run nor a comparison"):
        write_report([tmp_path])
    write_json(tmp_path / "identity.json", {"format": 1, "kind": "comparison"})
    with pytest.raises(RunFolderError, match=r"has not ended; understudy compare --resume .* continues it"):
        write_report([tmp_path])
    write_json(tmp_path / "identity.json", {"format": 1})
    with pytest.raises(RunFolderError, match="has not been evaluated once yet"):
        write_report([tmp_path])
    (tmp_path / "result.json").write_text('{"format": 1, "verd')
    with pytest.raises(RunFolderError, match=r"result\.json is damaged \(.*\); train again"):
        write_report([tmp_path])
    write_json(tmp_path / "result.json", {"format": 99})
    with pytest.raises(RunFolderError, match="newer version of understudy; upgrade"):
        write_report([tmp_path])
    write_json(tmp_path / "result.json", {"format": 1})
    with pytest.raises(RunFolderError, match="holds too little for a report"):
        write_report([tmp_path])
    write_json(tmp_path / "result.json", {"format": 1, "data": {}})
    (tmp_path / "pictures.npz").write_bytes(b"PK but no archive")
    with pytest.raises(RunFolderError, match=r"pictures\.npz is missing or damaged"):
        write_report([tmp_path])


def test_write_report__the_name_of_the_file(tmp_path: Path) -> None:
    line = {"run": "supervised", "step": 1, "progress": 0.1, "supervised": 2.0}
    JsonLines(tmp_path / "history.jsonl").append(line)
    with pytest.raises(UserError, match=r"'report\.pdf' was given; name one that ends in \.html"):
        write_report([tmp_path], tmp_path / "report.pdf")
    assert write_report([tmp_path]) == tmp_path / "report.html"


def test_read__a_history_that_was_resumed_and_cut_short(tmp_path: Path) -> None:
    lines = [{"run": "a", "step": step, "progress": step / 10} for step in (1, 2, 3, 2, 3, 4)]
    lines.insert(2, {"run": "b", "step": 1, "progress": 0.1})
    JsonLines(tmp_path / "history.jsonl").rewrite(lines)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"run": "a", "st')
    record = read(tmp_path)
    assert isinstance(record, PartialRecord)
    assert [line["step"] for line in record.histories["a"]] == [1, 2, 3, 4]
    assert len(record.histories["b"]) == 1


@needs_chromium
def test_report__in_a_browser_in_light_dark_phone_and_print(tmp_path: Path) -> None:
    """It draws, follows the color scheme, fits a phone's width, prints, and asks the network for nothing."""
    from PIL import Image

    path = write_page(page_of([run_record(made.LONG)]), tmp_path / "report.html")
    log = tmp_path / "net.json"

    def browse(*options: str) -> None:
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars"]
        command += ["--disable-quic", f"--user-data-dir={tmp_path / 'profile'}", *options, path.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    shots = {
        "light": ["--window-size=1000,1400"],
        "dark": ["--window-size=1000,1400", "--blink-settings=preferredColorScheme=0"],
        "phone": ["--window-size=500,1400"],
    }
    pixels = {}
    for name, options in shots.items():
        shot = tmp_path / f"{name}.png"
        browse(*options, f"--screenshot={shot}", f"--log-net-log={log}")
        pixels[name] = np.asarray(Image.open(shot).convert("L"))
        asked = [event for event in json.loads(log.read_text())["events"] if "url" in event.get("params", {})]
        urls = {event["params"]["url"] for event in asked}
        assert all(url.startswith(("file:", "data:", "chrome")) for url in urls if "google" not in url), urls
    assert np.median(pixels["light"]) > 240
    assert np.median(pixels["dark"]) < 60
    assert pixels["phone"].std() > 10
    browse(f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
