"""Variants: any settings side by side, recipes among them, under names that can do no harm."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.comparison.variants_small import RECIPES, varied
from tests.recipes.small import Watch, images, small
from understudy.comparison.compare import compare
from understudy.comparison.conclusions import conclusions
from understudy.comparison.result import ComparisonResult
from understudy.comparison.summaries import upper_bound
from understudy.core.errors import RunFolderError, UserError
from understudy.core.files import write_json
from understudy.methods.fixmatch import FixMatch

ROOT = Path(__file__).resolve().parents[2]
WEAK = {"method": "supervised", "labeled_view": "weak"}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> ComparisonResult:
    """Two recipes beside supervised, in one go."""
    return varied(tmp_path_factory.mktemp("recipes"))


def record(found: ComparisonResult, method: str) -> dict[str, Any]:
    """What the folder of the variant's first run says."""
    assert found.folder is not None
    run = next(run for run in found.runs if run.method == method)
    result: dict[str, Any] = json.loads((found.folder / run.folder / "run.json").read_text(encoding="utf-8"))
    return result


def test_variants__recipes_are_trained_in_the_same_budget(recipes: ComparisonResult) -> None:
    assert recipes.methods == ("supervised", *RECIPES)
    assert [run.error for run in recipes.runs] == [""] * 3
    steps = [run.figures.steps for run in recipes.runs if run.figures]
    assert (steps[0], steps[2]) == (40, 40)
    assert 8 < steps[1] <= 40, "rounds may stop early"
    rounds, features = (recipes.summary(name, 12) for name in RECIPES)
    assert rounds.mask_ratio is not None
    assert rounds.pseudo_label_accuracy is not None
    assert features.accuracy is not None
    assert recipes.folder is not None
    assert list(recipes.folder.glob("runs/12-labels/seed-0/in-rounds-*/round-1/finished.json"))
    assert list(recipes.folder.glob("runs/12-labels/seed-0/features-first-*/pretext/finished.json"))


def test_variants__recipes_start_from_the_same_weights_and_labels(recipes: ComparisonResult) -> None:
    assert recipes.folder is not None
    found = [json.loads((recipes.folder / run.folder / "identity.json").read_text("utf-8")) for run in recipes.runs]
    for name in ("initial weights", "split", "data", "budget"):
        assert len({identity[name] for identity in found}) == 1


def test_variants__are_written_down(recipes: ComparisonResult) -> None:
    assert recipes.folder is not None
    saved = json.loads((recipes.folder / "comparison.json").read_text(encoding="utf-8"))
    assert saved["variant_settings"]["supervised"] == {}
    assert saved["variant_settings"]["in rounds"]["recipe"]["num_rounds"] == 2
    assert saved["variant_settings"]["features first"]["recipe"]["pretext"]["name"] == "simclr"
    assert saved["method_settings"]["features first"]["threshold"] == 0.35
    assert record(recipes, "in rounds")["variant_settings"] == saved["variant_settings"]["in rounds"]


def test_variants__recipes_killed_within_and_begun_again(recipes: ComparisonResult, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.comparison.variants_small", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while not list(folder.glob("runs/*/*/in-rounds-*/teacher/finished.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list(folder.glob("runs/*/*/in-rounds-*/run.json")), "it was killed too late to test anything"
    watch = Watch()
    found = varied(folder, watch=watch)
    assert [method for method, _, _ in watch.trained] == list(RECIPES)
    assert recipes.folder is not None
    for one, two in zip(found.runs, recipes.runs, strict=True):
        for name in ("predictions.npz",):
            assert (folder / one.folder / name).read_bytes() == (recipes.folder / two.folder / name).read_bytes()
    again = Watch()
    assert varied(folder, watch=again).summaries == found.summaries
    assert again.trained == []


def test_variants__progress_is_that_of_the_whole_recipe(recipes: ComparisonResult) -> None:
    assert recipes.folder is not None
    for run in recipes.runs:
        progress = json.loads((recipes.folder / run.folder / "progress.json").read_text(encoding="utf-8"))
        steps = sum(part["steps"] for part in progress["parts"].values())
        assert run.figures is not None
        assert steps == run.figures.steps
        assert progress["done"] == pytest.approx(steps / 40)


def test_variants__settings_of_all_reach_them_unless_they_say_otherwise(tmp_path: Path) -> None:
    variants = {
        "as all": {"method": "fixmatch"},
        "own": {
            "method": {"name": "fixmatch", "threshold": 0.7},
            "optimizer": {"momentum": 0.5},
            "labeled_view": "weak",
        },
        "object": {"method": FixMatch(mu=1)},
    }
    shared: dict[str, Any] = {"method": {"mu": 2, "threshold": 0.4}, "optimizer": {"name": "sgd", "lr": 0.01}}
    found = varied(tmp_path, variants, budget="2steps", **shared)
    assert found.folder is not None
    settings = json.loads((found.folder / "comparison.json").read_text(encoding="utf-8"))
    methods, own = settings["method_settings"], settings["variant_settings"]
    assert [(methods[name]["mu"], methods[name]["threshold"]) for name in variants] == [(2, 0.4), (2, 0.7), (1, 0.95)]
    assert own["as all"] == {}
    assert own["own"]["labeled_view"] == "weak"
    assert {name: own["own"]["optimizer"][name] for name in ("name", "lr", "momentum")} == {
        "name": "sgd",
        "lr": 0.01,
        "momentum": 0.5,
    }


def test_variants__change_the_run(tmp_path: Path) -> None:
    """A variant whose settings were not used would be supervised once more."""
    found = varied(tmp_path, {"weak": WEAK, "again": {"method": "supervised"}}, budget="8steps")
    weights = [(tmp_path / run.folder / "model.safetensors").read_bytes() for run in found.runs]
    assert weights[0] != weights[1]
    assert weights[0] == weights[2]


def test_variants__a_recipe_of_all_spares_the_baseline(tmp_path: Path) -> None:
    found = varied(tmp_path, {"own": WEAK}, methods="fixmatch", method={"mu": 2}, recipe="pretrain", budget="10steps")
    assert found.methods == ("supervised", "pretrain: fixmatch(mu=2)", "own")
    assert "recipe" not in record(found, "supervised")["variant_settings"]
    assert record(found, found.methods[1])["variant_settings"]["recipe"]["name"] == "pretrain"


def test_variants__none_needs_unlabeled_images(tmp_path: Path) -> None:
    found = varied(tmp_path, {"weak": WEAK}, num_labels=None, budget="2steps")
    assert all(run.figures and run.figures.num_unlabeled == 0 for run in found.runs)


def test_variants__hostile_names_stay_within_the_folder(tmp_path: Path) -> None:
    names = ["../../up", "..", "a/b", "a b", "a-b", "[bold]x[/bold]", "CON", "x" * 60, "größer", "日本", "-rf", "%s"]
    found = varied(tmp_path / "in", {name: {"method": "supervised"} for name in names}, budget="1steps")
    assert found.methods == ("supervised", *names)
    folders = [run.folder for run in found.runs]
    assert len({folder.casefold() for folder in folders}) == len(names) + 1
    assert all(folder.count("/") == 3 and ".." not in folder.split("/") for folder in folders)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert all((tmp_path / "in" / folder / "run.json").exists() for folder in folders)


@pytest.mark.parametrize(
    ("variants", "error"),
    [
        ({"a": {"labeld_view": "weak"}}, "variant 'a': unknown setting labeld_view: did you mean 'labeled_view'?"),
        ({"a": {"method": "fixmach"}}, "variant 'a': unknown method 'fixmach'; did you mean 'fixmatch'?"),
        ({"a": {"recipe": "pretain"}}, "variant 'a': unknown recipe 'pretain'; did you mean 'pretrain'?"),
        ({"a": {"method": {"mut": 2}}}, "variant 'a': unknown setting method.mut: did you mean 'mu'?"),
        ({"a": {"method": "fixmatch", "mu": 2}}, "variant 'a': mu is a setting of method fixmatch; write method.mu"),
        ({"a": {"recipe": {"name": "pretrain", "share": 2}}}, "variant 'a': unknown setting recipe.share: "),
        ({"a": {"network": "resnet"}}, "variant 'a': "),
        ({"a": {"lr_decay": "no"}}, "variant 'a': lr_decay is 'no'; allowed: constant, cosine, linear"),
        ({"a": {"budget": "9steps"}}, "variant 'a': budget is the same for all variants; set it for"),
        ({"a": {"seed": 1}}, "variant 'a': seed is the same for all variants"),
        ({"a": {"size": 8}}, "variant 'a': size is the same for all variants"),
        (
            {"a": "fixmatch"},
            "variant 'a': 'fixmatch' is not a table of settings; write for example method = 'fixmatch'",
        ),
        ({"a": {"method": 3}}, "variant 'a': method is 3; give a name, one of abc"),
        (["a"], "variants is ['a']; give a table of settings under the name of each variant"),
        ({"": WEAK}, "variant name '' cannot be shown"),
        ({" a": WEAK}, "variant name ' a' cannot be shown; give printable text without spaces around it"),
        ({"a\nb": WEAK}, "variant name 'a\\nb' cannot be shown"),
        ({3: WEAK}, "variant name 3 cannot be shown"),
        ({"x" * 61: WEAK}, "has 61 characters, too many for a table; give at most 60"),
        ({"a": WEAK, "A": WEAK}, "variant 'A' has the name of 'a', which is compared too; choose another"),
        ({"supervised": WEAK}, "variant 'supervised' has the name of 'supervised', which is compared too"),
        ({"All labels": WEAK}, "variant 'All labels' has the name of 'all labels'"),
        ({}, "no method to compare with supervised was given"),
    ],
)
def test_variants__refuses(variants: Any, error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        varied(tmp_path / "none", variants)
    assert error in str(caught.value)
    assert not list(tmp_path.rglob("ledger.jsonl"))


@pytest.mark.parametrize("name", ["fixmatch", "fixmatch(mu=2)"])
def test_variants__may_not_be_called_as_a_method_is(name: str) -> None:
    with pytest.raises(UserError, match=r"variant 'fixmatch.*' (has the name of|is called as)"):
        varied(None, {name: WEAK}, methods="fixmatch", method={"mu": 2})


def test_variants__of_a_folder_may_not_change_under_their_name(tmp_path: Path) -> None:
    varied(tmp_path, {"weak": WEAK}, budget="1steps")
    with pytest.raises(RunFolderError, match="holds a run of weak with another labeled_view; choose another folder"):
        varied(tmp_path, {"weak": {**WEAK, "labeled_view": "strong"}}, budget="1steps")
    with pytest.raises(RunFolderError, match="holds a run of weak with another labeled_view; choose another folder"):
        varied(tmp_path, {"weak": {"method": "supervised"}}, budget="1steps")


def test_variants__join_a_folder_made_before_there_were_any(tmp_path: Path) -> None:
    first = small(tmp_path, methods="fixmatch", seeds=1, budget="4steps")
    for path in tmp_path.rglob("run.json"):
        old = json.loads(path.read_text(encoding="utf-8"))
        del old["variant_settings"]
        write_json(path, {name: value for name, value in old.items() if name != "checksum"})
    watch = Watch()
    found = small(tmp_path, methods="fixmatch", seeds=1, budget="4steps", variants={"weak": WEAK}, watch=watch)
    assert watch.trained == [("weak", 6, 0)]
    assert found.runs[:2] == first.runs


def test_upper_bound__is_trained_once_for_each_seed(tmp_path: Path) -> None:
    watch = Watch()
    found = small(tmp_path, methods="fixmatch", num_labels=[6, 12], upper_bound=True, budget="8steps", watch=watch)
    assert [run for run in watch.trained if run[0] == "all labels"] == [("all labels", 0, 0), ("all labels", 0, 1)]
    assert "x 2 seeds, and all labels x 2 seeds: 10 runs of 8 steps each" in watch.messages[-1]
    bound = found.upper_bound
    assert bound is not None
    runs = [run for run in found.runs if run.method == "all labels"]
    assert [run.figures.num_labeled for run in runs if run.figures] == [90, 90]
    assert bound.summary.accuracy == pytest.approx(sum(run.figures.accuracy for run in runs if run.figures) / 2)
    assert [(gap.method, gap.num_labels, gap.num_seeds) for gap in bound.gaps] == [
        (found.methods[1], 6, 2),
        (found.methods[1], 12, 2),
    ]
    assert f"All 90 labels bring supervised to {100 * bound.summary.accuracy:.1f} %" in str(found)
    known = [gap for gap in bound.gaps if gap.share is not None]
    assert all(gap.sentence in str(found) for gap in known)
    assert str(found).count("it cannot be said what share of the gap to all labels is closed") == 2 - len(known)


def test_upper_bound__share_by_hand(tmp_path: Path) -> None:
    """From 50 to 90 % in steps of 10: a method at 80 % goes three quarters of the way."""
    found = small(tmp_path, methods="fixmatch", upper_bound=True, budget="1steps")
    reached = {"supervised": 0.5, found.methods[1]: 0.8, "all labels": 0.9}
    runs = [
        dataclasses.replace(run, figures=dataclasses.replace(run.figures, accuracy=reached[run.method]))
        for run in found.runs
        if run.figures
    ]
    (gap,) = upper_bound(runs, found.methods, [6], [0, 1], "cpu_s").gaps
    assert gap.share == pytest.approx(0.75)
    assert gap.sentence.startswith(f"{found.methods[1]} with 6 labels closes 75 % of the gap")


def test_upper_bound__takes_no_part_in_ranks_tests_and_choice(tmp_path: Path) -> None:
    options: dict[str, Any] = {"methods": "fixmatch,uda", "budget": "8steps"}
    plain, found = small(tmp_path, **options), small(tmp_path, upper_bound=True, **options)
    assert found.summaries == plain.summaries
    for name in ("methods", "ranked", "friedman", "chosen"):
        assert getattr(found, name) == getattr(plain, name)
    watch = Watch()
    assert small(tmp_path, upper_bound=True, watch=watch, **options).upper_bound == found.upper_bound
    assert watch.trained == []


def test_upper_bound__leaves_out_what_the_simulation_leaves_out(tmp_path: Path) -> None:
    found = small(tmp_path, methods="fixmatch", seeds=1, upper_bound=True, budget="2steps", num_unlabeled=30)
    bound = found.runs[-1].figures
    assert bound is not None
    assert (bound.num_labeled, bound.num_unlabeled) == (36, 0)


def test_upper_bound__failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from understudy.comparison import runs as grid

    trained = grid.run_one

    def fail(*arguments: Any, reveal: bool, **options: Any) -> Any:
        if reveal:
            raise UserError("the disk is full")
        return trained(*arguments, reveal=reveal, **options)

    monkeypatch.setattr(grid, "run_one", fail)
    found = small(tmp_path, methods="fixmatch", upper_bound=True, budget="2steps")
    assert found.upper_bound is not None
    assert found.upper_bound.summary.failed == (0, 1)
    assert "all labels failed (seed 0, seed 1): the disk is full." in str(found)


def test_upper_bound__needs_hidden_labels() -> None:
    with pytest.raises(UserError, match="none are hidden; say how many labels to keep with num_labels"):
        compare(images(), test=images(60, 1000), methods="fixmatch", budget="2steps", upper_bound=True)


def test_learning_curve__is_followed_for_every_method(tmp_path: Path) -> None:
    found = small(tmp_path, methods="fixmatch", num_labels=[6, 12], budget="6steps")
    lines = [line for line in found.sentences if "12 more labels would buy" in line]
    assert [line.split(":")[0] for line in lines] == list(found.methods)
    one_count = dataclasses.replace(found, runs=tuple(run for run in found.runs if run.num_labels == 6))
    assert not any("more labels would buy" in line for line in conclusions(one_count))
