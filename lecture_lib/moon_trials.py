"""The experiment of notebook 01: codes for a few moon phases, by an auto-encoder and by a VAE.

The recipe: moons of 24 x 24 pixels, a 1-D code, tanh MLPs with two hidden layers of 32, Adam at 3e-3 with a
cosine schedule over 2000 steps on all moons at once, pixel noise of the VAE's decoder 2.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Real

from lecture_lib import gaussians, measures, moon, objectives, training
from lecture_lib.networks import VAE, Autoencoder

Kind = Literal["auto-encoder", "noise off", "VAE"]
"""An auto-encoder, a VAE, and between them a VAE whose code is not shaken."""

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

    mean: Float[np.ndarray, "*runs n"]
    """Code of each moon, shape (..., n)."""
    sd: Float[np.ndarray, "*runs n"] | None
    """Standard deviation of the noise around it, same shape; None for an auto-encoder."""


class Trial(NamedTuple):
    """What came of training one kind of model several times; every array has shape (runs,)."""

    in_order: Bool[np.ndarray, " runs"]
    """Whether the codes of the training moons have the order of their phases."""
    midpoint: measures.NearestMoon
    """The true moon nearest to what the code half-way between those of full and half moon decodes to."""
    to_crossfade: Float[np.ndarray, " runs"]
    """Distance from that picture to the cross-fade: the mean of the full and the half moon."""
    is_moon: Bool[np.ndarray, " runs"]
    """Whether it is a moon of 15 to 75 degrees, and no cross-fade; see `judge`."""
    neighbours: Int[np.ndarray, " runs"]
    """For how many pairs of neighbouring training moons the code half-way decodes to a moon in between."""
    pairs: int
    """Out of how many pairs; one number for all runs."""
    error: Float[np.ndarray, " runs"]
    """Root mean square error of the reconstructed training moons."""


def moons(phases: Sequence[float]) -> Float[Array, "n pixels"]:
    """The training moons, flat, one for each phase angle in degrees."""
    return moon.render_many(phases, SIZE).reshape(len(phases), -1)


def build(kind: Kind, rngs: nnx.Rngs, *, steepness: Any = None, noise_sd: Any = NOISE_SD) -> Any:
    """A fresh model of the recipe.

    Args:
        kind: See `Kind`.
        rngs: Source of the initial weights.
        steepness: Of the decoder at the start; see `networks.Decoder`.
        noise_sd: VAE only: standard deviation of a pixel given the code.
    """
    _check_kind(kind)
    pixels = SIZE**2
    if kind == "auto-encoder":
        return Autoencoder(pixels, 1, HIDDEN, steepness=steepness, rngs=rngs)
    return VAE(pixels, 1, HIDDEN, steepness=steepness, noise_sd=noise_sd, rngs=rngs)


def noise_off(
    vae: VAE, x: Float[Array, "batch pixels"], key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The VAE's loss with the code not shaken, z = m: what is left of the KL pulls m to 0."""
    q = vae.encoder(x)
    reconstruction = objectives.log_likelihood_given_z(vae, x, q.mean)
    return -(reconstruction - gaussians.kl_standard_normal(*q)).mean(), {}


_LOSSES: dict[str, Callable[..., Any]] = {
    "auto-encoder": objectives.squared_error,
    "noise off": noise_off,
    "VAE": objectives.negative_elbo,
}


def _check_kind(kind: Any) -> None:
    if kind not in _LOSSES:
        raise ValueError(f"kind is {kind!r}; expected one of {list(_LOSSES)}")


def loss_of(kind: Kind) -> Callable[..., Any]:
    """The loss that goes with the kind."""
    _check_kind(kind)
    return _LOSSES[kind]


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
        kind: See `Kind`.
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


def between(
    model: Autoencoder | VAE, images: Float[Array, "n pixels"], phases: Sequence[float]
) -> Float[Array, "n pixels"]:
    """Pictures half-way: first between full and half moon, then between each training moon and the next."""
    codes = means(model, images)
    pairs = [(index(phases, 0), index(phases, 90)), *pairwise(range(len(images)))]
    return model.decoder(jnp.stack([(codes[i] + codes[j]) / 2 for i, j in pairs]))


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
    keys: Key[Array, " runs"],
    steepness: float | None = None,
    noise_sd: float = NOISE_SD,
    progress: str | None = None,
) -> Trial:
    """Train a model for each key on the moons of the given phases and judge what they do in between.

    Args:
        kind: See `Kind`.
        phases: Degrees, rising, 0 (full) and 90 (half) among them.
        keys: Shape (runs,), as `jax.random.split` makes them.
        steepness, noise_sd: See `build`.
        progress: Label of the progress bar; None shows none.

    Raises:
        ValueError: The phases lack 0 or 90, or do not rise.
        KeyboardInterrupt: The training was interrupted; half-trained models are not judged.
    """
    index(phases, 0), index(phases, 90)
    if any(low >= high for low, high in pairwise(phases)):
        raise ValueError(f"phases is {list(phases)}; expected rising phase angles")
    x = moons(phases)
    # Repeated pictures change no mean; sets of 2, 5 and 10 phases then share one compiled program.
    repeated = jnp.tile(x, (max(1, 10 // len(phases)), 1))
    fitted = training.fit_many(
        lambda rngs: build(kind, rngs, steepness=steepness, noise_sd=noise_sd),
        loss_of(kind),
        repeated,
        keys=keys,
        steps=STEPS,
        progress=progress,
    )
    if fitted.interrupted:
        raise KeyboardInterrupt("the trial was interrupted: half-trained models would be judged")

    def look(model: Any) -> tuple[Array, Array, Array]:
        codes = means(model, x)
        return codes[:, 0], model.decoder(codes), between(model, x, phases)

    codes, decoded, middles = jax.vmap(look)(fitted.model)
    return judge(codes, decoded, middles, x, phases)


def judge(
    codes: Real[ArrayLike, "runs n"],
    decoded: Float[ArrayLike, "runs n pixels"],
    between: Float[ArrayLike, "runs n pixels"],
    images: Float[ArrayLike, "n pixels"],
    phases: Sequence[float],
) -> Trial:
    """The verdicts on trained models.

    A picture is a moon in between two others if its nearest true moon has a phase between theirs, and is
    nearer than their cross-fade (the mean of the two), and nearer than any true moon is to the cross-fade.

    Args:
        codes: Codes of the training moons, shape (runs, n).
        decoded: What they decode to, shape (runs, n, pixels).
        between: What the function `between` returns, shape (runs, n, pixels).
        images: The training moons, shape (n, pixels).
        phases: Their phase angles, degrees, rising, 0 and 90 among them.
    """
    images, between = np.asarray(images), np.asarray(between)
    full, half = images[index(phases, 0)], images[index(phases, 90)]
    midpoint, to_crossfade, is_moon = _in_between(between[:, 0], full, half, 14, 76)
    each = zip(pairwise(images), pairwise(phases), strict=True)
    moons_between = [_in_between(between[:, 1 + i], *two, *limits)[2] for i, (two, limits) in enumerate(each)]
    error = measures.rms(decoded, images).mean(axis=-1)
    order = measures.in_order(codes)
    neighbours = np.sum(moons_between, axis=0)
    return Trial(order, midpoint, to_crossfade, is_moon, neighbours, len(moons_between), error)


def _in_between(
    pictures: np.ndarray, one: np.ndarray, other: np.ndarray, low: float, high: float
) -> tuple[measures.NearestMoon, np.ndarray, np.ndarray]:
    """The nearest moon, the distance to the cross-fade, and whether it is a moon of a phase in (low, high).

    To count as one a picture must be nearer to that moon than to the cross-fade, and nearer than the
    cross-fade itself is to a moon: else any mess that is far from everything could pass.
    """
    crossfade = (one + other) / 2
    near, to_crossfade = measures.nearest_moon(pictures), measures.rms(pictures, crossfade)
    best = np.minimum(to_crossfade, measures.nearest_moon(crossfade[None]).distance)
    return near, to_crossfade, (near.phase > low) & (near.phase < high) & (near.distance < best)


def index(phases: Sequence[float], phase: float) -> int:
    """Where a phase stands in the list."""
    try:
        return [float(p) for p in phases].index(phase)
    except ValueError:
        raise ValueError(f"phases is {list(phases)}; expected {phase} among them") from None


def table(trials: dict[str, Trial]) -> str:
    """A text table, a line for each trial: how often the codes are in order and the midpoint is a moon."""
    if not trials:
        raise ValueError("trials is empty; expected at least one")
    width = max(map(len, trials))
    space = " " * (width + 3)
    lines = [
        f"{space}{'codes':<10}{'half-way full to half:':<38}half-way between neighbours:",
        f"{space}in order  a moon   phases   to moon   to fade   a moon",
    ]
    for name, t in trials.items():
        n = len(t.in_order)
        phases = f"{np.min(t.midpoint.phase)}-{np.max(t.midpoint.phase)}"
        distances = f"{np.median(t.midpoint.distance):7.3f}   {np.median(t.to_crossfade):7.3f}"
        lines.append(
            f"{name:{width}}   {t.in_order.sum():>4}/{n:<3}  "
            f"{t.is_moon.sum():>3}/{n:<3}  {phases:<6}   {distances}   "
            f"{t.neighbours.sum()} of {n * t.pairs} pairs"
        )
    return "\n".join(lines)
