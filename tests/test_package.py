"""The package as a whole: who imports whom, what is loaded with it, and that nothing asks the network."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {path.stem: path for path in sorted((ROOT / "lecture_lib").glob("*.py")) if path.stem != "__init__"}

ORDER = [
    *(
        "compile_cache",
        "hints",
        "quiet",
        "checks",
        "idx",
        "moon",
        "strokes",
        "quadrature",
        "priors",
        "gaussians",
        "layers",
    ),
    *("networks", "conditional"),
    *("mnist_files", "datasets", "objectives", "bounds", "gradients", "variational", "adversarial", "chunks"),
    *("devices", "training", "gan_training", "measures", "pushforward"),
    *("moon_trials", "mixture_trials", "code_trials", "elbo_trials", "style_trials", "gan_trials", "weights"),
    *("blur", "combinations", "problem_trials", "judging", "toy_trials", "toy_films", "toy_worlds"),
    *(
        "browser",
        "figures",
        "panels",
        "moon_panels",
        "mixture_panels",
        "curve_panels",
        "infinite_panels",
        "elbo_panels",
        "digit_pictures",
        "style_panels",
        "style_widgets",
        "gan_panels",
        "gan_step_panels",
        "gan_lesson_panels",
        "problem_panels",
        "mean_panels",
        "combination_panels",
        "toy_widgets",
        "toy_panels",
    ),
    *("answers", "exercises", "style_exercises", "gan_exercises", "problem_exercises", "toy_exercises"),
    "pages",
]
"""Each of these imports only from those before it."""

WITH_PICTURES = {
    "figures",
    "panels",
    "moon_panels",
    "mixture_panels",
    "curve_panels",
    "infinite_panels",
    "elbo_panels",
    "digit_pictures",
    "style_panels",
    "style_widgets",
    "gan_panels",
    "gan_step_panels",
    "gan_lesson_panels",
    "problem_panels",
    "mean_panels",
    "combination_panels",
    "toy_widgets",
    "toy_panels",
}

FOR_EXPORT = {"pages"}
"""Loads nbconvert, which no cell of a notebook needs."""


def imports(name: str) -> set[str]:
    """The modules of the package that one of them imports, wherever in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            if node.module == "lecture_lib":
                found |= {alias.name for alias in node.names}
            elif (node.module or "").startswith("lecture_lib."):
                found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lecture_lib.")}
    return found


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_is_missing_from_the_order() -> None:
    assert set(ORDER) <= set(SOURCES)


@pytest.mark.parametrize("name", ORDER)
def test_imports_follow_the_order(name: str) -> None:
    assert imports(name) <= set(ORDER[: ORDER.index(name)])


def test_imports_have_no_cycle() -> None:
    graph = {name: imports(name) for name in SOURCES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(SOURCES)


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What a process without sockets tells: what each plain module loads, and how a training went."""
    loaded = WITH_PICTURES | FOR_EXPORT
    plain = sorted(name for name in SOURCES if name not in loaded and not imports(name) & WITH_PICTURES)
    assert set(ORDER) - loaded <= set(plain)
    # Flax loads IPython itself where there is one, so only what comes on top of Flax is ours.
    code = f"""
import socket

class Refused(socket.socket):
    def __init__(self, *args, **kwargs):
        raise OSError("a socket was asked for")

def refuse(*args, **kwargs):
    raise OSError("an address was asked for")

socket.socket, socket.create_connection, socket.getaddrinfo = Refused, refuse, refuse

import importlib, json, sys
import flax.nnx, jax, optax
theirs, heavy = set(sys.modules), dict()
for name in {plain!r}:
    importlib.import_module("lecture_lib." + name)
    ours = set(sys.modules) - theirs
    heavy[name] = sorted(ours & set(("matplotlib", "ipywidgets", "IPython", "anywidget", "pandas")))
in_all = sorted(set(sys.modules) & set(("matplotlib", "ipywidgets", "anywidget")))
for name in {sorted(set(SOURCES) - FOR_EXPORT)!r}:
    importlib.import_module("lecture_lib." + name)

from flax import nnx
from lecture_lib import datasets, moon, objectives, training
from lecture_lib.networks import VAE
x = datasets.digits("test").images.reshape(-1, 64)
model = VAE(64, 2, rngs=nnx.Rngs(0))
fitted = training.fit(model, objectives.negative_elbo, x, key=jax.random.key(0), steps=20, progress=None)
told = dict(heavy=heavy, in_all=in_all, steps=len(fitted.history.loss), moon=moon.render(90.0).shape)
told |= dict(nbconvert="nbconvert" in sys.modules)
told |= dict(splits=datasets.mnist_splits("no such folder"), pooch="pooch" in sys.modules)
print(json.dumps(told))
"""
    return json.loads(run(code))


def test_only_the_modules_with_pictures_load_matplotlib_and_widgets(told: dict[str, Any]) -> None:
    assert {name: found for name, found in told["heavy"].items() if found} == {}
    assert told["in_all"] == []


def test_only_the_export_loads_nbconvert(told: dict[str, Any]) -> None:
    assert told["nbconvert"] is False
    for name in set(SOURCES) - FOR_EXPORT:
        assert not imports(name) & FOR_EXPORT
    code = "import sys, lecture_lib.pages; print('jax' in sys.modules, 'matplotlib' in sys.modules)"
    assert run(code) == "False False\n"  # JupyterLab's server loads it too, to list the formats


@pytest.mark.parametrize("name", sorted(set(ORDER) - WITH_PICTURES))
def test_modules_without_pictures_name_none(name: str) -> None:
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        roots = {n.split(".")[0] for n in named}
        assert not roots & {"matplotlib", "ipywidgets", "IPython", "anywidget", "PIL"}


def test_nothing_asks_the_network(told: dict[str, Any]) -> None:
    assert (told["steps"], told["moon"]) == (20, [32, 32])
    assert told["splits"] == [] and told["pooch"] is False


def test_nobody_calls_what_does() -> None:
    """Of the names that lead to the network, each stands only where it is made or handed on."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()}
    assert {name for name, text in sources.items() if "pooch" in text} == {"mnist_files"}
    assert {name for name, text in sources.items() if "mnist_files.fetch" in text} == {"datasets"}
    calls = {
        name: [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
        for name, text in sources.items()
    }
    assert not any("fetch_mnist" in ast.unparse(call.func) for found in calls.values() for call in found)
