"""The sheet of images to label: numbered pictures with file names, in the order of the table beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import counted
from understudy.reports.figures.style import clean
from understudy.reports.page import Card, Page, Section, image
from understudy.reports.pages.advice import Headline


def suggestions_page(
    title: str,
    names: Sequence[str],
    reasons: Sequence[str],
    pictures: NDArray[np.uint8],
    *,
    why: str,
    notes: Sequence[str] = (),
) -> Page:
    """The sheet of images to label.

    Args:
        title: What the images are called.
        pictures: Small images (n, height, width, 3), one of each suggested image, or none at all for vectors.
        why: How they were selected, in a sentence.
    """
    cards = [
        Card(image(pictures, at), f"{at + 1}: {reason}", clean(name))
        for at, (name, reason) in enumerate(zip(names, reasons, strict=True))
    ]
    return Page(
        title=f"{clean(title)}: images to label",
        kicker=f"understudy suggest \u00b7 {clean(title)}",
        headline=Headline("open", f"{counted(len(names), 'image')} to label", why),
        sections=(Section("Images in order of priority", list(notes), cards=cards),),
        footer="The numbers match the column order of the suggestions table. This page loads nothing from the network.",
    )
