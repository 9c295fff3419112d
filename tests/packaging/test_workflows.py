"""The workflows parse, run make targets that exist, pin their actions, and have no more rights than they need."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMMANDS = {"test", "git"}
"""Commands beside make that a step may run."""


def workflow(path: Path) -> dict[Any, Any]:
    """The parsed file; YAML 1.1 reads the key `on` as True."""
    parsed: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return parsed


def steps(parsed: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    """All steps of all jobs."""
    for job in parsed["jobs"].values():
        yield from job.get("steps", [])


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_workflows__are_those_of_the_project() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "docs", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow__runs_make_targets_that_exist(path: Path) -> None:
    parsed = workflow(path)
    lines = [line for step in steps(parsed) if "run" in step for line in step["run"].strip().splitlines()]
    assert lines
    for line in lines:
        command, *words = line.split()
        assert command in {"make", *COMMANDS}, line
        if command == "make":
            assert {word for word in words if "=" not in word} <= targets(), line
    local = [job["uses"] for job in parsed["jobs"].values() if "uses" in job]
    assert all((ROOT / name).is_file() for name in local)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow__pins_every_action_to_a_commit_and_names_its_version(path: Path) -> None:
    used = re.findall(r"uses: (?!\./)(.+)", path.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", name) for name in used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow__has_few_rights_and_ends(path: Path) -> None:
    parsed = workflow(path)
    assert parsed["permissions"] == {"contents": "read"}
    assert parsed["concurrency"]["group"]
    for name, job in parsed["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 120
        rights = {"id-token": "write"} if (path.stem, name) == ("release", "publish") else {}
        assert job.get("permissions", {}) == rights


def test_ci__tests_every_python_that_is_supported() -> None:
    parsed = workflow(ROOT / ".github/workflows/ci.yml")
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    supported = {name.rpartition(" ")[2] for name in classifiers if "Python :: 3." in name}
    assert set(parsed["jobs"]["test"]["strategy"]["matrix"]["python"]) == supported
    assert {job["runs-on"] for job in parsed["jobs"].values()} == {"ubuntu-latest", "macos-latest"}
    assert parsed["concurrency"]["cancel-in-progress"] is True


def test_release__publishes_what_was_tested_and_built() -> None:
    parsed = workflow(ROOT / ".github/workflows/release.yml")
    assert parsed[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}
    assert parsed["jobs"]["publish"]["needs"] == ["test", "build"]
    assert not any("checkout" in step.get("uses", "") for step in parsed["jobs"]["publish"]["steps"])
