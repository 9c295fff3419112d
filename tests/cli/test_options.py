"""The options as a whole: one meaning each, the same words as in Python, and what `--resume` refuses."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.text import Text

import understudy as us
from tests.cli.conftest import Run
from understudy.cli.main import app
from understudy.cli.request import options_table
from understudy.comparison.spec import parse_options
from understudy.core.errors import ConfigError
from understudy.core.files import write_json
from understudy.experiment.job import Job

ROOT = Path(__file__).parents[2]
GROUP: Any = typer.main.get_command(app)
OTHER_MEANING = {"--network", "--num-labels", "--out", "--test", "--validation"}
"""Options that take another kind of value in some command: a class's share, code, several numbers."""


def declared(command: str) -> dict[str, Any]:
    """The options of a command by their name."""
    parameters = GROUP.commands[command].params
    return {max(option.opts, key=len): option for option in parameters if option.param_type_name == "option"}


def test_options__have_one_metavar_and_panel() -> None:
    metavars, panels = defaultdict(set), defaultdict(set)
    for command in GROUP.commands:
        for name, option in declared(command).items():
            metavars[name].add(option.metavar)
            panels[name].add(option.rich_help_panel)
    assert {name for name, found in metavars.items() if len(found) > 1} == OTHER_MEANING
    assert {name for name, found in panels.items() if len(found) > 1} == set()


def test_options__are_grouped_in_one_order() -> None:
    order = ["Data", "Budget", "Comparison", "Method", "Evaluation", "Machine", "Output"]
    for command in GROUP.commands:
        panels = [option.rich_help_panel for name, option in declared(command).items() if name != "--help"]
        assert panels == sorted(panels, key=order.index), command


@pytest.mark.parametrize("command", ["train", "compare", "ablate", "plan"])
def test_options__are_called_as_in_python(command: str) -> None:
    python = {*inspect.signature(getattr(us, command)).parameters, *(field.name for field in dataclasses.fields(Job))}
    only_here = {"set", "no_plan", "preset", "downstream", "out", "resume", "overwrite", "against"}
    words = {name.removeprefix("--").replace("-", "_") for name in declared(command)}
    assert words - python - only_here == set()


def test_options__in_texts_are_there() -> None:
    """Every line of a document that calls a command gives it options that it has."""
    calls = 0
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")):
        for command, rest in re.findall(r"understudy ([a-z]+) ([^`\n]*)", path.read_text(encoding="utf-8")):
            if command not in GROUP.commands:
                continue
            names = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest.partition("understudy ")[0]))
            options = GROUP.commands[command].params
            known = {name for option in options for name in (*option.opts, *option.secondary_opts)} | {"--help"}
            assert names <= known, f"{path.name}: understudy {command} {rest}"
            calls += len(names)
    assert calls > 40, "the pattern finds nothing any more"


@pytest.mark.parametrize(
    ("command", "allowed"),
    [("train", {"--tensorboard", "--verbose"}), ("compare", {"--jobs"}), ("ablate", {"--jobs"})],
)
def test_resume__refuses_every_other_option(understudy: Run, command: str, allowed: set[str]) -> None:
    for name, option in declared(command).items():
        if name == "--resume":
            continue
        value = () if option.is_flag else ("1",)
        error = understudy(command, "--resume", "x", name, *value).error()
        if name in allowed:
            assert "x does not exist, so there is nothing to resume" in error
        else:
            assert f"--resume takes everything from x; leave out {name}, or " in error
    error = understudy(command, "photos", "--resume", "x", "--cache", "c").error()
    assert "leave out PHOTOS and --cache, or " in error


@pytest.mark.parametrize("command", ["train", "compare", "ablate"])
def test_request__one_file_and_one_format(
    understudy: Run, photos: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    for name in ("api.train.train_since", "api.compare.compare", "api.compare.ablate"):
        monkeypatch.setattr(f"understudy.{name}", stop)
    output = understudy(
        command, photos, "--num-labels", 6, "--seed" if command == "train" else "--seeds", 3, "--out", "r"
    )
    assert output.code == 130
    assert output.err == f"interrupted; everything is saved, resume with: understudy {command} --resume r\n"
    record = json.loads(Path("r/request.json").read_text(encoding="utf-8"))
    assert list(record) == [
        "format", "command", "source", "unlabeled", "test", "validation", "cache", "options", "plan", "checksum",
    ]  # fmt: skip
    assert (record["command"], record["source"]) == (command, str(photos))
    others = [other for other in ("train", "compare", "ablate") if other != command]
    for other in others:
        error = understudy(other, "--resume", "r").error()
        assert f"r was made by another command; resume it with: understudy {command} --resume r" in error


def test_request__damaged(understudy: Run) -> None:
    Path("r").mkdir()
    write_json(Path("r/request.json"), {"format": 1, "sources": []})
    error = understudy("train", "--resume", "r").error()
    assert "r/request.json is damaged; start the command again in a new folder" in error


def test_compare__interrupted_before_it_takes_over_a_folder(
    understudy: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--resume` would take the request of the comparison before."""

    def stop(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.api.compare.compare", stop)
    assert understudy("compare", photos, "--num-labels", 6, "--out", "r").code == 130
    output = understudy("compare", photos, "--num-labels", "6,12", "--out", "r")
    assert output.err == "interrupted before training began; repeat the command\n"


@pytest.mark.parametrize("option", ["filter-pool", "test-time-averaging"])
@pytest.mark.parametrize(("prefix", "expected"), [("--", True), ("--no-", False), ("", None)])
def test_train__flags_are_given_denied_or_left_to_the_file(
    understudy: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, option: str, prefix: str, expected: bool | None
) -> None:
    def stop(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.api.train.train_since", stop)
    flag = (f"{prefix}{option}",) if prefix else ()
    assert understudy("train", photos, *flag, "--out", "r").code == 130
    options = json.loads(Path("r/request.json").read_text(encoding="utf-8"))["options"]
    assert options.get(option.replace("-", "_")) is expected


def spec(file: str, *assignments: str, methods: str = "fixmatch,softmatch") -> dict[str, dict[str, Any]]:
    """The settings of each variant beside supervised, by its own name or its method's."""
    Path("file.toml").write_text(file, encoding="utf-8")
    table = options_table(Path("file.toml"), {}, assignments, has_one_method=False)
    variants = parse_options(methods.split(",") if methods else (), 6, 1, None, table).variants
    return {variant.name or variant.method["name"]: dict(variant.settings) for variant in variants[1:]}


def test_compare__set_of_a_knob_is_of_every_method_that_has_it() -> None:
    found = spec("", "method.threshold=0.7", "method.mu=3")
    assert found["fixmatch"]["method"] == {"name": "fixmatch", "threshold": 0.7, "mu": 3}
    assert found["softmatch"]["method"] == {"name": "softmatch", "mu": 3}, "softmatch has no threshold"


def test_compare__the_table_of_a_variant_overrides_what_is_of_all() -> None:
    file = '[method]\nmu = 2\n[variants.a]\nmethod = { name = "fixmatch", mu = 5 }\n[variants.b]\nmethod = "fixmatch"\n'
    found = spec(file, "method.threshold=0.7", methods="softmatch")
    assert found["a"]["method"] == {"name": "fixmatch", "mu": 5, "threshold": 0.7}
    assert found["b"]["method"] == {"name": "fixmatch", "mu": 2, "threshold": 0.7}


def test_compare__set_reaches_a_variant_by_the_keys_of_the_file() -> None:
    file = '[variants.a]\nmethod = "fixmatch"\n'
    found = spec(file, "variants.a.method.mu=3", "variants.b.method=uda", "variants.b.labeled_view=weak", methods="")
    assert found["a"]["method"] == {"name": "fixmatch", "mu": 3}
    assert found["b"] == {"method": {"name": "uda"}, "labeled_view": "weak"}


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("method.treshold=1", "unknown setting method.treshold: none of supervised, fixmatch, softmatch has it; did "
         "you mean 'method.threshold'?"),
        ("threshold=1", "threshold is a setting of method fixmatch; write method.threshold"),
        ("fixmatch.threshold=1", "unknown setting fixmatch: a method with settings of its own is a variant; write "
         "variants.NAME.method = {name = 'fixmatch', ...} and choose a NAME"),
        ("bach_size=1", "unknown setting bach_size: did you mean 'batch_size'?"),
    ],
)  # fmt: skip
def test_compare__set_of_no_setting(assignment: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec("", assignment)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("command", ["train", "compare", "ablate", "plan"])
@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("resnet_smal", "there is no network 'resnet_smal'; did you mean 'resnet_small'?"),
        ("torchvision:resnet19", "torchvision has no classifier 'resnet19'; did you mean 'resnet1"),
        ("cnm+mlp", "there is no network 'cnm'; did you mean 'cnn'?"),
    ],
)
def test_commands__unknown_network_is_refused_before_images_are_read(
    understudy: Run, photos: Path, command: str, network: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr("understudy.api.train.load", fail)
    monkeypatch.setattr("understudy.comparison.compare.load", fail)
    assert sentence in understudy(command, photos, "--network", network).error()


@pytest.mark.parametrize(("command", "number"), [("train", 25), ("train", 1), ("compare", 25), ("ablate", 25)])
def test_commands__impossible_numbers_of_labels_are_refused_before_images_are_decoded(
    understudy: Run, photos: Path, command: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise AssertionError("images were decoded")

    monkeypatch.setattr("understudy.data.load._decoded", fail)
    error = understudy(command, photos, "--num-labels", number).error()
    assert f"{number} labels cannot be kept: give a number from 2, one per class, to 24, the labels of the" in error


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("predict", "run", "images"), "predictions.csv"),
        (("label", "run", "images"), "labels.csv"),
        (("suggest", "images"), "suggested.csv"),
        (("split", "images"), "split.csv"),
        (("plan", "images"), "plan.toml"),
        (("audit", "images", "--write-manifest", "clean.csv"), "clean.csv"),
    ],
)
def test_commands__replace_no_file_without_overwrite(understudy: Run, command: tuple[str, ...], name: str) -> None:
    Path("images").mkdir()
    Path(name).write_text("", encoding="utf-8")
    sentence = f"{name} exists already; add --overwrite to replace it, or give another name with --"
    assert sentence in understudy(*command).error()
    assert sentence not in understudy(*command, "--overwrite").error(), "the next fault is another one"


def test_help__has_no_private_words() -> None:
    private = re.compile(r"\b(judg\w*|choose[sn]?|pile|told|is no|mend\w*|as ever|surely|turn(?:s|ed)? out)\b")
    for name, command in GROUP.commands.items():
        helps = [option.help for option in command.params if option.help]
        assert [text for text in helps if Text.from_markup(text).plain != text] == [], "brackets vanish as markup"
        texts = [command.help, *helps]
        assert [text for text in texts if private.search(text)] == [], name
