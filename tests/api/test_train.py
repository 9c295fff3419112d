"""`train` as an engineer calls it: arrays, an own module, simulated label budgets, folders, resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import understudy as us
from understudy.core.budget import Budget
from understudy.core.files import write_json
from understudy.data.load import load
from understudy.engine import decisions
from understudy.experiment.job import make_job
from understudy.methods.fixmatch import FixMatch
from understudy.models.nets import Execution
from understudy.serving.predictor import Predictor

QUICK: dict[str, Any] = {"network": "cnn", "budget": "12steps", "batch_size": 8, "domain": "digits"}


def images(count: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Gray images whose class is the side the bright half is on."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 60, (count, 1, 16, 16), dtype=np.uint8)
    pixels[labels == 0, :, :, :8] += 150
    pixels[labels == 1, :, :, 8:] += 150
    return pixels, labels


def few_labels(count: int = 60, known: int = 12) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pixels, labels = images(count)
    return pixels, np.where(np.arange(count) < known, labels, -1)


def own_module() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 2),
    )


def test_train__own_module_is_trained_in_place() -> None:
    module = own_module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result = us.train(few_labels(), test=images(40, 1), **QUICK | {"network": module})
    assert result.model is module
    assert not module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module._forward_hooks
    assert not module._forward_pre_hooks
    assert any(not torch.equal(before[name], value) for name, value in module.state_dict().items())
    pixels, _ = images(40, 1)
    with torch.no_grad():
        direct = module(torch.from_numpy(pixels).float() / 255).softmax(-1).numpy()
    assert np.allclose(direct, result.predict(pixels).probabilities, atol=1e-5)


def test_train__own_module_works_on_the_values_of_the_data_set(tmp_path: Path) -> None:
    def normalized(count: int, seed: int) -> np.ndarray[Any, Any]:
        return images(count, seed)[0].astype(np.float32) / 127.5 - 1

    module = own_module()
    with torch.no_grad():
        module[-1].weight.mul_(20)  # so that predictions depend on the values after few steps
    labels = few_labels()[1]
    result = us.train((normalized(60, 0), labels), folder=tmp_path / "run", **QUICK | {"network": module})
    assert "Sequential gets pixels from -1 to 1, as the data set gives them." in result.notes
    pixels = normalized(40, 1)
    with torch.no_grad():
        direct = module(torch.from_numpy(pixels)).softmax(-1).numpy()
    for predicted in (result.predict(pixels), Predictor.load(tmp_path / "run", own_module).predict(pixels)):
        assert np.allclose(direct, predicted.probabilities, atol=2e-2)  # pixels are stored with 8 bits
    with torch.no_grad():
        other = module(torch.from_numpy((pixels + 1) / 2)).softmax(-1).numpy()
    assert not np.allclose(direct, other, atol=5e-2)


def test_train__no_folder_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = us.train(few_labels(), test=images(40, 1), **QUICK)
    assert result.folder is None
    assert not list(tmp_path.iterdir())


def test_result__reports_without_a_folder(tmp_path: Path) -> None:
    result = us.train(few_labels(), test=images(40, 1), **QUICK)
    assert result.report(tmp_path / "page.html") == tmp_path / "page.html"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.verdict is not None
    assert result.verdict.sentences()[-1] in page
    assert (tmp_path / "figures" / "page-accuracies.png").exists()


def test_train__verdict_and_metrics() -> None:
    result = us.train(few_labels(), test=images(40, 1), **QUICK)
    assert result.verdict is not None
    assert result.verdict.n == 40
    assert set(result.runs) == {"supervised", "softmatch"}
    assert result.metrics is not None
    assert (
        result.metrics.accuracy
        == result.run_metrics["softmatch" if result.verdict.delivered == "method" else "supervised"].accuracy
    )
    assert result.predictions is not None
    assert len(result.predictions.labels) == 40
    json.dumps(result.to_json())


def test_train__same_seed_same_model() -> None:
    one, two = (us.train(few_labels(), test=images(40, 1), seed=5, **QUICK) for _ in range(2))
    for name, value in one.runs["softmatch"].model.state_dict().items():
        assert torch.equal(value, two.runs["softmatch"].model.state_dict()[name])


def test_train__both_runs_start_equal_and_differ_by_the_pool_alone() -> None:
    """With every unlabeled image weighing nothing, the two trainings are one and the same."""
    method = FixMatch(threshold=1.0, mu=1)
    result = us.train(few_labels(), test=images(40, 1), method=method, **QUICK)
    supervised, other = (run.model.state_dict() for run in result.runs.values())
    assert all(torch.allclose(value, other[name], atol=1e-6) for name, value in supervised.items())


def test_train__nothing_held_out_is_unproven() -> None:
    pixels, labels = few_labels(known=4)
    result = us.train((pixels, labels), **QUICK)
    assert result.verdict is not None
    assert result.verdict.outcome == "unproven"
    assert result.metrics is None
    assert any("Nothing is held out" in note for note in result.notes)


def test_train__a_clock_that_ends_it_at_once_proves_nothing() -> None:
    """One step against six is no comparison, whatever the images say."""
    result = us.train(few_labels(), test=images(40, 1), **QUICK | {"budget": "0.05cpu-s"}, plan=False)
    assert result.verdict is not None
    assert min(run.steps for run in result.runs.values()) < 10
    assert result.verdict.outcome not in ("helped", "hurt")
    assert "ive a longer budget" in result.verdict.reason


def test_train__one_label_per_class() -> None:
    result = us.train(few_labels(known=2), test=images(40, 1), **QUICK)
    assert len(result.splits.labeled) == 2


def test_train__validation_selects_and_test_images_only_test() -> None:
    pools = [images(20, 2)[0], images(20, 3)[0]]
    result = us.train(images(20), unlabeled=pools, validation=images(30, 4), test=images(40, 1), quiet=True, **QUICK)
    assert (len(result.splits.validation), len(result.splits.test), len(result.splits.labeled)) == (30, 40, 20)
    assert len(result.splits.unlabeled) == 40
    for run in result.runs.values():
        assert run.history[-1]["validation_accuracy"] is not None
    assert result.metrics is not None
    assert result.metrics.n == 40


def test_train__no_unlabeled_images() -> None:
    result = us.train(images(60), test=images(40, 1), **QUICK)
    assert not result.verdict
    assert str(result.verdict) == "No verdict: only the labels were trained on, so there is nothing to compare."
    assert any("no unlabeled images" in note for note in result.notes)
    assert set(result.runs) == {"supervised"}


def test_train__hidden_labels_measure_the_pseudo_labels() -> None:
    result = us.train(images(80), test=images(40, 1), num_labels=10, method=FixMatch(threshold=0.0, mu=2), **QUICK)
    assert len(result.splits.labeled) == 10
    assert result.pseudo_labels
    assert 0 <= result.pseudo_labels[-1]["pseudo_label_accuracy"] <= 1


def test_train__long_tailed_labels_and_reversed_pool(tmp_path: Path) -> None:
    options = {"num_labels": 20, "imbalance": 4.0, "unlabeled_imbalance": 2.0, "unlabeled_order": "reversed"}
    folder = tmp_path / "run"
    result = us.train(images(100), test=images(40, 1), folder=folder, **QUICK | options)
    _, labels = images(100)
    assert np.bincount(labels[result.splits.labeled]).tolist() == [16, 4]
    assert np.bincount(labels[result.splits.unlabeled]).tolist() == [23, 46]
    assert len(result.splits.test) == 40
    note = "labels per class 16 to 4 (ratio 4), pool per class 46 to 23 (ratio 2, reversed order); 11 images left out"
    assert any(text.endswith(note) for text in result.notes)
    assert result.verdict is not None
    assert result.verdict.method.balanced_accuracy == result.run_metrics["softmatch"].balanced_accuracy
    assert "Balanced accuracy" in (folder / "log.txt").read_text(encoding="utf-8")
    with pytest.raises(us.UserError, match="differs in settings"):
        us.train(images(100), test=images(40, 1), folder=folder, **QUICK | options | {"unlabeled_imbalance": 3.0})


def test_train__equal_classes_need_no_balanced_accuracy() -> None:
    result = us.train(few_labels(), test=images(40, 1), **QUICK)
    assert "Balanced" not in str(result.verdict)


def test_train__folder_holds_everything_and_reloads(tmp_path: Path) -> None:
    result = us.train(few_labels(), test=images(40, 1), folder=tmp_path / "run", **QUICK)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "splits.json", "quarantine.json", "result.json", "predictions.csv"} <= names
    assert {"model.safetensors", "model.json", "log.txt", "supervised", "softmatch"} <= names
    pixels, _ = images(40, 1)
    loaded = us.Predictor.load(tmp_path / "run")
    assert np.allclose(loaded.predict(pixels).probabilities, result.predict(pixels).probabilities, atol=1e-6)
    assert us.evaluate(tmp_path / "run", images(40, 1)).accuracy == pytest.approx(result.metrics.accuracy)  # type: ignore[union-attr]


def test_train__finished_folder_is_loaded_and_another_job_refused(tmp_path: Path) -> None:
    first = us.train(few_labels(), test=images(40, 1), folder=tmp_path / "run", **QUICK)
    again = us.train(few_labels(), test=images(40, 1), folder=tmp_path / "run", **QUICK)
    assert again.to_json()["runs"] == first.to_json()["runs"]
    with pytest.raises(us.UserError, match="holds a run that differs in settings"):
        us.train(few_labels(), test=images(40, 1), folder=tmp_path / "run", seed=1, **QUICK)
    with pytest.raises(us.UserError, match="holds a run that differs in data"):
        us.train(few_labels(known=14), test=images(40, 1), folder=tmp_path / "run", **QUICK)


@pytest.mark.parametrize("plan", [True, False])
def test_train__parses_the_budget_once(plan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = Budget.parse.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Budget], text: Any) -> Budget:
        parsed.extend([text] if isinstance(text, str) else [])
        return parse(cls, text)

    monkeypatch.setattr(Budget, "parse", classmethod(counted))
    us.train(few_labels(), test=images(40, 1), plan=plan, **QUICK)
    assert parsed == [QUICK["budget"]]


@pytest.mark.parametrize("phase", ["load", "fit", "page_of"])
def test_train__stopped_in_any_phase_names_the_folder(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise us.Interrupted("stopped at step 3") if phase == "fit" else KeyboardInterrupt

    def call(folder: Path | None) -> us.Result:
        return us.train(few_labels(), test=images(40, 1), folder=folder, plan=False, **QUICK)

    run = tmp_path / "run5"
    module = {"fit": "understudy.experiment.run", "page_of": "understudy.api.result"}.get(phase, "understudy.api.train")
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{phase}", stop)
        saved = rf"^stopped; everything is saved in {run}, repeat the call to continue$"
        unsaved = "^stopped before anything was saved; repeat the call to begin again$"
        with pytest.raises(us.Interrupted, match=unsaved if phase == "load" else saved):
            call(run)
        if phase == "load":
            with pytest.raises(us.Interrupted, match=r"^stopped; nothing is saved, since no folder was given$"):
                call(None)
    capsys.readouterr()
    call(run)
    assert capsys.readouterr().out.count(f"continuing the run in {run}\n") == (phase == "fit")


def test_train__folder_of_a_run_without_images(tmp_path: Path) -> None:
    run = tmp_path / "run5"
    run.mkdir()
    with pytest.raises(us.UserError, match=r"^no images were given; name a folder"):
        us.train(folder=run)
    (run / "identity.json").write_text("{}")
    with pytest.raises(
        us.UserError, match=f"^no images were given, and {run} holds a run; repeat the call that began it"
    ):
        us.train(folder=run)
    (run / "request.json").write_text("{}")
    with pytest.raises(us.UserError, match=f"holds a run; continue with: understudy train --resume {run}, or give"):
        us.train(folder=run)


def test_train__points_in_the_plane() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 200)
    points = random.normal(size=(200, 2)).astype(np.float32) + 3 * truth[:, None]
    labels = np.where(np.arange(200) < 10, truth, -1)
    result = us.train((points[:150], labels[:150]), test=(points[150:], truth[150:]), budget="60steps")
    assert result.metrics is not None
    assert result.metrics.accuracy > 0.8


def test_train__timed_budget_gives_both_runs_equal_cost() -> None:
    result = us.train(few_labels(), test=images(40, 1), **QUICK | {"budget": "4cpu-s"})
    supervised, method = (run.cost.cpu_s for run in result.runs.values())
    assert supervised == pytest.approx(2, abs=0.4)
    assert method == pytest.approx(supervised, rel=0.2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"budget": "0s"}, "budget '0s' is not a length of time"),
        ({"method": "fixmach"}, "unknown method 'fixmach'; did you mean 'fixmatch'?"),
        ({"optimizer": "muom"}, "unknown optimizer 'muom'; did you mean 'muon'?"),
        ({"treshold": 1}, "unknown setting treshold"),
        ({"network": "resnet_smal"}, "resnet_small"),
        ({"domain": "vector"}, "domain 'vector' does not go with images"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"device": "tpu"}, "device 'tpu' is not here"),
    ],
)
def test_train__refuses(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(us.UserError) as error:
        us.train(few_labels(), **QUICK | options)
    assert sentence in str(error.value)


def test_train__network_that_does_not_fit() -> None:
    with pytest.raises(us.UserError, match="first convolution takes 3"):
        us.train(few_labels(), network=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)))


def test_make_job__small_steps_on_a_processor() -> None:
    collection = load(few_labels())
    job = make_job({"device": "cpu"}, collection, None)
    assert (job.batch_size, job.method.mu) == (32, 3)
    assert make_job({"device": "cpu", "method": {"name": "fixmatch", "mu": 7}}, collection, None).method.mu == 7
    assert make_job({"device": "cpu", "batch_size": 64}, collection, None).batch_size == 64


def test_make_job__short_run_of_steps_keeps_its_supervised_phase() -> None:
    collection = load(few_labels())
    assert make_job({"budget": "100steps"}, collection, None).warmup == pytest.approx(0.4)
    assert make_job({"budget": "10steps"}, collection, None).warmup == pytest.approx(0.5)
    assert make_job({"budget": "100steps", "warmup": 0.0}, collection, None).warmup == 0.0


def test_make_job__optimizer_setting_without_a_name() -> None:
    job = make_job({"optimizer": {"lr": 0.01}}, load(few_labels()), None)
    assert (job.optimizer.name, job.optimizer.lr) == ("muon", 0.01)  # type: ignore[attr-defined]


def test_train__test_time_averaging_stays_with_the_classifier(tmp_path: Path) -> None:
    result = us.train(few_labels(), test=images(40, 1), folder=tmp_path / "run", test_time_averaging=True, **QUICK)
    assert result.predictions is not None
    pixels, _ = images(40, 1)
    loaded = us.Predictor.load(tmp_path / "run")
    assert np.allclose(loaded.predict(pixels).probabilities, result.predictions.probabilities, atol=1e-6)
    plain = loaded.predict(pixels, test_time_averaging=False).probabilities
    assert not np.allclose(plain, result.predictions.probabilities, atol=1e-6)


def test_train__refuses_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(us.UserError, match="call it without torchrun"):
        us.train(few_labels(), **QUICK)


def test_train__both_runs_are_executed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def resolve(*_: Any) -> Execution:
        measured.append(Execution(channels_last=len(measured) == 0))  # a second measurement would differ
        return measured[-1]

    monkeypatch.setattr(decisions, "choose_execution", resolve)
    result = us.train(few_labels(), test=images(40, 1), **QUICK | {"budget": "2cpu-s"})
    assert len(measured) == 1
    assert all(run.execution == measured[0] for run in result.runs.values())


def test_predictor_load__damaged_description(tmp_path: Path) -> None:
    us.train(few_labels(), folder=tmp_path / "run", **QUICK)
    path = tmp_path / "run" / "model.json"
    about = json.loads(path.read_text())
    del about["shape"]
    path.write_text(json.dumps(about))
    with pytest.raises(us.UserError, match=r"model.json"):
        us.Predictor.load(tmp_path / "run")
    write_json(path, {name: value for name, value in about.items() if name != "checksum"})
    with pytest.raises(us.UserError, match=r"model.json lacks shape; train again"):
        us.Predictor.load(tmp_path / "run")
