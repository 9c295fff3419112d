"""`understudy ablate`: what is printed and saved, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Run, start

QUICK = (
    "--network", "cnn", "--budget", "6steps", "--jobs", 1, "--set", "size=16", "--set", "batch_size=6",
    "--set", "method.mu=2", "--method", "fixmatch", "--seeds", 2,
)  # fmt: skip


def test_ablate__prints_the_ladder_and_goes_on(understudy: Run, photos: Path, unlabeled: Path) -> None:
    first = understudy("ablate", photos, "--unlabeled", unlabeled, "--num-labels", 6, *QUICK, "--out", "ladder")
    assert first.code == 0, first.err
    assert "5 variants with supervised x 2 seeds: 10 runs of 6 steps each, 1 at a time." in first.out
    rows = [line.split("  ")[0].strip() for line in first.out.splitlines() if line.startswith(("bare", "+ "))]
    assert rows == ["bare", "+ schedule", "+ weight averaging", "+ strong augmentation", "+ unlabeled images"]
    lines = first.out.splitlines()
    for name in ("Schedule", "Weight averaging", "Strong augmentation", "Unlabeled images"):
        (line,) = (line for line in lines if line.startswith(f"{name}: "))
        assert line.endswith((", not proven.", ", proven.", "so there is no test."))
        assert "corrected for 4 tests" in line or line.endswith("so there is no test.")
    again = understudy("ablate", "--resume", "ladder", "--jobs", 1)
    assert "10 are finished, 0 are left" in again.out
    assert again.out.splitlines()[-15:] == lines[-15:]
    other = understudy("compare", "--resume", "ladder")
    assert "ladder was made by another command; resume it with: understudy ablate --resume ladder" in other.error()


def test_ablate__interrupted_and_resumed(understudy: Run, photos: Path, unlabeled: Path) -> None:
    arguments = ("--unlabeled", unlabeled, "--num-labels", 6, *QUICK, "--budget", "200steps", "--out", "stopped")
    process = start("ablate", photos, *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith("1/10"):
            break
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err == "interrupted; everything is saved, resume with: understudy ablate --resume stopped\n"
    assert not json.loads((Path("stopped") / "request.json").read_text())["options"].get("methods")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "no images were given; name a folder, manifest or data set: understudy ablate PHOTOS"),
        (("digits", "--method", "fixmtch"), "unknown method 'fixmtch'; did you mean 'fixmatch'?"),
        (("digits", "--num-labels", 40, "--recipe", "ensemble"), "recipe 'ensemble' is not an ingredient"),
        (("digits", "--seeds", "many"), "--seeds is 'many'; give whole numbers"),
        (("digits", "--num-labels", 40, "--set", "threshold=1"), "unknown setting threshold"),
        (("digits", "--budget", "soon"), "budget 'soon' is not a length of time"),
        (
            ("--resume", "nowhere"),
            "nowhere does not exist, so there is nothing to resume; name a folder that `understudy ablate` made",
        ),
        (("digits", "--resume", "nowhere"), "--resume takes everything from nowhere"),
    ],
)
def test_ablate__refuses(understudy: Run, arguments: tuple[object, ...], error: str) -> None:
    assert error in understudy("ablate", *arguments).error()
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
