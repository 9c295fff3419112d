"""Self-training: which labels are kept, what students learn from, why rounds stop, and what a killed run repeats."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from tests.contract.tiny import different, tiny
from tests.recipes.rounds_victim import FIVE, small_stage, train, with_pool_predictions
from understudy.core.errors import ConfigError, RunFolderError
from understudy.data.stream import Stream
from understudy.engine.finalize import Trained
from understudy.engine.observers import PseudoLabelQuality, StepReport
from understudy.engine.stage import Stage
from understudy.recipes import base
from understudy.recipes.parts import pool_labels
from understudy.recipes.parts.pool_labels import (
    PoolLabels,
    below_text,
    predict_pool,
    select_pseudo_labels,
    with_pseudo_labels,
)
from understudy.recipes.self_training import SelfTraining

ROOT = Path(__file__).parents[2]
EVEN = np.full(3, 1 / 3)
EAGER = SelfTraining(num_rounds=2, threshold=0.4, gate=1.0)
WARY = replace(EAGER, gate=0.05)


def labels_of(*found: tuple[int, float]) -> tuple[Any, Any]:
    """Predicted classes and confidences as the two arrays."""
    return np.array([label for label, _ in found], np.int64), np.array([share for _, share in found], np.float32)


SIX = labels_of((0, 0.9), (0, 0.5), (0, 0.8), (0, 0.95), (1, 0.6), (2, 0.7))


# Which rows are kept.


def test_times_kept__threshold() -> None:
    assert select_pseudo_labels(*SIX, EVEN, threshold=0.7).tolist() == [1, 0, 1, 1, 0, 1]


def test_times_kept__none_and_all() -> None:
    assert select_pseudo_labels(*SIX, EVEN, threshold=1.0).tolist() == [0] * 6
    assert select_pseudo_labels(*SIX, EVEN, threshold=0.0).tolist() == [1] * 6
    assert select_pseudo_labels(*labels_of(), EVEN).tolist() == []


def test_times_kept__top_share_of_each_class() -> None:
    assert select_pseudo_labels(*SIX, EVEN, top_share=0.5).tolist() == [1, 0, 0, 1, 1, 1]


def test_times_kept__quota_caps_the_largest_class() -> None:
    assert select_pseudo_labels(*SIX, EVEN, balance="cap").tolist() == [1, 0, 0, 1, 1, 1]
    assert select_pseudo_labels(*SIX, EVEN, balance="cap", quota=1.5).tolist() == [1, 0, 1, 1, 1, 1]
    assert select_pseudo_labels(*SIX, np.array([0.6, 0.2, 0.2]), balance="cap").sum() == 6


def test_times_kept__duplicates_fill_the_quota() -> None:
    assert select_pseudo_labels(*SIX, EVEN, balance="duplicate").tolist() == [1, 0, 0, 1, 2, 2]
    many = labels_of(*[(0, 0.9)] * 99, (1, 0.8), (2, 0.7), (2, 0.6))
    assert select_pseudo_labels(*many, EVEN, balance="duplicate")[-3:].tolist() == [10, 10, 10]
    uneven = labels_of(*[(0, 0.9)] * 11, (1, 0.8), (1, 0.9), (2, 0.6))
    times = select_pseudo_labels(*uneven, EVEN, balance="duplicate")
    assert times[-3:].tolist() == [2, 3, 5]
    assert times[:11].sum() == 5


@pytest.mark.parametrize(
    ("confidence", "threshold", "text"),
    [(0.5, 0.9, "0.500"), (0.99987, 1.0, "0.9999"), (0.89996, 0.9, "0.89996"), (0.99999994, 1.0, "0.9999999")],
)
def test_below_text__reads_as_below(confidence: float, threshold: float, text: str) -> None:
    assert below_text(confidence, threshold) == text


def test_changed_since__no_label_is_a_label() -> None:
    label, confidence = SIX
    one = PoolLabels(np.arange(6), label, confidence, np.array([1, 1, 0, 0, 1, 1]))
    assert one.changed_since(one) == 0
    assert replace(one, repeats=np.array([1, 0, 0, 1, 1, 1])).changed_since(one) == pytest.approx(2 / 6)
    assert replace(one, label=np.array([1, 0, 1, 0, 1, 2])).changed_since(one) == pytest.approx(1 / 6)


# What students learn from.


def some_labels(soft: bool = False) -> PoolLabels:
    """Labels of the tiny pool of 24 rows, of which 18 are kept and one of these twice."""
    data = tiny().data
    probs = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)).softmax(-1).numpy()
    weight = np.array([1] * 17 + [2] + [0] * 6)
    return PoolLabels(
        data.unlabeled, probs.argmax(-1), probs.max(-1), weight, probs.astype(np.float16) if soft else None
    )


@pytest.mark.parametrize("lambda_u", [0.0, 1.0, 3.0])
def test_with_pseudo_labels__each_part_has_its_weight(lambda_u: float) -> None:
    data = replace(tiny().data, weight=torch.arange(12.0) + 1)
    mixed = with_pseudo_labels(data, some_labels(), lambda_u=lambda_u, labeled_share=0.5)
    assert mixed.weight is not None
    share = mixed.weight / mixed.weight.sum()
    true = np.isin(mixed.labeled, data.labeled)
    assert float(share[~true].sum()) == pytest.approx(lambda_u / (1 + lambda_u), abs=1e-6)
    first = share[torch.from_numpy(mixed.labeled == 0)].sum()
    assert float(first) == pytest.approx(1 / 78 / (1 + lambda_u), rel=1e-5)


@pytest.mark.parametrize(("wanted", "repeats"), [(0.0, 1), (0.5, 2), (0.75, 5)])
def test_with_pseudo_labels__true_rows_are_repeated(wanted: float, repeats: int) -> None:
    data, labels = tiny().data, some_labels()
    mixed = with_pseudo_labels(data, labels, lambda_u=1.0, labeled_share=wanted)
    assert len(mixed.labeled) == 12 * repeats + 19
    for row, target in zip(mixed.labeled, mixed.targets.tolist(), strict=True):
        given = data.targets[row] if row < 12 else labels.label[row - 12]
        assert target == int(given)
    assert mixed.unlabeled.tolist() == list(range(30, 36))
    assert mixed.rows is data.rows


def test_with_pseudo_labels__batches_hold_a_share_of_true_rows() -> None:
    mixed = with_pseudo_labels(tiny().data, some_labels(), lambda_u=1.0, labeled_share=0.5)
    stream = Stream(mixed, seed=0, batch_size=8, unlabeled_batch_size=0)
    counts = [int((mixed.labeled[stream._labeled_order.take(8 * step, 8)] < 12).sum()) for step in range(40)]
    assert 3 < np.mean(counts) < 5
    assert min(counts) > 0


def test_with_pseudo_labels__soft() -> None:
    labels = some_labels(soft=True)
    mixed = with_pseudo_labels(tiny().data, labels, lambda_u=1.0, labeled_share=0.5)
    assert mixed.targets.shape == (24 + 19, 3)
    assert torch.allclose(mixed.targets.sum(-1), torch.ones(43))
    assert labels.probabilities is not None
    assert torch.allclose(mixed.targets[24], torch.from_numpy(labels.probabilities[0].astype(np.float32)), atol=1e-3)
    given = with_pseudo_labels(tiny(soft=True).data, some_labels(), lambda_u=1.0, labeled_share=0.5)
    assert given.targets[-1].tolist() == np.eye(3)[labels.label[17]].tolist()


def test_predict_pool__a_part_at_a_time_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_labels, "_ROWS_AT_ONCE", 10)
    data = tiny(unlabeled=64).data
    np.save(tmp_path / "rows.npy", data.rows.numpy())
    mapped = replace(data, rows=torch.from_numpy(np.load(tmp_path / "rows.npy", mmap_mode="c")))
    training = small_stage()
    asked: list[int] = []
    actual = pool_labels.predict

    def counted(network: Any, rows: Any, ids: Any, **options: Any) -> Any:
        asked.append(len(ids))
        assert rows.rows.data_ptr() == mapped.rows.data_ptr()
        return actual(network, rows, ids, **options)

    device = torch.device("cpu")
    with mock.patch.object(pool_labels, "predict", counted):
        found = predict_pool(training.network, mapped, soft=False, device=device)
    assert asked == [10] * 6 + [4]
    assert found.probabilities is None
    whole = actual(training.network, data, data.unlabeled)
    assert found.label.tolist() == whole.argmax(-1).tolist()
    assert np.allclose(found.confidence, whole.max(-1))
    student = with_pseudo_labels(mapped, replace(found, repeats=found.repeats + 1), lambda_u=1.0, labeled_share=0.5)
    assert student.rows.data_ptr() == mapped.rows.data_ptr()


def test_pool_labels__come_back_from_disk(tmp_path: Path) -> None:
    for labels in (some_labels(), some_labels(soft=True)):
        labels.save(tmp_path / "round" / "pseudo_labels.npz")
        found = PoolLabels.load(tmp_path / "round" / "pseudo_labels.npz")
        for name in ("ids", "label", "confidence", "repeats", "probabilities"):
            assert np.array_equal(getattr(found, name), getattr(labels, name))  # None equals None
        assert [path.name for path in (tmp_path / "round").iterdir()] == ["pseudo_labels.npz"]


# Rounds.


def test_self_training__every_round_is_trained_and_reported(tmp_path: Path) -> None:
    training, reports = small_stage(), list[StepReport]()
    truth = tiny(unlabeled=48).truth
    quality = PseudoLabelQuality(truth)
    trained = train(EAGER, training, tmp_path, observe=[reports.append, quality])
    assert [line["name"] for line in trained.rounds] == ["teacher", "round 1", "round 2"]
    assert (trained.stopped, trained.steps) == ("", 60)
    assert [line["returned"] for line in trained.rounds] == [False, False, True]
    assert [line["learned_from_pool"] for line in trained.rounds] == [False, True, True]
    assert trained.rounds[2]["note"] == "returned as the last, since there are no validation images"
    first, second = trained.rounds[1:]
    assert first["labels_changed"] is None
    assert second["labels_changed"] is not None
    for number, line in ((1, first), (2, second)):
        saved = PoolLabels.load(tmp_path / f"round-{number}" / "pseudo_labels.npz")
        assert line["num_pseudo_labels"] == saved.kept.sum() == sum(line["pseudo_labels_per_class"])
        assert (saved.confidence[saved.kept] >= 0.4).all()
        right = float((saved.label == truth[saved.ids])[saved.kept].mean())
        diagnosed = quality.rounds[number - 1]
        assert (diagnosed["round"], diagnosed["coverage"]) == (number, pytest.approx(line["coverage"]))
        assert diagnosed["pseudo_label_accuracy"] == pytest.approx(right)
    assert [report.round.number for report in reports if report.round] == [0, 1, 2]
    assert json.loads((tmp_path / "rounds.json").read_text()) == list(trained.rounds)
    assert {report.run for report in reports} == {"teacher", "round 1", "round 2"}


def test_self_training__students_start_afresh_and_learn_from_the_pool() -> None:
    training = small_stage()
    seen: list[Stage] = []
    actual = base.fit

    def remembered(stage: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(stage)
        return actual(stage, *arguments, **options)

    with mock.patch.object(base, "fit", remembered):
        train(replace(EAGER, teacher_share=0.5), training)
    assert [stage.name for stage in seen] == ["teacher", "round 1", "round 2"]
    assert [stage.budget.steps for stage in seen] == [30, 10, 20]
    assert all(stage.network is training.network for stage in seen)
    assert set(seen[1].data.labeled) > set(range(12))
    assert not set(seen[1].data.labeled) & set(seen[1].data.unlabeled)


def with_answers(*shares_right: float, labels: Any = None) -> Any:
    """A patch that makes each classifier in turn right on such a share of the validation images, the first ones."""
    answers = iter(shares_right)

    def predicted(network: Any, data: Any, ids: Any, **options: Any) -> Any:
        share = next(answers)
        targets = data.validation_targets.copy()
        targets[round(share * len(ids)) :] += 1
        return np.eye(3, dtype=np.float32)[targets % 3]

    return mock.patch.object(base, "predict", predicted)


def test_self_training__validation_returns_the_best_round() -> None:
    with with_answers(0.6, 0.9, 0.7):
        trained = train(replace(WARY, num_rounds=3), small_stage(validation=30))
    assert [line["validation_accuracy"] for line in trained.rounds] == pytest.approx([0.6, 0.9, 0.7])
    assert [line["returned"] for line in trained.rounds] == [False, True, False]
    assert trained.stopped == "round 2 did harm: accuracy fell from 90.0 to 70.0 % of 30 validation images"
    assert trained.rounds[0]["note"] == ("the teacher is right on 60.0 % of 30 validation images, and chance on 33.3 %")


def test_self_training__diminishing_returns() -> None:
    with with_answers(0.6, 0.9, 0.9):
        trained = train(replace(EAGER, num_rounds=5), small_stage(validation=30))
    assert len(trained.rounds) == 3
    assert trained.stopped == ("diminishing returns: round 2 took accuracy from 90.0 to 90.0 % of 30 validation images")
    assert [line["returned"] for line in trained.rounds] == [False, False, True]  # of equals the later


def test_self_training__harm_returns_the_teacher() -> None:
    with with_answers(0.9, 0.4):
        trained = train(EAGER, small_stage(validation=30))
    assert trained.stopped == "round 1 did harm: accuracy fell from 90.0 to 40.0 % of 30 validation images"
    assert [line["returned"] for line in trained.rounds] == [True, False]


def test_self_training__a_little_loss_does_not_stop_the_first_round() -> None:
    with with_answers(0.6, 0.57, 0.8):
        trained = train(EAGER, small_stage(validation=30))
    assert [line["returned"] for line in trained.rounds] == [False, False, True]


def test_self_training__convergence() -> None:
    trained = train(replace(FIVE, min_changed=0.9), small_stage())
    assert len(trained.rounds) == 3
    assert trained.stopped.startswith("converged: ")
    assert trained.stopped.endswith(" % of the pseudo-labels changed after round 2")


# Bad teachers.


def test_self_training__useless_teacher() -> None:
    with with_answers(0.4):
        trained = train(WARY, small_stage(validation=30))
    assert trained.stopped.startswith(
        "the teacher is right on 40.0 % of 30 validation images, and chance on 33.3 %, which is not significant (p = "
    )
    assert trained.stopped.endswith("); no image was labeled, and gate=1 would trust it")
    (line,) = trained.rounds
    assert line["note"] == trained.stopped
    assert not line["learned_from_pool"]
    assert trained.steps == 12


def shuffled_labels(training: Stage) -> Stage:
    """The stage with labels that have nothing to do with the images."""
    random = np.random.default_rng(0).permutation(len(training.data.labeled))
    return replace(training, data=replace(training.data, targets=training.data.targets[torch.from_numpy(random)]))


def test_self_training__labels_that_teach_nothing_are_found_out_without_validation() -> None:
    trained = train(WARY, shuffled_labels(small_stage(steps=200)))
    assert trained.stopped.startswith("classifiers like the teacher, each trained on half of the labels, are right on ")
    assert " of the 12 images labeled in the other half, and chance on " in trained.stopped
    assert "which is not significant" in trained.stopped


def test_self_training__a_good_teacher_passes_without_validation() -> None:
    trained = train(replace(WARY, num_rounds=1), small_stage(steps=300, labeled=30))
    assert trained.rounds[0]["note"].endswith(" of the 30 images labeled in the other half, and chance on 36.7 %")
    assert len(trained.rounds) == 2


def test_crossfit_gate__halves_are_tested_on_each_other() -> None:
    training, seen = small_stage(), list[Stage]()
    tested: list[set[int]] = []
    actual, asked = base.fit, base.predict

    def remembered(stage: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(stage)
        return actual(stage, *arguments, **options)

    def predicted(network: Any, data: Any, ids: Any, **options: Any) -> Any:
        if len(ids):  # the validation set of each run is empty
            tested.append(set(ids))
        return asked(network, data, ids, **options)

    with mock.patch.object(base, "fit", remembered), mock.patch.object(base, "predict", predicted):
        train(replace(WARY, num_rounds=1), training)
    first, second = (stage.data for stage in seen if stage.name.startswith("gate"))
    assert sorted([*first.labeled, *second.labeled]) == list(range(12))
    assert not set(first.labeled) & set(second.labeled)
    assert tested == [set(second.labeled), set(first.labeled)]
    for half in (first, second):
        assert half.targets.tolist() == training.data.targets[torch.from_numpy(half.labeled)].tolist()
        assert set(half.targets.tolist()) == {0, 1, 2}


def test_self_training__too_few_labels_to_ask() -> None:
    training = small_stage()
    data = replace(training.data, labeled=training.data.labeled[:3], targets=torch.tensor([0, 1, 2]))
    trained = train(WARY, replace(training, data=data))
    assert trained.rounds[0]["note"] == (
        "too few labels to tell whether the teacher is better than chance, so it was trusted"
    )
    assert len(trained.rounds) == 3


def test_self_training__teacher_of_one_class() -> None:
    with with_pool_predictions([0.1, 0.9, 0.0]):
        trained = train(EAGER, small_stage())
    assert trained.stopped == "the first teacher labels all 48 unlabeled images '1', which teaches nothing"
    assert trained.rounds[-1]["returned"]


def test_self_training__nothing_confident() -> None:
    with with_pool_predictions([0.2, 0.5, 0.3], varied=True):
        trained = train(replace(EAGER, threshold=0.9), small_stage())
    assert trained.stopped == (
        "the first teacher is confident of none of the 48 unlabeled images: the highest confidence is 0.500 and "
        "recipe.threshold is 0.9; lower it"
    )


def test_self_training__a_student_that_cannot_teach_is_not_returned() -> None:
    good = np.eye(3, dtype=np.float32)[np.arange(48) % 3]
    flat = np.full((48, 3), 1 / 3, np.float32)
    with mock.patch.object(pool_labels, "predict", mock.Mock(side_effect=[good, good, flat])):
        trained = train(replace(EAGER, num_rounds=3, min_changed=0.0), small_stage())
    assert trained.stopped.startswith("the student of round 2 labels all 48 unlabeled images '0'")
    assert [line["returned"] for line in trained.rounds] == [False, True, False]
    assert trained.rounds[1]["note"] == "returned as the last that can teach, since there are no validation images"
    assert "note" not in trained.rounds[2]


def test_self_training__all_confident() -> None:
    with with_pool_predictions([0.0, 1.0, 0.0], varied=True):
        trained = train(EAGER, small_stage())
    assert [line["coverage"] for line in trained.rounds[1:]] == [1.0, 1.0]


def test_self_training__no_pool() -> None:
    training = small_stage()
    with pytest.raises(ConfigError) as caught:
        EAGER.train(replace(training, data=replace(training.data, unlabeled=training.data.unlabeled[:0])))
    assert str(caught.value) == (
        "recipe self_training labels unlabeled images and there are none; give some, or take the recipe plain"
    )


# Interruptions.


def test_self_training__killed_in_a_round_goes_on_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "tests.recipes.rounds_victim", str(folder)], cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (folder / "round-3" / "ledger.jsonl").exists():
        assert time.monotonic() < deadline, "the other process did nothing"
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(240) != 0
    assert (folder / "round-2" / "finished.json").exists()
    assert not (folder / "round-3" / "finished.json").exists()
    labels = (folder / "round-3" / "pseudo_labels.npz").read_bytes()
    trained_again: list[str] = []
    resumed = train(FIVE, small_stage(), folder, observe=[lambda report: trained_again.append(report.run)])
    whole = train(FIVE, small_stage())
    assert not different(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
    assert trained_again.count("round 1") == 1  # the line alone
    assert trained_again.count("round 3") > 1
    assert (folder / "round-3" / "pseudo_labels.npz").read_bytes() == labels

    def without_times(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_times(inner) for key, inner in value.items() if key not in ("cpu_s", "wall_s")}
        return [without_times(inner) for inner in value] if isinstance(value, list | tuple) else value

    assert without_times(resumed.rounds) == without_times(whole.rounds)


def test_self_training__a_folder_of_other_knobs(tmp_path: Path) -> None:
    train(replace(EAGER, num_rounds=1), small_stage(steps=10), tmp_path)
    with pytest.raises(RunFolderError, match="holds a run that differs in recipe"):
        train(replace(EAGER, num_rounds=1, threshold=0.5), small_stage(steps=10), tmp_path)
