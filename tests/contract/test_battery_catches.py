"""The battery fails for methods that are wrong on purpose: a demand that nothing can break demands nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from tests.contract import battery, planted


def test_every_term_trains__zero_unlabeled_loss() -> None:
    with pytest.raises(AssertionError, match=r"\['unsupervised'\] of ZeroUnlabeled gives no gradient"):
        battery.check_every_term_trains(planted.ZeroUnlabeled, norm=True)


def test_every_knob_counts__dead_knob() -> None:
    with pytest.raises(AssertionError, match=r"DeadKnob.temperature=0.5 changes nothing"):
        battery.check_every_knob_counts(planted.DeadKnob)


def test_every_knob_counts__knob_without_probe() -> None:
    with pytest.raises(AssertionError, match=r"UntestableKnob.temperature has neither a probe nor choices"):
        battery.check_every_term_trains(planted.UntestableKnob, norm=True)


@pytest.mark.parametrize("kind", [planted.LabelLeak, planted.ValidationLeak])
def test_hidden_labels_unread__leak(kind: Any) -> None:
    with pytest.raises(AssertionError, match=f"{kind.__name__} read labels it must not see"):
        battery.check_hidden_labels_unread(kind)


def test_hidden_labels_unread__labels_in_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = battery.tiny()
    batch = battery.fresh_state(battery.stage(planted.FixMatch(), data=made.data)).stream.batch(
        battery.HALFWAY, with_unlabeled=True
    )
    assert not battery._holds(batch, made.truth)
    object.__setattr__(made.data, "content", made.truth)
    assert battery._holds(batch, made.truth)


def test_resume__hidden_python_state(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ResumeDrift stopped at step 13 ends in another state"):
        battery.check_resume(planted.ResumeDrift, tmp_path)


@pytest.mark.parametrize("kind", [planted.HostSync, planted.BooleanIndexing])
def test_no_host_sync__reads_a_value(kind: Any) -> None:
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        battery.check_no_host_sync(kind)


def test_only_trained_networks_move__moves_average() -> None:
    with pytest.raises(AssertionError, match=r"MovesAverage is not to train ema and moved \['.*running_mean'"):
        battery.check_only_trained_networks_move(planted.MovesAverage)


def test_only_trained_networks_move__trains_nothing() -> None:
    with pytest.raises(AssertionError, match="TrainsNothing is to train projection and did not"):
        battery.check_only_trained_networks_move(planted.TrainsNothing)


def test_chunks__mean_over_parts() -> None:
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        battery.check_chunks(planted.WeightInLoop)
