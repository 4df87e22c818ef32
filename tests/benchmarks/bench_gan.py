"""GANs of numbers in compiled chunks against a loop that calls an `nnx.jit` step of D, then one of G.

Same players (1-16-16-1), losses with the R1 penalty, Adam, batches and learning rates. All sides run with
everything compiled beforehand, in turns (A B C A B C ...). The batches and z of all are drawn on the device;
the loop reads no loss until it has ended. A slower loop, with batches from NumPy and the losses read at each
step, would be easy to beat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from about import head, machine, row  # first: it puts the repository on the path
from flax import nnx

from lecture_lib import objectives, toy_films, toy_trials
from lecture_lib.networks import Discriminator, Generator
from lecture_lib.toy_trials import BATCH, RECIPE

TURNS = 5
LOOP_STEPS, STEPS = 1000, toy_trials.STEPS
GAMES = 256
TARGET_ONE, TARGET_MANY = 20, 40
# Made once: an optimiser with another transformation is compiled anew.
ADAM_D, ADAM_G = (
    optax.adam(rate, b1=RECIPE.momentum, b2=0.99)
    for rate in (RECIPE.discriminator_rate, RECIPE.generator_rate)
)


@nnx.jit
def d_step(d: Discriminator, optimizer: nnx.Optimizer, g: Generator, data: Any, key: Any, i: Any) -> Any:
    key_rows, key_z = jax.random.split(jax.random.fold_in(key, i))
    x = data[jax.random.randint(key_rows, (BATCH,), 0, len(data))]
    made = g(g.codes(key_z, BATCH))

    def loss(d: Discriminator) -> Any:
        penalty = RECIPE.penalty * objectives.r1_penalty(d, x)
        return objectives.NON_SATURATING.discriminator(d(x), d(made)) + penalty

    value, gradient = nnx.value_and_grad(loss)(d)
    optimizer.update(d, gradient)
    return value


@nnx.jit
def g_step(g: Generator, optimizer: nnx.Optimizer, d: Discriminator, key: Any, i: Any) -> Any:
    z = g.codes(jax.random.fold_in(key, i), BATCH)
    value, gradient = nnx.value_and_grad(lambda g: objectives.NON_SATURATING.generator(d(g(z))))(g)
    optimizer.update(g, gradient)
    return value


def by_step(steps: int) -> None:
    """One GAN, a call for each update."""
    gan = toy_trials.build(nnx.Rngs(0))
    data, (key_d, key_g) = jnp.asarray(toy_trials.examples(RECIPE.data)), jax.random.split(jax.random.key(0))
    of_d = nnx.Optimizer(gan.discriminator, ADAM_D, wrt=nnx.Param)
    of_g = nnx.Optimizer(gan.generator, ADAM_G, wrt=nnx.Param)
    told = []
    for i in range(steps):
        told.append(d_step(gan.discriminator, of_d, gan.generator, data, key_d, i))
        told.append(g_step(gan.generator, of_g, gan.discriminator, key_g, i))
    jax.block_until_ready((told, nnx.state(gan)))


def one(steps: int) -> None:
    """One GAN as the sliders of the notebook train it, with all its frames."""
    fitted = toy_trials.train(RECIPE, keys=jax.random.split(jax.random.key(0), 1), steps=steps)
    jax.block_until_ready(fitted.last)


def many(steps: int) -> None:
    """The map of the notebook: 256 GANs side by side."""
    fitted = toy_trials.train(
        RECIPE,
        keys=jax.random.split(jax.random.key(0), GAMES),
        steps=steps,
        every=50,
        keep=toy_films.Players._fields,
        chunk=50,
    )
    jax.block_until_ready(fitted.last)


def speed(train: Callable[[int], None], steps: int, games: int = 1) -> float:
    """Steps per second, of all games together."""
    began = time.perf_counter()
    train(steps)
    return games * steps / (time.perf_counter() - began)


def main() -> None:
    print(machine("jax", "flax", "optax"), f"; device: {jax.devices()[0].platform}", sep="")
    print(f"Batches of {BATCH}, R1, Adam; medians of {TURNS} turns; compiling is not counted")
    sides: list[tuple[str, Callable[[int], None], int, int, int | None]] = [
        ("nnx.jit loop", by_step, LOOP_STEPS, 1, None),
        ("one GAN by fit_gans", one, STEPS, 1, TARGET_ONE),
        (f"{GAMES} GANs by fit_gans", many, STEPS, GAMES, TARGET_MANY),
    ]
    by_step(20)
    one(STEPS)
    many(STEPS)
    turns = [[speed(train, steps, games) for _, train, steps, games, _ in sides] for _ in range(TURNS)]
    head("training", "steps of G (and D) per second", "times the loop", "target")
    for (name, _, _, _, target), speeds in zip(sides, zip(*turns, strict=True), strict=True):
        ratio = statistics.median(s / turn[0] for s, turn in zip(speeds, turns, strict=True))
        wanted = f"at least {target}" if target else ""
        row(name, f"{statistics.median(speeds):,.0f}", f"{ratio:.1f}", wanted)


if __name__ == "__main__":
    main()
