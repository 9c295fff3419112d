"""A plan as a file: saved, loaded, changed by hand, compared; and as part of a training run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

import understudy as us
from tests.planning.small import experiment, sided, with_known
from understudy.core.budget import Budget, Cost
from understudy.core.config import read_toml
from understudy.core.errors import ConfigError, Interrupted, UserError
from understudy.experiment.log import Silent
from understudy.planning.choice import Choice
from understudy.planning.plan import Plan
from understudy.planning.planner import Planner, merged

IMAGES = with_known(sided(300), 40)
TEST = sided(60, seed=1)
TIMED: dict[str, Any] = {"budget": "8cpu-s", "network": "cnn", "batch_size": 8, "size": 16}


@pytest.fixture(autouse=True)
def short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second be enough to plan in, for the sake of quick tests."""
    monkeypatch.setattr("understudy.planning.choice.MIN_S", 1.0)


@pytest.fixture(scope="module")
def planned() -> Plan:
    """A plan by measurement; nothing is left to ask for but the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Planner, "_speed", lambda *_: 2500.0)  # on a busy machine labels alone would be chosen
        return us.plan(IMAGES, test=TEST, budget="25cpu-s")


def test_plan__every_choice_has_a_reason(planned: Plan) -> None:
    keys = [choice.key for choice in planned.choices]
    assert len(keys) == len(set(keys))
    assert {"domain", "network", "optimizer.name", "optimizer.lr", "batch_size", "method.name"} <= set(keys)
    assert {"augmentation.hflip", "augmentation.magnitude", "method.mu"} <= set(keys)
    assert all(len(choice.reason) > 10 for choice in planned.choices)
    assert not any(choice.how == "asked" for choice in planned.choices)
    assert planned.sentences()[-1].startswith("Planned in ")


@pytest.mark.parametrize(
    ("chosen", "options", "sentence"),
    [
        ("supervised", {}, "Labels alone will be trained, because it rains."),
        ("fixmatch", {}, "fixmatch will be trained on 9 images, because it rains."),
        ("fixmatch", {"is_given": True}, "fixmatch will be trained on 9 images, as the plan says."),
        ("fixmatch", {"method": "supervised"}, "Labels alone will be trained, as you asked."),
        ("fixmatch", {"recipe": "self_training"}, "self_training with fixmatch will be trained on 9 images, because "
         "it rains."),
    ],
)  # fmt: skip
def test_decision__says_what_is_trained_and_why(
    chosen: str, options: dict[str, Any], sentence: str, planned: Plan
) -> None:
    ssl = dataclasses.replace(planned.ssl, method=Choice("method.name", chosen, "measured", "it rains"))
    found = dataclasses.replace(planned, ssl=ssl).decision("9 images", **{"method": chosen, **options})
    assert found == sentence


class Said(Silent):
    """A watcher that keeps every message."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def message(self, text: str) -> None:
        """Keep it."""
        self.sentences.append(text)


@pytest.mark.parametrize("verbose", [0, 1])
def test_train__says_the_decision_first_and_every_choice_only_if_asked(verbose: int) -> None:
    watch = Said()
    result = us.train(IMAGES, test=TEST, budget="4steps", network="cnn", watch=watch, verbose=verbose)
    assert result.plan is not None
    reasons = set(result.plan.sentences()[:-1])
    decision = watch.sentences[0]
    assert decision.startswith("softmatch will be trained on 40 labeled and 260 unlabeled images, because ")
    assert reasons & set(watch.sentences) == (reasons if verbose else set())
    assert reasons <= set(result.notes), "the log holds every choice in any case"


def test_plan__costs_at_most_a_fifth(planned: Plan) -> None:
    assert 0 < planned.cost.cpu_s <= 0.2 * 25
    assert planned.share == pytest.approx(planned.cost.cpu_s / 25)
    assert sum(part.cost.cpu_s for part in planned.parts.values()) <= planned.cost.cpu_s + 1e-6


def test_plan__saved_and_loaded_is_the_same(planned: Plan, tmp_path: Path) -> None:
    planned.save(tmp_path / "plan.toml")
    again = Plan.load(tmp_path / "plan.toml")
    assert again.choices == planned.choices
    assert again.to_json() == planned.to_json()
    assert planned.diff(again) == ()
    again.save(tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_bytes() == (tmp_path / "plan.toml").read_bytes()


def test_plan__diff_names_what_differs(planned: Plan) -> None:
    ssl = dataclasses.replace(planned.ssl, method=Choice("method.name", "vat", "asked", "you asked for it"), mu=None)
    other = dataclasses.replace(planned, ssl=ssl)
    lines = planned.diff(other)
    assert len(lines) == 2
    assert lines[0] == "method.name: softmatch -> vat (you asked for it)"
    assert lines[1] == "method.mu: 3 -> not chosen"


def test_plan__options_are_those_of_a_job(planned: Plan) -> None:
    options = planned.options()
    assert options["method"]["name"] == planned.ssl.method.value
    assert options["optimizer"] == {"name": planned.optimization.optimizer.value, "lr": 0.06}
    assert options["augmentation"]["hflip"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop("ssl"), "is not a plan; name a plan.toml"),
        (lambda table: table.update(format=99), "written by a newer version"),
        (lambda table: table.update(format="x"), "is not a plan"),
        (lambda table: table["ssl"].update(metod={"key": "a", "value": 1}), "has no choice 'metod'; did you mean"),
        (lambda table: table["ssl"].pop("method"), "lacks method"),
        (lambda table: table["ssl"]["method"].pop("value"), "ssl.method is not a choice; it needs a key and a value"),
        (lambda table: table["ssl"]["method"].update(how="guess"), "ssl.method.how is 'guess'"),
        (lambda table: table.update(cost={"hours": 1}), "is damaged"),
        (lambda table: table.update(data=3), "data is not a table"),
    ],
)
def test_load__a_file_that_is_no_plan(planned: Plan, tmp_path: Path, change: Any, message: str) -> None:
    table = planned.to_json()
    change(table)
    (tmp_path / "plan.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        Plan.load(tmp_path / "plan.toml")


def test_load__no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Plan.load(tmp_path / "plan.toml")


OTHERS: dict[str, Any] = {
    "domain": "aerial",
    "network": "resnet_small",
    "optimizer.name": "sgd",
    "optimizer.lr": 0.011,
    "batch_size": 9,
    "augmentation.hflip": True,
    "augmentation.rotations": True,
    "augmentation.magnitude": 0.25,
    "augmentation.operations": ["identity", "rotate"],
    "method.name": "fixmatch",
    "method.mu": 2,
    "method.criterion.logit_adjustment": 0.5,
    "recipe.name": "self_training",
    "size": 16,
}


@pytest.mark.parametrize("key", OTHERS)
def test_planner__any_one_choice_can_be_overridden(key: str) -> None:
    """What is asked for is kept and said to be asked for, the job gets it, and the rest is planned all the same."""
    options: dict[str, Any] = {"budget": "30steps"}
    *outer, last = key.split(".")
    inner = options
    for name in outer:
        inner = inner.setdefault(name, {})
    inner[last] = OTHERS[key]
    if key.startswith("method.") and key != "method.name":
        options["method"]["name"] = "softmatch"
    if key == "optimizer.lr":
        options["optimizer"]["name"] = "muon"
    asked = experiment(IMAGES, TEST, **options)
    done, plan = Planner(options).planned(asked)
    found = next((choice for choice in plan.choices if choice.key == key), None)
    if key not in ("size", "method.mu"):  # a size is asked of files, and mu is part of a method that was named
        assert found is not None
        assert found.how == "asked"
    job: Any = done.job
    for name in outer:
        job = getattr(job, name)
    expected = tuple(OTHERS[key]) if isinstance(OTHERS[key], list) else OTHERS[key]
    if key != "size":
        assert getattr(job, last) == expected
    assert len([choice for choice in plan.choices if choice.how != "asked"]) >= 4


def test_planner__a_method_given_as_an_object_stays_that_object() -> None:
    from understudy.methods.fixmatch import FixMatch

    method = FixMatch(threshold=0.7, mu=1)
    options: dict[str, Any] = {"budget": "30steps", "method": method}
    done, plan = Planner(options).planned(experiment(IMAGES, TEST, **options))
    assert done.job.method == method
    assert plan.ssl.method.value == "fixmatch"


def test_planner__knobs_without_a_name_are_those_of_the_default_method() -> None:
    plan = us.plan(IMAGES, test=TEST, budget="30steps", method={"mu": 2})
    assert (plan.ssl.method.value, plan.ssl.method.how) == ("softmatch", "asked")
    open_still = us.plan(IMAGES, test=TEST, budget="30steps", method={"ema_decay": 0.9})
    assert open_still.ssl.method.how == "rule"


def test_planner__budgets_of_steps_follow_rules_alone() -> None:
    one, two = (us.plan(IMAGES, test=TEST, budget="30steps") for _ in range(2))
    assert one.choices == two.choices
    assert one.note == "runs with a budget of steps must be reproducible"
    assert one.summary == "Nothing was timed or tried, since runs with a budget of steps must be reproducible."


def test_planner__a_budget_too_short_to_plan_in_says_so() -> None:
    plan = us.plan(IMAGES, test=TEST, budget="3s")
    assert plan.note == "a budget of 3.0 s is too short to plan in"
    assert plan.ssl.method.value == "softmatch"


def test_planner__no_trial_where_every_label_tests_a_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.planning.trials.MIN_HELD_OUT", 2)
    result = us.train(with_known(sided(120), 60), folds=2, quiet=True, **TIMED)
    assert result.plan is not None
    assert any("every label tests a model in some fold or seed" in sentence for sentence in result.plan.sentences())


def trials_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a handful of images test trials of a few steps."""
    monkeypatch.setattr("understudy.planning.trials.MIN_HELD_OUT", 5)
    monkeypatch.setattr("understudy.planning.planner.MIN_STEPS", 1)
    monkeypatch.setattr("understudy.planning.planner._FIRST_TRAINING_S", 0.0)
    # As fast on any machine: on a busy one a run would see each label too seldom for methods to be tried.
    monkeypatch.setattr(Planner, "_speed", lambda *_: 2500.0)


def test_planner__trials_are_tested_on_training_images_they_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    from understudy.planning import planner as module

    trials_soon(monkeypatch)

    class Seen(BaseException):
        """What trials would have been made of."""

    def look(**given: Any) -> None:
        raise Seen(given)

    monkeypatch.setattr(module, "Trials", look)
    asked = experiment(IMAGES, TEST, **TIMED)
    with pytest.raises(Seen) as raised:
        Planner(TIMED).plan(asked)
    (given,) = raised.value.args
    from understudy.data.split import split

    splits = split(asked.collection, 0)
    held_out, data = set(given["held_out"].tolist()), given["data"]
    assert held_out <= set(splits.labeled.tolist())
    assert not held_out & set(data.labeled.tolist())
    assert not held_out & set(data.unlabeled.tolist())
    assert not len(data.validation)
    assert len(held_out) + len(data.labeled) == len(splits.labeled)
    assert given["labels"].tolist() == asked.collection.labels[given["held_out"]].tolist()
    assert data.targets.tolist() == asked.collection.labels[data.labeled].tolist()


def test_train__with_trials_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trials_soon(monkeypatch)
    begun = Cost.now()
    result = us.train(IMAGES, test=TEST, folder=tmp_path / "r", **TIMED)
    assert result.plan is not None
    tried = result.plan.ssl.figures.get("trials", [])
    assert {"supervised", "softmatch", "freematch", "gentle"} <= {trial["name"] for trial in tried}
    assert result.plan.share <= 0.3, "a fifth, and what short budgets add by their last steps"
    assert result.plan.ssl.method.how == "tried"
    runs = sum(trained.cost.cpu_s for trained in result.runs.values())
    assert runs == pytest.approx(8 - result.plan.cost.cpu_s, rel=0.1)
    assert (Cost.now() - begun).cpu_s < 20
    saved = json.loads((tmp_path / "r" / "result.json").read_text(encoding="utf-8"))
    assert saved["plan"]["ssl"]["method"]["value"] == result.plan.ssl.method.value


def test_train__a_plan_interrupted_in_a_trial_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trials_soon(monkeypatch)

    class Killed(BaseException):
        pass

    class Killer(Silent):
        def step(self, report: Any) -> None:
            if report.run == "trial softmatch":  # at its first step, since a slow machine may allow it no third
                raise Killed

    with pytest.raises(Killed):
        us.train(IMAGES, test=TEST, folder=tmp_path / "r", watch=Killer(), **TIMED)
    assert not (tmp_path / "r" / "plan.toml").exists()
    finished = sorted((tmp_path / "r" / "plan").glob("supervised-*/finished.json"))  # how many depends on the machine
    written = [path.stat().st_mtime_ns for path in finished]
    assert finished
    result = us.train(IMAGES, test=TEST, folder=tmp_path / "r", **TIMED)
    assert result.plan is not None
    assert result.plan.choices == Plan.load(tmp_path / "r" / "plan.toml").choices
    assert [path.stat().st_mtime_ns for path in finished] == written
    assert sorted((tmp_path / "r" / "plan").glob("supervised-*/finished.json")) == finished, "no trial was repeated"


def test_train__resumed_it_keeps_the_plan_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TIMED | {"budget": "30steps"}

    class Stopper(Silent):
        def step(self, report: Any) -> None:
            if report.run == "softmatch" and report.step.index == 3:
                raise Interrupted("stop")

    with pytest.raises(Interrupted):
        us.train(IMAGES, test=TEST, folder=tmp_path / "r", watch=Stopper(), **options)
    monkeypatch.setattr(Planner, "plan", lambda *_, **__: pytest.fail("planned twice"))
    assert us.train(IMAGES, test=TEST, folder=tmp_path / "r", **options).verdict is not None


def test_train__a_plan_changed_by_hand_is_used(planned: Plan, tmp_path: Path) -> None:
    table = planned.to_json()
    table["ssl"]["method"]["value"] = "fixmatch"
    table["architecture"]["network"]["value"] = "cnn"
    table["ssl"].pop("mu")
    (tmp_path / "plan.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    result = us.train(IMAGES, test=TEST, budget="12steps", plan=tmp_path / "plan.toml", folder=tmp_path / "r")
    assert set(result.runs) == {"supervised", "fixmatch"}
    assert result.training["network"] == "cnn"
    assert read_toml(tmp_path / "r" / "plan.toml")["ssl"]["method"]["value"] == "fixmatch"
    assert result.plan is not None
    assert (result.plan.ssl.method.how, result.plan.ssl.method.reason) == ("asked", "you changed it in the plan")
    assert result.plan.data.domain == planned.data.domain
    first, chosen = (note for note in result.notes if "plan" in note)
    assert first == "A plan that was made before, for a budget of 25cpu-s, is used as it is."
    assert "fixmatch will be trained on 40 labeled and 260 unlabeled images, as you asked." in result.notes
    assert chosen.startswith("The plan sets: ")
    assert "method.name fixmatch" in chosen
    overruled = us.train(IMAGES, test=TEST, budget="12steps", plan=tmp_path / "plan.toml", method="pseudo_label")
    assert set(overruled.runs) == {"supervised", "pseudo_label"}
    assert "pseudo_label will be trained on 40 labeled and 260 unlabeled images, as you asked." in overruled.notes


def test_planner__a_run_keeps_the_plan_it_began_with_whatever_its_file_says_now(planned: Plan, tmp_path: Path) -> None:
    ssl = dataclasses.replace(planned.ssl, method=Choice("method.name", "vat", "asked", "you asked for it"))
    planned.save(tmp_path / "plan.toml")
    found = Planner({}, folder=tmp_path, given=dataclasses.replace(planned, ssl=ssl)).plan_to_use
    assert found is not None
    assert found.ssl.method == planned.ssl.method


def test_train__a_plan_with_a_value_that_is_not_allowed(planned: Plan, tmp_path: Path) -> None:
    table = planned.to_json()
    table["ssl"]["method"]["value"] = "fixmach"
    (tmp_path / "plan.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    with pytest.raises(UserError, match="'fixmach'; did you mean 'fixmatch'"):
        us.train(IMAGES, test=TEST, budget="12steps", plan=tmp_path / "plan.toml")


def test_train__without_a_plan_takes_the_defaults() -> None:
    result = us.train(IMAGES, test=TEST, budget="12steps", plan=False)
    assert result.plan is None
    assert result.to_json()["plan"] is None
    assert set(result.runs) == {"supervised", "softmatch"}


@pytest.mark.parametrize("given", [3, None, ["plan.toml"]])
def test_train__something_that_is_no_plan(given: Any) -> None:
    with pytest.raises(UserError, match="give True, False, a plan or the file of one"):
        us.train(IMAGES, test=TEST, budget="12steps", plan=given)


def test_load__a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a regular file; give a \.toml file"):
        Plan.load(str(tmp_path))


def test_save__takes_a_name(planned: Plan, tmp_path: Path) -> None:
    planned.save(str(tmp_path / "new" / "plan.toml"))
    assert Plan.load(str(tmp_path / "new" / "plan.toml")).choices == planned.choices


def test_trials__the_same_settings_on_other_views_are_another_trial() -> None:
    from tests.planning.small import training
    from understudy.engine.stage import Settings
    from understudy.methods.supervised import Supervised
    from understudy.models import build
    from understudy.planning.trials import Trials

    data = training(with_known(sided(100), 60))
    network = build("cnn", shape=(3, 16, 16), num_classes=2)
    settings = Settings(method=Supervised(), batch_size=8)
    trials = Trials(data, data.labeled[:10], np.zeros(10, np.int64), network, "cnn", settings, Budget(steps=2))
    first = trials.run("supervised")
    assert trials.run("supervised") is first
    trials.data = dataclasses.replace(data, domain=dataclasses.replace(data.domain, magnitude=0.5))
    assert trials.run("supervised") is not first
    assert len(trials.to_json()) == 2


def test_train__random_labels_prove_nothing() -> None:
    """Whatever the plan sets, no gain is claimed."""
    pixels, _ = sided(400)
    labels = np.random.default_rng(5).integers(0, 2, 400)
    known = np.where(np.arange(400) < 60, labels, -1)
    result = us.train((pixels, known), test=(sided(200, seed=1)[0], labels[:200]), **TIMED)
    assert result.plan is not None
    assert not any(
        word in sentence for sentence in result.plan.sentences() for word in ("helped", "will gain", "enough for")
    )
    assert result.verdict is None or result.verdict.outcome != "helped"


def test_merged__the_second_wins_at_every_depth() -> None:
    below = {"a": {"x": 1, "y": 2}, "b": 3}
    assert merged(below, {"a": {"y": 5}, "c": 6}) == {"a": {"x": 1, "y": 5}, "b": 3, "c": 6}
    assert below == {"a": {"x": 1, "y": 2}, "b": 3}


def test_allowance__counts_what_was_spent_before() -> None:
    from understudy.planning.choice import PlanningBudget

    allowance = PlanningBudget(Budget(wall_s=100))
    assert allowance.left_s == pytest.approx(20, abs=0.5)
    allowance.pay(Cost(wall_s=15))
    assert allowance.left_s == pytest.approx(5, abs=0.5)
    assert PlanningBudget(Budget(steps=10)).left_s == 0
