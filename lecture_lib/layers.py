"""What networks are made of: linear layers one after another, and layers that a label modulates."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from lecture_lib import checks

Activation = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


class Fixed(nnx.Variable[Array]):
    """A number that belongs to a model but is not trained: it can change without a new compilation."""


def mlp(sizes: Sequence[int], activation: Activation, rngs: nnx.Rngs) -> nnx.Sequential:
    """Linear layers of the given sizes with the activation between them, none after the last.

    Args:
        sizes: Widths from the input to the output, at least two, each at least 1.
        activation: Applied elementwise after each layer but the last.
        rngs: Source of the initial weights.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {tuple(sizes)}; expected at least an input and an output width")
    for size in sizes:
        checks.whole("sizes", size, low=1)
    layers: list[Any] = []
    for i, (m, n) in enumerate(pairwise(sizes)):
        layers += [activation] if i else []
        layers += [nnx.Linear(m, n, rngs=rngs)]
    return nnx.Sequential(*layers)


def one_hot(labels: Integer[ArrayLike, "*batch"], classes: int) -> Float[Array, "*batch classes"]:
    """Labels as rows with a single 1.

    Raises:
        TypeError: Labels that are not whole numbers.
        ValueError: A label outside 0 to classes - 1 (not looked at while traced).
    """
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(f"labels has dtype {jnp.result_type(labels)}; expected whole numbers")
    if not checks.is_traced(labels):
        outside = [int(label) for label in np.unique(np.asarray(labels)) if not 0 <= label < classes]
        if outside:
            raise ValueError(f"labels has {outside}; expected classes from 0 to {classes - 1}")
    return jax.nn.one_hot(labels, classes)


class FiLM(nnx.Module):
    """A linear layer whose output the label scales and shifts: (1 + a_y) * (W h + b) + s_y.

    Feature-wise linear modulation (Perez et al. 2018): each class has its own scale a_y and shift s_y for
    each unit, both 0 at the start.

    Args:
        inputs, outputs: Widths, at least 1.
        classes: Number of classes, at least 1.
        rngs: Source of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, classes: int, *, rngs: nnx.Rngs):
        for name, width in (("inputs", inputs), ("outputs", outputs), ("classes", classes)):
            checks.whole(name, width, low=1)
        self.linear = nnx.Linear(inputs, outputs, rngs=rngs)
        self.scale = nnx.Param(jnp.zeros((classes, outputs)))
        self.shift = nnx.Param(jnp.zeros((classes, outputs)))

    def __call__(
        self, h: Float[Array, "batch inputs"], y: Float[Array, "batch classes"]
    ) -> Float[Array, "batch outputs"]:
        """The layer's output for inputs h and one-hot labels y."""
        return (1 + y @ self.scale[...]) * self.linear(h) + y @ self.shift[...]
