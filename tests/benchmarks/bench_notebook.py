"""Each notebook in a fresh kernel, with an empty cache of compiled programs and with a full one.

Seconds from the start of the kernel to the end of the last cell, and the kernel's peak memory; in turns:
cold, warm, cold, warm.

python tests/benchmarks/bench_notebook.py [notebooks/01_moon_phases.ipynb ...]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from about import ROOT, head, machine, row  # first: it puts the repository on the path
from nbformat.v4 import new_code_cell

from tests.lab import on_kernel_path
from tools.run_notebooks import execute

TURNS = 2
CACHE = "JAX_COMPILATION_CACHE_DIR"
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


def measure(path: Path, cache: str) -> tuple[float, float]:
    """Seconds, the start of the kernel included, and GB of memory."""
    os.environ[CACHE] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
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
    head("notebook", "cold, s", "warm, s", "warm / cold", "peak memory, GB")
    for path in paths:
        turns = []
        for _ in range(TURNS):
            with tempfile.TemporaryDirectory() as cache:
                turns.append((measure(path, cache), measure(path, cache)))
        cold, warm = (statistics.median(turn[k][0] for turn in turns) for k in (0, 1))
        ratio = statistics.median(warm[0] / cold[0] for cold, warm in turns)
        peak = max(gigabytes for turn in turns for _, gigabytes in turn)
        row(path.stem, f"{cold:.0f}", f"{warm:.0f}", f"{ratio:.2f}", f"{peak:.2f}")
    return 0 if paths else 1


if __name__ == "__main__":
    sys.exit(main())
