"""Eight students at once on one JupyterLab: seconds until all cells have run, and memory of each kernel.

First one of them alone, then eight with the same notebook, then one with each notebook; the cache of
compiled programs is empty at first and shared. Memory is the proportional set size: what kernels share is
counted once.

python tests/benchmarks/bench_class.py [01_moon_phases.ipynb]
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
from about import ROOT, head, machine, row  # first: it puts the repository on the path

from tests.classes import Attended, attend
from tests.lab import browser, jupyterlab

STUDENTS = 8


def told(name: str, attended: list[Attended]) -> None:
    memory = [one.memory / 1e9 for one in attended]
    last = max(one.seconds for one in attended)
    faulty = [one for one in attended if one.complaints or one.other]
    row(name, str(len(attended)), f"{last:.0f}", f"{max(memory):.2f}", f"{sum(memory):.1f}", str(len(faulty)))
    for one in faulty:
        print(f"  {one.name}: {one.complaints}; checked cells that differ: {one.other}", file=sys.stderr)


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no chromium on PATH.", file=sys.stderr)
        return 1
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    chosen = ROOT / "notebooks" / (sys.argv[1] if len(sys.argv) > 1 else "01_moon_phases.ipynb")
    print(machine("jax", "jupyterlab"), f"; {psutil.virtual_memory().total / 1e9:.0f} GB", sep="")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(ROOT / "notebooks", work / "root" / "notebooks")
        copies = [work / "root" / "notebooks" / f"student_{k}.ipynb" for k in range(STUDENTS)]
        for copy in copies:
            shutil.copy(chosen, copy)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "jax")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        with jupyterlab(work / "root", work) as lab, browser(chromium) as running:
            head(
                "notebooks at once", "how many", "all done, s", "largest kernel, GB", "all, GB", "with faults"
            )
            told(f"{chosen.stem}, nothing compiled yet", attend(running, lab, copies[:1], 1800))
            told(chosen.stem, attend(running, lab, copies[:1], 1800))
            told(chosen.stem, attend(running, lab, copies, 1800))
            told("each of the collection", attend(running, lab, paths, 1800))
            server = sum(
                process.memory_info().rss
                for process in psutil.Process().children()
                if "jupyterlab" in " ".join(process.cmdline())
            )
            print(f"\nThe server itself: {server / 1e9:.2f} GB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
