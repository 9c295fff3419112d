"""Numbers in sentences: singular, plural and thousands."""

from __future__ import annotations

import pytest

from understudy.core.text import (
    agree,
    capitalized,
    clock,
    counted,
    listed,
    percent,
    percent_range,
    points,
    signed_points,
)


def test_counted__of_one_and_of_thousands() -> None:
    assert [counted(number, "image") for number in (0, 1, 1797)] == ["0 images", "1 image", "1,797 images"]
    assert (counted(1, "class", "classes"), counted(2, "class", "classes")) == ("1 class", "2 classes")


def test_agree__with_one_and_with_more() -> None:
    assert [agree(number, "is", "are") for number in (0, 1, 2)] == ["are", "is", "are"]


def test_percent__unknown_share_is_a_dash() -> None:
    assert [percent(0.914), percent(0.914, 0), percent(None)] == ["91.4 %", "91 %", "-"]


def test_points__sign() -> None:
    assert [points(-0.012), signed_points(-0.012), signed_points(0.2)] == ["1.2 points", "-1.2", "+20.0"]


def test_percent_range__sign() -> None:
    assert percent_range(0.5, 0.61) == "50.0 to 61.0"
    assert percent_range(-0.01, 0.02, signed=True) == "-1.0 to +2.0"


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (185, "3:05"), (7800, "2:10:00"), (float("inf"), "?")])
def test_clock__hours_only_where_there_are_some(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_listed__of_none_to_three() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_capitalized__leaves_the_rest() -> None:
    assert [capitalized("fixMatch is ahead"), capitalized("")] == ["FixMatch is ahead", ""]
