"""tools/run_notebooks.py: what it strips, what it writes, and what it says of a failing cell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.run_notebooks import ROOT, WIDGET_VIEW, strip


def display(data: dict[str, object]) -> NotebookNode:
    return new_output("display_data", data=data)


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "run_notebooks.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_strip_keeps_the_picture_and_drops_the_widget() -> None:
    view = {"model_id": "abc", "version_major": 2, "version_minor": 0}
    cell = new_code_cell(
        "slider",
        outputs=[display({WIDGET_VIEW: view, "image/png": "iVBO"}), display({WIDGET_VIEW: view})],
        metadata={"execution": {"iopub.execute_input": "2026-01-01"}, "tags": ["kept"]},
    )
    notebook = new_notebook(cells=[cell])
    notebook.metadata.update(
        NotebookNode(
            widgets={"state": {}},
            kernelspec={"display_name": "somebody's own", "name": "venv42"},
            language_info={"name": "python", "version": "3.11.7"},
        )
    )
    strip(notebook)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert cell.metadata == {"tags": ["kept"]}
    assert cell.outputs[0].data == {"image/png": "iVBO"}
    # Nothing else could be shown in the place of this one.
    assert cell.outputs[1].data == {WIDGET_VIEW: view}


@pytest.fixture
def notebook_path(tmp_path: Path) -> Path:
    (tmp_path / "beside.txt").write_text("beside the notebook")
    return tmp_path / "tiny.ipynb"


def test_executes_in_place_beside_its_files(notebook_path: Path) -> None:
    widget = "import ipywidgets\nipywidgets.IntSlider()"
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Tiny"),
            new_code_cell("from pathlib import Path\nprint(Path('beside.txt').read_text())"),
            new_code_cell(widget),
        ]
    )
    ids = [cell.id for cell in notebook.cells]
    nbformat.write(notebook, notebook_path)

    result = run_script(str(notebook_path))
    assert result.returncode == 0, result.stderr
    written = nbformat.read(notebook_path, as_version=4)
    nbformat.validate(written)
    assert [cell.id for cell in written.cells] == ids
    assert written.cells[1].outputs[0].text == "beside the notebook\n"
    assert written.cells[1].execution_count == 1
    assert set(written.cells[2].outputs[0].data) == {"text/plain"}
    assert set(written.metadata) == {"kernelspec", "language_info"}
    assert "version" not in written.metadata.language_info
    assert not any("execution" in cell.metadata for cell in written.cells)


def test_failing_cell_is_named_and_the_notebook_kept(notebook_path: Path) -> None:
    cells = [new_code_cell("print('fine')"), new_code_cell("1 / 0"), new_code_cell("print('never')")]
    cells[2]["outputs"] = [new_output("stream", text="from an earlier run\n")]
    nbformat.write(new_notebook(cells=cells), notebook_path)
    before = notebook_path.read_bytes()

    result = run_script(str(notebook_path))
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "tiny.ipynb failed: cell 2 (1 / 0): ZeroDivisionError: division by zero"
    )
    assert notebook_path.read_bytes() == before
