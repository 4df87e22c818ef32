"""The estimators of the ELBO's gradient: their means, their spreads, their draws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lecture_lib import bounds, elbo_trials, gaussians, gradients, quadrature
from lecture_lib.networks import Posterior
from tests.laws import law

X = np.array(elbo_trials.EXAMPLE_X)
Q = Posterior(np.array([[0.3], [-0.2], [1.0]]), np.array([[-1.0], [0.0], [-3.0]]))  # type: ignore[arg-type]
N = 20_000


def test_exact_gradient_is_that_of_finite_differences() -> None:
    """Central differences at h = 1e-4: h^2 times a third derivative of size 1e2, and 1e-14 / h: 1e-6."""
    h = 1e-4
    with jax.enable_x64(True):
        model = elbo_trials.example()

        def bound(mean: Any, log_var: Any) -> np.ndarray:
            return np.asarray(bounds.elbo_joint(model, X, Posterior(mean, log_var)))

        exact = gradients.exact_gradient(model, X, Q)
        of_mean = (bound(Q.mean + h, Q.log_var) - bound(Q.mean - h, Q.log_var)) / (2 * h)
        of_log_var = (bound(Q.mean, Q.log_var + h) - bound(Q.mean, Q.log_var - h)) / (2 * h)
        np.testing.assert_allclose(exact.mean[:, 0], of_mean, atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(exact.log_var[:, 0], of_log_var, atol=1e-6, rtol=1e-6)
        other = gradients.exact_gradient(model, X, Q, rule=quadrature.gauss_legendre(-9.0, 9.0, 500))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), exact, other)
        assert exact.mean.shape == exact.log_var.shape == (3, 1)


def test_exact_gradient_is_that_of_the_gap() -> None:
    """log P(x) does not depend on q: the bound's gradient is minus that of KL(q || P(z|x))."""
    x = np.array([0.3, -1.0, 2.0])
    with jax.enable_x64(True):
        posterior = elbo_trials.linear_posterior(x, 1.3)
        of_gap = jax.grad(lambda q: gaussians.kl_normal(*q, *posterior).sum())(Q)
        exact = gradients.exact_gradient(elbo_trials.linear(1.3), x, Q)
        # quadrature is exact to rounding for a quadratic
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-10), exact, of_gap)


EACH = hnp.arrays(np.float64, (3, 1), elements=st.floats(-3, 3))


@jax.jit
def exactly(model: Any, x: Any, q: Any) -> Any:
    return gradients.exact_gradient(model, x, q)


@law(40)
@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(-3, 3), EACH, EACH)
def test_exact_gradient_of_any_line(slope: float, sd: float, x: float, mean: Any, log_var: Any) -> None:
    """The posterior is N(mu, v): -(m - mu) / v by the mean, and (1 - exp(s) / v) / 2 by the log-variance."""
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope, intercept=0.4, noise_sd=sd)
        q = Posterior(jnp.asarray(mean), jnp.asarray(log_var))
        ours = jax.tree.map(np.asarray, exactly(model, np.full(3, x), q))
    v = 1 / (1 + slope**2 / sd**2)
    mu = v * slope * (x - 0.4) / sd**2
    # The integrand is a quadratic, of size (20 * 4.5 / .2)^2 / 2 = 1e5 where eps is 10, but weighted by its
    # density: sums are of the size of the terms below, 1e4 at most, to a few EPS times the slopes of 1e2.
    np.testing.assert_allclose(ours.mean, -(mean - mu) / v, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(ours.log_var, (1 - np.exp(log_var) / v) / 2, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("kind", ["reparameterised", "score function", "with a baseline"])
def test_estimators_are_unbiased(kind: str) -> None:
    """The mean of 20000 within 5 standard errors, 6 comparisons each: false alarm 4e-6 over seeds."""
    key = jax.random.key(11)
    with jax.enable_x64(True):
        model = elbo_trials.example()
        exact = gradients.exact_gradient(model, X, Q)
        if kind == "reparameterised":
            each = gradients.reparameterised_gradient(model, X, Q, key=key, n=N)
        else:
            baseline = bounds.elbo_joint(model, X, Q) if kind == "with a baseline" else 0.0
            each = gradients.score_function_gradient(model, X, Q, key=key, n=N, baseline=baseline)
    for draws, value in zip(each, exact, strict=True):
        assert draws.shape == (N, 3, 1)
        draws = np.asarray(draws)
        assert (np.abs(draws.mean(axis=0) - np.asarray(value)) < 5 * draws.std(axis=0) / N**0.5).all()


def test_estimators_by_hand_for_a_linear_model() -> None:
    """From the same draws: d log P(x, z) / dz through z, and log-ratio times score."""
    slope, x, key = 1.3, np.array([0.4]), jax.random.key(2)
    mean, log_var = 0.7, -0.8
    sd = np.exp(log_var / 2)
    q = Posterior(np.full((1, 1), mean), np.full((1, 1), log_var))  # type: ignore[arg-type]
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope)
        eps = np.asarray(bounds.draws(key, Posterior(jnp.zeros((1, 1)), jnp.zeros((1, 1))), "n", 9))[0, :, 0]
        through = jax.tree.map(
            lambda a: np.asarray(a)[:, 0, 0], gradients.reparameterised_gradient(model, x, q, key=key, n=9)
        )
        score = jax.tree.map(
            lambda a: np.asarray(a)[:, 0, 0],
            gradients.score_function_gradient(model, x, q, key=key, n=9, baseline=-1.5),
        )
    z, var = mean + sd * eps, elbo_trials.NOISE_SD**2
    slope_of_log_joint = -z + slope * (x - slope * z) / var
    np.testing.assert_allclose(through.mean, slope_of_log_joint, rtol=1e-12)
    np.testing.assert_allclose(through.log_var, slope_of_log_joint * sd * eps / 2 + 0.5, rtol=1e-11)
    log_ratio = -(z**2) / 2 - np.log(2 * np.pi * var) / 2 - (x - slope * z) ** 2 / var / 2
    log_ratio += eps**2 / 2 + log_var / 2
    np.testing.assert_allclose(score.mean, (log_ratio + 1.5) * eps / sd, rtol=1e-11)
    np.testing.assert_allclose(score.log_var, (log_ratio + 1.5) * (eps**2 - 1) / 2, rtol=1e-11)


def test_at_the_exact_posterior_only_the_path_has_spread_left() -> None:
    """log P(x, z) - log q(z|x) is the constant log P(x) there: with it as the baseline the score gives 0.

    The other estimator's derivative by the mean is eps / sd, whose spread is that of q's precision.
    """
    x, key = np.array([0.4, -2.0]), jax.random.key(0)
    with jax.enable_x64(True):
        model, q = elbo_trials.linear(1.3), elbo_trials.linear_posterior(np.array([0.4, -2.0]), 1.3)
        log_p = model.log_prob(x)
        score = gradients.score_function_gradient(model, x, q, key=key, n=50, baseline=log_p)
        jax.tree.map(lambda a: np.testing.assert_allclose(a, 0, atol=1e-11), score)
        through = gradients.reparameterised_gradient(model, x, q, key=key, n=50)
        eps = jnp.swapaxes(bounds.draws(key, q, "n", 50), 0, 1)
        np.testing.assert_allclose(through.mean, -eps * jnp.exp(-q.log_var / 2), atol=1e-11)


def test_what_does_not_fit_is_refused_by_name() -> None:
    model, key = elbo_trials.example(), jax.random.key(0)
    for estimator in (gradients.reparameterised_gradient, gradients.score_function_gradient):
        with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
            estimator(model, X, Q, key=key, n=0)
        with pytest.raises(ValueError, match=r"^x has shape \(2,\)"):
            estimator(model, X[:2], Q, key=key, n=1)
    with pytest.raises(ValueError, match=r"^x has shape \(2,\)"):
        gradients.exact_gradient(model, X[:2], Q)
    with pytest.raises(ValueError, match=r"^shapes differ: baseline \(2,\)"):
        gradients.score_function_gradient(model, X, Q, key=key, n=1, baseline=np.zeros(2))
    with pytest.raises(ValueError, match=r"^baseline has 1 of 1"):
        gradients.score_function_gradient(model, X, Q, key=key, n=1, baseline=np.nan)
