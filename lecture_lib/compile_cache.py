"""What JAX has compiled is kept for the next run: a notebook that is opened again starts sooner."""

import hashlib
import os
import platform
import sys
import tempfile
from pathlib import Path

import platformdirs

_FOLDER, _SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def keep() -> Path | None:
    """Let JAX keep its compiled programs in the user's cache folder, and return the folder.

    None, and nothing is changed, where the reader has decided (by JAX_COMPILATION_CACHE_DIR, which may be
    empty, or by `jax.config`) and where nothing can be written: JAX then compiles anew each time.
    """
    folder = platformdirs.user_cache_path("lecture-lib") / f"jax-{_processor()}"
    jax = sys.modules.get("jax")
    chosen = os.environ.get(_FOLDER, jax and jax.config.values[_FOLDER.lower()])
    if chosen not in (
        None,
        str(folder),
    ):  # a server that has loaded this hands our own choice on to its kernels
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    # JAX reads the environment when it is loaded. It is not loaded for this: JupyterLab's server, which asks
    # the package for its way to export notebooks, has no use for it.
    for name, value in ((_FOLDER, str(folder)), (_SECONDS, "0")):
        value = os.environ.setdefault(name, value)
        if jax:
            jax.config.update(name.lower(), float(value) if name == _SECONDS else value)
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
