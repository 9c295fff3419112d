"""`learn_regularization`: symmetries from pixels alone, strengths from trials."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tests.planning.small import even, sided, training, with_known
from understudy.augment import Augmentation
from understudy.core.budget import Budget, Cost
from understudy.engine.stage import Settings
from understudy.planning import learn_regularization as module
from understudy.planning.choice import PlanningBudget
from understudy.planning.learn_regularization import learn_regularization
from understudy.planning.trials import Trial, Trials


def test_learn_regularization__sides_that_matter_forbid_mirrors() -> None:
    learned = learn_regularization(training(with_known(sided(300), 20)))
    assert learned.hflip is not None
    assert (learned.hflip.value, learned.hflip.how) == (False, "measured")
    assert "left and right matter" in learned.hflip.reason
    assert learned.figures["symmetry_auroc"]["mirrored"] > 0.95


def test_learn_regularization__pictures_without_sides_allow_everything() -> None:
    learned = learn_regularization(training(with_known(even(1200), 20)))
    assert learned.hflip is not None
    assert learned.rotations is not None
    assert (learned.hflip.value, learned.rotations.value) == (True, True)
    assert all(0.4 < area < 0.6 for area in learned.figures["symmetry_auroc"].values())


def test_learn_regularization__turns_want_many_pictures() -> None:
    """With few pictures that no test tells apart, turning them would rest on next to nothing."""
    learned = learn_regularization(training(with_known(even(400), 20)))
    assert learned.rotations is not None
    assert (learned.rotations.value, learned.rotations.how) == (False, "rule")
    assert "no orientation" not in learned.rotations.reason


@pytest.mark.parametrize(("budget_s", "expected"), [(100, 2000), (6, 1000), (4, 500), (0.1, 500)])
def test_symmetries__look_at_as_many_images_as_the_allowance_pays_for(
    budget_s: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 images take 0.02 s to render and 0.02 s to classify here, of a fifth of 30 % of the budget."""
    allowance = PlanningBudget(Budget(cpu_s=budget_s))
    now = [0.0]
    sizes: list[int] = []

    def area(images: Any, *_: Any) -> float:
        sizes.append(len(images))
        now[0] += 0.02
        return 0.5

    def thumbnails(_: Any, ids: Any) -> Any:
        now[0] += 1e-4 * len(ids)
        return torch.zeros(len(ids), 1, 8, 8)

    monkeypatch.setattr(allowance, "read", lambda: now[0])
    monkeypatch.setattr(module, "_area", area)
    monkeypatch.setattr(module, "_all_thumbnails", thumbnails)
    found = module._symmetries(training(with_known(even(2100, side=8), 20)), 0, allowance)
    assert sizes[-3:] == [expected] * 3
    assert found == {"mirrored": 0.5, "upside down": 0.5, "turned": 0.5}


@pytest.mark.parametrize(
    ("areas", "hflip", "rotations", "how"),
    [
        ((0.50, 0.70, 0.75), True, False, ("measured", "measured")),
        ((0.57, 0.50, 0.50), True, False, ("rule", "rule")),
        ((0.50, 0.57, 0.50), True, False, ("measured", "rule")),
        ((0.90, 0.50, 0.50), False, False, ("measured", "rule")),
        ((0.50, 0.51, 0.49), True, True, ("measured", "measured")),
    ],
)
def test_symmetries__what_settles_nothing_is_not_called_settled(
    monkeypatch: pytest.MonkeyPatch,
    areas: tuple[float, float, float],
    hflip: bool,
    rotations: bool,
    how: tuple[str, str],
) -> None:
    found = dict(zip(("mirrored", "upside down", "turned"), areas, strict=True))
    monkeypatch.setattr(module, "_symmetries", lambda *_: found)
    learned = learn_regularization(training(with_known(even(1100), 20)))
    assert learned.hflip is not None
    assert learned.rotations is not None
    assert (learned.hflip.value, learned.rotations.value) == (hflip, rotations)
    assert (learned.hflip.how, learned.rotations.how) == how


def test_learn_regularization__too_few_images_settle_nothing() -> None:
    learned = learn_regularization(training(with_known(sided(100), 20)), no_trials="nothing was tried")
    assert learned.hflip is None
    assert learned.rotations is None
    assert learned.magnitude is not None
    assert (learned.magnitude.how, learned.magnitude.value) == ("rule", 1.0)
    assert learned.magnitude.reason.endswith("nothing was tried")


def test_learn_regularization__looks_at_nothing_once_the_allowance_is_used_up() -> None:
    allowance = PlanningBudget(Budget(wall_s=100))
    assert not allowance.is_used_up
    allowance.pay(Cost(wall_s=20))
    learned = learn_regularization(training(with_known(sided(300), 20)), allowance=allowance)
    assert allowance.is_used_up
    assert "symmetry_auroc" not in learned.figures
    assert (learned.hflip, learned.rotations) == (None, None)


def test_learn_regularization__vectors_have_no_symmetries() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32), np.arange(300) % 2
    assert learn_regularization(training(rows, domain="vector")).choices == ()


def test_learn_regularization__what_was_asked_stays() -> None:
    options = {"augmentation": {"hflip": True, "rotations": True, "magnitude": 0.0}}
    learned = learn_regularization(training(with_known(sided(300), 20)), options=options)
    assert learned.augmentation() == Augmentation(hflip=True, rotations=True, magnitude=0.0)
    assert {choice.how for choice in learned.choices} == {"asked"}


def test_learn_regularization__the_same_seed_finds_the_same() -> None:
    data = training(with_known(sided(300), 20))
    assert learn_regularization(data, seed=3).figures == learn_regularization(data, seed=3).figures


class Played(Trials):
    """Trials whose outcomes are set beforehand."""

    outcomes: dict[str, float]
    asked: dict[str, Any]

    def run(self, name: str, data: Any = None, **changes: Any) -> Trial:
        self.asked[name] = data
        count = len(self.held_out)
        right = np.arange(count) < round(self.outcomes[name] * count)
        return Trial(name, None, right)  # type: ignore[arg-type]


def played(monkeypatch: pytest.MonkeyPatch, distances: dict[str, float], **outcomes: float) -> Played:
    data = training(with_known(sided(700), 500))
    trials = Played(data, data.labeled[:300], np.zeros(300, np.int64), None, "", Settings(), None)  # type: ignore[arg-type]
    trials.outcomes = {name.replace("_", "-"): value for name, value in outcomes.items()}
    trials.asked = {}
    monkeypatch.setattr(module, "_distances", lambda *_: distances)
    return trials


def test_strength__gentler_views_when_they_win(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = played(monkeypatch, {"rotate": 0.1, "color": 0.1}, supervised=0.5, gentle=0.7)
    learned = learn_regularization(trials.data, trials=trials)
    assert learned.magnitude is not None
    assert (learned.magnitude.value, learned.magnitude.how) == (0.5, "tried")
    assert "half the strength won" in learned.magnitude.reason
    assert "fewer-operations" not in trials.asked


def test_strength__a_tie_keeps_the_domains_own(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = played(monkeypatch, {"rotate": 0.1, "color": 0.1}, supervised=0.5, gentle=0.505)
    learned = learn_regularization(trials.data, trials=trials)
    assert learned.magnitude is not None
    assert learned.magnitude.value == 1.0
    assert "no other policy was better than chance explains" in learned.magnitude.reason


def test_strength__operations_that_move_the_loss_most_go_when_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    distances = {"rotate": 0.1, "color": 0.1, "contrast": 0.1, "solarize": 2.0}
    trials = played(monkeypatch, distances, supervised=0.5, fewer_operations=0.8, gentle=0.6)
    learned = learn_regularization(trials.data, trials=trials)
    assert learned.operations is not None
    assert learned.operations.value == ("rotate", "color", "contrast")
    assert learned.operations.reason.startswith("without solarize")
    assert trials.asked["fewer-operations"].domain.operations == ("rotate", "color", "contrast")
    assert not trials.asked["gentle"].domain.hflip, "trials train with the hflip that was chosen"
    assert not trials.data.domain.hflip, "and so do those that change nothing else"


def test_distances__an_operation_that_destroys_the_class_is_far(tmp_path: Path) -> None:
    """A network that reads brightness minds solarizing, and not a small shift."""
    from understudy.core.budget import Budget
    from understudy.methods.supervised import Supervised
    from understudy.models import build

    data = training(with_known(even(500), 500))
    domain = dataclasses.replace(data.domain, operations=("identity", "solarize"))
    data = dataclasses.replace(data, domain=domain)
    labels = np.asarray(data.targets)[:200]
    trials = Trials(
        dataclasses.replace(data, labeled=data.labeled[200:], targets=data.targets[200:], weight=None),
        data.labeled[:200],
        labels,
        build("cnn", shape=(3, 16, 16), num_classes=2),
        "cnn",
        Settings(method=Supervised(), batch_size=16, labeled_view="weak"),
        Budget(steps=30),
    )
    found = module._distances(trials.run("supervised"), trials, 0)
    assert found["identity"] < 1e-6
    assert found["solarize"] > 0.2
