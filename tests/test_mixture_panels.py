"""Drawing from a mixture, on the line and in the plane: the draws, their tests, and what the panels show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from lecture_lib import mixture_panels
from lecture_lib.mixture_panels import (
    EQUALLY,
    GUESSED,
    MADE,
    MOST_DRAWS,
    PLANE_DRAWS,
    SUMMED,
    TWO_STEPS,
    Draws,
    Plane,
)
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers

WEIGHTS: Any = np.array([0.5, 0.2, 0.3])
MEANS: Any = np.array([-3.0, 0.0, 3.0])
SDS: Any = np.array([1.0, 0.5, 1.4])
MIXTURE = mixture_panels.mixture_of(WEIGHTS, MEANS, SDS)
SEEDS = range(20)


def cdf(x: Any, weights: Any = WEIGHTS) -> np.ndarray:
    return stats.norm.cdf(np.asarray(x)[..., None], MEANS, SDS) @ weights


def pdf(x: Any, weights: Any = WEIGHTS, means: Any = MEANS, sds: Any = SDS) -> np.ndarray:
    return stats.norm.pdf(np.asarray(x)[..., None], means, sds) @ weights


# --- draws on the line ----------------------------------------------------------------------


def test_draws_are_the_first_of_one_stream() -> None:
    for how in (TWO_STEPS, EQUALLY, SUMMED):
        most = mixture_panels.draw(MIXTURE, MOST_DRAWS, how)
        assert most.x.shape == most.component.shape == (MOST_DRAWS,)
        for n in (0, 1, 137, 5000):
            some = mixture_panels.draw(MIXTURE, n, how)
            np.testing.assert_array_equal(some.x, most.x[:n])
            np.testing.assert_array_equal(some.component, most.component[:n])
    other = mixture_panels.draw(MIXTURE, 100, seed=1)
    assert not np.isin(other.x, most.x).any()


def test_a_small_change_of_the_mixture_moves_the_draws_a_bit() -> None:
    moved = mixture_panels.mixture_of(WEIGHTS, [-2.9, 0, 3], SDS)
    before, after = (mixture_panels.draw(m, 5000) for m in (MIXTURE, moved))
    np.testing.assert_array_equal(after.component, before.component)
    # float32 numbers up to 8, each good to 5e-7
    np.testing.assert_allclose(after.x - before.x, 0.1 * (before.component == 0), atol=2e-6)


@pytest.fixture(scope="module")
def right() -> list[Draws]:
    return [mixture_panels.draw(MIXTURE, MOST_DRAWS, seed=seed) for seed in SEEDS]


def test_two_steps_pass_both_tests(right: list[Draws]) -> None:
    for name in ("component_p", "x_p"):
        ps = [getattr(what, name) for what in right]
        # right draws fail once in 10 000 choices of the 20 seeds; and again for p-values that are not
        # spread evenly, such as ones that are always near 1
        assert min(ps) > 1e-4 / len(ps)
        assert stats.kstest(ps, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("n", [5, 20, 100, 5000])
def test_both_tests_are_scipys(n: int) -> None:
    for how in (TWO_STEPS, EQUALLY, SUMMED):
        what = mixture_panels.draw(MIXTURE, n, how)
        expected = stats.kstest(what.x, cdf, method="exact")
        assert what.distance == pytest.approx(expected.statistic, abs=1e-6)  # float32 cdf: sums of 3, to 6e-8
        # p falls like exp(-2 n D^2): where it is above 1e-12, an error of 1e-6 in D makes up to 1e-3 of it
        assert what.x_p == pytest.approx(expected.pvalue, rel=1e-3, abs=1e-12)
        if how == SUMMED or n < 25:  # 5 of 25 are expected from the rarest component
            assert np.isnan(what.component_p)
        else:
            counts = np.array([(what.component == m).sum() for m in range(3)])
            # the weights are float32: 0.2 is off by 1e-8
            assert what.component_p == pytest.approx(
                stats.chisquare(counts, n * WEIGHTS).pvalue, rel=1e-4, abs=1e-12
            )


def test_components_make_the_draws_they_are_said_to_make(right: list[Draws]) -> None:
    what = right[0]
    for m in range(3):
        # three tests, of which right draws fail one once in 10 000 choices of the seed
        made = what.x[what.component == m]
        assert stats.kstest(made, stats.norm(MEANS[m], SDS[m]).cdf).pvalue > 1e-4 / 3


def test_too_few_draws_are_not_tested() -> None:
    for n in (0, 4):
        what = mixture_panels.draw(MIXTURE, n)
        assert np.isnan([what.component_p, what.distance, what.x_p]).all()
    assert np.isnan(mixture_panels.draw(MIXTURE, 24).component_p)
    assert np.isfinite(mixture_panels.draw(MIXTURE, 25).component_p)


def test_every_gaussian_equally_often_is_found_out() -> None:
    what = mixture_panels.draw(MIXTURE, MOST_DRAWS, EQUALLY)
    assert what.component_p < 1e-100 and what.x_p < 1e-100
    # and is what it says: a right draw fails once in 10 000 choices of the seed
    assert stats.chisquare(np.bincount(what.component)).pvalue > 1e-4
    assert stats.kstest(what.x, lambda x: cdf(x, np.full(3, 1 / 3))).pvalue > 1e-4


def test_a_sum_of_gaussians_is_found_out_to_be_one_gaussian() -> None:
    what = mixture_panels.draw(MIXTURE, MOST_DRAWS, SUMMED)
    assert (what.component == -1).all() and np.isnan(what.component_p)
    assert what.x_p < 1e-100
    sums = stats.norm(WEIGHTS @ MEANS, np.sqrt(WEIGHTS**2 @ SDS**2))
    assert stats.kstest(what.x, sums.cdf).pvalue > 1e-4  # once in 10 000 choices of the seed


def test_weight_zero() -> None:
    two = mixture_panels.mixture_of([1, 0, 3], MEANS, SDS)
    what = mixture_panels.draw(two, 1000)
    counts = np.bincount(what.component, minlength=3)
    assert counts[1] == 0
    assert what.component_p == pytest.approx(stats.chisquare(counts[[0, 2]], [250, 750]).pvalue, rel=1e-4)
    forgotten = mixture_panels.draw(two, 1000, EQUALLY)
    assert forgotten.component_p == 0 and forgotten.x_p < 1e-20  # what cannot be has come
    one = mixture_panels.draw(mixture_panels.mixture_of([0, 2, 0], MEANS, SDS), 1000)
    assert (one.component == 1).all() and np.isnan(one.component_p)
    assert one.x_p == pytest.approx(stats.kstest(one.x, stats.norm(0, 0.5).cdf).pvalue, rel=1e-3)


def test_draw_refuses() -> None:
    for n in (-1, MOST_DRAWS + 1):
        with pytest.raises(ValueError, match=f"n is {n}; expected from 0 to {MOST_DRAWS}"):
            mixture_panels.draw(MIXTURE, n)
    wrong: list[Any] = [2.5, "3", True, None]
    for bad in wrong:
        with pytest.raises(TypeError, match=r"n is .+; expected a whole number"):
            mixture_panels.draw(MIXTURE, bad)
    with pytest.raises(ValueError, match="how is 'both'; expected one of"):
        mixture_panels.draw(MIXTURE, 10, "both")


def test_mixture_of_slider_values() -> None:
    made = mixture_panels.mixture_of([1, 0.5, 0], [-1, 0, 2], [0.5, 1, 3])
    np.testing.assert_allclose(made.weights, [2 / 3, 1 / 3, 0], rtol=1e-6)  # float32
    np.testing.assert_array_equal(made.means, [-1, 0, 2])
    np.testing.assert_array_equal(made.covariances, [0.25, 1, 9])
    with pytest.raises(ValueError, match=r"weights is \(0, 0, 0\); expected at least one above 0"):
        mixture_panels.mixture_of([0, 0, 0], [-1, 0, 2], [0.5, 1, 3])
    with pytest.raises(ValueError, match=r"covariances\[1\]"):
        mixture_panels.mixture_of([1, 1], [0, 0], [1, 0])


# --- the panel of draws ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_draw_panel() -> Panel:
    return mixture_panels.draw_panel()


@pytest.fixture
def drawing(made_draw_panel: Panel) -> Panel:
    made_draw_panel.reset.click()
    return made_draw_panel


def artist(panel: Panel, label: str) -> Any:
    (found,) = (a for a in panel.drawing.moving if str(a.get_label()).startswith(label))
    return found


def test_draw_panel_starts_with_a_hundred_draws(drawing: Panel) -> None:
    what = mixture_panels.draw(MIXTURE, 100)
    assert drawing.first == drawing.drawing(what) and drawing.values()["n"] == 100
    letter = "ABC"[what.component[-1]]
    assert numbers(drawing) == [
        f"n = 100, last draw x = {what.x[-1]:.2f} from {letter}",
        f"shares against P(m): chi-square p = {what.component_p:.3f}",
        f"draws against P(x): KS distance {what.distance:.4f}, p = {what.x_p:.3f}",
    ]
    assert "weights (A 0.50, B 0.20, C 0.30)" in drawing.first.alt
    assert " | ".join(numbers(drawing)) in drawing.first.alt


def test_each_control_of_the_draw_panel_changes_the_picture(drawing: Panel) -> None:
    check_controls(drawing)


@pytest.mark.parametrize(("label", "count"), [("draw 1", 1), ("draw 100", 100), ("draw 10 000", 10_000)])
def test_buttons_draw_more_and_stop_at_the_top(drawing: Panel, label: str, count: int) -> None:
    button, n = drawing.actions[label], drawing.controls["n"]
    before = drawing.picture.png
    button.click()
    assert n.value == 100 + count and drawing.picture.png != before
    assert numbers(drawing)[0].startswith(f"n = {100 + count}, ")
    n.value = MOST_DRAWS - count // 2 - 1
    for _ in range(3):
        button.click()
        assert n.value == MOST_DRAWS or count == 1
    assert n.value == MOST_DRAWS and drawing.message.value == ""
    drawing.reset.click()
    assert drawing.picture.png == drawing.first.png == before


@pytest.mark.parametrize(
    ("how", "n", "weights", "means", "sds"),
    [
        (TWO_STEPS, MOST_DRAWS, WEIGHTS, MEANS, SDS),
        (EQUALLY, 3000, WEIGHTS, MEANS, SDS),
        (TWO_STEPS, 3000, np.array([0.0, 1.0, 0.0]), MEANS, SDS),
        (TWO_STEPS, 3000, np.array([0.5, 0.0, 0.5]), np.array([-6.0, 0.0, 6.0]), np.array([3.0, 0.2, 3.0])),
        (SUMMED, 3000, WEIGHTS, MEANS, SDS),
        (TWO_STEPS, 3, WEIGHTS, MEANS, SDS),
    ],
)
def test_draw_panel_shows_what_was_computed(
    drawing: Panel, how: str, n: int, weights: Any, means: Any, sds: Any
) -> None:
    what = mixture_panels.draw(mixture_panels.mixture_of(weights, means, sds), n, how)
    drawing.drawing(what)
    moving: list[Any] = drawing.drawing.moving
    bars = moving[:3]
    np.testing.assert_allclose([bar.get_height() for bar in bars], weights, rtol=1e-6)
    values, edges, _ = artist(drawing, "draws (hist").get_data()
    seen = (np.abs(what.x) <= 8).mean()
    assert (values * np.diff(edges)).sum() == pytest.approx(seen, rel=1e-12)
    assert values[20] == pytest.approx(((what.x >= -4) & (what.x < -3.8)).mean() / 0.2, rel=1e-12)
    x, y = artist(drawing, "P(x)").get_data()
    np.testing.assert_allclose(y, pdf(x, weights, means, sds), atol=1e-6)  # float32, densities below 1
    inside = (stats.norm.cdf(8, means, sds) - stats.norm.cdf(-8, means, sds)) @ weights
    # the trapezoid rule at steps of 0.04: 3e-4 for a density cut off at the ends, else float32
    assert np.trapezoid(y, x) == pytest.approx(inside, abs=3e-4 if sds[0] == 3 else 1e-5)
    each = [line.get_ydata() for line in moving[6:9]]
    np.testing.assert_allclose(np.sum(each, axis=0), y, atol=1e-6)
    np.testing.assert_allclose(each[0], weights[0] * stats.norm.pdf(x, means[0], sds[0]), atol=1e-6)
    last = artist(drawing, "last draw")
    assert last.get_xdata()[0] == what.x[-1]
    shares, chosen = artist(drawing, "share of draws").get_ydata(), moving[4]
    assert chosen.get_visible() == (how != SUMMED)
    if how == SUMMED:
        assert np.isnan(shares).all()
    else:
        m = what.component[-1]
        np.testing.assert_allclose(shares, [(what.component == i).mean() for i in range(3)], rtol=1e-12)
        assert shares.sum() == pytest.approx(1)
        centre = chosen.get_x() + chosen.get_width() / 2
        assert centre == pytest.approx(m) and chosen.get_height() == bars[m].get_height()


def test_frames_of_the_draw_panel_are_full_redraws(drawing: Panel) -> None:
    for what in (mixture_panels.draw(MIXTURE, 0), mixture_panels.draw(MIXTURE, 5000, SUMMED)):
        check_frame(drawing, what)


def test_no_draw_yet(drawing: Panel) -> None:
    drawing.controls["n"].value = 0
    assert numbers(drawing) == ["no draw yet: press a button"]
    assert "no draw yet" in drawing.picture.alt and drawing.message.value == ""
    drawing.actions["draw 1"].click()
    what = mixture_panels.draw(MIXTURE, 1)
    letter = "ABC"[what.component[0]]
    assert numbers(drawing) == [f"n = 1, last draw x = {what.x[0]:.2f} from {letter}"]


def test_no_weight_is_told_in_the_panel(drawing: Panel) -> None:
    for i in range(3):
        drawing.controls[f"w{i}"].value = 0
    assert "weights is (0.0, 0.0, 0.0); expected at least one above 0" in drawing.message.value
    drawing.controls["w1"].value = 0.05
    assert drawing.message.value == "" and "weights (A 0.00, B 1.00, C 0.00)" in drawing.picture.alt


# --- the plane ------------------------------------------------------------------------------

PLANE: dict[str, Any] = {
    "weights": [2, 1.75, 1.25],
    "spreads": [0.7, 0.55, 0.6],
    "correlations": [0.6, -0.5, 0],
}


def brute_force(what: Plane) -> tuple[np.ndarray, np.ndarray]:
    """P(m) P(x|m) by SciPy, shape (n, 3), and the squared Mahalanobis distances, likewise."""
    x = np.asarray(what.drawn.x, np.float64)
    parts = zip(*(np.asarray(a, np.float64) for a in what.mixture.tree_flatten()[0]), strict=True)
    joint, distances = [], []
    for weight, mean, covariance in parts:
        joint.append(weight * stats.multivariate_normal(mean, covariance).pdf(x))
        distances.append(np.einsum("ni,ij,nj->n", x - mean, np.linalg.inv(covariance), x - mean))
    return np.stack(joint, axis=1), np.stack(distances, axis=1)


@pytest.fixture(scope="module", params=["default", "one above the other"])
def plane(request: pytest.FixtureRequest) -> tuple[Plane, Plane]:
    values = PLANE if request.param == "default" else {**PLANE, "spreads": [1.5, 1.5, 1.5]}
    return mixture_panels.plane(**values), mixture_panels.plane(**values, colour=GUESSED)


def test_plane_is_the_mixture_that_was_asked_for(plane: tuple[Plane, Plane]) -> None:
    mixture = plane[0].mixture
    np.testing.assert_allclose(mixture.weights, [0.4, 0.35, 0.25], rtol=1e-6)
    for covariance, rho in zip(np.asarray(mixture.covariances), PLANE["correlations"], strict=True):
        sd = np.sqrt(np.diag(covariance))
        assert sd[0] == pytest.approx(sd[1]) and covariance[0, 1] / (sd[0] * sd[1]) == pytest.approx(
            rho, abs=1e-6
        )


def test_plane_draws_from_it(plane: tuple[Plane, Plane]) -> None:
    what = plane[0]
    made = np.asarray(what.drawn.component)
    assert np.asarray(what.drawn.x).shape == (PLANE_DRAWS, 2)
    # two tests, each failed by right draws once in 10 000 choices of the stream
    assert (
        stats.chisquare(np.bincount(made, minlength=3), PLANE_DRAWS * np.array([0.4, 0.35, 0.25])).pvalue
        > 1e-4
    )
    distances = brute_force(what)[1][np.arange(PLANE_DRAWS), made]
    assert stats.kstest(distances, stats.chi2(2).cdf).pvalue > 1e-4


def test_colours_and_the_share_guessed_right_by_brute_force(plane: tuple[Plane, Plane]) -> None:
    by_origin, by_guess = plane
    made, guess = np.asarray(by_origin.drawn.component), brute_force(by_origin)[0].argmax(axis=1)
    np.testing.assert_array_equal(by_origin.shown, made)
    np.testing.assert_array_equal(by_guess.shown, guess)
    assert by_origin.right == by_guess.right == (made == guess).mean()
    assert 0.4 < by_guess.right < 1  # some are guessed wrong


def test_plane_refuses() -> None:
    with pytest.raises(ValueError, match=r"weights is \(0, 0, 0\); expected at least one above 0"):
        mixture_panels.plane(**{**PLANE, "weights": [0, 0, 0]})
    with pytest.raises(ValueError, match=f"colour is 'red'; expected '{MADE}' or '{GUESSED}'"):
        mixture_panels.plane(**PLANE, colour="red")
    with pytest.raises(ValueError, match=r"covariances\[2\] is .+ positive definite"):
        mixture_panels.plane(**{**PLANE, "correlations": [0, 0, 1]})


@pytest.fixture(scope="module")
def in_plane() -> Panel:
    return mixture_panels.plane_panel()


def test_plane_panel_tells_its_numbers(in_plane: Panel) -> None:
    what = mixture_panels.plane(**PLANE)
    a, b, c = np.bincount(np.asarray(what.drawn.component), minlength=3)
    assert a + b + c == PLANE_DRAWS
    assert numbers(in_plane) == [
        f"{PLANE_DRAWS} draws: A {a}, B {b}, C {c}",
        f"the most responsible component made the draw in {what.right:.1%} of cases",
    ]
    assert " | ".join(numbers(in_plane)) in in_plane.first.alt
    assert f"A sd 0.70, correlation 0.60, {a} points; B sd 0.55, correlation -0.50, {b}" in in_plane.first.alt


def test_each_control_of_the_plane_panel_changes_the_picture(in_plane: Panel) -> None:
    check_controls(in_plane)


def test_plane_panel_shows_draws_and_ellipses(in_plane: Panel, plane: tuple[Plane, Plane]) -> None:
    artists: list[Any] = in_plane.drawing.moving
    for what in plane:
        check_frame(in_plane, what)
        x = np.asarray(what.drawn.x)
        for i in range(3):
            np.testing.assert_array_equal(np.stack(artists[i].get_data(), axis=1), x[what.shown == i])
            inverse = np.linalg.inv(np.asarray(what.mixture.covariances, np.float64)[i])
            for sds in (1, 2):
                ring = np.stack(artists[3 + 2 * i + sds - 1].get_data(), axis=1)
                away = ring - np.asarray(what.mixture.means)[i]
                # float32 covariances and factors
                distances = np.einsum("ni,ij,nj->n", away, inverse, away)
                np.testing.assert_allclose(distances, sds**2, rtol=1e-5)


def test_one_component_alone(in_plane: Panel) -> None:
    """Nothing is drawn from components of weight 0, and all is guessed right."""
    what = mixture_panels.plane(**{**PLANE, "weights": [0, 1, 0]}, colour=GUESSED)
    assert (what.shown == 1).all() and what.right == 1
    in_plane.drawing(what)
    dots: list[Any] = in_plane.drawing.moving[:3]
    assert [len(a.get_xdata()) for a in dots] == [0, PLANE_DRAWS, 0]
