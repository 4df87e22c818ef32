"""A class: many notebooks of one JupyterLab at once, each in a page and a kernel of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
from playwright.sync_api import Browser

from tests.lab import Lab, Notebook, complaints

MEMORY = "__import__('psutil').Process().memory_full_info()"


class Attended(NamedTuple):
    """What became of one notebook while the others ran."""

    name: str
    seconds: float
    """From the start of all to the end of this one, as far as it was looked at."""
    memory: int
    """Bytes of its kernel at the end; what several kernels share is counted once among them, on Linux."""
    complaints: list[str]
    """Errors of cells, of widgets and of the console; requests to elsewhere."""
    other: list[int]
    """Checked cells that printed something else than is stored."""


def attend(running: Browser, lab: Lab, paths: Sequence[Path], seconds: float) -> list[Attended]:
    """Open the notebooks, run all cells of all of them at the same time, and wait.

    Args:
        running: A browser.
        lab: A JupyterLab whose folder `notebooks` has them, and nothing else.
        paths: The notebooks, no two the same: JupyterLab gives a file one kernel, however often it is open.
        seconds: The longest to wait for one.
    """
    opened = [Notebook(running, lab, f"notebooks/{path.name}") for path in paths]
    try:
        began = time.monotonic()
        for notebook in opened:
            notebook.start_all()
        attended = []
        for path, notebook in zip(paths, opened, strict=True):
            notebook.wait_until_run(seconds)
            ended = time.monotonic() - began
            told = notebook.ask(f"getattr({MEMORY}, 'pss', {MEMORY}.rss)")
            attended.append(Attended(path.name, ended, told, complaints(notebook), _other(path, notebook)))
        return attended
    finally:
        for notebook in opened:
            notebook.close()


def _other(path: Path, notebook: Notebook) -> list[int]:
    cells = nbformat.read(path, as_version=4).cells
    stored = {
        i: "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for i, cell in enumerate(cells)
        if "# NBVAL_CHECK_OUTPUT" in cell.source
    }
    return [i for i, text in stored.items() if notebook.printed(i) != text]
