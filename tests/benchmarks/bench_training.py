"""`training.fit` against a loop that calls an `nnx.jit` step for each batch: the same model, loss and batches.

Both run the same number of steps with Adam, with everything compiled beforehand, in turns (A B A B ...).
The batches of both are drawn on the device; the loop reads no loss until it has ended. A slower loop, with
batches from NumPy and the loss read at each step, would be easy to beat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from about import machine  # first: it puts the repository on the path

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from lecture_lib import datasets, objectives, training
from lecture_lib.networks import VAE

TARGET = 15
TURNS = 7
BATCH = 64
RATE = 1e-3
VAES = {
    "VAE 64-128-2 (the usual one)": ((128,), 3000),
    "VAE 64-256-128-2": ((256, 128), 1500),
}


@nnx.jit
def step(model: VAE, optimizer: nnx.Optimizer, data: Any, key: Any, i: Any) -> Any:
    key_batch, key_loss = jax.random.split(jax.random.fold_in(key, i))
    batch = data[jax.random.randint(key_batch, (BATCH,), 0, len(data))]
    loss = nnx.value_and_grad(lambda m: objectives.negative_elbo(m, batch, key_loss), has_aux=True)
    (value, metrics), gradient = loss(model)
    optimizer.update(model, gradient)
    return value, metrics


def by_step(build: Callable[[], VAE], data: Any, steps: int) -> None:
    model, key, rows = build(), jax.random.key(0), []
    optimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)
    for i in range(steps):
        rows.append(step(model, optimizer, data, key, i))
    jax.block_until_ready((rows, nnx.state(model)))


def by_fit(build: Callable[[], VAE], data: Any, steps: int) -> None:
    fitted = training.fit(
        build(),
        objectives.negative_elbo,
        data,
        key=jax.random.key(0),
        steps=steps,
        batch_size=BATCH,
        learning_rate=RATE,
        schedule=training.constant,
        progress=None,
    )
    jax.block_until_ready(nnx.state(fitted.model))


def seconds(train: Callable[..., None], *arguments: Any) -> float:
    began = time.perf_counter()
    train(*arguments)
    return time.perf_counter() - began


def main() -> None:
    print(machine("jax", "flax", "optax"), f"; device: {jax.devices()[0].platform}", sep="")
    print(f"digits, batches of {BATCH}, Adam; medians of {TURNS} turns; compiling is not counted")
    data = jnp.asarray(datasets.digits("train").images.reshape(-1, 64))
    for name, (hidden, steps) in VAES.items():

        def build(hidden: tuple[int, ...] = hidden) -> VAE:
            return VAE(64, 2, hidden, rngs=nnx.Rngs(0))

        for train in (by_step, by_fit):
            train(build, data, 20)
        slow, fast = [], []
        for _ in range(TURNS):
            slow.append(steps / seconds(by_step, build, data, steps))
            fast.append(steps / seconds(by_fit, build, data, steps))
        ratio = statistics.median(b / a for a, b in zip(slow, fast, strict=True))
        print(
            f"{name}, {steps} steps: nnx.jit loop {statistics.median(slow):,.0f} steps/s, "
            f"fit {statistics.median(fast):,.0f} steps/s: {ratio:.1f} times as fast "
            f"(target: at least {TARGET} times)"
        )


if __name__ == "__main__":
    main()
