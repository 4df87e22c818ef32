"""Points along an arc: clusters in order, codes against closed forms, errors counted by brute force."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from lecture_lib import code_trials
from lecture_lib.code_trials import Codes
from lecture_lib.datasets import Arc, arc
from lecture_lib.gaussians import InfiniteMixture, Mixture

SLOPE, SHIFT, NOISE = np.array([0.5, -0.3]), np.array([0.2, 0.4]), 0.25
COMPONENTS = 5


@pytest.fixture(scope="module")
def data() -> Arc:
    return arc(jax.random.key(0), 800)


@pytest.fixture(scope="module")
def clusters(data: Arc) -> Mixture:
    return code_trials.arc_clusters(data.x, COMPONENTS)


def angles(points: Any) -> np.ndarray:
    """From -90 to 270 degrees, so that the arc from -30 to 210 is in one piece."""
    x, y = np.asarray(points, np.float64).T
    return (np.degrees(np.arctan2(y, x)) + 90) % 360 - 90


def test_clusters_are_in_order_along_the_arc(clusters: Mixture) -> None:
    along = angles(clusters.means)
    assert (np.diff(along) < 0).all()  # from the left end, at 210 degrees, over the top to the right
    assert along[0] > 150 and along[-1] < 30


def test_clusters_are_those_of_scikit_learn(data: Arc, clusters: Mixture) -> None:
    """Weights and shapes stay with their means."""
    x = np.asarray(data.x, np.float64)
    theirs = GaussianMixture(COMPONENTS, random_state=0, n_init=3).fit(x)
    parts = zip(*(np.asarray(a, np.float64) for a in clusters.tree_flatten()[0]), strict=True)
    ours = sum(w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in parts)
    # our numbers are float32: covariances of 0.005 inverted
    np.testing.assert_allclose(np.log(ours), theirs.score_samples(x), atol=1e-3)
    for seed in (0, 3):
        again = code_trials.arc_clusters(data.x, COMPONENTS, seed=seed)
        assert (np.diff(angles(again.means)) < 0).all()


def line(z: Any) -> tuple[Any, Any]:
    return z * jnp.asarray(SLOPE) + jnp.asarray(SHIFT), jnp.full((z.shape[0], 2), 2 * np.log(NOISE))


def test_codes_of_each_point(data: Arc, clusters: Mixture) -> None:
    x = np.asarray(data.x)[:60]
    found = code_trials.codes(clusters, InfiniteMixture(line), x)
    parts = zip(*(np.asarray(a, np.float64) for a in clusters.tree_flatten()[0]), strict=True)
    joint = np.stack([np.log(w) + stats.multivariate_normal(m, c).logpdf(x) for w, m, c in parts], axis=1)
    shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    # float32: log-densities of some 100 nats are good to 1e-4
    np.testing.assert_allclose(found.responsibilities, shares, atol=2e-4)
    np.testing.assert_array_equal(found.cluster.argmax(axis=1), shares.argmax(axis=1))
    np.testing.assert_array_equal(np.sort(found.cluster, axis=1), [[0, 0, 0, 0, 1]] * 60)
    # completing the square: P(z|x) of a linear network is a Gaussian with this mean
    mean = (x - SHIFT) @ SLOPE / NOISE**2 / (1 + SLOPE @ SLOPE / NOISE**2)
    assert found.z.shape == (60, 1)
    # the rule ends at z = 5, where these are far from
    assert np.abs(mean).max() < 3
    np.testing.assert_allclose(found.z[:, 0], mean, atol=1e-4)


def some_codes(n: int, seed: int) -> tuple[Codes, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4), n)
    angle = rng.uniform(-30, 210, n)
    return Codes(
        np.eye(4)[shares.argmax(axis=1)], shares, angle[:, None] / 50 + rng.normal(size=(n, 1))
    ), angle


def test_position_errors_by_brute_force() -> None:
    (train, angle), (test, truth) = some_codes(150, 0), some_codes(40, 1)
    found = code_trials.position_errors(train, angle, test, truth)
    guesses: dict[str, list[float]] = {"cluster": [], "responsibilities": [], "z": []}
    for i in range(40):
        same = (train.cluster == test.cluster[i]).all(axis=1)
        guesses["cluster"].append(angle[same].mean())
        for name in ("responsibilities", "z"):
            away = np.linalg.norm(getattr(train, name) - getattr(test, name)[i], axis=1)
            guesses[name].append(angle[np.argsort(away)[:10]].mean())
    assert list(found) == list(guesses)
    for name, guess in guesses.items():
        assert found[name] == pytest.approx(np.sqrt(np.mean((np.array(guess) - truth) ** 2)), rel=1e-9)


def test_a_code_that_tells_the_position_has_a_small_error() -> None:
    """Of the three, only z knows the angle here."""
    angle = np.linspace(-30, 210, 481)
    no_idea = np.ones((481, 1))
    knows = Codes(no_idea, no_idea, angle[:, None])
    errors = code_trials.position_errors(knows, angle, knows, angle)
    assert errors["cluster"] == pytest.approx(angle.std())
    # 10 neighbours at steps of half a degree, off centre by half a step, or by 4.5 at the ends
    assert errors["z"] < 0.5
    assert errors["responsibilities"] > 60
