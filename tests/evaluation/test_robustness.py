"""Corruptions against simple facts: the range of values, growth with strength, and what each leaves alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from tests.contract.tiny import CLASSES, network, tiny
from understudy.core.errors import UserError
from understudy.engine.predict import predict
from understudy.engine.robustness import robustness
from understudy.evaluation.robustness import CORRUPTIONS, STRENGTHS, Robustness, corrupt


def pictures(channels: int = 3, size: int = 32, count: int = 6) -> np.ndarray:
    """Patterns as smooth as photographs are."""
    noise = np.random.default_rng(0).normal(size=(count, channels, size, size))
    smooth = gaussian_filter(noise, (0, 0, 1.2, 1.2))
    return (128 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def distance(images: np.ndarray, name: str, strength: int) -> float:
    changed = corrupt(images, name, strength).astype(float)
    return float(np.sqrt(np.square(changed - images).mean()))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_corrupt__grows_with_strength(name: str, channels: int) -> None:
    images = pictures(channels)
    before = images.copy()
    distances = [distance(images, name, strength) for strength in (0, *STRENGTHS)]
    assert distances[0] == 0
    assert distances[1] > 0.1
    assert distances[5] > 1.2 * distances[1]
    assert all(weaker < stronger for weaker, stronger in pairwise(distances)), distances
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt__shape_type_and_seed(name: str) -> None:
    images = pictures(1, 8)
    once, again = corrupt(images, name, 5), corrupt(images, name, 5)
    assert (once.shape, once.dtype) == (images.shape, np.uint8)
    assert np.array_equal(once, again)
    drawn = not np.array_equal(once, corrupt(images, name, 5, seed=1))
    assert drawn == (name.endswith("noise") or name == "fog")


def test_corrupt__known_values() -> None:
    images = np.full((1, 3, 4, 4), 100, np.uint8)
    assert (corrupt(images, "contrast", 5) == 100).all()
    assert (corrupt(images, "gaussian_blur", 5) == 100).all()
    assert (corrupt(images, "brightness", 1) == 113).all()  # 100 + 0.05 * 255
    images[0, 0] = 200
    bright = corrupt(images, "brightness", 4)
    assert (bright[0, 0] == 251).all()  # 200 + 0.2 * 255
    assert (bright[0, 1] == 126).all()  # in the same proportion
    two = np.zeros((1, 1, 2, 2), np.uint8)
    two[..., 0] = 200
    assert corrupt(two, "contrast", 2)[0, 0, 0].tolist() == [150, 50]


def test_corrupt__noise_is_as_strong_as_said() -> None:
    gray = np.full((4, 3, 64, 64), 128, np.uint8)
    assert corrupt(gray, "gaussian_noise", 3).std() / 255 == pytest.approx(0.08, rel=0.02)
    assert corrupt(gray, "speckle_noise", 5).std() / 128 == pytest.approx(0.2, rel=0.02)
    assert corrupt(gray, "shot_noise", 4).std() / 255 == pytest.approx(np.sqrt(128 / 255 / 75), rel=0.02)
    salted = corrupt(gray, "impulse_noise", 5)
    assert (salted == 0).mean() == pytest.approx(0.035, rel=0.1)
    assert (salted == 255).mean() == pytest.approx(0.035, rel=0.1)


def test_corrupt__blur_grows_with_the_image() -> None:
    point = np.zeros((1, 1, 64, 64), np.uint8)
    point[0, 0, 32, 32] = 255
    small = point[:, :, 16:48, 16:48]
    widths = [int((corrupt(images, "gaussian_blur", 5)[0, 0] > 2).sum()) for images in (small, point)]
    assert widths[1] > 1.5 * widths[0]


def test_corrupt__unknown() -> None:
    with pytest.raises(UserError) as caught:
        corrupt(pictures(), "fogg", 1)
    assert str(caught.value).startswith("there is no corruption 'fogg'; did you mean 'fog'? ")
    with pytest.raises(UserError) as caught:
        corrupt(pictures(), "fog", 6)
    assert str(caught.value) == "corruptions have strengths 1 to 5, or 0 for none, but 6 was given"


class Dark(nn.Module):
    """Says 0 of dark images and 1 of bright ones."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], -1)


def test_robustness__of_a_classifier_known_by_hand() -> None:
    data = tiny().data
    rows = torch.from_numpy(np.repeat([[50], [110]], 12, axis=0).astype(np.uint8)).view(24, 1, 1, 1).expand(-1, 1, 8, 8)
    data = replace(data, rows=rows.contiguous(), classes=("dark", "bright"))
    ids = np.arange(24)[::-1].copy()
    found = robustness(Dark(), data, ids, np.zeros(24, np.int64), device=torch.device("cpu"))
    assert (found.n, found.clean) == (24, 1.0)
    assert found.accuracy["contrast"] == (1.0,) * 5
    assert found.accuracy["brightness"] == (1.0, 0.5, 0.5, 0.5, 0.5)  # 110 + 0.1 * 255 is over the middle
    assert list(found.accuracy) == list(CORRUPTIONS)


def test_robustness__plain_views_of_the_rows_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.engine.robustness._ROWS_AT_ONCE", 7)
    made = tiny()
    ids = np.arange(5, 25)
    net = network()
    found = robustness(net, made.data, ids, made.truth[ids])
    right = predict(net, made.data, ids).argmax(-1) == made.truth[ids]
    assert found.clean == pytest.approx(right.mean())
    assert 0 < found.mean < 1
    assert CLASSES == 3


def test_robustness__mean() -> None:
    assert Robustness(4, 1.0, {"fog": (1.0, 0.5), "jpeg": (0.5, 0.0)}).mean == 0.5


def test_robustness__nothing_to_corrupt() -> None:
    data = tiny().data
    with pytest.raises(UserError) as caught:
        robustness(network(), data, np.arange(0), np.arange(0))
    assert str(caught.value) == "there are no images to corrupt; give labeled images"
    vectors = replace(data, rows=torch.zeros(4, 5))
    with pytest.raises(UserError) as caught:
        robustness(network(), vectors, np.arange(4), np.arange(4))
    assert str(caught.value) == "rows of shape (5,) are no images to corrupt; give labeled images"
