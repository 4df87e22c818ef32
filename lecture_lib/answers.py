"""What the checks of all exercises share: answers that are numbers or arrays, hints instead of tracebacks.

An answer of `...` stands for "not tried yet", so that an untouched notebook runs from top to bottom.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from jaxtyping import Float


class NotYetError(Exception):
    """An answer that is not right; its text is the hint."""


def exercise(check: Callable[..., str]) -> Callable[..., None]:
    """Print the verdict of a check, whatever the answer does."""

    @wraps(check)
    def run(*answers: Any) -> None:
        if any(answer is ... for answer in answers):
            print("Waiting for your answer: put it in place of the three dots and run the cell again.")
            return
        try:
            print("Right. " + check(*answers))
        except NotYetError as hint:
            print(f"Not yet. {hint}")
        except Exception as error:  # a student's function may fail in any way
            print(f"Not yet. Your answer raised {type(error).__name__}: {error}")

    return run


def as_number(name: str, value: Any) -> float:
    """An answer as a finite number; `name` begins the hint if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise NotYetError(f"{name} should be a number; it is {value!r}.") from None
    if not math.isfinite(number):
        raise NotYetError(f"{name} should be finite; it is {number}.")
    return number


def as_array(value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """What a student's function returned as an array of a shape; a hint if it is none."""
    if value is ... or value is None:
        raise NotYetError("The function returns nothing yet: write the formula after `return`.")
    array = np.asarray(value, np.float64)
    if array.shape != shape:
        raise NotYetError(f"The function returns shape {array.shape}; expected {shape}.")
    return array
