"""How the tests' own programs are compiled: quickly; those of notebooks as their readers' are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version

QUICK = "--xla_cpu_use_fusion_emitters=false"


def compile_quickly() -> None:
    """Let XLA write its programs in the older of its two ways, which takes two thirds of the time.

    They are optimised all the same, and round otherwise here and there, as on another processor. Notebooks
    are run as readers run them, without it: see `as_for_readers`. XLA ends a process over a flag that it
    does not know, and jaxlib 0.12 no longer knows this one. Flags in the reader's environment count.
    """
    if version("jaxlib").startswith("0.10."):
        os.environ.setdefault("XLA_FLAGS", QUICK)


def as_for_readers(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what `compile_quickly` has put into it."""
    return {name: value for name, value in environment.items() if value != QUICK}
