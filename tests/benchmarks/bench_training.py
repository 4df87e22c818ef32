"""`training.fit` against other loops with the same model, loss and batches, and how its cost grows.

The others are a loop that calls an `nnx.jit` step for each batch and, where PyTorch is installed, the same
model in PyTorch, eager, in one thread (for matrices this small more make it slower). All run with Adam and
everything compiled beforehand, in turns (A B C A B C ...). Batches are drawn where the training runs, and the
loops read no loss until they have ended. Slower loops, with batches from NumPy and the loss read at each
step, would be easy to beat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from about import head, machine, row  # first: it puts the repository on the path
from flax import nnx

from lecture_lib import datasets, moon_trials, objectives, training
from lecture_lib.networks import VAE

TARGET = 15
TURNS = 7
RATE = 1e-3
LOOP_STEPS = 500
ADAM = optax.adam(RATE)  # made once: an optimiser with another transformation is compiled anew


class Case(NamedTuple):
    name: str
    build: Callable[[], VAE]
    data: Any
    batch: int | None
    """Examples drawn for a batch; None takes all."""
    steps: int


def vae(*hidden: int, latent: int = 2) -> Callable[[], VAE]:
    return lambda: VAE(64, latent, hidden, rngs=nnx.Rngs(0))


def digits(n: int = 1000) -> jax.Array:
    """So many digits, from scikit-learn's over and over."""
    images = datasets.digits("train").images.reshape(-1, 64)
    return jnp.asarray(images[jnp.arange(n) % len(images)])


def cases() -> list[Case]:
    moons = moon_trials.moons(moon_trials.FIVE_PHASES)
    return [
        Case("digits, VAE 64-64-2 (our default)", vae(64), digits(), 64, 3000),
        Case("digits, VAE 64-128-2", vae(128), digits(), 64, 3000),
        Case("digits, VAE 64-256-128-2", vae(256, 128), digits(), 64, 1500),
        Case(
            "five moons, VAE of notebook 01",
            partial(moon_trials.build, "VAE", nnx.Rngs(0)),
            moons,
            None,
            2000,
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


def by_torch(case: Case, steps: int) -> None:
    """The same in PyTorch, eager: layers, likelihood, KL, Adam."""
    import torch

    torch.set_num_threads(1)
    model = case.build()

    def copied(network: Any) -> Any:
        parts: list[Any] = []
        for layer in network.layers.layers:
            if isinstance(layer, nnx.Linear):
                linear = torch.nn.Linear(layer.in_features, layer.out_features)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(jax.device_get(layer.kernel[...].T)))
                    linear.bias.zero_()
                parts.append(linear)
            else:
                parts.append(torch.nn.Tanh())
        return torch.nn.Sequential(*parts)

    encoder, decoder = copied(model.encoder), copied(model.decoder)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    data = torch.tensor(jax.device_get(case.data))
    log_2pi, told = 1.8378770664093453, []
    for _ in range(steps):
        x = data if case.batch is None else data[torch.randint(len(data), (case.batch,))]
        mean, log_var = encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(log_var / 2) * torch.randn_like(mean)
        reconstruction = -0.5 * ((x - decoder(z)) ** 2 + log_2pi).sum(-1).mean()
        kl = 0.5 * (torch.expm1(log_var) - log_var + mean**2).sum(-1).mean()
        optimizer.zero_grad()
        (kl - reconstruction).backward()
        optimizer.step()
        told.append((kl - reconstruction).detach())
    assert torch.isfinite(torch.stack(told)).all()


def seconds(train: Callable[[Case, int], None], case: Case, steps: int) -> float:
    """Per step."""
    began = time.perf_counter()
    train(case, steps)
    return (time.perf_counter() - began) / steps


def against_loops() -> None:
    sides: dict[str, tuple[Callable[[Case, int], None], int | None]] = {
        "fit": (by_fit, None),
        "nnx.jit": (by_step, LOOP_STEPS),
    }
    if find_spec("torch"):
        sides["PyTorch"] = (by_torch, LOOP_STEPS)
    else:
        print("PyTorch is not installed; it is left out.")
    others = [name for name in sides if name != "fit"]
    head("training", "fit, steps/s", *[f"times as fast as {name}" for name in others], "target")
    for case in cases():
        took: dict[str, list[float]] = {name: [] for name in sides}
        for train, steps in sides.values():
            train(case, min(20, steps or 20))
        for _ in range(TURNS):
            for name, (train, steps) in sides.items():
                if name != "PyTorch" or "moons" not in case.name:  # the moons' decoder has its own last layer
                    took[name].append(seconds(train, case, steps or case.steps))
        speed = 1 / statistics.median(took["fit"])
        told = []
        for name in others:
            turns = [a / b for a, b in zip(took[name], took["fit"], strict=False)]
            told.append(f"{statistics.median(turns):.1f}" if turns else "")
        row(case.name, f"{speed:,.0f}", *told, f"at least {TARGET} times nnx.jit")


def growth() -> None:
    """Microseconds a step of `fit` as batch, width and data grow, in turns, against the default."""
    variants = {"batch 64, width 64, 1000 digits (default)": Case("", vae(64), digits(), 64, 2000)}
    for batch in (16, 256, 1000):
        variants[f"batch {batch}"] = Case("", vae(64), digits(), batch, 64_000 // batch + 500)
    for width in (16, 256, 1024):
        variants[f"width {width}"] = Case("", vae(width), digits(), 64, 64_000 // width + 300)
    for n in (100, 10_000, 100_000):
        variants[f"{n:,} digits"] = Case("", vae(64), digits(n), 64, 2000)
    took: dict[str, list[float]] = {name: [] for name in variants}
    for case in variants.values():
        by_fit(case, 20)
    for _ in range(TURNS):
        for name, case in variants.items():
            took[name].append(seconds(by_fit, case, case.steps))
    head("a step of fit", "µs", "times the default")
    first = next(iter(took.values()))
    for name, times in took.items():
        ratio = statistics.median(a / b for a, b in zip(times, first, strict=True))
        row(name, f"{statistics.median(times) * 1e6:.0f}", f"{ratio:.2f}")


def main() -> None:
    torch = ["torch"] if find_spec("torch") else []
    print(machine("jax", "flax", "optax", *torch), f"; device: {jax.devices()[0].platform}", sep="")
    print(f"Adam, batches of 64 digits or all five moons; medians of {TURNS} turns; compiling is not counted")
    against_loops()
    growth()


if __name__ == "__main__":
    main()
