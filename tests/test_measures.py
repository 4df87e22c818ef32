"""The measures: against brute force, closed forms and constructed cases."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, ndimage, spatial, special, stats

from lecture_lib import gaussians, measures, moon, quadrature, strokes
from tests.laws import law

# --- moons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 24])
def test_true_moons_are_found_again(size: int) -> None:
    phases, pictures = measures.true_moons(size)
    np.testing.assert_array_equal(phases, np.arange(180))
    near = measures.nearest_moon(pictures)
    # pictures of neighbouring degrees differ, but the last ones hold a few lit points at most
    seen = [len({p.tobytes() for p in pictures[:k]}) for k in range(1, 181)]
    distinct = int(np.argmax(np.arange(1, 181) > seen)) if seen[-1] < 180 else 180
    np.testing.assert_array_equal(near.phase[:distinct], phases[:distinct])
    np.testing.assert_array_equal(near.distance, 0)
    assert distinct >= 170


def test_moons_between_whole_degrees_go_to_a_neighbour() -> None:
    wanted = np.array([10.3, 45.5, 90.7, 133.2])
    pictures = np.asarray(moon.render_many(wanted, 24)).reshape(4, -1)
    near = measures.nearest_moon(pictures)
    assert (np.abs(near.phase - wanted) < 1).all()
    assert (near.distance < 0.05).all() and (near.distance > 0).all()


def test_nearest_is_the_least_of_all_distances() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.uniform(size=(6, 24 * 24))
    near = measures.nearest_moon(pictures)
    true = np.stack([np.asarray(moon.render(float(p), 24)).ravel() for p in range(180)]).astype(np.float64)
    every = np.sqrt(((pictures[:, None] - true[None]) ** 2).mean(-1))
    np.testing.assert_array_equal(near.phase, every.argmin(1))
    # eager and compiled rendering differ by 1e-6 at most
    np.testing.assert_allclose(near.distance, every.min(1), atol=1e-6)


def test_smallest_pictures() -> None:
    """8 by 8, as those of `moon.render`; a phase is told to the degrees that so few points tell."""
    _, pictures = measures.true_moons(8)
    np.testing.assert_array_equal(measures.nearest_moon(pictures[30:33]).distance, 0)


def test_distance_is_in_units_of_brightness() -> None:
    _, pictures = measures.true_moons(24)
    near = measures.nearest_moon(pictures[40:41] + 0.01)
    assert near.distance[0] <= 0.01 + 1e-9 and near.distance.shape == near.phase.shape == (1,)


def test_every_few_degrees() -> None:
    phases, pictures = measures.true_moons(16, 5)
    np.testing.assert_array_equal(phases, np.arange(0, 180, 5))
    assert pictures.shape == (36, 256)
    with pytest.raises(ValueError, match="read-only"):
        pictures[0] = 0


def test_nearest_of_every_few_degrees() -> None:
    _, every = measures.true_moons(24)
    phases, few = measures.true_moons(24, 5)
    near = measures.nearest_moon(few, step=5)
    np.testing.assert_array_equal(near.phase[:-1], phases[:-1])  # the last one holds a few lit points
    np.testing.assert_array_equal(near.distance, 0)
    near = measures.nearest_moon(every, step=5)
    distances = np.sqrt(((every[:, None].astype(np.float64) - few[None]) ** 2).mean(-1))
    np.testing.assert_array_equal(near.phase, phases[distances.argmin(1)])
    np.testing.assert_allclose(near.distance, distances.min(1), rtol=1e-12)
    assert near.phase[46] == 45 and near.distance[46] > 0
    assert measures.nearest_moon(every[46:47]).phase[0] == 46  # every degree, if not told otherwise


@pytest.mark.parametrize("step", [0, -5, 2.5])
def test_nearest_moon_refuses_steps(step: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="step is"):
        measures.nearest_moon(np.zeros((1, 576)), step=step)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((2, 577)), r"images has shape \(2, 577\); expected \(n, size \* size\)"),
        (np.zeros((2, 49)), r"images has shape \(2, 49\)"),
        (np.zeros(576), r"images has shape \(576,\)"),
        (np.zeros((2, 24, 24)), r"images has shape \(2, 24, 24\)"),
        (np.full((1, 576), np.nan), "images has 576 of 576 values that are not finite"),
    ],
)
def test_nearest_moon_refuses(images: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measures.nearest_moon(images)


# --- distances and orders -------------------------------------------------------------------


@law(200)
@given(hnp.arrays(np.float64, (3, 5), elements=st.floats(-1e3, 1e3)), st.floats(-1e3, 1e3))
def test_rms(a: Any, shift: float) -> None:
    b = a[::-1]
    expected = [np.linalg.norm(p - q) / 5**0.5 for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(measures.rms(a, b), expected, rtol=1e-13, atol=1e-300)
    np.testing.assert_array_equal(measures.rms(a, a), 0)
    # a + shift rounds by 1e-13 at this size
    np.testing.assert_allclose(measures.rms(a, a + shift), np.full(3, abs(shift)), atol=1e-12)


@law(200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_in_order_is_that_of_sorting(codes: list[float]) -> None:
    distinct = len(set(codes)) == len(codes)
    expected = distinct and (sorted(codes) == codes or sorted(codes, reverse=True) == codes)
    assert bool(measures.in_order(codes)) is expected
    assert bool(measures.in_order(codes[::-1])) is expected
    assert measures.in_order(sorted(set(codes))) if len(set(codes)) > 1 else True


def test_in_order_by_rows() -> None:
    codes = [[0, 1, 2], [2.0, 1, 0], [0, 2, 1], [0, 0, 1], [1, 1, 1]]
    np.testing.assert_array_equal(measures.in_order(codes), [True, True, False, False, False])
    assert measures.in_order(np.zeros((2, 3, 4))).shape == (2, 3)
    np.testing.assert_array_equal(measures.in_order([[1.0, 2.0, 3.0]]), [True])


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([1.0], r"codes has shape \(1,\); expected \(\.\.\., n\) with n at least 2"),
        (3.0, r"codes has shape \(\)"),
        ([], r"codes has shape \(0,\)"),
        (np.zeros((3, 1)), r"codes has shape \(3, 1\)"),
        ([0.0, np.nan], "codes has 1 of 2 values that are not finite"),
    ],
)
def test_in_order_refuses(codes: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measures.in_order(codes)


# --- KL by quadrature -----------------------------------------------------------------------


@law(60)
@given(st.floats(-20, 20), st.floats(-4, 3))
def test_kl_by_quadrature_is_the_closed_form(mean: float, log_sd: float) -> None:
    """The docstring promises about 1e-12, relative to the size of what is summed."""
    sd = float(np.exp(log_sd))
    closed = 0.5 * (sd**2 - 1 - np.log(sd**2) + mean**2)
    assert measures.kl_by_quadrature(mean, sd) == pytest.approx(closed, rel=1e-12, abs=1e-12)
    with jax.enable_x64(True):
        ours = float(gaussians.kl_standard_normal(np.array([mean]), np.array([2 * log_sd])))
    assert ours == pytest.approx(measures.kl_by_quadrature(mean, sd), rel=1e-12, abs=1e-12)


def test_kl_of_the_prior_is_zero() -> None:
    assert measures.kl_by_quadrature(0.0, 1.0) == 0


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_kl_by_quadrature_refuses(mean: float, sd: float) -> None:
    with pytest.raises(ValueError, match=r"^(mean|sd) "):
        measures.kl_by_quadrature(mean, sd)


# --- two densities at the nodes of a rule ---------------------------------------------------


def gaussians_at_nodes(m_p: float, sd_p: float, m_q: float, sd_q: float) -> tuple[np.ndarray, ...]:
    """Log-densities on 12 standard deviations of p each way: the trapezoid rule is exact to rounding."""
    x = m_p + sd_p * np.linspace(-12, 12, 2001)
    log_weights = np.full(2001, np.log(sd_p * 24 / 2000))
    return stats.norm.logpdf(x, m_p, sd_p), stats.norm.logpdf(x, m_q, sd_q), log_weights


@law(200)
@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(-5, 5), st.floats(-2, 2))
def test_kl_of_gaussians_is_the_closed_form(m_p: float, log_sd_p: float, m_q: float, log_sd_q: float) -> None:
    sd_p, sd_q = np.exp([log_sd_p, log_sd_q])
    square = (sd_p**2 + (m_p - m_q) ** 2) / sd_q**2
    closed = 0.5 * (square - 1) + log_sd_q - log_sd_p
    # sums of 2001 terms, of which the largest integrate to `square` and a few
    assert measures.kl(*gaussians_at_nodes(m_p, sd_p, m_q, sd_q)) == pytest.approx(
        closed, rel=0, abs=1e-13 * (square + 10)
    )


@law(200)
@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(0.05, 8))
def test_l1_of_two_gaussians_of_one_width_is_the_closed_form(m: float, log_sd: float, gap: float) -> None:
    """2 (2 Phi(d / 2) - 1) for means d standard deviations apart: they cross once, half-way."""
    sd = float(np.exp(log_sd))
    ours = measures.l1(*gaussians_at_nodes(m, sd, m + gap * sd, sd))
    # the integrand has a kink, where the trapezoid rule is off by h^2 / 8 times the jump of the slope, which
    # is gap times a density: 2 * 0.012^2 / 8 * gap exp(-gap^2 / 8) * 0.4 < 2e-5
    assert ours == pytest.approx(2 * (2 * stats.norm.cdf(gap / 2) - 1), abs=2e-5)


@law(200)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_laws_of_kl_and_l1(rows: list[tuple[float, float]]) -> None:
    """For all that integrates to 1 under the rule: KL >= 0 (Gibbs), 0 <= L1 <= 2, KL >= L1^2 / 2 (Pinsker).

    L1 is the integral of |p - q|, both halves of which are alike.
    """
    p, q = np.array(rows).T + np.array([[0], [1e-6]])
    w = np.linspace(0.5, 2, len(rows))
    p, q = p / np.sum(p * w), q / np.sum(q * w)
    args = np.log(p), np.log(q), np.log(w)
    kl, l1 = measures.kl(*args), measures.l1(*args)
    # sums of 8 terms of size log(1e6) at most
    assert kl >= l1**2 / 2 - 1e-13 and -1e-15 <= l1 <= 2 + 1e-14
    assert l1 == pytest.approx(np.sum(w * np.abs(p - q)), abs=1e-14)
    assert l1 == pytest.approx(measures.l1(args[1], args[0], args[2]), abs=1e-14)
    assert measures.kl(args[0], args[0], args[2]) == measures.l1(args[0], args[0], args[2]) == 0


def test_uniform_against_uniform() -> None:
    """p on (0, 1), q on (0, b): KL is log b, L1 is 2 (1 - 1 / b), by one rule for the support of p."""
    with jax.enable_x64(True):
        x, log_weights = (np.asarray(a) for a in quadrature.gauss_legendre(0, 1, 20))
    zero = np.zeros(20)
    for b in (1.0, 1.5, 4.0):
        assert measures.kl(zero, zero - np.log(b), log_weights) == pytest.approx(np.log(b), rel=1e-13)
        assert measures.l1(zero, zero - np.log(b), log_weights) == pytest.approx(2 * (1 - 1 / b), abs=1e-13)
    # the other way round q is 0 on a part of the support
    inside = stats.uniform(0, 0.5).logpdf(x[:, 0])
    assert measures.kl(zero, inside, log_weights) == np.inf
    assert measures.l1(zero, inside, log_weights) == pytest.approx(1, abs=1e-13)
    assert measures.kl(inside, zero, log_weights) == pytest.approx(np.log(2), rel=1e-13)
    apart = np.where(x[:, 0] > 0.5, np.log(2), -np.inf)
    assert measures.l1(inside, apart, log_weights) == pytest.approx(2, abs=1e-13)


def test_kl_is_infinite_even_where_p_underflows() -> None:
    """At 50 standard deviations exp(log p) is 0, and 0 times infinity would be no number."""
    x = np.linspace(-50, 50, 1001)
    log_weights = np.full(1001, np.log(0.1))
    assert measures.kl(stats.norm.logpdf(x), stats.uniform(-49, 98).logpdf(x), log_weights) == np.inf
    assert measures.l1(stats.norm.logpdf(x), np.full(1001, -np.inf), log_weights) == pytest.approx(2)


def test_what_is_no_number_stays_so() -> None:
    log_weights = np.full(3, np.log(0.5))
    for args in (([0.0, np.nan, 0.0], [0.0] * 3), ([0.0] * 3, [0.0, np.nan, 0.0])):
        assert np.isnan(measures.kl(*args, log_weights)) and np.isnan(measures.l1(*args, log_weights))


@pytest.mark.parametrize("measure", [measures.kl, measures.l1])
def test_densities_at_other_nodes_are_refused(measure: Any) -> None:
    three, four = np.zeros(3), np.zeros(4)
    for args, told in (
        ((four, three, three), r"log_p \(4,\), log_q \(3,\), log_weights \(3,\)"),
        ((three, four, three), r"log_q \(4,\)"),
        ((three, three, 0.0), r"log_weights \(\)"),
    ):
        with pytest.raises(ValueError, match=f"^shapes differ: .*{told}"):
            measure(*args)


# --- Jensen-Shannon and the best discriminator ----------------------------------------------


def over(low: float, high: float, points: int = 4001) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log-weights of the trapezoid rule."""
    x = np.linspace(low, high, points)
    weights = np.full(points, x[1] - x[0])
    weights[[0, -1]] /= 2
    return x, np.log(weights)


@law(60)
@given(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3), st.floats(-1.5, 1.5))
def test_js_of_gaussians(m_p: float, log_sd_p: float, m_q: float, log_sd_q: float) -> None:
    """The two integrals, each over its own density's support, by SciPy's densities; and the laws."""
    p, q = stats.norm(m_p, np.exp(log_sd_p)), stats.norm(m_q, np.exp(log_sd_q))
    x, log_weights = over(-60, 60, 4801)  # 13 of the widest, 9 nodes to the narrowest
    js = measures.jensen_shannon(p.logpdf(x), q.logpdf(x), log_weights)

    def half(one: Any, other: Any) -> float:
        y = one.mean() + one.std() * np.linspace(-9, 9, 2001)
        told = one.pdf(y) * np.log(2 * one.pdf(y) / (one.pdf(y) + other.pdf(y)))
        return float(integrate.simpson(told, x=y)) / 2

    assert js == pytest.approx(half(p, q) + half(q, p), abs=1e-9)
    assert -1e-12 <= js <= np.log(2) + 1e-12
    assert js == pytest.approx(measures.jensen_shannon(q.logpdf(x), p.logpdf(x), log_weights), abs=1e-14)
    mixture = np.logaddexp(p.logpdf(x), q.logpdf(x)) - np.log(2)
    of_kl = [measures.kl(one.logpdf(x), mixture, log_weights) for one in (p, q)]
    assert js == pytest.approx(sum(of_kl) / 2, abs=1e-12)
    # at the best D the cross-entropy is 2 log 2 - 2 JS
    d = measures.optimal_discriminator(p.pdf(x), q.pdf(x))
    asked = ~np.isnan(d)
    # log(1 - d) loses what d rounds to 1 by; q is below 1e-16 p there, of which little is left
    loss = -special.xlogy(p.pdf(x), d)[asked] - special.xlog1py(q.pdf(x), -d)[asked]
    assert float(np.exp(log_weights[asked]) @ np.where(np.isfinite(loss), loss, 0)) == pytest.approx(
        2 * np.log(2) - 2 * js, abs=1e-9
    )


@law(200)
@given(st.floats(0, 3))
def test_js_of_two_uniforms_is_log_2_of_what_does_not_overlap(shift: float) -> None:
    """p on (0, 1), q on (s, 1 + s): s log 2, and log 2 from s = 1 on."""
    edges = np.unique([0, shift, 1, 1 + shift])
    x, wide = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    with np.errstate(divide="ignore"):
        p, q = (np.log(((x > a) & (x < a + 1)).astype(float)) for a in (0, shift))
        js = measures.jensen_shannon(p, q, np.log(wide))
    assert js == pytest.approx(min(shift, 1) * np.log(2), abs=1e-14)
    # a wider one around it: log of the mixture is a constant inside, and q is alone outside
    b = 1 + shift
    p, q = np.array([0.0, -np.inf]), np.full(2, -np.log(b))
    weights = np.array([1.0, max(shift, 1e-300)])
    m = (1 + 1 / b) / 2
    closed = (-np.log(m) + (np.log(1 / (b * m)) + shift * np.log(2)) / b) / 2
    assert measures.jensen_shannon(p, q, np.log(weights)) == pytest.approx(closed, abs=1e-14)


chances = st.one_of(st.just(0.0), st.floats(-700, 0).map(np.exp), st.floats(0.01, 1))
three = hnp.arrays(np.float64, (3, 6), elements=chances).filter(lambda a: bool((a.max(axis=1) > 0).all()))


@law(100)
@given(three, st.integers(1, 5))
def test_laws_of_divergences_for_any_distributions(rows: Any, cut: int) -> None:
    """Six outcomes with probabilities down to e^-700 or 0, where a divergence may be infinite."""
    p, q, r = (row / row.sum() for row in rows / rows.max(axis=1, keepdims=True))

    def measured(measure: Any, a: Any, b: Any) -> float:
        with np.errstate(divide="ignore"):
            return float(measure(np.log(a), np.log(b), np.zeros(len(a))))

    for measure in (measures.kl, measures.l1, measures.jensen_shannon):
        assert measured(measure, p, p) == pytest.approx(0, abs=1e-15)
        # nothing can be told apart that was put together: of two and more outcomes only one is left
        together = [np.append(a[:cut], a[cut:].sum()) for a in (p, q)]
        assert measured(measure, *together) <= measured(measure, p, q) + 1e-14
    kl, l1, js = (measured(measure, p, q) for measure in (measures.kl, measures.l1, measures.jensen_shannon))
    assert l1 == pytest.approx(np.abs(p - q).sum(), abs=1e-14) and -1e-15 <= l1 <= 2 + 1e-14
    # SciPy's is the root; both are sums of six terms below 1
    assert js == pytest.approx(spatial.distance.jensenshannon(p, q) ** 2, abs=1e-14)
    assert -1e-15 <= js <= np.log(2) + 1e-15
    assert js == pytest.approx(measured(measures.jensen_shannon, q, p), abs=1e-15)
    # above 0 where they differ: JS >= L1^2 / 8, KL >= L1^2 / 2 (Pinsker); and JS <= L1 log 2 / 2 (Lin 1991)
    assert l1**2 / 8 - 1e-15 <= js <= l1 * np.log(2) / 2 + 1e-15 and kl >= l1**2 / 2 - 1e-14
    assert kl == np.inf or kl == pytest.approx(stats.entropy(p, q), rel=1e-12, abs=1e-14)
    assert (kl == np.inf) == bool(((q == 0) & (p > 0)).any())
    # of a pair of independent outcomes the divergences add up
    least = min(a[a > 0].min() for a in (p, q, r))
    if least > 1e-145:  # so that no product of two underflows
        both = measured(measures.kl, np.outer(p, r).ravel(), np.outer(q, p).ravel())
        assert both == pytest.approx(kl + measured(measures.kl, r, p), rel=1e-12, abs=1e-13)
    # the root of JS is a metric (Endres and Schindelin 2003); a root multiplies errors near 0
    roots = [max(measured(measures.jensen_shannon, *pair), 0) ** 0.5 for pair in ((p, q), (p, r), (r, q))]
    assert roots[0] <= roots[1] + roots[2] + 1e-7


def test_js_of_equal_and_of_disjoint_densities() -> None:
    x, log_weights = over(-200, 200)
    p = stats.norm.logpdf(x)
    assert measures.jensen_shannon(p, p, log_weights) == 0
    for far in (60.0, 150.0):  # both densities underflow where the other one is
        q = stats.norm.logpdf(x, far)
        assert measures.jensen_shannon(p, q, log_weights) == pytest.approx(np.log(2), abs=1e-12)
        zero = np.where(np.abs(x - far) < 20, q, -np.inf)
        assert measures.jensen_shannon(p, zero, log_weights) == pytest.approx(np.log(2), abs=1e-12)
        assert measures.jensen_shannon(zero, p, log_weights) == pytest.approx(np.log(2), abs=1e-12)
    nothing = np.full(5, -np.inf)
    assert measures.jensen_shannon(nothing, nothing, np.zeros(5)) == 0
    with pytest.raises(ValueError, match=r"^shapes differ: log_p \(3,\), log_q \(4,\)"):
        measures.jensen_shannon(np.zeros(3), np.zeros(4), np.zeros(3))
    with np.errstate(invalid="ignore"):  # what is no number stays so
        assert np.isnan(measures.jensen_shannon([0.0, np.nan], [0.0, 0.0], [-1.0, -1.0]))


densities = st.one_of(st.just(0.0), st.floats(1e-300, 1e-290), st.floats(1e-6, 1e6))


@law(100)
@given(st.lists(st.tuples(densities, densities), min_size=1, max_size=6))
def test_optimal_discriminator_is_the_best_answer(rows: list[tuple[float, float]]) -> None:
    """Of 999 answers none has a smaller expected loss -p log d - q log(1 - d)."""
    p, q = np.array(rows).T
    best = measures.optimal_discriminator(p, q)
    assert best.shape == p.shape
    answers = np.arange(1, 1000)[:, None] / 1000

    def loss(d: Any) -> np.ndarray:
        return -special.xlogy(p, d) - special.xlog1py(q, -d)

    nobody = (p == 0) & (q == 0)
    np.testing.assert_array_equal(np.isnan(best), nobody)
    if not nobody.all():
        tried, known = loss(answers)[:, ~nobody], best[~nobody]
        # an answer that rounds to 1 while q is not 0 has no loss in float64
        least = np.where((known == 1) & (q[~nobody] > 0), 0, loss(best)[~nobody])
        assert (least <= tried.min(0) * (1 + 1e-12)).all()
        # the losses are convex: the best of the answers is next to it
        assert (np.abs(answers[tried.argmin(0), 0] - known) <= 1.001e-3).all()
    np.testing.assert_allclose(measures.optimal_discriminator(q, p), 1 - best, atol=1e-15)


def test_optimal_discriminator_refuses() -> None:
    assert measures.optimal_discriminator(3.0, 1.0) == 0.75
    np.testing.assert_array_equal(measures.optimal_discriminator([[0.0, 1.0]], [[2.0, 0.0]]), [[0, 1]])
    for p, q, told in (
        ([1.0, 2.0], [1.0], r"^shapes differ: p_data \(2,\), p_g \(1,\)"),
        ([-1.0], [1.0], r"^p_data is \[-1\.\]; expected a number of at least 0"),
        ([1.0], [-1.0], r"^p_g is \[-1\.\]; expected"),
        ([np.inf], [1.0], r"^p_data has 1 of 1 values that are not finite"),
        ([1.0], [np.nan], r"^p_g has 1 of 1 values that are not finite"),
    ):
        with pytest.raises(ValueError, match=told):
            measures.optimal_discriminator(p, q)


# --- Wasserstein-1 --------------------------------------------------------------------------

draws = st.lists(st.floats(-100, 100), min_size=1, max_size=7)


@law(100)
@given(draws, draws, draws, st.floats(-50, 50), st.floats(-10, 10))
def test_wasserstein_of_draws(a: list[float], b: list[float], c: list[float], s: float, k: float) -> None:
    """In 1-D it is carried in order: repeat both to equal length, sort, and take the mean distance."""
    ours = measures.wasserstein_1d(a, b)
    carried = np.abs(np.sort(np.repeat(a, len(b))) - np.sort(np.repeat(b, len(a)))).mean()
    # means of 49 numbers up to 200
    assert ours == pytest.approx(carried, abs=1e-12)
    assert ours == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)
    # a metric
    assert ours == pytest.approx(measures.wasserstein_1d(b, a), abs=1e-12) and ours >= 0
    assert ours <= measures.wasserstein_1d(a, c) + measures.wasserstein_1d(c, b) + 1e-12
    assert measures.wasserstein_1d(a, a[::-1]) == 0
    equal = np.array_equal(np.sort(np.repeat(a, len(b))), np.sort(np.repeat(b, len(a))))
    assert (ours == 0) == equal or 0 < carried < 1e-12
    # and its laws
    x, y = np.array(a), np.array(b)
    assert measures.wasserstein_1d(x + s, y + s) == pytest.approx(ours, abs=1e-11)
    assert measures.wasserstein_1d(k * x, k * y) == pytest.approx(abs(k) * ours, abs=1e-10)
    assert measures.wasserstein_1d(x, x + s) == pytest.approx(abs(s), abs=1e-11)
    assert ours >= abs(x.mean() - y.mean()) - 1e-12


@law(60)
@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(-3, 3), st.floats(0.2, 2))
def test_wasserstein_of_gaussians(m_a: float, sd_a: float, m_b: float, sd_b: float) -> None:
    """|Q_a(u) - Q_b(u)| is |m + s z|: the mean of a folded normal, or the distance of the means if s is 0."""
    edges = np.linspace(-25, 25, 5001)
    ours = measures.wasserstein_1d(stats.norm(m_a, sd_a).cdf, stats.norm(m_b, sd_b).cdf, edges=edges)
    m, s = abs(m_a - m_b), abs(sd_a - sd_b)
    folded = (
        s * np.sqrt(2 / np.pi) * np.exp(-((m / s) ** 2) / 2) + m * special.erf(m / s / 2**0.5) if s else m
    )
    # the trapezoid rule, where |difference| has a kink: h^2 / 8 times the jump of its slope, 4 at most
    assert ours == pytest.approx(folded, abs=1e-4)
    same = measures.wasserstein_1d(stats.norm(m_a, sd_a).cdf, stats.norm(m_b, sd_a).cdf, edges=edges)
    assert same == pytest.approx(m, abs=1e-9)


def test_wasserstein_of_other_widths_is_the_integral_over_quantiles() -> None:
    """By SciPy's quadrature, for a gamma, a t and a normal distribution."""
    edges = np.linspace(-40, 60, 200001)
    shapes = (stats.gamma(2, loc=-1), stats.norm(0.5, 1.5), stats.uniform(-3, 2))
    for i, one in enumerate(shapes):
        for other in shapes[:i]:
            expected, _ = integrate.quad(
                lambda u, one=one, other=other: abs(one.ppf(u) - other.ppf(u)), 0, 1, limit=400
            )
            assert measures.wasserstein_1d(one.cdf, other.cdf, edges=edges) == pytest.approx(
                expected, abs=1e-4
            )


def test_draws_and_functions_agree() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 300), rng.normal(1, 2, 200)
    edges = np.linspace(-12, 12, 24001)
    of_draws = measures.wasserstein_1d(a, b)
    for one in (a, stats.ecdf(a).cdf.evaluate):
        for other in (b, stats.ecdf(b).cdf.evaluate):
            # a step between two edges is known to half a step of 1e-3, and all steps of both together are 2
            assert measures.wasserstein_1d(one, other, edges=edges) == pytest.approx(of_draws, abs=1e-3)
    # many draws of a distribution are as far from another as it is, up to their own distance from it
    p, q = stats.norm(0, 1), stats.norm(1, 2)
    many, exact = p.ppf((np.arange(2000) + 0.5) / 2000), measures.wasserstein_1d(p.cdf, q.cdf, edges=edges)
    own = measures.wasserstein_1d(many, p.cdf, edges=edges)
    assert own < 2e-3
    assert measures.wasserstein_1d(many, q.cdf, edges=edges) == pytest.approx(exact, abs=own + 1e-3)


@pytest.mark.parametrize(
    ("a", "b", "edges", "told"),
    [
        ([], [1.0], None, r"^a has shape \(0,\); expected draws of shape \(n,\), n at least 1"),
        ([1.0], 2.0, None, r"^b has shape \(\); expected draws"),
        ([[1.0]], [2.0], None, r"^a has shape \(1, 1\); expected draws"),
        ([1.0, np.nan], [2.0], None, r"^a has 1 of 2 values that are not finite"),
        ([1.0], [np.inf], None, r"^b has 1 of 1 values that are not finite"),
        (stats.norm.cdf, [1.0], None, r"^edges is None; expected where to compare"),
        ([1.0], stats.norm.cdf, [0.0], r"^edges has shape \(1,\); expected at least two rising numbers"),
        (stats.norm.cdf, [1.0], [0.0, 0.0], r"^edges has shape \(2,\); expected at least two rising"),
        (stats.norm.cdf, [1.0], [1.0, 0.0], r"^edges has shape"),
        (stats.norm.cdf, [1.0], [0.0, 1.0, 0.5], r"^edges has shape"),
        (stats.norm.cdf, [1.0], [0.0, np.nan], r"^edges has 1 of 2 values that are not finite"),
        (stats.norm.cdf, [1.0], 3.0, r"^edges has shape \(\)"),
        (stats.norm.cdf, [], [0.0, 1.0], r"^b has shape \(0,\)"),
        ([np.nan], stats.norm.cdf, [0.0, 1.0], r"^a has 1 of 1 values that are not finite"),
    ],
)
def test_wasserstein_refuses(a: Any, b: Any, edges: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measures.wasserstein_1d(a, b, edges=edges)


# --- digits: slant --------------------------------------------------------------------------

RADII, RADII_WEIGHTS = np.polynomial.legendre.leggauss(6)


def over_radii(width: float, values: Any) -> float:
    """The mean of values(r) over r from width / 2 - 1/2 to width / 2 + 1/2, for polynomials.

    `strokes.render` is, for pens of at least 1, the mean of pictures of sharp strokes of these radii.
    """
    return float(RADII_WEIGHTS / 2 @ values(width / 2 + RADII / 2))


def bar(degrees: float, width: float, *, length: float = 18, scale: int = 1, middle: Any = (14, 14)) -> Any:
    """A leaning bar, sampled `scale` times as finely."""
    lean = np.radians(degrees)
    half = scale * length / 2 * np.array([np.sin(lean), -np.cos(lean)])
    middle = scale * np.asarray(middle)
    return strokes.render([[middle - half, middle + half]], width=scale * width, size=28 * scale)


def slant_of_bar(degrees: float, width: float, length: float = 18) -> float:
    """From the second moments along a bar and across: a rectangle's and two half-discs'."""
    along = over_radii(
        width,
        lambda r: (
            r * length**3 / 6 + np.pi * (r * length / 2) ** 2 + 4 * length * r**3 / 3 + np.pi * r**4 / 4
        ),
    )
    across = over_radii(width, lambda r: length * (2 * r) ** 3 / 12 + np.pi * r**4 / 4)
    s, c = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return float(np.degrees(np.arctan((along - across) * s * c / (c**2 * along + s**2 * across))))


digits = hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 255)).filter(
    lambda image: (image > 0).any(axis=1).sum() > 1
)


@law(100)
@given(digits)
def test_slant_is_that_of_the_moments_by_hand(image: Any) -> None:
    """In whole numbers: n^2 times the central moments, n the sum of the ink."""
    at = [(i, j, int(image[i, j])) for i in range(6) for j in range(7)]
    n, y, x = (sum(w * v for *_, w, v in ((*p, p[2], (1, p[0], p[1])[k]) for p in at)) for k in range(3))
    xy, yy = sum(i * j * w for i, j, w in at), sum(i * i * w for i, _, w in at)
    expected = np.degrees(np.arctan2(-(n * xy - x * y), n * yy - y * y))
    # sums of 42 float64 terms; the angle of what cancels is good to 1e-12
    assert float(measures.slant(image)) == pytest.approx(expected, abs=1e-9)


@law(100)
@given(digits, st.integers(-3, 3))
def test_shearing_a_picture_adds_to_the_tangent_of_its_slant(image: Any, lean: int) -> None:
    """Rows moved by whole pixels, `lean` more to the right with each row up."""
    wide = np.zeros((6, 40))
    wide[:, 16:23] = image
    leaning = np.stack([np.roll(row, -lean * i) for i, row in enumerate(wide)])
    before, after = (np.tan(np.radians(measures.slant(a))) for a in (wide, leaning))
    assert after - before == pytest.approx(lean, abs=1e-9)  # rounding, as above


@law(100)
@given(digits, st.integers(0, 4), st.integers(0, 4), st.floats(1e-3, 1e3))
def test_laws_of_slant(image: Any, down: int, right: int, brightness: float) -> None:
    canvas = np.zeros((10, 11))
    canvas[down : down + 6, right : right + 7] = image
    slant = float(measures.slant(image))
    assert -90 < slant < 90
    assert float(measures.slant(brightness * canvas)) == pytest.approx(slant, abs=1e-9)
    assert float(measures.slant(canvas[:, ::-1])) == pytest.approx(-slant, abs=1e-9)
    assert float(measures.slant(canvas[::-1])) == pytest.approx(-slant, abs=1e-9)


def test_slant_of_bars_is_the_closed_form() -> None:
    """Sampling is all that differs: it errs by 0.2 degrees at 28 pixels, and its error falls as the square of
    the pixel's size, so that four times as fine a picture has a sixteenth of it."""
    rng = np.random.default_rng(0)
    worst = {}
    for scale in (1, 4):
        errors = []
        for width in (1.5, 2.5, 5.0):
            places = [(d, 14 + rng.uniform(-0.5, 0.5, 2)) for d in np.arange(-35, 36, 5.0)]
            slants = measures.slant([bar(d, width, scale=scale, middle=m) for d, m in places])
            # the edge is soft by a pixel, which is less in a finer picture: as if the bar were larger
            expected = [slant_of_bar(d, scale * width, 18.0 * scale) for d, _ in places]
            errors.append(np.abs(slants - expected).max())
        worst[scale] = max(errors)
    assert worst[1] < 0.5
    assert worst[4] < worst[1] / 8


def test_bars_lean_by_less_than_their_pen_for_the_pen_does_not_lean() -> None:
    for degrees in (-35.0, -10.0, 10.0, 35.0):
        for width in (1.5, 5.0):
            assert 0.9 < slant_of_bar(degrees, width) / degrees < 1
    assert float(measures.slant(bar(0, 3))) == pytest.approx(0, abs=1e-12)
    assert float(measures.slant(bar(90, 3))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("degrees", [-35.0, 20.0])
def test_shearing_strokes_adds_to_the_tangent_but_for_the_pen(degrees: float) -> None:
    """Strokes that are dots, far apart: their places shear, the pen does not.

    The pen's own variance p is a share of the variance mu_02 along the height: tan(angle) (1 - p / mu_02) is
    added. Sampling errs by less than 1e-3 for dots 16 pixels wide: a relative error of (1 / 16)^2 / 4.
    """
    width = 16.0
    rng = np.random.default_rng(0)
    dots = [[(x, y)] for x, y in zip(rng.uniform(-60, 60, 9), np.arange(-80, 81, 20), strict=True)]
    leaning = strokes.shear(dots, degrees)
    before, after = (
        np.tan(
            np.radians(
                measures.slant(strokes.render([np.asarray(s) + 150.3 for s in drawn], width=width, size=300))
            )
        )
        for drawn in (dots, leaning)
    )
    p = over_radii(width, lambda r: r**4 / 4) / over_radii(width, lambda r: r**2)
    height = np.var([s[0][1] for s in dots]) + p
    assert after - before == pytest.approx(np.tan(np.radians(degrees)) * (1 - p / height), abs=1e-3)


def test_a_ring_does_not_lean() -> None:
    turn = np.linspace(0, 2 * np.pi, 200)
    ring = 14 + 7 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    assert float(measures.slant(strokes.render([ring], width=2.5))) == pytest.approx(0, abs=1e-9)


# --- digits: thickness ----------------------------------------------------------------------

WIDTHS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


def test_thickness_of_rings_is_the_width_of_the_pen() -> None:
    """A ring has no ends: its mean distance to the edge is a quarter of its width."""
    turn = np.linspace(0, 2 * np.pi, 200)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for width in WIDTHS:
        rings = [strokes.render([(14.2, 13.9) + r * ring], width=width) for r in (4, 5.5, 7, 8.5)]
        np.testing.assert_allclose(measures.thickness(rings), width, atol=0.25)  # as the docstring says


def test_thickness_of_bars_is_that_of_their_shape() -> None:
    """Four times the mean distance to the edge: w (l + pi w / 6) / (l + pi w / 4), with two half-discs."""
    rng = np.random.default_rng(0)
    for width in WIDTHS[1:]:
        bars = [bar(d, width, middle=14 + rng.uniform(-0.5, 0.5, 2)) for d in range(-35, 36, 5)]
        expected = width * (18 + np.pi * width / 6) / (18 + np.pi * width / 4)
        np.testing.assert_allclose(measures.thickness(bars), expected, atol=0.25)


def dense_thickness(lines: Any, width: float) -> float:
    """Four times the mean distance to the nearest point outside, of points 1/8 pixel apart, one by one."""
    fine = strokes.render([8 * (np.asarray(s) + 0.5) - 0.5 for s in lines], width=8 * width, size=224)
    inside, outside = np.argwhere(fine > 0.5), np.argwhere(fine <= 0.5)
    distance, _ = spatial.cKDTree(outside).query(inside)
    # the edge lies half a point before the nearest point outside
    return float(4 * (distance.mean() - 0.5) / 8)


@pytest.mark.parametrize("digit", [0, 2, 3, 4, 7])
def test_thickness_of_digits_is_that_of_a_dense_picture(digit: int) -> None:
    for width, slant in ((2.0, -30), (3.0, 20), (4.5, 0)):
        lines = [14 + 9 * s for s in strokes.shear(strokes.example(digit), slant)]
        ours = float(measures.thickness(strokes.render(lines, width=width)))
        assert ours == pytest.approx(dense_thickness(lines, width), abs=0.25)


@pytest.mark.parametrize("digit", range(10))
def test_thickness_grows_with_the_pen(digit: int) -> None:
    images = [strokes.as_mnist(strokes.example(digit), width=w) for w in (1.5, 2, 2.5, 3, 3.5, 4)]
    assert (np.diff(measures.thickness(images)) > 0).all()


def test_finer_pictures_are_those_of_scipys_cubic_zoom() -> None:
    picture = np.random.default_rng(0).uniform(size=(9, 7))
    down, across = measures.cubic_zoom(9, 4), measures.cubic_zoom(7, 4)
    theirs = ndimage.zoom(picture, 4, order=3, mode="grid-constant", grid_mode=True)
    np.testing.assert_allclose(down @ picture @ across.T, theirs, atol=1e-12)  # sums of a few terms
    with pytest.raises(ValueError, match="read-only"):
        down[0] = 0


def test_laws_of_thickness() -> None:
    image = strokes.as_mnist(strokes.shear(strokes.example(5), 12), width=3)
    thick = float(measures.thickness(image))
    canvas = np.zeros((33, 35))
    canvas[3:31, 5:33] = image
    changed = [canvas, 0.3 * canvas, 255 * canvas, canvas[:, ::-1], canvas[::-1], np.pad(canvas, 2)]
    for other in changed:
        # pixels beyond the frame count as black; splines and sums in another order
        assert float(measures.thickness(other)) == pytest.approx(thick, abs=1e-9)
    assert float(measures.thickness(canvas.T)) == pytest.approx(thick, abs=1e-9)


# --- digits: all three ----------------------------------------------------------------------

THREE = [measures.slant, measures.thickness, measures.ink]


@pytest.mark.parametrize("measure", THREE)
def test_many_pictures_are_measured_as_one_by_one(measure: Any) -> None:
    """More than are in memory together; (n, 10, h, w); one; none."""
    rng = np.random.default_rng(0)
    many = rng.uniform(size=(507, 6, 7)) ** 4
    one_by_one = np.array([float(measure(image)) for image in many])
    assert measure(many[0]).shape == ()
    # the same sums in another order; distances are the same
    np.testing.assert_allclose(measure(many), one_by_one, rtol=1e-9)
    np.testing.assert_allclose(
        measure(many[:500].reshape(50, 10, 6, 7)), one_by_one[:500].reshape(50, 10), rtol=1e-9
    )
    np.testing.assert_allclose(measure(many[:3].astype(np.float32)), one_by_one[:3], rtol=1e-4)
    assert measure(many[:0]).shape == (0,)
    assert measure(np.zeros((0, 10, 6, 7))).shape == (0, 10)


def test_ink_is_the_mean_brightness() -> None:
    image = strokes.as_mnist(strokes.example(3), width=3)
    assert float(measures.ink(image)) == pytest.approx(sum(image.ravel()) / 784, rel=1e-12)
    assert float(measures.ink(np.zeros((4, 5)))) == 0 and float(measures.ink(np.ones((4, 5)))) == 1


@pytest.mark.parametrize("measure", THREE)
@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.ones(784), r"^images has shape \(784,\); expected \(\.\.\., height, width\)"),
        (np.ones((5, 1)), r"^images has shape \(5, 1\)"),
        (np.ones((1, 5)), r"^images has shape \(1, 5\)"),
        (np.full((2, 3, 3), np.nan), "images has 18 of 18 values that are not finite"),
        (np.array([[1, 0.5], [-0.25, 1]]), r"^images has values down to -0\.25; expected brightness"),
    ],
)
def test_pictures_that_cannot_be_measured(measure: Any, images: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measure(images)


def test_pictures_without_slant_or_thickness() -> None:
    black = np.ones((3, 28, 28))
    black[1] = 0
    for images, where in ((black, r" \(first at index \(1,\)\)"), (np.zeros((28, 28)), "")):
        told = f"^images has a picture with ink in fewer than two rows{where}; it has no slant"
        with pytest.raises(ValueError, match=told):
            measures.slant(images)
        with pytest.raises(
            ValueError, match=r"^images has a picture that is black all over; it has no thick"
        ):
            measures.thickness(images)
    for seed in range(20):  # the centre of mass of one row is that row but for rounding
        row = np.zeros((28, 28))
        row[13, 5:20] = np.random.default_rng(seed).uniform(size=15)
        with pytest.raises(ValueError, match="ink in fewer than two rows"):
            measures.slant(row)
    column = np.zeros((28, 28))
    column[4:20, 7] = 1
    assert float(measures.slant(column)) == 0


# --- correlation within classes -------------------------------------------------------------


def by_hand(a: Any, b: Any, labels: Any) -> float:
    """Each class on its own is centred, then all are taken together."""
    left = [
        np.concatenate(
            [np.asarray(v)[labels == c] - np.mean(np.asarray(v)[labels == c]) for c in set(labels)]
        )
        for v in (a, b)
    ]
    return float(stats.pearsonr(*left)[0])


def test_within_class_correlation_is_pearsons_of_what_is_left() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, 8, 200)  # from no 0, and with gaps
    labels[labels == 5] = 40
    a = rng.normal(size=200) + 5 * labels
    b = 0.6 * a + rng.normal(size=200) - 9 * labels
    found = measures.within_class_correlation(a, b, labels)
    assert found == pytest.approx(by_hand(a, b, labels), abs=1e-12)
    assert 0.3 < found < 0.7 and np.corrcoef(a, b)[0, 1] < -0.9  # what lies between classes counts nothing
    assert measures.within_class_correlation(b, a, labels) == pytest.approx(found, abs=1e-14)
    # lists and float32 will do, and names as labels
    names = np.array([f"class {label}" for label in labels])
    again = measures.within_class_correlation(a.astype(np.float32), list(b), names)
    assert again == pytest.approx(found, abs=1e-5)


def test_one_class_is_the_ordinary_correlation() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 50))
    assert measures.within_class_correlation(a, b, np.zeros(50)) == pytest.approx(
        stats.pearsonr(a, b)[0], abs=1e-14
    )


@law(60)
@given(
    hnp.arrays(np.float64, 12, elements=st.integers(-50, 50)),
    st.floats(0.01, 100),
    hnp.arrays(np.float64, 3, elements=st.floats(-100, 100)),
)
def test_correlation_knows_no_scale_and_no_class_means(a: Any, scale: float, means: Any) -> None:
    labels = np.arange(12) % 3
    if all(np.ptp(a[labels == c]) == 0 for c in range(3)):
        with pytest.raises(ValueError, match=r"^a is constant within each class; nothing goes with it"):
            measures.within_class_correlation(a, np.arange(12), labels)
        return
    b = scale * a + means[labels]
    # b is good to 1e-14 of 100, what is left of it at least .01
    assert measures.within_class_correlation(a, b, labels) == pytest.approx(1, abs=1e-9)
    assert measures.within_class_correlation(a, -b, labels) == pytest.approx(-1, abs=1e-9)


def test_no_correlation_within_classes() -> None:
    a, labels = np.arange(6.0), np.arange(6) // 2
    with pytest.raises(ValueError, match=r"^b is constant within each class; nothing goes with it"):
        measures.within_class_correlation(a, labels * 1.1, labels)
    with pytest.raises(ValueError, match=r"^a is constant within each class"):  # one of each
        measures.within_class_correlation(a, a, np.arange(6))
    with pytest.raises(ValueError, match=r"^shapes differ: a \(6,\), b \(5,\), labels \(6,\); expected"):
        measures.within_class_correlation(a, a[:5], labels)


def test_what_rounding_leaves_is_no_difference() -> None:
    """Up to 1e-12 of the largest value, or of 1."""
    labels, a = np.repeat([0, 1], [7, 5]), np.random.default_rng(0).normal(size=12)
    constant = np.where(labels == 0, 1e6 / 3, 0.0)
    assert measures.within_class_slope(a, constant + 1e-3 * a, labels) == pytest.approx(1e-3, rel=1e-6)
    constant[:7] += 6e-11 * np.arange(7)  # a unit in the last place each
    assert 1e-10 < np.ptp(constant[:7]) < 1e-9
    with pytest.raises(ValueError, match=r"^b is constant within each class"):
        measures.within_class_correlation(a, constant, labels)
    tiny = np.array([0.0, 2.2e-12])  # 1.1e-12 from their mean, 1.6e-12 together
    assert measures.within_class_correlation(tiny, tiny, np.zeros(2)) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"^a is constant within each class"):
        measures.within_class_correlation(0.6 * tiny, tiny, np.zeros(2))


def test_within_class_slope_is_that_of_least_squares_with_a_mean_for_each_class() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [5, 9, 20])
    a = rng.normal(size=34) + 7.0 * labels
    b = 0.6 * a - 5.0 * labels + rng.normal(size=34)
    columns = np.column_stack([a, *(labels == k for k in range(3))]).astype(float)
    slope, *_ = np.linalg.lstsq(columns, b, rcond=None)[0]
    assert measures.within_class_slope(a, b, labels) == pytest.approx(slope, rel=1e-10)
    assert measures.within_class_slope(a, 3 * a - 50 * labels, labels) == pytest.approx(3, rel=1e-12)
    with pytest.raises(ValueError, match="a is constant within each class"):
        measures.within_class_slope(labels, b, labels)
