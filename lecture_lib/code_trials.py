"""The second experiment of notebook 02: points along an arc, described by a cluster and by a code z."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsRegressor

from lecture_lib import checks, measures
from lecture_lib.gaussians import InfiniteMixture, Mixture


def arc_clusters(x: Float[Array, "n 2"], components: int, *, seed: int = 0) -> Mixture:
    """A finite mixture fitted by scikit-learn to points around an arc, its components in order along it.

    Args:
        x: The points.
        components: How many Gaussians.
        seed: Of scikit-learn's start.
    """
    checks.floating("x", x)
    checks.finite("x", x)
    checks.last_axis("x", x, 2)
    found = GaussianMixture(checks.whole("components", components, low=1), random_state=seed, n_init=3).fit(
        np.asarray(x, np.float64)
    )
    order = np.argsort(_along(found.means_))
    return Mixture(found.weights_[order], found.means_[order], found.covariances_[order])


def _along(points: np.ndarray) -> np.ndarray:
    """Angle from the gap at the bottom, clockwise, in [0, 360) degrees."""
    return (-90 - np.degrees(np.arctan2(points[:, 1], points[:, 0]))) % 360


class Codes(NamedTuple):
    """What two mixtures know of each point."""

    cluster: Float[np.ndarray, "n components"]
    """The most responsible component, one-hot, shape (n, components)."""
    responsibilities: Float[np.ndarray, "n components"]
    """P(m|x), shape (n, components)."""
    z: Float[np.ndarray, "n 1"]
    """E[z|x], shape (n, 1)."""


def codes(finite: Mixture, infinite: InfiniteMixture, x: Float[Array, "n 2"]) -> Codes:
    """Describe points by a cluster, by all responsibilities, and by the posterior mean of z."""
    shares, z = (np.asarray(a) for a in _codes(finite, infinite, x))
    return Codes(np.eye(finite.components)[shares.argmax(axis=1)], shares, z)


@jax.jit
def _codes(finite: Mixture, infinite: InfiniteMixture, x: Any) -> tuple[Any, Any]:
    rule = infinite.prior.training_rule()
    posterior = jnp.exp(infinite.log_posterior(x, rule.nodes, rule=rule) + rule.log_weights)
    return finite.responsibilities(x), posterior @ rule.nodes


def position_errors(
    train: Codes, train_angle: Float[ArrayLike, " n"], test: Codes, test_angle: Float[ArrayLike, " m"]
) -> dict[str, float]:
    """How well each code tells where along the arc a point was made.

    For each code the angle of a test point is guessed as the mean over the 10 training points with the
    nearest codes (all those of the same cluster, for clusters); scikit-learn does it.

    Returns:
        Root mean square error in degrees for "cluster", "responsibilities" and "z".
    """
    angle = checks.real("train_angle", train_angle)
    checks.finite("train_angle", angle)
    found = {}
    for name in Codes._fields:
        seen, asked = getattr(train, name), getattr(test, name)
        if name == "cluster":
            means = (seen * angle[:, None]).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
            guess = asked @ means
        else:
            guess = KNeighborsRegressor(10).fit(seen, angle).predict(asked)
        found[name] = float(measures.rms(guess, checks.real("test_angle", test_angle)))
    return found
