"""Integrals over one or two latent dimensions by quadrature, in log space, so that nothing underflows.

A rule is a set of nodes z_i and weights w_i with: integral of f(z) dz = sum_i w_i f(z_i), nearly. How nearly
is never taken on trust: compare two rules of different kinds.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy import special

from lecture_lib import checks

MOST_HERMITE_NODES = 150  # beyond it the outer weights are too small for a double


class Rule(NamedTuple):
    """Nodes and weights of: integral of f(z) dz = sum_i exp(log_weights_i) f(nodes_i)."""

    nodes: Float[Array, "n latent"]
    log_weights: Float[Array, " n"]


def trapezoid(low: float, high: float, points: int, *, latent: int = 1) -> Rule:
    """The trapezoid rule on [low, high] along each dimension.

    For a smooth integrand that has died away at both ends its error falls faster than any power of the
    step h = (high - low) / (points - 1) (Trefethen and Weideman 2014).

    Args:
        low, high: The ends, low < high.
        points: Nodes along each dimension, at least 2.
        latent: Dimensions: 1 or 2 (a tensor grid of points^2 nodes).

    Raises:
        ValueError: The ends are not finite or not in order, or a count is out of its range.
    """
    checks.ends(low, high)
    weights = np.full(checks.whole("points", points, low=2), (high - low) / (points - 1))
    weights[[0, -1]] /= 2
    return _tensor(np.linspace(low, high, points), np.log(weights), latent)


def gauss_legendre(low: float, high: float, points: int, *, latent: int = 1) -> Rule:
    """Gauss-Legendre quadrature on [low, high]: exact for polynomials of degree 2 points - 1.

    For an integrand that is smooth up to the ends and does not vanish there, such as that of a uniform prior.

    Args:
        low, high: The ends, low < high.
        points: Nodes along each dimension, at least 1.
        latent: Dimensions, 1 or 2.

    Raises:
        ValueError: The ends are not finite or not in order, or a count is out of its range.
    """
    checks.ends(low, high)
    t, w = _legendre(checks.whole("points", points, low=1))
    half = (high - low) / 2
    return _tensor(low + half * (t + 1), np.log(half * w), latent)


def gauss_hermite(points: int, *, mean: float = 0.0, sd: float = 1.0, latent: int = 1) -> Rule:
    """Gauss-Hermite quadrature: exact for N(z; mean, sd^2) times a polynomial of degree 2 points - 1.

    The weights are those of dz, with the Gaussian divided out, so that rules can be exchanged freely.

    Args:
        points: Nodes along each dimension, from 1 to 150.
        mean, sd: Of the Gaussian that the nodes are made for, sd above 0; alike for each dimension.
        latent: Dimensions, 1 or 2.

    Raises:
        ValueError: A count is out of its range, mean is not finite, or sd is not above 0.
    """
    checks.finite("mean", np.float64(mean))
    checks.positive("sd", float(sd))
    points = checks.whole("points", points, low=1, high=MOST_HERMITE_NODES)
    t, w = np.polynomial.hermite_e.hermegauss(points)
    return _tensor(mean + sd * t, np.log(w) + t**2 / 2 + np.log(sd), latent)


def sinh_trapezoid(reach: float, points: int) -> Rule:
    """The trapezoid rule in t after x = sinh(t), on [-reach, reach]: for densities with heavy tails.

    Its nodes lie evenly near 0 and ever wider apart outside, so that 400 of them get as far as 10^6.

    Args:
        reach: How far out, above 0.
        points: Nodes, at least 2.
    """
    checks.positive("reach", float(reach))
    t = np.linspace(-np.arcsinh(reach), np.arcsinh(reach), checks.whole("points", points, low=2))
    weights = np.cosh(t) * (t[1] - t[0])
    weights[[0, -1]] /= 2
    return _rule(np.sinh(t)[:, None], np.log(weights))


def log_integral(
    log_f: Float[ArrayLike, "*batch n"], log_weights: Float[ArrayLike, " n"]
) -> Float[Array, "*batch"]:
    """Log of the integral of f, from log f at the nodes: log sum_i exp(log_weights_i + log_f_i).

    Args:
        log_f: log f(z_i) along the last axis, shape (..., n); -inf where f is 0.
        log_weights: Those of the rule, shape (n,).

    Raises:
        ValueError: The last axis has not one value for each node.
    """
    checks.last_axis("log_f", log_f, np.shape(log_weights)[0])
    log_f, log_weights = checks.floats(log_f=log_f, log_weights=log_weights)
    return jax.nn.logsumexp(log_f + log_weights, axis=-1)


@functools.lru_cache(maxsize=16)
def _legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    # NumPy's leggauss takes the nodes for eigenvalues of a full matrix: seconds for 1600 of them. SciPy's
    # knows that it is tridiagonal; both are refined by a step of Newton's, and equally exact.
    return special.roots_legendre(points)


def _tensor(nodes: np.ndarray, log_weights: np.ndarray, latent: int) -> Rule:
    """The same rule along each dimension; computed in double precision, stored in JAX's default."""
    checks.whole("latent", latent, low=1, high=2)
    if latent == 2:
        pairs = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
        return _rule(pairs, np.add.outer(log_weights, log_weights).ravel())
    return _rule(nodes[:, None], log_weights)


def _rule(nodes: np.ndarray, log_weights: np.ndarray) -> Rule:
    return Rule(jnp.asarray(nodes, float), jnp.asarray(log_weights, float))
