"""The scikit-learn estimator: scikit-learn's own checks, labels as people write them, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits, make_moons
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from understudy import SemiSupervisedClassifier, UserError

NOT_MEANT_FOR_US = {
    "check_classifiers_classes": "it takes -1 for a class, which here, as in scikit-learn's own semi-supervised "
    "estimators, means unlabeled",
}


def _checks() -> list[Any]:
    found = estimator_checks_generator(SemiSupervisedClassifier(num_steps=60, batch_size=16))
    return [pytest.param(estimator, check, id=check.func.__name__) for estimator, check in found]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(("estimator", "check"), _checks())
def test_estimator__scikit_learn_check(estimator: Any, check: Any) -> None:
    if check.func.__name__ in NOT_MEANT_FOR_US:
        pytest.skip(NOT_MEANT_FOR_US[check.func.__name__])
    check(estimator)


@pytest.fixture(scope="module")
def moons() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return make_moons(200, noise=0.05, random_state=0)  # type: ignore[no-any-return]


def test_fit__text_labels_with_unlabeled_rows(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    names = np.array(["upper", "lower"])[truth]
    for nothing in (-1, None, ""):
        labels = names.astype(object)
        labels[20:] = nothing
        model = SemiSupervisedClassifier(num_steps=20).fit(rows, labels)
        assert list(model.classes_) == ["lower", "upper"]
        assert set(model.predict(rows)) <= {"lower", "upper"}
        assert model.predict_proba(rows).shape == (200, 2)


def test_fit__unlabeled_rows_train(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    labels = np.where(np.arange(200) < 20, truth, -1)
    model = SemiSupervisedClassifier(num_steps=50)
    with_pool = clone(model).fit(rows, labels).predict_proba(rows)
    without = clone(model).fit(rows[:20], labels[:20]).predict_proba(rows)
    assert not np.allclose(with_pool, without)


def test_fit__same_random_state_same_result(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    labels = np.where(np.arange(200) < 20, truth, -1)
    one, two, other = (
        SemiSupervisedClassifier(num_steps=20, random_state=seed).fit(rows, labels).predict_proba(rows)
        for seed in (3, 3, 4)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_fit__images_and_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, truth = load_digits(return_X_y=True)
    images = (images[:120].reshape(-1, 8, 8) * 15).astype(np.uint8)
    labels = np.where(np.arange(120) < 60, truth[:120], -1)
    model = SemiSupervisedClassifier("fixmatch", num_steps=10, options={"domain": "digits"}).fit(images, labels)
    assert model.predict(images).shape == (120,)
    assert not list(tmp_path.iterdir())


def test_fit__verbose_shows_progress_and_the_default_nothing(
    moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    silent = SemiSupervisedClassifier(num_steps=10).fit(*moons)
    assert capsys.readouterr() == ("", "")
    loud = SemiSupervisedClassifier(num_steps=10, verbose=1).fit(*moons)
    assert re.search(r"^supervised\s+100 %  step 10 ", capsys.readouterr().out, re.MULTILINE)
    assert np.array_equal(silent.predict_proba(moons[0]), loud.predict_proba(moons[0]))


def test_fit__in_cross_validation(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    assert cross_val_score(SemiSupervisedClassifier(num_steps=60), *moons, cv=2).min() > 0.7


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "fixmach"}, "unknown method 'fixmach'; did you mean 'fixmatch'?"),
        ({"num_steps": 0}, "num_steps is 0; give a whole number of at least 1"),
        ({"network": "resnet_small"}, "resnet_small takes images"),
        ({"verbose": "loud"}, "verbose is 'loud'; give 0 for no output or 1 for progress"),
        ({"options": {"batchsize": 3}}, "unknown setting batchsize: did you mean 'batch_size'?"),
    ],
)
def test_fit__refuses(
    options: dict[str, Any], sentence: str, moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    with pytest.raises(UserError) as error:
        SemiSupervisedClassifier(**options).fit(*moons)
    assert sentence in str(error.value)


def test_fit__one_class() -> None:
    with pytest.raises(UserError, match="labeled rows of at least two classes"):
        SemiSupervisedClassifier().fit(np.zeros((5, 2)), [0, 0, -1, -1, -1])


def test_fit__all_labels_missing() -> None:
    with pytest.raises(UserError, match=r"^all labels are -1 \(unlabeled\); give labels of at least two classes$"):
        SemiSupervisedClassifier().fit(np.zeros((3, 2)), [-1, -1, -1])
    with pytest.raises(UserError, match=r"^all labels are -1 or missing \(unlabeled\); give labels"):
        SemiSupervisedClassifier().fit(np.zeros((3, 2)), [None, None, None])


def test_fit__paths_listed_twice(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{number}.png") for number in range(6)]
    for number, path in enumerate(files):
        Image.fromarray(np.full((8, 8), 200 * (number % 2) + number, np.uint8)).save(path)
    listed = [files[0], *files]
    model = SemiSupervisedClassifier("fixmatch", num_steps=2, options={"domain": "digits"})
    found = model.fit(listed, [0, 0, 1, 0, 1, -1, -1]).predict(listed)
    assert len(found) == 7
    assert found[0] == found[1]


def test_score__only_labeled_rows_count(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    model = SemiSupervisedClassifier(num_steps=20).fit(rows, truth)
    right = model.predict(rows) == truth
    known = np.arange(200) < 50
    accuracy = right[:50].mean()
    assert 0 < accuracy < 1
    lists = ([label if at < 50 else gap for at, label in enumerate(truth.tolist())] for gap in (-1, None))
    for labels in (*lists, np.where(known, truth, np.nan), np.where(known, truth, -1)):
        assert model.score(rows, labels) == pytest.approx(accuracy)
    weights = np.arange(200)
    expected = np.average(right[:50], weights=weights[:50])
    assert model.score(rows, np.where(known, truth, -1), weights) == pytest.approx(expected)
    with pytest.raises(UserError, match=r"all labels are -1 \(unlabeled\); give at least one label to score"):
        model.score(rows, np.full(200, -1))


def test_score__text_labels_with_none(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    names = np.array(["upper", "lower"])[truth].astype(object)
    model = SemiSupervisedClassifier(num_steps=20).fit(rows, names)
    labels = [name if at < 50 else None for at, name in enumerate(names)]
    assert model.score(rows, labels) == pytest.approx((model.predict(rows) == names)[:50].mean())


def test_fit__validation_rows_select_and_never_train(moons: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, truth = moons
    names = np.array(["upper", "lower"])[truth].astype(object)
    labels = np.where(np.arange(120) < 40, names[:120], "")
    model = SemiSupervisedClassifier(num_steps=10).fit(rows[:120], labels, validation=(rows[100:160], names[100:160]))
    found = max(line["validation_accuracy"] for line in model.trained_.history if "validation_accuracy" in line)
    assert model.score(rows[100:160], names[100:160]) == pytest.approx(found)
    without = clone(model).fit(rows[:100], labels[:100], validation=(rows[100:160], names[100:160]))
    np.testing.assert_allclose(  # the 20 rows that are also validation rows were left out
        model.predict_proba(rows), without.predict_proba(rows), atol=1e-5
    )
    with pytest.raises(UserError, match="labels that no training image has: 'other'; training has: 'lower', 'upper'"):
        model.fit(rows, names, validation=(rows[:2], ["other", "upper"]))
    with pytest.raises(UserError, match="1 of 2 validation rows have no label; leave them out"):
        model.fit(rows, names, validation=(rows[:2], ["", "upper"]))
    with pytest.raises(UserError, match=r"validation is ndarray; give a pair of labeled rows \(X, y\)"):
        model.fit(rows, names, validation=rows)
