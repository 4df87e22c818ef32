"""The experiment of notebook 01: codes for a few moon phases, by an auto-encoder and by a VAE.

The recipe: moons of 24 x 24 pixels, a 1-D code, tanh MLPs with two hidden layers of 32, Adam at 3e-3 with a
cosine schedule over 2000 steps on all moons at once, pixel noise of the VAE's decoder 2.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import measures, moon, objectives, training
from lecture_lib.networks import VAE, Autoencoder

Kind = Literal["auto-encoder", "VAE"]

SIZE = 24
HIDDEN = (32, 32)
NOISE_SD = 2.0
STEEP = 30.0
STEPS = 2000
FIVE_PHASES = (0, 45, 90, 135, 170)
DENSE_PHASES = tuple(range(0, 163, 18))
GAP_PHASES = (0, 8, 15, 75, 90, 105, 120, 135, 150, 170)


class Codes(NamedTuple):
    """Where a model puts the training moons on its code line."""

    mean: np.ndarray
    """Code of each moon, shape (..., n)."""
    sd: np.ndarray | None
    """Standard deviation of the noise around it, same shape; None for an auto-encoder."""


class Trial(NamedTuple):
    """What came of training one kind of model several times; every array has shape (runs,)."""

    in_order: np.ndarray
    """Whether the codes of the training moons have the order of their phases."""
    midpoint: measures.NearestMoon
    """The true moon nearest to what the code half-way between full and half moon decodes to."""
    to_crossfade: np.ndarray
    """Distance from that picture to the cross-fade: the mean of the full and the half moon."""
    is_moon: np.ndarray
    """Whether it is an in-between moon: 15 to 75 degrees, nearer to that one than to the cross-fade."""
    error: np.ndarray
    """Root mean square error of the reconstructed training moons."""


def moons(phases: Sequence[float]) -> Float[Array, "n pixels"]:
    """The training moons, flat, one for each phase angle in degrees."""
    return moon.render_many(phases, SIZE).reshape(len(phases), -1)


def build(kind: Kind, rngs: nnx.Rngs, *, steepness: Any = None, noise_sd: Any = NOISE_SD) -> Any:
    """A fresh model of the recipe.

    Args:
        kind: "auto-encoder" or "VAE".
        rngs: Source of the initial weights.
        steepness: Of the decoder at the start; see `networks.Decoder`.
        noise_sd: VAE only: standard deviation of a pixel given the code.
    """
    pixels = SIZE**2
    if kind == "auto-encoder":
        return Autoencoder(pixels, 1, HIDDEN, steepness=steepness, rngs=rngs)
    if kind == "VAE":
        return VAE(pixels, 1, HIDDEN, steepness=steepness, noise_sd=noise_sd, rngs=rngs)
    raise ValueError(f"kind is {kind!r}; expected 'auto-encoder' or 'VAE'")


def loss_of(kind: Kind) -> Callable[..., Any]:
    """The loss that goes with the kind."""
    losses: dict[str, Callable[..., Any]] = {
        "auto-encoder": objectives.squared_error,
        "VAE": objectives.negative_elbo,
    }
    if kind not in losses:
        raise ValueError(f"kind is {kind!r}; expected 'auto-encoder' or 'VAE'")
    return losses[kind]


def train(
    kind: Kind,
    phases: Sequence[float],
    *,
    key: PRNGKeyArray,
    steepness: float | None = None,
    noise_sd: float = NOISE_SD,
    hyper: dict[str, Any] | None = None,
    progress: str | None = None,
) -> training.Fitted[Any]:
    """Train one model on the moons of the given phases.

    Args:
        kind: "auto-encoder" or "VAE".
        phases: Degrees.
        key: Seeds the weights and the training.
        steepness, noise_sd: See `build`.
        hyper: Handed to the loss, say `{"beta": 0.1}`.
        progress: Label of the progress bar; None shows none.
    """
    key_weights, key_training = jax.random.split(key)
    model = build(kind, nnx.Rngs(key_weights), steepness=steepness, noise_sd=noise_sd)
    loss, x = loss_of(kind), moons(phases)
    return training.fit(model, loss, x, key=key_training, steps=STEPS, hyper=hyper, progress=progress)


def means(model: Autoencoder | VAE, images: Float[Array, "n pixels"]) -> Float[Array, "n 1"]:
    """The code of each image: for a VAE the mean of q(z|x)."""
    return model.encoder(images).mean if isinstance(model, VAE) else model.encode(images)


def halfway(
    model: Autoencoder | VAE, one: Float[Array, " pixels"], other: Float[Array, " pixels"]
) -> Float[Array, " pixels"]:
    """What the code half-way between those of two pictures decodes to."""
    codes = means(model, jnp.stack([one, other]))
    return model.decoder(codes.mean(axis=0, keepdims=True))[0]


def codes_of(model: Autoencoder | VAE, images: Float[Array, "n pixels"]) -> Codes:
    """The code of each image, and the noise around it."""
    sd = None
    if isinstance(model, VAE):
        sd = np.asarray(jnp.exp(model.encoder(images).log_var[:, 0] / 2))
    return Codes(np.asarray(means(model, images)[:, 0]), sd)


def run(
    kind: Kind,
    phases: Sequence[float],
    *,
    keys: PRNGKeyArray,
    steepness: float | None = None,
    noise_sd: float = NOISE_SD,
    steps: int = STEPS,
    progress: str | None = None,
) -> Trial:
    """Train a model for each key on the moons of the given phases and judge what they do in between.

    Args:
        kind: "auto-encoder" or "VAE".
        phases: Degrees, in order, 0 (full) and 90 (half) among them.
        keys: Shape (runs,), as `jax.random.split` makes them.
        steepness, noise_sd: See `build`.
        steps: Training steps of each.
        progress: Label of the progress bar; None shows none.

    Raises:
        ValueError: The phases lack 0 or 90.
    """
    phases = [float(phase) for phase in phases]
    if 0.0 not in phases or 90.0 not in phases:
        raise ValueError(f"phases is {phases}; expected 0 (full) and 90 (half) among them")
    x = moons(phases)
    # Repeated pictures change no mean; sets of 2, 5 and 10 phases then share one compiled program.
    repeated = jnp.tile(x, (max(1, 10 // len(phases)), 1))
    models = training.fit_many(
        lambda rngs: build(kind, rngs, steepness=steepness, noise_sd=noise_sd),
        loss_of(kind),
        repeated,
        keys=keys,
        steps=steps,
        progress=progress,
    ).model
    full, half = x[phases.index(0.0)], x[phases.index(90.0)]
    codes = jax.vmap(lambda model: means(model, x))(models)
    decoded = jax.vmap(lambda model, z: model.decoder(z))(models, codes)
    between = jax.vmap(lambda model: halfway(model, full, half))(models)
    return judge(codes[..., 0], decoded, between, x, (full + half) / 2)


def judge(codes: Any, decoded: Any, between: Any, images: Any, crossfade: Any) -> Trial:
    """The verdicts on trained models.

    Args:
        codes: Codes of the training moons, shape (runs, n).
        decoded: What they decode to, shape (runs, n, pixels).
        images: The training moons, shape (n, pixels).
        between: Pictures decoded half-way between full and half moon, shape (runs, pixels).
        crossfade: The mean of the full and the half moon, shape (pixels,).
    """
    near = measures.nearest_moon(between)
    fade = measures.rms(between, crossfade)
    is_moon = (near.phase > 15) & (near.phase < 75) & (near.distance < fade)
    error = measures.rms(decoded, images).mean(axis=-1)
    return Trial(measures.in_order(codes), near, fade, is_moon, error)


def table(trials: dict[str, Trial]) -> str:
    """A text table, a line for each trial: how often the codes are in order and the midpoint is a moon."""
    if not trials:
        raise ValueError("trials is empty; expected at least one")
    width = max(map(len, trials))
    lines = [f"{'':{width}}   in order   in-between moon   nearest phase   its distance   to cross-fade"]
    for name, t in trials.items():
        n = len(t.in_order)
        low, high = np.min(t.midpoint.phase), np.max(t.midpoint.phase)
        lines.append(
            f"{name:{width}}   {t.in_order.sum():>4}/{n:<3}   {t.is_moon.sum():>9}/{n:<5}   "
            f"{low:>5}-{high:<7}   {np.median(t.midpoint.distance):>12.3f}   "
            f"{np.median(t.to_crossfade):>13.3f}"
        )
    return "\n".join(lines)
