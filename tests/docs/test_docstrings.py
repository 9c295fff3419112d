"""Every public name has a docstring, every public function an example, and the examples run as they stand."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import understudy


def docstring(name: str) -> str:
    """The docstring of a public name, none of which is inherited."""
    public = getattr(understudy, name)
    return inspect.cleandoc(public.__doc__ or "")


def examples(name: str) -> doctest.DocTest:
    """The examples in the docstring of a public name."""
    return doctest.DocTestParser().get_doctest(docstring(name), {}, name, None, 0)


FUNCTIONS = [name for name in understudy.__all__ if inspect.isfunction(getattr(understudy, name))]
WITH_EXAMPLES = [name for name in understudy.__all__ if examples(name).examples]


@pytest.mark.parametrize("name", understudy.__all__)
def test_docstring__is_there(name: str) -> None:
    generated = f"{name}("  # what a dataclass without a docstring gets
    assert docstring(name)
    assert not docstring(name).startswith(generated)


def test_docstring__of_a_function_has_an_example() -> None:
    assert len(FUNCTIONS) > 5
    assert set(FUNCTIONS) <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring__examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    results = doctest.DocTestRunner().run(examples(name), out=report.append)
    assert not results.failed, "".join(report)
