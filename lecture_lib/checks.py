"""Argument checks with messages that name the argument, what came and what was expected.

Values inside a `jax.jit` or `jax.vmap` are not known when the checks run; there only shape and dtype
are looked at.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real


def is_traced(value: Any) -> bool:
    """Whether `value` is inside a JAX transformation, so that its numbers cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def floating(name: str, value: Any) -> None:
    """Raise TypeError unless `value` holds real floating-point numbers."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        dtype = np.asarray(value).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{name} has dtype {dtype}; expected floating-point numbers "
            "(images: divide the grey levels by their maximum, so that they lie in [0, 1])"
        )


def floats(**values: Any) -> list[Float[Array, "..."]]:
    """The named values as JAX arrays of one floating dtype, float32 at least, or TypeError.

    Half precision is lifted: a sum over the pixels of a picture overflows in float16, and exp of a
    log-variance above 11 does.
    """
    for name, value in values.items():
        if not isinstance(value, (int, float)):
            floating(name, value)
    # jnp.result_type takes no lists
    dtype = jnp.result_type(
        float, *(np.asarray(v) if isinstance(v, (list, tuple)) else v for v in values.values())
    )
    if dtype in (jnp.float16, jnp.bfloat16):
        dtype = jnp.dtype(jnp.float32)
    return [jnp.asarray(value, dtype) for value in values.values()]


def real(name: str, value: Any) -> Real[np.ndarray, "..."]:
    """`value` as a NumPy array in float64, or TypeError / ValueError unless it holds real numbers.

    Traced values come back as they are.
    """
    if is_traced(value):
        return value
    try:
        numbers = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; expected an array") from None
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(numbers.dtype, kind) for kind in kinds):
        raise TypeError(f"{name} has dtype {numbers.dtype}; expected real numbers")
    return numbers.astype(np.float64, copy=False)


def finite(name: str, value: Any) -> None:
    """Raise ValueError if `value` holds NaN or infinity (not looked at while traced)."""
    if is_traced(value):
        return
    numbers = np.asarray(value)
    if not jnp.issubdtype(numbers.dtype, jnp.floating):
        return
    bad = int(np.size(numbers) - np.isfinite(numbers).sum())
    if bad:
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        where = f" (first at index {first})" if first else ""
        raise ValueError(f"{name} has {bad} of {np.size(numbers)} values that are not finite{where}")


def whole(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """`value` as an int, or TypeError / ValueError unless it is a whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; expected a whole number")
    if value < low or (high is not None and value > high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {value}; expected {span}")
    return int(value)


def ends(low: Any, high: Any) -> None:
    """Raise ValueError unless `low` and `high` are finite and in order."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"low is {low}, high is {high}; expected finite numbers with low < high")


def positive(name: str, value: Any) -> None:
    """Raise ValueError unless every number in `value` is finite and above zero (not while traced)."""
    finite(name, value)
    if not is_traced(value) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} is {value}; expected a number above 0")


def at_least_zero(name: str, value: Any) -> None:
    """Raise ValueError unless every number in `value` is finite and not below zero (not while traced)."""
    finite(name, value)
    if not is_traced(value) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{name} is {value}; expected a number of at least 0")


def last_axis(name: str, value: Any, size: int) -> None:
    """Raise ValueError unless `value` has shape (..., size)."""
    shape = tuple(np.shape(value))
    if not shape or shape[-1] != size:
        raise ValueError(f"{name} has shape {shape}; expected (..., {size})")


def same_shape(**values: Any) -> None:
    """Raise ValueError unless all named values have the same shape: nothing is broadcast silently."""
    shapes = {name: tuple(np.shape(value)) for name, value in values.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes differ: {told}; expected the same shape for all")
