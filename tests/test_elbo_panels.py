"""The bar L_b + KL, the lecture's warning and the estimates: against SciPy, closed forms and chance."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, stats

from lecture_lib import bounds, elbo_panels, elbo_trials, gradients
from lecture_lib.elbo_panels import BEST, CURVED, KS, NARROW, NUMBERS, SETS, STRAIGHT, WIDE, Estimates
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import Posterior
from lecture_lib.panels import Kept, Panel
from tests.frames import check_controls, check_frame, numbers, shares

GRID = np.linspace(-4, 4, 401)
MODELS = {CURVED: elbo_trials.example(), STRAIGHT: elbo_trials.linear()}
ENDS = [(-4.0, -5.0), (-4.0, 2.0), (4.0, -5.0), (4.0, 2.0)]
"""Mean and log-variance of q at the ends of both sliders."""


def mean_of_x(decoder: str, z: Any) -> Any:
    return z if decoder == STRAIGHT else 2.6 + 1.5 * np.tanh(2 * (z - 1)) - 1.5 * np.tanh(z + 1)


def sd_of_x(decoder: str) -> float:
    return 0.5 if decoder == STRAIGHT else 0.3


def log_normal(x: Any, mean: Any, sd: float) -> Any:
    """As stats.norm.logpdf, which takes fifty times as long for one number."""
    return -(((x - mean) / sd) ** 2) / 2 - math.log(sd * math.sqrt(2 * math.pi))


def log_joint(decoder: str, x: float, z: Any) -> Any:
    return log_normal(z, 0, 1) + log_normal(x, mean_of_x(decoder, z), sd_of_x(decoder))


def by_scipy(decoder: str, x: float, mean: float, log_var: float) -> tuple[float, float, float]:
    """log P(x), L_b and KL(q || P(z|x)), each by an integral of its own over z."""
    sd = math.exp(log_var / 2)
    low, high = mean - 10 * sd, mean + 10 * sd  # beyond it q is 1e-23
    of: dict[str, Any] = {"limit": 400, "epsabs": 1e-9, "epsrel": 1e-10}

    def integral(f: Any, low: float, high: float) -> float:
        parts = np.linspace(low, high, 5)
        return sum(integrate.quad(f, a, b, **of)[0] for a, b in itertools.pairwise(parts))

    log_p = math.log(integral(lambda z: np.exp(log_joint(decoder, x, z)), -9, 9))

    def ratio(z: float) -> float:
        return log_joint(decoder, x, z) - log_normal(z, mean, sd)

    elbo = integral(lambda z: np.exp(log_normal(z, mean, sd)) * ratio(z), low, high)
    kl = integral(lambda z: np.exp(log_normal(z, mean, sd)) * (log_p - ratio(z)), low, high)
    return log_p, elbo, kl


def rounding(*parts: float) -> float:
    """Of a float32 sum of terms of this size, in pairs or blocks: some ten units in the last place."""
    return 10 * 2**-23 * max(1.0, *map(abs, parts))


def values(decoder: str, x: float, mean: float, log_var: float) -> dict[str, Any]:
    return {"x": x, "decoder": decoder, "mean": mean, "log_var": log_var, "models": MODELS}


def leaves(model: InfiniteMixture) -> list[np.ndarray]:
    return [np.asarray(leaf).copy() for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


# --- the bar --------------------------------------------------------------------------------


@pytest.mark.parametrize(("decoder", "x"), list(itertools.product(MODELS, elbo_trials.EXAMPLE_X)))
def test_bound_and_gap_are_scipys_and_add_up(decoder: str, x: float) -> None:
    for mean, log_var in [(0.0, 0.0), (1.2, -1.6), *ENDS]:
        what = elbo_panels.bar(MODELS[decoder], x, mean, log_var)
        log_p, elbo, kl = by_scipy(decoder, x, mean, log_var)
        assert elbo + kl == pytest.approx(log_p, abs=1e-7)
        # an error of one unit in z or mean(z) shows in (x - mean)^2 / sd^2, which is of the size of the parts
        assert what.log_prob == pytest.approx(log_p, abs=rounding(log_p))
        assert what.elbo == pytest.approx(elbo, abs=rounding(elbo, kl))
        assert what.kl == pytest.approx(kl, abs=rounding(elbo, kl))


@pytest.mark.parametrize(("decoder", "x"), list(itertools.product(MODELS, elbo_trials.EXAMPLE_X)))
def test_bound_and_gap_add_up_wherever_the_sliders_stand(decoder: str, x: float) -> None:
    mean, log_var = (a.ravel() for a in np.meshgrid(np.linspace(-4, 4, 33), np.linspace(-5, 2, 15)))

    def one(q: Any) -> Any:
        return elbo_panels._bar(MODELS[decoder], x, *q)[:3]

    at = (jnp.asarray(mean, jnp.float32), jnp.asarray(log_var, jnp.float32))
    found = jax.jit(lambda at: jax.lax.map(one, at, batch_size=200))(at)
    log_p, elbo, kl = (np.asarray(part, np.float64) for part in found)
    off = np.abs(elbo + kl - log_p)
    assert (off <= 10 * 2**-23 * np.maximum(1, np.abs(elbo) + kl)).all()
    assert off.max() < 1e-4  # one unit of the fourth digit, of which the panel tells four
    assert kl.min() > -rounding(1)


@pytest.mark.parametrize("decoder", MODELS)
def test_densities_of_the_bar(decoder: str) -> None:
    for x, mean, log_var in ((1.5, 0.3, -1.0), (3.0, -4.0, -5.0), (0.0, 4.0, 2.0)):
        what = elbo_panels.bar(MODELS[decoder], x, mean, log_var)
        log_p = by_scipy(decoder, x, 0.0, 0.0)[0]
        # float32 exponents of up to 100 nats where the densities are above 1e-6
        of: dict[str, Any] = {"rtol": 5e-5, "atol": 1e-6}
        np.testing.assert_allclose(what.q, stats.norm.pdf(GRID, mean, np.exp(log_var / 2)), **of)
        np.testing.assert_allclose(what.posterior, np.exp(log_joint(decoder, x, GRID) - log_p), **of)
        likelihood = stats.norm.pdf(x, mean_of_x(decoder, GRID), sd_of_x(decoder))
        np.testing.assert_allclose(what.likelihood, likelihood, **of)


@pytest.mark.parametrize(("decoder", "x"), list(itertools.product(MODELS, elbo_trials.EXAMPLE_X)))
def test_a_step_on_q_raises_the_bound_and_leaves_log_p(decoder: str, x: float) -> None:
    # the last two: the bound bends so sharply there that a step of .05 swings from side to side
    for mean, log_var in [(0.0, 0.0), *ENDS, (1.25, -5.0), (0.75, -5.0)]:
        now = values(decoder, x, mean, log_var)
        before = elbo_panels.bar(MODELS[decoder], x, mean, log_var)
        moved = elbo_panels.step_q(now)
        after = elbo_panels.bar(MODELS[decoder], x, **moved)
        assert set(moved) == {"mean", "log_var"} and now == values(decoder, x, mean, log_var)
        assert after.elbo > before.elbo and after.kl < before.kl
        assert after.log_prob == before.log_prob  # bit for bit
        np.testing.assert_array_equal(after.likelihood, before.likelihood)
        np.testing.assert_array_equal(after.posterior, before.posterior)


def test_steps_on_q_stay_on_the_sliders() -> None:
    far = InfiniteMixture(elbo_trials.linear(1.0, intercept=-9.0).network)
    moved = {"mean": 4.0, "log_var": -1.6}
    now = {**values(STRAIGHT, 3.0, **moved), "models": {STRAIGHT: far}}  # its posterior is at 9.6
    assert elbo_panels.step_q(now)["mean"] == 4 == elbo_panels.step_q(now, to_the_top=True)["mean"]


@pytest.mark.parametrize(("decoder", "x"), list(itertools.product(MODELS, elbo_trials.EXAMPLE_X)))
def test_the_top_is_stationary(decoder: str, x: float) -> None:
    for mean, log_var in [(0.0, 0.0), *ENDS, (1.25, -3.0)]:
        top = elbo_panels.step_q(values(decoder, x, mean, log_var), to_the_top=True)
        with jax.enable_x64(True):
            model = elbo_trials.example() if decoder == CURVED else elbo_trials.linear()
            q = Posterior(jnp.full((1, 1), top["mean"]), jnp.full((1, 1), top["log_var"]))
            gradient = gradients.exact_gradient(model, jnp.array([x]), q)
        # float32: terms of the gradient are up to (x - mean) / sd^2 sd = 20 and cancel to some 5e-6; a step
        # shorter than 1e-6 with a rate of 1 / 200, the shortest at a top, is a gradient of 2e-4
        assert max(abs(float(g[0, 0])) for g in gradient) < 5e-4
        start = elbo_panels.bar(MODELS[decoder], x, mean, log_var)
        assert elbo_panels.bar(MODELS[decoder], x, **top).elbo > start.elbo


@pytest.mark.parametrize("x", elbo_trials.EXAMPLE_X)
def test_the_top_of_the_straight_line_is_the_posterior(x: float) -> None:
    for mean, log_var in [(0.0, 0.0), *ENDS]:
        top = elbo_panels.step_q(values(STRAIGHT, x, mean, log_var), to_the_top=True)
        # N(4 x / 5, 1 / 5); it stands still where a step of .05 is below 1e-6: a gradient of 2e-5, over a
        # curvature of 5 in the mean and 1/2 in the log-variance
        assert top["mean"] == pytest.approx(0.8 * x, abs=1e-5)
        assert top["log_var"] == pytest.approx(-math.log(5), abs=1e-4)
        what = elbo_panels.bar(MODELS[STRAIGHT], x, **top)
        assert what.kl == pytest.approx(0, abs=rounding(what.elbo))
        assert what.elbo == pytest.approx(stats.norm.logpdf(x, 0, math.sqrt(1.25)), abs=rounding(what.elbo))


def test_the_gap_of_the_curved_decoder_does_not_close() -> None:
    gaps = {}
    for x, start in itertools.product(elbo_trials.EXAMPLE_X, [(0.0, 0.0), *ENDS, (1.25, -3.0)]):
        top = elbo_panels.step_q(values(CURVED, x, *start), to_the_top=True)
        gaps[x, start] = elbo_panels.bar(MODELS[CURVED], x, **top).kl
    assert min(gaps.values()) > 0.05
    # one hump: the same top from everywhere. Two: it depends on the start, and one is worse
    assert np.ptp([gap for (x, _), gap in gaps.items() if x == 0.0]) < 1e-5
    for x in (1.5, 3.0):
        assert np.ptp([gap for (of, _), gap in gaps.items() if of == x]) > 0.1


@pytest.mark.parametrize(("decoder", "x"), list(itertools.product(MODELS, elbo_trials.EXAMPLE_X)))
def test_a_step_on_the_model_raises_the_bound_and_moves_log_p(decoder: str, x: float) -> None:
    # at the ends q is so wide and far off that a long step would make all of it overflow
    for mean, log_var in [(0.0, 0.0), *ENDS]:
        now = values(decoder, x, mean, log_var)
        kept = {name: leaves(model) for name, model in MODELS.items()}
        before = elbo_panels.bar(MODELS[decoder], x, mean, log_var)
        (moved,) = elbo_panels.step_model(now).values()
        after = elbo_panels.bar(moved[decoder], x, mean, log_var)
        assert after.elbo > before.elbo and after.log_prob != before.log_prob
        assert np.isfinite([after.elbo, after.log_prob, after.kl]).all()
        assert after.elbo + after.kl == pytest.approx(after.log_prob, abs=1e-4)
        np.testing.assert_array_equal(after.q, before.q)  # q stays
        other = STRAIGHT if decoder == CURVED else CURVED
        assert list(moved) == list(MODELS) and moved[other] is MODELS[other]
        assert moved[decoder] is not MODELS[decoder] and now["models"] is MODELS
        for name, model in MODELS.items():
            for a, b in zip(leaves(model), kept[name], strict=True):
                np.testing.assert_array_equal(a, b)


# --- its panel ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_bar() -> Panel:
    return elbo_panels.bar_panel()


@pytest.fixture
def shown(made_bar: Panel) -> Panel:
    made_bar.reset.click()
    return made_bar


BUTTONS = ["one step on q", "q to the top", "one step on P(x|z)"]


def bar_of(panel: Panel) -> elbo_panels.Bar:
    return panel.compute(**panel.values())


def test_bar_panel_tells_its_numbers(shown: Panel) -> None:
    log_p, elbo, kl = by_scipy(CURVED, 1.5, 0.5, 0.0)
    # four digits are told; float32 may turn the last
    found = [float(re.findall(r"-?\d+\.\d{4}", fact)[0]) for fact in numbers(shown)]
    assert found == pytest.approx([elbo, kl, log_p, log_p], abs=1.1e-4)
    told = ["L_b", "KL(q || P(z|x))", "their sum", "log P(x)"]
    assert [fact.split(" = ")[0].rstrip(" -.0123456789") for fact in numbers(shown)] == told
    assert " | ".join(numbers(shown)) in shown.first.alt and "A bar of L_b with the KL" in shown.first.alt


def test_bar_panel_shows_what_was_computed(shown: Panel) -> None:
    for mean, log_var in [(0.0, 0.0), (1.2, -3.0), ENDS[0]]:
        shown.controls["mean"].value, shown.controls["log_var"].value = mean, log_var
        what = bar_of(shown)
        check_frame(shown, what)
        artists: list[Any] = shown.drawing.moving
        lower, upper, level, likelihood, posterior, q = artists
        # parts below -10 are not drawn, and the text says so
        top = max(what.elbo, -10)
        assert (lower.get_y(), lower.get_y() + lower.get_height()) == pytest.approx((-10, top))
        assert (upper.get_y(), upper.get_y() + upper.get_height()) == pytest.approx((top, what.log_prob))
        np.testing.assert_array_equal(level.get_ydata(), [what.log_prob] * 2)
        for line, density in ((likelihood, what.likelihood), (posterior, what.posterior), (q, what.q)):
            np.testing.assert_array_equal(line.get_ydata(), density)
    assert "drawn from -10 up" in shown.drawing.figure.axes[0].get_xlabel()


def test_each_control_of_the_bar_panel_changes_the_picture(shown: Panel) -> None:
    check_controls(shown)


@pytest.mark.parametrize("label", BUTTONS)
@pytest.mark.parametrize("decoder", MODELS)
def test_each_button_changes_the_picture_and_reset_undoes_it(shown: Panel, label: str, decoder: str) -> None:
    assert list(shown.actions) == BUTTONS and isinstance(shown.controls["models"], Kept)
    start = shown.values()
    shown.controls["decoder"].value = decoder
    before, seen = bar_of(shown), (shown.picture.png, shown.picture.alt)
    shown.actions[label].click()
    assert shown.message.value == ""
    assert shown.picture.png != seen[0] and shown.picture.alt != seen[1]
    assert bar_of(shown).elbo > before.elbo
    assert (bar_of(shown).log_prob == before.log_prob) == (label != BUTTONS[2])
    shown.reset.click()
    assert shown.values() == start and shown.values()["models"] is start["models"]
    assert (shown.picture.png, shown.picture.alt) == (shown.first.png, shown.first.alt)


def test_q_and_the_model_in_turn_raise_the_bound_each_time(shown: Panel) -> None:
    shown.controls["decoder"].value = STRAIGHT
    levels = [bar_of(shown).elbo]
    for label in [BUTTONS[0], BUTTONS[2]] * 10:
        shown.actions[label].click()
        levels.append(bar_of(shown).elbo)
    assert (np.diff(levels) > 0).all() and shown.message.value == ""
    # the other model has not moved: the button of one does nothing to the other
    shown.controls["decoder"].value = CURVED
    values = shown.values()
    assert bar_of(shown)[:2] == elbo_panels.bar(MODELS[CURVED], 1.5, values["mean"], values["log_var"])[:2]


def test_the_mean_of_q_can_be_dragged(shown: Panel) -> None:
    right = shown.drawing.figure.axes[1]
    assert shown.picture.region == pytest.approx(shown.drawing.region(right)) and not shown.picture.both
    shown.picture.pointer = shares(shown, right, -1.5, 1.0)
    assert shown.values()["mean"] == pytest.approx(-1.5, abs=1e-9)
    assert bar_of(shown).q.argmax() == 125


# --- the lecture's warning ------------------------------------------------------------------


@pytest.fixture(scope="module")
def warning() -> Panel:
    return elbo_panels.warning_panel()


def test_warning_panel_tells_scipys_numbers(warning: Panel) -> None:
    warning.reset.click()
    told = []
    q = stats.norm(2, 0.5)
    for slope in (1.936, 0.941, 0.4, 2.4):
        warning.controls["slope"].value = slope
        what = warning.compute(slope)

        def joint(z: float, slope: float = slope) -> float:
            return stats.norm.logpdf(z) + stats.norm.logpdf(2, slope * z, 0.5)

        elbo = integrate.quad(lambda z: q.pdf(z) * (joint(z) - q.logpdf(z)), -3, 7, epsabs=1e-10)[0]
        log_p = stats.norm.logpdf(2, 0, math.hypot(slope, 0.5))
        # float32: up to 20 nats made of parts of up to 30
        assert (what.elbo, what.log_prob) == pytest.approx((elbo, log_p), abs=2e-5)
        gap = log_p - elbo
        assert numbers(warning) == [
            f"a = {slope:.3f}",
            f"L_b = {elbo:.2f}",
            f"log P(x) = {log_p:.2f}",
            f"KL(q || P(z|x)) = {gap:.2f} nats",
        ]
        assert " | ".join(numbers(warning)) in warning.picture.alt
        precision = 1 + 4 * slope**2
        exact = stats.norm(8 * slope / precision, precision**-0.5).pdf(GRID)
        np.testing.assert_allclose(what.posterior, exact, rtol=5e-5, atol=1e-6)
        told.append((elbo, log_p))
    (low, high), (raised, fallen) = told[:2]
    assert raised > low and fallen < high  # the warning itself
    assert (low, raised, high, fallen) == pytest.approx((-11.43, -3.01, -2.11, -2.74), abs=0.005)


def test_warning_panel_shows_what_was_computed(warning: Panel) -> None:
    warning.reset.click()
    assert warning.values() == {"slope": 1.936}
    check_controls(warning)
    for slope in (1.936, 0.941):
        what = warning.compute(slope)
        check_frame(warning, what)
        artists: list[Any] = warning.drawing.moving
        low, high, posterior = artists
        np.testing.assert_array_equal(low.get_data(), [[slope], [what.elbo]])
        np.testing.assert_array_equal(high.get_data(), [[slope], [what.log_prob]])
        np.testing.assert_array_equal(posterior.get_ydata(), what.posterior)
    left = warning.drawing.figure.axes[0]
    warning.picture.pointer = shares(warning, left, 0.941, -8)
    assert warning.values()["slope"] == pytest.approx(0.941, abs=1e-9)
    assert "arrows from 1.94 to 0.94: L_b rises, log P(x) falls" in warning.picture.alt


# --- estimates ------------------------------------------------------------------------------

QS = elbo_panels.the_qs()
X = 1.5
SURE = stats.norm.isf(1e-5 / 2)
"""Standard errors: a right estimate is further off once in 100 000 choices of the seed, if nearly normal."""


@pytest.fixture(scope="module")
def made() -> dict[str, Estimates]:
    return {name: elbo_panels.estimates(q, seed=3) for name, q in QS.items()}


def where(q: Posterior) -> tuple[float, float]:
    return float(q.mean[0, 0]), float(q.log_var[0, 0])


def test_the_three_qs() -> None:
    assert list(QS) == [WIDE, NARROW, BEST]
    assert where(QS[WIDE]) == pytest.approx((0, 2 * math.log(1.5)))
    best = by_scipy(CURVED, X, *where(QS[BEST]))[1]
    for mean, log_var in [(0.02, 0), (-0.02, 0), (0, 0.05), (0, -0.05), (2.3, -0.6), (2.37, -1.25)]:
        at = where(QS[BEST])
        assert by_scipy(CURVED, X, at[0] + mean, at[1] + log_var)[1] < best
    assert where(QS[NARROW]) == pytest.approx((where(QS[BEST])[0], 2 * math.log(0.15)))


@pytest.mark.parametrize("name", QS)
def test_estimates_of_the_bound(made: dict[str, Estimates], name: str) -> None:
    of = made[name]
    log_p, elbo, _ = by_scipy(CURVED, X, *where(QS[name]))
    assert (of.elbo, of.log_prob) == pytest.approx((elbo, log_p), abs=rounding(elbo))
    assert of.means.shape == (len(NUMBERS), SETS)
    for row in of.means:
        # 50 sets of n draws, their spread estimated: Student's t, nine rows of three q; for n = 1 skewed
        if row is not of.means[0]:
            assert abs(row.mean() - elbo) < stats.t.isf(1e-5 / 2, SETS - 1) * row.std(ddof=1) / SETS**0.5
    # each set's last mean is over all of its draws, the others over its first ones
    spread = np.sqrt(((of.means - elbo) ** 2).mean(axis=1) * np.array(NUMBERS))
    # n times the squared error, over 50 sets: chi-square with 50 degrees of freedom for large n
    low, high = np.sqrt(stats.chi2.ppf([1e-5, 1 - 1e-5], SETS) / SETS)
    sd = by_draws(QS[name])
    assert ((low < spread[4:] / sd) & (spread[4:] / sd < high)).all()


def by_draws(q: Posterior) -> float:
    """Standard deviation of log P(x, z) - log q(z) over q, by SciPy."""
    mean, log_var = where(q)
    sd = math.exp(log_var / 2)

    def power(n: int) -> float:
        def f(e: float) -> float:
            log_density = log_normal(e, 0, 1)
            return (
                np.exp(log_density) * (log_joint(CURVED, X, mean + sd * e) - log_density + log_var / 2) ** n
            )

        return integrate.quad(f, -9, 9, limit=400)[0]

    return math.sqrt(power(2) - power(1) ** 2)


def test_the_weighted_bound_rises_from_the_bound_towards_log_p(made: dict[str, Estimates]) -> None:
    for name, of in made.items():
        # 500 000 draws: a standard error of the plain bound
        error = SURE * by_draws(QS[name]) / (SETS * 10_000) ** 0.5
        assert of.weighted[0] == pytest.approx(of.elbo, abs=error + rounding(of.elbo))
        # the spread of the mean over groups is below that of the plain bound for each k
        assert (np.diff(of.weighted) > -error).all()
        assert of.weighted.max() < of.log_prob + error
    away = {name: of.log_prob - of.weighted[-1] for name, of in made.items()}
    assert away[WIDE] < 0.02  # 4096 weights of the wide q are enough
    # those on one hump have seen nothing of the other, which holds its share of P(x)
    other = integrate.quad(lambda z: np.exp(log_joint(CURVED, X, z)), 0, 9)[0]
    lost = -math.log(1 - other / math.exp(made[NARROW].log_prob))
    for name in (NARROW, BEST):
        assert away[name] == pytest.approx(lost, abs=0.05) and lost > 0.4


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("name", QS)
def test_gradients_are_unbiased(name: str, baseline: bool) -> None:
    of = elbo_panels.estimates(QS[name], seed=4, baseline=baseline)
    assert len(of.reparameterised) == len(of.score) == 5000
    mean, log_var = where(QS[name])
    step = 1e-4
    ends = [by_scipy(CURVED, X, mean + d, log_var)[1] for d in (-step, step)]
    # float32 terms of up to 30 each
    assert of.gradient == pytest.approx((ends[1] - ends[0]) / (2 * step), abs=1e-4)
    for each in (of.reparameterised, of.score):
        assert abs(each.mean() - of.gradient) < SURE * each.std() / len(each) ** 0.5


def test_the_baseline_helps_the_score_function_and_nothing_else(made: dict[str, Estimates]) -> None:
    for name, of in made.items():
        again = elbo_panels.estimates(QS[name], seed=3, baseline=True)
        assert again.score.std() < of.score.std()
        np.testing.assert_array_equal(again.reparameterised, of.reparameterised)
        np.testing.assert_array_equal(again.means, of.means)
        np.testing.assert_array_equal(again.weighted, of.weighted)
        # both come from the same eps: they differ by L_b * eps / sd
        key = jax.random.split(jax.random.key(3))[1]
        eps = np.asarray(bounds.draws(key, QS[name], "n", 5000))[0, :, 0]
        expected = of.elbo * eps / math.exp(where(QS[name])[1] / 2)
        np.testing.assert_allclose(of.score - again.score, expected, rtol=1e-3, atol=1e-4)
    best = elbo_panels.estimates(QS[BEST], seed=3, baseline=True)
    assert best.score.std() < 0.3 * made[BEST].score.std()  # where q fits its hump it helps most


def test_the_same_seed_draws_the_same(made: dict[str, Estimates]) -> None:
    for a, b in zip(elbo_panels.estimates(QS[WIDE], seed=3), made[WIDE], strict=True):
        np.testing.assert_array_equal(a, b)
    other = elbo_panels.estimates(QS[WIDE], seed=5)
    assert not np.isin(other.means, made[WIDE].means).any() and (other.score != made[WIDE].score).all()
    assert (other.elbo, other.log_prob, other.gradient) == (
        made[WIDE].elbo,
        made[WIDE].log_prob,
        made[WIDE].gradient,
    )


@pytest.fixture(scope="module")
def sampling() -> Panel:
    return elbo_panels.estimates_panel()


def test_estimates_panel_tells_its_numbers(sampling: Panel) -> None:
    sampling.reset.click()
    assert sampling.values() == {"name": WIDE, "n": 100, "baseline": False, "seed": 0}
    of = elbo_panels.estimates(QS[WIDE], seed=0)
    rms = np.sqrt(((of.means[NUMBERS.index(100)] - of.elbo) ** 2).mean())
    assert numbers(sampling) == [
        f"n = 100: L_b = {of.elbo:.3f} ± {rms:.3f}",
        f"spread (sd) of the gradient: reparameterised {of.reparameterised.std():.2f}, "
        f"score function {of.score.std():.2f}",
        f"log P(x) = {of.log_prob:.3f}, weighted bound with k = {KS[-1]}: {of.weighted[-1]:.3f} nats",
    ]
    assert " | ".join(numbers(sampling)) in sampling.first.alt
    assert sampling.first.alt.startswith(f"For a q that is {WIDE}: ")


def test_each_control_of_the_estimates_panel_changes_the_picture(sampling: Panel) -> None:
    sampling.reset.click()
    check_controls(sampling)


def test_estimates_panel_shows_what_was_computed(sampling: Panel) -> None:
    for name, n in ((WIDE, 1), (NARROW, 3000), (BEST, 10_000)):
        what = sampling.compute(name, n, True, 2)
        check_frame(sampling, what)
        artists: list[Any] = sampling.drawing.moving
        cloud, spread, law, here, through, by_score, exact, bound, truth, elbo = artists
        of = what.estimates
        errors = np.abs(of.means - of.elbo)
        np.testing.assert_array_equal(cloud.get_data(), [[n] * SETS, errors[NUMBERS.index(n)]])
        np.testing.assert_allclose(spread.get_ydata(), np.sqrt((errors**2).mean(axis=1)))
        np.testing.assert_allclose(law.get_ydata() * np.sqrt(NUMBERS), spread.get_ydata()[0])
        assert list(here.get_xdata()) == [n, n]
        for stairs, each in ((through, of.reparameterised), (by_score, of.score)):
            counts, edges, _ = stairs.get_data()
            assert counts.sum() == pytest.approx(1)  # what lies beyond is in the bars at the ends
            assert counts[0] == pytest.approx((each < edges[1]).mean())
        assert list(exact.get_xdata()) == [of.gradient] * 2
        np.testing.assert_array_equal(bound.get_ydata(), of.weighted)
        assert list(truth.get_ydata()) == [of.log_prob] * 2 and list(elbo.get_ydata()) == [of.elbo] * 2
        low, high = sampling.drawing.figure.axes[2].get_ylim()
        assert low < of.weighted.min() and of.log_prob < high
