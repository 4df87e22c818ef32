"""The three forms of the ELBO, the gap and the importance-weighted bound, against SciPy and closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, special, stats

from lecture_lib import bounds, elbo_trials, gaussians, priors, quadrature
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import Posterior
from tests.laws import law

X = np.array(elbo_trials.EXAMPLE_X)
Q = Posterior(np.array([[0.3], [-0.2], [1.0]]), np.array([[-1.0], [0.0], [-3.0]]))  # type: ignore[arg-type]


def bend(z: Any) -> Any:
    """The mean of x given z of `elbo_trials.example`, from its docstring."""
    return 2.6 + 1.5 * np.tanh(2 * (z - 1)) - 1.5 * np.tanh(z + 1)


def log_joint(x: float, z: Any) -> Any:
    return stats.norm.logpdf(z) + stats.norm.logpdf(x, bend(z), 0.3)


def quad(f: Any, low: float, high: float) -> float:
    """SciPy's Gauss-Legendre quadrature, 40 nodes on each of 48 pieces: exact to rounding for these."""
    cuts = np.linspace(low, high, 49)
    return float(sum(integrate.fixed_quad(f, *ends, n=40)[0] for ends in pairwise(cuts)))


class Reference:
    """log P(x), L_b and the gap for one x and one q, by SciPy."""

    def __init__(self, x: float, mean: float, log_var: float):
        sd = np.exp(log_var / 2)
        self.x, self.q = x, stats.norm(mean, sd)
        self.ends = mean - 9 * sd, mean + 9 * sd  # beyond lies 1e-19 of q
        self.log_p = float(np.log(quad(lambda z: np.exp(log_joint(x, z)), -9, 9)))

    def mean(self, f: Any) -> float:
        return quad(lambda z: self.q.pdf(z) * f(z), *self.ends)

    @property
    def elbo(self) -> float:
        return self.mean(lambda z: log_joint(self.x, z) - self.q.logpdf(z))

    @property
    def gap(self) -> float:
        return self.mean(lambda z: self.q.logpdf(z) - log_joint(self.x, z) + self.log_p)

    @property
    def reconstruction(self) -> float:
        return self.mean(lambda z: stats.norm.logpdf(self.x, bend(z), 0.3))

    @property
    def kl(self) -> float:
        return self.mean(lambda z: self.q.logpdf(z) - stats.norm.logpdf(z))


REFERENCES = [Reference(x, m, s) for x, m, s in zip(X, Q.mean[:, 0], Q.log_var[:, 0], strict=True)]


# --- the three forms ------------------------------------------------------------------------


def test_every_form_is_that_of_scipy() -> None:
    with jax.enable_x64(True):
        model = elbo_trials.example()
        joint = np.asarray(bounds.elbo_joint(model, X, Q))
        split = bounds.elbo_split(model, X, Q)
        gap = np.asarray(bounds.kl_to_posterior(model, X, Q))
        log_p = np.asarray(model.log_prob(X))
    for i, reference in enumerate(REFERENCES):
        assert joint[i] == pytest.approx(reference.elbo, abs=1e-10)
        assert float(split.reconstruction[i]) == pytest.approx(reference.reconstruction, abs=1e-10)
        assert float(split.kl[i]) == pytest.approx(reference.kl, abs=1e-10)
        assert float(split.value[i]) == pytest.approx(reference.elbo, abs=1e-10)
        assert gap[i] == pytest.approx(reference.gap, abs=1e-10)
        assert log_p[i] == pytest.approx(reference.log_p, abs=1e-10)


MEANS = hnp.arrays(np.float64, (4, 1), elements=st.floats(-3, 3))
# A q of sd 1 at 3 reaches the end of the grid, 10, at 7 of its sds: 1e-12 of it lies beyond, where the
# logarithms are below 1e3. The narrowest has sd .03, 1.2 steps of the grid: 2 exp(-2 pi^2 1.2^2) = 1e-12.
LOG_VARS = hnp.arrays(np.float64, (4, 1), elements=st.floats(-7, 0))


@jax.jit
def all_forms(model: Any, x: Any, q: Any) -> Any:
    return (
        bounds.elbo_joint(model, x, q),
        bounds.elbo_split(model, x, q),
        bounds.kl_to_posterior(model, x, q),
        model.log_prob(x, rule=quadrature.gauss_legendre(-10.0, 10.0, 800)),
    )


@law(30)
@given(hnp.arrays(np.float64, 4, elements=st.floats(-1, 4)), MEANS, LOG_VARS)
def test_bound_and_gap_make_up_log_p(x: Any, mean: Any, log_var: Any) -> None:
    """L_b + KL = log P(x) by three rules without a node in common; L_b <= log P(x); KL >= 0."""
    with jax.enable_x64(True):
        model = elbo_trials.example()
        joint, split, gap, log_p = jax.tree.map(np.asarray, all_forms(model, x, Posterior(mean, log_var)))
    # terms of size up to 1e3, each good to 1e-13 of it, and 1e-9 where q reaches the end of the grid
    np.testing.assert_allclose(joint + gap, log_p, atol=2e-9, rtol=0)
    np.testing.assert_allclose(split.reconstruction - split.kl, joint, atol=1e-9, rtol=0)
    assert (joint <= log_p + 1e-9).all()
    assert (gap >= -1e-9).all()
    assert (split.kl >= 0).all()


@law(30)
@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(-2, 2), MEANS, LOG_VARS)
@example(2.0, 0.25, 1.0, np.full((4, 1), 3.0), np.zeros((4, 1)))  # q reaches the end of the grid
def test_linear_model_in_closed_form(slope: float, sd: float, x: float, mean: Any, log_var: Any) -> None:
    """The gap is a KL between two Gaussians, log P(x) a normal density."""
    xs = np.full(4, x)
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope, intercept=0.4, noise_sd=sd)
        joint, split, gap, _ = jax.tree.map(np.asarray, all_forms(model, xs, Posterior(mean, log_var)))
        exact = elbo_trials.linear_posterior(xs, slope, intercept=0.4, noise_sd=sd)
        kl = np.asarray(gaussians.kl_normal(mean, log_var, *exact))
    log_p = stats.norm.logpdf(x, 0.4, np.hypot(slope, sd))
    # The rule ends at 10 and cuts off what q has beyond, where -log P(x|z) is this large and grows on.
    beyond = (stats.norm.sf((10 - np.abs(mean)) / np.exp(log_var / 2))).max()
    allowed = 1e-9 + 2 * beyond * (abs(x - 0.4) + 10 * abs(slope)) ** 2 / (2 * sd**2)
    np.testing.assert_allclose(gap, kl, atol=allowed, rtol=1e-11)
    np.testing.assert_allclose(joint, log_p - kl, atol=allowed, rtol=1e-11)
    np.testing.assert_allclose(split.reconstruction - split.kl, joint, atol=1e-9, rtol=1e-11)


def test_gap_of_a_linear_model_vanishes_at_its_posterior() -> None:
    x = np.linspace(-3, 3, 7)
    with jax.enable_x64(True):
        model, q = elbo_trials.linear(1.3), elbo_trials.linear_posterior(x, 1.3)
        np.testing.assert_allclose(bounds.kl_to_posterior(model, x, q), 0, atol=1e-12)
        # the integrand is constant: only rounding is left
        np.testing.assert_allclose(bounds.elbo_joint(model, x, q), model.log_prob(x), atol=1e-12)


def test_two_dimensional_z_and_x_in_closed_form() -> None:
    """x = W z + noise: log P(x), the posterior and so both sides are those of full Gaussians."""
    w, s2 = np.array([[1.0, 0.4], [-0.3, 0.8], [0.2, 0.5]]), 0.5
    x = np.array([[0.5, -1.0, 0.3], [1.5, 0.2, -0.4]])
    q = Posterior(np.array([[0.2, -0.5], [0.6, 0.1]]), np.array([[-1.0, 0.0], [-0.5, -2.0]]))  # type: ignore[arg-type]
    with jax.enable_x64(True):
        model = InfiniteMixture(lambda z: (z @ w.T, jnp.full((len(z), 3), np.log(s2))), latent=2)
        joint = np.asarray(bounds.elbo_joint(model, x, q))
        split = np.asarray(bounds.elbo_split(model, x, q).value)
        gap = np.asarray(bounds.kl_to_posterior(model, x, q))
    precision = np.eye(2) + w.T @ w / s2
    for i in range(2):
        log_p = stats.multivariate_normal.logpdf(x[i], np.zeros(3), w @ w.T + s2 * np.eye(3))
        d = np.linalg.solve(precision, w.T @ x[i] / s2) - np.asarray(q.mean)[i]
        var = np.exp(np.asarray(q.log_var)[i])
        trace = np.diag(precision) @ var
        kl = (trace - 2 + d @ precision @ d - np.log(var).sum() - np.linalg.slogdet(precision)[1]) / 2
        # 1e-9 is asked for; sums over 10^4 nodes of terms of size 10
        assert gap[i] == pytest.approx(kl, abs=1e-9)
        assert joint[i] == pytest.approx(log_p - kl, abs=1e-9)
        assert split[i] == pytest.approx(joint[i], abs=1e-9)


@dataclass(frozen=True)
class Shifted(priors.StandardNormal):
    """P(z) = N(1, .5^2), which is no standard normal one."""

    def log_prob(self, z: Any) -> Any:
        return gaussians.normal_log_prob(z, 1.0, 2 * np.log(0.5)).sum(axis=-1)


@dataclass(frozen=True)
class Another:
    """The same as a prior of its own type."""

    def log_prob(self, z: Any) -> Any:
        return Shifted().log_prob(z)

    def rule(self, points: int, *, latent: int = 1) -> quadrature.Rule:
        return quadrature.trapezoid(-5.0, 7.0, points, latent=latent)


def test_another_prior_serves_the_joint_form_only() -> None:
    with jax.enable_x64(True):
        example = elbo_trials.example()
        model = InfiniteMixture(example.network, Another())  # type: ignore[arg-type]
        joint = bounds.elbo_joint(model, X, Q)
        kl = gaussians.kl_normal(*Q, np.ones((3, 1)), np.full((3, 1), 2 * np.log(0.5)))
        expected = bounds.elbo_split(example, X, Q).reconstruction - kl
        np.testing.assert_allclose(joint, expected, atol=1e-10)
        with pytest.raises(ValueError, match=r"^model.prior is Another\(\); expected StandardNormal"):
            bounds.elbo_split(model, X, Q)


# --- sampling -------------------------------------------------------------------------------


def test_monte_carlo_is_unbiased_in_both_terms() -> None:
    """The mean of 5000 estimates within 5 standard errors: 9 comparisons, false alarm 5e-6 over seeds."""
    times = 5000
    with jax.enable_x64(True):
        model = elbo_trials.example()
        exact = bounds.elbo_split(model, X, Q)
        for n in (1, 7):
            many = bounds.repeated(
                lambda key, n=n: bounds.elbo_monte_carlo(model, X, Q, key=key, n=n),
                key=jax.random.key(n),
                times=times,
            )
            for estimates, value in ((many.reconstruction, exact.reconstruction), (many.kl, exact.kl)):
                assert estimates.shape == (times, 3)
                error = np.abs(np.asarray(estimates).mean(axis=0) - np.asarray(value))
                assert (error < 5 * np.asarray(estimates).std(axis=0) / times**0.5).all()


def test_monte_carlo_error_falls_as_one_over_the_root_of_n() -> None:
    """The ratio of two standard deviations, each of 1000 estimates, within 30 %.

    A standard deviation has a relative error of ((kurtosis - 1) / 4000)^.5: 2.2 % for n = 100, where the
    estimates are nearly normal, and at most 5.5 % for n = 1, where their kurtosis is below 13: 5 standard
    errors of the ratio.
    """
    model = elbo_trials.example()
    spread = {}
    for n in (1, 100):
        many = bounds.repeated(
            lambda key, n=n: bounds.elbo_monte_carlo(model, X, Q, key=key, n=n).value,
            key=jax.random.key(3),
            times=1000,
        )
        spread[n] = np.asarray(many).std(axis=0)
    assert ((spread[1] / spread[100] > 10 / 1.3) & (spread[1] / spread[100] < 10 * 1.3)).all()


def weights_by_quadrature(model: Any, x: Any, q: Any, points: int = 401) -> tuple[Any, Any]:
    """log P(x, z) - log q(z|x) at nodes of q, and the probability of each node."""
    eps = np.linspace(-8, 8, points)
    share = stats.norm.pdf(eps) * (eps[1] - eps[0])
    z = q.mean + np.exp(q.log_var / 2) * eps
    log_w = log_joint(float(x[0]), z[0]) - stats.norm.logpdf(z[0], q.mean[0], np.exp(q.log_var[0] / 2))
    return log_w, share


WIDE = Posterior(np.zeros((1, 1)), np.full((1, 1), 2 * np.log(1.5)))  # type: ignore[arg-type]
NARROW = Posterior(np.full((1, 1), 1.11), np.full((1, 1), 2 * np.log(0.15)))  # type: ignore[arg-type]


def importance(model: Any, q: Any, k: int, times: int) -> np.ndarray:
    x = np.array([1.5])
    estimate = jax.jit(lambda key: bounds.importance_weighted_bound(model, x, q, key=key, k=k))
    return np.asarray(bounds.repeated(estimate, key=jax.random.key(k), times=times))[:, 0]


K = 6


@jax.jit
def weighted(model: Any, x: Any, q: Any, key: Any) -> Any:
    return bounds.importance_weighted_bound(model, x, q, key=key, k=K), bounds.draws(key, q, "k", K)


@law(30)
@given(hnp.arrays(np.float64, 4, elements=st.floats(-1, 4)), MEANS, LOG_VARS, st.integers(0, 2**31))
def test_more_weights_bound_more_than_fewer_of_them(x: Any, mean: Any, log_var: Any, seed: int) -> None:
    """The bound of k draws is above the mean bound of all its sets of fewer (Burda and others 2016, lemma).

    That holds for every draw, by Jensen, and makes the expectation rise with k.
    """
    with jax.enable_x64(True):
        q = Posterior(jnp.asarray(mean), jnp.asarray(log_var))
        ours, eps = (np.asarray(a) for a in weighted(elbo_trials.example(), x, q, jax.random.key(seed)))
    eps, sd = eps[..., 0], np.exp(log_var / 2)
    log_w = log_joint(x[:, None], mean + sd * eps) - stats.norm.logpdf(eps) + np.log(sd)
    # a logarithm of size 1e3 to a few EPS; its slope, in x and z, is 1e2
    np.testing.assert_allclose(ours, special.logsumexp(log_w, axis=1) - np.log(K), rtol=1e-12, atol=1e-11)
    for m in range(1, K):
        sets = np.array(list(combinations(range(K), m)))
        fewer = (special.logsumexp(log_w[:, sets], axis=2) - np.log(m)).mean(axis=1)
        assert (fewer <= ours + 1e-10).all()


def test_importance_weighted_bound_rises_with_k_from_the_elbo_to_log_p() -> None:
    """Eleven comparisons at 5 standard errors: false alarm 6e-6 over seeds."""
    with jax.enable_x64(True):
        model = elbo_trials.example()
        x = np.array([1.5])
        log_p, elbo = float(model.log_prob(x)[0]), float(bounds.elbo_joint(model, x, WIDE)[0])
        draws = {k: importance(model, WIDE, k, 4000) for k in (1, 2, 4, 16, 64)}
    mean = {k: d.mean() for k, d in draws.items()}
    se = {k: d.std() / len(d) ** 0.5 for k, d in draws.items()}
    assert abs(mean[1] - elbo) < 5 * se[1]
    for k, more in pairwise(mean):
        assert mean[more] - mean[k] > -5 * np.hypot(se[k], se[more])
        assert mean[more] > mean[k]  # and for these keys it is so in fact, by far
    assert all(mean[k] < log_p + 5 * se[k] for k in mean)
    assert log_p - mean[64] < 0.1
    # k = 2 by quadrature over both draws: E log((w1 + w2) / 2)
    log_w, share = weights_by_quadrature(model, x, WIDE)
    two = share @ (np.logaddexp.outer(log_w, log_w) - np.log(2)) @ share
    assert share @ log_w == pytest.approx(elbo, abs=1e-9)
    assert abs(mean[2] - two) < 5 * se[2]
    assert two > elbo


def test_importance_weighted_bound_stalls_where_q_misses_a_hump() -> None:
    """It stays at log P(x) + log of the share of the posterior in the hump that q sees, .38."""
    with jax.enable_x64(True):
        model = elbo_trials.example()
        x = np.array([1.5])
        rule = model.rule()
        share = np.exp(np.asarray(model.log_posterior(x, rule.nodes) + rule.log_weights))[0]
        seen = share[np.asarray(rule.nodes[:, 0]) > 0].sum()
        log_p = float(model.log_prob(x)[0])
        gap = {k: log_p - importance(model, NARROW, k, 200).mean() for k in (16, 1024)}
    assert 0.3 < seen < 0.45
    # the saddle between the humps belongs to neither: 2 % of a nat
    assert gap[1024] == pytest.approx(-np.log(seen), abs=0.02)
    assert gap[16] == pytest.approx(gap[1024], abs=0.02)


def test_exact_posterior_makes_every_weight_equal() -> None:
    x = np.array([0.7, -1.0])
    with jax.enable_x64(True):
        model, q = elbo_trials.linear(1.3), elbo_trials.linear_posterior(x, 1.3)
        for k in (1, 5):
            draw = bounds.importance_weighted_bound(model, x, q, key=jax.random.key(0), k=k)
            np.testing.assert_allclose(draw, model.log_prob(x), atol=1e-12)  # rounding only


def test_repeated_is_one_key_each_time() -> None:
    key = jax.random.key(5)
    each = bounds.repeated(lambda key: jax.random.normal(key, (2,)), key=key, times=123)
    expected = np.stack([jax.random.normal(k, (2,)) for k in jax.random.split(key, 123)])
    np.testing.assert_array_equal(each, expected)
    with pytest.raises(ValueError, match="times is 0; expected at least 1"):
        bounds.repeated(lambda key: key, key=key, times=0)


# --- rules, precision, what comes in ----------------------------------------------------------


def test_any_rule_for_a_standard_normal_serves() -> None:
    with jax.enable_x64(True):
        model = elbo_trials.example()
        q = Posterior(Q.mean, np.full((3, 1), -3.0))  # type: ignore[arg-type]
        default = bounds.elbo_joint(model, X, q)
        rules = {
            "hermite": quadrature.gauss_hermite(80),
            "legendre": quadrature.gauss_legendre(-9.0, 9.0, 200),
            "other trapezoid": quadrature.trapezoid(-9.3, 8.8, 301),
        }
        for rule in rules.values():
            np.testing.assert_allclose(bounds.elbo_joint(model, X, q, rule=rule), default, atol=1e-10)
        # where the network bends within q, Gauss-Hermite is far off and the trapezoid rule is not
        wide = Posterior(Q.mean, np.zeros((3, 1)))  # type: ignore[arg-type]
        exact = bounds.elbo_joint(model, X, wide, rule=bounds.eps_rule(4001))
        np.testing.assert_allclose(bounds.elbo_joint(model, X, wide), exact, atol=1e-10)
        hermite = bounds.elbo_joint(model, X, wide, rule=quadrature.gauss_hermite(80))
        assert np.abs(np.asarray(hermite - exact)).max() > 1e-6


@pytest.mark.parametrize(("w_sd", "points"), [(7.0, 401), (1.5, 101)])
def test_default_rule_is_as_exact_as_it_says(w_sd: float, points: int) -> None:
    with jax.enable_x64(True):
        rule = bounds.eps_rule(points)
        eps = np.asarray(rule.nodes[:, 0])
        share = np.exp(np.asarray(rule.log_weights)) * stats.norm.pdf(eps)
    for shift in (0.0, 0.3, 1.0, 2.0):
        exact = quad(lambda e, c=shift: stats.norm.pdf(e) * np.tanh(w_sd * e + c) ** 2, -9, 9)
        assert share @ np.tanh(w_sd * eps + shift) ** 2 == pytest.approx(exact, abs=1e-9)


def test_ranges_that_miss_the_mass() -> None:
    model = elbo_trials.example()
    short = quadrature.trapezoid(-2.0, 2.0, 101)
    with pytest.raises(ValueError, match=r"rule finds a total probability of 0.95\d+ for q\[0\]; expected 1"):
        bounds.elbo_joint(model, X, Q, rule=short)
    with pytest.warns(UserWarning, match=r"total probability of 0.99993\d for q\[0\], not 1"):
        bounds.elbo_joint(model, X, Q, rule=quadrature.trapezoid(-4.0, 4.0, 101))
    far = Posterior(jnp.full((3, 1), 30.0), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"rule finds a total probability of 0 for q\[0\]; expected 1"):
        bounds.kl_to_posterior(model, X, far)
    needle = Posterior(jnp.full((3, 1), 0.01), jnp.full((3, 1), -14.0))
    with pytest.raises(ValueError, match=r"for q\[0\]; expected 1: give it a wider range or more nodes"):
        bounds.kl_to_posterior(model, X, needle)
    with pytest.raises(ValueError, match=r"the posterior of x\[2\] has its peak at the end of the range"):
        bounds.kl_to_posterior(model, X, Q, rule=quadrature.trapezoid(-1.6, 1.6, 201))
    some = Posterior(jnp.zeros((3, 1)), jnp.full((3, 1), -2.0))
    with pytest.warns(UserWarning, match=r"the ends of the range .* hold .* of the posterior of x\[2\]"):
        bounds.kl_to_posterior(model, X, some, rule=quadrature.trapezoid(-2.6, 2.6, 401))
    with pytest.raises(ValueError, match=r"rule.nodes has shape .* expected \(..., 1\)"):
        bounds.elbo_joint(model, X, Q, rule=bounds.eps_rule(11, latent=2))


def test_float32_is_good_to_its_digits() -> None:
    """1e-5 of terms of size up to 1e2."""
    model = elbo_trials.example()
    x, q = jnp.asarray(X, jnp.float32), Posterior(*(jnp.asarray(a, jnp.float32) for a in Q))
    joint, split = bounds.elbo_joint(model, x, q), bounds.elbo_split(model, x, q)
    gap = bounds.kl_to_posterior(model, x, q)
    assert joint.dtype == split.reconstruction.dtype == split.kl.dtype == gap.dtype == jnp.float32
    for i, reference in enumerate(REFERENCES):
        scale = 1e-5 * (10 + abs(reference.elbo))
        assert float(joint[i]) == pytest.approx(reference.elbo, abs=scale)
        assert float(split.value[i]) == pytest.approx(reference.elbo, abs=scale)
        assert float(gap[i]) == pytest.approx(reference.gap, abs=scale)


def test_compiled_and_eager_agree() -> None:
    key = jax.random.key(0)
    calls: dict[str, Any] = {
        "joint": bounds.elbo_joint,
        "split": bounds.elbo_split,
        "gap": bounds.kl_to_posterior,
        "sampled": lambda m, x, q: bounds.elbo_monte_carlo(m, x, q, key=key, n=5),
        "weighted": lambda m, x, q: bounds.importance_weighted_bound(m, x, q, key=key, k=5),
    }
    with jax.enable_x64(True):
        model = elbo_trials.example()
        for call in calls.values():
            eager, compiled = call(model, X, Q), jax.jit(call)(model, X, Q)
            # the compiler may order sums otherwise
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), eager, compiled)


def every(model: Any, x: Any, q: Any) -> list[Any]:
    key = jax.random.key(0)
    return [
        lambda: bounds.elbo_joint(model, x, q),
        lambda: bounds.elbo_split(model, x, q),
        lambda: bounds.kl_to_posterior(model, x, q),
        lambda: bounds.elbo_monte_carlo(model, x, q, key=key, n=2),
        lambda: bounds.importance_weighted_bound(model, x, q, key=key, k=2),
    ]


def test_what_does_not_fit_is_refused_by_name() -> None:
    model = elbo_trials.example()
    one = Posterior(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (jnp.zeros(2), one, ValueError, r"^x has shape \(2,\); expected \(1,\), to fit q"),
        (jnp.zeros((1, 1)), one, ValueError, r"^x has shape \(1, 1\); expected \(1,\)"),
        (jnp.zeros(1, int), one, TypeError, "^x has dtype int32"),
        (jnp.array([jnp.nan]), one, ValueError, "^x has 1 of 1 values that are not finite"),
        (jnp.zeros(1), Posterior(one.mean, jnp.array([[jnp.inf]])), ValueError, "^q.log_var has 1 of 1"),
        (jnp.zeros(1), Posterior(one.mean, jnp.zeros(1)), ValueError, "^shapes differ: q.mean"),
        (jnp.zeros(1), Posterior(jnp.zeros(1), jnp.zeros(1)), ValueError, r"^q.mean has shape \(1,\); exp"),
        (jnp.zeros(1), Posterior(jnp.zeros((1, 2)), jnp.zeros((1, 2))), ValueError, r"expected \(batch, 1\)"),
        (jnp.zeros(0), Posterior(jnp.zeros((0, 1)), jnp.zeros((0, 1))), ValueError, "at least one"),
    ]
    for x, q, error, message in cases:
        for call in every(model, x, q):
            with pytest.raises(error, match=message):
                call()
    bounded = InfiniteMixture(model.network, priors.Uniform(-2.0, 2.0))
    for call in every(bounded, jnp.zeros(1), one):
        with pytest.raises(ValueError, match=r"^model\.prior is Uniform"):
            call()
    for bad, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"^n is {bad}"):
            bounds.elbo_monte_carlo(model, jnp.zeros(1), one, key=jax.random.key(0), n=bad)  # type: ignore[arg-type]
        with pytest.raises(error, match=f"^k is {bad}"):
            bounds.importance_weighted_bound(model, jnp.zeros(1), one, key=jax.random.key(0), k=bad)  # type: ignore[arg-type]
