"""Generators give rows of exactly the asked shape, each from its own random vector alone."""

from __future__ import annotations

import pytest
import torch

from understudy.models import build, fit_input
from understudy.models.generators import generator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 12, 28, 32, 36, 64, 100, 128])
def test_generator__images_of_the_exact_size(channels: int, size: int) -> None:
    images = generator((channels, size, size), 10)(torch.randn(3, 10))
    assert images.shape == (3, channels, size, size)
    assert images.min() >= 0
    assert images.max() <= 1


def test_generator__images_of_unequal_sides() -> None:
    assert generator((3, 20, 44), 10)(torch.randn(2, 10)).shape == (2, 3, 20, 44)


@pytest.mark.parametrize("shape", [(3, 28, 28), (5,)])
def test_generator__a_row_depends_on_its_own_latents_alone(shape: tuple[int, ...]) -> None:
    network, latents = generator(shape, 10), torch.randn(6, 10)
    together = network(latents)
    torch.testing.assert_close(torch.cat([network(part) for part in latents.split([1, 5])]), together)
    assert not torch.allclose(together[0], together[1])


def test_generator__every_parameter_takes_a_gradient() -> None:
    for shape in ((1, 28, 28), (5,)):
        network = generator(shape, 10)
        network(torch.randn(4, 10)).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_generator__vectors_lie_where_the_classifier_expects_them() -> None:
    classifier = build("mlp", shape=(2,), num_classes=2)
    fit_input(classifier, torch.tensor([1000.0, -5.0]) + torch.tensor([50.0, 0.1]) * torch.randn(500, 2))
    made = generator((2,), 10, like=classifier)(torch.randn(200, 10))
    assert abs(made.mean(0) - torch.tensor([1000.0, -5.0])).lt(torch.tensor([50.0, 0.1])).all()
    assert (made.std(0) / torch.tensor([50.0, 0.1])).sub(1).abs().max() < 0.5
