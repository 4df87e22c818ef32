"""Execute the notebooks in place, each in a fresh kernel, and keep only what a reader can see.

A notebook in which a cell fails stays as it was on disk.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lecture_lib import pages

ROOT = Path(__file__).resolve().parent.parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT_S = 1800
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def strip(notebook: NotebookNode) -> None:
    """Remove, in place, what belongs to one run or one machine only.

    A stored widget has no model in the next reader's kernel. Where its output has another
    representation as well, that one is to be shown instead of "model not found". Where there is a
    picture, HTML goes too: code hosts would show its remains, without scripts, in place of the picture.
    What of it is a widget that needs no kernel is kept for exported pages, under a type of its own.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = NotebookNode(KERNELSPEC)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(WIDGET_VIEW, None)
            pages.store(data)
        cell.outputs = joined(cell.outputs)


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs as a screen shows them: what was printed in pieces is one, and a bar its last state."""
    kept: list[NotebookNode] = []
    for output in outputs:
        before = kept[-1] if kept else None
        if before and output.output_type == "stream" and output.name == before.get("name"):
            before.text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.text.split("\n"))
            output.text = "\n".join(lines)
    return kept


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells, in place, with `folder` as the working directory."""
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT_S,
        record_timing=False,
        store_widget_state=False,
        # Every kernel would warn that it listens on this computer's own TCP ports.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def where_it_stopped(notebook: NotebookNode) -> str:
    """The number and first line of the last code cell that was begun."""
    begun = [
        (number, cell)
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code" and (cell.execution_count is not None or cell.outputs)
    ]
    if not begun:
        return "before the first cell"
    number, cell = begun[-1]
    first_line = next(iter(cell.source.splitlines()), "")
    return f"cell {number} ({first_line})"


def run(path: Path) -> str | None:
    """Execute one notebook and write it back; the reason if it could not be done, else None."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # nbclient clears a cell only on reaching it; a failure must not point at an old output.
            cell.outputs, cell.execution_count = [], None
    try:
        execute(notebook, path.parent)
    except CellExecutionError as error:
        return f"{where_it_stopped(notebook)}: {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        return f"{where_it_stopped(notebook)}: {type(error).__name__}: {str(error).splitlines()[0]}"
    strip(notebook)
    temporary = path.with_name(path.name + ".new")
    try:
        nbformat.write(notebook, temporary)
        os.replace(temporary, path)
    except OSError as error:
        return f"it ran, but could not be written: {error.strerror or error}"
    finally:
        temporary.unlink(missing_ok=True)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute notebooks in place, each in a fresh kernel.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    paths = parser.parse_args(arguments).notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print("There are no notebooks in notebooks/.", file=sys.stderr)
        return 1
    failures = 0
    for path in paths:
        start = time.monotonic()
        problem = run(path)
        if problem is None:
            print(f"{path.name}: {time.monotonic() - start:.1f} s", flush=True)
        else:
            failures += 1
            print(f"{path.name} failed: {problem}", file=sys.stderr, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
