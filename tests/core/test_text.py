"""Numbers in sentences: singular, plural and thousands."""

from __future__ import annotations

from understudy.core.text import agree, counted


def test_counted__of_one_and_of_thousands() -> None:
    assert [counted(number, "image") for number in (0, 1, 1797)] == ["0 images", "1 image", "1,797 images"]
    assert (counted(1, "class", "classes"), counted(2, "class", "classes")) == ("1 class", "2 classes")


def test_agree__with_one_and_with_more() -> None:
    assert [agree(number, "is", "are") for number in (0, 1, 2)] == ["are", "is", "are"]
