"""Panels of a mixture of three Gaussians: drawing from it, on the line and in the plane."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lecture_lib import checks, figures
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, Drawing
from lecture_lib.gaussians import Drawn, Mixture
from lecture_lib.panels import Panel, choice, slider, whole_slider

COLOURS = (BLUE, ORANGE, GREEN)
STYLES = ("-", "--", "-.")
MARKERS = ("o", "^", "s")
LETTERS = ("A", "B", "C")
MOST_DRAWS = 20_000
POINTS = 400
_ENOUGH = 5
"""Draws that each component should be expected to get before a chi-square test says anything."""

TWO_STEPS, EQUALLY, SUMMED = "two steps", "every Gaussian equally often", "add the three Gaussians"


class Draws(NamedTuple):
    """What the drawing panel draws."""

    mixture: Mixture
    component: Int[np.ndarray, " n"]
    """Index of the Gaussian of each draw, shape (n,); -1 where there is none, as in a sum."""
    x: Float[np.ndarray, " n"]
    """The draws, shape (n,)."""
    component_p: float
    """p-value of the chi-square test of the components against the weights; NaN while n is too small."""
    distance: float
    """Kolmogorov-Smirnov distance between the draws and P(x); NaN for n below 5."""
    x_p: float
    """Its p-value."""


@jax.jit
def _all_draws(mixture: Mixture, key: Any) -> tuple[Drawn, Any]:
    """As many draws as the slider allows, and as many of three independent Gaussians."""
    key_two, key_each = jax.random.split(key)
    each = jax.random.normal(key_each, (MOST_DRAWS, mixture.components))
    return mixture.sample(key_two, MOST_DRAWS), mixture.means + jnp.sqrt(mixture.covariances) * each


_cdf = jax.jit(lambda mixture, x: mixture.cdf(x))
log_joint = jax.jit(lambda mixture, x: mixture.log_joint(x))


def draw(mixture: Mixture, n: int, how: str = TWO_STEPS, *, seed: int = 0) -> Draws:
    """The first n draws of one stream, and whether they have the distribution that they should have.

    Args:
        mixture: Of numbers x.
        n: From 0 to MOST_DRAWS.
        how: TWO_STEPS is right; EQUALLY forgets the weights; SUMMED adds weighted draws of all components.
        seed: Of the stream. The same noise serves all mixtures: a small change of one moves the draws a bit.

    Raises:
        ValueError: n is out of its range, or `how` is none of the three.
        TypeError: n is not a whole number.
    """
    n = checks.whole("n", n, low=0, high=MOST_DRAWS)
    if how not in (TWO_STEPS, EQUALLY, SUMMED):
        raise ValueError(f"how is {how!r}; expected one of {[TWO_STEPS, EQUALLY, SUMMED]}")
    k = mixture.components
    weights = np.asarray(mixture.weights, np.float64)
    used = mixture
    if how == EQUALLY:
        used = Mixture(jnp.full(k, 1 / k), mixture.means, mixture.covariances)
    (component, x), each = _all_draws(used, jax.random.key(seed))
    if how == SUMMED:
        component, x = jnp.full(MOST_DRAWS, -1), each @ mixture.weights
    component, x = np.asarray(component)[:n], np.asarray(x, np.float64)[:n]
    component_p, distance, x_p = np.nan, np.nan, np.nan
    possible = weights > 0
    if how != SUMMED and n * weights[possible].min() >= _ENOUGH:
        counts = np.bincount(component, minlength=k)
        if counts[~possible].any():
            component_p = 0.0
        elif possible.sum() > 1:
            expected = weights[possible] / weights[possible].sum() * n
            component_p = float(stats.chisquare(counts[possible], expected).pvalue)
    if n >= _ENOUGH:
        # the cdf at all draws, so that the program is compiled once
        below = np.asarray(_cdf(mixture, jnp.asarray(np.resize(x, MOST_DRAWS), jnp.float32)), np.float64)[:n]
        distance = float(stats.ks_1samp(below, stats.uniform.cdf, mode="asymp").statistic)
        x_p = float(stats.kstwo.sf(distance, n))
    return Draws(mixture, component, x, component_p, distance, x_p)


def mixture_of(
    weights: Sequence[float] | Float[np.ndarray, " components"],
    means: Sequence[float] | Float[np.ndarray, " components"],
    sds: Sequence[float] | Float[np.ndarray, " components"],
) -> Mixture:
    """A mixture of numbers from slider values; the weights are divided by their sum.

    Raises:
        ValueError: All weights are 0.
    """
    total = float(np.sum(weights))
    if total <= 0:
        raise ValueError(f"weights is {tuple(weights)}; expected at least one above 0")
    return Mixture(np.asarray(weights) / total, np.asarray(means, float), np.asarray(sds, float) ** 2)


def draw_panel() -> Panel:
    """Draw from three Gaussians, one at a time or by thousands; the tests beside the histogram are live."""

    def compute(n: int, how: str, **sliders: float) -> Draws:
        parts = [[sliders[f"{kind}{i}"] for i in range(3)] for kind in ("w", "m", "s")]
        return draw(mixture_of(*parts), n, how)

    return _draw_panel(compute)


@figures.styled
def _draw_panel(compute: Callable[..., Draws]) -> Panel:
    fig, (left, right) = figures.figure(8, 3.3, ncols=2, width_ratios=[1, 2.6])
    places = np.arange(3)
    bars = left.bar(places, [0, 0, 0], color=COLOURS, alpha=0.45, edgecolor=COLOURS, width=0.7)
    for bar, hatch in zip(bars, ("", "//", ".."), strict=True):
        bar.set_hatch(hatch)
    (observed,) = left.plot(places, [0, 0, 0], "D", color=INK, ms=6, label="share of draws")
    chosen = left.bar([0], [0], color="none", edgecolor=INK, lw=3, width=0.78)[0]
    left.set(title="1. choose m from P(m)", ylabel="P(m), probability", ylim=(0, 1.02))
    left.set_xticks(places, LETTERS)
    left.set_xlabel("m, the component")
    left.legend(loc="upper right", handlelength=1)

    edges = np.linspace(-8, 8, 81)
    grid = np.linspace(-8, 8, POINTS, dtype=np.float32)
    histogram = right.stairs(np.zeros(80), edges, fill=True, color="#c9c9c9", label="draws (histogram)")
    lines = [
        right.plot(grid, 0 * grid, ls=s, color=c, lw=1.3)[0] for c, s in zip(COLOURS, STYLES, strict=True)
    ]
    (density,) = right.plot(grid, 0 * grid, color=INK, label="P(x) = Σ P(m) P(x|m), exact")
    (last,) = right.plot([], [], "v", color=INK, ms=11, mec="white", label="last draw")
    right.set(title="2. draw x from that Gaussian", xlabel="x", ylabel="density", xlim=(-8, 8), ylim=(0, 0.5))
    right.legend(loc="upper right")

    def update(what: Draws) -> None:
        weights = np.asarray(what.mixture.weights)
        for bar, weight in zip(bars, weights, strict=True):
            bar.set_height(weight)
        n = len(what.x)
        known = n > 0 and what.component[-1] >= 0
        shares = np.bincount(what.component, minlength=3) / n if known else np.full(3, np.nan)
        observed.set_data(places, shares)
        chosen.set_visible(known)
        chosen.set_x((what.component[-1] if known else 0) - 0.39)
        chosen.set_height(weights[what.component[-1]] if known else 0)
        histogram.set_data(np.histogram(what.x, edges)[0] / max(n, 1) / (edges[1] - edges[0]))
        each = np.exp(log_joint(what.mixture, grid))
        for line, column in zip(lines, each.T, strict=True):
            line.set_ydata(column)
        density.set_ydata(each.sum(axis=1))
        last.set_data([what.x[-1]] if n else [], [0.02] if n else [])
        last.set_color(COLOURS[what.component[-1]] if known else INK)

    def say(what: Draws) -> str:
        n = len(what.x)
        if n == 0:
            return "no draw yet: press a button"
        of = f" from {LETTERS[what.component[-1]]}" if what.component[-1] >= 0 else ""
        facts = [f"n = {n}, last draw x = {what.x[-1]:.2f}{of}"]
        if np.isfinite(what.component_p):
            facts.append(f"shares against P(m): chi-square p = {what.component_p:.3f}")
        if np.isfinite(what.distance):
            facts.append(f"draws against P(x): KS distance {what.distance:.4f}, p = {what.x_p:.3f}")
        return " | ".join(facts)

    def alt(what: Draws) -> str:
        weights = ", ".join(
            f"{a} {w:.2f}" for a, w in zip(LETTERS, np.asarray(what.mixture.weights), strict=True)
        )
        return f"Bars of the weights ({weights}) beside the exact density over a histogram. {say(what)}."

    def more(count: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda values: {"n": min(values["n"] + count, MOST_DRAWS)}

    start = {"w": (0.5, 0.2, 0.3), "m": (-3.0, 0.0, 3.0), "s": (1.0, 0.5, 1.4)}
    ranges = {"w": (0, 1, 0.05), "m": (-6, 6, 0.1), "s": (0.2, 3, 0.05)}
    words = {"w": "weight", "m": "mean", "s": "spread (sd)"}
    sliders = {
        f"{kind}{i}": slider(f"{words[kind]} {LETTERS[i]}", start[kind][i], *ranges[kind])
        for kind in words
        for i in range(3)
    }
    controls = {
        **sliders,
        "n": whole_slider("number of draws", 100, 0, MOST_DRAWS),
        "how": choice("how to draw", TWO_STEPS, [TWO_STEPS, EQUALLY, SUMMED]),
    }
    actions = {"draw 1": more(1), "draw 100": more(100), "draw 10 000": more(10_000)}
    moving = [*bars, observed, chosen, histogram, *lines, density, last]
    drawing = Drawing(fig, moving, update, alt)
    return Panel(compute, drawing, controls, actions=actions, side_by_side=True, describe=say)


class Plane(NamedTuple):
    """What the panel of the mixture in the plane draws."""

    mixture: Mixture
    drawn: Drawn
    shown: Int[np.ndarray, " n"]
    """The component that colours each draw, shape (n,)."""
    right: float
    """Share of the draws whose most responsible component is the one that made them."""


PLANE_DRAWS = 400
MADE, GUESSED = "which made it", "which is most responsible"
_CENTRES = np.array([[-1.6, -0.6], [0.2, 1.1], [1.7, -0.7]])
_in_plane = jax.jit(lambda mixture, key: mixture.sample(key, PLANE_DRAWS))
_responsibilities = jax.jit(lambda mixture, x: mixture.responsibilities(x))


def plane(
    weights: Sequence[float], spreads: Sequence[float], correlations: Sequence[float], colour: str = MADE
) -> Plane:
    """A mixture of three Gaussians in the plane and draws from it.

    Args:
        weights: Three numbers that are divided by their sum.
        spreads: Standard deviation of each along both axes, above 0.
        correlations: Correlation of the two coordinates in each, in (-1, 1).
        colour: MADE or GUESSED: which component gives a draw its colour.
    """
    total = float(np.sum(weights))
    if total <= 0:
        raise ValueError(f"weights is {tuple(weights)}; expected at least one above 0")
    if colour not in (MADE, GUESSED):
        raise ValueError(f"colour is {colour!r}; expected {MADE!r} or {GUESSED!r}")
    matrices = [
        sd**2 * np.array([[1.0, rho], [rho, 1.0]]) for sd, rho in zip(spreads, correlations, strict=True)
    ]
    mixture = Mixture(np.asarray(weights) / total, _CENTRES, np.stack(matrices))
    drawn = _in_plane(mixture, jax.random.key(0))
    made = np.asarray(drawn.component)
    guessed = np.asarray(_responsibilities(mixture, drawn.x)).argmax(axis=-1)
    return Plane(mixture, drawn, made if colour == MADE else guessed, float(np.mean(made == guessed)))


@figures.styled
def plane_panel() -> Panel:
    """Three Gaussians in the plane, as ellipses of one and two standard deviations, with draws from them."""
    fig, ax = figures.figure(8, 4.2)
    circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 73)), np.sin(t)])
    dots, rings = [], []
    for colour, style, marker, letter in zip(COLOURS, STYLES, MARKERS, LETTERS, strict=True):
        dots += ax.plot([], [], marker, color=colour, ms=5, alpha=0.6, mew=0, label=f"{letter}: draws")
        rings += [ax.plot([], [], ls=style, color=colour)[0] for _ in (1, 2)]
    ax.set(
        title="Draws from three Gaussians; ellipses at one and two standard deviations",
        xlabel="first coordinate of x",
        ylabel="second coordinate of x",
        xlim=(-5, 5),
        ylim=(-2.9, 3.1),
        aspect="equal",
    )
    ax.legend(loc="upper left")

    def compute(colour: str, **sliders: float) -> Plane:
        weights, spreads, correlations = (
            [sliders[f"{kind}{i}"] for i in range(3)] for kind in ("w", "s", "r")
        )
        return plane(weights, spreads, correlations, colour)

    def update(what: Plane) -> None:
        x = np.asarray(what.drawn.x)
        factors = np.linalg.cholesky(np.asarray(what.mixture.covariances))
        for i in range(3):
            dots[i].set_data(*x[what.shown == i].T)
            for sds in (1, 2):
                rings[2 * i + sds - 1].set_data(
                    *(np.asarray(what.mixture.means)[i][:, None] + sds * factors[i] @ circle)
                )

    def say(what: Plane) -> str:
        counts = np.bincount(np.asarray(what.drawn.component), minlength=3)
        told = ", ".join(f"{letter} {count}" for letter, count in zip(LETTERS, counts, strict=True))
        return (
            f"{PLANE_DRAWS} draws: {told} | the most responsible component made the draw in "
            f"{what.right:.1%} of cases"
        )

    def alt(what: Plane) -> str:
        points = np.bincount(what.shown, minlength=3)
        shapes = "; ".join(
            f"{letter} sd {(sd := np.sqrt(matrix[0, 0])):.2f}, correlation {matrix[0, 1] / sd**2:.2f}, "
            f"{count} points"
            for letter, matrix, count in zip(
                LETTERS, np.asarray(what.mixture.covariances), points, strict=True
            )
        )
        return (
            "Points in the plane, a colour and a marker for each component, with ellipses "
            f"({shapes}). {say(what)}."
        )

    words = {"w": "weight", "s": "spread (sd)", "r": "correlation"}
    start = {"w": (0.4, 0.35, 0.25), "s": (0.7, 0.55, 0.6), "r": (0.6, -0.5, 0.0)}
    ranges = {"w": (0, 1, 0.05), "s": (0.1, 1.5, 0.05), "r": (-0.95, 0.95, 0.05)}
    controls: dict[str, Any] = {
        f"{kind}{i}": slider(f"{words[kind]} {LETTERS[i]}", start[kind][i], *ranges[kind])
        for kind in words
        for i in range(3)
    }
    controls["colour"] = choice("colour shows", MADE, [MADE, GUESSED])
    drawing = Drawing(fig, [*dots, *rings], update, alt)
    return Panel(compute, drawing, controls, side_by_side=True, describe=say)
