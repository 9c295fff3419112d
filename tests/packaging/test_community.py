"""The files by which people cite the project, report to it and contribute are valid and say what is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.data import decode, workers

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def test_citation__is_valid_and_agrees_with_pyproject() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited), "what the schema requires"
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["abstract"] == PROJECT["description"]
    assert cited["authors"] == PROJECT["authors"]


def test_issue_forms__are_a_bug_a_method_and_a_question() -> None:
    assert [path.stem for path in FORMS] == ["bug", "method", "question"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_form__is_valid(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_pre_commit__runs_the_tools_of_make_check() -> None:
    configuration = ROOT / ".pre-commit-config.yaml"
    command = (sys.executable, "-m", "pre_commit", "validate-config", str(configuration))
    subprocess.run(command, capture_output=True, check=True)
    (repository,) = yaml.safe_load(configuration.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local", "the versions are those of make check"
    tools = {hook["entry"].split()[0] for hook in repository["hooks"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (check,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert tools == {line.split()[0].replace("$(BIN)", ".venv/bin") for line in check.splitlines()}


def test_security__states_the_limits_of_decoding() -> None:
    text = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    assert f"over {decode.MAX_FILE_BYTES >> 20} MB and images over {decode.MAX_PIXELS // 10**6} million pixels" in text
    assert f"More than {workers._INLINE} files" in text


def test_readme__names_every_extra() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| extra \|.*\n((?:\|.*\n)+)", readme, re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", table)) >= set(PROJECT["optional-dependencies"])


def loads(source: str) -> list[str]:
    """Calls in the source that read pickles, or may."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = []
    for call in calls:
        name, options = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
        unsafe_torch = name == "torch.load" and options.get("weights_only") != "True"
        if unsafe_torch or options.get("allow_pickle") == "True" or name.split(".")[0] in ("pickle", "dill", "joblib"):
            found.append(name)
    return found


def test_security__no_file_is_read_as_a_pickle() -> None:
    planted = "torch.load(f)\nnp.load(f, allow_pickle=True)\npickle.loads(b)\ntorch.load(f, weights_only=True)"
    assert loads(planted) == ["torch.load", "np.load", "pickle.loads"]
    sources = sorted((ROOT / "src").rglob("*.py"))
    assert [f"{path}: {name}" for path in sources for name in loads(path.read_text(encoding="utf-8"))] == []
