"""Panels of infinite mixtures: from P(z) through a network to P(x), and what z says of an x."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib.collections import LineCollection

from lecture_lib import figures, mixture_trials
from lecture_lib.datasets import CURVES
from lecture_lib.figures import BLUE, FAINT, GREEN, INK, ORANGE, Drawing
from lecture_lib.gaussians import InfiniteMixture, Mixture, normal_log_prob
from lecture_lib.mixture_trials import Errors, Run
from lecture_lib.panels import Grab, Panel, choice, choice_slider, slider

INTEGRAL = "all of them (the integral)"
HOW_MANY = (1, 10, 100, 1000, INTEGRAL)
_X = np.linspace(-6, 6, 401, dtype=np.float32)
_Z = np.linspace(-3, 3, 241, dtype=np.float32)
_FAR = np.linspace(-6, 6, 481, dtype=np.float32)
"""Of the posterior, which leaves for far z where no data have been."""
_TALL = 0.5
"""Upper end of the density axis."""


class Pushed(NamedTuple):
    """What the panel of the infinite mixture draws."""

    curve: str
    prior: str
    step: int
    """Training steps done."""
    z: float
    mean: float
    sd: float
    """mu(z) and sigma(z): the Gaussian that z names."""
    prior_density: float
    """P(z)."""
    bells: Float[np.ndarray, "k points"]
    """What each of K Gaussians adds, shape (K, points); none are shown for K above 100."""
    lines: Float[np.ndarray, "lines 2"]
    """The z and mu(z) of some Gaussians, shape (lines, 2)."""
    how_many: int | str
    density: Float[np.ndarray, " points"]
    """The sum of the Gaussians, shape (points,)."""
    errors: Errors
    """Of the integral against the curve."""


@jax.jit
def _integral(model: InfiniteMixture, x: Any) -> Any:
    return jnp.exp(model.log_prob(x))


@jax.jit
def _named(model: InfiniteMixture, z: Any) -> Any:
    """Mean, standard deviation, and density on the grid, of the Gaussian that each z names."""
    mean, log_var = model.network(z)
    return mean, jnp.exp(log_var / 2), jnp.exp(normal_log_prob(_X, mean[:, None], log_var[:, None]))


def push(run: Run, curve: str, prior: str, snapshot: int, z: float, how_many: Any, errors: Errors) -> Pushed:
    """Look at one snapshot of one run.

    Args:
        run: What was trained.
        curve, prior: The names of both.
        snapshot: Index into the run.
        z: Where the one Gaussian is looked at.
        how_many: K equally likely Gaussians, or INTEGRAL.
        errors: Of the snapshot against the curve.
    """
    model = run.models[snapshot]
    mean, sd, _ = _named(model, jnp.full((1, 1), z))
    u = (np.arange(25) + 0.5) / 25
    some = np.asarray(model.prior.quantile(u))
    lines = np.column_stack([some, np.asarray(_named(model, some[:, None])[0])])
    bells = np.zeros((0, len(_X)))
    if how_many == INTEGRAL:
        density = np.asarray(_integral(model, _X))
    else:
        at = np.asarray(model.prior.quantile((np.arange(how_many) + 0.5) / how_many))
        means, _, each = _named(model, at[:, None])
        each = np.asarray(each) / how_many
        density = each.sum(axis=0)
        if how_many <= 100:
            bells, lines = each, np.column_stack([at, np.asarray(means)])
    return Pushed(
        curve,
        prior,
        run.steps[snapshot],
        z,
        float(mean[0]),
        float(sd[0]),
        float(jnp.exp(model.prior.log_prob(jnp.full((1, 1), z)))[0]),
        bells,
        lines,
        how_many,
        density,
        errors,
    )


@figures.styled
def infinite_panel(runs: Mapping[tuple[str, str], Run], *, start: tuple[str, str] | None = None) -> Panel:
    """Drag z and see which Gaussian it names; add Gaussians up; follow the training.

    Args:
        runs: (name in CURVES, name in PRIORS) to run; all combinations of the curves and priors in it, with
            snapshots at the same steps.
        start: The combination shown first; by default the first.

    Raises:
        ValueError: `runs` is empty, a curve is not in CURVES, a combination is missing, the steps differ, or
            `start` is none of the combinations.
    """
    curves, priors = (list(dict.fromkeys(key[i] for key in runs)) for i in (0, 1))
    steps = {run.steps for run in runs.values()}
    if len(steps) != 1 or any((c, p) not in runs for c in curves for p in priors):
        raise ValueError(
            f"runs has {list(runs)}; expected every curve with every prior, with snapshots at the same steps "
            "(a training that was interrupted has fewer: run its cell again)"
        )
    if not set(curves) <= set(CURVES):
        raise ValueError(f"runs has curves {curves}; expected some of {list(CURVES)}")
    first = (curves[0], priors[0]) if start is None else start
    if first not in runs:
        raise ValueError(f"start is {start}; expected one of {list(runs)}")
    fig, (top, middle, bottom) = figures.figure(8, 4.8, nrows=3, height_ratios=[2.6, 1.3, 0.7])
    (black,) = top.plot(_X, 0 * _X, color=INK, lw=2.5, label="black curve")
    bells = LineCollection([], colors=BLUE, linewidths=0.8, alpha=0.6)
    top.add_collection(bells)
    (total,) = top.plot(_X, 0 * _X, "--", color=BLUE, label="P(x): the Gaussians added up")
    one = top.fill_between(_X, 0 * _X, color=ORANGE, alpha=0.35, label="N(x; μ(z), σ(z)), not to scale")
    top.set(title="Above P(x), below P(z), between them the network", xlabel="x", ylabel="density of x")
    top.set(xlim=(-6, 6), ylim=(0, _TALL))
    top.tick_params(axis="x", direction="in")
    top.xaxis.label.set(ha="right", va="bottom")  # inside, so that the network's lines still reach the axis
    top.xaxis.set_label_coords(1, 0.02)
    top.legend(loc="upper right")
    fan = LineCollection([], colors=FAINT, linewidths=0.8)
    middle.add_collection(fan)
    (arrow,) = middle.plot([], [], color=ORANGE, lw=2.5, marker="^", markevery=[1], ms=8)
    middle.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    middle.set_ylabel("network\nz → μ(z)")
    for side in middle.spines.values():
        side.set_visible(False)
    (prior_line,) = bottom.plot(_Z, 0 * _Z, color=GREEN)
    (mark,) = bottom.plot([], [], "o", color=ORANGE, ms=9, clip_on=False)
    mark.set_in_layout(False)  # while it is nowhere it counts as in the corner, and takes room there
    bottom.set(xlabel="z (drag here)", ylabel="P(z)", xlim=(-3, 3), ylim=(0, 0.45))
    shade: list[Any] = [one]

    @functools.cache  # half of the time of a frame, and the same for all z
    def errors(curve: str, prior: str, snapshot: int) -> Errors:
        return mixture_trials.errors(CURVES[curve], runs[curve, prior].models[snapshot])

    def compute(curve: str, prior: str, snapshot: int, z: float, how_many: Any) -> Pushed:
        return push(runs[curve, prior], curve, prior, snapshot, z, how_many, errors(curve, prior, snapshot))

    def update(what: Pushed) -> None:
        black.set_ydata(CURVES[what.curve].density(_X))
        bells.set_segments([np.column_stack([_X, bell]) for bell in what.bells])
        total.set_ydata(what.density)
        bell = 0.8 * _TALL * np.exp(-(((_X - what.mean) / what.sd) ** 2) / 2)
        shade[0].set_data(_X, 0 * _X, bell)
        fan.set_segments([[(0.5 + z / 6, 0), (0.5 + x / 12, 1)] for z, x in what.lines])
        arrow.set_data([0.5 + what.z / 6, 0.5 + what.mean / 12], [0, 1])
        model = runs[what.curve, what.prior].models[0]
        prior_line.set_ydata(np.exp(model.prior.log_prob(_Z[:, None])))
        mark.set_data([what.z], [what.prior_density])

    def say(what: Pushed) -> str:
        named = f"z = {what.z:.2f} names N({what.mean:.2f}, sd {what.sd:.3f})"
        if what.prior_density == 0:
            named += ", but P(z) is 0 there"
        return (
            f"{named} | after {what.step} steps: KL(curve || P) {what.errors.kl:.4f} nats, "
            f"L1 {what.errors.l1:.3f} of at most 2"
        )

    def alt(what: Pushed) -> str:
        how = what.how_many if what.how_many == INTEGRAL else f"{what.how_many} Gaussians added up"
        return (
            f"The curve '{what.curve}' and the density of an infinite mixture with a {what.prior} prior, "
            f"{how}, above lines from z to mu(z) and the density of z. {say(what)}."
        )

    (steps_seen,) = steps
    controls = {
        "curve": choice("black curve", first[0], curves),
        "prior": choice("P(z)", first[1], priors),
        "snapshot": choice_slider(
            "training steps done", len(steps_seen) - 1, [(str(step), i) for i, step in enumerate(steps_seen)]
        ),
        "z": slider("z", 0.8, -3, 3, 0.02),
        "how_many": choice("how many Gaussians", INTEGRAL, list(HOW_MANY)),
    }
    moving = [one, black, bells, total, fan, arrow, prior_line, mark]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, grab=Grab("z", bottom), describe=say)


class Coded(NamedTuple):
    """What the panel of clusters and codes draws."""

    x: tuple[float, float]
    responsibilities: Float[np.ndarray, " components"]
    """P(m|x) of the finite mixture, shape (components,)."""
    posterior: Float[np.ndarray, " points"]
    """P(z|x) of the infinite mixture on the grid of z, shape (points,)."""
    mean: float
    """E[z|x]."""
    sd: float
    """Standard deviation of P(z|x)."""
    to_cluster: float
    """Distance from x to the mean of its most responsible component."""
    to_code: float
    """Distance from x to mu(E[z|x])."""


_responsibilities = jax.jit(lambda mixture, x: mixture.responsibilities(x))


@jax.jit
def _posterior(model: InfiniteMixture, x: Any) -> tuple[Any, Any, Any]:
    """P(z|x) on the grid, and its mean and standard deviation, which may lie outside the grid."""
    rule = model.rule()
    z = rule.nodes[:, 0]
    masses = jax.nn.softmax(model.log_joint(x, rule.nodes) + rule.log_weights)
    mean = masses @ z
    return jnp.exp(model.log_posterior(x, _FAR[:, None], rule=rule)), mean, jnp.sqrt(masses @ (z - mean) ** 2)


def encode(finite: Mixture, infinite: InfiniteMixture, x: tuple[float, float]) -> Coded:
    """What each of the two mixtures says of a point of the plane.

    Args:
        finite: Of points of the plane.
        infinite: Likewise, with a 1-D z.
        x: The point.
    """
    point = jnp.asarray(x, jnp.float32)
    shares = np.asarray(_responsibilities(finite, point), np.float64)
    posterior, mean, sd = _posterior(infinite, point)
    centre = np.asarray(finite.means)[shares.argmax()]
    decoded = np.asarray(infinite.network(jnp.full((1, 1), mean))[0])[0]
    to_cluster, to_code = (float(np.hypot(*(np.asarray(x) - place))) for place in (centre, decoded))
    return Coded(x, shares, np.asarray(posterior), float(mean), float(sd), to_cluster, to_code)


@figures.styled
def code_panel(finite: Mixture, infinite: InfiniteMixture, x: Float[ArrayLike, "n 2"]) -> Panel:
    """One point of the plane as a choice among clusters, and as a place along z. Drag the point.

    Args:
        finite: A mixture of points of the plane.
        infinite: Likewise, with a 1-D z and a standard normal prior.
        x: The points that both learned from, shape (n, 2); they are shown.
    """
    fig, (left, middle, right) = figures.figure(8, 3.6, ncols=3, width_ratios=[1.9, 1, 1])
    seen = np.asarray(x)
    left.plot(*seen.T, ".", color=FAINT, ms=3, alpha=0.5, label="data")
    circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 73)), np.sin(t)])
    factors, centres = np.linalg.cholesky(np.asarray(finite.covariances)), np.asarray(finite.means)
    for i, (centre, factor) in enumerate(zip(centres, factors, strict=True)):
        ring = centre[:, None] + 2 * factor @ circle
        left.plot(*ring, "--", color=BLUE, lw=1, label="clusters (2 sd)" if i == 0 else None)
        left.text(*(1.3 * centre), str(i + 1), color=BLUE, ha="center", va="center", weight="bold")
    path = np.asarray(infinite.network(jnp.asarray(_Z)[:, None])[0])
    left.plot(*path.T, color=ORANGE, label="μ(z)")
    (point,) = left.plot([], [], "*", color=INK, ms=14, mec="white", label="x (drag it)")
    (decoded,) = left.plot([], [], "D", color=ORANGE, ms=7, mec="white", label="μ at the mean of z")
    left.set(
        title="The point x", xlabel="x₁", ylabel="x₂", xlim=(-1.8, 1.8), ylim=(-1.0, 2.3), aspect="equal"
    )
    left.legend(loc="upper center", ncols=2, fontsize=8, handlelength=1, columnspacing=1)
    k = len(centres)
    bars = middle.bar(np.arange(1, k + 1), np.zeros(k), color=BLUE, alpha=0.6, hatch="//", edgecolor=BLUE)
    middle.set(title="Which one? P(m|x)", xlabel="m, the cluster", ylabel="responsibility", ylim=(0, 1.02))
    middle.set_xticks(np.arange(1, k + 1))
    right.plot(_FAR, np.exp(-(_FAR**2) / 2) / np.sqrt(2 * np.pi), ":", color=INK, label="P(z)")
    (posterior,) = right.plot(_FAR, 0 * _FAR, color=ORANGE, label="P(z|x)")
    right.set(title="Where on z? P(z|x)", xlabel="z", ylabel="density", xlim=(-6, 6), ylim=(0, 8))
    right.legend(loc="upper right", handlelength=1.5)

    def compute(x1: float, x2: float) -> Coded:
        return encode(finite, infinite, (x1, x2))

    def update(what: Coded) -> None:
        point.set_data([what.x[0]], [what.x[1]])
        decoded.set_data(*np.asarray(infinite.network(jnp.full((1, 1), what.mean))[0]).T)
        for bar, share in zip(bars, what.responsibilities, strict=True):
            bar.set_height(share)
        posterior.set_ydata(what.posterior)

    def say(what: Coded) -> str:
        best = int(what.responsibilities.argmax())
        return (
            f"cluster {best + 1} with responsibility {what.responsibilities[best]:.3f}, its mean "
            f"{what.to_cluster:.2f} away | z = {what.mean:.2f} ± {what.sd:.2f}, "
            f"μ there {what.to_code:.2f} away"
        )

    def alt(what: Coded) -> str:
        return (
            f"Points along an arc with {k} cluster ellipses and the curve of mu(z); bars of "
            f"responsibilities; the posterior density of z. At x = ({what.x[0]:.2f}, {what.x[1]:.2f}): "
            f"{say(what)}."
        )

    controls = {
        "x1": slider("x₁, the first coordinate", 0.96, -1.6, 1.6, 0.02),
        "x2": slider("x₂, the second coordinate", 0.7, -1.0, 1.6, 0.02),
    }
    drawing = Drawing(fig, [point, decoded, *bars, posterior], update, alt)
    return Panel(compute, drawing, controls, grab=Grab("x1", left, "x2"), describe=say)
