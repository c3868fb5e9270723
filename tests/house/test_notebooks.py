"""Tutorials run as notebooks, in a kernel of their own, and results show themselves there."""

from pathlib import Path

import pytest

from converters.synthetic import draw_category
from tests.drawn import SMALL

jupytext = pytest.importorskip("jupytext", reason="needs the dependency group `peers`")
nbclient = pytest.importorskip("nbclient", reason="needs the dependency group `peers`")
nbformat_v4 = pytest.importorskip("nbformat.v4", reason="needs the dependency group `peers`")
ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_is_a_notebook(page):
    notebook = jupytext.read(page)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, page.name, "exec")


@pytest.mark.filterwarnings("ignore")
def test_a_tutorial_runs_in_a_kernel_and_shows_its_results(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    draw_category(tmp_path, SMALL)
    notebook = jupytext.read(ROOT / "docs" / "tutorials" / "good-parts.md")
    notebook.cells.append(nbformat_v4.new_code_cell("board"))
    notebook.cells.append(nbformat_v4.new_code_cell("data"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    for cell in notebook.cells[-2:]:
        shown = cell.outputs[0]["data"]
        assert "<table" in shown["text/html"]
        assert "\n" not in shown["text/plain"]
