"""A scikit-learn estimator over the same engine: arrays in, no folder written, unlabeled rows marked by -1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn

from understudy.core.arguments import check
from understudy.core.budget import Budget
from understudy.core.errors import DataError
from understudy.data.load import load
from understudy.data.sources.labels import is_missing
from understudy.data.sources.listed import is_list_of_images
from understudy.data.sources.values import is_sparse, refuse_endless, to_numpy
from understudy.data.split import Splits, split
from understudy.data.table import unknown_classes
from understudy.display.console import open_console
from understudy.display.progress import watching
from understudy.engine.fit import fit
from understudy.experiment.job import make_job
from understudy.experiment.prepare import Roles, prepare
from understudy.methods.base import Method
from understudy.models import as_module
from understudy.models import prepared as adapted
from understudy.serving.predictor import Predictor

_NOBODY = np.zeros(0, dtype=np.int64)


class SemiSupervisedClassifier(ClassifierMixin, BaseEstimator):
    """Semi-supervised classifier of images or vectors, with scikit-learn's interface.

    X holds vectors (n, d), grayscale images (n, h, w), color images (n, h, w, c) or (n, c, h, w), or is a list of paths
    or Pillow images of any size. A row is unlabeled if y is -1, NaN or NA, or, among labels that are not numbers, None,
    "" or "-1". If all rows are labeled, training is supervised.

    Passes scikit-learn's estimator checks except `check_classifiers_classes`, in which -1 is a class.

    Args:
        method: Name of a method, or a method object.
        num_steps: Optimizer steps.
        batch_size: Labeled rows per step.
        network: Name of a network, or "auto" to select one by the rows; or your own module, which is copied, or a
            class or function that builds one.
        random_state: Seed or random state, as in scikit-learn; equal seeds give equal results on the same machine.
        options: Other fields of `Job`, by name, such as {"domain": "digits"}.
        verbose: 0 prints nothing; 1 or more shows the progress of `fit`.

    Attributes:
        classes_: The class labels, sorted.
        model_: The trained module, in evaluation mode.
        predictor_: The module with the preprocessing of its rows.
        trained_: Weights, history and cost of the training run.

    Examples:
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from understudy import SemiSupervisedClassifier
        >>> images, labels = load_digits().images, load_digits().target
        >>> y = np.where(np.arange(len(labels)) < 100, labels, -1)
        >>> classifier = SemiSupervisedClassifier(method="fixmatch", num_steps=10).fit(images, y)
        >>> classifier.predict(images[:3]).shape
        (3,)
    """

    def __init__(
        self,
        method: str | Method[Any] = "softmatch",
        *,
        num_steps: int = 300,
        batch_size: int = 32,
        network: str | nn.Module | Callable[[], nn.Module] = "auto",
        random_state: Any = 0,
        options: Mapping[str, Any] | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.network = network
        self.random_state = random_state
        self.options = options
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        *,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> SemiSupervisedClassifier:
        """Fit the classifier to labeled and unlabeled rows.

        Args:
            X: Training rows.
            y: Their labels; -1 for unlabeled.
            validation: Labeled rows (X, y) that select the weights of the best step. They are not trained on, nor are
                copies of them. Without them the last weights are used.

        Raises:
            UserError: A setting or the arrays cannot be used, or fewer than two classes are labeled.
        """
        for array in (X, y):
            if not is_sparse(array):
                refuse_endless(array)
        check(num_steps=self.num_steps, batch_size=self.batch_size, options=self.options, verbose=self.verbose)
        rows, labels = self._checked(X, _without_gaps(y))
        labeled = _is_labeled(labels)
        if not labeled.any():
            raise DataError(f"{_all_unlabeled(labels)}; give labels of at least two classes")
        check_classification_targets(labels[labeled])
        self.classes_, codes = np.unique(_plain(labels[labeled]), return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"a classifier needs labeled rows of at least two classes, and there is {len(self.classes_)} class "
                f"among {int(labeled.sum())} labeled rows; label rows of another class"
            )
        targets = np.full(len(labels), -1, dtype=np.int64)
        targets[labeled] = codes
        if validation is None:
            collection = load((rows, targets))
            known = collection.labels >= 0  # not `labeled`: a path listed twice is one row, an unreadable file none
            roles = Splits(np.flatnonzero(known), np.flatnonzero(~known), _NOBODY, _NOBODY, "nothing", "")
        else:
            collection = load((rows, targets), validation=self._validation(validation))
            roles = split(collection, share=None)
            roles = replace(
                roles, validation=np.union1d(roles.validation, roles.test), test=_NOBODY, test_source="nothing"
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        table: dict[str, Any] = {"seed": seed, "batch_size": self.batch_size}
        own = None if isinstance(self.network, str) else as_module(self.network)
        table |= {"network": self.network} if own is None else {}
        table |= dict(self.options or {})
        table["budget"] = Budget(steps=int(self.num_steps))
        job = make_job(table | {"method": self.method}, collection, own)
        method = job.method
        if labeled.all():
            method = method.baseline()
        module = None
        if own is not None:
            shape, count = collection.shape, len(self.classes_)
            module, _ = adapted(own, shape, count, collection.ranges)
        run = prepare(Roles(collection, roles), job, module)
        stage, data, name = run.stage(method), run.data, run.network_name
        with watching(open_console()) if self.verbose else nullcontext() as watch:
            self.trained_ = fit(stage, observe=() if watch is None else (watch.step,))
        self.model_ = self.trained_.model
        names = tuple(str(value) for value in range(len(self.classes_)))
        self.predictor_ = Predictor(
            self.model_,
            name,
            names,
            data.row_shape,
            job.domain,
            hflip=data.domain.hflip,
            ranges=collection.ranges,
        )
        return self

    def _checked(self, X: Any, y: Any) -> tuple[Any, NDArray[Any]]:  # noqa: N803
        """The rows and labels after scikit-learn's checks."""
        if is_list_of_images(X):  # of any size, so they are not an array that scikit-learn could check
            check_consistent_length(X, y)
            return X, np.asarray(column_or_1d(y))
        rows, labels = validate_data(self, X, y, allow_nd=True, dtype=None, ensure_min_samples=2, y_numeric=False)
        return _numbers(rows), np.asarray(labels)

    def _validation(self, pair: Any) -> tuple[Any, NDArray[np.int64]]:
        """The validation rows and the numbers of their classes, after the checks."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise DataError(f"validation is {type(pair).__name__}; give a pair of labeled rows (X, y)")
        X, y = pair[0], _without_gaps(pair[1])  # noqa: N806 - scikit-learn's name
        check_consistent_length(X, y)
        labels = np.asarray(column_or_1d(y))
        if not is_list_of_images(X):
            X = _numbers(validate_data(self, X, allow_nd=True, dtype=None, reset=False))  # noqa: N806
        labeled = _is_labeled(labels)
        if not labeled.all():
            raise DataError(f"{int((~labeled).sum())} of {len(labels)} validation rows have no label; leave them out")
        labels = _plain(labels)
        if unknown := np.setdiff1d(labels, self.classes_).tolist():
            raise unknown_classes([str(value) for value in unknown], [str(value) for value in self.classes_])
        return X, np.searchsorted(self.classes_, labels)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Predict class probabilities (n, k), in the order of `classes_`."""
        check_is_fitted(self)
        if not is_sparse(X):
            refuse_endless(X)
        if is_list_of_images(X):
            images = self.predictor_.read(X)
            if images.quarantine:
                raise DataError(f"image {images.quarantine[0][0]} {images.quarantine[0][1]}; leave it out")
            return self.predictor_.predict(images).probabilities
        rows: Any = validate_data(self, X, allow_nd=True, dtype=None, reset=False)
        return self.predictor_.predict(_numbers(rows)).probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Predict the most probable class of each row, as written in y."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(-1)])

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:  # noqa: N803
        """Return the accuracy on the labeled rows; rows that `fit` treats as unlabeled (-1, None, NaN) do not count.

        Raises:
            UserError: No row is labeled.
        """
        check_is_fitted(self)
        labels = np.asarray(column_or_1d(_without_gaps(y)))
        labeled = _is_labeled(labels)
        if not labeled.any():
            raise DataError(f"{_all_unlabeled(labels)}; give at least one label to score")
        predicted = self.predict(X)
        check_consistent_length(predicted, labels, sample_weight)
        weights = None if sample_weight is None else np.asarray(sample_weight)[labeled]
        return float(accuracy_score(_plain(labels[labeled]), predicted[labeled], sample_weight=weights))


def _numbers(X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
    """The rows in a data type that training accepts."""
    return X if X.dtype.kind in "uif" and X.dtype.itemsize <= 4 else X.astype(np.float32)


def _without_gaps(y: Any) -> Any:
    """The labels with -1 or None in place of NaN and NA, which scikit-learn's checks refuse."""
    if isinstance(y, Tensor):
        y = to_numpy(y)
    array = np.asarray(y) if hasattr(y, "dtype") or isinstance(y, (list, tuple)) else y
    if isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind == "f" and np.isnan(array).any():
        return np.where(np.isnan(array), -1, array)
    if hasattr(y, "dtype") and isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "OT":
        return np.array([None if is_missing(label) else label for label in array.tolist()], dtype=object)
    if isinstance(y, (list, tuple)) and any(is_missing(label) for label in y):
        return np.array([None if is_missing(label) else label for label in y], dtype=object)
    return y


def _is_labeled(y: NDArray[Any]) -> NDArray[np.bool_]:
    if y.dtype.kind in "iufb":
        return np.asarray(y != -1)
    return np.array([value is not None and str(value) not in ("", "-1") for value in y], dtype=bool)


def _all_unlabeled(labels: NDArray[Any]) -> str:
    return f"all labels are {'-1' if labels.dtype.kind in 'iuf' else '-1 or missing'} (unlabeled)"


def _plain(y: NDArray[Any]) -> NDArray[Any]:
    """Labels without the object dtype that -1 or None among them caused."""
    return np.array(y.tolist()) if y.dtype.kind == "O" else y
