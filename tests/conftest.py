"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """A folder with the test split of the original MNIST; where there is none the test is skipped."""
    from lecture_lib import datasets  # with it comes JAX, which not every test needs

    told = os.environ.get("LECTURE_MNIST")
    places = [ROOT / "data" / "mnist", *([Path(told)] if told else []), ROOT.parent / "shared" / "mnist"]
    for place in places:
        if "test" in datasets.mnist_splits(place):
            return place
    pytest.skip("no MNIST in data/mnist; LECTURE_MNIST can name another folder")
