"""Comparisons end to end: fair, shared, resumed after any end, extended, and honest about what failed."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import understudy
from tests.recipes.small import OPTIONS, Watch, images, small
from understudy.comparison import runs as grid
from understudy.comparison.result import ComparisonResult
from understudy.comparison.shared_data import SharedData, held_out_test
from understudy.core.errors import Interrupted, RunFolderError, UserError
from understudy.core.types import Batch, Loss, Step
from understudy.data.collection import Part
from understudy.data.load import load
from understudy.methods.base import Method
from understudy.methods.fixmatch import FixMatch
from understudy.models.nets import Networks

ROOT = Path(__file__).resolve().parents[2]
FIXMATCH = "fixmatch(ema_decay=0.5, mu=2, threshold=0.35)"
EXACT = ("predictions.npz", "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonResult, Path, Watch]:
    """The comparison done in one go, one run at a time."""
    folder, watch = tmp_path_factory.mktemp("whole"), Watch()
    return small(folder, watch=watch), folder, watch


def assert_same(found: ComparisonResult, whole: ComparisonResult) -> None:
    """Every run has the same figures but for time, and the same weights and predictions to the bit."""
    assert len(found.runs) == len(whole.runs)
    for one, two in zip(found.runs, whole.runs, strict=True):
        assert one.figures is not None
        assert two.figures is not None
        free = {"cpu_s": 0.0, "wall_s": 0.0, "pseudo_label_accuracy": None}  # the last is of the steps since a resume
        assert replace(one, figures=replace(one.figures, **free)) == replace(two, figures=replace(two.figures, **free))
        assert found.folder is not None
        assert whole.folder is not None
        for name in EXACT:
            assert (found.folder / one.folder / name).read_bytes() == (whole.folder / two.folder / name).read_bytes()


def test_compare__trains_supervised_once_for_all_methods(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found, _, watch = whole
    assert Counter(watch.trained) == Counter(itertools.product(found.methods, (6,), (0, 1)))
    assert found.methods == ("supervised", FIXMATCH, FIXMATCH.replace("fixmatch", "pseudo_label"))
    assert watch.trained[0][0] == "supervised"


def test_compare__same_weights_split_and_images_for_all_methods(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found, folder, _ = whole
    identities = {
        (run.num_labels, run.seed, run.method): json.loads((folder / run.folder / "identity.json").read_text())
        for run in found.runs
    }
    for name in ("initial weights", "split", "data", "budget"):
        for seed in (0, 1):
            assert len({identities[6, seed, method][name] for method in found.methods}) == 1
    for name in ("initial weights", "split"):
        values = [identities[6, seed, "supervised"][name] for seed in (0, 1)]
        assert values[0] != values[1], "a seed draws labels and weights"


def test_compare__executes_all_runs_alike(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found = whole[0]
    assert len({json.dumps(dict(run.figures.execution)) for run in found.runs if run.figures}) == 1
    assert all(run.figures.execution["threads"] == 1 for run in found.runs if run.figures)


def test_compare__methods_differ(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    """A comparison of runs that are all the same would pass every other test here."""
    found, folder, _ = whole
    models = {(folder / run.folder / "model.safetensors").read_bytes() for run in found.runs}
    assert len(models) == len(found.runs)


def test_compare__unlabeled_images_used(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found = whole[0]
    for one in found.summaries:
        assert one.mask_ratio is not None
        assert (one.mask_ratio == 0) == (one.method == "supervised")
        assert (one.pseudo_label_accuracy is None) == (one.method == "supervised")


def test_compare__writes_json_and_csv(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found, folder, _ = whole
    record = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert record["format"] == 1
    assert record["sentences"] == list(found.sentences)
    assert len(record["runs"]) == 6
    assert record["method_settings"][found.methods[1]]["threshold"] == 0.35
    runs = (folder / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert len(runs) == 7
    assert runs[0].startswith("method,num_labels,seed,folder,error,accuracy,balanced_accuracy,")
    assert len((folder / "summary.csv").read_text(encoding="utf-8").splitlines()) == 4


def test_compare__predictions_are_those_of_the_figures(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found, folder, _ = whole
    for run in found.runs:
        assert run.figures is not None
        with np.load(folder / run.folder / "predictions.npz") as saved:
            assert (saved["labels"] == saved["predicted"]).mean() == run.figures.accuracy
            assert saved["probabilities"].shape == (60, 3)
            assert saved["labels"].tolist() == images(60, 1000)[1].tolist()


def test_compare__again_trains_nothing(whole: tuple[ComparisonResult, Path, Watch]) -> None:
    found, folder, _ = whole
    watch = Watch()
    again = small(folder, watch=watch)
    assert watch.trained == []
    assert again.summaries == found.summaries
    assert "6 are finished, 0 are left" in watch.messages[-1]


def test_compare__adds_methods_labels_seeds_and_variants(
    whole: tuple[ComparisonResult, Path, Watch], tmp_path: Path
) -> None:
    folder = tmp_path / "grows"
    small(folder, methods="fixmatch", seeds=1)
    watch = Watch()
    found = small(folder, watch=watch)
    assert set(watch.trained) == {
        (found.methods[2], 6, 0),
        *((method, 6, 1) for method in found.methods),
    }
    assert_same(found, whole[0])
    watch = Watch()
    method = {**OPTIONS["method"], "threshold": 0.8}
    found = small(folder, methods="fixmatch", seeds=1, num_labels=[6, 12], method=method, watch=watch)
    other = "fixmatch(ema_decay=0.5, mu=2, threshold=0.8)"
    assert watch.trained == [(other, 6, 0), ("supervised", 12, 0), (other, 12, 0)]
    assert len(found.runs) == 4, "the report is of what was asked for"


def test_compare__method_objects_stay_as_given(tmp_path: Path) -> None:
    asked: list[Any] = ["pseudo_label", FixMatch(mu=1, threshold=0.5), FixMatch(mu=1, threshold=0.6)]
    watch = Watch(_stop)
    with pytest.raises(KeyError):
        small(tmp_path, methods=asked, watch=watch)
    assert watch.plan is not None
    assert watch.plan.methods[2:] == ("fixmatch(mu=1, threshold=0.5)", "fixmatch(mu=1, threshold=0.6)")


def _stop(_: Any) -> None:
    raise KeyError


def test_compare__killed_and_begun_again(whole: tuple[ComparisonResult, Path, Watch], tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.recipes.small", str(folder), "2"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while len(list(folder.rglob("run.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    watch = Watch()
    found = small(folder, watch=watch)
    assert 0 < len(watch.trained) < 5
    assert_same(found, whole[0])


def test_compare__two_processes_equal_one_even_if_one_is_killed(
    whole: tuple[ComparisonResult, Path, Watch], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill() -> None:
        while not list((tmp_path / "hurt").rglob("run.json")):
            time.sleep(0.01)
        pid = multiprocessing.active_children()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    found = small(tmp_path / "hurt", jobs=2)
    thread.join()
    assert killed
    assert_same(found, whole[0])
    assert not list((tmp_path / "hurt").glob("rows*")), "the shared rows are gone"
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_compare__sigterm_saves_and_goes_on(
    whole: tuple[ComparisonResult, Path, Watch], tmp_path: Path, jobs: int
) -> None:
    def stop(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=rf"saved in {tmp_path}"):
        small(tmp_path / "stopped", jobs=jobs, watch=Watch(stop))
    assert signal.getsignal(signal.SIGTERM) == before
    assert not multiprocessing.active_children()
    assert_same(small(tmp_path / "stopped"), whole[0])


def test_compare__stopped_within_a_run_is_no_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise Interrupted("stopped at step 3; everything is saved in some folder")

    monkeypatch.setattr(grid, "run_one", stop)
    with pytest.raises(Interrupted, match=rf"^stopped; everything is saved in {tmp_path}, repeat the call to resume$"):
        small(tmp_path)


def test_compare__takes_a_map_of_the_caller(whole: tuple[ComparisonResult, Path, Watch], tmp_path: Path) -> None:
    def backwards(function: Any, tasks: Any) -> Iterator[Any]:
        """As a cluster would: in any order, tasks and results by value."""
        import pickle

        for task in reversed(tasks):
            yield pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(task)))))

    assert_same(small(tmp_path / "mapped", map=backwards), whole[0])


def test_compare__without_a_folder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = understudy.compare(images(), **{**OPTIONS, "seeds": 1, "methods": "fixmatch"}, jobs=1)
    assert isinstance(found, understudy.Comparison)
    assert found.folder is None
    assert list(tmp_path.iterdir()) == []
    assert found.test_source.startswith("18 of 90 labeled images, a fifth of each class, were set aside")


@pytest.mark.parametrize(
    ("options", "difference"),
    [({"budget": "13steps"}, "budget"), ({"batch_size": 7}, "settings"), ({"test": images(61, 1000)}, "images")],
)
def test_compare__folder_of_another_comparison(
    whole: tuple[ComparisonResult, Path, Watch], options: dict[str, Any], difference: str
) -> None:
    with pytest.raises(RunFolderError, match=f"holds a run that differs in {difference}"):
        small(whole[1], **options)


@dataclass(frozen=True, kw_only=True)
class Refuses(Method[Any]):
    """A method that some data does not suit, and that has a bug besides."""

    name: ClassVar[str] = "refuses"
    paper: ClassVar[str] = "none"
    summary: ClassVar[str] = "Fail."
    use_when: ClassVar[str] = "never"

    at: int = 0
    is_bug: bool = False

    def unlabeled_batch_size(self, batch_size: int) -> int:
        return batch_size

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        if len(batch.labeled.targets) and self.is_bug:
            raise ZeroDivisionError("a bug")
        raise UserError("this method needs more classes")


def test_compare__a_method_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    methods = ["fixmatch", Refuses(), Refuses(is_bug=True)]
    found = small(tmp_path / "some", methods=methods)
    failed = found.summary("refuses", 6)
    assert failed.accuracy is None
    assert failed.failed == (0, 1)
    assert found.ranked == found.methods[:2]
    text = str(found)
    assert "refuses failed (seed 0 of 6 labels, seed 1 of 6 labels): this method needs more classes." in text
    assert re.search(r"refuses\(is_bug=True\) failed .*: ZeroDivisionError: a bug \(see runs/\S+/error.txt\)", text)
    assert "in loss" in next(tmp_path.rglob("error.txt")).read_text(encoding="utf-8")
    watch = Watch()
    small(tmp_path / "some", methods=methods, watch=watch)
    assert {method.split("(")[0] for method, _, _ in watch.trained} == {"refuses"}, "failed runs are tried again"


def test_compare__all_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(grid, "run_one", fail)
    with pytest.raises(UserError, match="all 3 runs failed; the first: the disk is full"):
        small(seeds=1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"methods": "fixmtch"}, "unknown method 'fixmtch'; did you mean 'fixmatch'?"),
        ({"methods": []}, "no method to compare with supervised was given; allowed: all, "),
        ({"methods": "supervised"}, "no method to compare with supervised was given"),
        ({"num_labels": 91}, "91 labels cannot be kept: give a number from 3, one per class, to 90"),
        ({"num_labels": 2}, "2 labels cannot be kept: give a number from 3"),
        ({"num_labels": 0}, "num_labels is 0; give a whole number of at least 1"),
        ({"num_labels": None}, "with the labels given no image is left unlabeled"),
        ({"num_labels": 90}, "with 90 labels no image is left unlabeled"),
        ({"seeds": 0}, "seeds is 0; give a whole number of at least 1, or a list of them"),
        ({"seeds": [-1]}, "seeds is [-1]; give a whole number of at least 1, or a list of them"),
        ({"budget": "soon"}, "budget 'soon' is not a length of time"),
        ({"jobs": 0}, "jobs is 0; give a whole number of at least 1"),
        (
            {"method": {"thresold": 0.4}},
            "unknown setting method.thresold: none of supervised, fixmatch, pseudo_label has it; did you mean "
            "'method.threshold'?",
        ),
        ({"method": {"threshold": 1.4}}, "method.threshold is 1.4; it must be at most 1"),
        ({"method": {"criterion": {"name": "cross_entropy", "x": 1}}}, "unknown setting method.criterion.x: "),
        ({"threshold": 0.4}, "threshold is a setting of method fixmatch; write method.threshold"),
        ({"methods": [FixMatch(mu=2)], "threshold": 0.4}, "threshold is a setting of method fixmatch; write method"),
        ({"bach_size": 0.4}, "unknown setting bach_size: did you mean 'batch_size'?"),
        ({"fixmatch": {"mu": 2}}, "unknown setting fixmatch: a method with settings of its own is a variant; write "),
    ],
)
def test_compare__refuses(options: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        small(tmp_path / "none", **options)
    assert error in str(caught.value)
    assert not list(tmp_path.rglob("ledger.jsonl"))


def test_compare__too_few_images_to_test() -> None:
    x, y = images()
    with pytest.raises(UserError, match="no labeled test images, and 6 labeled images are too few to set some aside"):
        understudy.compare((x, np.where(np.arange(90) < 6, y, -1)), methods="fixmatch", budget="5steps")


def test_compare__labels_as_given() -> None:
    x, y = images()
    given = (x, np.where(np.arange(90) < 12, y, -1))
    found = understudy.compare(
        given, test=images(60, 1000), **{**OPTIONS, "num_labels": None, "seeds": 1, "methods": "fixmatch"}, jobs=1
    )
    assert found.num_labels == (0,)
    assert all(run.figures and run.figures.num_labeled == 12 for run in found.runs)
    assert found.summaries[1].gain is not None
    assert found.summaries[1].gain.test == "McNemar"
    assert found.summaries[1].gain.interval is None
    assert "One seed shows no spread between seeds" in str(found)


def test_held_out_test__is_a_fifth_of_each_class_and_always_the_same() -> None:
    first, sentence = held_out_test(load(images()))
    second, _ = held_out_test(load(images()))
    tests = first.parts == Part.TEST
    assert np.bincount(first.labels[tests]).tolist() == [6, 6, 6]
    assert (first.parts == second.parts).all()
    assert first.content == second.content != load(images()).content
    assert "18 of 90" in sentence


def test_shared_images__map_one_copy_of_the_rows(tmp_path: Path) -> None:
    collection = load(images(), test=images(60, 1000))
    with SharedData.of(collection, {"source": images()}, tmp_path, in_process=False) as shared:
        copy = shared._read()
        assert (copy.rows == collection.rows).all()
        assert (copy.labels == collection.labels).all()
        assert (copy.parts == collection.parts).all()
        if sys.platform == "linux":
            assert str(tmp_path / "rows.npy") in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert not (tmp_path / "rows.npy").exists()
