"""Pretraining: what each part is given, what is probed and kept, what is refused, and what a killed run repeats."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import understudy
from tests.contract.tiny import different, network
from tests.recipes.pretrain_victim import SMALL, THEN_ROUNDS, small_stage, train
from tests.recipes.rounds_victim import with_pool_predictions
from understudy.core.budget import Budget
from understudy.core.config import from_table, lines
from understudy.core.errors import ConfigError, RunFolderError, UserError
from understudy.core.files import read_json, unsealed
from understudy.engine.finalize import Trained
from understudy.engine.observers import StepReport
from understudy.engine.optim import SGD
from understudy.engine.stage import Stage
from understudy.experiment.log import Silent
from understudy.methods.fixmatch import FixMatch
from understudy.methods.rotation import Rotation
from understudy.methods.supervised import Supervised
from understudy.models import build
from understudy.recipes import base, plain
from understudy.recipes.base import Recipe
from understudy.recipes.pretrain import Pretrain

ROOT = Path(__file__).parents[2]
LAST = len(list(network().children())) - 1


def parts_of(recipe: Pretrain, training: Stage) -> tuple[Trained, tuple[Stage, Trained], tuple[Stage, Trained]]:
    """What the recipe gives, and the stage and outcome of both parts."""
    seen: list[tuple[Stage, Trained]] = []
    actual = base.fit  # the same function as plain.fit

    def remembered(stage: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append((stage, actual(stage, *arguments, **options)))
        return seen[-1][1]

    with mock.patch.object(base, "fit", remembered), mock.patch.object(plain, "fit", remembered):
        trained = train(recipe, training)
    one, other = seen
    return trained, one, other


def patterns() -> tuple[np.ndarray, np.ndarray]:
    """Sixty images of three noisy patterns, forty of them labeled."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    images = (rng.integers(0, 256, (3, 8, 8))[truth] + rng.normal(0, 40, (60, 8, 8))).clip(0, 255).astype(np.uint8)
    return images, np.where(np.arange(60) < 40, truth, -1)


def head(model: Any) -> dict[str, torch.Tensor]:
    return dict(model[-1].state_dict())


def body(model: Any) -> dict[str, torch.Tensor]:
    return dict(model[:-1].state_dict())


# What the two parts are given.


def test_pretrain__method_starts_from_the_features() -> None:
    training = small_stage()
    trained, (pretext, features), (method, _) = parts_of(replace(SMALL, pretext_share=0.3), training)
    assert (pretext.settings.method, method.settings.method) == (SMALL.pretext, training.settings.method)
    assert (pretext.budget, method.budget) == (Budget(steps=12), Budget(steps=28))
    assert not different(dict(pretext.network.state_dict()), dict(training.network.state_dict()))
    assert not different(body(method.network), body(features.model))
    assert different(body(method.network), body(training.network))
    assert trained.steps == 40
    assert trained.cost.cpu_s >= features.cost.cpu_s


def test_pretrain__head_is_drawn_anew_or_as_given() -> None:
    training = small_stage()
    _, _, (anew, _) = parts_of(SMALL, training)
    _, _, (again, _) = parts_of(SMALL, training)
    _, _, (given, _) = parts_of(replace(SMALL, refresh_head=False), training)
    assert different(head(anew.network), head(training.network)) == ["bias", "weight"]
    assert not different(head(anew.network), head(again.network))
    assert not different(head(given.network), head(training.network))


def test_pretrain__freezing_and_rates_are_about_the_method() -> None:
    training = small_stage(freeze="1", optimizer=SGD(lr=0.01, layer_decay=0.7))
    _, (pretext, _), (method, _) = parts_of(SMALL, training)
    assert (pretext.settings.freeze, pretext.settings.optimizer) == ("", SGD(lr=0.01))
    assert (method.settings.freeze, method.settings.optimizer) == ("1", SGD(lr=0.01, layer_decay=0.7))
    recipe = replace(SMALL, freeze="backbone", layer_decay=0.5)
    trained, (pretext, features), (method, _) = parts_of(recipe, training)
    assert (pretext.settings.freeze, pretext.settings.optimizer) == ("", SGD(lr=0.01))
    assert (method.settings.freeze, method.settings.optimizer) == ("backbone", SGD(lr=0.01, layer_decay=0.5))
    assert different(body(features.model), body(training.network))
    assert not different(body(trained.model), body(features.model))
    assert different(head(trained.model), head(method.network))


# Probes.


def test_pretrain__curve_of_the_probes(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    with mock.patch("understudy.engine.monitor.knn_accuracy", mock.Mock(side_effect=[0.5, 0.75, 0.7, 0.6])):
        trained = train(SMALL, small_stage(), tmp_path / "run", [reports.append])
    assert [line["knn_accuracy"] for line in trained.rounds] == [0.5, 0.75, 0.7, 0.6]
    assert [line["step"] for line in trained.rounds] == [5, 10, 15, 20]
    assert [line["kept"] for line in trained.rounds] == [False, True, False, False]
    assert all(0 <= line["linear_accuracy"] <= 1 for line in trained.rounds)
    assert json.loads((tmp_path / "run" / "probes.json").read_text()) == list(trained.rounds)
    (shown,) = [report.round for report in reports if report.round is not None]
    linear = 100 * trained.rounds[1]["linear_accuracy"]
    assert shown.record["note"] == (
        f"simclr; the features of step 10 of 20 are kept: kNN 75.0 %, linear {linear:.1f} %; fixmatch starts from them"
    )


def test_pretrain__best_probed_weights_are_kept() -> None:
    with mock.patch("understudy.engine.monitor.knn_accuracy", mock.Mock(side_effect=[0.9, 0.1, 0.1, 0.1])):
        _, (_, early), (method, _) = parts_of(SMALL, small_stage())
    with mock.patch("understudy.engine.monitor.knn_accuracy", mock.Mock(side_effect=[0.1, 0.1, 0.1, 0.9])):
        _, (_, late), _ = parts_of(SMALL, small_stage())
    assert (early.best_step, late.best_step) == (5, 20)
    assert different(body(early.model), body(late.model))
    assert not different(body(method.network), body(early.model))


def test_pretrain__too_few_labels_to_probe() -> None:
    reports: list[StepReport] = []
    trained = train(SMALL, small_stage(labeled=3), observe=[reports.append])
    assert trained.rounds == ()
    (shown,) = [report.round for report in reports if report.round is not None]
    assert "too few labels to probe the features, so the last ones are kept" in shown.record["note"]


def test_pretrain__backbone_serves_as_weights_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    training = replace(small_stage(), network=build("cnn", shape=(1, 8, 8), num_classes=3), network_name="cnn")
    train(SMALL, training, tmp_path / "run")
    file = tmp_path / "run" / "pretext" / "model.safetensors"
    loaded = build("cnn", shape=(1, 8, 8), num_classes=7, weights_file=str(file))
    for name, value in load_file(file).items():
        if not name.startswith("head"):
            assert torch.equal(value, loaded.state_dict()[name])
    with pytest.raises(UserError, match=r"model.safetensors does not fit \w+: .* give weights saved from the same"):
        build("mlp", shape=(64,), num_classes=3, weights_file=str(file))


# Another recipe downstream.


def test_pretrain__noisy_student_downstream_starts_from_the_features() -> None:
    seen: list[tuple[Stage, Trained]] = []
    actual = base.fit

    def remembered(stage: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append((stage, actual(stage, *arguments, **options)))
        return seen[-1][1]

    training = small_stage(steps=60)
    with mock.patch.object(base, "fit", remembered):
        trained = train(THEN_ROUNDS, training)
    stages = {stage.name: stage for stage, _ in seen}
    assert list(stages) == ["pretext", "teacher", "round 1"]
    features = body(seen[0][1].model)
    assert not different(body(stages["teacher"].network), features)
    assert not different(dict(stages["round 1"].network.state_dict()), dict(stages["teacher"].network.state_dict()))
    assert different(features, body(training.network))
    assert stages["pretext"].budget == Budget(steps=30)
    assert stages["teacher"].budget == Budget(steps=12)
    assert stages["round 1"].budget == Budget(steps=18)
    assert trained.steps == 60
    names = [line.get("name", "probe") for line in trained.rounds]
    assert names == ["probe"] * names.count("probe") + ["teacher", "round 1"]
    assert all(line["learned_from_pool"] for line in trained.rounds if "returned" in line)


@pytest.mark.drawn
def test_pretrain__baseline_of_a_recipe_downstream_has_its_cost_and_no_pretraining(tmp_path: Path) -> None:
    messages: list[str] = []
    watch = Silent()
    watch.message = messages.append  # type: ignore[method-assign]
    with with_pool_predictions([0.9, 0.05, 0.05], varied=True):
        result = understudy.train(
            patterns(),
            folder=tmp_path / "run",
            network="cnn",
            budget="30steps",
            batch_size=6,
            recipe={
                "name": "pretrain",
                "pretext": "rotation",
                "downstream": {"name": "self_training", "num_rounds": 1, "threshold": 0.3, "gate": 1.0},
            },
            device="cpu",
            watch=watch,
        )
    shares = "pretrain (50 % of it rotation, the rest self_training (20 % of it the first teacher, the rest 1 round)"
    assert any(f"then {shares} from these features) for as many steps" in message for message in messages)
    assert result.runs["supervised"].steps == result.runs["pretrain"].steps == 30
    assert result.runs["supervised"].rounds == ()
    assert {path.name for path in (tmp_path / "run" / "pretrain").iterdir() if path.is_dir()} == {
        "pretext",
        "self_training",
    }
    for picture in ("probes.png", "rounds.png"):
        assert (tmp_path / "run" / picture).stat().st_size > 5000
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "pretrain and then self_training" in page


def test_pretrain__killed_with_rounds_downstream_goes_on_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    place = folder / "self_training" / "round-1"
    command = [sys.executable, "-m", "tests.recipes.pretrain_victim", str(folder), "round 1", "rounds"]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (place / "ledger.jsonl").exists():
        assert time.monotonic() < deadline, "the other process did nothing"
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(240) != 0
    assert not (place / "finished.json").exists()
    resumed = train(THEN_ROUNDS, small_stage(steps=60), folder)
    whole = train(THEN_ROUNDS, small_stage(steps=60))
    assert not different(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
    assert resumed.steps == whole.steps == 60
    assert [line.get("coverage") for line in resumed.rounds] == [line.get("coverage") for line in whole.rounds]


def test_pretrain__cannot_follow_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        train(replace(SMALL, downstream=Pretrain()), small_stage())
    assert str(caught.value) == "recipe.downstream is 'pretrain'; pretrain once, and name another recipe or none"


# What is refused.


def test_pretrain__other_methods_learn_classes() -> None:
    with pytest.raises(ConfigError) as caught:
        from_table(Recipe, {"name": "pretrain", "pretext": {"name": "fixmatch"}}, where="recipe")
    assert str(caught.value).startswith("recipe.pretext.name is 'fixmatch'; ")
    assert str(caught.value).endswith("allowed: barlow_twins, masked_image, rotation, simclr")
    with pytest.raises(ConfigError, match="it must be a table of Pretext settings"):
        Pretrain(pretext=FixMatch())  # type: ignore[arg-type]
    (line,) = [line for line in lines(Pretrain()) if line.key == "pretext.name"]
    assert line.allowed == "barlow_twins | masked_image | rotation | simclr"


def test_train__a_pretext_alone_is_no_method() -> None:
    with pytest.raises(ConfigError) as caught:
        understudy.train("digits", method="rotation", device="cpu")
    assert str(caught.value) == (
        "rotation learns features and no classes; let another method start from them: "
        "--recipe pretrain --set recipe.pretext.name=rotation"
    )


def test_pretrain__no_pool() -> None:
    training = small_stage()
    training = replace(training, settings=replace(training.settings, method=Supervised()))
    with pytest.raises(ConfigError) as caught:
        train(SMALL, replace(training, data=replace(training.data, unlabeled=training.data.unlabeled[:0])))
    assert str(caught.value) == (
        "recipe pretrain learns from unlabeled images and there are none; give some, or take the recipe plain"
    )


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("backbone,99", "Sequential has no layer '99'"),
        (f"backbone,{LAST}", f"freeze=backbone,{LAST} leaves nothing of Sequential to train; keep at least the head"),
    ],
)
def test_pretrain__freezing_is_checked_first(tmp_path: Path, freeze: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(replace(SMALL, freeze=freeze), small_stage(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pretrain__turning_what_is_no_image() -> None:
    vectors = replace(small_stage().data, rows=torch.rand(36, 5), size=0)
    training = replace(small_stage(), data=vectors, network=nn.Linear(5, 3))
    with pytest.raises(ConfigError) as caught:
        train(Pretrain(pretext=Rotation()), training)
    assert str(caught.value).startswith("method rotation needs images, and these rows of shape (5,) are none")


# Interruptions.


@pytest.mark.parametrize("part", ["pretext", "fixmatch"])
def test_pretrain__killed_in_a_part_goes_on_there(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "tests.recipes.pretrain_victim", str(folder), part], cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (folder / part / "ledger.jsonl").exists():
        assert time.monotonic() < deadline, "the other process did nothing"
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(240) != 0
    assert not (folder / part / "finished.json").exists()
    granted = (folder / "grants.json").read_text()
    trained_again: list[str] = []
    resumed = train(SMALL, small_stage(), folder, [lambda report: trained_again.append(report.run)])
    whole = train(SMALL, small_stage())
    assert not different(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
    assert resumed.rounds == whole.rounds
    assert unsealed(granted)[0].items() <= read_json(folder / "grants.json").items()
    assert (trained_again.count("pretext") == 1) == (part == "fixmatch")  # the line alone
    again = train(SMALL, small_stage(), folder)
    assert not different(dict(again.model.state_dict()), dict(resumed.model.state_dict()))
    assert (again.rounds, again.steps) == (whole.rounds, 40)


def test_pretrain__a_folder_of_other_knobs(tmp_path: Path) -> None:
    train(SMALL, small_stage(steps=4), tmp_path)
    with pytest.raises(RunFolderError, match="holds a run that differs in recipe"):
        train(replace(SMALL, pretext_share=0.4), small_stage(steps=4), tmp_path)


# The whole command.


@pytest.mark.drawn
def test_train__saves_the_picture_and_says_the_shares(tmp_path: Path) -> None:
    messages: list[str] = []
    watch = Silent()
    watch.message = messages.append  # type: ignore[method-assign]
    result = understudy.train(
        patterns(),
        folder=tmp_path / "run",
        network="cnn",
        budget="12steps",
        batch_size=6,
        recipe={"name": "pretrain", "pretext": {"name": "rotation"}, "pretext_share": 0.25},
        device="cpu",
        watch=watch,
    )
    assert any("then pretrain (25 % of it rotation, the rest softmatch from these features)" in m for m in messages)
    assert (tmp_path / "run" / "probes.png").stat().st_size > 5000
    saved = json.loads((tmp_path / "run" / "result.json").read_text())["runs"]["pretrain"]["rounds"]
    assert saved == [dict(line) for line in result.runs["pretrain"].rounds]
    assert sum(line["kept"] for line in saved) == 1
