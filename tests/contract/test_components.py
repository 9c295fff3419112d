"""Every knob of the components that methods share changes a run in which the component is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from tests.contract.battery import turned
from tests.contract.tiny import different, run, stage
from understudy.functional.alignment import Alignment
from understudy.functional.criteria import CRITERIA
from understudy.methods.fixmatch import FixMatch


def weights(**components: Any) -> dict[str, Tensor]:
    """The final weights of a short run in which every unlabeled row counts that is not quite unsure."""
    return dict(run(stage(FixMatch(threshold=0.5, **components))).trained.model.state_dict())


def knobs_of(components: Iterable[Any]) -> list[Any]:
    return [
        pytest.param(component, name, value, id=f"{getattr(component, 'target', component.name)}-{name}-{value}")
        for component in components
        for name, value in turned(component)
    ]


def criteria() -> Iterator[Any]:
    for name in CRITERIA.names():
        yield CRITERIA.get(name)()


def alignments() -> Iterator[Any]:
    for target in ("uniform", "labeled", "running", "estimated"):
        yield Alignment(target=target)


@pytest.mark.parametrize(("component", "name", "value"), knobs_of(criteria()))
def test_criterion__every_knob_counts(component: Any, name: str, value: Any) -> None:
    changed = weights(criterion=replace(component, **{name: value}))
    assert different(weights(criterion=component), changed), f"{component}: {name}={value} changes nothing"


@pytest.mark.parametrize(("component", "name", "value"), knobs_of(alignments()))
def test_alignment__every_knob_counts(component: Any, name: str, value: Any) -> None:
    changed = weights(alignment=replace(component, **{name: value}))
    assert different(weights(alignment=component), changed), f"{component}: {name}={value} changes nothing"


def test_criterion__every_variant_counts() -> None:
    found = [weights(criterion=criterion) for criterion in criteria()]
    for index, one in enumerate(found):
        assert all(different(one, other) for other in found[index + 1 :])
