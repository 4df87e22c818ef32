"""`training.fit` against a loop that calls an `nnx.jit` step for each batch: same model, loss and batches.

Both run the same number of steps with Adam, with everything compiled beforehand, in turns (A B A B ...).
The batches of both are drawn on the device; the loop reads no loss until it has ended. A slower loop, with
batches from NumPy and the loss read at each step, would be easy to beat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from about import machine  # first: it puts the repository on the path
from flax import nnx

from lecture_lib import datasets, moon_trials, objectives, training
from lecture_lib.networks import VAE

TARGET = 15
TURNS = 7
RATE = 1e-3
ADAM = optax.adam(RATE)  # made once: an optimiser with another transformation is compiled anew


class Case(NamedTuple):
    name: str
    build: Callable[[], VAE]
    data: Any
    batch: int | None
    """Examples drawn for a batch; None takes all."""
    steps: int


def cases() -> list[Case]:
    digits = jnp.asarray(datasets.digits("train").images.reshape(-1, 64))
    moons = moon_trials.moons(moon_trials.FIVE_PHASES)
    return [
        Case("digits, VAE 64-64-2 (our default)", lambda: VAE(64, 2, rngs=nnx.Rngs(0)), digits, 64, 3000),
        Case("digits, VAE 64-128-2", lambda: VAE(64, 2, (128,), rngs=nnx.Rngs(0)), digits, 64, 3000),
        Case("digits, VAE 64-256-128-2", lambda: VAE(64, 2, (256, 128), rngs=nnx.Rngs(0)), digits, 64, 1500),
        Case(
            "five moons, VAE of notebook 01", lambda: moon_trials.build("VAE", nnx.Rngs(0)), moons, None, 2000
        ),
    ]


@partial(nnx.jit, static_argnames="size")
def step(model: VAE, optimizer: nnx.Optimizer, data: Any, key: Any, i: Any, *, size: int | None) -> Any:
    key_batch, key_loss = jax.random.split(jax.random.fold_in(key, i))
    batch = data if size is None else data[jax.random.randint(key_batch, (size,), 0, len(data))]
    loss = nnx.value_and_grad(lambda m: objectives.negative_elbo(m, batch, key_loss), has_aux=True)
    (value, metrics), gradient = loss(model)
    optimizer.update(model, gradient)
    return value, metrics


def by_step(case: Case, steps: int) -> None:
    model, key, rows = case.build(), jax.random.key(0), []
    optimizer = nnx.Optimizer(model, ADAM, wrt=nnx.Param)
    for i in range(steps):
        rows.append(step(model, optimizer, case.data, key, i, size=case.batch))
    jax.block_until_ready((rows, nnx.state(model)))


def by_fit(case: Case, steps: int) -> None:
    fitted = training.fit(
        case.build(),
        objectives.negative_elbo,
        case.data,
        key=jax.random.key(0),
        steps=steps,
        batch_size=case.batch,
        learning_rate=RATE,
        schedule=training.constant,
        progress=None,
    )
    jax.block_until_ready(nnx.state(fitted.model))


def speed(train: Callable[[Case, int], None], case: Case) -> float:
    """Steps per second."""
    began = time.perf_counter()
    train(case, case.steps)
    return case.steps / (time.perf_counter() - began)


def main() -> None:
    print(machine("jax", "flax", "optax"), f"; device: {jax.devices()[0].platform}", sep="")
    print(f"Adam, batches of 64 digits or all five moons; medians of {TURNS} turns; compiling is not counted")
    for case in cases():
        by_step(case, 20)
        by_fit(case, 20)
        turns = [(speed(by_step, case), speed(by_fit, case)) for _ in range(TURNS)]
        loop, fit = (statistics.median(side) for side in zip(*turns, strict=True))
        ratio = statistics.median(b / a for a, b in turns)
        print(
            f"{case.name}, {case.steps} steps: nnx.jit loop {loop:,.0f} steps/s, fit {fit:,.0f} steps/s: "
            f"{ratio:.1f} times as fast (target: at least {TARGET} times)",
            flush=True,
        )


if __name__ == "__main__":
    main()
