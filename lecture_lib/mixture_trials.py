"""The experiments of notebook 02: how well finite and infinite mixtures imitate a curve.

Finite mixtures are fitted by EM to the exact curve (its quadrature nodes, weighted) or to draws from it; the
network of an infinite mixture is trained on its exact log-likelihood.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Real

from lecture_lib import checks, measures, objectives, quadrature, training
from lecture_lib.datasets import Curve
from lecture_lib.gaussians import InfiniteMixture, Mixture, normal_log_prob
from lecture_lib.networks import GaussianDecoder
from lecture_lib.priors import NORMAL, Prior, Uniform

MOST = 30
"""Components of the largest finite mixture."""
ROUNDS = 1000
LEAST_SD = 1e-3
PRIORS: Mapping[str, Prior] = {"normal N(0, 1)": NORMAL, "uniform on (-2, 2)": Uniform(-2.0, 2.0)}
HIDDEN = (32, 32)
STEPS, EVERY, BATCH = 3000, 100, 128
_FIT_POINTS, _JUDGE_POINTS = 801, 1201


class Errors(NamedTuple):
    """How far a model is from a curve."""

    kl: float
    """KL(curve || model), nats."""
    l1: float
    """The area between the two densities, from 0 to 2."""


class Fit(NamedTuple):
    """Finite mixtures of 1 to MOST Gaussians that imitate one curve."""

    mixtures: tuple[Mixture, ...]
    errors: tuple[Errors, ...]
    """Of each mixture."""


_log_prob = jax.jit(lambda model, x: model.log_prob(x))
_network = jax.jit(lambda model, z: model.network(z))


def errors(curve: Curve, model: Mixture | InfiniteMixture) -> Errors:
    """Compare a model with the curve that it imitates, by quadrature in float64."""
    with jax.enable_x64(True):
        x, log_p, log_weights = _at_nodes(curve, _JUDGE_POINTS)
        log_q = np.asarray(_log_prob(model, x))
    return Errors(measures.kl(log_p, log_q, log_weights), measures.l1(log_p, log_q, log_weights))


def _at_nodes(curve: Curve, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where, log-density and log-weights, in float64; call it with 64 bits enabled."""
    rule = curve.rule(points)
    x = np.asarray(rule.nodes[:, 0])
    with np.errstate(divide="ignore"):
        return x, np.log(curve.density(x)), np.asarray(rule.log_weights)


def starts(
    x: Real[ArrayLike, " n"], masses: Real[ArrayLike, " n"], most: int = MOST
) -> tuple[Float[np.ndarray, "most most"], Float[np.ndarray, "most most"], Float[np.ndarray, "most most"]]:
    """Where EM begins: for K = 1 ... most, Gaussians over K equal shares of the points.

    Args:
        x: Points in rising order, shape (n,).
        masses: The weight of each, their sum 1, shape (n,).
        most: The largest K.

    Returns:
        Weights, means and variances, each of shape (most, most); the weights beyond K are 0.
    """
    x, masses = np.asarray(x, np.float64), np.asarray(masses, np.float64)
    below = np.cumsum(masses) - masses / 2
    weights, means, variances = (np.full((most, most), value) for value in (0.0, 0.0, 1.0))
    for k in range(1, most + 1):
        low, mid, high = (np.interp((np.arange(k) + share) / k, below, x) for share in (0.16, 0.5, 0.84))
        weights[k - 1, :k], means[k - 1, :k] = 1 / k, mid
        variances[k - 1, :k] = np.maximum((high - low) / 2, LEAST_SD) ** 2
    return weights, means, variances


def em(
    x: Float[Array, " n"],
    masses: Float[Array, " n"],
    weights: Float[Array, " k"],
    means: Float[Array, " k"],
    variances: Float[Array, " k"],
    *,
    rounds: int = ROUNDS,
) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, " k"]]:
    """Expectation-maximisation (Dempster, Laird and Rubin 1977) for weighted points, from a given start.

    Args:
        x: Points.
        masses: The weight of each, their sum 1: equal for draws; P(x) dx for a curve.
        weights, means, variances: The mixture to begin with; a component of weight 0 stays away.
        rounds: How many times both steps are taken.

    Returns:
        The new weights, means and variances; no standard deviation falls below LEAST_SD.

    Raises:
        TypeError, ValueError: An argument does not hold finite floating-point numbers.
    """
    values = {"x": x, "masses": masses, "weights": weights, "means": means, "variances": variances}
    for name, value in values.items():
        checks.floating(name, value)
        checks.finite(name, value)
    return _em(*checks.floats(**values), rounds=rounds)


@partial(jax.jit, static_argnames="rounds")
def _em(x: Array, masses: Array, *start: Array, rounds: int) -> tuple[Array, Array, Array]:

    def one_round(_: Any, now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weights, means, variances = now
        log_joint = jnp.log(weights) + normal_log_prob(x[:, None], means, jnp.log(variances))
        shares = jax.nn.softmax(log_joint, axis=-1) * masses[:, None]
        total = shares.sum(axis=0)
        alive = total > 1e-12
        safe = jnp.where(alive, total, 1.0)
        new_means = (shares * x[:, None]).sum(axis=0) / safe
        spread = (shares * (x[:, None] - new_means) ** 2).sum(axis=0) / safe
        return (
            jnp.where(alive, total, 0.0),
            jnp.where(alive, new_means, means),
            jnp.where(alive, jnp.maximum(spread, LEAST_SD**2), variances),
        )

    return jax.lax.fori_loop(0, rounds, one_round, start)


@jax.jit
def _em_each(x: Any, masses: Any, *starts: Any) -> Any:
    """EM from each start, one after the other: side by side they would not fit into the cache."""
    return jax.lax.map(lambda start: em(x, masses, *start), starts)


def fit_curve(curve: Curve) -> Fit:
    """Imitate the curve itself with 1 to MOST Gaussians, by maximum likelihood."""
    with jax.enable_x64(True):
        x, log_p, log_weights = _at_nodes(curve, _FIT_POINTS)
    return _fit(curve, x, np.exp(log_p + log_weights))


def fit_draws(curve: Curve, key: PRNGKeyArray, n: int) -> Fit:
    """Imitate n draws from the curve with 1 to MOST Gaussians; the errors are still those to the curve."""
    x = np.sort(np.asarray(curve.sample(key, checks.whole("n", n, low=2)), np.float64))
    return _fit(curve, x, np.full(n, 1 / n))


def side_by_side(fit: Callable[[Curve], Fit], curves: Mapping[str, Curve]) -> dict[str, Fit]:
    """Fit several curves at once, one on each core.

    Args:
        fit: `fit_curve`, or a function that calls `fit_draws`.
        curves: By name.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(curves, pool.map(fit, curves.values()), strict=True))


def _fit(curve: Curve, x: np.ndarray, masses: np.ndarray) -> Fit:
    masses = masses / masses.sum()
    found = _em_each(*(jnp.asarray(a, jnp.float32) for a in (x, masses, *starts(x, masses))))
    weights, means, variances = (np.asarray(a, np.float64) for a in found)
    weights /= weights.sum(axis=1, keepdims=True)
    mixtures = tuple(
        Mixture(weights[k - 1, :k], means[k - 1, :k], variances[k - 1, :k]) for k in range(1, MOST + 1)
    )
    with jax.enable_x64(True):  # all at once, filled up with components of weight 0
        at, log_p, log_weights = _at_nodes(curve, _JUDGE_POINTS)
        log_q = np.asarray(jax.vmap(_log_prob, in_axes=(0, None))(_unchecked(weights, means, variances), at))
    judged = tuple(
        Errors(measures.kl(log_p, row, log_weights), measures.l1(log_p, row, log_weights)) for row in log_q
    )
    return Fit(mixtures, judged)


def _unchecked(*arrays: np.ndarray) -> Mixture:
    """Many mixtures as one, for `jax.vmap`."""
    return Mixture.tree_unflatten(None, map(jnp.asarray, arrays))


class Run(NamedTuple):
    """An infinite mixture on its way to a curve."""

    steps: tuple[int, ...]
    """Training steps done at each snapshot; the first is 0."""
    models: tuple[InfiniteMixture, ...]
    """The model as it was then."""


def train(
    data: Float[ArrayLike, "n *dim"],
    prior: Prior,
    *,
    key: PRNGKeyArray,
    dim: int | None = None,
    log_var: float = 0.0,
    steps: int = STEPS,
    progress: str | None = None,
) -> Run:
    """Train a network z -> (mean, log-variance) on the exact log-likelihood of draws.

    Args:
        data: Draws, shape (n,), or (n, dim).
        prior: Of the 1-D z.
        key: Seeds the weights and the batches.
        dim: Length of x; None for numbers x.
        log_var: Where the log-variance starts; see `networks.GaussianDecoder`.
        steps: Number of updates.
        progress: Label of the progress bar; None shows none.

    Returns:
        The model after every EVERY steps, as far as training came.

    Raises:
        ValueError: The shape of the data does not fit dim.
    """
    shape, one = np.shape(data), () if dim is None else (dim,)
    if not shape or shape[1:] != one:
        raise ValueError(f"data has shape {shape}; expected {('n', *one)}, to fit dim {dim}")
    key_weights, key_training = jax.random.split(key)
    network = GaussianDecoder(1, dim, HIDDEN, log_var=log_var, rngs=nnx.Rngs(key_weights))
    model = InfiniteMixture(network, prior)
    kept = [(0, model)]

    def keep(now: training.Progress[InfiniteMixture]) -> None:
        kept.append((now.step, now.model()))  # whole or, after an interruption, not at all

    training.fit(
        model,
        objectives.negative_log_likelihood,
        data,
        key=key_training,
        steps=steps,
        batch_size=BATCH,
        chunk=EVERY,
        on_chunk=keep,
        progress=progress,
    )
    return Run(*zip(*kept, strict=True))


def convergence(
    model: InfiniteMixture, ks: Sequence[int], *, key: PRNGKeyArray
) -> dict[str, Float[np.ndarray, " ks"]]:
    """How fast K Gaussians come to the infinite mixture that they stand for, in float64.

    Args:
        model: A mixture of numbers x with a 1-D z.
        ks: Numbers of Gaussians.
        key: For the random z.

    Returns:
        The largest difference of the densities on [-6, 6] for each K, shape (len(ks),): for "random z" (the
        mean over ten sets), for "equal shares" (z in the middle of K equal shares of P(z)), and for the
        "quadrature nodes" of K points with their weights.
    """
    with jax.enable_x64(True):
        x, prior = np.linspace(-6, 6, 201), model.prior
        exact = np.exp(np.asarray(_log_prob(model, x)))
        shares = {k: (np.arange(k) + 0.5) / k for k in ks}
        # one call for all K: each new length would be compiled anew
        drawn = np.asarray(prior.sample(key, 10 * sum(ks)))[:, 0]
        random = iter(np.split(drawn, np.cumsum(np.repeat(ks, 10))))
        middles = np.asarray(prior.quantile(np.concatenate(list(shares.values()))))
        middle = iter(np.split(middles, np.cumsum(ks)))
        sets: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        for k in ks:
            equal = np.full(k, 1 / k)
            sets["random z", k] = [(next(random), equal) for _ in range(10)]
            sets["equal shares", k] = [(next(middle), equal)]
            z, log_weights = (np.asarray(a) for a in prior.rule(k))
            sets["quadrature nodes", k] = [(z[:, 0], np.exp(log_weights))]
        together = np.concatenate([z for group in sets.values() for z, _ in group])
        mean, log_var = (np.asarray(a) for a in _network(model, together[:, None]))
        log_prior = np.asarray(prior.log_prob(together[:, None]))
    found, done = {}, 0
    for name, group in sets.items():
        worst = []
        for z, masses in group:
            at = slice(done, done + len(z))
            sd = np.exp(log_var[at] / 2)
            if name[0] == "quadrature nodes":
                masses = masses * np.exp(log_prior[at])
            density = np.exp(-(((x[:, None] - mean[at]) / sd) ** 2) / 2) @ (masses / sd) / np.sqrt(2 * np.pi)
            worst.append(np.abs(density - exact).max())
            done += len(z)
        found[name] = float(np.mean(worst))
    return {way: np.array([found[way, k] for k in ks]) for way in dict.fromkeys(way for way, _ in sets)}


def held_out(models: Mapping[str, Mixture | InfiniteMixture], x: Float[Array, "n *dim"]) -> dict[str, float]:
    """Mean log-likelihood of fresh draws under each model, in nats for each draw."""
    (x,) = checks.floats(x=x)
    return {name: float(_log_prob(model, x).mean()) for name, model in models.items()}


def table(rows: Mapping[str, Mapping[str, float]], heading: str) -> str:
    """Numbers by row and column as text, all rows with the same columns."""
    columns = list(next(iter(rows.values())))
    cells = [[heading, *columns]]
    cells += [[name, *(f"{row[c]:.3f}" for c in columns)] for name, row in rows.items()]
    first, *rest = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = [
        [name.ljust(first), *(text.rjust(wide) for text, wide in zip(row, rest, strict=True))]
        for name, *row in cells
    ]
    return "\n".join(map("  ".join, lines))


def target() -> Mixture:
    """The mixture of the exercise in which a picture is to be matched."""
    return Mixture(np.array([0.35, 0.65]), np.array([1.0, -0.5]), np.array([0.35, 2.0]) ** 2)


def to_target(mixture: Mixture) -> float:
    """The area between a mixture and that of the exercise, from 0 to 2."""
    nodes, log_weights = quadrature.trapezoid(-12.0, 12.0, 2401)
    return measures.l1(_log_prob(target(), nodes[:, 0]), _log_prob(mixture, nodes[:, 0]), log_weights)
