"""One step of either player: who moves and who does not, against NumPy, and by which gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import special

from lecture_lib import adversarial, gan_trials, objectives
from lecture_lib.networks import GAN, Discriminator, Generator
from tests.gans import numpy_d, pictures, tiny
from tests.test_training import same

KEY = jax.random.key(0)
X = jnp.asarray(pictures(16))


def remember(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params)


TELLING = optax.GradientTransformation(remember, lambda gradient, old, params=None: (gradient, gradient))
"""Gradient descent whose moments are the last gradient."""


@partial(jax.jit, static_argnums=0)
def of_d(game: Any, state: Any, x: Any, key: Any, rate: Any, penalty: Any) -> Any:
    return game.discriminator_step(state, x, key, rate=rate, penalty=penalty)


@partial(jax.jit, static_argnums=0)
def of_g(game: Any, state: Any, key: Any, rate: Any) -> Any:
    return game.generator_step(state, 16, key, rate=rate)


# --- who moves ------------------------------------------------------------------------------

GAME, START = adversarial.start(tiny())
G = ("generator", "averaged", "generator_moments", "steps")
D = ("discriminator", "discriminator_moments")


@pytest.mark.parametrize(("player", "moves", "stays"), [("D", D, G), ("G", G, D)])
def test_a_step_moves_one_player_and_hands_the_other_on(
    player: str, moves: tuple[str, ...], stays: tuple[str, ...]
) -> None:
    def step(state: Any) -> Any:
        if player == "D":
            after = GAME.discriminator_step(state, X, KEY, rate=0.1, penalty=0.1)[0]
        else:
            after = GAME.generator_step(state, 16, KEY, rate=0.1)[0]
        for part in stays:  # not equal arrays only: the same
            assert getattr(after, part) is getattr(state, part)
        return after

    jax.eval_shape(step, START)
    after = (of_d(GAME, START, X, KEY, 0.1, 0.1) if player == "D" else of_g(GAME, START, KEY, 0.1))[0]
    assert sorted(moves + stays) == sorted(START._fields)
    for part in stays:
        assert same(getattr(after, part), getattr(START, part))
    for part in moves:
        assert not same(getattr(after, part), getattr(START, part))
        for new, old in zip(
            jax.tree.leaves(getattr(after, part)), jax.tree.leaves(getattr(START, part)), strict=True
        ):
            assert new.dtype == old.dtype and not same(new, old), "a part of it was left out"


def test_start() -> None:
    assert same(START.averaged, START.generator)
    assert int(START.steps) == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((START.generator_moments, START[4])))
    assert same(nnx.state(GAME.model(START)), nnx.state(tiny()))


def test_players_are_copied() -> None:
    """In both directions, and from each other."""
    gan = tiny()
    game, state = adversarial.start(gan)
    before = jax.tree.map(np.asarray, state)
    gan.generator.decoder.layers.layers[0].bias[...] = jnp.full(8, 7.0)
    made = game.model(state)
    made.discriminator.layers.layers[0].bias[...] = jnp.full(8, 7.0)
    made.generator.decoder.layers.layers[0].kernel[...] = jnp.full((2, 8), 7.0)
    assert same(state, before)
    assert (gan.discriminator.layers.layers[0].bias[...] == 0).all()
    assert same(nnx.state(game.generator_of(state.averaged)), nnx.state(tiny().generator))


def test_rules_are_the_same_for_players_of_the_same_shape() -> None:
    """They are compiled in: a fresh pair of players must not be compiled anew."""
    again, state = adversarial.start(tiny(5))
    assert again == GAME and hash(again) == hash(GAME) and not same(state, START)
    for other in (
        adversarial.start(tiny(), objectives.MINIMAX),
        adversarial.start(tiny(), transform=TELLING),
        adversarial.start(tiny(pixels=5)),
    ):
        assert other[0] != GAME


# --- which gradient -------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def made(game: Any, params: Any, z: Any) -> Any:
    return game.generator_of(params)(z)


@jax.jit
def back_through_d(d: Any, x: Any, slope: Any) -> Any:
    return jax.vjp(d, x)[1](slope)[0]


@partial(jax.jit, static_argnums=0)
def back_through_g(game: Any, params: Any, z: Any, by_pixels: Any) -> Any:
    return jax.vjp(lambda params: game.generator_of(params)(z), params)[1](by_pixels)[0]


SLOPES = {
    objectives.NON_SATURATING: lambda a: -special.expit(-a),
    objectives.MINIMAX: lambda a: -special.expit(a),
    objectives.LEAST_SQUARES: lambda a: a - 1,
}


@pytest.mark.parametrize("losses", SLOPES, ids=["non-saturating", "minimax", "least squares"])
def test_gradient_of_g_comes_through_the_pixels(losses: Any) -> None:
    """The chain rule: by the logit (SciPy), through D to the pixels, through G to its parameters."""
    game, state = adversarial.start(tiny(1), losses, TELLING)
    z = jax.random.normal(KEY, (16, 2))
    after, said = of_g(game, state, KEY, 0.5)
    d = game.discriminator_of(state.discriminator)
    x = made(GAME, state.generator, z)
    a = numpy_d(d, x)
    by_pixels = back_through_d(d, x, jnp.asarray(SLOPES[losses](a) / 16, jnp.float32))
    expected = back_through_g(GAME, state.generator, z, by_pixels)
    told = after.generator_moments
    for ours, theirs in zip(jax.tree.leaves(told), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)  # float32, sums over 16 codes
        assert np.abs(theirs).max() > 1e-3
    # and a step is that gradient times the rate
    moved = jax.tree.map(lambda w, g: w - 0.5 * g, state.generator, told)
    for ours, theirs in zip(jax.tree.leaves(after.generator), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert float(said.loss) == pytest.approx(float(losses.generator(a)), rel=1e-5)
    if losses is objectives.NON_SATURATING:
        np.testing.assert_allclose(-gan_trials.pull(d, x) / 16, by_pixels, rtol=1e-4, atol=1e-8)


# --- against NumPy --------------------------------------------------------------------------


class Adam:
    """Kingma and Ba (2015), algorithm 1, in float64."""

    def __init__(self) -> None:
        self.m, self.v, self.t = 0.0, 0.0, 0

    def __call__(self, gradient: Any) -> Any:
        self.t += 1
        self.m = 0.5 * self.m + 0.5 * gradient
        self.v = 0.99 * self.v + 0.01 * gradient**2
        return self.m / (1 - 0.5**self.t) / (np.sqrt(self.v / (1 - 0.99**self.t)) + 1e-8)


def test_steps_of_a_linear_gan_are_those_written_out() -> None:
    """G(z) = z A + c and D(x) = x w + b, with all derivatives by hand; three steps of D, two of G."""
    rng = np.random.default_rng(1)
    a, c, w, b = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3), 0.3
    gan = GAN(Generator(2, 3, (), squash=None, rngs=nnx.Rngs(0)), Discriminator(3, (), rngs=nnx.Rngs(0)))
    g_layer: Any = gan.generator.decoder.layers.layers[0]
    d_layer: Any = gan.discriminator.layers.layers[0]
    g_layer.kernel[...], g_layer.bias[...] = jnp.asarray(a, jnp.float32), jnp.asarray(c, jnp.float32)
    d_layer.kernel[...], d_layer.bias[...] = jnp.asarray(w[:, None], jnp.float32), jnp.array([b], jnp.float32)
    game, state = adversarial.start(gan)
    real = rng.normal(1, 0.5, size=(16, 3))
    gamma, rate_d, rate_g = 0.2, 0.03, 0.02
    adam = {name: Adam() for name in "acwb"}
    mean_a, mean_c, made = a, c, 0

    for i, who in enumerate("DGDDG"):
        key = jax.random.fold_in(KEY, i)
        z = np.asarray(jax.random.normal(key, (16, 2)), np.float64)
        fake = z @ a + c
        on_fake = fake @ w + b
        if who == "D":
            on_real = real @ w + b
            state, said = of_d(game, state, jnp.asarray(real, jnp.float32), key, rate_d, gamma)
            loss = np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean() + gamma * w @ w / 2
            seen = special.expit(on_real).mean()
            by_real, by_fake = -special.expit(-on_real) / 16, special.expit(on_fake) / 16
            w = w - rate_d * adam["w"](real.T @ by_real + fake.T @ by_fake + gamma * w)
            b = b - rate_d * adam["b"](by_real.sum() + by_fake.sum())
        else:
            state, said = of_g(game, state, key, rate_g)
            loss, seen = np.logaddexp(0, -on_fake).mean(), 0.0
            by_x = np.outer(-special.expit(-on_fake) / 16, w)
            a = a - rate_g * adam["a"](z.T @ by_x)
            c = c - rate_g * adam["c"](by_x.sum(axis=0))
            kept = min(0.999, (1 + made) / (10 + made))
            mean_a, mean_c = kept * mean_a + (1 - kept) * a, kept * mean_c + (1 - kept) * c
            made += 1
        # float32, five steps
        assert float(said.loss) == pytest.approx(loss, rel=1e-5)
        assert float(said.real) == pytest.approx(seen, rel=1e-5)
        assert float(said.fake) == pytest.approx(special.expit(on_fake).mean(), rel=1e-5)
        for params, expected in (
            (game.generator_of(state.generator).decoder, (a, c)),
            (game.generator_of(state.averaged).decoder, (mean_a, mean_c)),
            (game.discriminator_of(state.discriminator), (w[:, None], [b])),
        ):
            layer: Any = params.layers.layers[0]
            np.testing.assert_allclose(layer.kernel[...], expected[0], atol=1e-5)
            np.testing.assert_allclose(layer.bias[...], expected[1], atol=1e-5)
        assert int(state.steps) == made


def test_what_d_says_is_told_before_its_update() -> None:
    _, said = of_d(GAME, START, X, KEY, 0.1, 0.0)
    gan = tiny()
    made = gan.generator(jax.random.normal(KEY, (16, 2)))
    on_real, on_fake = numpy_d(gan.discriminator, X), numpy_d(gan.discriminator, made)
    assert float(said.real) == pytest.approx(special.expit(on_real).mean(), rel=1e-5)
    assert float(said.fake) == pytest.approx(special.expit(on_fake).mean(), rel=1e-5)
    expected = np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean()
    assert float(said.loss) == pytest.approx(expected, rel=1e-5)


def test_penalty_is_r1_times_its_weight() -> None:
    losses = [float(of_d(GAME, START, X, KEY, 0.1, gamma)[1].loss) for gamma in (0.0, 0.5, 1.0)]
    r1 = float(objectives.r1_penalty(tiny().discriminator, X))
    np.testing.assert_allclose(np.diff(losses), r1 / 2, rtol=1e-4)  # a difference of float32 numbers near 1.4
    assert r1 > 0.1


# --- the averaged generator -----------------------------------------------------------------


def test_average_follows_its_recurrence() -> None:
    state, expected = START, [np.asarray(w, np.float64) for w in jax.tree.leaves(START.generator)]
    for i in range(30):
        state, _ = of_g(GAME, state, jax.random.fold_in(KEY, i), 0.05)
        kept = (1 + i) / (10 + i)
        now = jax.tree.leaves(state.generator)
        expected = [kept * mean + (1 - kept) * np.asarray(w) for mean, w in zip(expected, now, strict=True)]
    for ours, theirs in zip(jax.tree.leaves(state.averaged), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)  # float32, 30 steps of means of numbers below 2
    assert not same(state.averaged, state.generator)


def test_average_is_over_a_thousand_steps_at_most() -> None:
    late = START._replace(
        averaged=jax.tree.map(jnp.ones_like, START.averaged), steps=jnp.asarray(START.steps + 1_000_000)
    )
    after, _ = of_g(GAME, late, KEY, 0.0)
    for ours, w in zip(jax.tree.leaves(after.averaged), jax.tree.leaves(START.generator), strict=True):
        np.testing.assert_allclose(ours, 0.999 + 0.001 * np.asarray(w, np.float64), atol=1e-6)
