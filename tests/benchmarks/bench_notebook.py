"""Each notebook in a fresh kernel: seconds from start to end, and the kernel's peak memory."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nbformat
from about import ROOT, machine  # first: it puts the repository on the path
from nbformat.v4 import new_code_cell

from tests.lab import on_kernel_path
from tools.run_notebooks import execute

BUDGETS = {"01_moon_phases.ipynb": (60, 1.5)}
PEAK = """
import json, sys
if sys.platform == "win32":
    import psutil
    peak = psutil.Process().memory_info().peak_wset
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps(peak))
"""


def measure(path: Path) -> tuple[float, float]:
    """Seconds, the start of the kernel included, and GB of memory."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(PEAK))
    began = time.perf_counter()
    execute(notebook, path.parent)
    seconds = time.perf_counter() - began
    return seconds, json.loads(notebook.cells[-1].outputs[0]["text"]) / 1e9


def main() -> int:
    on_kernel_path()
    print(machine("jax", "flax", "jupyterlab", "nbclient"))
    paths = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        seconds, gigabytes = measure(path)
        line = f"{path.name}: {seconds:.1f} s, peak memory {gigabytes:.2f} GB"
        if path.name in BUDGETS:
            line += " (budget: {} s, {} GB)".format(*BUDGETS[path.name])
        print(line, flush=True)
    return 0 if paths else 1


if __name__ == "__main__":
    sys.exit(main())
