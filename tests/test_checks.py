"""The argument checks: what they let through, what they refuse, and that they name the argument."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lecture_lib import checks

FLOATS: list[Any] = [0.5, np.float16(1), np.ones(2), [0.0, 1.0], jnp.ones(2), jnp.ones(2, jnp.bfloat16)]
NOT_FLOATS: list[Any] = [1, True, np.arange(3), [1, 2], jnp.arange(3), 1j, "text", None, np.array(["a"])]


@pytest.mark.parametrize("value", FLOATS, ids=repr)
def test_floating_takes_floats(value: Any) -> None:
    checks.floating("x", value)


@pytest.mark.parametrize("value", NOT_FLOATS, ids=repr)
def test_floating_refuses_the_rest_and_names_it(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^brightness has dtype .+; expected floating-point"):
        checks.floating("brightness", value)


def test_finite_counts_and_locates() -> None:
    checks.finite("x", np.ones((2, 3)))
    checks.finite("x", np.arange(3))
    checks.finite("x", 1.0)
    checks.finite("x", np.zeros((0, 3)))
    values = np.zeros((2, 3))
    values[1, 0], values[1, 2] = np.nan, -np.inf
    with pytest.raises(
        ValueError, match=r"^x has 2 of 6 values that are not finite \(first at index \(1, 0\)"
    ):
        checks.finite("x", values)
    with pytest.raises(ValueError, match=r"^x has 1 of 1 values that are not finite$"):
        checks.finite("x", float("nan"))
    with pytest.raises(ValueError, match=r"^x has 1 of 2"):
        checks.finite("x", jnp.array([1, jnp.inf], jnp.bfloat16))


def test_traced_values_are_not_looked_at() -> None:
    seen = []

    @jax.jit
    def f(x: Any) -> Any:
        seen.append(checks.is_traced(x))
        checks.finite("x", x)
        checks.positive("x", x)
        return x

    assert not checks.is_traced(jnp.ones(2)) and not checks.is_traced(1.0)
    assert np.isnan(f(jnp.nan))
    assert seen == [True]


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3)], ids=repr)
def test_whole_gives_an_int(value: Any) -> None:
    given = checks.whole("n", value, low=3, high=3)
    assert given == 3 and type(given) is int


@pytest.mark.parametrize("value", [3.0, True, np.bool_(True), "3", None, np.float32(3), [3]], ids=repr)
def test_whole_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^n is .+; expected a whole number"):
        checks.whole("n", value, low=0)


def test_whole_tells_the_range() -> None:
    with pytest.raises(ValueError, match=r"^n is 2; expected at least 3$"):
        checks.whole("n", 2, low=3)
    with pytest.raises(ValueError, match=r"^n is 9; expected from 3 to 8$"):
        checks.whole("n", 9, low=3, high=8)


def test_positive() -> None:
    checks.positive("rate", 1e-30)
    checks.positive("rate", np.array([1, 2]))
    for bad in (0, 0.0, -1.0, np.array([1.0, 0.0])):
        with pytest.raises(ValueError, match=r"^rate is .+; expected a number above 0"):
            checks.positive("rate", bad)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^rate has 1 of 1 values that are not finite"):
            checks.positive("rate", bad)


def test_last_axis() -> None:
    checks.last_axis("x", np.ones((2, 5)), 5)
    checks.last_axis("x", np.ones(5), 5)
    for bad in (np.ones((5, 2)), 1.0):
        with pytest.raises(ValueError, match=r"^x has shape \(.*\); expected \(\.\.\., 5\)$"):
            checks.last_axis("x", bad, 5)


def test_same_shape_names_all() -> None:
    checks.same_shape(a=np.ones(2), b=[1.0, 2.0])
    checks.same_shape(a=1.0, b=np.float32(2))
    with pytest.raises(ValueError, match=r"shapes differ: a \(2,\), b \(2, 1\); expected the same shape"):
        checks.same_shape(a=np.ones(2), b=np.ones((2, 1)))
