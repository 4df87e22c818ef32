"""What a GAN of numbers looks like, frame by frame: curves, exact distances, and what its players see."""

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lecture_lib import adversarial, measures, pushforward, toy_trials
from lecture_lib.datasets import Curve
from lecture_lib.gan_training import FittedGANs
from lecture_lib.pushforward import Law

LOW, HIGH, CELLS = -5.0, 4.0, 180
EDGES = np.linspace(LOW, HIGH, CELLS + 1)
"""The x axis of all pictures, and the cells over which the green curve is averaged."""
ARROWS = 21
_ASKED = 1024
"""How many equally likely x, real and generated, the players' means are taken over."""


class Film(NamedTuple):
    """A game, frame by frame; every array begins with an axis of frames."""

    kind: str
    """Of the data."""
    prior: str
    """Of z: "uniform" or "normal"."""
    step: Int[np.ndarray, " frames"]
    """Steps of G so far, shape (frames,)."""
    d: Float[np.ndarray, "frames 181"]
    """D at EDGES: the probability of being real."""
    density: Float[np.ndarray, "frames 180"]
    """Mean density of G(z) over each cell: the exact probability of the cell by its width."""
    z: Float[np.ndarray, " 21"]
    """Equally likely z; not one for each frame."""
    x: Float[np.ndarray, "frames 21"]
    """G(z) of those."""
    outside: Float[np.ndarray, " frames"]
    """The share of G's probability that lies beyond the x axis, shape (frames,), as all that follow."""
    loss_d: Float[np.ndarray, " frames"]
    """D's loss without the penalty, 2 log 2 = 1.386 where it says 1/2 to all."""
    loss_g: Float[np.ndarray, " frames"]
    """The mean of -log D(G(z)), whatever G minimises; log 2 where D says 1/2."""
    real: Float[np.ndarray, " frames"]
    """D's mean on real x."""
    fake: Float[np.ndarray, " frames"]
    """D's mean on G's x."""
    right: Float[np.ndarray, " frames"]
    """Share of decisions of D that are right, real and generated x being equally frequent."""
    js: Float[np.ndarray, " frames"]
    """The exact Jensen-Shannon divergence of the two curves, nats."""
    w1: Float[np.ndarray, " frames"]
    """Their exact Wasserstein-1 distance, units of x."""
    w1_averaged: Float[np.ndarray, " frames"]
    """The same for the averaged G."""
    reach: Float[np.ndarray, " frames"]
    """What reaches G: mean |d/dx| of -log D(x) at G's x."""
    reach_minimax: Float[np.ndarray, " frames"]
    """The same for log(1 - D(x))."""
    mean: Float[np.ndarray, " frames"]
    """Of G's x."""
    sd: Float[np.ndarray, " frames"]
    """Of G's x."""
    largest: Float[np.ndarray, " frames"]
    """The share of G's probability on the fuller side of the data's mean: of two bumps, 1 if one is lost."""

    def at(self, i: int) -> "Film":
        """The frame i alone, still with an axis of frames."""
        whole = ("kind", "prior", "z")
        return Film(*(v if name in whole else v[[i]] for name, v in self._asdict().items()))


def film(fitted: FittedGANs, kind: str, run: int = 0) -> Film:
    """Look at one of several games after all the steps that were kept.

    Args:
        fitted: Of `toy_trials.train`.
        kind: Of the data, a name of `toy_trials.DATA`.
        run: Which game.

    Raises:
        FloatingPointError: The game has diverged; the message names the step.
    """
    kept = jax.tree.map(lambda a: a[:, run], players(fitted.kept))
    finite = _finite(kept)
    if not finite.all():
        step = fitted.steps[int(np.argmin(finite))]
        raise FloatingPointError(
            f"training diverged: a weight is not finite at step {step}. Try a smaller learning rate."
        )
    return look(fitted.game, kept, kind, fitted.steps)


class Players(NamedTuple):
    """The parameters of a game that can be looked at."""

    generator: Any
    discriminator: Any
    averaged: Any


def players(state: Any) -> Players:
    """What can be looked at of a state, as NumPy arrays."""
    return Players(*(jax.tree.map(np.asarray, getattr(state, name)) for name in Players._fields))


def _finite(players: Players) -> np.ndarray:
    """In which frames all weights are finite."""
    leaves = jax.tree.leaves(players)
    return np.logical_and.reduce([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves])


def look(
    game: adversarial.Game, players: Players, kind: str, steps: Sequence[int] | Int[ArrayLike, " frames"]
) -> Film:
    """Look at players, which have an axis of frames. Where a weight is not finite all numbers are NaN.

    Args:
        game: The rules.
        players: Parameters with a leading axis.
        kind: Of the data.
        steps: Of each frame, shape (frames,).
    """
    finite = _finite(players)
    if not finite.all():
        seen = look(game, jax.tree.map(lambda a: np.where(_like(finite, a), a, 0), players), kind, steps)
        lost = {
            name: np.where(_like(finite, value), value, np.nan)
            for name, value in seen._asdict().items()
            if name not in ("kind", "prior", "step", "z")
        }
        return seen._replace(**lost)  # type: ignore[arg-type]  # by name, and not the strings
    prior = game.generator_of(players.generator).prior
    curve, z = toy_trials.DATA[kind], _codes(prior)
    d, x, real, fake, slopes = map(
        np.asarray, _look(players.generator, players.discriminator, z, _examples(kind), game=game)
    )
    p_fake = _sigmoid(fake)
    generators, averaged = (_laws(game, which) for which in (players.generator, players.averaged))
    below = np.stack([law.cdf(EDGES) for law in generators])
    half = np.array([law.cdf(np.array([toy_trials.MEAN]))[0] for law in generators])
    js, w1 = distances(generators, curve)
    return Film(
        kind,
        next(name for name, known in toy_trials.PRIORS.items() if known == prior),
        np.asarray(steps),
        d,
        np.diff(below, axis=1) / np.diff(EDGES),
        np.asarray(z)[_arrows(), 0],
        x[:, _arrows()],
        1 - below[:, -1] + below[:, 0],
        _softplus(-real).mean(1) + _softplus(fake).mean(1),
        _softplus(-fake).mean(1),
        _sigmoid(real).mean(1),
        p_fake.mean(1),
        ((real > 0).mean(1) + (fake < 0).mean(1)) / 2,
        js,
        w1,
        distances(averaged, curve)[1],
        ((1 - p_fake) * slopes).mean(1),
        (p_fake * slopes).mean(1),
        x.mean(1),
        x.std(1),
        np.maximum(half, 1 - half),
    )


@partial(jax.jit, static_argnames="game")
def _look(
    generators: Any, discriminators: Any, z: Array, real: Array, *, game: adversarial.Game
) -> tuple[Array, ...]:
    def one(generator: Any, discriminator: Any) -> tuple[Array, ...]:
        d, x = game.discriminator_of(discriminator), game.generator_of(generator)(z)
        slope = jax.grad(lambda x: d(x).sum())(x)[:, 0]
        at_edges = jax.nn.sigmoid(d(jnp.asarray(EDGES, jnp.float32)[:, None]))
        return at_edges, x[:, 0], d(real), d(x), jnp.abs(slope)

    return jax.vmap(one)(generators, discriminators)


def _like(finite: np.ndarray, values: Any) -> np.ndarray:
    """The mask with as many axes as what it is for."""
    return finite.reshape(-1, *[1] * (np.ndim(values) - 1))


def _laws(game: adversarial.Game, generators: Any) -> list[Law]:
    """The law of each frame's G."""
    g = game.generator_of(generators)
    prior: Any = g.prior
    layers, activation = pushforward.layers_of(g.decoder), pushforward.activation_of(g.decoder)
    frames = range(len(layers[0][0]))
    return [pushforward.law_of([(w[i], b[i]) for w, b in layers], activation, prior) for i in frames]


def _codes(prior: Any) -> Array:
    return prior.quantile((np.arange(_ASKED) + 0.5) / _ASKED)[:, None]


def _arrows() -> np.ndarray:
    """Which of the equally likely codes have arrows."""
    return ((np.arange(ARROWS) + 0.5) / ARROWS * _ASKED).astype(int)


@functools.cache
def _examples(kind: Any) -> Array:
    every = len(toy_trials.examples(kind)) // _ASKED
    return jnp.asarray(toy_trials.examples(kind)[every // 2 :: every])


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.exp(-_softplus(-logit.astype(np.float64)))


def _softplus(logit: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logit.astype(np.float64))


# --- exact distances ----------------------------------------------------------------------------


def nodes(law: Law, curve: Curve) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Where to compare G's law with the data's, and log-weights: Gauss-Legendre between all kinks.

    Returns:
        Rising x, shape (n,), and the logarithm of each one's share of dx.
    """
    cuts = [np.linspace(*curve.reach, 200), law.x]
    if not np.isfinite(law.prior.support()).all():  # the density is curved between the kinks
        cuts.append(np.interp(np.linspace(law.z[0], law.z[-1], 181), law.z, law.x))
    edges = np.unique(np.concatenate(cuts))
    wide = np.diff(edges)
    t, w = _GAUSS
    x = edges[:-1, None] + wide[:, None] * (t + 1) / 2
    return x.ravel(), np.log(wide[:, None] * w / 2).ravel()


_GAUSS = np.polynomial.legendre.leggauss(4)


def distances(
    laws: Sequence[Law], curve: Curve
) -> tuple[Float[np.ndarray, " laws"], Float[np.ndarray, " laws"]]:
    """The exact Jensen-Shannon divergence (nats) and Wasserstein-1 distance of each from the data.

    Args:
        laws: Of what several G make.
        curve: Of the data.

    Returns:
        Both of shape (laws,); see `measures.jensen_shannon` and `measures.wasserstein_1d`.
    """
    rules = [nodes(law, curve) for law in laws]
    every = np.concatenate([x for x, _ in rules])  # SciPy is asked once for all: it is slow to begin
    ends = np.cumsum([len(x) for x, _ in rules])[:-1]
    density, below = np.split(curve.density(every), ends), np.split(curve.cdf(every), ends)
    js, w1 = [], []
    for law, (x, log_weights), of_data, under_data in zip(laws, rules, density, below, strict=True):
        of_g, dx = law.density(x), np.exp(log_weights)
        atoms = max(0.0, 1 - float(np.sum(dx * of_g)))  # what G sends to single x: no D takes it for data
        with np.errstate(divide="ignore"):  # the logarithm of a density that is 0
            smooth = measures.jensen_shannon(np.log(of_g), np.log(of_data), log_weights)
        js.append(smooth + (atoms if atoms > 1e-9 else 0.0) * np.log(2) / 2)
        # by the same rule: between kinks it is exact where the trapezoids of `wasserstein_1d` cut corners
        w1.append(float(np.sum(dx * np.abs(law.cdf(x) - under_data))))
    return np.array(js), np.array(w1)
