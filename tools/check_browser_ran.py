"""Fail unless the browser tests in a pytest junit report ran, all of them: a skip proves nothing."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

BROWSER = re.compile(r"test_(\w+_)?browser(_|$)|test_pages$")
"""The files whose tests need a browser."""


def problem(report: str) -> str | None:
    """What is wrong with the browser tests in this junit XML, or None."""
    cases = [
        case
        for case in ET.fromstring(report).iter("testcase")
        if any(BROWSER.match(part) for part in case.get("classname", "").split("."))
    ]
    if not cases:
        return "no browser test ran (tests/test_browser.py and the like)"
    skipped = [case.get("name", "") for case in cases if case.find("skipped") is not None]
    if skipped:
        return "browser tests were skipped: " + ", ".join(skipped)
    return None


if __name__ == "__main__":
    found = problem(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if found is not None:
        sys.exit(f"The run does not count: {found}.")
