"""`understudy compare`: what is printed, in a terminal and without one, what is saved, and how it goes on."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.cli.conftest import Output, Run, draw_folder, start
from understudy.cli.main import app
from understudy.comparison import runs as grid
from understudy.comparison.conclusions import conclusions
from understudy.comparison.result import ComparisonResult
from understudy.comparison.result import Run as OneRun
from understudy.comparison.runs import RunPlan
from understudy.comparison.single_run import Figures
from understudy.comparison.summaries import choose, rank_blocks, summarize
from understudy.core.budget import Budget
from understudy.core.text import clock
from understudy.display.comparison_progress import LiveTable
from understudy.display.comparison_tables import print_report
from understudy.evaluation.seeds import few_seeds_sentence

QUICK = ("--network", "cnn", "--budget", "10steps", "--jobs", 1, "--set", "size=16", "--set", "batch_size=6")


def figures(accuracy: float, **changes: Any) -> Figures:
    plain: dict[str, Any] = {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "num_test": 200,
        "validation_accuracy": None,
        "num_validation": 0,
        "num_labeled": 40,
        "num_unlabeled": 500,
        "steps": 100,
        "best_step": 100,
        "cpu_s": 10.0,
        "wall_s": 11.0,
        "mask_ratio": 0.5,
        "mask_ratio_at_end": 0.9,
        "pseudo_label_accuracy": 0.97,
        "stopped": "",
        "execution": {},
    }
    return Figures(**{**plain, **changes})


def comparison(table: dict[str, list[Figures | None]], **changes: Any) -> ComparisonResult:
    """Of one number of labels, with a figure, or None for a failed run, per method and seed."""
    methods, seeds = tuple(table), tuple(range(len(next(iter(table.values())))))
    runs = [
        OneRun(method, 40, seed, "", one, "" if one else "too few classes")
        for method, found in table.items()
        for seed, one in enumerate(found)
    ]
    summaries = summarize(runs, methods, [40], seeds, "cpu_s", Path())
    ranked, test = rank_blocks(runs, methods, [40], seeds)
    plain: dict[str, Any] = {
        "methods": methods,
        "num_labels": (40,),
        "seeds": seeds,
        "budget": "10cpu-s",
        "cost_clock": "cpu_s",
        "is_timed": True,
        "test_source": "The 200 test images measure accuracy and select nothing.",
        "runs": tuple(runs),
        "summaries": summaries,
        "chosen": choose(summaries, [40], len(seeds)),
        "friedman": test,
        "ranked": ranked,
        "notes": (),
        "folder": None,
    }
    found = ComparisonResult(**{**plain, **changes})
    return dataclasses.replace(found, sentences=conclusions(found))


def rows(*values: float, **changes: Any) -> list[Figures | None]:
    return [figures(value, **changes) for value in values]


def printed(found: ComparisonResult, width: int = 80) -> str:
    file = io.StringIO()
    print_report(Console(file=file, width=width, force_terminal=False, color_system=None), found)
    return file.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, photos: Path, unlabeled: Path) -> tuple[Path, Output]:
    """A finished comparison of fixmatch on photos, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "compared"
    arguments = (
        "compare",
        photos,
        "--unlabeled",
        unlabeled,
        "--methods",
        "fixmatch",
        "--num-labels",
        "6,10",
        "--seeds",
        2,
    )
    result = CliRunner().invoke(app, [str(one) for one in (*arguments, *QUICK, "--out", folder)])
    assert result.exit_code == 0, result.stderr
    return folder, Output(result.exit_code, result.stdout, result.stderr)


def test_compare__prints_plan_runs_tables_and_sentences(finished: tuple[Path, Output]) -> None:
    lines = finished[1].out.splitlines()
    plan = "2 methods with supervised x 2 numbers of labels x 2 seeds: 8 runs of 10 steps each, 1 at a time."
    at = lines.index(plan)
    ended = lines[at + 1 : at + 9]
    assert [line.split()[0] for line in ended] == [f"{number}/8" for number in range(1, 9)]
    assert ended[0].split()[1:6] == ["supervised", "6", "labels", "seed", "0"]
    assert "6 labels, 2 seeds of 10steps per run; in % of 4 test images" in lines
    assert any(line.startswith("supervised ") and " - " in line for line in lines)
    assert "4 of 24 labeled images, a fifth of each class, were set aside for testing" in finished[1].out
    assert "6 and 10 labels leave no validation images, so no method is selected" in finished[1].out
    assert "\x1b" not in finished[1].out


def test_compare__saves_what_the_page_says(finished: tuple[Path, Output]) -> None:
    record = json.loads((finished[0] / "comparison.json").read_text(encoding="utf-8"))
    page = (Path(__file__).resolve().parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    inner = {
        **record["runs"][0],
        **record["runs"][0]["figures"],
        **record["summaries"][1],
        **record["summaries"][1]["gain"],
    }
    missing = [name for name in {**record, **inner} if f"`{name}`" not in page and f"`{name}[]`" not in page]
    assert missing == []


def test_compare__resume_trains_nothing_more(understudy: Run, finished: tuple[Path, Output]) -> None:
    folder, first = finished
    before = (folder / "summary.csv").read_bytes()
    again = understudy("compare", "--resume", folder, "--jobs", 1)
    assert "8 are finished, 0 are left" in again.out
    assert (folder / "summary.csv").read_bytes() == before
    assert again.out.splitlines()[-20:] == first.out.splitlines()[-20:]


def test_compare__interrupted_and_resumed(
    understudy: Run, finished: tuple[Path, Output], photos: Path, unlabeled: Path
) -> None:
    """Many more runs are asked for than can end before the signal comes, on however busy a machine."""
    arguments = ("--unlabeled", unlabeled, "--methods", "fixmatch", "--num-labels", "6,10", "--seeds", "6", *QUICK)
    process = start("compare", photos, *arguments, "--out", "stopped")
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith("1/24"):
            break
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err == "interrupted; everything is saved, resume with: understudy compare --resume stopped\n"
    assert understudy("compare", "--resume", "stopped", "--jobs", 1).code == 0
    runs = [json.loads((folder / "comparison.json").read_text())["runs"] for folder in (Path("stopped"), finished[0])]
    stopped, whole = ({run["folder"]: run["figures"]["accuracy"] for run in one} for one in runs)
    assert len(stopped) == 24
    assert {folder: stopped[folder] for folder in whole} == whole


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "no images were given; name a folder, manifest or data set: understudy compare PHOTOS"),
        (
            ("digits", "--num-labels", "many"),
            "--num-labels is 'many'; give whole numbers, separated by commas, such as 40,250",
        ),
        (("digits", "--seeds", "0"), "seeds is 0; give a whole number of at least 1"),
        (("digits", "--methods", "fixmtch"), "unknown method 'fixmtch'; did you mean 'fixmatch'?"),
        (("digits", "--budget", "soon"), "budget 'soon' is not a length of time"),
        (
            ("digits", "--methods", "fixmatch", "--set", "method.mut=2"),
            "unknown setting method.mut: none of supervised, ",
        ),
        (("digits", "--methods", "fixmatch", "--set", "mu=2"), "mu is a setting of method fixmatch; write method.mu"),
        (
            ("digits", "--methods", "fixmatch", "--set", "fixmatch.mu=2"),
            "a method with settings of its own is a variant",
        ),
        (("--resume", "nowhere"), "nowhere does not exist, so there is nothing to resume"),
        (("digits", "--resume", "nowhere"), "--resume takes everything from nowhere"),
        (("digits", "--out", "full"), "full is not an empty folder"),
    ],
)
def test_compare__refuses(understudy: Run, arguments: tuple[str, ...], error: str) -> None:
    Path("full").mkdir()
    (Path("full") / "letter.txt").touch()
    assert error in understudy("compare", *arguments).error()
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_compare__other_comparison_keeps_its_request(
    understudy: Run, finished: tuple[Path, Output], photos: Path, unlabeled: Path
) -> None:
    before = (finished[0] / "request.json").read_bytes()
    arguments = ("compare", photos, "--unlabeled", unlabeled, "--methods", "fixmatch", "--num-labels", "6", *QUICK)
    output = understudy(*arguments, "--budget", "11steps", "--out", finished[0])
    assert "holds a run that differs in budget" in output.error()
    assert (finished[0] / "request.json").read_bytes() == before


def test_compare__exits_with_zero_though_a_run_failed(
    understudy: Run, photos: Path, unlabeled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = grid.run_one

    def fail(collection: Any, job: Any, **options: Any) -> Any:
        if job.method.name == "fixmatch":
            raise ValueError("it will not do")
        return trained(collection, job, **options)

    monkeypatch.setattr(grid, "run_one", fail)
    output = understudy(
        "compare", photos, "--unlabeled", unlabeled, "--methods", "fixmatch", "--num-labels", 6, "--seeds", 1, *QUICK
    )
    assert output.code == 0
    assert "failed: ValueError: it will not do (see runs/6-labels/seed-0/fixmatch/error.txt)" in output.out
    assert "fixmatch failed (seed 0 of 6 labels): ValueError: it will not do" in output.out


def test_report__figures_by_hand() -> None:
    found = comparison(
        {"supervised": rows(0.70, 0.80, 0.75, mask_ratio=0.0), "fixmatch": rows(0.80, 0.92, 0.85)},
    )
    one = found.summary("fixmatch", 40)
    assert one.accuracy == pytest.approx(0.857, abs=1e-3)
    assert one.deviation == pytest.approx(np.std([0.80, 0.92, 0.85], ddof=1))
    assert (one.worst, one.worst_seed, one.mean_rank) == (0.80, 0, 1.0)
    assert one.gain is not None
    assert one.gain.difference == pytest.approx(0.32 / 3)
    assert one.gain.p_value == pytest.approx(0.00389, abs=1e-5)
    assert one.gain.p_holm == one.gain.p_value
    sentence = "fixmatch with 40 labels against supervised: +10.7 points (95 % interval +7.8 to +13.5; paired t"
    assert sentence in str(found)


def test_report__corrects_for_all_methods() -> None:
    base = [0.70, 0.80, 0.75]
    found = comparison(
        {
            "supervised": rows(*base),
            "fixmatch": rows(0.80, 0.92, 0.85),
            "softmatch": rows(0.71, 0.80, 0.77),
        }
    )
    raw = [one.gain.p_value for one in found.summaries if one.gain]
    adjusted = [one.gain.p_holm for one in found.summaries if one.gain]
    assert raw[0] is not None
    assert adjusted == pytest.approx([2 * raw[0], raw[1]])


def test_report__is_never_cut_by_a_narrow_console() -> None:
    found = comparison({"supervised": rows(0.7, 0.8), "fixmatch(threshold=0.35, ema_decay=0.5)": rows(0.81, 0.88)})
    text = printed(found, width=40)
    assert "fixmatch(threshold=0.35, ema_decay=0.5)" in text
    assert "…" not in text


def test_report__says_what_cannot_be_said() -> None:
    same = comparison({"supervised": rows(0.7, 0.8), "fixmatch": rows(0.8, 0.9)})
    assert same.summaries[1].gain is not None
    assert (same.summaries[1].gain.p_value, same.summaries[1].gain.interval) == (None, None)
    assert "none is proven at the level of 5 %" in str(same)
    assert few_seeds_sentence(2) in same.sentences
    dear = comparison({"supervised": rows(0.7, 0.8), "fixmatch": rows(0.8, 0.95, cpu_s=11.0)})
    assert "fixmatch with 40 labels 110.0 %" in str(dear)


def test_conclusions__say_what_differs_between_seeds() -> None:
    found = comparison({"supervised": rows(0.7, 0.8), "fixmatch": rows(0.8, 0.9)})
    assert "Seeds differ in the labels drawn, initial weights and the order of images; all are tested" in str(found)
    assert "on the same 200 images" in str(found)
    given = dataclasses.replace(found, num_labels=(0,), chosen={0: None})
    assert "Seeds differ in the order of images;" in conclusions(given, own_network=True)[1]
    assert "Seeds differ" not in str(comparison({"supervised": rows(0.7), "fixmatch": [None]}))


def test_report__failed_runs_leave_the_others_comparable() -> None:
    found = comparison({"supervised": rows(0.7, 0.8, 0.75), "uda": [*rows(0.8, 0.92), None], "vat": [None] * 3})
    assert found.summary("uda", 40).seeds == (0, 1)
    assert found.summary("uda", 40).gain is not None
    assert found.summary("vat", 40).gain is None
    assert found.ranked == ("supervised", "uda")
    text = printed(found)
    assert "vat failed (seed 0 of 40 labels, seed 1 of 40 labels, seed 2 of 40 labels): too few classes." in text
    assert any(line.split()[:2] == ["vat", "failed"] for line in text.splitlines())


def test_report__validation_alone_chooses() -> None:
    """The method that looks worst on the test images is chosen when validation says so; ties go to supervised."""
    table = {
        "supervised": rows(0.9, 0.9, validation_accuracy=0.80, num_validation=50),
        "fixmatch": rows(0.5, 0.6, validation_accuracy=0.85, num_validation=50),
    }
    found = comparison(table)
    assert found.chosen == {40: "fixmatch"}
    assert "With 40 labels the validation images select fixmatch (supervised 80.0 %, fixmatch 85.0 %)." in str(found)
    table["fixmatch"] = rows(0.95, 0.99, validation_accuracy=0.80, num_validation=50)
    assert comparison(table).chosen == {40: "supervised"}


def test_live_table__shows_means_runs_at_work_and_time_left(tmp_path: Path) -> None:
    def render(table: LiveTable) -> str:
        file = io.StringIO()
        Console(file=file, width=90, color_system=None).print(table.render())
        return file.getvalue()

    table = LiveTable(Console(file=io.StringIO()), lambda: None)
    table.decoding(30, 100)
    assert "reading images: 30 of 100" in render(table)
    plan = RunPlan(("supervised", "fixmatch"), (20, 40), (0, 1), Budget(cpu_s=10), 1, (), ())
    table.began(plan)
    assert "0 of 0 runs" in render(table)
    for seed, accuracy in ((0, 0.9), (1, 0.94)):
        table.finished(OneRun("fixmatch", 40, seed, f"{seed}", figures(accuracy)))
    table.finished(OneRun("fixmatch", 20, 0, "2", None, "no"))
    text = render(table)
    assert "92.0 ± 2.8 (2/2)" in text
    assert "failed" in text
    assert "20 labels" in text


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (185.4, "3:05"), (7800, "2:10:00")])
def test_clock__reads_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_compare__validation_images_choose(understudy: Run, photos: Path, unlabeled: Path, test_photos: Path) -> None:
    val = draw_folder(Path("val"), 6, first=300)
    quick = (
        "--network",
        "cnn",
        "--budget",
        "2steps",
        "--set",
        "batch_size=8",
        "--set",
        "method.mu=2",
        "--set",
        "size=16",
    )
    arguments = (
        "--unlabeled",
        unlabeled,
        "--validation",
        val,
        "--test",
        test_photos,
        "--methods",
        "pseudo_label",
        *quick,
    )
    output = understudy("compare", photos, *arguments, "--seeds", "1", "--jobs", 1, "--out", "found")
    assert output.code == 0, output.err
    found = json.loads(Path("found/comparison.json").read_text("utf-8"))
    assert {run["figures"]["num_validation"] for run in found["runs"]} == {12}
    assert all(one is not None for one in found["chosen"].values())
