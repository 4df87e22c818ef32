"""Finite and infinite mixtures against SciPy, scikit-learn, closed forms and the laws that they must obey."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from sklearn.mixture import GaussianMixture

from lecture_lib import elbo_trials, quadrature
from lecture_lib.gaussians import InfiniteMixture, Mixture
from lecture_lib.networks import GaussianDecoder
from lecture_lib.priors import Uniform
from tests.laws import law

EPS = 2.2e-16
# The log-densities compared here are at most a few thousand in size, sums of some ten terms, each good to a
# few EPS of the largest: RTOL leaves about fifty of them. Matrices add their condition number, at most 100 in
# `RANDOM`, and with it ATOL.
RTOL = 1e-14
ATOL = 1e-12

WEIGHTS, MEANS, VARIANCES = [0.5, 0.2, 0.3], [-1.0, 0.5, 4.0], [0.3, 2.0, 0.1]


# Compiled: called as they are, they are twenty programs of one operation each, for every new shape.


@jax.jit
def log_prob(model: Mixture | InfiniteMixture, x: Any, rule: quadrature.Rule | None = None) -> Any:
    return model.log_prob(x) if rule is None else model.log_prob(x, rule=rule)  # type: ignore[call-arg]


@jax.jit
def responsibilities(mixture: Mixture, x: Any) -> Any:
    return mixture.responsibilities(x)


@jax.jit
def log_posterior(model: InfiniteMixture, x: Any, z: Any, rule: quadrature.Rule | None = None) -> Any:
    return model.log_posterior(x, z, rule=rule)


def random_mixture(seed: int, k: int, dim: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances with condition numbers of at most 100."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k))
    if dim is None:
        return weights, rng.normal(0, 3, k), rng.uniform(0.1, 3, k)
    turns = np.linalg.qr(rng.normal(size=(k, dim, dim)))[0]
    matrices = np.einsum("kij,kj,klj->kil", turns, rng.uniform(0.05, 5, (k, dim)), turns)
    return weights, rng.normal(0, 3, (k, dim)), (matrices + matrices.swapaxes(1, 2)) / 2


RANDOM = [(1, 4, None), (2, 1, 2), (3, 3, 1), (5, 5, 3)]
each = pytest.mark.parametrize(("seed", "k", "dim"), RANDOM)


def scipy_log_joint(x: Any, weights: Any, means: Any, covariances: Any) -> np.ndarray:
    """Log P(m) P(x|m), components last."""
    kind = stats.norm if np.ndim(means) == 1 else stats.multivariate_normal
    scales = np.sqrt(covariances) if np.ndim(means) == 1 else covariances
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    parts = [lw + kind(m, s).logpdf(x) for lw, m, s in zip(log_weights, means, scales, strict=True)]
    return np.stack(parts, axis=-1)


def scikit_learn(weights: Any, means: Any, covariances: Any) -> GaussianMixture:
    weights, means = np.asarray(weights), np.asarray(means)
    k = len(weights)
    made = GaussianMixture(k, covariance_type="full")
    made.weights_, made.means_ = weights, means.reshape(k, -1)
    made.covariances_ = np.asarray(covariances).reshape(k, *2 * made.means_.shape[1:])
    precisions = np.linalg.inv(made.covariances_)
    made.precisions_cholesky_ = np.linalg.cholesky(precisions)
    return made


# --- finite mixtures: densities -------------------------------------------------------------


@each
def test_log_prob_and_responsibilities_are_those_of_scipy(seed: int, k: int, dim: int | None) -> None:
    parameters = random_mixture(seed, k, dim)
    x = np.random.default_rng(9).normal(0, 4, (3, 7) if dim is None else (3, 7, dim))
    joint = scipy_log_joint(x, *parameters)
    with jax.enable_x64(True):
        mixture = Mixture(*parameters)
        ours, shares = np.asarray(log_prob(mixture, x)), np.asarray(responsibilities(mixture, x))
    assert mixture.components == k
    assert ours.shape == (3, 7) and shares.shape == (3, 7, k)
    np.testing.assert_allclose(ours, special.logsumexp(joint, axis=-1), rtol=RTOL * 100, atol=ATOL)
    # a share is exp of a difference of log-densities, each off by ATOL
    np.testing.assert_allclose(shares, special.softmax(joint, axis=-1), rtol=3 * 100 * ATOL)
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=10 * EPS)


@each
def test_log_prob_and_responsibilities_are_those_of_scikit_learn(seed: int, k: int, dim: int | None) -> None:
    parameters = random_mixture(seed, k, dim)
    reference = scikit_learn(*parameters)
    x = np.random.default_rng(8).normal(0, 4, (3, 7) if dim is None else (3, 7, dim))  # as above: compiled
    with jax.enable_x64(True):
        mixture = Mixture(*parameters)
        ours, shares = np.asarray(log_prob(mixture, x)), np.asarray(responsibilities(mixture, x))
    rows = x.reshape(21, dim or 1)
    # the inverse of a matrix of condition 100, and its factor, lose two digits and two more
    np.testing.assert_allclose(ours.ravel(), reference.score_samples(rows), rtol=1e-11)
    np.testing.assert_allclose(shares.reshape(21, k), reference.predict_proba(rows), rtol=1e-9, atol=1e-300)


@law(50)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 6]))
def test_density_integrates_to_one_and_cdf_is_its_integral(seed: int, k: int) -> None:
    parameters = random_mixture(seed, k, None)
    sds = np.sqrt(parameters[2])
    low, high = (parameters[1] - 12 * sds).min(), (parameters[1] + 12 * sds).max()
    x = np.linspace(low, high, 2001)
    with jax.enable_x64(True):
        mixture = Mixture(*parameters)
        density, cdf = np.exp(log_prob(mixture, x)), np.asarray(mixture.cdf(x))
    # The widest grid, of 12 sd's of 1.73 beyond means 15 apart, has a step of 0.03, a tenth of the least sd:
    # the trapezoid rule is off by exp(-2 pi^2 * 100) and by what lies beyond 12 standard deviations, 4e-33.
    assert integrate.trapezoid(density, x) == pytest.approx(1, abs=1e-13)
    # Simpson's rule up to x: 2 h^4 / 180 * range * |P''''|, at most h = 0.03, 3 / sd^4 * 0.4 / sd = 380
    # at the narrowest of sd 0.32, over the 12 sd's where such a component lies: 1.2e-6 * 380 * 8 / 180.
    grown = integrate.cumulative_simpson(density, x=x, initial=0)
    np.testing.assert_allclose(cdf, grown, rtol=0, atol=2e-5)
    assert (np.diff(cdf) >= -2 * EPS).all() and cdf[0] < 1e-30 and cdf[-1] == pytest.approx(1, abs=4 * EPS)


WIDE = st.tuples(
    st.one_of(st.just(0.0), st.floats(-30, 0).map(np.exp)),  # a weight, before they are made to sum to 1
    st.floats(-50, 50),
    st.floats(np.log(0.01), np.log(100)).map(np.exp),
)


@jax.jit
def all_of(mixture: Mixture, x: Any) -> Any:
    return mixture.log_prob(x), mixture.responsibilities(x), mixture.cdf(x), mixture.log_joint(x)


@law(40)
@given(st.tuples(WIDE, WIDE, WIDE).filter(lambda rows: any(row[0] for row in rows)))
def test_laws_of_any_mixture(rows: Any) -> None:
    """Weights down to 0 or e^-30, spreads from .01 to 100: the density, its integral, and Bayes' rule.

    By Gauss-Legendre quadrature between all the places that lie a whole number of two standard deviations
    from a mean: 16 nodes on 2 sd's at most of every component are exact to rounding.
    """
    weights, means, sds = np.array(rows).T
    weights = weights / weights.sum()
    cuts = np.sort((means[:, None] + sds[:, None] * np.arange(-12, 13, 2)).ravel())
    t, w = np.polynomial.legendre.leggauss(16)
    half = np.diff(cuts)[:, None] / 2
    x = (cuts[:-1, None] + half * (1 + t)).ravel()
    with jax.enable_x64(True):
        mixture = Mixture(weights, means, sds**2)
        log_p, shares, _, joint = (np.asarray(a) for a in all_of(mixture, x))
        cdf = np.asarray(mixture.cdf(cuts))
    mass = (half * w).ravel() * np.exp(log_p)
    # A place is rounded to EPS 1200, at the worst 3e-11 of an sd, which its density multiplies by 12 at most
    # and the rule hardly adds up, since roundings differ in sign; beyond 12 sd's lies 4e-33.
    assert mass.sum() == pytest.approx(1, abs=1e-11)
    grown = np.concatenate([[0], np.cumsum(mass.reshape(-1, 16).sum(axis=1))])
    np.testing.assert_allclose(cdf, grown, rtol=0, atol=1e-11)
    assert (
        (np.diff(cdf) >= -4 * EPS).all() and 0 <= cdf[0] < 1e-30 and cdf[-1] == pytest.approx(1, abs=4 * EPS)
    )
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=10 * EPS)
    assert (shares >= 0).all() and (shares[:, weights == 0] == 0).all()
    # P(m|x) P(x) = P(m, x), and P(m) is the mean of P(m|x)
    np.testing.assert_allclose(shares * np.exp(log_p)[:, None], np.exp(joint), rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(mass @ shares, weights, rtol=0, atol=1e-11)
    # at least as likely as by each component alone, and no likelier than by the likeliest
    parts = stats.norm.logpdf(x[:, None], means, sds)
    assert (log_p <= parts.max(axis=1) + 1e-9 * np.abs(parts).max(axis=1)).all()
    assert (joint.max(axis=1) <= log_p + 1e-12 * np.abs(log_p)).all()


@law(30)
@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(0.2, 5))
def test_a_line_with_noise_is_one_gaussian(slope: float, intercept: float, sd: float) -> None:
    """Infinitely many Gaussians along a line: N(b, a^2 + sd^2), density and integral, far out as well."""
    whole = stats.norm(intercept, np.hypot(slope, sd))
    x = intercept + np.hypot(slope, sd) * np.linspace(-5, 5, 11)
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope, intercept=intercept, noise_sd=sd)
        log_p, cdf = (np.asarray(a) for a in log_prob_and_cdf(model, x))
    # The prior's rule: a step of .006 is at most a tenth of sd / slope; P(z|x) at 5 sd's is far from z = 10.
    # log P(x|z) is of size 15^2 / .2^2 / 2 at most, to EPS of itself.
    np.testing.assert_allclose(log_p, whole.logpdf(x), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(cdf, whole.cdf(x), rtol=1e-9, atol=1e-14)


@jax.jit
def log_prob_and_cdf(model: InfiniteMixture, x: Any) -> Any:
    return model.log_prob(x), model.cdf(x)


@each
def test_cdf_is_that_of_scipy(seed: int, k: int, dim: int | None) -> None:
    weights, means, covariances = random_mixture(seed, k, dim)
    with jax.enable_x64(True):
        mixture = Mixture(weights, means, covariances)
        if dim is not None:
            with pytest.raises(
                ValueError, match=rf"^means has shape \({k}, {dim}\); cdf is for a mixture of"
            ):
                mixture.cdf(np.zeros(3))
            return
        x = np.linspace(-12, 12, 49).reshape(7, 7)
        ours = np.asarray(mixture.cdf(x))
    reference = sum(
        w * stats.norm.cdf(x, m, v**0.5) for w, m, v in zip(weights, means, covariances, strict=True)
    )
    # far below the means, where Phi(-z) falls as exp(-z^2 / 2), z^2 multiplies its rounding: z is at most 60
    np.testing.assert_allclose(ours, reference, rtol=60**2 * 2 * EPS, atol=1e-300)


@pytest.mark.parametrize("seed", [0, 1])
def test_density_of_vectors_integrates_to_one(seed: int) -> None:
    parameters = random_mixture(seed, 3, 2)
    with jax.enable_x64(True):
        # the least sd is 0.22, four steps of 0.05: exp(-2 pi^2 * 20); within 25 is more than 5 sd of 2.24
        # from means of sd 3, which the assertion on them makes sure of
        rule = quadrature.trapezoid(-25, 25, 1001, latent=2)
        total = float(quadrature.log_integral(log_prob(Mixture(*parameters), rule.nodes), rule.log_weights))
    assert np.abs(parameters[1]).max() < 25 - 7.5 * 5**0.5  # 7.5 sd: 6e-14
    assert total == pytest.approx(0, abs=1e-12)


@law(50)
@given(st.integers(0, 10**6), st.sampled_from([None, 2]), st.permutations(range(4)))
def test_order_of_the_components_is_of_no_matter(seed: int, dim: int | None, order: list[int]) -> None:
    parameters = random_mixture(seed, 4, dim)
    x = np.random.default_rng(seed).normal(0, 4, (5,) if dim is None else (5, 2))
    with jax.enable_x64(True):
        one, two = Mixture(*parameters), Mixture(*(p[order] for p in parameters))
        np.testing.assert_allclose(log_prob(one, x), log_prob(two, x), rtol=RTOL, atol=RTOL)
        np.testing.assert_allclose(
            responsibilities(one, x)[:, order], responsibilities(two, x), rtol=RTOL * 10
        )


@pytest.mark.parametrize("dim", [None, 2])
def test_a_component_in_two_halves_is_one(dim: int | None) -> None:
    weights, means, covariances = random_mixture(7, 3, dim)
    rows = [0, 0, 1, 2]
    split = np.array([0.25, 0.75, 1, 1]) * weights[rows]
    x = np.random.default_rng(0).normal(0, 4, (9,) if dim is None else (9, 2))
    with jax.enable_x64(True):
        whole, halves = Mixture(weights, means, covariances), Mixture(split, means[rows], covariances[rows])
        np.testing.assert_allclose(log_prob(whole, x), log_prob(halves, x), rtol=RTOL * 10)
        np.testing.assert_allclose(responsibilities(halves, x)[:, 0] * 3, responsibilities(halves, x)[:, 1])


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dim", [None, 2])
def test_far_out_nothing_underflows(dim: int | None, wide: bool) -> None:
    """60 standard deviations out the density is exp(-1800), 0 in any float; its log and gradient are not."""
    with jax.enable_x64(wide):
        dtype = np.float64 if wide else np.float32
        if dim is None:
            mixture = Mixture(*(np.array(a, dtype) for a in ([0.5, 0.5], [0.0, 1.0], [1.0, 4.0])))
            x = dtype(-60)
        else:
            eyes = np.eye(2) * np.array([1, 4])[:, None, None]
            mixture = Mixture(*(np.array(a, dtype) for a in ([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], eyes)))
            x = np.array([-60, 0], dtype)
        value, gradient = jax.jit(jax.value_and_grad(mixture.log_prob))(x)
        shares = np.asarray(mixture.responsibilities(x))
        assert value.dtype == dtype
        # far out the wider component is alone: N(x; 1, 4), the other is exp(-1300) of it; in `dim` dimensions
        d = dim or 1
        exact = np.log(0.5) - d / 2 * np.log(2 * np.pi * 4) - 61**2 / 8
        # a few roundings of 465
        assert float(value) == pytest.approx(exact, rel=8 * float(jnp.finfo(dtype).eps))
        wanted = 61 / 4 if dim is None else [61 / 4, 0]
        np.testing.assert_allclose(gradient, wanted, rtol=8 * float(jnp.finfo(dtype).eps))
        np.testing.assert_array_equal(shares, [0, 1])


@pytest.mark.parametrize("sds", [60.0, -60.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_beyond_all_components_values_and_gradients_are_finite(sds: float, dtype: Any) -> None:
    with jax.enable_x64(dtype == np.float64):
        mixture = Mixture(*(np.array(a, dtype) for a in (WEIGHTS, MEANS, VARIANCES)))
        x = np.array(4 + sds * 2**0.5, dtype)
        for tree in (
            log_prob(mixture, x),
            responsibilities(mixture, x),
            jax.jit(jax.grad(mixture.log_prob))(x),
            jax.jit(jax.grad(lambda m: m.log_prob(x)))(mixture),
        ):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


# --- a weight of exactly 0 ------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 2])
def test_a_weight_of_zero_is_as_if_the_component_were_not_there(dim: int | None) -> None:
    weights, means, covariances = random_mixture(7, 4, dim)
    weights = np.where(np.arange(4) == 1, 0, weights) / (1 - weights[1])
    rest = [0, 2, 3]
    # at the very mean of the dead one, far from all, and in between
    x = np.concatenate([means[1:2], 100 + means[1:2], means[1:2] - 0.5, np.zeros_like(means[:1])])
    with jax.enable_x64(True):
        dead, alive = (
            Mixture(weights, means, covariances),
            Mixture(weights[rest], means[rest], covariances[rest]),
        )
        np.testing.assert_allclose(log_prob(dead, x), log_prob(alive, x), rtol=RTOL)
        shares = np.asarray(responsibilities(dead, x))
        np.testing.assert_array_equal(shares[:, 1], 0)
        np.testing.assert_allclose(shares[:, rest], responsibilities(alive, x), rtol=RTOL * 100)
        one, two = (jax.jit(jax.grad(lambda m, x: m.log_prob(x).sum(), 1))(m, x) for m in (dead, alive))
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, two, rtol=RTOL * 100)
        of_shares = jax.jit(jax.jacobian(dead.responsibilities))(x)
        assert np.isfinite(of_shares).all()
        np.testing.assert_array_equal(of_shares[:, 1], 0)
        of_parameters = jax.grad(lambda m, s: Mixture(weights, m, s).log_prob(x).sum(), (0, 1))
        gradient = jax.jit(of_parameters)(means, covariances)
        for leaf in gradient:
            assert np.isfinite(leaf).all()
            np.testing.assert_array_equal(leaf[1], 0)
        if dim is None:
            np.testing.assert_allclose(dead.cdf(x), alive.cdf(x), rtol=RTOL)
        assert 1 not in np.asarray(dead.sample(jax.random.key(0), 10_000).component)


# --- drawing --------------------------------------------------------------------------------


def test_draws_of_numbers_have_the_distribution() -> None:
    """False alarms, over seeds: 1e-6 for each of a chi-square and four Kolmogorov-Smirnov tests."""
    n = 30_000
    mixture = Mixture(WEIGHTS, MEANS, VARIANCES)
    component, x = (np.asarray(a) for a in mixture.sample(jax.random.key(1), n))
    assert component.shape == x.shape == (n,) and x.dtype == np.float32
    assert np.issubdtype(component.dtype, np.integer)
    assert stats.chisquare(np.bincount(component, minlength=3), n * np.array(WEIGHTS)).pvalue > 1e-6
    # float32 rounds cdf and x by 1e-7 of their size: far below the 0.005 of a KS statistic
    assert stats.kstest(x, lambda v: np.asarray(mixture.cdf(v))).pvalue > 1e-6
    for m in range(3):  # the x that is returned is of the component returned with it
        own = stats.norm(MEANS[m], VARIANCES[m] ** 0.5)
        assert stats.kstest(x[component == m], own.cdf).pvalue > 1e-6


def test_draws_of_vectors_have_the_distribution() -> None:
    """False alarms, over seeds: 1e-6 for each of a chi-square and six KS tests, and 6e-7 (5 standard errors)
    for each of three correlations of whitened coordinates."""
    n = 30_000
    weights, means, covariances = random_mixture(4, 3, 2)
    mixture = Mixture(weights, means, covariances)
    component, x = (np.asarray(a) for a in mixture.sample(jax.random.key(2), n))
    assert component.shape == (n,) and x.shape == (n, 2)
    assert stats.chisquare(np.bincount(component, minlength=3), n * weights).pvalue > 1e-6
    for m in range(3):
        own = x[component == m].astype(np.float64) - means[m]
        white = np.linalg.solve(np.linalg.cholesky(covariances[m]), own.T)
        for coordinate in white:
            assert stats.kstest(coordinate, stats.norm.cdf).pvalue > 1e-6
        assert abs(np.mean(white[0] * white[1])) < 5 / white.shape[1] ** 0.5


def test_draws_are_those_of_the_key() -> None:
    mixture = Mixture(WEIGHTS, MEANS, VARIANCES)
    one, two, other = (mixture.sample(jax.random.key(k), 50) for k in (3, 3, 4))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.component, two.component)
    assert (one.x != other.x).all()
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"^n is {n}; expected at least 1"):
            mixture.sample(jax.random.key(0), n)
    with pytest.raises(TypeError, match=r"^n is 2\.0"):
        mixture.sample(jax.random.key(0), 2.0)  # type: ignore[arg-type]


# --- transformations ------------------------------------------------------------------------


def close_in_float32(one: Any, two: Any) -> None:
    # jit, vmap and eager code order float32 operations differently: a few units of 6e-8 in log-densities
    # of size 10 or less
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [None, 2])
def test_mixture_passes_through_jit(dim: int | None) -> None:
    mixture = Mixture(*random_mixture(7, 3, dim))
    x = np.random.default_rng(0).normal(0, 3, (5,) if dim is None else (5, 2)).astype(np.float32)
    close_in_float32(jax.jit(lambda m, x: m.log_prob(x))(mixture, x), mixture.log_prob(x))
    back = jax.jit(lambda m: m)(mixture)
    assert isinstance(back, Mixture)
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(mixture), strict=True):
        np.testing.assert_array_equal(one, two)
    made = jax.jit(lambda *a: Mixture(*a).log_prob(x))(mixture.weights, mixture.means, mixture.covariances)
    close_in_float32(made, mixture.log_prob(x))
    parts = [mixture.weights, mixture.means, mixture.covariances]
    for i in range(3):  # one of them traced, the others known
        alone = jax.jit(lambda a, i=i: Mixture(*parts[:i], a, *parts[i + 1 :]).log_prob(x))(parts[i])
        close_in_float32(alone, made)
    within = jax.jit(lambda x: Mixture(WEIGHTS, MEANS, VARIANCES).log_prob(x))(x)  # of numbers known then
    close_in_float32(within, Mixture(WEIGHTS, MEANS, VARIANCES).log_prob(x))
    drawn = jax.jit(lambda m, key: m.sample(key, 20))(mixture, jax.random.key(0))
    close_in_float32(drawn.x, mixture.sample(jax.random.key(0), 20).x)


@pytest.mark.parametrize("dim", [None, 2])
def test_many_mixtures_at_once(dim: int | None) -> None:
    one, two = Mixture(*random_mixture(7, 3, dim)), Mixture(*random_mixture(8, 3, dim))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)
    x = np.random.default_rng(0).normal(0, 3, (5,) if dim is None else (5, 2)).astype(np.float32)
    log_probs = jax.vmap(lambda m: m.log_prob(x))(both)
    for row, mixture in zip(log_probs, (one, two), strict=True):
        close_in_float32(row, mixture.log_prob(x))
    shares = jax.vmap(lambda v: one.responsibilities(v))(x)  # over x, too
    close_in_float32(shares, one.responsibilities(x))


@pytest.mark.parametrize("dim", [None, 2])
def test_gradients_are_those_of_central_differences(dim: int | None) -> None:
    """Of the log-likelihood, in every direction of the parameters, of a mixture that is made while traced."""
    weights, means, covariances = random_mixture(7, 3, dim)
    x = np.random.default_rng(0).normal(0, 3, (5,) if dim is None else (5, 2))
    with jax.enable_x64(True):

        def log_likelihood(parameters: tuple[Any, Any, Any]) -> Any:
            return Mixture(*parameters).log_prob(x).sum()

        gradient = jax.jit(jax.grad(log_likelihood))(tuple(map(jnp.asarray, (weights, means, covariances))))
        as_tree = jax.jit(jax.grad(lambda m: m.log_prob(x).sum()))(Mixture(weights, means, covariances))
        assert isinstance(as_tree, Mixture)
        for one, two in zip(gradient, jax.tree.leaves(as_tree), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
        rng, h = np.random.default_rng(1), 1e-5
        traced = jax.jit(log_likelihood)  # traced: the weights beside a point sum to 1 no longer
        for i in range(3):
            step = [np.zeros_like(p) for p in (weights, means, covariances)]
            step[i] = rng.normal(size=step[i].shape)
            if i == 2 and dim is not None:
                step[i] = step[i] + step[i].swapaxes(1, 2)  # a matrix beside a covariance has to be one, too
            ahead, behind = (
                float(
                    traced(tuple(p + s * d for p, d in zip((weights, means, covariances), step, strict=True)))
                )
                for s in (h, -h)
            )
            slope = float(np.sum(np.asarray(gradient[i]) * step[i]))
            # h^2 times a third derivative (sizes of (1 / 0.05)^3 at most) and EPS 100 / h: 1e-6 and 2e-9
            assert (ahead - behind) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-5)


# --- what comes in --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_every_float_type_is_computed_in_float32_at_least(dtype: Any) -> None:
    exact = ([0.25, 0.75], [-1.0, 2.0], [0.5, 4.0])  # numbers that all types hold
    mixture = Mixture(*(np.array(a, dtype) for a in exact))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(mixture))
    x = np.array([-300.0, 0.5], dtype)
    values = mixture.log_prob(x), mixture.responsibilities(x), mixture.cdf(x)
    assert all(v.dtype == jnp.float32 and np.isfinite(v).all() for v in values)
    joint = scipy_log_joint(x.astype(np.float64), *exact)
    np.testing.assert_allclose(values[0], special.logsumexp(joint, axis=-1), rtol=1e-6)  # float32
    assert mixture.sample(jax.random.key(0), 3).x.dtype == jnp.float32
    with jax.enable_x64(True):
        wide = Mixture(*(np.array(a, np.float64) for a in exact))
        assert wide.log_prob(np.zeros(2)).dtype == jnp.float64


@pytest.mark.parametrize("kind", [list, tuple, np.array, jnp.array, lambda a: np.array(a, np.float32)])
def test_lists_and_arrays(kind: Callable[[Any], Any]) -> None:
    x = [0.0, 2.0]
    reference = Mixture(*(jnp.array(a) for a in (WEIGHTS, MEANS, VARIANCES)))
    mixture = Mixture(kind(WEIGHTS), kind(MEANS), kind(VARIANCES))
    np.testing.assert_array_equal(mixture.log_prob(kind(x)), reference.log_prob(jnp.array(x)))
    np.testing.assert_array_equal(mixture.responsibilities(kind(x)), reference.responsibilities(x))
    np.testing.assert_array_equal(mixture.cdf(kind(x)), reference.cdf(jnp.array(x)))
    assert mixture.log_prob(0.5).shape == mixture.log_prob(1).shape == ()


EYES = [[[1.0, 0.0], [0.0, 1.0]]] * 3
PLACES = [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]


@pytest.mark.parametrize("bad", [[1, 0, 0], np.array([1, 0, 0]), jnp.array([1, 0, 0]), [True, False, False]])
@pytest.mark.parametrize("name", ["weights", "means", "covariances"])
def test_whole_numbers_are_refused_by_name(name: str, bad: Any) -> None:
    good = {"weights": WEIGHTS, "means": MEANS, "covariances": VARIANCES}
    with pytest.raises(TypeError, match=rf"^{name} has dtype (int|bool)"):
        Mixture(**{**good, name: bad})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^x has dtype int"):
        Mixture(**good).log_prob(np.arange(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([0.6, -0.1, 0.5], r"^weights is \[.*-0\.1.*\], with sum 1; expected none negative and a sum of 1"),
        ([0.5, 0.2, 0.2], r"^weights is .*, with sum 0\.9; expected none negative and a sum of 1"),
        ([0.5, 0.2, 0.3001], r"^weights is .*, with sum 1\.0001; expected"),
        ([0.5, 0.2, 0.300015], r"^weights is .*, with sum 1\.0000[12]; expected"),
        ([0.0, 0.0, 0.0], r"^weights is .*, with sum 0; expected"),
        ([0.5, 0.5, np.nan], r"^weights has 1 of 3 values that are not finite \(first at index \(2,\)\)"),
        ([np.inf, 0.5, 0.5], r"^weights has 1 of 3 values that are not finite"),
        ([0.5, 0.5], r"^means has shape \(3,\); expected \(2,\) or \(2, dim\), to fit the weights"),
        ([], r"^weights has shape \(0,\); expected \(components,\), at least one"),
        ([[0.5, 0.2, 0.3]], r"^weights has shape \(1, 3\); expected \(components,\)"),
        (1.0, r"^weights has shape \(\); expected \(components,\)"),
    ],
)
def test_weights_are_refused(weights: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Mixture(weights, MEANS, VARIANCES)


def test_weights_may_be_off_by_their_rounding() -> None:
    Mixture([0.5, 0.2, 0.300009], MEANS, VARIANCES)  # 9e-6: the docstring allows 1e-5
    many = np.full(3000, 1 / 3000, np.float32)
    Mixture(many, np.zeros(3000, np.float32), np.ones(3000, np.float32))


@pytest.mark.parametrize(
    ("means", "covariances", "told"),
    [
        (MEANS, [1.0, 0.0, 1.0], r"^covariances\[1\] is 0\.0; expected a variance above 0$"),
        (MEANS, [1.0, 1.0, -2.0], r"^covariances\[2\] is -2\.0; expected a variance above 0$"),
        (MEANS, [1.0, np.nan, 1.0], r"^covariances has 1 of 3 values that are not finite"),
        ([0.0, np.inf, 1.0], VARIANCES, r"^means has 1 of 3 values that are not finite"),
        (MEANS, [1.0, 1.0], r"^covariances has shape \(2,\); expected \(3,\), to fit the means"),
        (MEANS, EYES, r"^covariances has shape \(3, 2, 2\); expected \(3,\), to fit the means"),
        (PLACES, VARIANCES, r"^covariances has shape \(3,\); expected \(3, 2, 2\), to fit the means"),
        (PLACES, [[[1.0]]] * 3, r"^covariances has shape \(3, 1, 1\); expected \(3, 2, 2\)"),
        (PLACES[:2], EYES, r"^means has shape \(2, 2\); expected \(3,\) or \(3, dim\)"),
        ([PLACES] * 3, EYES, r"^means has shape \(3, 3, 2\); expected \(3,\) or \(3, dim\)"),
        ([[]] * 3, EYES, r"^means has shape \(3, 0\); expected \(3,\) or \(3, dim\)"),
        (0.0, VARIANCES, r"^means has shape \(\); expected \(3,\)"),
    ],
)
def test_means_and_covariances_are_refused(means: Any, covariances: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Mixture(WEIGHTS, means, covariances)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 0.5], [0.4, 1.0]],  # lopsided
        [[1.0, 2.0], [2.0, 1.0]],  # an eigenvalue of -1
        [[1.0, 1.0], [1.0, 1.0]],  # singular
        [[1.0, 0.0], [0.0, 0.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[0.0, 1.0], [1.0, 0.0]],
    ],
)
def test_matrices_are_refused(matrix: Any) -> None:
    for i in range(3):
        covariances = [*EYES[:i], matrix, *EYES[i + 1 :]]
        with pytest.raises(
            ValueError, match=rf"^covariances\[{i}\] is .*; expected a symmetric, positive def"
        ):
            Mixture(WEIGHTS, PLACES, covariances)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e-3])
def test_matrices_may_be_off_by_their_rounding(size: float) -> None:
    """Lopsided by 1e-5 of their largest number; and as near to singular as Demmel's condition says.

    That is a least eigenvalue of n (n + 1) EPS for ones on the diagonal: 6 * 2^-23 in float32, which the
    other numbers have to stay below 1 by.
    """

    def taken(a: float, b: float) -> bool:
        try:
            Mixture([1.0], [[0.0, 0.0]], [[[size, size * a], [size * b, size]]])
        except ValueError:
            return False
        return True

    assert taken(0.5, 0.500009) and not taken(0.5, 0.500015) and not taken(-0.5, -0.500015)
    assert taken(1 - 14 * 2**-24, 1 - 14 * 2**-24) and not taken(1 - 10 * 2**-24, 1 - 10 * 2**-24)


@law(60)
@given(st.integers(0, 10**6), st.floats(-9, -3))
def test_what_is_taken_has_a_density(seed: int, log_least: float) -> None:
    """Nearly singular matrices are either refused or give finite numbers in float32; never NaN."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(4, 2))
    matrix = (a @ a.T + 10**log_least * np.eye(4)).astype(np.float32)
    matrix = (matrix + matrix.T) / 2
    eigenvalues = np.linalg.eigvalsh(matrix.astype(np.float64))
    try:
        mixture = Mixture([1.0], np.zeros((1, 4), np.float32), matrix[None])
    except ValueError:
        # the condition is on the matrix with ones on its diagonal: 4 * 5 * 1.2e-7 there
        assert eigenvalues[0] < 2.4e-6 * np.diagonal(matrix).max()
    else:
        assert np.isfinite(log_prob(mixture, np.ones(4, np.float32)))


def test_scales_may_differ_widely() -> None:
    """Nothing is wrong with sds of 1e-5 and 1e4 in the same matrix, in float32."""
    mixture = Mixture([1.0], [[0.0, 0.0]], [np.diag([1e-10, 1e8])])
    exact = stats.norm.logpdf(2e-5, 0, 1e-5) + stats.norm.logpdf(1e4, 0, 1e4)
    assert float(mixture.log_prob([2e-5, 1e4])) == pytest.approx(exact, rel=1e-5)  # float32


def test_vectors_of_another_length_are_refused() -> None:
    mixture = Mixture(WEIGHTS, PLACES, EYES)
    for x in (np.zeros(3), np.zeros((2, 1)), np.zeros((2, 5)), 0.0):
        for call in (mixture.log_prob, mixture.responsibilities):
            with pytest.raises(ValueError, match=r"^x has shape .*; expected \(\.\.\., 2\)"):
                call(x)


def test_mixtures_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot assign to field"):
        Mixture(WEIGHTS, MEANS, VARIANCES).weights = jnp.ones(3)  # type: ignore[misc]


# --- infinite mixtures: closed forms --------------------------------------------------------

S2 = 0.04


def linear(a: float, b: float, var: float = S2) -> Any:
    """Mean a z + b for numbers x."""
    return lambda z: (a * z[:, 0] + b, jnp.full(len(z), jnp.log(var)))


SLOPES = [0.0, -1.0, 3.0]


@pytest.mark.parametrize("a", SLOPES)
def test_linear_network_makes_a_gaussian(a: float, b: float = -2.0) -> None:
    """N(b, a^2 + s^2), to the 1e-9 that is promised, 7 standard deviations out either way."""
    sd = (a**2 + S2) ** 0.5
    x = b + sd * np.linspace(-7, 7, 43)
    with jax.enable_x64(True):
        ours = np.asarray(log_prob(InfiniteMixture(linear(a, b)), x))
        shape = jax.eval_shape(log_prob, InfiniteMixture(linear(a, b)), x.reshape(1, 43, 1)).shape
    assert shape == (1, 43, 1)
    np.testing.assert_allclose(ours, stats.norm.logpdf(x, b, sd), rtol=0, atol=1e-9)


def test_linear_network_makes_a_gaussian_of_vectors() -> None:
    """N(b, s^2 I + a a^T); the slope of the mean is |a| = 1.5."""
    a, b = np.array([1.0, -1.0, 0.5]), np.array([0.5, 0.0, -3.0])
    cov = S2 * np.eye(3) + np.outer(a, a)
    x = np.random.default_rng(0).multivariate_normal(b, cov, 30)
    with jax.enable_x64(True):
        model = InfiniteMixture(lambda z: (z * a + b, jnp.full((len(z), 3), jnp.log(S2))))
        ours = np.asarray(log_prob(model, x))
    np.testing.assert_allclose(ours, stats.multivariate_normal(b, cov).logpdf(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", ["numbers", "vectors"])
def test_linear_network_of_two_latent_dimensions(shape: str) -> None:
    """N(b, s^2 I + A A^T) with a slope of 1.5 one way, the most of the default rule, and less the other."""
    a = np.array([[1.5, 0.3]]) if shape == "numbers" else np.array([[1.5, 0.0], [0.0, 0.7], [0.0, 0.4]])
    dim = len(a)
    cov = S2 * np.eye(dim) + a @ a.T
    x = np.random.default_rng(0).multivariate_normal(np.ones(dim), cov, 20)

    def network(z: Any) -> Any:
        mean = z @ a.T + 1.0
        log_var = jnp.full_like(mean, jnp.log(S2))
        return (mean[:, 0], log_var[:, 0]) if shape == "numbers" else (mean, log_var)

    with jax.enable_x64(True):
        ours = np.asarray(log_prob(InfiniteMixture(network, latent=2), x[:, 0] if shape == "numbers" else x))
    np.testing.assert_allclose(
        ours, stats.multivariate_normal(np.ones(dim), cov).logpdf(x), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("a", [-1.0, 3.0])
def test_uniform_prior_makes_a_difference_of_cdfs(a: float) -> None:
    """P(x) = (Phi((x - a low - b) / s) - Phi((x - a high - b) / s)) / (a (high - low)), sign aside."""
    low, high, b, s = -2.0, 1.0, 0.3, S2**0.5
    ends = sorted((a * low + b, a * high + b))
    x = np.linspace(ends[0] - 4 * s, ends[1] + 4 * s, 41)
    middle = sum(ends) / 2  # upper tails where x is large: a difference of numbers near 1 has no digits
    reflected = np.where(x > middle, 2 * middle - x, x)
    share = stats.norm.cdf((reflected - ends[0]) / s) - stats.norm.cdf((reflected - ends[1]) / s)
    with jax.enable_x64(True):
        ours = np.asarray(log_prob(InfiniteMixture(linear(a, b), Uniform(low, high)), x))
    np.testing.assert_allclose(ours, np.log(share / abs(a * (high - low))), rtol=0, atol=1e-9)


def bent(z: Any) -> Any:
    """No closed form; means of slope at most 0.3, standard deviations of 0.2 to 0.25."""
    return 0.2 * z[:, 0] + 0.1 * jnp.sin(z[:, 0]), jnp.log(S2) + 0.45 * jnp.cos(z[:, 0] / 2) ** 2


def steep(z: Any) -> Any:
    """Means of slope up to 3, standard deviations of 0.2 to 0.33."""
    return 2 * z[:, 0] + jnp.sin(z[:, 0]), jnp.log(S2) + jnp.cos(z[:, 0] / 2) ** 2


@pytest.mark.parametrize(
    ("network", "other"),
    [
        # Hermite's series for a Gaussian of slope a and sd s falls as (a^2 / (a^2 + s^2))^n: 1.7e-13 for 80
        (bent, lambda: quadrature.gauss_hermite(80)),
        (bent, lambda: quadrature.gauss_legendre(-10, 10, 201)),
        # for a slope of 15 sd's the nodes have to be close, which Hermite's are not
        (steep, lambda: quadrature.gauss_legendre(-10, 10, 601)),
        (steep, lambda: quadrature.sinh_trapezoid(10, 801)),
    ],
    ids=["bent, Hermite", "bent, Legendre", "steep, Legendre", "steep, sinh"],
)
def test_rules_of_different_kinds_agree(network: Any, other: Any) -> None:
    """801 points on [-10, 10] are good to 1e-9 for what the docstring of log_prob says."""
    with jax.enable_x64(True):
        model = InfiniteMixture(network)
        mean = network(jnp.linspace(-2.5, 2.5, 33)[:, None])[0]
        np.testing.assert_allclose(
            log_prob(model, mean), log_prob(model, mean, rule=other()), rtol=0, atol=1e-9
        )


def test_default_rule_is_the_priors() -> None:
    for latent, points in ((1, 801), (2, 201)):
        model = InfiniteMixture(linear(1.0, 0.0), Uniform(-2, 2), latent=latent)
        for ours, told in zip(model.rule(), Uniform(-2, 2).rule(points, latent=latent), strict=True):
            np.testing.assert_array_equal(ours, told)


@pytest.mark.parametrize("latent", [1, 2])
def test_log_joint_is_prior_times_conditional(latent: int) -> None:
    model = InfiniteMixture(lambda z: (z @ jnp.ones((latent, 3)), -z[:, :1] * jnp.ones(3)), latent=latent)
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 4, 3)), rng.normal(size=(5, latent))
    with jax.enable_x64(True):
        joint, given_z = np.asarray(model.log_joint(x, z)), np.asarray(model.conditional_log_prob(x, z))
    mean, sd = z.sum(1, keepdims=True), np.exp(-z[:, :1] / 2)
    reference = stats.norm.logpdf(x[:, :, None], mean, sd).sum(-1)
    # sums of three terms of size 50 at most
    np.testing.assert_allclose(given_z, reference, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(joint, reference + stats.norm.logpdf(z).sum(-1), rtol=1e-13, atol=1e-13)


# --- posteriors -----------------------------------------------------------------------------


@pytest.mark.parametrize("a", [-1.0, 3.0])
def test_posterior_of_a_linear_network_is_gaussian(a: float) -> None:
    """N(a (x - b) / (a^2 + s^2), s^2 / (a^2 + s^2))."""
    x, z = np.linspace(-2, 3, 6), np.linspace(-3, 3, 31)
    with jax.enable_x64(True):
        model = InfiniteMixture(linear(a, 0.4))
        ours = np.asarray(log_posterior(model, x, z[:, None]))
        total = quadrature.log_integral(log_posterior(model, x, model.rule().nodes), model.rule().log_weights)
    var = a**2 + S2
    reference = stats.norm.logpdf(z, (a * (x - 0.4) / var)[:, None], (S2 / var) ** 0.5)
    # log P(x) is good to 1e-9, the rest to EPS of terms that are at most (3 + 3)^2 / 0.004 = 9000
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1.1e-9)
    np.testing.assert_allclose(total, 0, atol=1e-12)


@pytest.mark.parametrize("latent", [1, 2])
def test_posterior_integrates_to_one_under_another_rule(latent: int) -> None:
    def network(z: Any) -> Any:
        return jnp.sin(z.sum(1)), jnp.log(S2) + jnp.cos(z[:, 0])

    x = np.linspace(-1.5, 1.5, 7)
    with jax.enable_x64(True):
        model = InfiniteMixture(network, latent=latent)
        # a slope of sqrt(2), sds of 0.12 and more: widths in z of 0.085, which 2 pi^2 (0.085 / 0.05)^2 = 57
        # of the one rule make exact, and 2 pi^2 (0.085 / h)^2 with Legendre's widest h = 10 pi / 601 = 0.052
        fine = quadrature.trapezoid(-10, 10, 401, latent=latent)
        other = quadrature.gauss_legendre(-10, 10, 601, latent=latent)
        log_z = log_posterior(model, x, other.nodes, rule=fine)
        np.testing.assert_allclose(quadrature.log_integral(log_z, other.log_weights), 0, atol=1e-9)


def test_posterior_of_a_uniform_prior_ends_with_it() -> None:
    model = InfiniteMixture(linear(1.0, 0.0), Uniform(-1, 1))
    ours = np.asarray(log_posterior(model, np.array([0.5], np.float32), np.array([[-1.01], [0.5], [1.01]])))
    assert ours.shape == (1, 3) and np.isfinite(ours[0, 1]) and (ours[0, [0, 2]] == -np.inf).all()


# --- drawing from infinite mixtures ---------------------------------------------------------


def test_draws_of_an_infinite_mixture_have_the_distribution() -> None:
    """False alarms, over seeds: 1e-6 for each of six KS tests."""
    n, s = 20_000, S2**0.5
    z, x = (np.asarray(v) for v in InfiniteMixture(linear(1.5, 0.5)).sample(jax.random.key(5), n))
    assert z.shape == (n, 1) and x.shape == (n,)
    assert stats.kstest(x, stats.norm(0.5, (2.25 + S2) ** 0.5).cdf).pvalue > 1e-6
    assert stats.kstest(z[:, 0], stats.norm.cdf).pvalue > 1e-6
    assert stats.kstest((x - 1.5 * z[:, 0] - 0.5) / s, stats.norm.cdf).pvalue > 1e-6  # x belongs to its z
    # no closed form: the cdf is that of the density by quadrature
    model = InfiniteMixture(steep, Uniform(-2, 2))
    x = np.asarray(model.sample(jax.random.key(6), n).x)
    grid = np.linspace(-8, 8, 1601)
    cdf = integrate.cumulative_trapezoid(np.exp(log_prob(model, grid)), grid, initial=0)
    # the trapezoid rule and interpolation at steps of 0.01 = sd / 20 are off by about 1e-4, a KS statistic of
    # 20 000 draws by 0.007: a p-value is changed by 1 in a hundred
    assert cdf[-1] == pytest.approx(1, abs=1e-4)
    assert stats.kstest(x, lambda v: np.interp(v, grid, cdf)).pvalue > 1e-6
    both = InfiniteMixture(lambda z: (z, jnp.full_like(z, jnp.log(S2))), latent=2).sample(
        jax.random.key(7), n
    )
    assert both.z.shape == both.x.shape == (n, 2)
    for column in np.asarray(both.x).T:
        assert stats.kstest(column, stats.norm(0, (1 + S2) ** 0.5).cdf).pvalue > 1e-6


# --- equal shares ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "quantile"), [(None, stats.norm.ppf), (Uniform(-2, 2), lambda u: 4 * u - 2)]
)
def test_finite_has_its_gaussians_in_the_middle_of_equal_shares(prior: Any, quantile: Any) -> None:
    with jax.enable_x64(True):
        model = InfiniteMixture(steep) if prior is None else InfiniteMixture(steep, prior)
        mixture = model.finite(5)
        z = quantile(np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
        assert mixture.components == 5
        # ndtri is good to a few 1e-16, the slope of 3 and the rest of the arithmetic add to that
        np.testing.assert_allclose(mixture.weights, 0.2, rtol=EPS)
        np.testing.assert_allclose(mixture.means, 2 * z + np.sin(z), rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(mixture.covariances, S2 * np.exp(np.cos(z / 2) ** 2), rtol=1e-14)


def test_finite_of_vectors_is_diagonal() -> None:
    model = InfiniteMixture(lambda z: (z * jnp.ones(2), jnp.concatenate([z, -z], axis=1)))
    mixture = model.finite(3)
    z = stats.norm.ppf([1 / 6, 0.5, 5 / 6])
    wanted = [np.diag(np.exp([v, -v])) for v in z]
    np.testing.assert_allclose(mixture.covariances, wanted, rtol=1e-5)  # float32
    np.testing.assert_allclose(mixture.means, np.stack([z, z], 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prior", [None, Uniform(-2, 2)])
def test_finite_converges_to_the_infinite_mixture(prior: Any) -> None:
    """The midpoint rule in u = cdf(z): an error of K^-2 for a uniform prior; for a normal one of about K^-1.

    At the ends of u the normal quantile is infinite and the conditional density of these x is as good as 0:
    there, too, the integrand is smooth, and K^-2 holds from some K on.
    """
    x = np.linspace(-1.5, 1.5, 13)
    with jax.enable_x64(True):
        model = InfiniteMixture(steep) if prior is None else InfiniteMixture(steep, prior)
        exact = np.exp(np.asarray(log_prob(model, x)))
        few = [jax.jit(lambda x, k=k: model.finite(k).log_prob(x))(x) for k in (10, 100, 1000)]
        gaps = [np.abs(np.exp(found) - exact).max() for found in few]
    # two terms of the Euler-Maclaurin series vanish with the integrand: at least K^-2, a factor of 100 each;
    # from 10, where the Gaussians still stand apart, no rate is claimed
    assert gaps[1] < gaps[0] / 10 and (gaps[2] < gaps[1] / 50 or gaps[2] < 1e-12)
    assert gaps[0] > 1e-3 and gaps[2] < 1e-5


# --- modules, types, refusals ---------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 2])
def test_a_network_with_weights(dim: int | None) -> None:
    """Through jit and grad, as training uses it, and with the same numbers as a plain function."""
    decoder = GaussianDecoder(1, dim, (4,), rngs=nnx.Rngs(0))
    model, plain = InfiniteMixture(decoder), InfiniteMixture(lambda z: decoder(z))
    x = np.random.default_rng(0).normal(size=(5,) if dim is None else (5, 2)).astype(np.float32)
    close_in_float32(log_prob(model, x), plain.log_prob(x))
    close_in_float32(jax.jit(lambda m, x: m.log_prob(x))(model, x), plain.log_prob(x))
    gradient = nnx.grad(lambda m: log_prob(m, x).sum())(model)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) == 4 and all(np.isfinite(leaf).all() and np.any(leaf) for leaf in leaves)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, list])
def test_infinite_mixtures_compute_in_float32_at_least(dtype: Any) -> None:
    model = InfiniteMixture(linear(1.0, 0.0))
    x, z = [0.5, -1.0], [[0.25], [-2.0]]  # numbers that all types hold
    convert = (lambda a: a) if dtype is list else (lambda a: np.array(a, dtype))
    for name in ("log_joint", "conditional_log_prob", "log_posterior"):
        function = getattr(model, name)
        ours = function(convert(x), convert(z))
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, function(jnp.array(x), jnp.array(z)), rtol=1e-6)  # float32
    ours = model.log_prob(convert(x))
    assert ours.dtype == jnp.float32
    # sums of 801 float32 terms
    np.testing.assert_allclose(ours, stats.norm.logpdf(x, 0, 1.04**0.5), rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        assert model.log_prob(np.zeros(2)).dtype == jnp.float64


def test_infinite_mixtures_are_finite_far_out() -> None:
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            model = InfiniteMixture(linear(1.0, 0.0))
            sd = 1.04**0.5
            value, gradient = jax.jit(jax.value_and_grad(model.log_prob))(dtype(60 * sd))
            # beyond the ends of the rule the integral is not that of the whole line, but still a number
            assert np.isfinite(value) and np.isfinite(gradient) and gradient < 0
            assert value < stats.norm.logpdf(60 * sd, 0, sd) + 1


def test_infinite_mixtures_refuse() -> None:
    numbers, vectors = (
        InfiniteMixture(linear(1.0, 0.0)),
        InfiniteMixture(lambda z: (z * jnp.ones(3), 0 * z * jnp.ones(3))),
    )
    planes = InfiniteMixture(linear(1.0, 0.0), latent=2)
    for latent in (0, 3):
        with pytest.raises(ValueError, match=f"^latent is {latent}; expected from 1 to 2"):
            InfiniteMixture(linear(1.0, 0.0), latent=latent)
    with pytest.raises(TypeError, match=r"^latent is 1\.0"):
        InfiniteMixture(linear(1.0, 0.0), latent=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^latent is 2; equal shares of the prior are cut for a 1-D z only"):
        planes.finite(3)
    with pytest.raises(ValueError, match=r"^components is 0; expected at least 1"):
        numbers.finite(0)
    with pytest.raises(TypeError, match=r"^components is 3\.0"):
        numbers.finite(3.0)  # type: ignore[arg-type]
    x, z = np.zeros(4, np.float32), np.zeros((5, 1), np.float32)
    for model, bad in ((numbers, np.zeros((5, 2))), (numbers, np.zeros(5)), (planes, z), (numbers, 0.0)):
        for name in ("log_joint", "conditional_log_prob", "log_posterior"):
            with pytest.raises(
                ValueError, match=r"^z (has shape .*; expected \(\.\.\., [12]\)|is a single number)"
            ):
                getattr(model, name)(x, bad)
    for bad in (np.zeros(4), np.zeros((5, 2)), 0.0):
        with pytest.raises(ValueError, match=r"^x has shape .*; expected \(\.\.\., 3\)"):
            vectors.log_prob(bad)
    with pytest.raises(TypeError, match=r"^x has dtype int"):
        numbers.log_prob(np.arange(3))
    with pytest.raises(TypeError, match=r"^z has dtype int"):
        numbers.log_joint(x, np.zeros((5, 1), int))
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        numbers.sample(jax.random.key(0), 0)
