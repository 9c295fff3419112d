"""Distribution alignment against slow transcriptions, and the estimated class balance against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from understudy.core.errors import ConfigError
from understudy.functional.alignment import Alignment, ClassBalance

K = 3
COUNTS = torch.tensor([8.0, 3.0, 1.0])


def batches(seed: int, steps: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet((2.0, 1.0, 0.5), 7).astype(np.float32) for _ in range(steps)]


def normalized(rows: NDArray[Any]) -> NDArray[Any]:
    return np.array([row / row.sum() for row in rows])


class Running:
    """A mean m of batches, m = d m + (1 - d) x with d = min(decay, (1 + t) / (10 + t)), from a uniform start."""

    def __init__(self, decay: float) -> None:
        self.decay, self.steps, self.value = decay, 0, np.full(K, 1 / K)

    def take(self, x: NDArray[Any]) -> NDArray[Any]:
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.value = d * self.value + (1 - d) * x
        return self.value


@pytest.mark.parametrize("momentum", [0.999, 0.2])
@pytest.mark.parametrize("target", ["uniform", "labeled", "running", "estimated"])
def test_alignment__over_steps(target: str, momentum: float) -> None:
    """ReMixMatch, section 3.1: Normalize(q p(y) / p~(y)), p~ the running mean of q and p(y) the target.

    AdaMatch, section 3.2, takes the running mean of predictions on labeled rows as p(y); Saerens et al., equation 2.9,
    estimates it as the mean of Normalize(q p_new(y) / p_labeled(y)).
    """
    given = COUNTS.numpy() / COUNTS.sum().numpy()
    pool, labeled, estimate = Running(momentum), Running(momentum), Running(momentum)
    alignment, balance = Alignment(target=target, momentum=momentum), ClassBalance(K)
    for q, labeled_q in zip(batches(0, 12), batches(1, 12), strict=True):
        current = pool.take(q.mean(0))
        if target == "estimated":
            estimate.take(normalized(q * estimate.value / given).mean(0))
        wanted = {"uniform": np.full(K, 1 / K), "labeled": given, "running": labeled.value, "estimated": estimate.value}
        found = alignment(torch.from_numpy(q), balance, COUNTS)
        np.testing.assert_allclose(found.numpy(), normalized(q * wanted[target] / current), rtol=1e-4)
        alignment.observe_labeled(torch.from_numpy(labeled_q), balance)
        labeled.take(labeled_q.mean(0))


def test_alignment__none_changes_nothing_and_remembers_nothing() -> None:
    alignment, balance = Alignment(), ClassBalance(K)
    before = {name: value.clone() for name, value in balance.state_dict().items()}
    (q,) = batches(0, 1)
    torch.testing.assert_close(alignment(torch.from_numpy(q), balance, COUNTS), torch.from_numpy(q), rtol=0, atol=0)
    alignment.observe_labeled(torch.from_numpy(q), balance)
    assert all(torch.equal(value, before[name]) for name, value in balance.state_dict().items())


def calibrated(rng: Any, labeled: NDArray[Any], pool: NDArray[Any], rows: int) -> torch.Tensor:
    """What a classifier calibrated on the labeled balance says of pool rows: Bayes' rule for Gaussian classes."""
    centers = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    x = centers[rng.choice(K, rows, p=pool)] + rng.normal(size=(rows, 2))
    density = np.exp(-((x[:, None] - centers) ** 2).sum(-1) / 2)
    return torch.from_numpy(normalized(density * labeled)).float()


@pytest.mark.parametrize("pool", [(0.05, 0.15, 0.8), (0.7, 0.25, 0.05), (1 / 3, 1 / 3, 1 / 3)])
def test_estimated__converges_to_the_pools_balance(pool: tuple[float, ...]) -> None:
    """The labeled balance is reversed, alike or uniform; the mean of the predictions themselves is far off."""
    rng, labeled, truth = np.random.default_rng(0), COUNTS.numpy() / COUNTS.sum().numpy(), np.array(pool)
    alignment, balance = Alignment(target="estimated"), ClassBalance(K)
    for _ in range(600):
        aligned = alignment(calibrated(rng, labeled, truth, 256), balance, COUNTS)
    np.testing.assert_allclose(balance.estimate.numpy(), truth, atol=0.02)
    assert np.abs(balance.unlabeled.numpy() - truth).max() > (0.05 if pool[0] < 0.5 else 0)
    np.testing.assert_allclose(aligned.sum(-1).numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize("target", ["uniform", "labeled", "running", "estimated"])
def test_alignment__a_class_without_labels_does_not_take_over(target: str) -> None:
    """Its share of labeled rows is no more than that of one row, and no less: a rare class, not an endless one."""
    alignment, balance = Alignment(target=target), ClassBalance(K)
    q = torch.tensor([[0.90, 0.09, 0.01], [0.08, 0.90, 0.02]])
    for _ in range(50):
        found = alignment(q, balance, torch.tensor([10.0, 10.0, 0.0]))
        alignment.observe_labeled(q, balance)
    assert found.isfinite().all()
    if target != "uniform":
        assert found.argmax(-1).tolist() == [0, 1]


def test_alignment__refuses_a_momentum_above_one() -> None:
    with pytest.raises(ConfigError, match=r"momentum is 1\.5; it must be at most 1"):
        Alignment(momentum=1.5)
