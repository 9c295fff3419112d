"""Virtual adversarial training against its paper's equations, its gradient, and the functions it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import fresh_state, network, stage
from tests.methods import paper_consistency as paper
from tests.methods.fixed import Case, K, U, step, terms
from tests.methods.paper import softmax
from understudy.core.seeding import generator
from understudy.core.types import Step
from understudy.functional.adversarial import adversarial_direction, deviation, kl_divergence, unit_rows
from understudy.methods.vat import VAT

SETTINGS: list[dict[str, Any]] = [
    {"epsilon": 0.144, "xi": 0.03, "num_power_iterations": 1},
    {"epsilon": 0.5, "xi": 0.2, "num_power_iterations": 3},
    {"epsilon": 0.5, "xi": 0.2, "num_power_iterations": 0},
]


def perturbed(case: Case, settings: dict[str, Any]) -> Any:
    noise = generator("perturbation").standard_normal((U, K), dtype=np.float32)
    number = settings["num_power_iterations"]
    return case.weak + paper.perturbations(
        case.weak, noise, epsilon=settings["epsilon"], xi=settings["xi"], num_iterations=number
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_vat(settings: dict[str, Any]) -> None:
    case, nets = Case(), paper.Attached()
    loss, _ = step(VAT(lambda_u=3.0, lambda_entropy=0.7, **settings), case, nets=nets)
    expected = {
        "supervised": case.supervised(),
        "unsupervised": 3 * paper.local_smoothness(case.weak, perturbed(case, settings)),
        "entropy": 0.7 * paper.entropy(case.weak),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-3)
    assert nets.asked == ["logits", *["logits still"] * (2 + settings["num_power_iterations"])]
    assert loss.metrics["mask_ratio"].item() == 1
    given = loss.pseudo_labels
    assert given is not None
    assert given.labels.tolist() == case.weak.argmax(-1).tolist()
    assert given.weight.tolist() == [1.0] * U


def test_vat__gradient_flows_through_the_perturbed_prediction_and_the_entropy_alone() -> None:
    case, nets = Case(), paper.Attached()
    loss, _ = step(VAT(lambda_u=3.0, lambda_entropy=0.7, **SETTINGS[0]), case, nets=nets)
    moved = perturbed(case, SETTINGS[0])
    expected = {
        "unsupervised": paper.gradient(lambda f: 3 * paper.local_smoothness(case.weak, f * moved), K),
        "entropy": paper.gradient(lambda f: 0.7 * paper.entropy(f * case.weak), K),
    }
    for term, values in expected.items():
        (found,) = torch.autograd.grad(loss.terms[term], nets.factor)
        np.testing.assert_allclose(found.numpy(), values, rtol=5e-3, atol=1e-5)
    assert nets.factor.grad is None, "the power iteration must leave no gradient in the weights"


def test_vat__only_labeled_rows_move_running_statistics() -> None:
    training = stage(VAT(num_power_iterations=2), net=network())
    states = [fresh_state(training) for _ in range(2)]
    batches = [state.stream.batch(Step(3, 0.5), with_unlabeled=True) for state in states]
    VAT(num_power_iterations=2).loss(states[0].nets, batches[0], nn.Module(), Step(3, 0.5))
    states[1].nets.logits(batches[1].labeled.view())
    for one, other in zip(*(state.nets.model.buffers() for state in states), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 4, 4)])
def test_vat__size_of_the_perturbation(shape: tuple[int, ...]) -> None:
    """In standard deviations of its channel or feature, a row's perturbation has the root mean square asked for."""
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0, 2.0])[: shape[1]].view(-1, *[1] * (len(shape) - 2))
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), K))
    nets: Any = type("Nets", (), {"logits": lambda self, x: (net(x),)})()
    x = torch.randn(shape) * scale
    r = VAT(epsilon=0.3).perturbation(nets, x, net(x).detach(), Case().batch())
    sizes = (r / deviation(x)).square().flatten(1).mean(1).sqrt()
    torch.testing.assert_close(sizes, torch.full((6,), 0.3))


def test_adversarial_direction__is_the_hessians_first_eigenvector() -> None:
    """Equations 10 and 11: the Hessian of KL[p, softmax(z + r)] at r = 0 is diag(p) - p p^T."""
    torch.manual_seed(1)
    logits = torch.randn(7, 4).double()

    def divergence(r: torch.Tensor) -> torch.Tensor:
        return kl_divergence(logits, logits + r)

    found = adversarial_direction(divergence, torch.randn(7, 4).double(), xi=1e-5, num_iterations=60)
    for direction, p in zip(found.numpy(), softmax(logits.numpy()), strict=True):
        first = np.linalg.eigh(np.diag(p) - np.outer(p, p))[1][:, -1]
        assert abs(direction @ first) / np.linalg.norm(direction) == pytest.approx(1, abs=1e-3)


def test_kl_divergence() -> None:
    p, q = torch.randn(2, 5, K).double()
    expected = [paper.kl(a, b) for a, b in zip(softmax(p.numpy()), softmax(q.numpy()), strict=True)]
    assert kl_divergence(p, q).tolist() == pytest.approx(expected)
    assert kl_divergence(p, p).tolist() == [0.0] * 5


def test_unit_rows__zero_and_tiny_rows() -> None:
    rows = unit_rows(torch.tensor([[0.0, 0.0], [3e-30, -3e-30], [0.0, 5.0]]))
    torch.testing.assert_close(rows, torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.0, 2**0.5]]))


def test_deviation__per_channel_and_per_feature() -> None:
    images, vectors = torch.randn(5, 3, 4, 4), torch.randn(5, 3)
    assert deviation(images).shape == (1, 3, 1, 1)
    np.testing.assert_allclose(deviation(images).flatten(), images.numpy().std((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(deviation(vectors).flatten(), vectors.numpy().std(0), rtol=1e-5)
