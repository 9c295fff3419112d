"""The working size follows the images, and gives way to what the user asks for."""

from __future__ import annotations

import pytest

from understudy.data.sizing import Form, choose_form


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        ([(8, 8)], Form(8, 8, 3)),
        ([(28, 28)] * 3, Form(28, 28, 3)),
        ([(50, 37), (60, 37)], Form(36, 36, 3)),
        ([(1, 1)], Form(8, 8, 3)),
        ([(96, 96)] * 3, Form(80, 96, 3)),
        ([(128, 170), (190, 128)], Form(112, 128, 3)),
        ([(70, 70), (80, 66)], Form(64, 64, 3)),
        ([(4000, 3000)], Form(224, 256, 3)),
        ([(256, 256)], Form(224, 256, 3)),
    ],
)
def test_choose__by_images(sizes: list[tuple[int, int]], form: Form) -> None:
    assert choose_form(sizes, False, None, None) == form


def test_choose__by_request() -> None:
    assert choose_form([(500, 400)], True, 32, 3) == Form(32, 32, 3)
    assert choose_form([(500, 400)], True, 112, None) == Form(112, 128, 1)
