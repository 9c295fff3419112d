"""Learning curves known beforehand, the fit against SciPy's, and how often the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from understudy.core.errors import DataError
from understudy.evaluation.learning_curve import LearningCurve, fit_power_law, learning_curve


def error(n: float | np.ndarray, floor: float = 0.05, scale: float = 1.2, rate: float = 0.5) -> np.ndarray:
    return np.asarray(floor + scale * np.asarray(n, float) ** -rate)


def exact(counts: tuple[int, ...], seeds: int = 3, **law: float) -> LearningCurve:
    found = learning_curve({n: [1 - float(error(n, **law))] * seeds for n in counts})
    assert found is not None
    return found


def test_learning_curve__finds_the_law_behind_exact_figures() -> None:
    found = exact((40, 100, 250, 600))
    assert found.floor == pytest.approx(0.05, abs=1e-4)
    assert found.rate == pytest.approx(0.5, abs=1e-3)
    assert found.scale * 600**0.5 == pytest.approx(1.2, rel=1e-3)
    assert found.counts == (40, 100, 250, 600)
    assert found.predict(1200) == pytest.approx(1 - error(1200), abs=1e-5)
    gain, interval = found.more(600)  # type: ignore[misc]
    assert gain == pytest.approx(error(600) - error(1200), abs=1e-5)
    assert interval is not None
    assert interval.high - interval.low < 1e-9


def test_learning_curve__two_counts_have_no_floor() -> None:
    found = exact((50, 200), floor=0.0)
    assert (found.floor, found.rate) == (0.0, pytest.approx(0.5, abs=1e-3))
    assert found.predict(400) == pytest.approx(1 - error(400, floor=0.0), abs=1e-4)


def test_learning_curve__fewer_than_two_counts() -> None:
    assert learning_curve({40: [0.8, 0.9]}) is None
    assert learning_curve({}) is None


def test_learning_curve__order_of_the_counts_does_not_matter() -> None:
    one, other = ({n: [1 - float(error(n))] for n in counts} for counts in ((40, 100, 250), (250, 40, 100)))
    assert learning_curve(one) == learning_curve(other)


def test_learning_curve__without_a_gain_buys_nothing() -> None:
    for accuracies in ({10: [0.8], 20: [0.8], 40: [0.8]}, {10: [0.9], 20: [0.8], 40: [0.7]}, {10: [1.0], 20: [1.0]}):
        found = learning_curve(accuracies)
        assert found is not None
        assert found.more(20) == (pytest.approx(0, abs=1e-9), None)


@pytest.mark.parametrize("seed", range(5))
def test_fit_power_law__is_no_worse_than_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = np.array([20, 40, 80, 160, 320]) / 320
    errors = np.clip(error(at * 320) + rng.normal(0, 0.02, (8, 5)), 0.01, 1)
    weights = 1 / errors.mean(0) ** 2
    found = fit_power_law(errors, at, weights)

    def law(n: np.ndarray, floor: float, scale: float, rate: float) -> np.ndarray:
        return floor + scale * n**-rate

    for row, (floor, scale, rate) in zip(errors, found, strict=True):
        bounds = ([0, 0, 0.02], [1, 1, 4])
        theirs = curve_fit(law, at, row, [0.02, 0.1, 0.5], 1 / np.sqrt(weights), bounds=bounds)[0]
        ours, expected = (weights @ (law(at, *one) - row) ** 2 for one in ((floor, scale, rate), theirs))
        assert ours <= expected * (1 + 1e-6)
        assert floor >= 0
        assert scale >= 0
        assert 0.02 <= rate <= 4.001


@given(
    st.dictionaries(st.integers(1, 5000), st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=5),
    st.floats(0.01, 1),
)
def test_learning_curve__never_falls_nor_leaves_the_range(accuracies: dict[int, list[float]], share: float) -> None:
    found = learning_curve(accuracies, num_resamples=20)
    assert found is not None
    largest = max(accuracies)
    extra = max(1, int(share * largest))
    gain, interval = found.more(extra)  # type: ignore[misc]
    assert found.predict(largest) <= found.predict(largest + extra) <= 1
    assert gain >= 0
    if any(len(one) > 1 for one in accuracies.values()):
        assert interval is not None
        assert 0 <= interval.low <= gain <= interval.high <= 1 - found.predict(largest) + 1e-12
    else:
        assert interval is None


@pytest.mark.parametrize(("floor", "counts"), [(0.0, (40, 100, 250)), (0.05, (40, 100, 250)), (0.0, (20, 40, 80, 160))])
def test_more__interval_holds_the_truth(floor: float, counts: tuple[int, ...]) -> None:
    """Errors of four seeds vary by 15 % of their size. Cautious is allowed, bold is not."""
    rng = np.random.default_rng(0)
    extra = counts[-1] // 2
    truth = float(error(counts[-1], floor) - error(counts[-1] + extra, floor))
    hits = []
    for _ in range(160):
        drawn = {n: 1 - (error(n, floor) * (1 + rng.normal(0, 0.15, 4))).clip(0, 1) for n in counts}
        found = learning_curve(drawn, num_resamples=120)  # type: ignore[arg-type]
        assert found is not None
        hits.append(truth in found.more(extra)[1])  # type: ignore[index,operator]
    assert np.mean(hits) >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / 160)
    assert found.more(extra)[1].high < 5 * truth  # type: ignore[index,union-attr]


def noisy(seeds: int) -> LearningCurve:
    rng = np.random.default_rng(0)
    drawn = {n: (1 - error(n) + rng.normal(0, 0.01, seeds)).tolist() for n in (40, 100, 250)}
    found = learning_curve(drawn)
    assert found is not None
    return found


def test_more__more_seeds_make_it_narrower_and_the_same_seed_repeats_it() -> None:
    few, many = (noisy(seeds).more(100)[1] for seeds in (3, 30))  # type: ignore[index]
    assert few is not None
    assert many is not None
    assert many.high - many.low < 0.6 * (few.high - few.low)
    assert noisy(3).more(100) == noisy(3).more(100)


def test_more__not_beyond_twice_the_largest_count() -> None:
    found = exact((40, 100, 250))
    assert found.more(250) is not None
    assert found.more(251) is None
    assert found.sentence(1000) == (
        "What 1,000 more labels would buy cannot be said: the curve was measured up to 250 labels, and twice as many, "
        "500, is as far as it can be followed."
    )
    with pytest.raises(DataError, match="0 more labels were given; give 1 or more"):
        found.more(0)


def test_sentence__words() -> None:
    single = learning_curve({n: [1 - float(error(n))] for n in (40, 100, 250)})
    assert single is not None
    assert single.sentence(100) == (
        "100 more labels would buy about 1.2 points, if the curve continues as it does from 40 to 250 labels."
    )
    gain, interval = noisy(3).more(100)  # type: ignore[misc]
    assert interval is not None
    assert noisy(3).sentence(100) == (
        f"100 more labels would buy about {100 * gain:.1f} points (95 % interval {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f}), if the curve continues as it does from 40 to 250 labels."
    )
    assert noisy(3).sentence(1).startswith("1 more label would buy about")


@pytest.mark.parametrize(
    "accuracies", [{0: [0.5], 10: [0.6]}, {5: [], 10: [0.6]}, {5: [50.0], 10: [60.0]}, {5: [float("nan")]}]
)
def test_learning_curve__no_point_of_a_curve(accuracies: dict[int, list[float]]) -> None:
    with pytest.raises(DataError, match="are not a point of a curve; give a positive number of labels"):
        learning_curve(accuracies)
