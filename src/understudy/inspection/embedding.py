"""Unsupervised features in which images of one class are close, computed in seconds on one processor core.

A single layer of whitened patches, clustered and pooled (Coates, Ng and Lee, 2011, AISTATS "An analysis of single-layer
networks"; Coates and Ng, 2012, "Learning feature representations with k-means"), then principal components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.augment import DOMAINS, render
from understudy.core.seeding import generator
from understudy.core.types import Ids, Observe
from understudy.data.collection import Collection
from understudy.data.training_data import TrainingData
from understudy.engine.predict import features

# Patches of 6 px as in the first paper; 3 x 3 regions where it has 2 x 2, and 256 filters where it has up to 4,000,
# which take seconds instead of minutes.
_NUM_FILTERS, _PATCH_PX, _POOLED, _WIDTH = 256, 6, 3, 128  # _WIDTH: principal components that are kept
_MAX_PX, _STEPS_ACROSS = 64, 16  # larger images are reduced; a patch every 16th of the side bounds the convolutions
_NUM_PATCHES, _NUM_ITERATIONS, _MAX_FITTED = 30_000, 10, 5_000  # fit filters and components in a few seconds
_PATCH_NOISE = (10 / 255) ** 2  # a deviation of 10 of 255 levels, below which a patch counts as flat
_WHITENING_NOISE, _THRESHOLD = 0.01, 0.25  # in units of normalized patches; the threshold makes responses sparse
_ROWS_AT_ONCE = 128  # the responses of a block take 30 MB


def embed(
    collection: Collection,
    ids: Ids,
    *,
    network: nn.Module | None = None,
    seed: int = 0,
    observe: Observe | None = None,
) -> NDArray[np.float32]:
    """One feature vector per row in `ids` (n, d); similar images have similar vectors.

    With a network these are the inputs of its head. Without one, those of images are fitted to these rows, and vectors
    are standardized. The direction says what an image shows, the length how unusual its patches are: `unit` vectors
    separate classes better, and the vectors as they are separate outliers better.

    Args:
        observe: Called with (rows done, rows in all).
    """
    if not len(ids):
        return np.zeros((0, 1), np.float32)
    if network is not None:
        return features(network, _as_data(collection), ids, observe=observe)
    if not collection.is_images:
        return _standardized(collection, ids)
    layer = _fit_layer(collection, ids, seed)
    pooled = _in_chunks(lambda part: layer(_images(collection, part)), _sample(ids, _MAX_FITTED, "components", seed))
    projection = _fit_projection(pooled)
    return _in_chunks(lambda part: projection(layer(_images(collection, part))), ids, observe)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows scaled to length 1; a row of zeros stays as it is."""
    scaled: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


@dataclass(frozen=True, eq=False)
class _Layer:
    """Responses of normalized patches to whitened filters above a threshold, averaged over regions of the image."""

    weight: Float[Tensor, "k c p p"]
    bias: Float[Tensor, " k"]
    stride: int

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        patch, channels = self.weight.shape[-1], images.shape[1]
        mean = F.avg_pool2d(images, patch, self.stride).mean(1, keepdim=True)
        square = F.avg_pool2d(images.square(), patch, self.stride).mean(1, keepdim=True)
        count = channels * patch * patch
        variance = (square - mean.square()).clamp(min=0) * (count / max(1, count - 1))
        response = F.conv2d(images, self.weight, stride=self.stride) / (variance + _PATCH_NOISE).sqrt()
        active = (response + self.bias.view(-1, 1, 1) - _THRESHOLD).clamp(min=0)
        return F.adaptive_avg_pool2d(active, min(_POOLED, active.shape[-1])).flatten(1)


@dataclass(frozen=True, eq=False)
class _Projection:
    """Principal components, each divided by the fourth root of its variance.

    Full whitening amplifies the noise of the last components: with 100 labels of CIFAR-10 a linear model then loses 6
    points.
    """

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "d e"]

    def __call__(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        return (pooled - self.mean) @ self.axes


def _fit_layer(collection: Collection, ids: Ids, seed: int) -> _Layer:
    """The layer whose filters are centers of whitened patches, by spherical k-means."""
    side = min(collection.shape[-1], _MAX_PX)
    patch = min(_PATCH_PX, max(1, side // 2))
    patches = _normalized(_patches(collection, ids, patch, seed))
    mean = patches.mean(0)
    centered = patches - mean
    values, vectors = torch.linalg.eigh((centered.T @ centered / len(centered)).double())
    whitening = (vectors * (values.clamp(min=0) + _WHITENING_NOISE).rsqrt() @ vectors.T).float()
    white = centered @ whitening
    start = generator("filters", seed).standard_normal((_NUM_FILTERS, white.shape[1]), dtype=np.float32)
    filters = F.normalize(torch.from_numpy(start), dim=1)
    for _ in range(_NUM_ITERATIONS):
        response, nearest = (white @ filters.T).max(1)
        sums = torch.zeros_like(filters).index_add_(0, nearest, response[:, None] * white)
        filters = F.normalize(sums + filters, dim=1)
    weight = filters @ whitening
    bias = -(weight @ mean)
    weight = weight - weight.mean(1, keepdim=True)  # a patch's own mean then drops out
    return _Layer(weight.view(-1, collection.shape[0], patch, patch), bias, max(1, side // _STEPS_ACROSS))


def _patches(collection: Collection, ids: Ids, patch: int, seed: int) -> Float[Tensor, "n d"]:
    """Random patches of random rows."""
    random = generator("patches", seed)
    rows = np.sort(_sample(ids, _MAX_FITTED, "patches", seed))
    per_row = -(-_NUM_PATCHES // len(rows))
    patches = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        images = _images(collection, rows[start : start + _ROWS_AT_ONCE])
        windows = images.unfold(2, patch, 1).unfold(3, patch, 1)  # n c h w p p
        n, height, width = windows.shape[0], windows.shape[2], windows.shape[3]
        at = np.repeat(np.arange(n), per_row)
        top, left = (random.integers(0, limit, len(at)) for limit in (height, width))
        patches.append(windows[at, :, top, left].flatten(1))
    return torch.cat(patches)


def _normalized(patches: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    centered = patches - patches.mean(1, keepdim=True)
    variance = centered.square().sum(1, keepdim=True) / max(1, patches.shape[1] - 1)
    return centered / (variance + _PATCH_NOISE).sqrt()


def _fit_projection(pooled: NDArray[np.float32]) -> _Projection:
    from scipy.linalg import eigh

    mean = pooled.mean(0)
    centered = (pooled - mean).astype(np.float64)
    covariance = centered.T @ centered / len(centered)
    width = len(covariance)
    kept = max(1, min(_WIDTH, len(pooled) - 1, width))
    values, vectors = eigh(covariance, subset_by_index=[width - kept, width - 1])
    scale = (values.clip(min=0) + _WHITENING_NOISE * np.trace(covariance) / width + 1e-12) ** -0.25
    axes = (vectors * scale)[:, ::-1].astype(np.float32)
    return _Projection(torch.from_numpy(mean), torch.from_numpy(axes.copy()))


def _in_chunks(run: Callable[[Ids], Tensor], ids: Ids, observe: Observe | None = None) -> NDArray[np.float32]:
    """The results of `run` for all rows, computed a few at a time."""
    results: NDArray[np.float32] | None = None
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        part = run(ids[start : start + _ROWS_AT_ONCE]).numpy()
        if results is None:
            results = np.empty((len(ids), part.shape[1]), np.float32)
        results[start : start + len(part)] = part
        if observe is not None:
            observe(start + len(part), len(ids))
    assert results is not None
    return results


def _images(collection: Collection, ids: Ids) -> Float[Tensor, "n c h w"]:
    """The plain views of the rows in [0, 1], reduced to 64 px where they are larger."""
    rows = collection.rows.index_select(0, torch.from_numpy(ids))
    nothing = np.zeros((len(ids), 0), np.float32)
    views = render(rows, "plain", DOMAINS["natural"], nothing, size=collection.size or 0)
    return views if views.shape[-1] <= _MAX_PX else F.interpolate(views, size=_MAX_PX, mode="area")


def _standardized(collection: Collection, ids: Ids) -> NDArray[np.float32]:
    """Vectors with zero mean and unit deviation per entry; an entry that never varies is 0."""
    rows: NDArray[np.float32] = collection.rows[torch.from_numpy(ids)].float().flatten(1).numpy()
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    deviation[deviation < 1e-12] = np.inf
    standardized: NDArray[np.float32] = ((rows - mean) / deviation).astype(np.float32)
    return standardized


def _as_data(collection: Collection) -> TrainingData:
    """The collection as rows to render, none of them for training."""
    nothing = np.zeros(0, np.int64)
    return TrainingData(
        rows=collection.rows,
        labeled=nothing,
        targets=torch.zeros(0, dtype=torch.long),
        unlabeled=nothing,
        classes=collection.classes,
        domain=DOMAINS["natural" if collection.is_images else "vector"],
        size=collection.size or 0,
    )


def _sample(ids: Ids, most: int, purpose: str, seed: int) -> Ids:
    """A random sample of at most `most` rows."""
    if len(ids) <= most:
        return ids
    return ids[np.sort(generator(purpose, seed).permutation(len(ids))[:most])]
