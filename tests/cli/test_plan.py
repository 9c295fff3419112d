"""`plan`: plan, print, save, compare, and train with a saved plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, Run, draw_folder
from understudy.core.config import read_toml
from understudy.planning.plan import Plan


def test_plan__prints_saves_and_is_trained_with(understudy: Run, photos: Path, unlabeled: Path) -> None:
    steps = ("--unlabeled", str(unlabeled), "--budget", "20steps")
    output = understudy("plan", str(photos), *steps)
    assert output.code == 0
    text = " ".join(output.out.split())
    for key in ("domain", "network", "optimizer.name", "batch_size", "method.name"):
        assert key in text
    assert "Nothing was timed or tried" in text
    assert "Saved in plan.toml" in text
    plan = Plan.load(Path("plan.toml"))
    assert plan.ssl.method.value == "softmatch"
    changed = Path("plan.toml").read_text(encoding="utf-8").replace('value = "softmatch"', 'value = "fixmatch"')
    Path("mine.toml").write_text(changed, encoding="utf-8")
    trained = understudy("train", str(photos), *steps, "--plan", "mine.toml", *QUICK, "--out", "r")
    assert trained.code == 0
    result = json.loads(Path("r/result.json").read_text(encoding="utf-8"))
    assert result["training"]["method"] == "fixmatch"
    assert result["training"]["network"] == "cnn", "what is asked for beside a plan overrules it"
    assert read_toml(Path("r/plan.toml"))["ssl"]["method"]["value"] == "fixmatch"
    assert "every choice with its reason" in trained.out
    assert "Settings and their reasons" in Path("r/report.html").read_text(encoding="utf-8")


def test_plan__says_what_another_chooses_otherwise(understudy: Run, photos: Path, unlabeled: Path) -> None:
    steps = ("--unlabeled", str(unlabeled), "--budget", "20steps")
    understudy("plan", str(photos), *steps, "--out", "a.toml")
    output = understudy("plan", str(photos), *steps, "--method", "vat", "--out", "b.toml", "--against", "a.toml")
    assert "method.name: vat -> softmatch" in output.out
    shown = understudy("plan", "a.toml", "--against", "a.toml")
    assert "a.toml makes the same choices." in shown.out
    assert "Saved" not in shown.out


def test_train__without_a_plan(understudy: Run, photos: Path, unlabeled: Path) -> None:
    output = understudy("train", str(photos), "--unlabeled", str(unlabeled), *QUICK, "--no-plan", "--out", "r")
    assert output.code == 0
    assert not Path("r/plan.toml").exists()
    assert json.loads(Path("r/result.json").read_text(encoding="utf-8"))["plan"] is None
    assert "Planned" not in output.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plan", "nowhere"), "'nowhere' is not there"),
        (("plan", "nowhere.toml"), "configuration file nowhere.toml does not exist"),
        (("plan", "PHOTOS", "--out", "plan.json"), "a plan is a .toml file, and 'plan.json' was given"),
        (("plan", "PHOTOS", "--out", "notes.toml", "--overwrite"), "notes.toml is not a plan"),
        (("plan", "PHOTOS", "--method", "fixmach"), "did you mean 'fixmatch'?"),
        (("plan", "PHOTOS", "--budget", "soon"), "budget 'soon' is not a length of time"),
        (("plan", "PHOTOS", "--against", "notes.toml"), "notes.toml is not a plan"),
        (("train", "PHOTOS", "--plan", "notes.toml"), "notes.toml is not a plan"),
        (("train", "PHOTOS", "--plan", "notes.toml", "--no-plan"), "--plan and --no-plan were both given"),
    ],
)
def test_plan__refuses_in_a_sentence(understudy: Run, photos: Path, arguments: tuple[str, ...], sentence: str) -> None:
    Path("notes.toml").write_text("[notes]\nmine = true\n", encoding="utf-8")
    output = understudy(*(str(photos) if one == "PHOTOS" else one for one in arguments))
    assert sentence in output.error()
    assert Path("notes.toml").read_text(encoding="utf-8") == "[notes]\nmine = true\n"


def test_plan__names_the_whole_command_that_trains_with_it(understudy: Run, photos: Path, unlabeled: Path) -> None:
    given = (
        "--unlabeled",
        str(unlabeled),
        "--unlabeled",
        str(unlabeled),
        "--validation",
        "val",
        "--num-labels",
        "10",
        "--set",
        "seed=3",
        "--budget",
        "20steps",
    )
    draw_folder(Path("val"), 2, first=300)
    output = understudy("plan", str(photos), *given, "--out", "my plan.toml")
    text = output.out[output.out.index("Next:") :]
    wanted = (
        f"understudy train {photos} --unlabeled {unlabeled} --unlabeled {unlabeled} --validation val --num-labels 10"
    )
    wanted += " --set seed=3 --plan 'my plan.toml'"
    assert wanted.replace(" ", "") in "".join(text.split())


def test_plan__refuses_folders_and_files_that_cannot_be_written(understudy: Run, photos: Path) -> None:
    Path("folder.toml").mkdir()
    Path("a_file").write_text("", encoding="utf-8")
    for given, sentence in (
        (("--out", "folder.toml"), "folder.toml is a folder, and a plan is a file; give another name with --out"),
        (("--against", "folder.toml"), "folder.toml is a folder; name a plan.toml"),
        (("--out", "a_file/plan.toml"), "a_file/plan.toml cannot be written"),
        (("--out", "/proc/nowhere/plan.toml"), "/proc/nowhere/plan.toml cannot be written"),
    ):
        output = understudy("plan", str(photos), "--budget", "20steps", *given)
        assert output.code == 2
        assert sentence in " ".join(output.err.split())
        assert "setting" not in output.out, "nothing was planned before"
