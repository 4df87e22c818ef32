"""The fault table of README.md: each row names its tests, which stand here or beside what they test."""

from __future__ import annotations

import _thread
import ast
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lecture_lib import (
    chunks,
    elbo_trials,
    figures,
    gan_trials,
    hints,
    mixture_trials,
    moon_panels,
    moon_trials,
    problem_trials,
    quiet,
    style_trials,
    toy_panels,
    toy_trials,
    toy_worlds,
    training,
    weights,
)
from lecture_lib.priors import NORMAL
from lecture_lib.style_trials import Digits
from tests import faults
from tests.faults import NOTEBOOKS, ROOT
from tools import bootstrap, run_notebooks

KEY = jax.random.key(0)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# --- the table itself -----------------------------------------------------------------------


def rows() -> list[list[str]]:
    """The body of the fault table, cell by cell."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## When something goes wrong\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_fault_of_the_table_names_tests_that_exist() -> None:
    assert len(rows()) >= 12
    for fault, _, proof in rows():
        named = re.findall(r"`(tests/\w+\.py)::(\w+)`", proof)
        assert named, f"no test is named for: {fault}"
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert test in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, f"{file}::{test}"


# --- interruption ---------------------------------------------------------------------------

RNG = np.random.default_rng(0)
DIGITS = Digits(RNG.uniform(size=(200, 16)).astype(np.float32), (np.arange(200) % 10).astype(np.int32))
NUMBERS = RNG.normal(size=200).astype(np.float32)
RECIPE = style_trials.DIGITS._replace(hidden=(8,))
TWO = jax.random.split(KEY, 2)


def losses_of(result: Any) -> Any:
    """What tells how far a training came: its losses, or the steps of its snapshots."""
    if isinstance(result, mixture_trials.Run):
        assert len(result.steps) == len(result.models)
        return np.array(result.steps)
    history = result.history
    return history.loss if isinstance(history, training.History) else history.generator_loss


TRAININGS: dict[str, Callable[[int], Any]] = {
    "elbo_trials.train_vae": lambda steps: elbo_trials.train_vae(KEY),
    "gan_trials.train": lambda steps: gan_trials.train(DIGITS, key=KEY, steps=steps),
    "mixture_trials.train": lambda steps: mixture_trials.train(NUMBERS, NORMAL, key=KEY, steps=steps),
    "moon_trials.train": lambda steps: moon_trials.train("VAE", (0, 90), key=KEY),
    "problem_trials.train": lambda steps: problem_trials.train(DIGITS, key=KEY, latent=2, steps=steps),
    "style_trials.train": lambda steps: style_trials.train(
        DIGITS, key=KEY, recipe=RECIPE._replace(steps=steps)
    ),
    "toy_trials.train": lambda steps: toy_trials.train(
        toy_trials.RECIPE, keys=TWO, steps=steps, every=50, chunk=50
    ),
}
"""Every function that hands a training on to its caller, with so many steps."""

OTHERS = {
    "moon_trials.run": "test_moon_trials.py::test_an_interrupted_run_is_not_judged",
    "style_trials.train_reader": "below",
}


def small(patch: pytest.MonkeyPatch, steps: int) -> None:
    for module in (elbo_trials, moon_trials):
        patch.setattr(module, "STEPS", steps)
    for module in (gan_trials, problem_trials):
        patch.setattr(module, "HIDDEN", (8,))


def test_every_training_is_among_those_that_are_interrupted_here() -> None:
    found = set()
    for path in (ROOT / "lecture_lib").glob("*.py"):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            calls = [ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call)]
            if any(re.fullmatch(r"(training|gan_training)\.fit\w*", call) for call in calls):
                found.add(f"{path.stem}.{getattr(function, 'name', '')}")
    assert found == set(TRAININGS) | set(OTHERS)


def nothing_is_held() -> bool:
    """Whether another thread can have the lock that panels draw under."""
    held: list[bool] = []

    def ask() -> None:
        held.append(figures.ONE_AT_A_TIME.acquire(timeout=10))
        figures.ONE_AT_A_TIME.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return held == [True]


def raise_at(call: int) -> Callable[..., None]:
    """In place of `chunks._stop_if_diverged`, which is called when a chunk is back: Ctrl-C at one of them."""
    calls = 0

    def stop(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    return stop


@pytest.mark.proof
@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_keeps_what_it_learned_when_interrupted(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, train = 200, TRAININGS[name]
    small(monkeypatch, steps)
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_stop_if_diverged", raise_at(2))
        cut = train(steps)
    told = re.search(r"^Interrupted after step (\d+) of 200: the model keeps", capsys.readouterr().out, re.M)
    assert told and 0 < int(told[1]) < steps
    whole = train(steps)  # and the next call works as if nothing had been
    assert capsys.readouterr().out == "" and nothing_is_held()
    kept, all_ = losses_of(cut), losses_of(whole)
    n = kept.shape[-1]
    assert 0 < n < all_.shape[-1]
    np.testing.assert_array_equal(kept, all_[..., :n])
    if not isinstance(cut, mixture_trials.Run):
        assert (cut.interrupted, whole.interrupted, n) == (True, False, int(told[1]))


@pytest.mark.parametrize("name", TRAININGS)
def test_a_signal_at_any_moment_is_an_interruption(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Kernel > Interrupt: SIGINT, a while after the first chunk, wherever the training then is."""
    small(monkeypatch, 1_000_000)
    timer = threading.Timer(0.05, _thread.interrupt_main)
    check = chunks._stop_if_diverged

    def begun(*told: Any) -> None:
        if not timer.is_alive() and timer.ident is None:
            timer.start()
        check(*told)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "_stop_if_diverged", begun)
            cut = TRAININGS[name](1_000_000)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert "Interrupted after step" in capsys.readouterr().out
    assert np.isfinite(losses_of(cut)).all() and nothing_is_held()


def test_an_interrupted_reader_is_a_reader(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chunks, "_stop_if_diverged", raise_at(2))
    reader = style_trials.train_reader(DIGITS, key=KEY, hidden=8, steps=200)
    assert "Interrupted after step 16 of 200" in capsys.readouterr().out
    assert np.isfinite(reader(DIGITS.x)).all()


def test_games_over_many_seeds_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = []
    monkeypatch.setattr(toy_worlds.toy_films, "film", lambda *_: pytest.fail("half-played games were judged"))
    monkeypatch.setattr(
        toy_trials,
        "train",
        lambda settings, **_: played.append(settings) or SimpleNamespace(interrupted=True),
    )
    with pytest.raises(KeyboardInterrupt, match="half-played ones would be judged"):
        toy_worlds.fates(keys=TWO)
    assert len(played) == 1  # and not the next world, and the next


def test_em_side_by_side_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the queue is not begun, and the interruption arrives."""
    begun: list[str] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def fit(curve: str) -> Any:
        begun.append(curve)
        _thread.interrupt_main()
        time.sleep(0.5)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            mixture_trials.side_by_side(fit, {name: name for name in "abcdefgh"})  # type: ignore[misc]
            time.sleep(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(begun) < 4


def test_an_interrupted_retraining_is_told_in_the_panel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(moon_trials, "STEPS", 200)
    panel = moon_panels.retrain_panel()
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_stop_if_diverged", raise_at(2))
        panel.controls["seed"].value = 1
    assert "RuntimeError: the training was interrupted, and a half-trained VAE" in panel.message.value
    assert nothing_is_held()
    panel.controls["seed"].value = 2
    assert panel.message.value == ""


def test_an_interrupted_film_is_played_to_its_end_when_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = toy_trials.train
    short = {"steps": 200, "every": 50, "chunk": 50}
    monkeypatch.setattr(toy_trials, "train", lambda settings, *, keys: whole(settings, keys=keys, **short))
    monkeypatch.setattr(toy_panels.toy_films, "film", lambda fitted, _: SimpleNamespace(step=fitted.steps))
    games = toy_panels._Games()
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_stop_if_diverged", raise_at(2))
        assert games(toy_trials.RECIPE, 0)[1].step[-1] == 50
    assert games(toy_trials.RECIPE, 0)[1].step[-1] == 200


# --- NaN, and learning rates that diverge ---------------------------------------------------

NAN = Digits(np.where(np.arange(16) == 3, np.nan, DIGITS.x).astype(np.float32), DIGITS.labels)


@pytest.mark.parametrize(
    "train",
    [
        lambda: gan_trials.train(NAN, key=KEY, steps=5),
        lambda: mixture_trials.train(np.array([0.5, np.nan] * 50, np.float32), NORMAL, key=KEY, steps=5),
        lambda: problem_trials.train(NAN, key=KEY, latent=2, steps=5),
        lambda: style_trials.train(NAN, key=KEY, recipe=RECIPE),
        lambda: style_trials.train_reader(NAN, key=KEY, hidden=8, steps=5),
    ],
    ids=["gan", "mixture", "vae", "conditional", "reader"],
)
def test_no_training_begins_on_nan(train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 5)
    with pytest.raises(ValueError, match=r"^data(\[0\])? has \d+ of \d+ values that are not finite"):
        train()


def test_a_rate_that_diverges_is_told_by_every_training(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 200)
    told = r"^training diverged: .+ not finite at step \d+; .+ Try a smaller learning rate\.$"
    with pytest.raises(FloatingPointError, match=told):
        style_trials.train(DIGITS, key=KEY, recipe=RECIPE._replace(learning_rate=1e12, steps=200))
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError, match=told):
        patch.setattr(gan_trials, "RATE", 1e30)
        gan_trials.train(DIGITS, key=KEY, steps=200)
    lost = toy_trials.RECIPE._replace(generator_rate=np.array([1e-3, 1e36]), penalty=0.0)
    fitted = toy_trials.train(lost, keys=TWO, steps=200, every=50, chunk=50)
    assert fitted.diverged.tolist() == [False, True]  # and the other game is played to its end
    assert len(fitted.history.step) == 200


# --- a restart, cells out of order ----------------------------------------------------------


def test_hint_under_a_name_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    registered: dict[str, Callable[[Any], None]] = {}
    shell = SimpleNamespace(events=SimpleNamespace(register=registered.__setitem__))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    hints.install()
    explain = registered["post_run_cell"]
    for error in (None, ValueError("x"), UnboundLocalError("x")):
        explain(SimpleNamespace(error_in_exec=error))
    assert capsys.readouterr().out == ""
    explain(SimpleNamespace(error_in_exec=NameError("name 'vae' is not defined", name="vae")))
    assert capsys.readouterr().out == (
        "If a cell above makes 'vae', it has not been run since the kernel started. "
        "Run > Run All Above Selected Cell does that; then run this cell again.\n"
    )


@pytest.mark.parametrize("ipython", [None, SimpleNamespace(get_ipython=lambda: None), SimpleNamespace()])
def test_no_hint_without_a_notebook(ipython: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if ipython is None:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    hints.install()


@pytest.mark.proof
@each_notebook
def test_a_restart_and_cells_out_of_order(path: Path) -> None:
    """After a restart Python names what is missing; once the imports have run, a hint says how to go on."""
    (middle, missing), *_ = faults.names_missing(path)
    with faults.kernel() as (manager, client):
        assert faults.run(client, "vae = 1") == ("", "", "")
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=300)
        said = faults.run(client, middle)
        assert said.error == "NameError" and re.fullmatch(r"name '\w+' is not defined", said.message)
        assert faults.run(client, faults.imports(path)) == ("", "", "")
        said = faults.run(client, middle)
        assert said.error == "NameError"
        name = re.search(r"'(\w+)'", said.message)
        assert name and name[1] in missing
        assert f"If a cell above makes '{name[1]}', it has not been run" in said.printed
        for source in (cell for cell in faults.cells(path) if "exercises.check_" in cell):
            said = faults.run(client, source)
            hint = said.error == "NameError" and "Run > Run All Above" in said.printed
            assert hint or said.printed.startswith(("Waiting for your answer", "Not yet.")), (source, said)


# --- no network, a read-only checkout, two notebooks at once --------------------------------

GUARD = """
import os, socket
connect, lookup = socket.socket.connect, socket.getaddrinfo

def refuse(address):
    with open(os.environ["ASKED"], "a") as file:
        print(address, file=file)
    raise OSError(f"the network was asked for {address}")

def here(host):
    return host in (None, "", "localhost", "0.0.0.0", "::1") or str(host).startswith("127.")

def guarded(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX or here(address[0]) else refuse(address)

def looked_up(host, *rest, **options):
    return lookup(host, *rest, **options) if here(host) else refuse(host)

socket.socket.connect, socket.getaddrinfo = guarded, looked_up
"""

LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def guard(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """What makes every Python of a process refuse the network, and write down who was asked."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    asked = tmp_path / "asked"
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "guard"), str(ROOT)]), "ASKED": str(asked)}, asked


def test_the_guard_refuses(guard: tuple[dict[str, str], Path]) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80))"
    environment = faults.for_kernels(**guard[0])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "OSError: the network was asked for" in done.stderr
    assert guard[1].read_text().splitlines() == ["192.0.2.1"]


def stored(path: Path) -> dict[str, list[str]]:
    """What the notebook has stored, as `faults.end` tells it."""
    outputs = [o for c in nbformat.read(path, 4).cells if c.cell_type == "code" for o in c.outputs]
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout").splitlines()
    return {"printed": [line for line in printed if line and "|" not in line], "warned": []}


def as_stored(told: dict[str, list[str]], path: Path) -> bool:
    """Whether a notebook printed what it should, warned of nothing, and showed its picture."""
    picture = "image/png" in told.pop("shown")
    return picture and told == stored(path)


@pytest.mark.proof
def test_a_notebook_without_a_network(guard: tuple[dict[str, str], Path], tmp_path: Path) -> None:
    """In a network namespace of its own where the machine lends one, and asking nobody everywhere."""
    alone = ["unshare", "-rn", sys.executable, "-c", LOOPBACK] if faults.namespaces("-n") else []
    process = faults.begin(NOTEBOOKS[0], ROOT / "notebooks", prefix=alone, **guard[0])
    assert as_stored(faults.end(process), NOTEBOOKS[0])
    assert not guard[1].exists()


def test_jupyterlab_is_told_to_ask_nobody() -> None:
    flags = re.search(r"^LAB_FLAGS = (.+?)\n\n", (ROOT / "Makefile").read_text(), re.M | re.S)
    assert flags is not None
    for flag in (
        "--ServerApp.ip=127.0.0.1",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ):
        assert flag in flags[1]
    assert "$(LAB_FLAGS)" in (ROOT / "Makefile").read_text().split("lab: env", 1)[1].split("\n\n")[0]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder with a checkout and a home, and how to begin a command for which it cannot be written."""
    world = tmp_path / "world"
    for part in ("lecture_lib", "notebooks", "data"):
        shutil.copytree(ROOT / part, world / part, ignore=shutil.ignore_patterns("__pycache__"))
    (world / "home").mkdir()
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    if faults.namespaces("-m"):
        yield world, ["unshare", "-rm", "sh", "-c", mount, str(world)]
    elif os.geteuid() != 0:
        folders = [world, *(path for path in world.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield world, []
        for folder in folders:
            folder.chmod(0o755)
    else:
        pytest.skip("root may write everywhere, and this machine lends no mount namespace")


@pytest.mark.proof
def test_a_notebook_in_a_read_only_checkout(read_only: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Neither checkout nor home nor any cache can be written; Jupyter itself needs its runtime folder."""
    world, prefix = read_only
    (tmp_path / "runtime").mkdir()
    home = str(world / "home")
    code = f"open({str(world / 'home' / 'file')!r}, 'w')"
    tried = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search("Read-only file system|Permission denied", tried.stderr)
    changes = {
        **{"PYTHONPATH": str(world), "HOME": home, "XDG_CACHE_HOME": home, "JAX_COMPILATION_CACHE_DIR": home},
        **{
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    }
    path = world / "notebooks" / NOTEBOOKS[0].name
    told = faults.end(faults.begin(path, tmp_path, prefix=prefix, **changes))
    assert as_stored(told, path), told["warned"]


def test_only_warnings_of_caches_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quiet.install()
        warnings.warn("Error writing persistent compilation cache entry for 'jit': full", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(w.message) for w in heard] == ["something else"]
    logger = logging.getLogger("matplotlib")
    logger.warning("mkdir -p failed for path %s: %s", "home", "read-only")
    logger.warning("Matplotlib created a temporary cache directory at %s", "/tmp")
    logger.warning("no such font")
    assert caplog.messages == ["no such font"]


@pytest.mark.proof
def test_two_notebooks_at_once_share_a_fresh_cache(tmp_path: Path) -> None:
    changes = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    both = [faults.begin(NOTEBOOKS[0], ROOT / "notebooks", **changes) for _ in range(2)]
    try:
        assert all(as_stored(faults.end(process), NOTEBOOKS[0]) for process in both)
    finally:
        for process in both:
            process.kill()
    assert any((tmp_path / "cache").iterdir())


# --- one device, eight devices --------------------------------------------------------------

TRAIN = """
import json, sys
import jax, numpy as np
from lecture_lib import moon_panels, moon_trials
from tests import test_faults as here
import pytest
patch = pytest.MonkeyPatch()
here.small(patch, 30)
told = {name: np.ravel(here.losses_of(train(50 if "toy" in name else 30)))[-1].item()
        for name, train in here.TRAININGS.items()}
panel = moon_panels.retrain_panel()
panel.controls["seed"].value = 1
told["panel"] = panel.message.value
found = moon_trials.run("VAE", moon_trials.FIVE_PHASES, keys=here.TWO)
told["run"] = float(found.error.sum())
print("TOLD", json.dumps([len(jax.devices()), told]))
"""


@pytest.mark.proof
def test_eight_devices_give_the_results_of_one() -> None:
    """All trainings of the package, a run over keys, and a panel that retrains."""
    found = {}
    for devices in (1, 8):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
        environment = faults.for_kernels(**flags)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", TRAIN],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        count, told = json.loads(done.stdout.split("TOLD ", 1)[1])
        assert count == devices and told.pop("panel") == ""
        found[devices] = told
    # another number of threads may sum in another order: float32, 30 steps
    assert found[8] == pytest.approx(found[1], rel=1e-3)


# --- a full disk ----------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Callable[[Path], None]:
    """Make the file beside another one, which is written first, a door to a device that is always full."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def make(path: Path) -> None:
        path.with_name(path.name + ".new").symlink_to("/dev/full")

    return make


def test_full_disk_leaves_the_old_weights(tmp_path: Path, full: Callable[[Path], None]) -> None:
    path = tmp_path / "style.npz"
    shutil.copy(weights.STYLE, path)
    shipped, before = weights.load(path), path.read_bytes()
    full(path)
    with pytest.raises(OSError, match=re.escape(str(path))) as caught:
        weights.save(path, shipped)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
    weights.save(path, shipped)
    assert weights.load(path).about == shipped.about


def test_full_disk_leaves_the_old_notebook(
    tmp_path: Path, full: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = tmp_path / "tiny.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print(1)")]), path)
    before = path.read_bytes()
    full(path)
    monkeypatch.setattr(run_notebooks, "execute", lambda *_: None)
    assert run_notebooks.main([str(path)]) == 1
    told = "tiny.ipynb failed: it ran, but could not be written: No space left on device\n"
    assert capsys.readouterr().err == told
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_full_disk_while_mnist_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    from lecture_lib import datasets

    def write(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", write)
    with pytest.raises(OSError, match=r"No space left on device: '.*train-images-idx3-ubyte\.gz'") as caught:
        datasets.fetch_mnist(tmp_path)
    assert caught.value.errno == errno.ENOSPC and os.listdir(tmp_path) == []


def test_full_disk_at_set_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), ".venv/setup.log")

    monkeypatch.setattr(bootstrap, "ensure", write)
    assert bootstrap.main([]) == 1
    assert capsys.readouterr().err == (
        "Set-up stopped: [Errno 28] No space left on device: '.venv/setup.log'.\n"
    )


# --- what is optional -----------------------------------------------------------------------


def test_without_chromium_its_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import conftest

    find = conftest.chromium.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("LECTURE_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no chromium on PATH"):
        find()
    monkeypatch.setenv("LECTURE_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="there is no chromium on PATH"):
        find()


def test_without_the_folder_data_only_the_weights_are_missing(read_copy: Path, tmp_path: Path) -> None:
    """The package installed elsewhere, as `pip install` leaves it."""
    code = """
from lecture_lib import datasets, weights, style_panels, problem_panels, moon_panels
print(datasets.digits("test").images.shape, datasets.mnist_splits("data/mnist"))
try:
    weights.load()
except FileNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=faults.for_kernels(PYTHONPATH=str(read_copy)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "(360, 8, 8) ()"
    assert second.startswith(f"{read_copy / 'data' / 'style_28x28.npz'} is missing; it comes with a clone")


@pytest.fixture
def read_copy(tmp_path: Path) -> Path:
    """The package alone, in a folder of its own."""
    folder = tmp_path / "installed"
    shutil.copytree(
        ROOT / "lecture_lib", folder / "lecture_lib", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder
