"""The infinite mixture on a line and codes in the plane: against direct sums, SciPy and closed forms."""

from __future__ import annotations

import itertools
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, stats

from lecture_lib import infinite_panels
from lecture_lib.gaussians import InfiniteMixture, Mixture
from lecture_lib.infinite_panels import HOW_MANY, INTEGRAL, Pushed
from lecture_lib.mixture_trials import PRIORS, Errors, Run
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers, shares

GRID = np.linspace(-6, 6, 401)
NORMAL, UNIFORM = PRIORS
SCIPY = {NORMAL: stats.norm, UNIFORM: stats.uniform(-2, 4)}
STEPS = (0, 250)


class Bend(nnx.Module):
    """A network with two numbers: mean 2 tanh(steep z), standard deviation exp(0.3 z - fall)."""

    def __init__(self, steep: float, fall: float):
        self.steep, self.fall = nnx.Param(jnp.float32(steep)), nnx.Param(jnp.float32(fall))

    def __call__(self, z: Any) -> tuple[Any, Any]:
        z = z[:, 0]
        return 2 * jnp.tanh(self.steep[...] * z), 2 * (0.3 * z - self.fall[...])


BENDS = [(0.5, 0.3), (1.5, 1.0)]
"""Before and after the training of 250 steps."""


def named(z: Any, snapshot: int) -> tuple[Any, Any]:
    """Mean and standard deviation of the Gaussian that z names, in float64."""
    steep, fall = BENDS[snapshot]
    return 2 * np.tanh(steep * z), np.exp(0.3 * z - fall)


def run(prior: str) -> Run:
    return Run(STEPS, tuple(InfiniteMixture(Bend(*bend), PRIORS[prior]) for bend in BENDS))


CURVES = ("sharp edges", "heavy tails")
RUNS = {(curve, prior): run(prior) for curve in CURVES for prior in PRIORS}
NO_ERRORS = Errors(0.0, 0.0)


def pushed(prior: str, snapshot: int, how_many: Any, z: float = 0.8) -> Pushed:
    return infinite_panels.push(run(prior), CURVES[0], prior, snapshot, z, how_many, NO_ERRORS)


# --- the push forward -----------------------------------------------------------------------


@pytest.mark.parametrize(("prior", "snapshot"), list(itertools.product(PRIORS, (0, 1))))
@pytest.mark.parametrize("k", HOW_MANY[:-1])
def test_k_gaussians_are_added_up(prior: str, snapshot: int, k: int) -> None:
    what = pushed(prior, snapshot, k)
    z = SCIPY[prior].ppf((np.arange(k) + 0.5) / k)
    means, sds = named(z, snapshot)
    bells = stats.norm.pdf(GRID, means[:, None], sds[:, None]) / k
    # float32: z is good to about 1e-6, and so are the densities, all of them below 1
    np.testing.assert_allclose(what.density, bells.sum(axis=0), atol=5e-6)
    if k <= 100:
        np.testing.assert_allclose(what.bells, bells, atol=5e-6)
        np.testing.assert_allclose(what.lines, np.stack([z, means], axis=1), atol=5e-6)
    else:  # too many to be told apart
        assert what.bells.shape == (0, 401) and what.lines.shape == (25, 2)
    assert what.step == STEPS[snapshot] and what.how_many == k and what.errors is NO_ERRORS


@pytest.mark.parametrize(("prior", "snapshot"), list(itertools.product(PRIORS, (0, 1))))
def test_the_integral_is_scipys(prior: str, snapshot: int) -> None:
    what = pushed(prior, snapshot, INTEGRAL)
    low, high = (-2, 2) if prior == UNIFORM else (-9, 9)
    for at in range(100, 301, 25):

        def joint(z: float, x: float = GRID[at]) -> float:
            return SCIPY[prior].pdf(z) * stats.norm.pdf(x, *named(z, snapshot))

        exact = integrate.quad(joint, low, high, limit=200, epsabs=1e-8)[0]
        assert what.density[at] == pytest.approx(exact, abs=2e-6)  # float32 sums
    assert what.bells.shape == (0, 401)
    # every fourth of a percent of the prior is nowhere shown twice
    z = SCIPY[prior].ppf((np.arange(25) + 0.5) / 25)
    np.testing.assert_allclose(what.lines, np.stack([z, named(z, snapshot)[0]], axis=1), atol=5e-6)


@pytest.mark.parametrize(("prior", "how_many"), list(itertools.product(PRIORS, HOW_MANY)))
def test_densities_integrate_to_one(prior: str, how_many: Any) -> None:
    """All Gaussians of the narrower network lie inside of -6 and 6 to within 1e-6."""
    assert np.trapezoid(pushed(prior, 1, how_many).density, GRID) == pytest.approx(1, abs=1e-5)


def test_more_gaussians_come_nearer_to_the_integral() -> None:
    for prior in PRIORS:
        exact = pushed(prior, 1, INTEGRAL).density
        away = [np.abs(pushed(prior, 1, k).density - exact).max() for k in HOW_MANY[:-1]]
        assert away == sorted(away, reverse=True) and away[-1] < 0.01 < away[0]


@pytest.mark.parametrize("z", [-3.0, -0.4, 0.0, 1.98, 2.5])
@pytest.mark.parametrize("prior", PRIORS)
def test_the_gaussian_that_z_names(prior: str, z: float) -> None:
    what = pushed(prior, 1, INTEGRAL, z)
    assert what.z == z
    assert (what.mean, what.sd) == pytest.approx(named(z, 1), rel=1e-6)
    assert what.prior_density == pytest.approx(SCIPY[prior].pdf(z), rel=1e-6)
    assert (what.prior_density == 0) == (prior == UNIFORM and abs(z) > 2)


# --- its panel ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_infinite() -> Panel:
    return infinite_panels.infinite_panel(RUNS)


@pytest.fixture
def infinite(made_infinite: Panel) -> Panel:
    made_infinite.reset.click()
    return made_infinite


def test_infinite_panel_tells_its_numbers(infinite: Panel) -> None:
    mean, sd = named(0.8, 1)
    # KL and L1 of the uniform curve on [-2, 2], where it is 1/4, by NumPy's trapezoid rule in both directions
    x, z = np.linspace(-2, 2, 1001), np.linspace(-9, 9, 2001)
    p = np.trapezoid(stats.norm.pdf(z) * stats.norm.pdf(x[:, None], *named(z, 1)), z)
    kl = np.trapezoid(np.log(0.25 / p) / 4, x)
    l1 = 2 * np.trapezoid(np.maximum(0.25 - p, 0), x)
    named_fact, error_fact = numbers(infinite)
    assert named_fact == f"z = 0.80 names N({mean:.2f}, sd {sd:.3f})"
    found = re.fullmatch(
        r"after 250 steps: KL\(curve \|\| P\) (\d\.\d{4}) nats, L1 (\d\.\d{3}) of at most 2", error_fact
    )
    # four and three digits are told
    assert found and float(found[1]) == pytest.approx(kl, abs=6e-5)
    assert float(found[2]) == pytest.approx(l1, abs=6e-4)
    assert " | ".join(numbers(infinite)) in infinite.picture.alt
    assert "The curve 'sharp edges'" in infinite.picture.alt and f"{NORMAL} prior" in infinite.picture.alt


def test_each_control_of_the_infinite_panel_changes_the_picture(infinite: Panel) -> None:
    check_controls(infinite)


def test_where_the_prior_is_zero_the_panel_says_so(infinite: Panel) -> None:
    infinite.controls["prior"].value = UNIFORM
    infinite.controls["z"].value = 2.5
    mean, sd = named(2.5, 1)
    assert numbers(infinite)[0] == f"z = 2.50 names N({mean:.2f}, sd {sd:.3f}), but P(z) is 0 there"
    infinite.controls["z"].value = 1.5
    assert "but" not in numbers(infinite)[0]


def test_infinite_panel_shows_what_was_computed(infinite: Panel) -> None:
    for how_many, prior in ((10, NORMAL), (100, UNIFORM), (INTEGRAL, UNIFORM)):
        what = pushed(prior, 0, how_many, -1.0)
        check_frame(infinite, what)
        moving: list[Any] = infinite.drawing.moving
        shade, black, bells, total, _, arrow, prior_line, mark = moving
        np.testing.assert_allclose(black.get_ydata(), stats.uniform(-2, 4).pdf(GRID.astype(np.float32)))
        np.testing.assert_array_equal(total.get_ydata(), what.density)
        assert len(bells.get_segments()) == (0 if how_many == INTEGRAL else how_many)
        z = prior_line.get_xdata()
        np.testing.assert_allclose(prior_line.get_ydata(), SCIPY[prior].pdf(z.astype(float)), rtol=1e-5)
        assert mark.get_data() == ([-1.0], [what.prior_density])
        # the arrow ends under the top of the shaded bell: x = 12 share - 6 in both pictures
        tops = shade.get_paths()[0].vertices
        peak = tops[tops[:, 1].argmax(), 0]
        assert 12 * arrow.get_xdata()[1] - 6 == pytest.approx(what.mean, abs=1e-6)
        assert peak == pytest.approx(what.mean, abs=0.015 + 1e-6)  # half a step of the grid


def test_z_can_be_dragged(infinite: Panel) -> None:
    bottom = infinite.drawing.figure.axes[2]
    assert infinite.picture.region == pytest.approx(infinite.drawing.region(bottom))
    assert not infinite.picture.both
    control: Any = infinite.controls["z"]
    for z in (-1.5, 2.25):
        infinite.picture.pointer = shares(infinite, bottom, z, 0.2)
        assert control.value == pytest.approx(z, abs=1e-9)
        assert numbers(infinite)[0].startswith(f"z = {z:.2f} names N({named(z, 1)[0]:.2f}")
    infinite.picture.pointer = [1.0, 0.9]
    assert control.value == 3


def test_infinite_panel_can_start_elsewhere() -> None:
    panel = infinite_panels.infinite_panel(RUNS, start=("heavy tails", UNIFORM))
    assert (panel.values()["curve"], panel.values()["prior"]) == ("heavy tails", UNIFORM)
    assert "'heavy tails'" in panel.first.alt and UNIFORM in panel.first.alt


SHORT = RUNS[CURVES[0], NORMAL]._replace(steps=(0, 100))


@pytest.mark.parametrize(
    ("runs", "start", "message"),
    [
        ({}, None, "runs has []; expected every curve with every prior"),
        (
            {k: r for k, r in RUNS.items() if k != (CURVES[1], UNIFORM)},
            None,
            "expected every curve with every",
        ),
        ({**RUNS, (CURVES[0], NORMAL): SHORT}, None, "with snapshots at the same steps"),
        ({("a heap", NORMAL): SHORT}, None, "runs has curves ['a heap']; expected some of ['skewed', "),
        (RUNS, ("skewed", NORMAL), f"start is ('skewed', {NORMAL!r}); expected one of [('sharp edges', "),
    ],
)
def test_infinite_panel_refuses(runs: Any, start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        infinite_panels.infinite_panel(runs, start=start)


# --- codes ----------------------------------------------------------------------------------

SLOPE, SHIFT, NOISE = np.array([0.5, -0.3]), np.array([0.2, 0.4]), 0.25
CENTRES = np.array([[-1.0, 0.5], [0.0, 1.2], [1.1, 0.2]])
COVARIANCES = np.array([[[0.2, 0.05], [0.05, 0.1]], [[0.15, 0.0], [0.0, 0.1]], [[0.1, -0.06], [-0.06, 0.3]]])
FINITE = Mixture(np.array([0.5, 0.2, 0.3]), CENTRES, COVARIANCES)


def line(z: Any) -> tuple[Any, Any]:
    """A linear network: P(z|x) is a Gaussian."""
    return z * SLOPE.astype(np.float32) + SHIFT.astype(np.float32), jnp.full(
        (z.shape[0], 2), 2 * np.log(NOISE)
    )


INFINITE = InfiniteMixture(line)
POINTS = [
    (0.96, 0.7),
    (-1.6, -1.0),
    (1.6, -1.0),
    (0.0, 0.0),
    (4.0, -3.0),  # far away: z lies outside of what is drawn
]


def posterior(x: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation of P(z|x), from completing the square."""
    precision = 1 + SLOPE @ SLOPE / NOISE**2
    return float(SLOPE @ (np.array(x) - SHIFT) / NOISE**2 / precision), float(precision**-0.5)


@pytest.mark.parametrize("x", POINTS)
def test_codes_of_a_linear_network(x: tuple[float, float]) -> None:
    what = infinite_panels.encode(FINITE, INFINITE, x)
    mean, sd = posterior(x)
    # log-densities of up to 1000 nats, float32: off by some 1e-4 of the density
    assert (what.mean, what.sd) == pytest.approx((mean, sd), rel=1e-3, abs=1e-4)
    z = np.linspace(-6, 6, 481)
    np.testing.assert_allclose(what.posterior, stats.norm.pdf(z, mean, sd), rtol=2e-3, atol=1e-6)
    decoded = mean * SLOPE + SHIFT
    assert what.to_code == pytest.approx(float(np.linalg.norm(x - decoded)), abs=1e-4)


@pytest.mark.parametrize("x", POINTS)
def test_responsibilities_of_the_clusters(x: tuple[float, float]) -> None:
    what = infinite_panels.encode(FINITE, INFINITE, x)
    parts = zip((0.5, 0.2, 0.3), CENTRES, COVARIANCES, strict=True)
    joint = np.array([np.log(w) + stats.multivariate_normal(m, c).logpdf(x) for w, m, c in parts])
    expected = np.exp(joint - np.logaddexp.reduce(joint))
    np.testing.assert_allclose(what.responsibilities, expected, rtol=1e-3, atol=1e-6)
    assert what.responsibilities.sum() == pytest.approx(1, abs=1e-6)
    away = np.linalg.norm(x - CENTRES[joint.argmax()])
    assert what.x == x and what.to_cluster == pytest.approx(float(away), abs=1e-6)


@pytest.fixture(scope="module")
def made_codes() -> Panel:
    x = np.random.default_rng(0).normal(size=(50, 2))
    return infinite_panels.code_panel(FINITE, INFINITE, x)


@pytest.fixture
def codes(made_codes: Panel) -> Panel:
    made_codes.reset.click()
    return made_codes


def test_code_panel_tells_its_numbers(codes: Panel) -> None:
    what = infinite_panels.encode(FINITE, INFINITE, (0.96, 0.7))
    best = int(what.responsibilities.argmax())
    mean, sd = posterior((0.96, 0.7))
    assert numbers(codes) == [
        f"cluster {best + 1} with responsibility {what.responsibilities[best]:.3f}, its mean "
        f"{what.to_cluster:.2f} away",
        f"z = {mean:.2f} ± {sd:.2f}, μ there {what.to_code:.2f} away",
    ]
    assert "3 cluster ellipses" in codes.first.alt and "At x = (0.96, 0.70)" in codes.first.alt
    assert " | ".join(numbers(codes)) in codes.first.alt


def test_each_control_of_the_code_panel_changes_the_picture(codes: Panel) -> None:
    check_controls(codes)


def test_code_panel_shows_what_was_computed(codes: Panel) -> None:
    for x in POINTS[:3]:
        what = infinite_panels.encode(FINITE, INFINITE, x)
        check_frame(codes, what)
        moving: list[Any] = codes.drawing.moving
        point, decoded, *bars, density = moving
        assert point.get_data() == ([x[0]], [x[1]])
        np.testing.assert_allclose(np.ravel(decoded.get_data()), what.mean * SLOPE + SHIFT, atol=1e-6)
        np.testing.assert_array_equal([bar.get_height() for bar in bars], what.responsibilities)
        np.testing.assert_array_equal(density.get_ydata(), what.posterior)


def test_the_point_can_be_dragged_in_two_directions(codes: Panel) -> None:
    left = codes.drawing.figure.axes[0]
    assert codes.picture.both and codes.picture.region == pytest.approx(codes.drawing.region(left))
    for x in ((-0.7, 1.1), (1.21, -0.33)):
        codes.picture.pointer = shares(codes, left, *x)
        assert tuple(codes.values().values()) == pytest.approx(x, abs=1e-9)
        assert f"At x = ({x[0]:.2f}, {x[1]:.2f})" in codes.picture.alt
    codes.picture.pointer = shares(codes, left, 1.7, 2.4)  # inside of the axes, beyond both sliders
    assert codes.values() == {"x1": 1.6, "x2": 1.6}
    codes.picture.pointer = shares(codes, left, -1.7, -1.4)
    assert codes.values() == {"x1": -1.6, "x2": -1.0}
    codes.reset.click()
    assert codes.picture.png == codes.first.png
