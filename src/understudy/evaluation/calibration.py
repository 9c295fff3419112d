"""Calibration: whether predictions with 80 % confidence are right in 80 % of cases, and temperature scaling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.evaluation.metrics import labeled_probabilities

Labels = NDArray[np.integer]
Probabilities = NDArray[np.floating]

MIN_FIT_IMAGES = 30  # see `calibrate`
_MIN_PROBABILITY = float(np.finfo(np.float32).tiny)  # the smallest that a float32 softmax gives but for 0
_TEMPERATURES = (0.05, 20.0)  # wide enough that an optimum at a bound means that there is none


@dataclass(frozen=True)
class Bin:
    """Confidence and accuracy of the images whose confidence lies in (low, high].

    Args:
        confidence: Mean over the images of the bin; None in an empty bin, as is `accuracy`.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Calibration errors of the predictions for n test images.

    Args:
        ece: Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by images.
        brier: Mean squared distance between the probabilities and the one-hot truth, summed over classes: 0 to 2.
        nll: Mean negative log-likelihood of the true class, in nats.
        temperature: Fitted on other images; above 1 for an overconfident model. None together with the next two.
        num_fitted: Number of images it was fitted on.
        scaled_ece: `ece` of the test images at this temperature.
    """

    n: int
    ece: float
    brier: float
    nll: float
    bins: tuple[Bin, ...]
    temperature: float | None = None
    num_fitted: int | None = None
    scaled_ece: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain values for `json.dumps`."""
        return {**asdict(self), "bins": [asdict(bin_) for bin_ in self.bins]}


def calibrate(
    labels: Labels,
    probabilities: Probabilities,
    *,
    fit_labels: Labels | None = None,
    fit_probabilities: Probabilities | None = None,
    num_bins: int = 15,
) -> Calibration:
    """The calibration of the test images, by bins of equal width (Guo et al., 2017, arXiv:1706.04599, equation 3).

    The temperature (their section 4.2) is fitted on other images only; fitted on the test images it would bias
    `scaled_ece`. There is no temperature without such images, nor with fewer than 30 (on 30 it still varies by a fifth
    of its value), nor where the likelihood has no optimum from 0.05 to 20: if every image is classified correctly, more
    confidence always fits better.

    Raises:
        DataError: There are no images, shapes disagree, a class number is out of range, or rows are not probabilities.
    """
    labels, probabilities = labeled_probabilities(labels, probabilities)
    bins = _bins(labels, probabilities, num_bins)
    truth = probabilities[np.arange(len(labels)), labels]
    temperature, num_fitted = None, None
    if fit_labels is not None and fit_probabilities is not None and len(fit_labels):
        fit_labels, fit_probabilities = labeled_probabilities(fit_labels, fit_probabilities)
        if fit_probabilities.shape[1] != probabilities.shape[1]:
            raise DataError(
                f"the images to fit on have {fit_probabilities.shape[1]} classes and the test images "
                f"{probabilities.shape[1]}; give probabilities of one model"
            )
        temperature, num_fitted = fit_temperature(fit_labels, fit_probabilities), len(fit_labels)
    return Calibration(
        n=len(labels),
        ece=_ece(bins),
        # The sum over the classes of (p - 1 at the truth, else p) squared, without a matrix of the truth.
        brier=float(np.mean(np.square(probabilities).sum(1) - 2 * truth + 1)),
        nll=float(-np.log(np.maximum(truth, _MIN_PROBABILITY)).mean()),
        bins=bins,
        temperature=temperature,
        num_fitted=None if temperature is None else num_fitted,
        scaled_ece=None if temperature is None else _ece(_bins(labels, scaled(probabilities, temperature), num_bins)),
    )


def scaled(probabilities: Probabilities, temperature: float) -> Probabilities:
    """The probabilities at this temperature; the order of classes stays the same."""
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _MIN_PROBABILITY)) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Probabilities = odds / odds.sum(axis=1, keepdims=True)
    return result


def fit_temperature(labels: Labels, probabilities: Probabilities) -> float | None:
    """The temperature of maximum likelihood; None for too few images or without an optimum."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if len(labels) < MIN_FIT_IMAGES:
        return None
    logits = np.log(np.maximum(probabilities, _MIN_PROBABILITY))
    truth = logits[np.arange(len(labels)), labels]

    def nll(inverse: float) -> float:
        """The loss, which is convex in the inverse temperature, so a local optimum is the only one."""
        return float((logsumexp(logits * inverse, axis=1) - truth * inverse).mean())

    low, high = 1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0]
    best = float(minimize_scalar(nll, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    return None if best - low < 1e-4 or high - best < 1e-4 else 1 / best


def _bins(labels: Labels, probabilities: Probabilities, num_bins: int) -> tuple[Bin, ...]:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, num_bins + 1)
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    sizes, sure, hits = (np.bincount(number, weights, num_bins) for weights in (None, confidence, right))
    return tuple(
        Bin(float(low), float(high), int(n), float(total / n) if n else None, float(hit / n) if n else None)
        for low, high, n, total, hit in zip(edges[:-1], edges[1:], sizes, sure, hits, strict=True)
    )


def _ece(bins: tuple[Bin, ...]) -> float:
    gaps = [
        bin_.n * abs(bin_.accuracy - bin_.confidence)
        for bin_ in bins
        if bin_.accuracy is not None and bin_.confidence is not None
    ]
    return float(sum(gaps) / sum(bin_.n for bin_ in bins))
