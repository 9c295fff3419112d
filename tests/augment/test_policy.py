"""Views are pure functions of rows and draws, one row at a time, in the right range, shape and domain."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from understudy.augment import DOMAINS, Domain, View, num_draws, policy, render
from understudy.core.seeding import uniforms

IMAGE_DOMAINS = sorted(DOMAINS.keys() - {"vector"})


def _rows(n: int, channels: int, side: int) -> Tensor:
    random = torch.Generator().manual_seed(n)
    coarse = torch.rand(n, channels, 5, 5, generator=random)
    return torch.nn.functional.interpolate(coarse, size=(side, side)).mul(256).to(torch.uint8)


def _draws(n: int, view: View, domain: Domain, seed: int = 0) -> NDArray[np.float32]:
    return uniforms((n, num_draws(view, domain)), "test", seed)


@pytest.mark.parametrize("name", IMAGE_DOMAINS)
@pytest.mark.parametrize("view", ["plain", "weak", "strong"])
@pytest.mark.parametrize(("canvas", "size"), [(8, 8), (28, 28), (32, 32), (128, 112)])
@pytest.mark.parametrize("channels", [1, 3])
def test_render__floats_in_unit_range(name: str, view: View, canvas: int, size: int, channels: int) -> None:
    domain, rows = DOMAINS[name], _rows(6, channels, canvas)
    before = rows.clone()
    images = render(rows, view, domain, _draws(6, view, domain), size=size)
    assert images.shape == (6, channels, size, size)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(rows, before)


@pytest.mark.parametrize("name", sorted(DOMAINS))
@pytest.mark.parametrize("view", ["plain", "weak", "strong"])
@pytest.mark.parametrize("canvas", [32, 37])
def test_render__an_image_does_not_depend_on_its_batch(
    name: str, view: View, canvas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain, rows = DOMAINS[name], _rows(67, 3, canvas)
    rows = rows if not domain.vector else rows.float().flatten(1)[:, :33]
    draws = _draws(67, view, domain)
    whole = render(rows, view, domain, draws, size=32)
    order = np.random.default_rng(0).permutation(67)[:41]
    assert torch.equal(render(rows[order], view, domain, draws[order], size=32), whole[order])
    chunks = [render(rows[i : i + 9], view, domain, draws[i : i + 9], size=32) for i in range(0, 67, 9)]
    assert torch.equal(torch.cat(chunks), whole)
    singles = [render(rows[i : i + 1], view, domain, draws[i : i + 1], size=32) for i in range(20)]
    assert torch.equal(torch.cat(singles), whole[:20])
    monkeypatch.setattr(policy, "_PIECE", 10_000)
    assert torch.equal(render(rows, view, domain, draws, size=32), whole)


@pytest.mark.parametrize("name", sorted(DOMAINS))
@pytest.mark.parametrize("view", ["plain", "weak", "strong"])
def test_render__no_rows(name: str, view: View) -> None:
    domain = DOMAINS[name]
    rows = torch.zeros(0, 5) if domain.vector else torch.zeros(0, 3, 37, 37, dtype=torch.uint8)
    images = render(rows, view, domain, _draws(0, view, domain), size=32)
    assert images.shape == ((0, 5) if domain.vector else (0, 3, 32, 32))


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(IMAGE_DOMAINS),
    channels=st.sampled_from([1, 3]),
    size=st.integers(8, 40),
    spare=st.integers(0, 6),
    at=st.sampled_from([0.0, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))]),
)
def test_render__extreme_draws_stay_inside(name: str, channels: int, size: int, spare: int, at: float) -> None:
    domain, rows = DOMAINS[name], _rows(3, channels, size + spare)
    draws = np.full((3, num_draws("strong", domain)), at, dtype=np.float32)
    images = render(rows, "strong", domain, draws, size=size)
    assert images.shape == (3, channels, size, size)
    assert 0 <= images.min() <= images.max() <= 1


def test_render__plain_is_the_center() -> None:
    rows = _rows(2, 3, 256)
    images = render(rows, "plain", DOMAINS["natural"], np.empty((2, 0), np.float32), size=224)
    assert torch.equal(images, rows[:, :, 16:240, 16:240].float() / 255)


def test_render__accepts_draws_as_a_tensor() -> None:
    domain, rows = DOMAINS["natural"], _rows(4, 3, 32)
    draws = _draws(4, "strong", domain)
    images = render(rows, "strong", domain, torch.from_numpy(draws), size=32)
    assert torch.equal(images, render(rows, "strong", domain, draws, size=32))


def test_render__every_draw_but_those_of_the_zoom_changes_a_small_image() -> None:
    domain, rows = DOMAINS["aerial"], _rows(200, 3, 32)
    draws = _draws(200, "strong", domain)
    before = render(rows, "strong", domain, draws, size=32)
    unread = []
    for column in range(draws.shape[1]):
        changed = draws.copy()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        if torch.equal(render(rows, "strong", domain, changed, size=32), before):
            unread.append(column)
    assert unread == [2, 3]


def test_render__zoom_uses_the_draws_of_area_and_aspect() -> None:
    domain, rows = DOMAINS["natural"], _rows(20, 3, 37)
    draws = _draws(20, "weak", domain)
    before = render(rows, "weak", domain, draws, size=32)
    for column in (2, 3):
        changed = draws.copy()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        assert not torch.equal(render(rows, "weak", domain, changed, size=32), before)


@pytest.mark.parametrize(("name", "orientations"), [("digits", 1), ("natural", 2), ("gray", 2), ("aerial", 8)])
def test_render__weak_orientations_are_the_domains(name: str, orientations: int) -> None:
    domain = dataclasses.replace(DOMAINS[name], shift=0.0)
    rows = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(200, 1, 4, 4).contiguous()
    images = render(rows, "weak", domain, _draws(200, "weak", domain), size=4)
    assert len(images.flatten(1).unique(dim=0)) == orientations


def test_render__operations_are_drawn_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}
    for name, operation in policy.OPERATIONS.items():

        def count(images: Tensor, magnitude: Tensor, name: str = name) -> Tensor:
            counts[name] = counts.get(name, 0) + len(images)
            return images

        monkeypatch.setitem(policy.OPERATIONS, name, dataclasses.replace(operation, apply=count))
    domain = DOMAINS["natural"]
    render(_rows(7000, 1, 8), "strong", domain, _draws(7000, "strong", domain), size=8)
    assert sum(counts.values()) == 14_000
    assert all(850 < number < 1150 for number in counts.values())


def test_render__digits_stay_near_the_original() -> None:
    domain, rows = DOMAINS["digits"], _rows(100, 1, 8)
    strong = render(rows, "strong", domain, _draws(100, "strong", domain), size=8)
    assert (strong == 127 / 255).flatten(1).sum(1).max() <= 4 + 6


@pytest.mark.parametrize("shape", [(2,), (64,), (4, 8)])
def test_render__vector_noise_has_the_asked_size(shape: tuple[int, ...]) -> None:
    domain, rows = DOMAINS["vector"], torch.ones(4000, *shape)
    scale = torch.linspace(0.5, 5, rows[0].numel()).view(shape)
    for view, noise in (("weak", 0.02), ("strong", 0.08)):
        moved = render(rows, view, domain, _draws(4000, view, domain), size=0, scale=scale)
        assert moved.shape == rows.shape
        dropped = moved == 0
        wide = view == "strong" and rows[0].numel() > 8
        assert dropped.float().mean().item() == pytest.approx(0.1 if wide else 0, abs=0.01)
        step = torch.where(dropped, torch.nan, (moved - rows) / scale)
        assert step.nanmean().abs() < noise / 20
        for column in step.flatten(1).T:
            assert column[~column.isnan()].std().item() == pytest.approx(noise, rel=0.06)


def test_render__vector_noise_is_independent_between_rows_and_features() -> None:
    domain = DOMAINS["vector"]
    moved = render(torch.ones(3000, 6), "weak", domain, _draws(3000, "weak", domain), size=0)
    correlation = np.corrcoef(moved.T.numpy()) - np.eye(6)
    assert np.abs(correlation).max() < 0.08
    assert abs(np.corrcoef(moved[:-1, 0], moved[1:, 0])[0, 1]) < 0.08


def test_render__vector_plain_is_unchanged() -> None:
    rows = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(render(rows, "plain", DOMAINS["vector"], np.empty((5, 0), np.float32), size=0), rows.float())


@pytest.mark.parametrize("name", sorted(DOMAINS))
@pytest.mark.parametrize("canvas", [32, 37])
def test_render__never_waits_for_the_device(name: str, canvas: int) -> None:
    """A tensor on the meta device has no values: reading one, or mixing in a tensor of another device, is an error."""
    domain = DOMAINS[name]
    rows = torch.empty(40, 3, canvas, canvas, dtype=torch.uint8, device="meta")
    rows = rows.float().flatten(1) if domain.vector else rows
    images = render(rows, "strong", domain, _draws(40, "strong", domain), size=32)
    assert images.device.type == "meta"
    assert images.shape == (rows.shape if domain.vector else (40, 3, 32, 32))


def test_num_draws__by_view() -> None:
    natural, vector = DOMAINS["natural"], DOMAINS["vector"]
    assert [num_draws(view, natural) for view in ("plain", "weak", "strong")] == [0, 7, 14]
    assert [num_draws(view, vector) for view in ("plain", "weak", "strong")] == [0, 2, 2]
