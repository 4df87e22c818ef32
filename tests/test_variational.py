"""Choosing q for each x: steps, moments, and the best Gaussian against searches that SciPy makes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize

from lecture_lib import bounds, elbo_trials, gradients, variational
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import GaussianDecoder, Posterior
from tests.laws import law

X = np.linspace(-1, 4, 11)


def bound(model: Any, x: Any, mean: Any, log_var: Any) -> np.ndarray:
    return np.asarray(bounds.elbo_joint(model, x, Posterior(mean, log_var)))


def test_best_gaussian_is_the_posterior_where_that_is_gaussian() -> None:
    with jax.enable_x64(True):
        model, exact = elbo_trials.linear(1.3), elbo_trials.linear_posterior(X, 1.3)
        best = variational.best_gaussian(model, X)
        # the bound is flat at its top: an error of 1e-7 in q costs 1e-14, where rounding ends the climb
        np.testing.assert_allclose(best.mean, exact.mean, atol=1e-6)
        np.testing.assert_allclose(best.log_var, exact.log_var, atol=1e-6)
        np.testing.assert_allclose(bounds.kl_to_posterior(model, X, best), 0, atol=1e-11)


@pytest.mark.parametrize("which", ["example", "random network"])
def test_no_other_gaussian_is_better(which: str) -> None:
    """Against a grid of 25 x 15 and against Nelder-Mead from two of its best points."""
    with jax.enable_x64(True):
        network = GaussianDecoder(1, None, (16,), rngs=nnx.Rngs(3))
        network.layers.layers[0].kernel[...] *= 3
        network.layers.layers[2].bias[...] = jnp.array([0.0, -2.0], jnp.float32)
        model = elbo_trials.example() if which == "example" else InfiniteMixture(network)
        best = variational.best_gaussian(model, X)
        top = bound(model, X, *best)
        gradient = gradients.exact_gradient(model, X, best)
        assert (top <= np.asarray(model.log_prob(X)) + 1e-10).all()
        # a climb ends where rounding, 1e-15 of the bound, hides what a step gains: gradients of 1e-7
        assert all(np.abs(np.asarray(g)).max() < 1e-5 for g in gradient)
        grid = [(m, s) for m in np.linspace(-3, 3, 25) for s in np.linspace(-6, 1, 15)]
        values = np.stack([bound(model, X, np.full((11, 1), m), np.full((11, 1), s)) for m, s in grid])
        assert (top >= values.max(axis=0)).all()
        for i in (5, 8):
            x = X[i : i + 1]
            for start in np.argsort(values[:, i])[[-1, -5]]:
                found = optimize.minimize(
                    lambda at, x=x: -float(bound(model, x, at[None, :1], at[None, 1:])[0]),
                    np.array(grid[start]),
                    method="Nelder-Mead",
                    options={"maxiter": 60},
                )
                assert top[i] >= -found.fun - 1e-9


def test_best_gaussian_settles_on_one_of_two_humps() -> None:
    with jax.enable_x64(True):
        model, i = elbo_trials.example(), 5
        assert X[i] == 1.5
        best, moments = variational.best_gaussian(model, X), variational.posterior_moments(model, X)
        gap = [float(bounds.kl_to_posterior(model, X, q)[i]) for q in (best, moments)]
    assert float(best.mean[i, 0]) == pytest.approx(-1.24, abs=0.01)
    assert gap[0] == pytest.approx(0.49, abs=0.005)  # -log(.617), and what the hump's shape costs
    assert gap[1] > 3  # the Gaussian with the right mean and variance lies across the gap between them


def test_moments_are_those_of_draws() -> None:
    """Draws (x, z) with x near 1.5; within 5 standard errors: false alarm 1e-6 over seeds."""
    with jax.enable_x64(True):
        model = elbo_trials.example()
        z, x = (np.asarray(a) for a in model.sample(jax.random.key(1), 400_000))
        moments = variational.posterior_moments(model, np.array([1.5]))
        mean, var = float(moments.mean[0, 0]), float(jnp.exp(moments.log_var[0, 0]))
    near = z[np.abs(x - 1.5) < 0.01, 0]  # within it the moments move by less than a hundredth
    se = near.std() / len(near) ** 0.5
    assert abs(near.mean() - mean) < 5 * se + 0.01
    spread = (near - near.mean()) ** 2
    assert abs(spread.mean() - var) < 5 * spread.std() / len(near) ** 0.5 + 0.01


def test_moments_of_a_linear_model_in_two_dimensions() -> None:
    w = np.diag([1.0, 0.5])
    with jax.enable_x64(True):
        model = InfiniteMixture(lambda z: (z @ w, jnp.full((len(z), 2), np.log(0.25))), latent=2)
        moments = variational.posterior_moments(model, np.array([[0.5, -1.0]]))
    precision = 1 + np.diag(w) ** 2 / 0.25
    np.testing.assert_allclose(moments.mean[0], np.diag(w) * [0.5, -1.0] / 0.25 / precision, atol=1e-10)
    np.testing.assert_allclose(moments.log_var[0], -np.log(precision), atol=1e-10)


@jax.jit
def gain_and_gradient(q: Posterior) -> Any:
    model = elbo_trials.example()
    moved = variational.ascend_q(model, X, q, rate=1e-4)
    gain = bounds.elbo_joint(model, X, moved) - bounds.elbo_joint(model, X, q)
    return gain, gradients.exact_gradient(model, X, q)


@law(25)
@given(st.floats(-3, 3), st.floats(-3, 0))
def test_a_small_step_raises_the_bound_and_leaves_log_p(mean: float, log_var: float) -> None:
    q = Posterior(np.full((11, 1), mean), np.full((11, 1), log_var))  # type: ignore[arg-type]
    with jax.enable_x64(True):
        gain, gradient = jax.tree.map(np.asarray, gain_and_gradient(q))
    steepness = (gradient.mean**2 + gradient.log_var**2)[:, 0]
    # rate times the squared gradient, less a half of rate^2 times a curvature of up to 1e3
    assert (gain >= 0.5e-4 * steepness - 1e-12).all()


@jax.jit
def moments_of(model: Any, x: Any) -> Any:
    return variational.posterior_moments(model, x)


@law(40)
@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(-3, 3))
def test_moments_of_any_line_are_those_of_its_posterior(slope: float, sd: float, x: float) -> None:
    """Precision 1 + a^2 / sd^2; the prior's rule has at least ten nodes to a standard deviation."""
    precision = 1 + slope**2 / sd**2
    mean = slope * (x - 0.4) / sd**2 / precision
    assume(
        abs(mean) + 7 / precision**0.5 < 10
    )  # the rule ends there; beyond 7 sd's lies 1e-12, of 1e2 at most
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope, intercept=0.4, noise_sd=sd)
        moments = jax.tree.map(np.asarray, moments_of(model, np.array([x])))
    # A density whose logarithm is of size (30 / .2)^2 / 2 = 1e4 is good to 1e4 EPS
    assert moments.mean[0, 0] == pytest.approx(mean, rel=1e-9, abs=1e-10)
    assert moments.log_var[0, 0] == pytest.approx(-np.log(precision), rel=1e-9, abs=1e-9)


def test_a_step_is_plain() -> None:
    q = Posterior(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    x = jnp.array([0.3])
    gradient = gradients.exact_gradient(elbo_trials.example(), x, q)
    moved = variational.ascend_q(elbo_trials.example(), x, q, rate=0.1)
    np.testing.assert_allclose(moved.mean, 0.1 * gradient.mean, rtol=1e-6)  # float32
    np.testing.assert_allclose(moved.log_var, 0.1 * gradient.log_var, rtol=1e-6)
    with pytest.raises(ValueError, match=r"^rate is 0"):
        variational.ascend_q(elbo_trials.example(), x, q, rate=0)


def test_float32_finds_the_same_gaussian() -> None:
    model = elbo_trials.example()
    x = jnp.asarray(X, jnp.float32)
    best = variational.best_gaussian(model, x)
    assert best.mean.dtype == best.log_var.dtype == jnp.float32
    with jax.enable_x64(True):
        exact = variational.best_gaussian(model, np.asarray(x, np.float64))
        loss = bound(model, np.asarray(x, np.float64), *exact) - bound(
            model, np.asarray(x, np.float64), *(np.asarray(a, np.float64) for a in best)
        )
    assert (np.abs(loss) < 1e-4).all()  # the bound, of size 1 to 10, is seen to 1e-6 of it


def test_only_a_line_is_searched() -> None:
    model = InfiniteMixture(lambda z: (z, jnp.zeros_like(z)), latent=2)
    with pytest.raises(ValueError, match=r"^model.latent is 2; expected 1"):
        variational.best_gaussian(model, np.zeros((1, 2)))


def test_posteriors_that_the_nodes_do_not_resolve_are_refused() -> None:
    x = np.linspace(0.1, 0.2, 11)
    with jax.enable_x64(True):
        with pytest.raises(ValueError, match=r"^rule is too coarse.*the posterior of x\[0\]$"):
            variational.best_gaussian(elbo_trials.linear(noise_sd=1e-4), x)
        with pytest.raises(ValueError, match=r"^x has 1 of 11"):
            variational.best_gaussian(elbo_trials.linear(), np.where(x > 0.195, np.nan, x))
