"""The notebooks: what a reader finds in them, and that they run and print what is stored (nbval)."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.xla_flags import as_for_readers

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LECTURES = [path for path in PATHS if not path.name.startswith("00")]
PROSE_CELL = "markdown"

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_lecture = pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def table_rows(text: str, heading: str) -> list[tuple[str, ...]]:
    """The body rows of the first table under a heading."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == PROSE_CELL)


def test_there_are_notebooks() -> None:
    names = ["00_start_here", "01_moon_phases", "02_gaussian_mixtures", "03_elbo", "04_cvae_style_transfer"]
    names += ["05_problems_of_vae", "06_gan_evolution", "07_gan_toy_1d"]
    assert [path.stem for path in PATHS][:8] == names


@each_notebook
def test_was_stored_after_one_run_from_top_to_bottom(path: Path) -> None:
    notebook = read(path)
    cells = code_cells(path)
    assert "widgets" not in notebook.metadata
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


@each_notebook
def test_no_warning_is_stored(path: Path) -> None:
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@each_notebook
def test_pictures_can_be_seen_and_read_without_a_kernel(path: Path) -> None:
    outputs = [output for cell in code_cells(path) for output in cell.outputs if "data" in output]
    pictures = [output for output in outputs if "image/png" in output.data]
    assert pictures, "a reader without a kernel sees no picture"
    for output in pictures:
        assert len(output.metadata["image/png"]["alt"]) > 20
        assert output.data["text/plain"] == output.metadata["image/png"]["alt"]
    for output in outputs:
        assert "application/vnd.jupyter.widget-view+json" not in output.data


@each_notebook
def test_panels_have_their_still(path: Path) -> None:
    for cell in code_cells(path):
        if re.search(r"^\w+_(panels|widgets)\.\w+\(", cell.source, re.MULTILINE):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


@each_notebook
def test_cells_are_short(path: Path) -> None:
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code_cells(path)]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 6


@each_notebook
def test_something_is_checked(path: Path) -> None:
    assert any("# NBVAL_CHECK_OUTPUT" in cell.source for cell in code_cells(path))


@each_lecture
def test_opens_and_ends_as_every_lecture_does(path: Path) -> None:
    first = read(path).cells[0].source
    assert "**You will be able to**" in first
    assert re.search(r"\*\*Time:\*\* about \d+ minutes", first)
    text = prose(path)
    assert text.index("## Ledger") < text.index("## Exercises") < text.index("## Read on")
    exercises = [cell for cell in code_cells(path) if "exercises.check_" in cell.source]
    assert 3 <= len(exercises) <= 5
    sections = re.split(r"\n## ", text.split("\n## Ledger")[0])[1:]
    assert all("*Moral: " in section for section in sections)


def test_the_ledger_of_00_gathers_all_others() -> None:
    gathered = table_rows(prose(PATHS[0]), "Ledger of claims")
    expected = [(path.stem[:2], *row) for path in LECTURES for row in table_rows(prose(path), "Ledger")]
    assert gathered == expected
    assert expected


def test_verdicts_are_among_the_three() -> None:
    for path in LECTURES:
        for row in table_rows(prose(path), "Ledger"):
            assert len(row) == 3
            assert re.match(r"(holds|does not hold)\b", row[2]), row


def test_the_map_names_every_notebook() -> None:
    rows = table_rows(prose(PATHS[0]), "The lecture, part by part")
    linked = {match for row in rows for match in re.findall(r"\((\w+\.ipynb)\)", row[0])}
    assert linked == {path.name for path in LECTURES}


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook's cells anew and compare what the checked ones print with what is stored."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        str(path.parent),
    ]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", path.name]
    environment = as_for_readers(os.environ)
    return subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.notebook
@each_notebook
def test_runs_and_prints_what_is_stored(path: Path) -> None:
    result = nbval(path)
    assert result.returncode == 0, result.stdout[-5000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed.group(1)) == len(code_cells(path))


@pytest.mark.notebook
def test_a_stale_output_would_be_noticed(tmp_path: Path) -> None:
    stale = new_output("stream", name="stdout", text="2 + 2 is 4: False\n")
    cell = new_code_cell(
        '# NBVAL_CHECK_OUTPUT\nprint("2 + 2 is 4:", 2 + 2 == 4)', outputs=[stale], execution_count=1
    )
    path = tmp_path / "stale.ipynb"
    nbformat.write(new_notebook(cells=[cell]), path)
    result = nbval(path)
    assert result.returncode == 1
    assert "1 failed" in result.stdout
