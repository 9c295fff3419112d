"""The notebook runs as it stands, shows tables and pictures, and is kept without outputs."""

from __future__ import annotations

import json

import pytest

from tests.docs.scripts import imported

maker = imported("make_site")


def test_notebook__is_kept_without_outputs() -> None:
    cells = json.loads(maker.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of the client, not of ours
def test_notebook__runs_and_shows_its_results() -> None:
    cells = [cell for cell in maker.executed(maker.NOTEBOOK).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert [f"<b>{name}</b>" in shown for name in ("Collection", "Result", "Plan", "Comparison", "Predictions")] == (
        [True] * 5
    )
    assert shown.count("<svg") == 2
