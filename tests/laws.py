"""How many examples a law is tried on: few while one works, a thousand in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T", bound=Callable[..., Any])


def law(examples: int) -> Callable[[T], T]:
    """Decorator of a test that states a law: so many examples, or LECTURE_EXAMPLES where that is more."""
    most = max(examples, int(os.environ.get("LECTURE_EXAMPLES", "0")))
    chosen = settings(max_examples=most, deadline=None, derandomize=True)

    def mark(test: T) -> T:
        return pytest.mark.law(chosen(test))

    return mark
