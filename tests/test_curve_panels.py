"""The panels of curves made by Gaussians: what they show, tell and refuse."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from lecture_lib import curve_panels
from lecture_lib.gaussians import Mixture
from lecture_lib.mixture_trials import MOST, Errors, Fit
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers

CURVE, DRAWS = "the curve itself", "300 draws"
GRID = np.linspace(-6, 6, 400)


def parts(k: int, sd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K Gaussians of unequal weights, side by side, the first the narrowest."""
    weights = np.arange(1.0, k + 1) / (k * (k + 1) / 2)
    return weights, np.linspace(-2, 2, k), sd * np.linspace(1, 2, k)


def by_hand(sd: float, worst: float) -> Fit:
    mixtures = [Mixture(w, m, s**2) for w, m, s in (parts(k, sd) for k in range(1, MOST + 1))]
    return Fit(tuple(mixtures), tuple(Errors(worst / k**2, worst / k) for k in range(1, MOST + 1)))


FITS = {
    CURVE: {"skewed": by_hand(0.5, 1.0), "heavy tails": by_hand(0.6, 0.7)},
    DRAWS: {"skewed": by_hand(0.8, 1.5), "heavy tails": by_hand(0.9, 1.2)},
}
DENSITIES = {"skewed": stats.gamma(3, loc=-3).pdf(GRID), "heavy tails": stats.t(3).pdf(GRID)}


@pytest.fixture(scope="module")
def made_imitation() -> Panel:
    return curve_panels.imitation_panel(FITS)


@pytest.fixture
def imitation(made_imitation: Panel) -> Panel:
    made_imitation.reset.click()
    return made_imitation


def test_imitation_tells_the_errors_of_the_chosen_mixture(imitation: Panel) -> None:
    def told(k: int, kl: float, l1: float, low: float, high: float) -> list[str]:
        return [
            f"K = {k}",
            f"KL(curve || mixture) {kl:.5f} nats",
            f"L1 {l1:.4f} of at most 2",
            f"narrowest Gaussian sd {low:.3f}, widest {high:.3g}",
        ]

    assert numbers(imitation) == told(3, 1 / 9, 1 / 3, 0.5, 1.0)
    assert "'skewed' and a sum of 3 Gaussians fitted to the curve itself" in imitation.picture.alt
    imitation.controls["components"].value = 20
    imitation.controls["source"].value = DRAWS
    imitation.controls["curve"].value = "heavy tails"
    assert numbers(imitation) == told(20, 1.2 / 400, 1.2 / 20, 0.9, 1.8)
    assert "'heavy tails' and a sum of 20 Gaussians fitted to 300 draws" in imitation.picture.alt
    assert " | ".join(numbers(imitation)) in imitation.picture.alt


def test_each_control_of_the_imitation_changes_the_picture(imitation: Panel) -> None:
    check_controls(imitation)


@pytest.mark.parametrize(
    ("curve", "source", "sd", "worst"),
    [("skewed", CURVE, 0.5, 1.0), ("skewed", DRAWS, 0.8, 1.5), ("heavy tails", CURVE, 0.6, 0.7)],
)
@pytest.mark.parametrize("k", [1, 7, MOST])
def test_imitation_shows_curve_mixture_parts_and_errors(
    imitation: Panel, curve: str, source: str, sd: float, worst: float, k: int
) -> None:
    imitation.controls["curve"].value = curve
    imitation.controls["source"].value = source
    imitation.controls["components"].value = k
    moving: list[Any] = imitation.drawing.moving
    thin, black, mixed, kl_line, l1_line, here = moving
    weights, means, sds = parts(k, sd)
    each = weights * stats.norm.pdf(GRID[:, None], means, sds)
    segments = thin.get_segments()
    assert len(segments) == k
    for segment, column in zip(segments, each.T, strict=True):
        # the grid is float32: x off by 3e-7, times slopes below 2
        np.testing.assert_allclose(segment, np.column_stack([GRID, column]), atol=2e-6)
    np.testing.assert_allclose(mixed.get_ydata(), each.sum(axis=1), atol=2e-6)
    np.testing.assert_allclose(black.get_ydata(), DENSITIES[curve], atol=2e-6)
    ks = np.arange(1, MOST + 1)
    for line, errors in ((kl_line, worst / ks**2), (l1_line, worst / ks)):
        np.testing.assert_array_equal(line.get_xdata(), ks)
        np.testing.assert_allclose(line.get_ydata(), errors, rtol=1e-12)
    np.testing.assert_allclose(here.get_data(), [[k, k], [worst / k**2, worst / k]], rtol=1e-12)


def test_frames_of_the_imitation_are_full_redraws(imitation: Panel) -> None:
    for k in (1, MOST):
        check_frame(imitation, curve_panels.Imitation("heavy tails", DRAWS, FITS[DRAWS]["heavy tails"], k))


def test_a_perfect_fit_can_be_shown(imitation: Panel) -> None:
    """Errors of 0, and those that rounding makes negative, have no place on a logarithmic axis."""
    fit = FITS[CURVE]["skewed"]
    perfect = fit._replace(errors=tuple(Errors(kl, 0.0) for kl in np.resize([0.0, -1e-16], MOST)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        still = imitation.drawing(curve_panels.Imitation("skewed", CURVE, perfect, 3))
    assert "KL(curve || mixture) 0.00000 nats | L1 0.0000" in still.alt


@pytest.mark.parametrize(
    "fits",
    [
        {},
        {CURVE: {}},
        {CURVE: FITS[CURVE], DRAWS: {}},
        {CURVE: FITS[CURVE], DRAWS: {"skewed": FITS[DRAWS]["skewed"]}},
        {CURVE: {"a heap": FITS[CURVE]["skewed"]}},
    ],
)
def test_imitation_refuses_in_one_line(fits: dict[str, dict[str, Fit]]) -> None:
    told = {source: list(of) for source, of in fits.items()}
    message = f"fits has {told}; expected mixtures for the same curves of ['skewed', "
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        curve_panels.imitation_panel(fits)
    assert len(str(caught.value)) < 300  # names only, no arrays


def test_curves_may_come_in_any_order() -> None:
    other = {CURVE: FITS[CURVE], DRAWS: dict(reversed(FITS[DRAWS].items()))}
    panel = curve_panels.imitation_panel(other)
    panel.controls["source"].value = DRAWS
    panel.controls["curve"].value = "heavy tails"
    assert numbers(panel)[2] == "L1 0.4000 of at most 2"


# --- matching by hand -----------------------------------------------------------------------

ANSWER = {"share": 0.35, "m0": 1.0, "s0": 0.35, "m1": -0.5, "s1": 2.0}


def two(x: Any, share: float, m0: float, s0: float, m1: float, s1: float) -> Any:
    return share * stats.norm.pdf(x, m0, s0) + (1 - share) * stats.norm.pdf(x, m1, s1)


def area(**values: float) -> float:
    """Between two curves, by SciPy's adaptive quadrature; with kinks where they cross."""
    gap = lambda x: abs(two(x, **values) - two(x, **ANSWER))  # noqa: E731
    return integrate.quad(gap, -14, 14, limit=500, points=np.linspace(-5, 5, 41), epsabs=1e-6)[0]


@pytest.fixture(scope="module")
def match() -> Panel:
    return curve_panels.match_panel()


def put(panel: Panel, values: dict[str, float]) -> None:
    for name, value in values.items():
        panel.controls[name].value = value


@pytest.mark.parametrize(
    "values",
    [
        {"share": 0.5, "m0": -2.0, "s0": 1.0, "m1": 2.0, "s1": 1.0},  # the start
        {"share": 0.05, "m0": -4.0, "s0": 0.1, "m1": -0.5, "s1": 2.0},
        {"share": 0.95, "m0": 4.0, "s0": 3.0, "m1": 0.0, "s1": 0.5},
        {"share": 0.35, "m0": 1.0, "s0": 0.45, "m1": -0.5, "s1": 2.0},
    ],
)
def test_match_tells_the_area_between_the_curves(match: Panel, values: dict[str, float]) -> None:
    put(match, values)
    (fact,) = numbers(match)
    found = re.fullmatch(r"area between the two curves (\d\.\d{3}) of at most 2", fact)
    # three digits are told; the trapezoid rule at steps of 0.01 adds 1e-5 at each of a few kinks
    assert found and float(found[1]) == pytest.approx(area(**values), abs=6e-4)
    assert fact in match.picture.alt
    lines: list[Any] = match.drawing.moving
    x, y = lines[2].get_data()
    np.testing.assert_allclose(y, two(x, **values), atol=5e-6)  # float32: densities up to 4
    np.testing.assert_allclose(lines[0].get_ydata() + lines[1].get_ydata(), y, atol=5e-6)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_answer_can_be_set_and_is_told_apart_from_a_near_one(match: Panel, swapped: bool) -> None:
    answer = dict(ANSWER)
    if swapped:
        answer = {"share": 0.65, "m0": -0.5, "s0": 2.0, "m1": 1.0, "s1": 0.35}
    put(match, answer)
    assert numbers(match) == ["area between the two curves 0.000 of at most 2"]
    for name, value in answer.items():  # the sliders' steps fall on it
        control: Any = match.controls[name]
        steps = (value - control.min) / control.step
        assert steps == pytest.approx(round(steps), abs=1e-9)
    match.controls["share"].value -= 0.05
    assert float(numbers(match)[0].split()[5]) > 0.03


def test_each_control_of_the_match_changes_the_picture(match: Panel) -> None:
    match.reset.click()
    check_controls(match)
    check_frame(match, match.compute(**match.values()))
