"""Input layers: fitted once, right, saved, and absent from foreign modules."""

from __future__ import annotations

import torch
from torch import nn

from understudy.models import Normalize, PatchWhitening, build, fit_input


def images(n: int = 300, size: int = 32) -> torch.Tensor:
    """Smooth images whose channels differ in mean and spread and depend on one another."""
    generator = torch.Generator().manual_seed(1)
    rough = torch.rand(n, 3, size // 4, size // 4, generator=generator)
    rough[:, 1] = 0.7 * rough[:, 0] + 0.3 * rough[:, 1]
    smooth = nn.functional.interpolate(rough, size=size, mode="bilinear")
    return (
        smooth * torch.tensor([0.9, 0.5, 0.2]).view(3, 1, 1) + 0.01 * torch.rand(n, 3, size, size, generator=generator)
    ).clamp(0, 1)


def test_fit__rows_get_zero_mean_and_unit_variance() -> None:
    layer, rows = Normalize(3), images()
    layer.fit(rows)
    out = layer(rows)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_fit__vectors_are_normalized_per_feature_and_a_constant_one_survives() -> None:
    layer = Normalize(3)
    rows = torch.randn(500, 3) * torch.tensor([2.0, 30.0, 0.0]) + torch.tensor([1.0, -5.0, 7.0])
    layer.fit(rows)
    out = layer(rows)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0), torch.tensor([1.0, 1.0, 0.0]), atol=2e-3, rtol=0)


def test_fit__whitened_patches_are_decorrelated() -> None:
    layer, rows = PatchWhitening(3, 3), images(size=16) - 0.5
    layer.fit(rows)
    out = layer(rows).detach().transpose(0, 1).flatten(1)
    half = len(out) // 2
    torch.testing.assert_close(out[:half], -out[half:])
    second_moments = out[:half] @ out[:half].T / out.shape[1]
    assert (second_moments - torch.diag(second_moments.diag())).abs().max() < 0.02
    assert second_moments.diag().max() <= 1.01
    assert second_moments.diag().max() > 0.9


def test_fit_input__is_done_once_and_saved() -> None:
    network, rows = build("resnet_small", shape=(3, 32, 32), num_classes=4), images()
    fit_input(network, rows)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    torch.testing.assert_close(kept["normalize.mean"], rows.mean((0, 2, 3)))
    fit_input(network, rows.square())
    assert all(torch.equal(kept[key], value) for key, value in network.state_dict().items())

    copy = build("resnet_small", shape=(3, 32, 32), num_classes=4)
    copy.load_state_dict(kept)
    fit_input(copy, rows.square())
    x = images(4)
    assert torch.equal(copy.eval()(x), network.eval()(x))


def test_fit_input__same_rows_give_the_same_bits() -> None:
    first, second = (build("resnet_small", shape=(3, 32, 32), num_classes=4) for _ in range(2))
    for network in (first, second):
        fit_input(network, images())
    for one, other in zip(first.buffers(), second.buffers(), strict=True):
        assert torch.equal(one, other)


def test_fit_input__leaves_a_foreign_module_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit_input(network, images(8))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_whitening__filters_are_frozen() -> None:
    layer = PatchWhitening(1, 2)
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    assert "weight" in layer.state_dict()
