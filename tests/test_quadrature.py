"""The quadrature rules: their claims of exactness, their known errors, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, special, stats

from lecture_lib import quadrature
from lecture_lib.quadrature import Rule
from tests.laws import law

EPS = 2.2e-16
# exp(log w): the logarithms here are at most 60 (Gauss-Hermite) in size, so that each weight is good to about
# 60 EPS = 1.3e-14; a sum of positive terms is then as good. RTOL leaves a factor of seven.
RTOL = 1e-13


def nodes_and_weights(build: Callable[[], Rule]) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        rule = build()
    nodes, log_weights = np.asarray(rule.nodes), np.asarray(rule.log_weights)
    assert nodes.dtype == log_weights.dtype == np.float64
    assert nodes.shape[0] == log_weights.shape[0] and nodes.ndim == 2 and log_weights.ndim == 1
    return nodes, np.exp(log_weights)


# --- trapezoid ------------------------------------------------------------------------------


@law(100)
@given(hnp.arrays(np.float64, 7, elements=st.floats(-100, 100)), st.floats(-5, 5), st.floats(0.1, 10))
def test_trapezoid_is_that_of_scipy(f: Any, low: float, width: float) -> None:
    z, w = nodes_and_weights(lambda: quadrature.trapezoid(low, low + width, 7))
    np.testing.assert_array_equal(z[:, 0], np.linspace(low, low + width, 7))
    # terms of either sign: the tolerance is of the sum of their sizes. SciPy subtracts nodes of size 15,
    # rounded by 2e-15, where the step may be as small as 0.1 / 6. Below 2e-308 numbers are rounded by half of
    # 5e-324, however small: twice for each of seven terms, and what of it a width of 10 makes.
    tolerance = (RTOL + 4e-15 / (width / 6)) * np.sum(w * np.abs(f)) + 1e-321
    assert np.sum(w * f) == pytest.approx(integrate.trapezoid(f, z[:, 0]), rel=0, abs=tolerance)


def test_trapezoid_is_nearly_exact_for_what_dies_away() -> None:
    """The moments 1, 3, 15, 105 of N(0, 1); beyond 10 lies 1e-23 of it, 1e-14 of the eighth moment."""
    z, w = nodes_and_weights(lambda: quadrature.trapezoid(-10, 10, 801))
    for degree, moment in ((0, 1), (2, 1), (4, 3), (6, 15), (8, 105)):
        assert np.sum(w * stats.norm.pdf(z[:, 0]) * z[:, 0] ** degree) == pytest.approx(moment, rel=RTOL)


@pytest.mark.parametrize("h", [1.5, 1.0, 0.75])
def test_error_of_the_trapezoid_falls_faster_than_any_power(h: float) -> None:
    """On N(0, 1) it is 2 exp(-2 pi^2 / h^2) and smaller terms (Trefethen and Weideman 2014, by Poisson)."""
    z, w = nodes_and_weights(lambda: quadrature.trapezoid(-12, 12, round(24 / h) + 1))
    poisson = 2 * sum(math.exp(-2 * math.pi**2 * k**2 / h**2) for k in (1, 2, 3))
    # the centre of the grid is 0, a node: all terms of the series are positive there
    assert np.sum(w * stats.norm.pdf(z[:, 0])) - 1 == pytest.approx(poisson, rel=1e-9, abs=RTOL)


def test_two_points_are_a_trapezium() -> None:
    z, w = nodes_and_weights(lambda: quadrature.trapezoid(1, 3, 2))
    np.testing.assert_array_equal(z, [[1], [3]])
    np.testing.assert_allclose(w, [1, 1], rtol=RTOL)


# --- Gauss ----------------------------------------------------------------------------------


@law(100)
@given(st.integers(1, 12), st.data(), st.floats(-3, 3), st.floats(0.1, 4))
def test_legendre_is_exact_up_to_its_degree(points: int, data: Any, low: float, width: float) -> None:
    coefficients = data.draw(hnp.arrays(np.float64, 2 * points, elements=st.floats(-10, 10)))
    z, w = nodes_and_weights(lambda: quadrature.gauss_legendre(low, low + width, points))
    t = (z[:, 0] - low) / width  # in [0, 1], so that no power is large
    integral = width * np.sum(coefficients / np.arange(1, 2 * points + 1))
    # (z - low) / width loses the digits that low has and width has not: t is off by 2 EPS * 3 / 0.1 at most,
    # and a power of up to 23 multiplies that
    tolerance = (RTOL + 23 * 60 * EPS) * width * np.abs(coefficients).sum()
    assert np.sum(w * np.polyval(coefficients[::-1], t)) == pytest.approx(integral, rel=0, abs=tolerance)


@pytest.mark.parametrize("points", [1, 2, 3, 5, 8])
def test_legendre_is_off_by_the_known_amount_one_degree_above(points: int) -> None:
    """2^(2n+1) (n!)^4 / ((2n+1) ((2n)!)^2) for z^(2n) on [-1, 1]: the degree is 2n - 1, not more."""
    n = points
    z, w = nodes_and_weights(lambda: quadrature.gauss_legendre(-1, 1, n))
    gap = 2 ** (2 * n + 1) * math.factorial(n) ** 4 / ((2 * n + 1) * math.factorial(2 * n) ** 2)
    exact = 2 / (2 * n + 1)
    assert exact - np.sum(w * z[:, 0] ** (2 * n)) == pytest.approx(gap, rel=0, abs=RTOL * exact)
    assert gap > 100 * RTOL * exact  # the tolerance could not hide it


def normal_moment(degree: int, mean: float, sd: float) -> float:
    """E[z^degree] under N(mean, sd^2), by the binomial theorem."""
    return sum(
        math.comb(degree, k) * mean ** (degree - k) * sd**k * (special.factorial2(k - 1) if k else 1)
        for k in range(0, degree + 1, 2)
    )


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 5.0)])
@pytest.mark.parametrize("points", [1, 2, 5, 11])
def test_hermite_has_the_moments_of_its_gaussian(points: int, mean: float, sd: float) -> None:
    z, w = nodes_and_weights(lambda: quadrature.gauss_hermite(points, mean=mean, sd=sd))
    weighted = w * stats.norm.pdf(z[:, 0], mean, sd)
    for degree in range(2 * points):
        size = np.sum(weighted * np.abs(z[:, 0]) ** degree)
        # z = mean + sd t is off by EPS or two of |mean| + sd |t|, which its powers multiply by up to 21
        assert np.sum(weighted * z[:, 0] ** degree) == pytest.approx(
            normal_moment(degree, mean, sd), rel=0, abs=(RTOL + 40 * EPS) * 2 * size + 1e-300
        )


@pytest.mark.parametrize("points", [1, 3, 6])
def test_hermite_is_off_by_the_known_amount_one_degree_above(points: int) -> None:
    """N! for z^(2N) under N(0, 1)."""
    z, w = nodes_and_weights(lambda: quadrature.gauss_hermite(points))
    exact = float(special.factorial2(2 * points - 1))
    value = np.sum(w * stats.norm.pdf(z[:, 0]) * z[:, 0] ** (2 * points))
    assert exact - value == pytest.approx(math.factorial(points), rel=0, abs=RTOL * exact)


def test_hermite_with_the_most_nodes() -> None:
    most = quadrature.MOST_HERMITE_NODES
    z, w = nodes_and_weights(lambda: quadrature.gauss_hermite(most))
    assert z.shape == (most, 1) and np.isfinite(w).all() and (w > 0).all()
    # the outermost log-weights are differences of t^2 / 2 = 270 and as much: 270 EPS = 6e-14 of theirs, but
    # they carry none of the probability, and those that do have t^2 / 2 below 40
    assert np.sum(w * stats.norm.pdf(z[:, 0])) == pytest.approx(1, abs=RTOL)
    # E[cos z] = exp(-1/2): an entire function, whose Taylor series is far beyond double precision at z^300
    assert np.sum(w * stats.norm.pdf(z[:, 0]) * np.cos(z[:, 0])) == pytest.approx(math.exp(-0.5), abs=RTOL)
    with pytest.raises(ValueError, match=r"points is 151; expected from 1 to 150"):
        quadrature.gauss_hermite(most + 1)


def test_rules_of_different_kinds_agree() -> None:
    """Gaussians of sd 0.2 whose mean bends: the ground on which the default rule of 801 points is trusted.

    Gauss-Hermite converges on exp(-(a z)^2 / (2 s^2)) as (a^2 / (a^2 + s^2))^n: with a slope of a = 0.3 and
    s = 0.2, that is 1.7e-13 for n = 80; the trapezoid rule of step 0.025 is far better still.
    """
    rules = [
        lambda: quadrature.trapezoid(-10, 10, 801),
        lambda: quadrature.gauss_hermite(80),
        lambda: quadrature.gauss_legendre(-10, 10, 301),
        lambda: quadrature.sinh_trapezoid(20, 401),
    ]
    x = np.linspace(-1, 1, 21)[:, None]
    found = []
    for build in rules:
        z, w = nodes_and_weights(build)
        mean = 0.2 * z[:, 0] + 0.1 * np.sin(z[:, 0])  # slope at most 0.3
        found.append(np.sum(w * stats.norm.pdf(z[:, 0]) * stats.norm.pdf(x, mean, 0.2), axis=-1))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9)


# --- heavy tails ----------------------------------------------------------------------------


def test_sinh_trapezoid_has_the_moments_of_students_t() -> None:
    """Poles of the density are pi / 2 off the real axis of t: an error of exp(-pi^2 / 0.07), no more."""
    x, w = nodes_and_weights(lambda: quadrature.sinh_trapezoid(1e6, 400))
    for df, moments in ((3, {0: 1.0}), (5, {0: 1.0, 2: 5 / 3}), (9, {0: 1.0, 2: 9 / 7, 4: 243 / 35})):
        for degree, moment in moments.items():
            weighted = w * stats.t.pdf(x[:, 0], df) * x[:, 0] ** degree
            # the tail of x^4 over x^10 beyond 10^6 is below 1e-24, of x^2 over x^6 1e-17; sinh(arcsinh(x))
            # amplifies rounding 14-fold, SciPy's density has errors of 100 EPS (log-gamma)
            assert weighted.sum() == pytest.approx(moment, rel=RTOL)
            assert np.sum(weighted * x[:, 0]) == pytest.approx(0, abs=RTOL * np.sum(weighted * abs(x[:, 0])))


def test_sinh_trapezoid_leaves_out_what_is_beyond_its_reach() -> None:
    """The variance of t with 3 degrees is 3, of which 2 * 6 sqrt(3) / pi / reach lies beyond the reach."""
    x, w = nodes_and_weights(lambda: quadrature.sinh_trapezoid(1e6, 801))
    beyond = 12 * math.sqrt(3) / math.pi / 1e6
    lacking = 3 - np.sum(w * stats.t.pdf(x[:, 0], 3) * x[:, 0] ** 2)
    # the end correction of the trapezoid rule: f'(end) h^2 / 12 with h = 0.036 and f' = f, which is `beyond`
    assert lacking == pytest.approx(beyond, rel=2e-4)


def test_sinh_trapezoid_reaches_its_ends_evenly_in_t() -> None:
    x, _ = nodes_and_weights(lambda: quadrature.sinh_trapezoid(1e6, 400))
    assert x.shape == (400, 1)
    assert x[0, 0] == pytest.approx(-1e6, rel=RTOL) and x[-1, 0] == pytest.approx(1e6, rel=RTOL)
    steps = np.diff(np.arcsinh(x[:, 0]))
    np.testing.assert_allclose(steps, 2 * np.arcsinh(1e6) / 399, rtol=RTOL)


# --- tensor grids ---------------------------------------------------------------------------

TENSOR: dict[str, Callable[..., Rule]] = {
    "trapezoid": lambda **kw: quadrature.trapezoid(-9.0, 9.0, 61, **kw),
    "gauss_legendre": lambda **kw: quadrature.gauss_legendre(-9.0, 9.0, 61, **kw),
    "gauss_hermite": lambda **kw: quadrature.gauss_hermite(41, **kw),
}


@pytest.mark.parametrize("name", TENSOR)
def test_tensor_grid_is_the_product(name: str) -> None:
    z, w = nodes_and_weights(TENSOR[name])
    grid, weights = nodes_and_weights(lambda: TENSOR[name](latent=2))
    n = len(z)
    assert grid.shape == (n * n, 2)
    np.testing.assert_array_equal(grid[:, 0], np.repeat(z[:, 0], n))
    np.testing.assert_array_equal(grid[:, 1], np.tile(z[:, 0], n))
    np.testing.assert_allclose(weights, np.outer(w, w).ravel(), rtol=RTOL)


@pytest.mark.parametrize("name", TENSOR)
def test_tensor_grid_integrates_what_does_not_factor(name: str) -> None:
    """A correlation of 0.5: one eigenvalue is 1/2, so that the density is sqrt(2) times as narrow one way.

    The trapezoid rule of step 0.3 is off by exp(-2 pi^2 0.75 / 0.09) = 1e-71, cut off at 9 standard
    deviations (2e-19); 61 Legendre nodes have their widest step, pi / 61 * 9 = 0.46, at 0, where the error is
    below exp(-2 pi^2 0.75 / 0.21) = 1e-30; Hermite's series converges as (1/2)^n, and 41 nodes have 5e-13.
    """
    z, w = nodes_and_weights(lambda: TENSOR[name](latent=2))
    cov = np.array([[1, 0.5], [0.5, 1]])
    weighted = w * stats.multivariate_normal([0, 0], cov).pdf(z)
    assert weighted.sum() == pytest.approx(1, abs=1e-11)
    np.testing.assert_allclose(np.einsum("n,ni,nj", weighted, z, z), cov, atol=1e-10)


# --- log_integral ---------------------------------------------------------------------------


@law(60)
@given(hnp.arrays(np.float64, (3, 5), elements=st.floats(-300, 300)))
def test_log_integral_is_the_log_of_the_sum(log_f: Any) -> None:
    log_w = np.linspace(-3, 1, 5)
    with jax.enable_x64(True):
        ours = np.asarray(quadrature.log_integral(log_f, log_w))
    assert ours.shape == (3,)
    # sizes up to 301, each to an EPS or two; SciPy's own is no better
    np.testing.assert_allclose(ours, special.logsumexp(log_f + log_w, axis=-1), rtol=0, atol=1000 * EPS)


@pytest.mark.parametrize("shift", [-1e4, -1e2, 0.0, 1e4])
@pytest.mark.parametrize("wide", [True, False])
def test_log_integral_neither_underflows_nor_overflows(shift: float, wide: bool) -> None:
    with jax.enable_x64(wide):
        rule = quadrature.trapezoid(-10, 10, 201)
        log_f = jax.scipy.stats.norm.logpdf(rule.nodes[:, 0]) + shift
        ours, slope = jax.value_and_grad(lambda s: quadrature.log_integral(log_f + s, rule.log_weights))(0.0)
        eps = float(jnp.finfo(ours.dtype).eps)
        # log f is rounded to half a unit in the last place of the shift and of its own 50 at most, twice
        assert float(ours) == pytest.approx(shift, rel=0, abs=2 * eps * (abs(shift) + 50))
        # a derivative of exp(log f - log integral), each off by the same, with about 8 to the mean
        assert float(slope) == pytest.approx(1, abs=4 * eps * (abs(shift) + 50))


def test_log_integral_of_what_is_zero_here_and_there() -> None:
    rule = quadrature.trapezoid(0, 1, 5)
    log_f = np.full((2, 5), -np.inf, np.float32)
    log_f[0, 2] = 3.0
    ours = np.asarray(quadrature.log_integral(log_f, rule.log_weights))
    assert ours[0] == pytest.approx(3 + np.log(0.25), rel=1e-6) and ours[1] == -np.inf  # float32


# --- what comes in and out ------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [*TENSOR.values(), lambda **kw: quadrature.sinh_trapezoid(1e3, 21)],
    ids=[*TENSOR, "sinh_trapezoid"],
)
def test_rules_are_float32_of_the_double_ones(build: Callable[..., Rule]) -> None:
    z, w = nodes_and_weights(build)
    rule = build()
    assert rule.nodes.dtype == rule.log_weights.dtype == jnp.float32
    np.testing.assert_array_equal(rule.nodes, z.astype(np.float32))
    with jax.enable_x64(True):
        log_weights = np.asarray(build().log_weights)
    np.testing.assert_array_equal(rule.log_weights, log_weights.astype(np.float32))
    assert (np.diff(z[:, 0]) > 0).all() and (w > 0).all()


BAD_ENDS: list[tuple[Any, Any]] = [(1, 1), (2, 1), (np.nan, 1), (0, np.inf), (-np.inf, 0)]


@pytest.mark.parametrize("ends", BAD_ENDS)
@pytest.mark.parametrize("rule", [quadrature.trapezoid, quadrature.gauss_legendre])
def test_ends_out_of_order_are_refused(rule: Any, ends: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match=f"^low is {ends[0]}, high is {ends[1]}; expected finite"):
        rule(*ends, 5)


COUNTED: dict[str, tuple[Callable[..., Rule], int]] = {
    "trapezoid": (lambda points, **kw: quadrature.trapezoid(0, 1, points, **kw), 2),
    "gauss_legendre": (lambda points, **kw: quadrature.gauss_legendre(0, 1, points, **kw), 1),
    "gauss_hermite": (quadrature.gauss_hermite, 1),
    "sinh_trapezoid": (lambda points: quadrature.sinh_trapezoid(10, points), 2),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_refused_by_name(name: str) -> None:
    build, least = COUNTED[name]
    assert len(build(least).nodes) == least
    with pytest.raises(ValueError, match=f"^points is {least - 1}; expected "):
        build(least - 1)
    for bad in (5.0, True, "5"):
        with pytest.raises(TypeError, match=r"^points is .*; expected a whole number"):
            build(bad)
    if name == "sinh_trapezoid":
        return
    for latent in (0, 3):
        with pytest.raises(ValueError, match=f"^latent is {latent}; expected from 1 to 2"):
            build(5, latent=latent)
    with pytest.raises(TypeError, match=r"^latent is 1\.0"):
        build(5, latent=1.0)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_sizes_that_are_not_above_zero(bad: float) -> None:
    with pytest.raises(ValueError, match=f"^sd is {bad}; expected a number above 0"):
        quadrature.gauss_hermite(5, sd=bad)
    with pytest.raises(ValueError, match=f"^reach is {bad}; expected a number above 0"):
        quadrature.sinh_trapezoid(bad, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sizes_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^sd has 1 of 1 values that are not finite"):
        quadrature.gauss_hermite(5, sd=bad)
    with pytest.raises(ValueError, match=r"^mean has 1 of 1 values that are not finite"):
        quadrature.gauss_hermite(5, mean=bad)
    with pytest.raises(ValueError, match=r"^reach has 1 of 1 values that are not finite"):
        quadrature.sinh_trapezoid(bad, 5)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (), (5, 1)])
def test_values_that_do_not_fit_the_nodes(shape: tuple[int, ...]) -> None:
    rule = quadrature.trapezoid(0, 1, 5)
    with pytest.raises(ValueError, match=r"^log_f has shape .*; expected \(\.\.\., 5\)"):
        quadrature.log_integral(np.zeros(shape, np.float32), rule.log_weights)
