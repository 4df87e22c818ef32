"""The law of x = G(z) for a 1-D z, exactly: a network of leaky units is a line with kinks.

Between two kinks x is a straight function of z, so the density of x is a sum over the pieces that reach it,
P(z) / |slope| at each preimage (the change of variables), whether G is monotone or not. There is no
histogram, no kernel and no draw in it. All in NumPy and float64.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real
from scipy import stats

from lecture_lib import checks
from lecture_lib.networks import Generator
from lecture_lib.priors import StandardNormal, Uniform

Layers = Sequence[tuple[Float[np.ndarray, "*games _ _"], Float[np.ndarray, "*games _"]]]
"""Kernel (inputs, outputs) and bias (outputs,) of each linear layer; maybe with an axis of games in front."""
Activation = Callable[[Float[np.ndarray, "*shape"]], Float[np.ndarray, "*shape"]]
_FAR = 9.0
"""Where the standard normal prior is cut off: 2e-19 of its probability lies beyond."""


class Law(NamedTuple):
    """The distribution of a piecewise linear function of z."""

    z: Float[np.ndarray, " knots"]
    """The kinks and both ends, rising."""
    x: Float[np.ndarray, " knots"]
    """The function there."""
    below: Float[np.ndarray, " knots"]
    """The probability of a smaller z, from 0 to 1."""
    prior: Any
    """A SciPy distribution: of z."""

    def cdf(self, x: Real[ArrayLike, " n"]) -> Float[np.ndarray, " n"]:
        """Share of the probability at or below each x.

        Args:
            x: Rising, shape (n,).
        """
        x = np.asarray(x, np.float64)
        low, high = np.minimum(self.x[:-1], self.x[1:]), np.maximum(self.x[:-1], self.x[1:])
        mass = np.diff(self.below)
        # a piece counts whole from its upper end on, and in part where x cuts it
        order = np.argsort(high)
        whole = np.concatenate([[0.0], np.cumsum(mass[order])])
        found = whole[np.searchsorted(high[order], x, side="right")]
        piece, place = self._inside(x, low, high)
        cut = self.prior.cdf(self._preimage(x[place], piece))
        rising = self.x[piece + 1] > self.x[piece]
        part = np.where(rising, cut - self.below[piece], self.below[piece + 1] - cut)
        return found + np.bincount(place, np.clip(part, 0, mass[piece]), len(x))

    def density(self, x: Real[ArrayLike, " n"]) -> Float[np.ndarray, " n"]:
        """P_G(x) by the change of variables: the sum of P(z) / |slope| over all z with G(z) = x.

        At a kink's x, where it jumps, it is the sum over the pieces on the right. A flat piece has no density
        but an atom, which is seen by `cdf` alone.

        Args:
            x: Rising, shape (n,).
        """
        x = np.asarray(x, np.float64)
        low, high = np.minimum(self.x[:-1], self.x[1:]), np.maximum(self.x[:-1], self.x[1:])
        piece, place = self._inside(x, low, high)
        slope = (self.x[piece + 1] - self.x[piece]) / (self.z[piece + 1] - self.z[piece])
        share = self.prior.pdf(self._preimage(x[place], piece)) / np.abs(slope)
        return np.bincount(place, share, len(x)).astype(np.float64)  # without weights it would count

    def quantiles(self, n: int) -> Float[np.ndarray, " n"]:
        """Equally likely values in rising order: G at the middles of n equal shares of z, sorted.

        Args:
            n: At least 1.
        """
        u = (np.arange(checks.whole("n", n, low=1)) + 0.5) / n
        return np.sort(np.interp(self.prior.ppf(u), self.z, self.x))

    def _inside(self, x: Any, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a piece and the place of an x that it reaches: low <= x < high."""
        first, last = np.searchsorted(x, low, side="left"), np.searchsorted(x, high, side="left")
        count = last - first
        piece = np.repeat(np.arange(len(low)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        return piece, place

    def _preimage(self, x: Any, piece: Any) -> np.ndarray:
        share = (x - self.x[piece]) / (self.x[piece + 1] - self.x[piece])
        return self.z[piece] + share * (self.z[piece + 1] - self.z[piece])


def law(generator: Generator) -> Law:
    """The exact law of what a 1-D generator makes.

    Args:
        generator: From one z to one x, with linear layers, an activation that is straight on either side of
            0 (ReLU, leaky ReLU) and none at the end.

    Raises:
        ValueError: z or x is not 1-D, an activation is bent, or a weight is not finite.
    """
    if (generator.latent, generator.pixels) != (1, 1):
        raise ValueError(
            f"generator goes from {generator.latent} to {generator.pixels} numbers; expected 1 to 1"
        )
    if generator.squash is not None:
        raise ValueError("generator has an activation after its last layer; expected squash=None")
    prior: Any = generator.prior
    return law_of(layers_of(generator.decoder), activation_of(generator.decoder), prior)


def layers_of(network: Any) -> Layers:
    """The linear layers of a `Decoder` or `Discriminator` in float64; an axis of games stays in front."""
    linear = [layer for layer in network.layers.layers if hasattr(layer, "kernel")]
    return [
        (np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64))
        for layer in linear
    ]


def activation_of(network: Any) -> Activation:
    """The activation between its layers, as max(x, 0) + slope * min(x, 0).

    Raises:
        ValueError: It is not of this kind.
    """
    between = [layer for layer in network.layers.layers if not hasattr(layer, "kernel")]
    slopes = {_slope(activation) for activation in between}
    if len(slopes) > 1:
        raise ValueError(f"network has activations with slopes {sorted(slopes)}; expected one for all")
    slope = slopes.pop() if slopes else 1.0
    return lambda x: np.maximum(x, 0) + slope * np.minimum(x, 0)


def _slope(activation: Any) -> float:
    side = np.array([0.125, 1.0, 3.0, 100.0], np.float32)  # 100: ReLU6 is cut off
    points = np.concatenate([-side, [0], side], dtype=np.float32)
    at = np.asarray(activation(points), np.float64)
    slope = -float(at[1])
    if not np.allclose(at, np.maximum(points, 0) + slope * np.minimum(points, 0), atol=1e-6):
        name = getattr(activation, "__name__", activation)
        raise ValueError(f"activation {name} is bent; expected one that is straight on either side of 0")
    return round(slope, 6)


def law_of(layers: Layers, activation: Activation, prior: StandardNormal | Uniform) -> Law:
    """As `law`, from the weights.

    Args:
        layers: From 1 to 1 number.
        activation: Of `activation_of`.
        prior: P(z), uniform or standard normal.

    Raises:
        TypeError: Another prior.
        ValueError: A weight is not finite.
    """
    of_z, low, high = _scipy(prior)
    for kernel, bias in layers:
        checks.finite("layers", kernel)
        checks.finite("layers", bias)
    z = np.array([low, high])
    for depth in range(1, len(layers)):
        a = _forward(layers[:depth], activation, z)
        left, right = a[:-1], a[1:]
        turns = (left < 0) != (right < 0)
        interval = np.nonzero(turns)[0]
        share = left[turns] / (left[turns] - right[turns])
        z = np.union1d(z, np.clip(z[interval] + share * np.diff(z)[interval], low, high))
    return Law(z, _forward(layers, activation, z)[:, 0], of_z.cdf(z), of_z)


def _forward(layers: Layers, activation: Activation, z: np.ndarray) -> np.ndarray:
    h = z[:, None]
    for i, (kernel, bias) in enumerate(layers):
        h = (activation(h) if i else h) @ kernel + bias
    return h


@functools.cache  # SciPy takes half a millisecond to freeze a distribution
def _scipy(prior: Any) -> tuple[Any, float, float]:
    """The prior as SciPy has it, and its ends."""
    if isinstance(prior, StandardNormal):
        return stats.norm(), -_FAR, _FAR
    if isinstance(prior, Uniform):
        return stats.uniform(prior.low, prior.high - prior.low), prior.low, prior.high
    raise TypeError(f"prior is a {type(prior).__name__}; expected Uniform or StandardNormal")
