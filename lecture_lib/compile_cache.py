"""What JAX has compiled is kept for the next run: a notebook that is opened again starts in half the time."""

import hashlib
import os
import platform
import tempfile
import warnings
from pathlib import Path

import jax
import platformdirs

_NAME = "jax_compilation_cache_dir"


def keep() -> Path | None:
    """Let JAX keep its compiled programs in the user's cache folder, and return the folder.

    None, and nothing is changed, where the reader has decided (by JAX_COMPILATION_CACHE_DIR, which may be
    empty, or by `jax.config`) and where nothing can be written: JAX then compiles anew each time.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.values[_NAME] is not None:
        return None
    folder = platformdirs.user_cache_path("lecture-lib") / f"jax-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    jax.config.update(_NAME, str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # A disk that is full by now, or a program that another notebook is just writing, costs time and no more.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    return folder


def _processor() -> str:
    """A short name of the processor: homes are shared by machines whose programs do not run on each other."""
    told = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told += sorted(
        {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
