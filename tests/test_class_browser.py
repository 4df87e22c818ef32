"""A load test: all eight notebooks run at once in one JupyterLab, as in a class."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.classes import attend
from tests.lab import ROOT, Lab

pytestmark = [pytest.mark.browser, pytest.mark.proof]

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST = 1.5e9
"""Bytes of a kernel, as the README promises to who plans for a class."""


def test_eight_notebooks_at_once(lab: Lab, chrome: Browser) -> None:
    assert len(PATHS) == 8
    attended = attend(chrome, lab, PATHS, seconds=1800)
    assert [(one.name, one.complaints, one.other) for one in attended] == [
        (path.name, [], []) for path in PATHS
    ]
    assert max(one.memory for one in attended) < MOST
