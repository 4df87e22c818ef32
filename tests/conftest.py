"""What all tests share: fixtures, the compiled programs, and which tests run in one worker."""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import shapes
from tests.looks import look
from tests.xla_flags import compile_quickly

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.lab import Lab

ROOT = Path(__file__).resolve().parent.parent


def keep_compiled(folder: Path) -> None:
    """Let JAX keep its compiled programs in a folder: here, in other workers, kernels and later runs.

    Most of what these tests compute is compiled longer than it runs. Where the reader's environment names
    a folder (or none, by an empty name) that one counts, and where nothing can be written JAX compiles anew.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def keep_bytecode(folder: Path) -> None:
    """Let Python keep its bytecode in a folder, where the environment forbids it beside the sources.

    The tests start some thirty Pythons, and each would compile all its libraries anew: six seconds more.
    """
    if "PYTHONPYCACHEPREFIX" in os.environ or not sys.dont_write_bytecode:
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(folder)


# pytest reads this file before any test imports JAX, which looks at the environment only once.
keep_compiled(ROOT / ".pytest_cache" / "jax")
keep_bytecode(ROOT / ".pytest_cache" / "bytecode")
compile_quickly()
shapes.install()


def group_of(nodeid: str) -> str:
    """What has to run in one worker: all tests of a notebook, the other files in the browser, or a file.

    A notebook runs in the browser and without it, so the second run finds its programs compiled. The tests of
    a file have models and programs in common: dealt out singly, both workers would train and compile them.
    """
    file, _, test = nodeid.partition("::")
    name = Path(file).name
    if name == "test_style_browser.py":
        return "pad and board"
    if name not in ("test_browser.py", "test_proof_browser.py", "test_notebooks.py"):
        return file
    notebook = re.search(r"\[(\d\d_\w+)(\.ipynb)?(-\w+)?\]$", test)
    if notebook:
        return notebook[1]
    return nodeid if name == "test_notebooks.py" else name.removeprefix("test_").removesuffix(".py")


def installed_browser() -> str | None:
    """The path of a Chromium browser, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.hookimpl(trylast=True)  # after the marks and names that were asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no worker is left alone with it: notebooks, then large files."""
    sizes = Counter(group_of(item.nodeid) for item in items)
    items.sort(
        key=lambda item: (
            not item.path.name.endswith(("browser.py", "test_notebooks.py")),
            -sizes[group_of(item.nodeid)],
        )
    )
    # Where JupyterLab runs every notebook in the same session and compares what the checked cells print, a
    # second run by nbval would take two minutes and find nothing else; by itself (`-m notebook`) it runs.
    compared = any("test_checked_cells_print_what_is_stored" in item.nodeid for item in items)
    if compared and installed_browser():
        again = [item for item in items if "test_runs_and_prints_what_is_stored" in item.nodeid]
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]


def pytest_collection_finish() -> None:
    """What has been imported by now stays: garbage collections, which JAX makes dear, pass it over."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    """The package's figures are looked at from the moment on in which there can be any."""
    look()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, the groups above: under pytest 9.2, xdist 3.8 forgets the mark xdist_group."""
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False  # the number of tests says little of how long a notebook takes
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium browser; without one the test is skipped, or fails where CI demands one."""
    path = installed_browser()
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


# A worker's groups alternate between files, so that one of these for each module would be started for each
# notebook anew. Pages, kernels and notebooks are the tests' own; only the servers are shared.


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    from tests.lab import browser  # only the tests in a browser need Playwright

    with browser(chromium) as running:
        yield running


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that JupyterLab shows, with copies of the notebooks."""
    folder = tmp_path_factory.mktemp("root")
    if (ROOT / "notebooks").is_dir():
        shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    return folder


@pytest.fixture(scope="session")
def lab(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running JupyterLab."""
    from tests.lab import jupyterlab

    with jupyterlab(root, tmp_path_factory.mktemp("lab")) as running:
        yield running
