"""The Dockerfile copies what exists, takes torch from the index it is given, and runs the command as an ordinary user.

No image is built here: that needs a container engine and the network.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions(text: str) -> list[tuple[str, str]]:
    """(keyword, arguments) of a Dockerfile, without comments, lines that are continued joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in joined]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def arguments(keyword: str) -> list[str]:
    """Arguments of all instructions of this keyword, in order."""
    return [words for name, words in DOCKERFILE if name == keyword]


def test_instructions__joins_continued_lines_and_drops_comments() -> None:
    assert instructions("# a\nRUN one \\\n    two\n\nuser root") == [("RUN", "one two"), ("USER", "root")]


def test_dockerfile__copies_what_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {source for words in arguments("COPY") if not words.startswith("--from=") for source in words.split()[:-1]}
    assert copied == allowed, "the context holds what is copied and no more"
    assert all((ROOT / name).exists() for name in copied)
    assert "*" in ignore


def test_dockerfile__takes_torch_from_the_index_it_is_given() -> None:
    assert "TORCH_INDEX" in arguments("ARG"), "no default: it names no host"
    (torch,) = (words for words in arguments("RUN") if "TORCH_INDEX" in words)
    script = 'pip() { echo "$@"; }; ' + torch.replace("/opt/understudy/bin/pip", "pip")
    for index, expected in (("https://index", "--index-url https://index torch"), ("", "--no-cache-dir torch")):
        printed = subprocess.run(
            ["bash", "-euc", script], env={"TORCH_INDEX": index}, capture_output=True, text=True, check=True
        )
        assert expected in printed.stdout
    order = [words for name, words in DOCKERFILE if name in ("RUN", "COPY")]
    assert order.index(torch) < order.index("src src"), "a change of the source does not install torch again"


def test_dockerfile__keeps_no_download_cache() -> None:
    installs = [words for words in arguments("RUN") if "pip install" in words]
    assert installs
    assert all("--no-cache-dir" in words for words in installs)


def test_dockerfile__fixes_the_base_image() -> None:
    default = dict(words.split("=") for words in arguments("ARG") if "=" in words)
    bases = {words.split()[0] for words in arguments("FROM")}
    assert bases == {"python:${PYTHON}-slim"}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    assert f"Programming Language :: Python :: {default['PYTHON']}" in classifiers


def test_dockerfile__runs_the_command_as_an_ordinary_user() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    (entry_point,) = arguments("ENTRYPOINT")
    assert json.loads(entry_point) == list(scripts)
    assert arguments("USER") == ["understudy"]
    names = [name for name, _ in DOCKERFILE]
    assert names.index("USER") > max(at for at, name in enumerate(names) if name in ("RUN", "COPY"))
