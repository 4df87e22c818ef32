"""The layers: linear ones, one-hot labels, and FiLM, against NumPy from the weights alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from lecture_lib import layers
from lecture_lib.layers import FiLM
from tests.laws import law

CLASSES = 3


# --- linear layers --------------------------------------------------------------------------


def test_mlp_is_what_numpy_makes_of_its_weights() -> None:
    made = layers.mlp([4, 7, 6, 3], nnx.tanh, nnx.Rngs(0))
    linear = [layer for layer in made.layers if isinstance(layer, nnx.Linear)]
    assert [layer.kernel.shape for layer in linear] == [(4, 7), (7, 6), (6, 3)]
    assert [isinstance(layer, nnx.Linear) for layer in made.layers] == [True, False, True, False, True]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = x.astype(np.float64)
    for i, layer in enumerate(linear):
        assert layer.bias is not None
        expected = expected @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
        expected = np.tanh(expected) if i < 2 else expected
    # float32 sums of at most 7 products of size 1
    np.testing.assert_allclose(made(jnp.asarray(x)), expected, atol=1e-5)


def test_mlp_of_two_sizes_is_linear() -> None:
    assert len(layers.mlp([3, 2], nnx.tanh, nnx.Rngs(0)).layers) == 1


def test_mlp_refuses() -> None:
    for sizes in ([], [3]):
        with pytest.raises(ValueError, match="expected at least an input and an output"):
            layers.mlp(sizes, nnx.tanh, nnx.Rngs(0))
    with pytest.raises(ValueError, match="sizes is 0"):
        layers.mlp([3, 0, 2], nnx.tanh, nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"sizes is 2\.5"):
        layers.mlp([3, 2.5], nnx.tanh, nnx.Rngs(0))  # type: ignore[list-item]


# --- labels ---------------------------------------------------------------------------------


@law(40)
@given(st.integers(1, 12), st.data())
def test_one_hot_is_a_row_of_the_identity(classes: int, data: Any) -> None:
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=5, max_size=5))
    for dtype in (np.int32, np.uint8):
        rows = layers.one_hot(np.array(labels, dtype), classes)
        np.testing.assert_array_equal(rows, np.eye(classes)[labels])
        assert jnp.issubdtype(rows.dtype, jnp.floating)


@pytest.mark.parametrize(
    ("labels", "told"),
    [([0, -1, 2], r"\[-1\]"), ([3], r"\[3\]"), ([3, -2, 7, 3, 0], r"\[-2, 3, 7\]")],
)
def test_labels_outside_the_classes(labels: list[int], told: str) -> None:
    for array in (np.array(labels), jnp.array(labels)):
        with pytest.raises(ValueError, match=f"^labels has {told}; expected classes from 0 to 2$"):
            layers.one_hot(array, CLASSES)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_labels_that_are_no_whole_numbers(dtype: str) -> None:
    for array in (np.ones(3, dtype), jnp.ones(3, dtype)):
        with pytest.raises(TypeError, match=f"^labels has dtype {dtype}; expected whole numbers"):
            layers.one_hot(array, CLASSES)


def test_one_hot_inside_jit_and_vmap() -> None:
    labels = jnp.array([2, 0, 1])
    for transform in (jax.jit, jax.vmap):
        rows = transform(lambda y: layers.one_hot(y, CLASSES))(labels)
        np.testing.assert_array_equal(rows, np.eye(CLASSES)[[2, 0, 1]])
    with pytest.raises(TypeError, match="labels has dtype float32"):
        jax.jit(lambda y: layers.one_hot(y, CLASSES))(jnp.ones(3))


# --- FiLM -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh() -> FiLM:
    return FiLM(4, 5, CLASSES, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def film(fresh: FiLM) -> FiLM:
    """One whose scales and shifts are not 0."""
    changed = nnx.clone(fresh)
    rng = np.random.default_rng(1)
    for variable in (changed.scale, changed.shift, changed.linear.bias):
        assert variable is not None
        variable[...] = jnp.asarray(rng.normal(size=variable.shape), jnp.float32)
    return changed


def inputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(7, 4)).astype(np.float32), np.array([0, 2, 1, 1, 0, 2, 2])


def linear_by_hand(layer: FiLM, h: np.ndarray) -> np.ndarray:
    assert layer.linear.bias is not None
    kernel, bias = (np.asarray(v[...], np.float64) for v in (layer.linear.kernel, layer.linear.bias))
    return h.astype(np.float64) @ kernel + bias


def test_film_starts_as_the_plain_linear_layer_for_each_label(fresh: FiLM) -> None:
    h, _ = inputs()
    plain = np.asarray(fresh.linear(jnp.asarray(h)))
    for label in range(CLASSES):
        y = layers.one_hot(np.full(len(h), label), CLASSES)
        np.testing.assert_array_equal(fresh(jnp.asarray(h), y), plain)
    np.testing.assert_allclose(plain, linear_by_hand(fresh, h), atol=1e-6)  # float32 sums of 4 products
    assert fresh.scale.shape == fresh.shift.shape == (CLASSES, 5)


def test_film_scales_and_shifts_by_the_rows_of_the_label(film: FiLM) -> None:
    h, labels = inputs()
    scale, shift = np.asarray(film.scale[...], np.float64), np.asarray(film.shift[...], np.float64)
    expected = np.array(
        [
            [(1 + scale[y, j]) * v + shift[y, j] for j, v in enumerate(row)]
            for y, row in zip(labels, linear_by_hand(film, h), strict=True)
        ]
    )
    out = np.asarray(film(jnp.asarray(h), layers.one_hot(labels, CLASSES)))
    np.testing.assert_allclose(out, expected, atol=1e-5)  # float32, numbers up to 10
    # the same input under three labels: three outputs
    same = film(jnp.asarray(h[[0, 0, 0]]), layers.one_hot(np.arange(3), CLASSES))
    assert np.abs(np.diff(np.asarray(same), axis=0)).max() > 0.1


def test_gradients_reach_the_scale_and_shift_of_the_labels_present(film: FiLM) -> None:
    """Of sum(c * out): for the shift of y the sum of c over its rows, for the scale that of c * (W h + b)."""
    h, labels = inputs()
    labels = np.where(labels == 1, 0, labels)
    c = np.random.default_rng(3).normal(size=(7, 5))

    def total(layer: FiLM) -> Any:
        return jnp.sum(c * layer(jnp.asarray(h), layers.one_hot(labels, CLASSES)))

    gradient: Any = nnx.jit(nnx.grad(total))(film)
    rows = linear_by_hand(film, h)
    for y in range(CLASSES):
        of = labels == y
        # float32 sums of at most 5 terms below 10
        np.testing.assert_allclose(gradient.shift[y], c[of].sum(0), atol=1e-5)
        np.testing.assert_allclose(gradient.scale[y], (c * rows)[of].sum(0), atol=1e-5)
    assert (np.asarray(gradient.shift[1]) == 0).all() and (np.asarray(gradient.scale[1]) == 0).all()
    factor = 1 + np.asarray(film.scale[...], np.float64)[labels]
    np.testing.assert_allclose(gradient.linear.kernel, h.T.astype(np.float64) @ (c * factor), atol=1e-4)


@pytest.mark.parametrize("name", ["inputs", "outputs", "classes"])
def test_film_refuses_widths(name: str) -> None:
    sizes = {"inputs": 4, "outputs": 5, "classes": 3}
    with pytest.raises(ValueError, match=f"^{name} is 0; expected at least 1"):
        FiLM(**{**sizes, name: 0}, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=rf"^{name} is 2\.5"):
        FiLM(**{**sizes, name: 2.5}, rngs=nnx.Rngs(0))  # type: ignore[arg-type]
