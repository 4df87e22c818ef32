"""What a benchmark prints: about the machine, and tables; and the root of the repository on the path."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))


def machine(*packages: str) -> str:
    """Cores, load, Python and versions, in a line."""
    load = " ".join(f"{part:.1f}" for part in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, load {load}; Python {platform.python_version()}, {versions}"


def head(*columns: str) -> None:
    """Print the head of a Markdown table; the first column is text, the others are numbers."""
    print()
    row(*columns)
    row("---", *["---:"] * (len(columns) - 1))


def row(*cells: str) -> None:
    """Print a row of a Markdown table, at once."""
    print(f"| {' | '.join(cells)} |", flush=True)
