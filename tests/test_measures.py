"""The measures: against brute force, closed forms and constructed cases."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lecture_lib import gaussians, measures, moon, quadrature

LAW = settings(max_examples=200, deadline=None, derandomize=True)


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


@given(hnp.arrays(np.float64, (3, 5), elements=st.floats(-1e3, 1e3)), st.floats(-1e3, 1e3))
@LAW
def test_rms(a: Any, shift: float) -> None:
    b = a[::-1]
    expected = [np.linalg.norm(p - q) / 5**0.5 for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(measures.rms(a, b), expected, rtol=1e-13, atol=1e-300)
    np.testing.assert_array_equal(measures.rms(a, a), 0)
    # a + shift rounds by 1e-13 at this size
    np.testing.assert_allclose(measures.rms(a, a + shift), np.full(3, abs(shift)), atol=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
@LAW
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


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([1.0], r"codes has shape \(1,\); expected \(\.\.\., n\) with n at least 2"),
        (3.0, r"codes has shape \(\)"),
        ([], r"codes has shape \(0,\)"),
        ([0.0, np.nan], "codes has 1 of 2 values that are not finite"),
    ],
)
def test_in_order_refuses(codes: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measures.in_order(codes)


# --- KL by quadrature -----------------------------------------------------------------------


@given(st.floats(-20, 20), st.floats(-4, 3))
@LAW
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


@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(-5, 5), st.floats(-2, 2))
@LAW
def test_kl_of_gaussians_is_the_closed_form(m_p: float, log_sd_p: float, m_q: float, log_sd_q: float) -> None:
    sd_p, sd_q = np.exp([log_sd_p, log_sd_q])
    square = (sd_p**2 + (m_p - m_q) ** 2) / sd_q**2
    closed = 0.5 * (square - 1) + log_sd_q - log_sd_p
    # sums of 2001 terms, of which the largest integrate to `square` and a few
    assert measures.kl(*gaussians_at_nodes(m_p, sd_p, m_q, sd_q)) == pytest.approx(
        closed, rel=0, abs=1e-13 * (square + 10)
    )


@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(0.05, 8))
@LAW
def test_l1_of_two_gaussians_of_one_width_is_the_closed_form(m: float, log_sd: float, gap: float) -> None:
    """2 (2 Phi(d / 2) - 1) for means d standard deviations apart: they cross once, half-way."""
    sd = float(np.exp(log_sd))
    ours = measures.l1(*gaussians_at_nodes(m, sd, m + gap * sd, sd))
    # the integrand has a kink, where the trapezoid rule is off by h^2 / 8 times the jump of the slope, which
    # is gap times a density: 2 * 0.012^2 / 8 * gap exp(-gap^2 / 8) * 0.4 < 2e-5
    assert ours == pytest.approx(2 * (2 * stats.norm.cdf(gap / 2) - 1), abs=2e-5)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=8))
@LAW
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
