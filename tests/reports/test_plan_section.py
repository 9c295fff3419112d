"""The table of choices on a run's page."""

from __future__ import annotations

from tests.reports.whole import run_record
from understudy.reports.page import render
from understudy.reports.pages.run import run_page

NO_PART = {"cost": {"wall_s": 1.0, "cpu_s": 1.0}, "figures": {"symmetry_auroc": {"mirrored": 0.5}}}
PLAN = {
    "budget": "10m",
    "note": "",
    "share": 0.142,
    "cost": {"wall_s": 85.0, "cpu_s": 100.0},
    "data": NO_PART,
    "architecture": NO_PART
    | {"network": {"key": "network", "value": "resnet_small", "how": "measured", "reason": "it fits <the> budget"}},
    "optimization": NO_PART,
    "regularization": NO_PART
    | {"hflip": {"key": "augmentation.hflip", "value": False, "how": "asked", "reason": "you asked for it"}},
    "ssl": NO_PART,
}


def test_plan_section__every_choice_with_its_reason() -> None:
    notes = [
        "network = resnet_small: it fits <the> budget.",
        "Planned in 85 s.",
        "500 test images are held out.",
    ]
    page = render(run_page(run_record(plan=PLAN, notes=notes)))
    assert "Settings and their reasons" in page
    assert "it fits &lt;the&gt; budget" in page
    for text in ("augmentation.hflip", "requested", "14 % of the budget of 10m", "85 s"):
        assert text in page
    assert "500 test images are held out." in page
    assert "network = resnet_small" not in page, "what the table says is not said twice"
    assert "Planned in" not in page


def test_plan_section__rules_alone() -> None:
    page = render(run_page(run_record(plan=PLAN | {"note": "a budget of 3 s is short"})))
    assert "Nothing was measured or tried, because a budget of 3 s is short." in page


def test_plan_section__no_plan_no_section() -> None:
    for record in (run_record(plan=None), run_record()):
        assert "Settings and their reasons" not in render(run_page(record))
