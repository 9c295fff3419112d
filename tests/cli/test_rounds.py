"""Self-training from the command line: a line per round, the table and the picture at the end, and the same in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run
from understudy.cli.request import options_table
from understudy.core.config import from_table
from understudy.core.errors import ConfigError
from understudy.recipes.base import Recipe
from understudy.recipes.noisy_student import NoisyStudent
from understudy.recipes.pretrain import Pretrain
from understudy.recipes.self_training import SelfTraining

QUICK = ("--network", "cnn", "--budget", "90steps", "--set", "recipe.gate=1", "--set", "recipe.threshold=0.11")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.drawn
def test_train__rounds(understudy: Run) -> None:
    output = understudy("train", "digits", "--num-labels", "40", "--recipe", "self_training", *QUICK, "--out", "r")
    assert output.code == 0, output.err
    lines = output.out.splitlines()
    assert "TEACHER done" in lines
    done = [line for line in lines if line.startswith("ROUND ")]
    assert [line.split(":")[0] for line in done] == ["ROUND 1 done", "ROUND 2 done"]
    assert " images labeled (" in done[0]
    assert " % of labels changed" in done[1]
    (head,) = (number for number, line in enumerate(lines) if line.startswith("round of self_training"))
    assert lines[head].split() == ["round", "of", "self_training", "steps", "labeled", "labels", "correct", "changed"]
    assert [line.split("  ")[0] for line in lines[head + 2 : head + 5]] == ["teacher", "round 1", "round 2 (returned)"]
    assert any("rounds.png" in line for line in lines)
    with Image.open("r/rounds.png") as picture:
        assert min(picture.size) >= 400
        assert len(picture.convert("RGB").getcolors(2**24) or ()) > 50
    rounds = json.loads(Path("r/result.json").read_text())["runs"]["self_training"]["rounds"]
    assert [line["name"] for line in rounds] == ["teacher", "round 1", "round 2"]
    assert rounds[0]["pseudo_label_accuracy"] is None
    assert all(0 < line["pseudo_label_accuracy"] <= 1 for line in rounds[1:])


def test_options_table__downstream_of_pretraining() -> None:
    given = {"recipe": "pretrain", "downstream": "noisy_student"}
    table = options_table(None, given, ["recipe.downstream.num_rounds=3"])
    assert from_table(Recipe, table["recipe"]) == Pretrain(downstream=NoisyStudent(num_rounds=3))
    table = options_table(None, {"recipe": "pretrain"}, ["recipe.downstream=self_training", "recipe.downstream.gate=1"])
    assert from_table(Recipe, table["recipe"]) == Pretrain(downstream=SelfTraining(gate=1))
    by_name = from_table(Recipe, {"name": "pretrain", "downstream": "self_training", "pretext": "rotation"})
    assert by_name == from_table(Recipe, options_table(None, {"recipe": "pretrain"}, [
        "recipe.downstream=self_training", "recipe.pretext=rotation",
    ])["recipe"])  # fmt: skip


def test_options_table__downstream_without_pretraining() -> None:
    for given in ({}, {"recipe": "self_training"}):
        with pytest.raises(ConfigError) as caught:
            options_table(None, {"downstream": "noisy_student", **given}, [])
        recipe = given.get("recipe", "plain")
        assert str(caught.value) == (
            f"--downstream noisy_student names the recipe after pretraining, and the recipe is {recipe}; "
            "add --recipe pretrain"
        )


def test_train__another_network_is_delivered_by_its_name(understudy: Run) -> None:
    knobs = (*QUICK, "--budget", "30steps", "--set", "recipe.student_network=resnet_small")
    knobs = (*knobs, "--set", "recipe.num_rounds=1")
    output = understudy("train", "digits", "--num-labels", "40", "--recipe", "noisy_student", *knobs, "--out", "r")
    assert output.code == 0, output.err
    assert "Round 1: the student has " in output.out
    verdict = json.loads(Path("r/result.json").read_text())["verdict"]
    expected = "resnet_small" if verdict["delivered"] == "method" else "cnn"
    assert json.loads(Path("r/model.json").read_text())["network"] == expected
    assert understudy("evaluate", "r", "digits").code == 0


def test_train__a_teacher_that_may_not_teach(understudy: Run) -> None:
    output = understudy(
        "train", "digits", "--num-labels", "40", "--recipe", "self_training", "--network", "cnn", "--budget", "10steps",
        "--out", "r",
    )  # fmt: skip
    assert output.code == 0, output.err
    words = " ".join(output.out.split())
    why = "which is not significant (p = "
    assert f"TEACHER done: {(reason := _between(words, 'TEACHER done: ', why))}{why}" in words
    assert f"teacher (returned) 2 Teacher: {reason}{why}" in words
    assert words.count(why) == 2
    assert "unlabeled images hurt" not in words
    assert words.count("self_training learned from the labels only") == 1
    assert json.loads(Path("r/result.json").read_text())["verdict"]["outcome"] in ("not proven", "worse", "better")


@pytest.mark.parametrize(
    ("recipe", "assignment", "sentence"),
    [
        ("noisy_student", "recipe.student_network=cmn", "there is no network 'cmn'"),
        ("ensemble", "recipe.student=cmn", "there is no network 'cmn'"),
        ("pretrain", "recipe.freeze=backbone,head", "leaves nothing of CNN to train"),
        ("pretrain", "recipe.freeze=layer9", "CNN has no layer 'layer9'"),
    ],
)
def test_train__a_recipe_is_checked_before_anything_is_trained(
    understudy: Run, recipe: str, assignment: str, sentence: str
) -> None:
    output = understudy(
        "train", "digits", "--num-labels", "40", "--network", "cnn", "--budget", "40steps", "--recipe", recipe,
        "--set", assignment, "--out", "r",
    )  # fmt: skip
    assert sentence in output.error()
    assert "--resume" not in output.err
    assert "loss" not in output.out
    assert not Path("r").exists()


def test_train__parts_of_transfer(understudy: Run) -> None:
    output = understudy(
        "train", "digits", "--num-labels", "40", "--recipe", "transfer", "--budget", "60steps", "--out", "r"
    )
    assert output.code == 0, output.err
    words = " ".join(output.out.split())
    assert "part of transfer steps" in words
    assert "linear (returned) 0" in words
    assert words.count("the backbone has learned nothing yet") == 2  # when it is done, and in the end
    assert "transfer learned from the labels only" in words


def _between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]
