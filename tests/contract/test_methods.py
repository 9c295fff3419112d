"""Every registered method passes the whole battery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.contract import battery, planted, processes
from tests.contract.tiny import run, stage
from understudy.methods.base import METHODS, Method
from understudy.methods.metric_names import MEANS, SHARES

Kind = type[Method[Any]]
KINDS: list[Kind] = [METHODS.get(name) for name in METHODS.names()]

every_method = pytest.mark.parametrize("kind", KINDS, ids=METHODS.names())


@every_method
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "plain"])
def test_every_term_trains(kind: Kind, norm: bool) -> None:
    battery.check_every_term_trains(kind, norm=norm)


@every_method
def test_every_knob_counts(kind: Kind) -> None:
    battery.check_every_knob_counts(kind)


@every_method
def test_hidden_labels_unread(kind: Kind) -> None:
    battery.check_hidden_labels_unread(kind)


@every_method
def test_resume(kind: Kind, tmp_path: Path) -> None:
    battery.check_resume(kind, tmp_path)


@every_method
def test_config_round_trips(kind: Kind) -> None:
    battery.check_config_round_trips(kind)


@every_method
def test_only_trained_networks_move(kind: Kind) -> None:
    battery.check_only_trained_networks_move(kind)


@every_method
def test_no_host_sync(kind: Kind) -> None:
    battery.check_no_host_sync(kind)


@every_method
def test_chunks(kind: Kind) -> None:
    battery.check_chunks(kind)


@every_method
def test_odd_sizes(kind: Kind) -> None:
    battery.check_odd_sizes(kind)


@every_method
def test_declared(kind: Kind) -> None:
    assert kind.name == kind.__module__.rpartition(".")[2]
    for attribute in ("paper", "summary", "use_when"):
        assert getattr(kind, attribute)


@every_method
def test_metrics_have_words(kind: Kind) -> None:
    reports: list[Any] = []
    run(stage(kind(), steps=4, warmup=0.0), observe=[reports.append])
    metrics = {name for report in reports for loss in report.losses for name in loss.metrics}
    assert metrics <= {*SHARES, *MEANS}, "a log or report would show an internal name"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, dict[int, dict[str, Tensor]]]:
    """What two processes reach with each method, and with one that is wrong on purpose."""
    kinds = [*KINDS, planted.LocalMemory]
    return dict(zip(kinds, processes.train_by_two(kinds, tmp_path_factory.mktemp("two")), strict=True))


@every_method
def test_processes(kind: Kind, outcomes: dict[Kind, dict[int, dict[str, Tensor]]]) -> None:
    battery.check_processes(kind, outcomes[kind])


def test_processes__catches_local_memory(outcomes: dict[Kind, dict[int, dict[str, Tensor]]]) -> None:
    with pytest.raises(AssertionError, match="processes remember different"):
        battery.check_processes(planted.LocalMemory, outcomes[planted.LocalMemory])
