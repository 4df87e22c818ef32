"""The panels of notebook 03: the bar L = L_b + KL, the lecture's warning, and estimates by sampling."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lecture_lib import bounds, elbo_trials, figures, gradients, quadrature, variational
from lecture_lib.figures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, Drawing
from lecture_lib.gaussians import InfiniteMixture, normal_log_prob
from lecture_lib.networks import Posterior
from lecture_lib.panels import Grab, Kept, Panel, choice, choice_slider, slider, whole_slider

CURVED, STRAIGHT = "curved", "straight line"
_Z = np.linspace(-4, 4, 401, dtype=np.float32)
_FLOOR = -10.0
"""Lower end of the bar, nats."""
_STEPS = 20_000


class Bar(NamedTuple):
    """What the panel of the bar draws; all in nats."""

    log_prob: float
    """log P(x)."""
    elbo: float
    """L_b."""
    kl: float
    """KL(q || P(z|x)), by another route than L_b."""
    q: Float[np.ndarray, " points"]
    """q(z|x) on the grid of z, shape (points,)."""
    posterior: Float[np.ndarray, " points"]
    """P(z|x) there."""
    likelihood: Float[np.ndarray, " points"]
    """P(x|z) there; no density in z."""


def _rule() -> quadrature.Rule:
    """Wide enough for the widest q of the sliders, fine enough for the narrowest."""
    return quadrature.trapezoid(-25.0, 25.0, 2001)


@jax.jit
def _bar(model: InfiniteMixture, x: Array, mean: Array, log_var: Array) -> Any:
    x, q = jnp.reshape(x, (1,)), Posterior(jnp.reshape(mean, (1, 1)), jnp.reshape(log_var, (1, 1)))
    rule = _rule()
    z = jnp.asarray(_Z)[:, None]
    return (
        model.log_prob(x, rule=rule)[0],
        bounds.elbo_joint(model, x, q)[0],
        bounds.kl_to_posterior(model, x, q, rule=rule)[0],
        jnp.exp(normal_log_prob(z[:, 0], mean, log_var)),
        jnp.exp(model.log_posterior(x, z, rule=rule))[0],
        jnp.exp(model.conditional_log_prob(x, z))[0],
    )


def bar(model: InfiniteMixture, x: float, mean: float, log_var: float) -> Bar:
    """Both parts of log P(x), and the densities over z, for q = N(mean, exp(log_var))."""
    parts = [np.asarray(part) for part in _bar(model, x, mean, log_var)]
    log_prob, elbo, kl = (float(part) for part in parts[:3])
    return Bar(log_prob, elbo, kl, *parts[3:])


@jax.jit
def _one_step(model: InfiniteMixture, x: Array, mean: Array, log_var: Array) -> Posterior:
    """A gradient step, no longer than the inverse of the sharpest curvature, else it may swing for ever.

    Where L_b bends sharply further on, such a step may still lower it: it is then halved.
    """
    x, q = jnp.reshape(x, (1,)), Posterior(jnp.reshape(mean, (1, 1)), jnp.reshape(log_var, (1, 1)))

    def bound(at: Array) -> Array:
        return bounds.elbo_joint(model, x, Posterior(at[:1, None], at[1:, None]))[0]

    at = jnp.concatenate([q.mean[0], q.log_var[0]])
    before, curvatures = bound(at), jnp.linalg.eigvalsh(jax.hessian(bound)(at))
    rates = jnp.minimum(0.05, 1 / jnp.abs(curvatures).max()) * 0.5 ** jnp.arange(6.0)
    gradient = jax.grad(bound)(at)
    after = jax.vmap(lambda rate: bound(at + rate * gradient))(rates)
    # near the top what is left is rounding, which must stop no step
    first = (after > before - 1e-5 * jnp.maximum(1, jnp.abs(before))).argmax()
    return variational.ascend_q(model, x, q, rate=rates[first])


@jax.jit
def _to_the_top(model: InfiniteMixture, x: Array, mean: Array, log_var: Array) -> Posterior:
    def going_on(now: Any) -> Array:
        done, _, moved = now
        return (done < _STEPS) & (moved > 1e-6)

    def step(now: Any) -> Any:
        done, q, _ = now
        new = _one_step(model, x, *q)
        moved = jnp.maximum(jnp.abs(new.mean - q.mean).max(), jnp.abs(new.log_var - q.log_var).max())
        return done + 1, new, moved

    q = Posterior(jnp.reshape(mean, (1, 1)), jnp.reshape(log_var, (1, 1)))
    return jax.lax.while_loop(going_on, step, (0, q, jnp.array(jnp.inf)))[1]


@jax.jit
def _model_step(model: InfiniteMixture, x: Array, mean: Array, log_var: Array) -> InfiniteMixture:
    """A gradient step, of the length that raises L_b most: a wide q far off bears short ones only."""
    x, q = jnp.reshape(x, (1,)), Posterior(jnp.reshape(mean, (1, 1)), jnp.reshape(log_var, (1, 1)))

    def reached(rate: Array) -> Array:
        return bounds.elbo_joint(elbo_trials.ascend_model(model, x, q, rate=rate), x, q)[0]

    rates = 0.02 * 0.5 ** jnp.arange(8.0)
    values = jax.lax.map(reached, rates)
    best = jnp.where(jnp.isfinite(values), values, -jnp.inf).argmax()
    return elbo_trials.ascend_model(model, x, q, rate=rates[best])


_ENDS = {"mean": (-4.0, 4.0), "log_var": (-5.0, 2.0)}


def step_q(values: dict[str, Any], *, to_the_top: bool = False) -> dict[str, float]:
    """Where gradient ascent on L_b takes the sliders of q: one step, or until it stands still.

    Args:
        values: The control values of `bar_panel`.
        to_the_top: Whether to go on until no step moves q by more than 1e-6.
    """
    step = _to_the_top if to_the_top else _one_step
    q = step(values["models"][values["decoder"]], values["x"], values["mean"], values["log_var"])
    there = {"mean": float(q.mean[0, 0]), "log_var": float(q.log_var[0, 0])}
    return {name: min(max(there[name], low), high) for name, (low, high) in _ENDS.items()}


def step_model(values: dict[str, Any]) -> dict[str, Any]:
    """The models after one gradient step on P(x|z) of the chosen one.

    Args:
        values: The control values of `bar_panel`.
    """
    models, name = values["models"], values["decoder"]
    moved = _model_step(models[name], values["x"], values["mean"], values["log_var"])
    return {"models": {**models, name: moved}}


@figures.styled
def bar_panel() -> Panel:
    """The bar of the slide: L_b and KL stacked to log P(x), for a q that sliders and buttons move."""
    fig, (left, right) = figures.figure(8, 3.5, ncols=2, width_ratios=[1, 2.6])
    lower = left.bar([0], [1], bottom=_FLOOR, color=BLUE, alpha=0.55, width=0.6, label="L_b")[0]
    upper = left.bar([0], [1], bottom=_FLOOR, color=ORANGE, alpha=0.55, hatch="//", width=0.6, label="KL")[0]
    (level,) = left.plot([-0.5, 0.5], [0, 0], color=INK, label="log P(x)")
    left.set(title="log P(x) = L_b + KL", ylabel="nats", ylim=(_FLOOR, 4), xlim=(-0.75, 0.75), xticks=[])
    left.legend(loc="upper center")
    left.set_xlabel(f"(drawn from {_FLOOR:.0f} up)")
    right.plot(_Z, np.exp(-(_Z**2) / 2) / np.sqrt(2 * np.pi), ":", color=INK, label="P(z)")
    (likelihood,) = right.plot(_Z, 0 * _Z, "-.", color=GREEN, lw=1.5, label="P(x|z), no density in z")
    (posterior,) = right.plot(_Z, 0 * _Z, "--", color=ORANGE, label="P(z|x), exact")
    (q,) = right.plot(_Z, 0 * _Z, "-", color=BLUE, label="q(z|x)")
    right.set(title="Over z", xlabel="z (drag q's mean here)", ylabel="density", xlim=(-4, 4), ylim=(0, 2.6))
    right.legend(loc="upper left")

    def compute(x: float, decoder: str, mean: float, log_var: float, models: Any) -> Bar:
        return bar(models[decoder], x, mean, log_var)

    def update(what: Bar) -> None:
        bottom = max(what.elbo, _FLOOR)
        lower.set_height(bottom - _FLOOR)
        upper.set_y(bottom)
        upper.set_height(what.log_prob - bottom)
        level.set_ydata([what.log_prob] * 2)
        likelihood.set_ydata(what.likelihood)
        posterior.set_ydata(what.posterior)
        q.set_ydata(what.q)

    def say(what: Bar) -> str:
        return (
            f"L_b = {what.elbo:.4f} | KL(q || P(z|x)) = {abs(what.kl):.4f} | "
            f"their sum {what.elbo + what.kl:.4f} | log P(x) = {what.log_prob:.4f} nats"
        )

    def alt(what: Bar) -> str:
        return (
            f"A bar of L_b with the KL on top, up to log P(x); beside it q, P(z|x), P(z), P(x|z). {say(what)}"
        )

    controls = {
        "x": choice("x, the observation", 1.5, [(f"x = {x:g}", x) for x in elbo_trials.EXAMPLE_X]),
        "decoder": choice("μ(z)", CURVED, [CURVED, STRAIGHT]),
        "mean": slider("mean of q", 0.5, *_ENDS["mean"], 0.01),
        "log_var": slider("log-variance of q", 0.0, *_ENDS["log_var"], 0.01),
        "models": Kept(value={CURVED: elbo_trials.example(), STRAIGHT: elbo_trials.linear()}),
    }
    actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "one step on q": step_q,
        "q to the top": functools.partial(step_q, to_the_top=True),
        "one step on P(x|z)": step_model,
    }
    drawing = Drawing(fig, [lower, upper, level, likelihood, posterior, q], update, alt)
    return Panel(compute, drawing, controls, grab=Grab("mean", right), actions=actions, describe=say)


class Warned(NamedTuple):
    """What the panel of the lecture's warning draws."""

    slope: float
    elbo: float
    log_prob: float
    posterior: Float[np.ndarray, " points"]
    """P(z|x) on the grid of z, shape (points,)."""


@figures.styled
def warning_panel() -> Panel:
    """Raising L_b through P(x|z) alone: a slider for the slope a of P(x|z) = N(a z, .5^2), with q fixed."""
    fig, (left, right) = figures.figure(8, 3.2, ncols=2, width_ratios=[1.4, 1])
    slopes = np.linspace(0.4, 2.4, 201)
    levels = elbo_trials.warning(slopes)
    left.plot(slopes, levels.log_prob, color=INK, label="log P(x)")
    left.plot(slopes, levels.elbo, "--", color=BLUE, label="L_b")
    ends = elbo_trials.warning(np.array(elbo_trials.WARNING_SLOPES))
    for heights, colour in ((ends.elbo, BLUE), (ends.log_prob, INK)):
        left.annotate(
            "",
            (elbo_trials.WARNING_SLOPES[1], float(heights[1])),
            (elbo_trials.WARNING_SLOPES[0], float(heights[0])),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2},
        )
    (low,) = left.plot([], [], "s", color=BLUE, ms=7)
    (high,) = left.plot([], [], "o", color=INK, ms=7)
    left.set(title="From a = 1.94 to 0.94", xlabel="slope a of P(x|z)", ylabel="nats", ylim=(-17, 0))
    left.legend(loc="lower left")
    mean, sd = (float(a[0, 0]) for a in elbo_trials.warning_q())
    sd = np.exp(sd / 2)
    right.plot(
        _Z, np.exp(-(((_Z - mean) / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi), color=BLUE, label="q, fixed"
    )
    right.plot(_Z, np.exp(-(_Z**2) / 2) / np.sqrt(2 * np.pi), ":", color=INK, label="P(z)")
    (posterior,) = right.plot(_Z, 0 * _Z, "--", color=ORANGE, label="P(z|x) for this a")
    right.set(title="Over z", xlabel="z", ylabel="density", xlim=(-2, 4), ylim=(0, 2.2))
    right.legend(loc="upper left")

    def compute(slope: float) -> Warned:
        elbo, log_prob = (float(a[0]) for a in elbo_trials.warning(np.array([slope])))
        exact = elbo_trials.linear_posterior(np.array([elbo_trials.WARNING_X]), slope)
        density = np.exp(normal_log_prob(_Z, *(a[0, 0] for a in exact)))
        return Warned(slope, elbo, log_prob, density)

    def update(what: Warned) -> None:
        low.set_data([what.slope], [what.elbo])
        high.set_data([what.slope], [what.log_prob])
        posterior.set_ydata(what.posterior)

    def say(what: Warned) -> str:
        return (
            f"a = {what.slope:.3f} | L_b = {what.elbo:.2f} | log P(x) = {what.log_prob:.2f} | "
            f"KL(q || P(z|x)) = {what.log_prob - what.elbo:.2f} nats"
        )

    def alt(what: Warned) -> str:
        return (
            "L_b and log P(x) against the slope a, with arrows from 1.94 to 0.94: L_b rises, log P(x) falls; "
            f"beside it q and P(z|x). {say(what)}"
        )

    controls = {"slope": slider("slope a", elbo_trials.WARNING_SLOPES[0], 0.4, 2.4, 0.001)}
    drawing = Drawing(fig, [low, high, posterior], update, alt)
    return Panel(compute, drawing, controls, grab=Grab("slope", left), describe=say)


# --- estimates --------------------------------------------------------------------------------

_X = 1.5
"""The x of the panel of estimates: its posterior has two humps."""
SETS, DRAWS = 50, 10_000
NUMBERS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
KS = tuple(4**i for i in range(7))
WIDE, NARROW, BEST = "wide: N(0, 1.5²)", "narrow, on one hump", "the best Gaussian"


class Estimates(NamedTuple):
    """What sampling says of L_b and of its gradient, for one q."""

    elbo: float
    """L_b by quadrature, nats."""
    log_prob: float
    """log P(x)."""
    means: Float[np.ndarray, "numbers sets"]
    """Estimates of L_b from n draws, for each n of NUMBERS and each set of draws, shape (numbers, SETS)."""
    weighted: Float[np.ndarray, " ks"]
    """The importance-weighted bound for each k of KS, shape (ks,)."""
    reparameterised: Float[np.ndarray, " n"]
    """Single-draw estimates of the derivative of L_b by q's mean, shape (n,)."""
    score: Float[np.ndarray, " n"]
    """The same by the score function."""
    gradient: float
    """That derivative by quadrature."""


def the_qs() -> dict[str, Posterior]:
    """Three q for the x of the panel, by name."""
    x = jnp.array([_X])
    best = variational.best_gaussian(elbo_trials.example(), x)
    narrow = Posterior(best.mean, jnp.full((1, 1), 2 * np.log(0.15)))
    return {WIDE: Posterior(jnp.zeros((1, 1)), jnp.full((1, 1), 2 * np.log(1.5))), NARROW: narrow, BEST: best}


@jax.jit
def _single(model: InfiniteMixture, q: Posterior, key: Array) -> Array:
    """L_b from one draw each, SETS * DRAWS times."""
    eps = jax.random.normal(key, (SETS * DRAWS, 1))
    z, log_q = bounds.at(eps, q.mean[0], q.log_var[0])
    return model.log_joint(jnp.array([_X]), z)[0] - log_q


def estimates(q: Posterior, *, seed: int, baseline: bool = False) -> Estimates:
    """Sample the bound, the importance-weighted bound and the gradient for one q.

    Args:
        q: Mean and log-variance, each of shape (1, 1).
        seed: Of the draws.
        baseline: Whether the score function has L_b as its baseline.
    """
    model, x = elbo_trials.example(), jnp.array([_X])
    key_z, key_gradient = jax.random.split(jax.random.key(seed))
    each = np.asarray(_single(model, q, key_z), np.float64).reshape(SETS, DRAWS)
    sums = np.cumsum(each, axis=1)
    means = np.stack([sums[:, n - 1] / n for n in NUMBERS])
    flat = each.ravel()
    weighted = []
    for k in KS:
        groups = flat[: len(flat) // k * k].reshape(-1, k)
        top = groups.max(axis=1, keepdims=True)
        weighted.append(float(np.mean(top[:, 0] + np.log(np.exp(groups - top).mean(axis=1)))))
    elbo = float(bounds.elbo_joint(model, x, q)[0])
    of = {"key": key_gradient, "n": 5000}
    through = gradients.reparameterised_gradient(model, x, q, **of)
    by_score = gradients.score_function_gradient(model, x, q, **of, baseline=elbo if baseline else 0.0)
    return Estimates(
        elbo,
        float(model.log_prob(x)[0]),
        means,
        np.array(weighted),
        np.asarray(through.mean)[:, 0, 0],
        np.asarray(by_score.mean)[:, 0, 0],
        float(gradients.exact_gradient(model, x, q).mean[0, 0]),
    )


class Sampled(NamedTuple):
    """What the panel of estimates draws."""

    name: str
    n: int
    estimates: Estimates


@figures.styled
def estimates_panel() -> Panel:
    """Estimates of L_b from n draws, of its gradient from one, and the importance-weighted bound."""
    fig, (left, middle, right) = figures.figure(8, 3.4, ncols=3)
    numbers = np.array(NUMBERS)
    (cloud,) = left.plot([], [], ".", color=SKY, ms=4, label="|error| of 50 estimates")
    (spread,) = left.plot(numbers, numbers, "o-", color=BLUE, ms=4, label="root mean square")
    (law,) = left.plot(numbers, numbers, "--", color=INK, lw=1.2, label="proportional to 1/√n")
    (here,) = left.plot([1, 1], [1e-5, 1e3], ":", color=FAINT, lw=1)
    left.set(xscale="log", yscale="log", ylim=(1e-4, 300), xlim=(0.7, 15_000))
    left.set(title="Error of L_b", xlabel="n, draws (log scale)", ylabel="nats (log scale)")
    left.legend(loc="upper right", fontsize=8)
    edges = np.linspace(-15, 15, 61)
    through = middle.stairs(np.zeros(60), edges, color=BLUE, lw=1.8, label="reparameterised")
    by_score = middle.stairs(np.zeros(60), edges, color=ORANGE, ls="--", lw=1.8, label="score function")
    (exact,) = middle.plot([0, 0], [0, 1], ":", color=INK, label="exact")
    middle.set(
        title="Gradient, one draw each", xlabel="∂L_b/∂mean (ends: beyond)", ylabel="share", ylim=(0, 0.4)
    )
    middle.legend(loc="upper left", fontsize=8)
    (bound,) = right.plot(KS, KS, "o-", color=PURPLE, ms=4, label="weighted bound")
    (truth,) = right.plot([1, KS[-1]], [0, 0], color=INK, label="log P(x)")
    (elbo,) = right.plot([1, KS[-1]], [0, 0], "--", color=BLUE, label="L_b")
    right.set(xscale="log", title="Weighted bound", xlabel="k, weights (log scale)", ylabel="nats")
    right.set(ylim=(-6.5, -1))
    right.legend(loc="center right", fontsize=8)
    qs = the_qs()

    @functools.lru_cache(maxsize=32)
    def sampled(name: str, seed: int, baseline: bool) -> Estimates:
        return estimates(qs[name], seed=seed, baseline=baseline)

    def compute(name: str, n: int, baseline: bool, seed: int) -> Sampled:
        return Sampled(name, n, sampled(name, seed, baseline))

    def update(what: Sampled) -> None:
        of = what.estimates
        errors = np.abs(of.means - of.elbo)
        rms = np.sqrt((errors**2).mean(axis=1))
        cloud.set_data(np.full(SETS, what.n), errors[NUMBERS.index(what.n)])
        spread.set_ydata(rms)
        law.set_ydata(rms[0] / np.sqrt(numbers))
        here.set_xdata([what.n] * 2)
        for stairs, values in ((through, of.reparameterised), (by_score, of.score)):
            stairs.set_data(np.histogram(np.clip(values, -15, 15), edges)[0] / len(values))
        exact.set_xdata([of.gradient] * 2)
        bound.set_ydata(of.weighted)
        truth.set_ydata([of.log_prob] * 2)
        elbo.set_ydata([of.elbo] * 2)

    def say(what: Sampled) -> str:
        of = what.estimates
        rms = np.sqrt(((of.means[NUMBERS.index(what.n)] - of.elbo) ** 2).mean())
        return (
            f"n = {what.n}: L_b = {of.elbo:.3f} ± {rms:.3f} | spread (sd) of the gradient: reparameterised "
            f"{of.reparameterised.std():.2f}, score function {of.score.std():.2f} | "
            f"log P(x) = {of.log_prob:.3f}, weighted bound with k = {KS[-1]}: {of.weighted[-1]:.3f} nats"
        )

    def alt(what: Sampled) -> str:
        return (
            f"For a q that is {what.name}: errors of L_b against the number of draws, falling as one over "
            f"its root; histograms of two gradient estimators; the weighted bound against k. {say(what)}"
        )

    controls = {
        "name": choice("q", WIDE, list(qs)),
        "n": choice_slider("n, draws for each estimate", 100, list(NUMBERS)),
        "baseline": choice("baseline of the score function", False, [("none", False), ("L_b", True)]),
        "seed": whole_slider("seed of the draws", 0, 0, 9),
    }
    moving: list[Any] = [cloud, spread, law, here, through, by_score, exact, bound, truth, elbo]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)
