"""A job's options: what is refused before images are read, and what is chosen where nothing is said."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.data.test_split import collection
from understudy.core.budget import Budget
from understudy.core.config import from_table, to_table
from understudy.core.errors import ConfigError
from understudy.experiment.job import Job, make_job, normalize_options, resolve
from understudy.methods.base import METHODS

LONG_TAILED: dict[str, Any] = {
    "num_labels": 40,
    "imbalance": 20.0,
    "num_unlabeled": 100,
    "unlabeled_imbalance": 5.0,
    "unlabeled_order": "reversed",
}


def test_job__long_tail_survives_toml() -> None:
    job = from_table(Job, LONG_TAILED)
    again = from_table(Job, tomllib.loads(tomli_w.dumps(to_table(job))))
    assert again == job
    assert {"num_labels": again.num_labels, **again.simulation()} == LONG_TAILED


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"imbalance": 5.0}, "choose which labels to hide, and all are kept; say with num_labels how many"),
        ({"num_unlabeled": 5}, "say with num_labels"),
        ({"unlabeled_imbalance": 5.0}, "say with num_labels"),
        ({"num_labels": 9, "imbalance": 0.5}, "imbalance is 0.5; give the largest class as a multiple of the smallest"),
        ({"num_labels": 9, "imbalance": -1.0}, "imbalance is -1.0; it must be at least 0"),
        ({"num_labels": 9, "num_unlabeled": -1}, "num_unlabeled is -1; it must be at least 0"),
        ({"num_labels": 9, "unlabeled_order": "reversed"}, "set unlabeled_imbalance too"),
        ({"num_labels": 9, "unlabeled_order": "revers"}, "did you mean 'reversed'?"),
        ({"imbalence": 5.0}, "unknown setting imbalence: did you mean 'imbalance'?"),
    ],
)
def test_job__refuses_simulations_that_cannot_be(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_table(Job, table)
    assert message in str(caught.value)


@pytest.mark.parametrize(("num_labels", "batch_size"), [(0, Job().batch_size), (40, 32), (1_500, Job().batch_size)])
def test_make_job__steps_are_small_where_few_labels_are_kept(num_labels: int, batch_size: int) -> None:
    data = collection([0, 1] * 1_000)
    assert make_job({"device": "cpu", "num_labels": num_labels}, data, None).batch_size == batch_size


@pytest.mark.parametrize(
    ("table", "mu"),
    [
        ({"name": "fixmatch"}, 3),
        ({"name": "fixmatch", "mu": 7}, 7),
        ({"name": "mixmatch"}, 1),
        ({"name": "sgan"}, 1),
        ({"name": "abc"}, 3),
        ({"name": "abc", "base": {"threshold": 0.9}}, 3),
        ({"name": "abc", "base": {"name": "softmatch"}}, 3),
        ({"name": "abc", "base": {"name": "softmatch", "mu": 5}}, 5),
        ({"name": "abc", "base": METHODS.get("fixmatch")()}, 7),
    ],
)
def test_make_job__steps_have_fewer_unlabeled_rows_on_a_processor(table: dict[str, Any], mu: int) -> None:
    method = make_job({"device": "cpu", "method": table}, collection([0, 1] * 20), None).method
    assert method.unlabeled_batch_size(1) == mu
    if "base" in table and isinstance(table["base"], dict):
        assert all(getattr(method.base, key) == value for key, value in table["base"].items())


def test_make_job__a_base_that_is_no_table() -> None:
    with pytest.raises(ConfigError, match="base is 5; give a name, one of abc, "):
        make_job({"device": "cpu", "method": {"name": "abc", "base": 5}}, collection([0, 1] * 20), None)


@pytest.mark.parametrize(("epochs", "budget"), [(10, "10epochs"), (2.5, "2.5epochs"), (np.int64(100), "100epochs")])
def test_normalize_options__epochs_are_a_budget(epochs: object, budget: str) -> None:
    assert normalize_options({"epochs": epochs})["budget"] == Budget.parse(budget)


@pytest.mark.parametrize("epochs", ["10", True, [10], object()])
def test_normalize_options__epochs_of_another_kind(epochs: object) -> None:
    with pytest.raises(ConfigError, match=r"epochs is .*; give a number of passes over the training images, above 0"):
        normalize_options({"epochs": epochs})


def test_resolve__assignments_over_options_over_file_over_preset() -> None:
    file = {"preset": "noisy-student", "budget": "7m", "recipe": {"num_rounds": 5, "dropout": 0.1}}
    table = resolve({"budget": "3m"}, config=file, assignments=["recipe.dropout=0.2"])
    assert table["budget"] == Budget(wall_s=180)
    assert table["recipe"]["name"] == "noisy_student"
    assert (table["recipe"]["num_rounds"], table["recipe"]["dropout"]) == (5, 0.2)


@pytest.mark.parametrize(
    ("options", "assignments", "method"),
    [
        ({"method": "FixMatch"}, (), {"name": "fixmatch", "threshold": 0.9}),
        ({"method": "softmatch"}, (), {"name": "softmatch"}),
        ({}, ["method=softmatch", "method.mu=2"], {"name": "softmatch", "mu": 2}),
        ({}, ["method.mu=2"], {"name": "fixmatch", "threshold": 0.9, "mu": 2}),
        ({"method": METHODS.get("softmatch")}, (), {"name": "softmatch"}),
    ],
)
def test_resolve__settings_stay_with_their_method(
    options: dict[str, Any], assignments: list[str], method: dict[str, Any]
) -> None:
    file = {"method": {"name": "fixmatch", "threshold": 0.9}}
    assert resolve(options, config=file, assignments=assignments)["method"] == method


def test_resolve__settings_of_a_method_without_its_name() -> None:
    assert resolve({"method": {"mu": 2}})["method"] == {"mu": 2}
    named = resolve({"method": {"mu": 2}}, default_method="fixmatch")
    assert named["method"] == {"name": "fixmatch", "mu": 2}


def test_resolve__a_name_inside_a_recipe() -> None:
    table = resolve({"recipe": "pretrain"}, assignments=["recipe.pretext=SimCLR", "recipe.pretext.mu=2"])
    assert table["recipe"] == {"name": "pretrain", "pretext": {"name": "simclr", "mu": 2}}


def test_resolve__a_resolved_table_is_not_normalized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table = resolve({"method": "FixMatch", "epochs": 3})
    monkeypatch.setattr("understudy.experiment.job.normalize", lambda *_: pytest.fail("normalized again"))
    assert normalize_options(table) == table
    assert normalize_options(table) is not table
