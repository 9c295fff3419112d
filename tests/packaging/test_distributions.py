"""The wheel and the sdist hold what they should, describe themselves correctly, and work without the source tree."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from trove_classifiers import classifiers as known_classifiers

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Built(NamedTuple):
    """What one build wrote, and the names of the source files it was made from."""

    wheel: Path
    sdist: Path
    sources: frozenset[str]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What the command prints; it must end with status 0."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_files() -> list[str]:
    """Every file that is tracked or about to be; in an unpacked sdist, which has no history, every file."""
    if (ROOT / ".git").exists():
        names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
        return [name for name in names if (ROOT / name).is_file()]
    return [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, built from a copy without network: the sdist from the sources, the wheel from the sdist."""
    copy = tmp_path_factory.mktemp("copy")
    names = source_files()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", "--no-isolation", cwd=copy, PIP_NO_INDEX="1")
    (wheel,), (sdist,) = (copy / "dist").glob("*.whl"), (copy / "dist").glob("*.tar.gz")
    return Built(wheel, sdist, frozenset(names))


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and nothing else; its dependencies are those of this interpreter."""
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(*pip, "--no-compile", "--target", target, built.wheel, cwd=target)
    return target


def test_wheel__holds_every_file_of_the_package_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name.removeprefix("src/") for name in built.sources if name.startswith("src/understudy/")}
    assert {Path(name).suffix for name in names} >= {".py", ".typed", ".j2", ".css", ".toml"}


def test_sdist__holds_every_source_file(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert built.sources - names == set()
    generated = {name for name in names - built.sources if name.partition(".egg-info/")[0] != "src/understudy"}
    assert generated <= {"PKG-INFO", "setup.cfg"}


def test_sdist__runs_tests(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    pytest_command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    printed = run(*pytest_command, "tests/core/test_registry.py", cwd=unpacked, PYTHONPATH=str(unpacked / "src"))
    assert " passed" in printed


def test_metadata__agrees_with_pyproject(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert metadata["Summary"] == PROJECT["description"]
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert set(metadata.get_all("Provides-Extra") or []) == set(PROJECT["optional-dependencies"])
    assert set(metadata["Keywords"].split(",")) == set(PROJECT["keywords"])
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_classifiers__exist_and_name_the_python_versions(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier") or []
    assert classifiers == PROJECT["classifiers"]
    assert set(classifiers) <= known_classifiers
    versions = {name.rpartition(" ")[2] for name in classifiers if "Python :: 3." in name}
    assert versions == {"3.11", "3.12", "3.13"}, "those that requires-python allows"
    assert "License ::" not in "".join(classifiers), "a license expression replaces the license classifiers"


def test_readme__renders(built: Built) -> None:
    printed = run(sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist, cwd=built.wheel.parent)
    assert printed.count("PASSED") == 2


def test_import__works_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    statements = "import understudy; print(understudy.__file__)"
    printed = run(sys.executable, "-P", "-c", statements, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(printed.strip()) == installed / "understudy" / "__init__.py"


def test_console_script__runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    def understudy(*words: str) -> str:
        return run(sys.executable, "-P", installed / "bin" / "understudy", *words, cwd=tmp_path, **environment)

    environment = {"PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    assert understudy("--version").strip() == f"understudy {PROJECT['version']}"
    listed = understudy("methods")
    assert "fixmatch" in listed, "the methods are found in the installed package"
    assert "few-labels" in listed, "the presets are installed"
