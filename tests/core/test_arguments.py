from __future__ import annotations

import pytest

from tests.faults.hostile_objects import Attributeless, Unprintable, Unusable
from understudy.core.arguments import check, has, quoted
from understudy.core.errors import ConfigError


@pytest.mark.parametrize("value", [Unprintable(), Unusable()])
def test_check__a_value_without_a_text(value: object) -> None:
    with pytest.raises(ConfigError, match=r"count is .*; give a whole number of at least 1"):
        check(count=value)


def test_has__an_attribute_that_raises_is_missing() -> None:
    assert not has(Attributeless(), "shape")
    assert has("text", "strip")


def test_quoted__short_values_are_written_out_and_long_ones_cut() -> None:
    assert quoted("a" * 90) == repr("a" * 90)
    assert len(quoted("a" * 5000)) <= 100
    assert quoted(10**5000) == "of type int"
    assert quoted(["a", 1]) == "['a', 1]"
