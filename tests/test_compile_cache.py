"""The cache of compiled programs: used by default, as the reader wishes, and never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import platformdirs
import pytest

from lecture_lib import compile_cache

ROOT = Path(__file__).resolve().parent.parent

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="XDG_CACHE_HOME names the user's caches on Linux only"
)

# As a notebook does it: the package first, then what has to be compiled.
COMPILE = """
import json
import lecture_lib
import jax, jax.numpy as jnp
seen = []
jax.monitoring.register_event_listener(lambda event, **_: seen.append(event.rsplit("/", 1)[-1]))
value = float(jax.jit(lambda x: jnp.sin(x) + 41)(0.0))
print(json.dumps([value, jax.config.jax_compilation_cache_dir, seen.count("cache_hits")]))
"""
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # a file ends after 100 bytes, as on a full disk
"""


def elsewhere(code: str, caches: str, **environment: str) -> Any:
    """What a process says that has its user's caches in a folder; it must complain of nothing."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    ours |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": caches, **environment}
    ours.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@on_linux
def test_second_process_finds_what_the_first_has_compiled(tmp_path: Path) -> None:
    value, folder, hits = elsewhere(COMPILE, str(tmp_path))
    assert (value, hits) == (41, 0)
    assert Path(folder).parent == tmp_path / "lecture-lib" and any(Path(folder).iterdir())
    value, again, hits = elsewhere(COMPILE, str(tmp_path))
    assert (value, again) == (41, folder) and hits >= 1


@on_linux
def test_where_nothing_can_be_written_it_compiles_and_says_nothing() -> None:
    assert elsewhere(COMPILE, os.devnull) == [41, None, 0]


@on_linux
def test_a_full_disk_and_what_it_leaves_behind_do_no_harm(tmp_path: Path) -> None:
    value, folder, _ = elsewhere(FULL + COMPILE, str(tmp_path))
    kept = {file.name: file.stat().st_size for file in Path(folder).iterdir()}
    assert value == 41 and all(size <= 100 for size in kept.values())
    assert elsewhere(COMPILE, str(tmp_path))[0] == 41


FOLDER, SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nobody has decided anything; afterwards all is as it was. Where the user's cache folder lies."""
    before = {name: jax.config.values[name.lower()] for name in (FOLDER, SECONDS)}
    for name in (FOLDER, SECONDS):
        monkeypatch.setenv(name, "", prepend=None)  # so that what the test sets is taken back, too
        monkeypatch.delenv(name)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    jax.config.update(FOLDER.lower(), None)
    with warnings.catch_warnings():
        yield tmp_path / "lecture-lib"
    for name, value in before.items():
        jax.config.update(name.lower(), value)


def kept_in() -> Any:
    return jax.config.values[FOLDER.lower()]


def test_by_default_all_programs_are_kept(undecided: Path) -> None:
    folder = compile_cache.keep()
    assert folder is not None and folder.is_dir() and folder.parent == undecided
    assert kept_in() == os.environ[FOLDER] == str(folder)
    assert jax.config.values[SECONDS.lower()] == 0
    assert compile_cache.keep() == folder  # as in a kernel whose server has done it


def test_the_reader_decides(undecided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for own in ("", "somewhere"):
        monkeypatch.setenv(FOLDER, own)
        assert compile_cache.keep() is None and kept_in() is None
    monkeypatch.delenv(FOLDER)
    jax.config.update(FOLDER.lower(), "chosen before")
    assert compile_cache.keep() is None and kept_in() == "chosen before"
    jax.config.update(FOLDER.lower(), None)
    monkeypatch.setenv(SECONDS, "7")
    assert compile_cache.keep() is not None and jax.config.values[SECONDS.lower()] == 7
    assert undecided.is_dir()


def test_each_kind_of_processor_has_its_own_folder(undecided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    for flags in ("flags : sse avx2 avx512f", "flags : sse avx2", "flags : sse avx2"):
        monkeypatch.delenv(FOLDER, raising=False)
        jax.config.update(FOLDER.lower(), None)
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags, **_: f"processor : 0\n{flags}\n")
        folders.add(compile_cache.keep())
    assert len(folders) == 2 and {folder and folder.parent for folder in folders} == {undecided}
