"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium browser; without one the test is skipped, or fails where CI demands one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return path
    if os.environ.get("LECTURE_REQUIRE_BROWSER") == "1":
        pytest.fail("LECTURE_REQUIRE_BROWSER=1, but there is no chromium on PATH")
    pytest.skip("no chromium on PATH")
