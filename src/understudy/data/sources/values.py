"""Whatever holds numbers becomes a NumPy array, or a sentence says why it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.arguments import has
from understudy.core.errors import DataError

# 8 GiB of float32: above, a dense copy would fill the memory of most machines without a word.
_MAX_DENSE_VALUES = 1 << 31
_PLAIN = (int, float, bool, complex, str, bytes, type(None))
_FLOATS = (torch.float16, torch.float32, torch.float64)  # those that NumPy has too


def is_sparse(values: Any) -> bool:
    """Whether it is a SciPy sparse matrix, recognized without importing SciPy."""
    return has(values, "toarray") and isinstance(getattr(values, "shape", None), tuple) and has(values, "nnz")


def to_numpy(values: Any) -> NDArray[Any]:
    """The tensor, array-like or sparse matrix as an array.

    Raises:
        DataError: It holds no values, rows of several shapes, or is nothing that holds numbers.
    """
    if isinstance(values, Tensor):
        return _from_tensor(values)
    if is_sparse(values):
        if np.prod([float(side) for side in values.shape]) > _MAX_DENSE_VALUES:
            raise DataError(
                f"a sparse matrix of shape {values.shape} is too large to be made dense; reduce its columns first, "
                "such as with scikit-learn's TruncatedSVD"
            )
        values = values.toarray()
    refuse_endless(values)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"rows of different shapes cannot be one array ({error}); give them all one size") from error
    except Exception as error:  # an object's own __array__ can raise anything
        raise DataError(
            f"{type(values).__name__} cannot be read as an array: {type(error).__name__}: {error}"
        ) from error


def _from_tensor(values: Tensor) -> NDArray[Any]:
    if values.is_meta:
        raise DataError("the tensor is on the meta device and holds no values; give one with values")
    if values.is_nested:
        raise DataError("the tensor is nested, so its rows differ in shape; give them all one size")
    values = values.detach()
    if values.is_quantized:
        values = values.dequantize()
    if values.layout != torch.strided:
        if np.prod([float(side) for side in values.shape]) > _MAX_DENSE_VALUES:
            raise DataError(f"a sparse tensor of shape {tuple(values.shape)} is too large to be made dense")
        values = values.to_dense()
    if values.is_floating_point() and values.dtype not in _FLOATS:
        values = values.float()
    try:
        array: NDArray[Any] = values.cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise DataError(f"a tensor of type {values.dtype} cannot be read as an array; give uint8 or float32") from error
    return array


def refuse_endless(values: Any) -> None:
    """Refuse values whose shape NumPy cannot find: it would follow a list or data set that contains itself forever.

    Raises:
        DataError: It contains itself, or an object that is a sequence by its methods alone.
    """
    done: set[int] = set()

    def walk(item: Any, above: frozenset[int]) -> None:
        if type(item) in _PLAIN or isinstance(item, (np.ndarray, np.generic, Tensor, range)):
            return
        if isinstance(item, (list, tuple)):
            if id(item) in above:
                raise DataError("a list contains itself; give rows of numbers")
            if id(item) not in done:
                for inner in item:
                    if type(inner) not in _PLAIN:
                        walk(inner, above | {id(item)})
            done.add(id(item))
            return
        if has(item, "__getitem__") and has(item, "__len__") and not _has_array(item):
            raise DataError(f"{type(item).__name__} is not an array of numbers; give an array or tensor")

    walk(values, frozenset())


def _has_array(item: Any) -> bool:
    return any(has(item, name) for name in ("__array__", "__array_interface__", "__buffer__"))
