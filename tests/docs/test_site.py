"""The site is built strictly, works without network, and has every page, public name and command."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType
from typing import Any

import pytest
import typer.main

import understudy
from tests.docs.scripts import imported
from understudy.cli.main import app
from understudy.methods.base import METHODS


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that builds the site."""
    return imported("make_site")


@pytest.fixture(scope="module")
def site(maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder: Path = maker.build(tmp_path_factory.mktemp("docs"))
    return folder


def test_build__loads_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href|srcset)=["']?([^"'\s>]+)""")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    loaded = {(page.name, url) for page in pages for url in loads.findall(page.read_text(encoding="utf-8"))}
    loaded |= {
        (sheet.name, url)
        for sheet in site.rglob("*.css")
        for url in re.findall(r"""(?:url\(|@import )["']?([^"')\s]+)""", sheet.read_text(encoding="utf-8"))
    }
    assert any(url.endswith(".js") for _, url in loaded)
    assert {(name, url) for name, url in loaded if re.match(r"(?:https?:)?//", url)} == set()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[text](missing.md)", "page does not exist"),
        ("[text](data.md#missing)", "anchor does not exist"),
        ("::: understudy.missing", "Could not collect 'understudy.missing'"),
    ],
)
def test_build__fails_on_a_broken_link(
    text: str,
    fault: str,
    maker: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def write_pages(folder: Path, *, execute: bool) -> None:
        (folder / "docs").mkdir(parents=True)
        (folder / "docs" / "data.md").write_text(f"# Data\n\n{text}\n", encoding="utf-8")

    monkeypatch.setattr(maker, "write_pages", write_pages)
    monkeypatch.setattr(maker, "navigation", lambda _folder: ["docs/data.md"])
    with pytest.raises(CalledProcessError):
        maker.build(tmp_path)
    assert fault in "".join(capfd.readouterr())


def test_build__documents_every_public_name(site: Path) -> None:
    pages = [unescape(page.read_text(encoding="utf-8")) for page in (site / "reference").glob("*.html")]
    for name in understudy.__all__:
        assert any(f'id="understudy.{name}"' in page for page in pages), f"{name} is not in the reference"


def test_notebook_page__has_cells_and_outputs(maker: ModuleType, tmp_path: Path) -> None:
    output = {"output_type": "execute_result", "data": {"text/html": ["<b>shown</b>"], "text/plain": ["hidden"]}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"output_type": "stream", "text": ["2"]}, output]},
    ]
    path = tmp_path / "example.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert maker.notebook_page(path, execute=False) == (
        "# Title\ntext\n\n```python\n1 + 1\n```\n\n```\n2\n```\n\n<b>shown</b>\n"
    )


def test_build__documents_every_command(site: Path) -> None:
    page = unescape((site / "reference" / "commands.html").read_text(encoding="utf-8"))
    for command in app.registered_commands:
        assert command.callback is not None
        assert f'id="understudy-{command.callback.__name__}"' in page
    assert "--unlabeled" in page


def test_commands__have_every_option_as_it_is_typed(maker: ModuleType) -> None:
    lines = list(maker.commands())
    for command in typer.main.get_command(app).commands.values():
        for parameter in command.params:
            for name in (*parameter.opts, *parameter.secondary_opts) if parameter.param_type_name == "option" else ():
                assert any(f"`{name}`" in line for line in lines), name
    assert not any("`--no-verbose`" in line or "`--assignments`" in line for line in lines)


def test_navigation__has_every_page_once(maker: ModuleType, site: Path) -> None:
    def flat(section: Any) -> list[str]:
        if isinstance(section, str):
            return [section]
        parts = section.values() if isinstance(section, dict) else section
        return [page for part in parts for page in flat(part)]

    pages = site.with_name("pages")
    listed = flat(maker.navigation(pages))
    assert sorted(listed) == sorted(str(path.relative_to(pages)) for path in pages.rglob("*.md"))
    assert {f"docs/methods/{name}.md" for name in METHODS.names()} < set(listed)
