"""The priors: densities, quantiles, draws and rules against SciPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lecture_lib import priors, quadrature
from lecture_lib.priors import Prior, StandardNormal, Uniform
from tests.laws import law

CASES: dict[str, tuple[Prior, Any]] = {
    "normal": (StandardNormal(), stats.norm()),
    "uniform": (Uniform(), stats.uniform(-1, 2)),
    "uniform on (-2, 3)": (Uniform(-2.0, 3.0), stats.uniform(-2, 5)),
}
each = pytest.mark.parametrize("name", CASES)


@each
@law(50)
@given(z=hnp.arrays(np.float64, (4, 2), elements=st.floats(-5, 5)))
def test_log_prob_is_that_of_scipy(name: str, z: Any) -> None:
    prior, reference = CASES[name]
    with jax.enable_x64(True):
        ours = np.asarray(prior.log_prob(z))
    assert ours.shape == (4,) and ours.dtype == np.float64
    # a sum of two terms of size 13 at most, each good to a few rounding errors of 2e-16
    np.testing.assert_allclose(ours, reference.logpdf(z).sum(-1), rtol=1e-14, atol=1e-14)


def test_uniform_is_closed_and_has_nothing_outside() -> None:
    prior = Uniform(-2.0, 3.0)
    ours = prior.log_prob(np.array([[-2.0], [3.0], [-2.001], [3.001]], np.float32))
    np.testing.assert_allclose(ours, [-np.log(5), -np.log(5), -np.inf, -np.inf], rtol=1e-6)  # float32
    assert float(prior.log_prob(jnp.array([0.0, 4.0]))) == -np.inf  # one dimension outside is enough


@each
def test_quantile_is_that_of_scipy(name: str) -> None:
    prior, reference = CASES[name]
    u = np.concatenate([[1e-12, 1e-3], np.linspace(0.02, 0.98, 49), [0.999, 1 - 1e-12]])
    with jax.enable_x64(True):
        ours = np.asarray(prior.quantile(u))
        assert np.asarray(prior.quantile(u[:50].reshape(5, 10))).shape == (5, 10)
    assert (np.diff(ours) > 0).all()
    # both are Cephes' ndtri, good to a few times 1e-15; at 1 - 1e-12 both see the same rounded number
    np.testing.assert_allclose(ours, reference.ppf(u), rtol=1e-13, atol=1e-15)


@each
def test_draws_have_the_distribution(name: str) -> None:
    """False alarms, over seeds: KS 1e-6 each, two dimensions; the correlation, at 5 standard errors, 6e-7."""
    prior, reference = CASES[name]
    n = 20_000
    z = np.asarray(prior.sample(jax.random.key(3), n, latent=2))
    assert z.shape == (n, 2) and z.dtype == np.float32
    for column in z.T:
        assert stats.kstest(column, reference.cdf).pvalue > 1e-6
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / n**0.5
    assert prior.sample(jax.random.key(3), 7).shape == (7, 1)
    np.testing.assert_array_equal(z, prior.sample(jax.random.key(3), n, latent=2))


@each
def test_rule_integrates_over_the_prior(name: str) -> None:
    """Its probability, mean and variance, in one dimension and in two."""
    prior, reference = CASES[name]
    for points, latent in ((401, 1), (101, 2)):
        with jax.enable_x64(True):
            rule = prior.rule(points, latent=latent)
            w = np.exp(np.asarray(rule.log_weights + prior.log_prob(rule.nodes)))
            z = np.asarray(rule.nodes)
        assert z.shape == (points**latent, latent)
        # trapezoid: step 0.2 at most, exp(-2 pi^2 / 0.04) off, 1e-21 beyond the ends; Gauss: exact.
        # Log-weights and log-densities of size 110 at most are rounded to 1.4e-14
        assert w.sum() == pytest.approx(1, abs=1e-13)
        np.testing.assert_allclose(w @ z, np.full(latent, reference.mean()), atol=1e-13)
        central = z - reference.mean()
        np.testing.assert_allclose(
            np.einsum("n,ni,nj", w, central, central), reference.var() * np.eye(latent), atol=5e-13
        )


@each
@law(60)
@given(u=hnp.arrays(np.float64, 5, elements=st.floats(1e-12, 1 - 1e-12)))
def test_quantiles_of_any_share(name: str, u: Any) -> None:
    """Those of SciPy, rising, and the share below each is the one asked for."""
    prior, reference = CASES[name]
    with jax.enable_x64(True):
        z = np.asarray(prior.quantile(np.sort(u)))
    assert (np.diff(z) >= 0).all()
    # both are good to 1e-13; an upper share of 1e-12 is known to EPS of 1, which the quantile, of slope 1e11
    # there, multiplies
    np.testing.assert_allclose(z, reference.ppf(np.sort(u)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(reference.cdf(z), np.sort(u), rtol=0, atol=1e-14)


def test_rules_are_of_the_kinds_told() -> None:
    for prior, told in (
        (StandardNormal(), quadrature.trapezoid(-10, 10, 31)),
        (Uniform(-2, 3), quadrature.gauss_legendre(-2, 3, 31)),
    ):
        for ours, theirs in zip(prior.rule(31), told, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert 2 * stats.norm.sf(10) < 1.55e-23  # what the rule's docstring says of the rest


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@each
def test_every_float_type_is_computed_in_float32_at_least(name: str, dtype: Any) -> None:
    prior, reference = CASES[name]
    z = np.array([[0.3], [-0.7]]).astype(dtype)
    ours = prior.log_prob(z)
    assert ours.dtype == jnp.float32
    # of the z that it was given, rounded as it is; float32
    np.testing.assert_allclose(ours, reference.logpdf(z[:, 0].astype(np.float64)), rtol=1e-6)
    np.testing.assert_allclose(prior.log_prob([[0.3], [-0.7]]), reference.logpdf([0.3, -0.7]), rtol=1e-6)


@each
def test_priors_are_constants_of_a_program(name: str) -> None:
    """Equal ones hash alike, so that a new object of the same values compiles nothing new."""
    prior, _ = CASES[name]
    traces = []

    @partial(jax.jit, static_argnums=0)
    def log_prob(p: Prior, z: Any) -> Any:
        traces.append(p)
        return p.log_prob(z)

    twin = Uniform(prior.low, prior.high) if isinstance(prior, Uniform) else StandardNormal()
    assert twin is not prior and twin == prior and hash(twin) == hash(prior)
    for p in (prior, twin):
        np.testing.assert_array_equal(log_prob(p, jnp.zeros((3, 1))), prior.log_prob(jnp.zeros((3, 1))))
    assert len(traces) == 1
    assert Uniform(-1, 2) != Uniform(-1, 3) and StandardNormal() == priors.NORMAL


@each
def test_log_prob_works_under_vmap_and_grad(name: str) -> None:
    prior, _ = CASES[name]
    z = jnp.array([[0.3, -0.5], [0.9, 0.1]])
    np.testing.assert_allclose(jax.vmap(prior.log_prob)(z), prior.log_prob(z), rtol=1e-6)  # float32
    gradient = jax.grad(lambda z: prior.log_prob(z).sum())(z)
    np.testing.assert_allclose(gradient, -z if name == "normal" else 0 * z, rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_uniform_refuses_ends(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"^low is {low}, high is {high}; expected finite numbers"):
        Uniform(low, high)


@each
def test_arguments_that_do_not_fit(name: str) -> None:
    prior, _ = CASES[name]
    for bad in (np.arange(2), [0, 1], "z", None):
        with pytest.raises(TypeError, match=r"^z has dtype"):
            prior.log_prob(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^z is a single number; expected shape \(\.\.\., latent\)"):
        prior.log_prob(0.5)
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        prior.sample(jax.random.key(0), 0)
    with pytest.raises(TypeError, match=r"^n is 2\.0"):
        prior.sample(jax.random.key(0), 2.0)  # type: ignore[arg-type]
    for latent in (0, 3):
        with pytest.raises(ValueError, match=f"^latent is {latent}"):
            prior.rule(5, latent=latent)
    with pytest.raises(ValueError, match=r"^points is 0"):
        prior.rule(0)
