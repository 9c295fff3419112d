"""The test run itself: shapes in signatures are checked, and user input is left to our own errors."""

from __future__ import annotations

import re
from pathlib import Path

import jaxtyping
import pytest
import torch

from understudy.core.budget import Budget
from understudy.core.errors import ConfigError
from understudy.functional.losses import cross_entropy


def test_check_shapes__refuses_disagreeing_axes() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="targets"):
        cross_entropy(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), torch.ones(3))


def test_check_shapes__leaves_user_input_to_our_errors() -> None:
    with pytest.raises(ConfigError):
        Budget(steps=-1.5)  # type: ignore[arg-type]


def test_threads__are_one() -> None:
    assert torch.get_num_threads() == 1


def test_shapes__are_of_classes() -> None:
    """Since NumPy 2.5, `NDArray` is a type alias, which jaxtyping refuses when the module is imported."""
    pattern = re.compile(r"\b(?:Float|Int|UInt|Bool|Num|Shaped)\d*\[\s*NDArray")
    assert pattern.search('x: Float[NDArray[np.float64], "n"]')
    sources = (Path(__file__).resolve().parents[2] / "src").rglob("*.py")
    assert [path.name for path in sources if pattern.search(path.read_text(encoding="utf-8"))] == []
