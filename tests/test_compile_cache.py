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
NAME = "jax_compilation_cache_dir"

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


@pytest.fixture
def untouched() -> Iterator[None]:
    """JAX's settings are put back; here in the tests they are decided by the environment."""
    names = (NAME, "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    with warnings.catch_warnings():
        yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("untouched")
def test_the_reader_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    jax.config.update(NAME, None)
    for own in ("", "somewhere"):
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", own)
        assert compile_cache.keep() is None and jax.config.jax_compilation_cache_dir is None
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update(NAME, "chosen before")
    assert compile_cache.keep() is None and jax.config.jax_compilation_cache_dir == "chosen before"
    jax.config.update(NAME, None)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    folder = compile_cache.keep()
    assert folder is not None and jax.config.jax_compilation_cache_dir == str(folder)
    assert folder.is_dir() and folder.parent == tmp_path / "lecture-lib"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 7.0


@pytest.mark.usefixtures("untouched")
def test_each_kind_of_processor_has_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folders = set()
    for flags in ("flags : sse avx2 avx512f", "flags : sse avx2", "flags : sse avx2"):
        jax.config.update(NAME, None)
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags, **_: f"processor : 0\n{flags}\n")
        folders.add(compile_cache.keep())
    assert len(folders) == 2
