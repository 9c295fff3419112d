"""`train`: where its options come from, what it writes and prints, and what it refuses."""

from __future__ import annotations

import errno
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import QUICK, Run, draw, draw_folder
from understudy.cli.train_output import _holds_something
from understudy.core.files import read_json, write_json


def config_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))


def test_train__writes_a_run_folder(finished: Path) -> None:
    files = {path.name for path in finished.iterdir()}
    assert {"request.json", "config.toml", "log.txt", "model.safetensors", "model.json"} <= files
    assert {"predictions.csv", "quarantine.json", "result.json", "splits.json"} <= files
    result = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    assert set(result["metrics"]) == {"supervised", "softmatch"}
    assert result["verdict"]["outcome"] in ("helped", "hurt", "better", "worse", "not proven")


def test_train__prints_verdict_table_files_and_next(understudy: Run, photos: Path, unlabeled: Path) -> None:
    output = understudy("train", photos, "--unlabeled", unlabeled, *QUICK, "--seed", 3)
    assert output.code == 0
    assert output.err == ""
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"photos-\d{8}-\d{6}", folder.name)
    places = [output.out.index(text) for text in ("VERDICT", "95 % interval ", f"Saved in {folder}:", "Next:")]
    assert places == sorted(places)
    assert f"understudy predict {folder} IMAGES" in output.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output.out), "control characters in plain output"
    lines = [line for line in output.out.splitlines() if line.startswith(("supervised  ", "softmatch  "))]
    assert 4 < len(lines) <= 2 * 20 + 2
    assert config_of(folder)["seed"] == 3


def test_train__command_line_overrules_file_overrules_default(understudy: Run, photos: Path, unlabeled: Path) -> None:
    Path("some.toml").write_text(
        'budget = "4steps"\nnetwork = "cnn"\nseed = 5\nbatch_size = 8\n[method]\nname = "fixmatch"\nthreshold = 0.7\n'
    )
    arguments = ("train", photos, "--unlabeled", unlabeled, "--config", "some.toml", "--size", 16)
    assert understudy(*arguments, "--out", "a", "--seed", 6, "--set", "method.mu=2").code == 0
    found = config_of(Path("a"))
    assert (found["seed"], found["batch_size"], found["num_evaluations"]) == (6, 8, 20)
    assert found["method"]["name"] == "fixmatch"
    assert (found["method"]["threshold"], found["method"]["mu"]) == (0.7, 2)
    assert understudy(*arguments, "--out", "b", "--method", "pseudo_label", "--set", "seed=7").code == 0
    assert (config_of(Path("b"))["method"]["name"], config_of(Path("b"))["seed"]) == ("pseudo_label", 7)


def test_train__config_of_a_run_can_be_used_again(
    understudy: Run, finished: Path, photos: Path, unlabeled: Path
) -> None:
    output = understudy(
        "train", photos, "--unlabeled", unlabeled, "--config", finished / "config.toml", "--out", "again"
    )
    assert output.code == 0
    assert config_of(Path("again")) == config_of(finished)


def test_train__supervised_has_no_verdict(understudy: Run, photos: Path) -> None:
    output = understudy("train", photos, *QUICK[:-2], "--method", "supervised")
    assert output.code == 0
    assert "No verdict" in output.out


def test_train__simulated_labels_measure_the_pseudo_labels(understudy: Run, photos: Path, test_photos: Path) -> None:
    assert understudy("train", photos, "--test", test_photos, "--num-labels", 4, *QUICK, "--out", "r").code == 0
    result = json.loads(Path("r/result.json").read_text(encoding="utf-8"))
    assert {"coverage", "pseudo_label_accuracy"} <= set(result["pseudo_labels"][-1])


def test_train__long_tail_by_options_and_settings(understudy: Run, photos: Path, test_photos: Path) -> None:
    arguments = ("train", photos, "--test", test_photos, "--num-labels", 8, "--out", "r", *QUICK)
    tail = ("--imbalance", 3, "--unlabeled-imbalance", 2, "--set", "unlabeled_order=reversed")
    output = understudy(*arguments, *tail)
    assert output.code == 0
    note = "labels per class 6 to 2 (ratio 3), pool per class 10 to 5 (ratio 2, reversed order); 1 image left out"
    assert f"8 of 24 training labels are kept: {note}" in " ".join(output.out.split())
    assert "Balanced accuracy" in output.out
    found = config_of(Path("r"))
    assert (found["imbalance"], found["unlabeled_imbalance"], found["unlabeled_order"]) == (3, 2, "reversed")


@pytest.mark.parametrize(
    ("option", "lines"),
    [("--repeats", ("seed", "0", "1", "mean", "95 % interval")), ("--folds", ("fold", "1", "2", "all"))],
)
def test_train__a_line_per_seed_or_fold(
    understudy: Run, photos: Path, unlabeled: Path, option: str, lines: tuple[str, ...]
) -> None:
    few = (*QUICK[:4], "--budget", "6steps", *QUICK[6:])
    output = understudy("train", photos, "--unlabeled", unlabeled, *few, option, 2, "--out", "r")
    assert output.code == 0
    rows = [line.strip() for line in output.out[output.out.index("VERDICT") :].splitlines()]
    assert all(any(row.startswith(f"{name} ") for row in rows) for name in lines)
    found = json.loads(Path("r/result.json").read_text(encoding="utf-8"))["repeats"]
    assert " ".join(found["sentences"][0].split()) in " ".join(output.out.split())
    assert config_of(Path("r"))[option.strip("-")] == 2
    again = understudy("train", "--resume", "r")
    assert again.out[again.out.index("VERDICT") :] == output.out[output.out.index("VERDICT") :]
    assert understudy("report", "r").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no images were given"),
        (("nowhere",), "'nowhere' is not there"),
        (("PHOTOS", "--budget", "0s"), "budget '0s' is not a length of time"),
        (("PHOTOS", "--budget", "soon"), "budget 'soon' is not a length of time"),
        (("PHOTOS", "--budget=-5m"), "budget '-5m' is not a length of time"),
        (("PHOTOS", "--method", "softmach"), "unknown method 'softmach'; did you mean 'softmatch'?"),
        (("PHOTOS", "--network", "resnet_smal"), "there is no network 'resnet_smal'; did you mean 'resnet_small'?"),
        (("PHOTOS", "--domain", "naturel"), "did you mean 'natural'?"),
        (("PHOTOS", "--set", "method.treshold=1"), "unknown setting method.treshold"),
        (("PHOTOS", "--set", "method=fixmach"), "did you mean 'fixmatch'?"),
        (("PHOTOS", "--out", "/proc/nowhere"), "/proc/nowhere cannot be written"),
        (("PHOTOS", "--plan", "."), "configuration file . is not a regular file"),
        (("PHOTOS", "--set", "bach_size=1"), "did you mean 'batch_size'?"),
        (("PHOTOS", "--set", "batch_size"), "'batch_size' is not KEY=VALUE"),
        (("PHOTOS", "--size", "2"), "size is 2"),
        (("PHOTOS", "--channels", "2"), "channels is 2"),
        (("PHOTOS", "--num-labels", "1"), "1 labels cannot be kept"),
        (("PHOTOS", "--imbalance", "3"), "say with num_labels"),
        (("PHOTOS", "--num-labels", "6", "--imbalance", "0.3"), "imbalance is 0.3; give the largest class"),
        (
            ("PHOTOS", "--num-labels", "20", "--imbalance", "9"),
            "20 labels with a ratio of 9 need 18 images of class 'ring'",
        ),
        (("PHOTOS", "--seed=-1"), "seed is -1"),
        (("PHOTOS", "--device", "abacus"), "abacus"),
        (("PHOTOS", "--folds", "1"), "folds is 1; give at least 2, such as 5, or leave it out for no cross-validation"),
        (("PHOTOS", "--folds", "3", "--repeats", "2"), "repeats is 2 and folds is 3; give one of them"),
        (("PHOTOS", "--set", "repeats=many"), "repeats is 'many'; give a whole number"),
        (("PHOTOS", "--folds", "20"), "class 'ring' has 12 labels, and each of 20 folds needs one of every class"),
        (("PHOTOS", "--config", "missing.toml"), "configuration file missing.toml does not exist"),
        (("PHOTOS", "--resume", "x"), "--resume takes everything from x"),
        (("--resume", "x"), "x does not exist, so there is nothing to resume"),
    ],
)
def test_train__refuses(understudy: Run, photos: Path, arguments: tuple[str, ...], sentence: str) -> None:
    given = [str(photos) if argument == "PHOTOS" else argument for argument in arguments]
    assert sentence in understudy("train", *given).error()
    assert not [path for path in Path("runs").glob("*") if path.is_dir()], "a run that never began leaves a folder"


def test_train__unknown_key_in_file(understudy: Run, photos: Path) -> None:
    Path("bad.toml").write_text('budgte = "5m"\n')
    error = understudy("train", photos, "--config", "bad.toml").error()
    assert "unknown setting budgte: did you mean 'budget'?" in error


def test_train__empty_folder(understudy: Run) -> None:
    Path("empty").mkdir()
    assert "empty" in understudy("train", "empty").error()


def test_train__no_labels(understudy: Run, unlabeled: Path) -> None:
    assert "label" in understudy("train", unlabeled, "--budget", "2steps").error()


def test_train__class_only_in_test(understudy: Run, photos: Path) -> None:
    draw_folder(Path("test"), 3)
    draw(Path("test/cross/1.png"), "square", 7)
    error = understudy("train", photos, "--test", "test", *QUICK).error()
    assert "cross" in error
    assert "ring" in error


def test_train__folder_holds_a_run(understudy: Run, finished: Path, photos: Path) -> None:
    before = {path.name for path in finished.iterdir()}
    error = understudy("train", photos, "--out", finished, *QUICK).error()
    assert f"{finished} already holds a run" in error
    assert "understudy train --resume" in error
    assert {path.name for path in finished.iterdir()} == before


def test_train__folder_holds_other_files(understudy: Run, photos: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    assert "mine is not an empty folder" in understudy("train", photos, "--out", "mine", *QUICK).error()
    assert Path("mine/notes.txt").exists()


def test_train__corrected_command_may_use_the_same_folder(understudy: Run, photos: Path) -> None:
    assert "no network" in understudy("train", photos, "--network", "cn", "--out", "r").error()
    assert understudy("train", photos, *QUICK[:-2], "--method", "supervised", "--out", "r").code == 0


def test_train__full_disk(understudy: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("understudy.engine.rundir._save_tensors", full)
    error = understudy("train", photos, *QUICK[:-2], "--method", "supervised", "--out", "r").error()
    assert "the disk that holds r" in error
    assert error.endswith("to resume what is saved: understudy train --resume r")


def test_resume__newer_folder(understudy: Run, finished: Path) -> None:
    Path("r").mkdir()
    write_json(Path("r/request.json"), {**read_json(finished / "request.json"), "format": 99})
    assert "r was written by a newer version (format 99" in understudy("train", "--resume", "r").error()


def test_resume__other_images(understudy: Run, photos: Path) -> None:
    draw_folder(Path("mine"), 10)
    arguments = (*QUICK[:-2], "--method", "supervised", "--out", "r")
    assert understudy("train", "mine", *arguments).code == 0
    draw(Path("mine/ring/99.png"), "ring", 99)
    assert "r holds a run that differs in data" in understudy("train", "--resume", "r").error()


def test_holds_something__a_table_needs_a_row(tmp_path: Path) -> None:
    header, table, other = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "log.txt"
    header.write_text("path,true\n", encoding="utf-8")
    table.write_text("path,true\na.png,ring\n", encoding="utf-8")
    other.write_text("", encoding="utf-8")
    found = [_holds_something(path) for path in (header, table, other, tmp_path / "gone.csv")]
    assert found == [False, True, True, False]


def test_resume__finished_run_says_the_same(understudy: Run, photos: Path, unlabeled: Path) -> None:
    first = understudy("train", photos, "--unlabeled", unlabeled, *QUICK, "--out", "r")
    again = understudy("train", "--resume", "r")
    assert again.code == 0
    note = "The run in r is finished: nothing is trained, only the evaluation and report are redone.\n"
    assert again.out.startswith(note)
    assert note not in first.out
    assert again.out[again.out.index("VERDICT") :] == first.out[first.out.index("VERDICT") :]


def test_train__validation_and_two_unlabeled_sources(
    understudy: Run, photos: Path, test_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def train(_begun: object, source: str, **options: Any) -> None:
        asked.update(source=source, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.api.train.train_since", train)
    pools = [draw_folder(Path(name), 1) for name in ("one", "two", "val")]
    arguments = ("--unlabeled", "one", "--unlabeled", "two", "--validation", "val", "--test", test_photos)
    assert understudy("train", photos, *arguments, "--out", "run", *QUICK).code == 130
    one, two, val = (str(pool.resolve()) for pool in pools)
    assert (asked["unlabeled"], asked["validation"], asked["test"]) == ([one, two], val, str(test_photos))
    first = dict(asked)
    assert understudy("train", "--resume", "run").code == 130
    assert asked == first | {"watch": asked["watch"]}
    error = understudy("train", photos, "--unlabeled", "one", "--unlabeled", "nowhere", "--out", "other").error()
    assert "'nowhere' does not exist; give each --unlabeled a folder" in error
    error = understudy("train", "--resume", "run", "--validation", "val").error()
    assert "--resume takes everything from run" in error
