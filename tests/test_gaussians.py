"""Normal densities and KL divergences against SciPy, quadrature and the laws that they must obey."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.decomposition import PCA

from lecture_lib import gaussians
from tests.laws import law

MEANS = st.floats(-50, 50)
LOG_VARS = st.floats(-20, 20)
# A double sum or product of a handful of terms: a few units in the last place, 2.2e-16 each, on the largest
# of the terms. RTOL leaves a hundred of them.
RTOL = 2e-14


def quadrature_kl(m_q: float, s_q: float, m_p: float, s_p: float) -> float:
    """KL(q || p) with log-variances s, from SciPy's densities by the trapezoid rule.

    On a parabola times a Gaussian it is exact to rounding at a step of .1 sd; beyond 12 lies 1e-31.
    """
    sd, t = np.exp(s_q / 2), np.linspace(-12, 12, 241)
    z = m_q + sd * t
    gap = stats.norm.logpdf(z, m_q, sd) - stats.norm.logpdf(z, m_p, np.exp(s_p / 2))
    return float(integrate.trapezoid(stats.norm.pdf(t) * gap, t))


# --- the density ----------------------------------------------------------------------------


@law(100)
@given(st.floats(-100, 100), MEANS, LOG_VARS)
def test_log_prob_is_that_of_scipy(x: float, mean: float, log_var: float) -> None:
    with jax.enable_x64(True):
        ours = float(gaussians.normal_log_prob(x, mean, log_var))
    # SciPy squares (x - mean) / sd, with sd = exp(log_var / 2) rounded first: relative error of the square
    assert ours == pytest.approx(stats.norm.logpdf(x, mean, np.exp(log_var / 2)), rel=1e-13, abs=1e-13)


def test_log_prob_in_float32_is_good_to_its_digits() -> None:
    x, mean, log_var = (
        a.ravel() for a in np.meshgrid([-9.0, 0, 0.1, 7], [-3.0, 0, 5], np.linspace(-8, 8, 9))
    )
    ours = gaussians.normal_log_prob(*(a.astype(np.float32) for a in (x, mean, log_var)))
    assert ours.dtype == jnp.float32
    inputs = [a.astype(np.float32).astype(np.float64) for a in (x, mean, log_var)]
    reference = stats.norm.logpdf(inputs[0], inputs[1], np.exp(inputs[2] / 2))
    # 1e-5: about a hundred units in the last place of float32 (6e-8); exp(8) alone amplifies its
    # argument's rounding eightfold
    np.testing.assert_allclose(ours, reference, rtol=1e-5)


@pytest.mark.parametrize("log_var", [-6.0, 0.0, 3.0])
def test_density_integrates_to_one(log_var: float) -> None:
    with jax.enable_x64(True):
        sd = np.exp(log_var / 2)
        z = 0.7 + sd * np.linspace(-12, 12, 1001)
        density = np.exp(gaussians.normal_log_prob(z, 0.7, log_var))
    # the trapezoid rule on an analytic, decaying function: exact to rounding
    assert integrate.trapezoid(density, z) == pytest.approx(1, abs=1e-12)


def test_log_prob_broadcasts_as_numpy() -> None:
    x = np.linspace(-1, 1, 6).reshape(2, 3).astype(np.float32)
    ours = gaussians.normal_log_prob(x, np.zeros((2, 1), np.float32), 0.0)
    assert ours.shape == (2, 3)
    np.testing.assert_allclose(ours, stats.norm.logpdf(x), rtol=1e-6)  # float32


# --- KL divergences -------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [-8.0, -0.3, 0.0, 2.0])
@pytest.mark.parametrize("log_var", [-12.0, -1.0, 0.0, 0.01, 2.0, 5.0])
def test_kl_to_the_prior_is_the_integral(mean: float, log_var: float) -> None:
    with jax.enable_x64(True):
        ours = float(gaussians.kl_standard_normal(np.array([mean]), np.array([log_var])))
    # a sum of terms no larger than a hundred times the value, or than ten
    assert ours == pytest.approx(quadrature_kl(mean, log_var, 0, 0), rel=1e-10, abs=1e-11)


@law(100)
@given(st.floats(-5, 5), st.floats(-4, 4), st.floats(-5, 5), st.floats(-4, 4))
def test_kl_of_two_gaussians_is_the_integral(m_q: float, s_q: float, m_p: float, s_p: float) -> None:
    with jax.enable_x64(True):
        ours = float(gaussians.kl_normal(*(np.array([v]) for v in (m_q, s_q, m_p, s_p))))
    assert ours == pytest.approx(quadrature_kl(m_q, s_q, m_p, s_p), rel=1e-9, abs=1e-10)


@law(100)
@given(MEANS, LOG_VARS, MEANS, LOG_VARS)
def test_kl_is_cross_entropy_less_entropy(m_q: float, s_q: float, m_p: float, s_p: float) -> None:
    """H(q, p) - H(q), with SciPy's entropy of q and E_q[(z - m_p)^2] = var_q + (m_q - m_p)^2."""
    with jax.enable_x64(True):
        ours = float(gaussians.kl_normal(*(np.array([v]) for v in (m_q, s_q, m_p, s_p))))
    spread = (np.exp(s_q) + (m_q - m_p) ** 2) / np.exp(s_p)
    cross = 0.5 * (np.log(2 * np.pi) + s_p + spread)
    entropy = stats.norm.entropy(m_q, np.exp(s_q / 2))
    # the difference cancels: a few rounding errors of the larger of the two, which is at most of size 1e2
    # plus spread
    assert ours == pytest.approx(cross - entropy, rel=RTOL, abs=RTOL * (100 + spread))


@law(100)
@given(st.lists(st.tuples(MEANS, LOG_VARS, MEANS, LOG_VARS), min_size=1, max_size=5))
def test_kl_is_never_negative_in_float32(rows: list[tuple[float, ...]]) -> None:
    m_q, s_q, m_p, s_p = np.array(rows, np.float32).T
    assert float(gaussians.kl_standard_normal(m_q, s_q)) >= 0
    assert float(gaussians.kl_normal(m_q, s_q, m_p, s_p)) >= 0
    assert float(gaussians.kl_normal(m_q, s_q, m_q, s_q)) == 0


@law(100)
@given(st.floats(-1e-3, 1e-3).filter(lambda s: abs(s) > 1e-6))
def test_kl_keeps_its_digits_near_the_prior(s: float) -> None:
    """s^2 / 4 + s^3 / 12 + s^4 / 48: the naive exp(s) - 1 - s in float32 has no digit left of it."""
    exact = s**2 / 4 + s**3 / 12 + s**4 / 48
    ours = float(gaussians.kl_standard_normal(jnp.zeros(1), jnp.full(1, s, jnp.float32)))
    # expm1(s) and s agree to all digits for |s| < 1e-7 and leave an error of eps |s| = 6e-8 |s| each
    assert ours >= 0
    assert ours == pytest.approx(exact, rel=1e-3, abs=1e-7 * abs(s))


@law(100)
@given(st.lists(st.tuples(MEANS, LOG_VARS), min_size=1, max_size=6))
def test_the_two_kls_agree_where_p_is_the_prior(rows: list[tuple[float, float]]) -> None:
    mean, log_var = np.array(rows).T
    zero = np.zeros(len(rows))
    with jax.enable_x64(True):
        one = float(gaussians.kl_standard_normal(mean, log_var))
        two = float(gaussians.kl_normal(mean, log_var, zero, zero))
    assert one == pytest.approx(two, rel=RTOL)
    assert one == pytest.approx(
        float(np.sum((np.exp(log_var) - 1 - log_var + mean**2) / 2)), rel=1e-12, abs=1e-12
    )


FOUR = st.tuples(MEANS, LOG_VARS, MEANS, LOG_VARS)


@law(60)
@given(st.tuples(FOUR, FOUR, FOUR), st.floats(-30, 30), st.floats(-5, 5))
def test_kl_exceeds_the_distance_of_bhattacharyya(rows: Any, shift: float, log_scale: float) -> None:
    """KL >= -2 log of the integral of sqrt(p q), which is above 0 for all that differ (Jensen).

    Sums over independent dimensions add up, and in other units, z -> a z + b, the divergence is the same.
    """
    m_q, s_q, m_p, s_p = np.array(rows).T
    with jax.enable_x64(True):
        each = np.asarray(gaussians.kl_normal(*(a[:, None] for a in (m_q, s_q, m_p, s_p))))
        whole = float(gaussians.kl_normal(m_q, s_q, m_p, s_p))
        a = np.exp(log_scale)
        moved = gaussians.kl_normal(
            a * m_q + shift, s_q + 2 * log_scale, a * m_p + shift, s_p + 2 * log_scale
        )
    gap = (m_q - m_p) ** 2
    # log cosh of half the difference of the log-variances: no digit is lost where they are alike
    half = (s_q - s_p) / 2
    overlap = np.log1p(2 * np.sinh(half / 2) ** 2) + gap / (2 * (np.exp(s_q) + np.exp(s_p)))
    # expm1(s) - s is good to EPS |s|: nothing is left of s^2 / 2 for s below it
    assert (each >= overlap * (1 - 1e-12) - 4e-16 * np.abs(s_q - s_p)).all()
    assert (each[(m_q != m_p) & (gap > 1e-300)] > 0).all()
    assert whole == pytest.approx(each.sum(), rel=RTOL)
    # a m + b is rounded to EPS (a 50 + 30), a distance that counts in units of a sd_p
    lost = 2.2e-16 * (50 + 30 / a + np.abs([s_q, s_p]).max()) * np.exp(-s_p / 2)
    allowed = 10 * (np.sqrt(gap) * np.exp(-s_p / 2) * lost + lost**2)
    # and sums of log-variances to EPS 30, which exp(s) multiplies
    allowed += 30 * 2.2e-16 * 4 * (np.exp(s_q - s_p) + 1 + gap * np.exp(-s_p))
    assert float(moved) == pytest.approx(whole, rel=1e-13, abs=allowed.sum())


@law(60)
@given(st.tuples(MEANS, MEANS, MEANS), st.tuples(LOG_VARS, LOG_VARS, LOG_VARS))
def test_every_density_integrates_to_one(means: Any, log_vars: Any) -> None:
    mean, sd = np.array(means), np.exp(np.array(log_vars) / 2)
    t = np.linspace(-12, 12, 201)[:, None]
    with jax.enable_x64(True):
        density = np.exp(gaussians.normal_log_prob(mean + sd * t, mean, np.array(log_vars)))
    # A step of .12 sd: exact to rounding. z - mean is off by EPS 50, of sd's down to e^-10
    np.testing.assert_allclose(integrate.trapezoid(density * sd, t, axis=0), 1, atol=1e-13 + 1e-14 / sd.min())
    first = integrate.trapezoid(density * sd * t, t, axis=0)
    second = integrate.trapezoid(density * sd * t**2, t, axis=0)
    np.testing.assert_allclose(first, 0, atol=1e-13 + 1e-13 / sd.min())
    np.testing.assert_allclose(second, 1, atol=1e-12 + 1e-13 / sd.min())


def test_kl_sums_the_last_axis_only() -> None:
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
    whole = gaussians.kl_standard_normal(mean, log_var)
    assert whole.shape == (4, 3)
    parts = gaussians.kl_standard_normal(mean[..., None], log_var[..., None])
    np.testing.assert_allclose(whole, parts.sum(-1), rtol=1e-5)  # float32
    assert gaussians.kl_normal(mean, log_var, log_var, mean).shape == (4, 3)


def test_gradients_are_finite_over_a_wide_range() -> None:
    log_var = jnp.linspace(-30, 30, 241, dtype=jnp.float32)[:, None]
    mean, x = jnp.full_like(log_var, 0.5), jnp.full_like(log_var, -0.5)
    functions = [
        lambda m, s: gaussians.kl_standard_normal(m, s).sum(),
        lambda m, s: gaussians.kl_normal(m, s, x, 0 * s).sum(),
        lambda m, s: gaussians.kl_normal(x, 0 * s, m, s).sum(),
        lambda m, s: gaussians.normal_log_prob(x, m, s).sum(),
        lambda m, s: gaussians.reparameterise(jax.random.key(0), m, s).sum(),
    ]
    for function in functions:
        value, gradient = jax.value_and_grad(function, argnums=(0, 1))(mean, log_var)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradient)


gradient_of_kl = jax.jit(jax.grad(gaussians.kl_standard_normal, (0, 1)))


@law(100)
@given(st.floats(-5, 5), st.floats(-10, 10))
def test_gradient_of_kl_is_the_closed_one(mean: float, log_var: float) -> None:
    """d/dm = m, d/ds = (exp(s) - 1) / 2."""
    with jax.enable_x64(True):
        of_m, of_s = gradient_of_kl(np.array([mean]), np.array([log_var]))
        assert float(of_m[0]) == pytest.approx(mean, rel=RTOL)
        assert float(of_s[0]) == pytest.approx((np.exp(log_var) - 1) / 2, rel=RTOL, abs=1e-15)


# --- drawing --------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (3.0, -4.0), (-2.0, 3.0)])
def test_draws_have_the_distribution(mean: float, log_var: float) -> None:
    """False alarms, over seeds: KS 1e-6; each moment, at 5 standard errors, 6e-7."""
    n = 50_000
    z = np.asarray(gaussians.reparameterise(jax.random.key(1), jnp.full(n, mean), jnp.full(n, log_var)))
    sd = np.exp(log_var / 2)
    assert stats.kstest(z, stats.norm(mean, sd).cdf).pvalue > 1e-6
    assert abs(z.mean() - mean) < 5 * sd / n**0.5
    assert abs(z.var() / sd**2 - 1) < 5 * (2 / n) ** 0.5


def test_draw_is_mean_plus_scaled_noise() -> None:
    mean, log_var = jnp.array([1.0, -2.0]), jnp.array([0.6, -3.0])
    key = jax.random.key(7)
    noise = np.asarray(gaussians.reparameterise(key, jnp.zeros(2), jnp.zeros(2)))
    np.testing.assert_array_equal(noise, jax.random.normal(key, (2,)))  # plus, not minus
    z = gaussians.reparameterise(key, mean, log_var)
    np.testing.assert_allclose(z, mean + np.exp(log_var / 2) * noise, rtol=1e-6)  # float32
    np.testing.assert_array_equal(z, gaussians.reparameterise(key, mean, log_var))
    assert (z != gaussians.reparameterise(jax.random.key(8), mean, log_var)).all()
    of_mean, of_log_var = jax.jacobian(gaussians.reparameterise, (1, 2))(key, mean, log_var)
    np.testing.assert_array_equal(of_mean, np.eye(2))
    np.testing.assert_allclose(of_log_var, np.diag((np.asarray(z) - mean) / 2), rtol=1e-5)  # float32


# --- what comes in --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_every_float_type_is_computed_in_float32_at_least(dtype: Any) -> None:
    m, s = np.array([0.5, -1.0], dtype), np.array([12.0, -12.0], dtype)
    for value in (
        gaussians.normal_log_prob(m, s, s),
        gaussians.kl_standard_normal(m, s),
        gaussians.kl_normal(m, s, s, m),
        gaussians.reparameterise(jax.random.key(0), m, s),
    ):
        assert value.dtype == jnp.float32 and np.isfinite(value).all()
    with jax.enable_x64(True):
        wide = gaussians.kl_standard_normal(np.zeros(2), np.zeros(2))
        assert wide.dtype == jnp.float64
        assert (
            gaussians.kl_standard_normal(np.zeros(2, np.float32), np.zeros(2, np.float32)).dtype
            == jnp.float32
        )


def test_lists_and_numpy_and_numbers() -> None:
    m, s = [0.5, -1.0], [0.0, 1.5]
    reference = gaussians.kl_standard_normal(jnp.array(m), jnp.array(s))
    assert reference.dtype == jnp.float32
    for kind in (list, tuple, np.array, lambda v: np.array(v, np.float32)):
        value = gaussians.kl_standard_normal(kind(m), kind(s))  # type: ignore[operator]
        assert value.dtype == jnp.float32
        np.testing.assert_array_equal(value, reference)
    assert gaussians.normal_log_prob([0.0, 2.0], 0, 0).shape == (2,)
    assert gaussians.reparameterise(jax.random.key(0), [0.0, 1.0], [0.0, 0.0]).shape == (2,)
    value = gaussians.normal_log_prob(1, 0, 0)
    assert float(value) == pytest.approx(stats.norm.logpdf(1), rel=1e-6)  # float32


@pytest.mark.parametrize("bad", [np.arange(2), jnp.arange(2), [1, 2], np.array([True, False]), "ab", None])
def test_other_types_are_refused_by_name(bad: Any) -> None:
    good = np.zeros(2, np.float32)
    with pytest.raises(TypeError, match=r"^log_var has dtype"):
        gaussians.normal_log_prob(good, good, bad)
    with pytest.raises(TypeError, match=r"^mean has dtype"):
        gaussians.kl_standard_normal(bad, good)
    with pytest.raises(TypeError, match=r"^mean_p has dtype"):
        gaussians.kl_normal(good, good, bad, good)
    with pytest.raises(TypeError, match=r"^log_var has dtype"):
        gaussians.reparameterise(jax.random.key(0), good, bad)


def test_shapes_that_differ_are_refused_by_name() -> None:
    a, b = jnp.zeros((3, 2)), jnp.zeros((2,))
    with pytest.raises(ValueError, match=r"shapes differ: mean \(3, 2\), log_var \(2,\)"):
        gaussians.kl_standard_normal(a, b)
    with pytest.raises(ValueError, match=r"log_var_p \(2,\)"):
        gaussians.kl_normal(a, a, a, b)
    with pytest.raises(ValueError, match=r"mean \(3, 2\), log_var \(2,\)"):
        gaussians.reparameterise(jax.random.key(0), a, b)
    with pytest.raises(ValueError, match="mean is a single number"):
        gaussians.kl_standard_normal(0.0, 0.0)
    with pytest.raises(ValueError, match="mean_q is a single number"):
        gaussians.kl_normal(0.0, 0.0, 0.0, 0.0)


# --- probabilistic PCA ----------------------------------------------------------------------


def spread(n: int = 60, dim: int = 5) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, dim)) * np.array([3.0, 2.0, 1.0, 0.5, 0.25])[:dim] + rng.normal(size=dim)


@pytest.mark.parametrize("latent", [1, 2, 4])
def test_ppca_is_scikit_learns(latent: int) -> None:
    """The likelihood of maximum likelihood; PCA divides by n - 1, so its data are shrunk by that factor."""
    x = spread()
    shrunk = x.mean(axis=0) + (x - x.mean(axis=0)) * np.sqrt((len(x) - 1) / len(x))
    theirs = PCA(latent).fit(shrunk)
    with jax.enable_x64(True):
        model = gaussians.PPCA.fit(x, latent)
        fresh = spread()[:7] + 1.5
        np.testing.assert_allclose(model.log_prob(fresh), theirs.score_samples(fresh), rtol=1e-10)
        np.testing.assert_allclose(model.variances, theirs.explained_variance_, rtol=1e-10)
        assert float(model.noise_var) == pytest.approx(theirs.noise_variance_, rel=1e-10)


def test_ppca_is_the_gaussian_that_it_says() -> None:
    x = spread()
    with jax.enable_x64(True):
        model = gaussians.PPCA.fit(x, 2)
        directions, variances = np.asarray(model.directions), np.asarray(model.variances)
        np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
        w = directions.T * np.sqrt(variances - float(model.noise_var))
        covariance = w @ w.T + float(model.noise_var) * np.eye(5)
        theirs = stats.multivariate_normal(np.asarray(model.mean), covariance)
        np.testing.assert_allclose(model.log_prob(x), theirs.logpdf(x), rtol=1e-10)
        assert model.log_prob(x[0]).shape == () and model.log_prob(x[None]).shape == (1, 60)
        # of all covariances with two large variances none is likelier: try some
        best = float(model.log_prob(x).sum())
        for k, factor in ((0, 1.1), (1, 0.9)):
            other = model._replace(variances=model.variances.at[k].multiply(factor))
            assert float(other.log_prob(x).sum()) < best
        assert float(model._replace(noise_var=model.noise_var * 1.1).log_prob(x).sum()) < best


def test_ppca_samples_are_means_given_z() -> None:
    """20 000 draws: their variance along each direction within 5 standard errors (false alarm: 2e-6)."""
    with jax.enable_x64(True):
        model = gaussians.PPCA.fit(spread(), 2)
        drawn = np.asarray(model.sample(jax.random.key(0), 20_000))
        assert model.sample(jax.random.key(0), 1).shape == (1, 5)
        along = (drawn - np.asarray(model.mean)) @ np.asarray(model.directions).T
        expected = np.asarray(model.variances - model.noise_var)
    np.testing.assert_allclose(along.var(axis=0), expected, rtol=5 * np.sqrt(2 / 20_000))
    assert np.linalg.matrix_rank(drawn - drawn.mean(axis=0)) == 2


def test_ppca_in_float32_is_good_to_a_thousandth_of_a_nat() -> None:
    x = spread()
    with jax.enable_x64(True):
        exact = np.asarray(gaussians.PPCA.fit(x, 2).log_prob(x))
    ours = gaussians.PPCA.fit(x.astype(np.float32), 2).log_prob(x.astype(np.float32))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, exact, atol=1e-3)


def test_data_that_ppca_cannot_fit() -> None:
    x = spread()
    for bad, latent, kind, told in (
        (x, 5, ValueError, r"^latent is 5; expected from 1 to 4"),
        (x, 1.5, TypeError, r"^latent is 1.5"),
        (x[:1], 1, ValueError, r"^x has shape \(1, 5\); expected \(n, dim\)"),
        (x[0], 1, ValueError, r"^x has shape \(5,\)"),
        (np.zeros((4, 3), int), 1, TypeError, r"^x has dtype int64"),
        (np.full((4, 3), np.nan), 1, ValueError, r"^x has 12 of 12 values"),
        (x[:, :1] * np.ones(3), 1, ValueError, r"^x varies in 1 directions only"),
        (x[:2], 1, ValueError, r"^x varies in 1 directions only"),  # two make a line
    ):
        with pytest.raises(kind, match=told):
            gaussians.PPCA.fit(bad, latent)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^x has shape \(2,\); expected \(\.\.\., 5\)"):
        gaussians.PPCA.fit(x.astype(np.float32), 1).log_prob(np.zeros(2, np.float32))
