"""The experiments of notebook 05: a plain VAE, a 7 with one pixel too many, samples and their controls."""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, PRNGKeyArray
from scipy import ndimage, stats

from lecture_lib import checks, objectives, training
from lecture_lib.networks import VAE, Likelihood
from lecture_lib.style_trials import NOISE_START, Digits

LATENT = 8
HIDDEN = (256, 128)
STEPS = 2000


def train(
    data: Digits,
    *,
    key: PRNGKeyArray,
    likelihood: Likelihood = "gaussian",
    latent: int = LATENT,
    steps: int = STEPS,
    progress: str | None = None,
) -> training.Fitted[VAE]:
    """A plain VAE of digits: no labels, beta 1, a learned noise that starts at `style_trials.NOISE_START`.

    More steps than `STEPS` fit the training digits better and new ones worse.

    Args:
        data: What it learns from; the classes are not used.
        key: Seeds the weights and the training.
        likelihood: Of the pixels given z.
        latent: Length of z.
        steps: Of training, with batches of 64.
        progress: Label of the progress bar; None shows none.
    """
    key_weights, key_training = jax.random.split(key)
    model = VAE(
        data.x.shape[1],
        latent,
        HIDDEN,
        activation=nnx.gelu,
        likelihood=likelihood,
        noise_sd="learned" if likelihood == "gaussian" else 1.0,
        noise_start=NOISE_START,
        rngs=nnx.Rngs(key_weights),
    )
    return training.fit(
        model,
        objectives.negative_elbo,
        data.x,
        key=key_training,
        steps=steps,
        batch_size=64,
        learning_rate=1.5e-3,
        progress=progress,
    )


def samples(model: VAE, key: PRNGKeyArray, n: int) -> Float[np.ndarray, "n pixels"]:
    """What is usually shown of a VAE: means of p(x|z) for n draws of z, without the noise of the pixels.

    Args:
        model: The VAE.
        key: For z.
        n: How many, at least 1.

    Returns:
        Shape (n, pixels), cut to [0, 1].
    """
    return np.asarray(model.sample(key, n), np.float64).clip(0, 1)


# --- one pixel too many ------------------------------------------------------------------------

INK = 0.5
"""A pixel this bright or brighter is a stroke."""


def tail_end(picture: Float[np.ndarray, "height width"]) -> tuple[int, int]:
    """Where the tail of a 7 ends: the brightest pixel of the lowest row that has one of `INK` or more.

    Raises:
        ValueError: No pixel is as bright as that.
    """
    picture = checks.real("picture", picture)
    inked = (picture >= INK).any(axis=1)
    if not inked.any():
        raise ValueError(f"picture has no pixel of {INK} or more, so no tail")
    row = int(np.flatnonzero(inked)[-1])
    return row, int(picture[row].argmax())


def tail_pixel(picture: Float[np.ndarray, "height width"]) -> tuple[int, int]:
    """Row and column of the blank pixel that makes the tail of a 7 longer.

    Of the blank pixels (brightness 0) that touch the ink, corners included, the one nearest to the point that
    lies one pixel beyond the tail's end. "Beyond" is the way from the centre of brightness of the lower half
    of the ink to that end. (An 8x8 digit fills its frame from top to bottom: what is left is beside the end.)

    Args:
        picture: Brightness of a 7, at least 0.

    Raises:
        ValueError: No stroke, or no blank pixel touches the ink.
    """
    picture = checks.real("picture", picture)
    end = np.array(tail_end(picture), np.float64)
    ink = picture > 0
    rows = np.flatnonzero(ink.any(axis=1))
    lower = picture * (np.arange(len(picture))[:, None] > (rows[0] + rows[-1]) / 2)
    way = end - np.array(ndimage.center_of_mass(lower))
    target = end + way / max(float(np.hypot(*way)), 1e-9)
    edge = np.argwhere(ndimage.binary_dilation(ink, np.ones((3, 3))) & ~ink)
    if not len(edge):
        raise ValueError("picture has no blank pixel that touches the ink")
    row, column = edge[((edge - target) ** 2).sum(axis=1).argmin()]
    return int(row), int(column)


def stray_pixel(picture: Float[np.ndarray, "height width"]) -> tuple[int, int]:
    """Row and column of the blank pixel farthest from all ink, of equals the first in reading order.

    Raises:
        ValueError: No pixel is blank, or all are.
    """
    ink = checks.real("picture", picture) > 0
    if ink.all() or not ink.any():
        raise ValueError("picture has no blank pixel, or no other; expected some ink and some blank pixels")
    row, column = np.unravel_index(int(ndimage.distance_transform_edt(~ink).argmax()), ink.shape)
    return int(row), int(column)


class Edited(NamedTuple):
    """Pictures, and the same ones with one blank pixel set to full ink, flat."""

    originals: Float[np.ndarray, "n pixels"]
    tails: Float[np.ndarray, "n pixels"]
    """With the pixel of `tail_pixel`."""
    strays: Float[np.ndarray, "n pixels"]
    """With that of `stray_pixel`."""


def edited(x: Float[np.ndarray, "n pixels"], *, ink: float = 1.0) -> Edited:
    """Both edits of each 7: the same amount on a pixel of the same value, 0.

    Args:
        x: Flat square pictures of sevens, at least 1.
        ink: Brightness of the pixel that is set, in (0, 1].

    Raises:
        TypeError: x does not hold floating-point numbers.
        ValueError: As for `tail_pixel` and `stray_pixel`; x has another shape, or an ink outside (0, 1].
    """
    checks.floating("x", x)
    checks.finite("x", x)
    x = np.asarray(x)
    if x.ndim != 2 or not len(x) or round(x.shape[1] ** 0.5) ** 2 != x.shape[1]:
        raise ValueError(f"x has shape {x.shape}; expected (n, size * size), at least one picture")
    if not 0 < ink <= 1:
        raise ValueError(f"ink is {ink}; expected a brightness in (0, 1]")
    size = Digits(x, np.zeros(len(x), np.int32)).size
    squares = x.reshape(-1, size, size)
    versions = []
    for where in (tail_pixel, stray_pixel):
        changed = squares.copy()
        for picture, original in zip(changed, squares, strict=True):
            picture[where(original)] = ink
        versions.append(changed.reshape(len(x), -1))
    return Edited(x, *versions)


# --- what samples are made of ------------------------------------------------------------------


def averages(
    x: Float[np.ndarray, "pictures pixels"], key: PRNGKeyArray, n: int
) -> Float[np.ndarray, "n pixels"]:
    """Averages of two different pictures, drawn at random.

    Args:
        x: At least 2 pictures.
        key: For the pairs.
        n: How many averages, at least 1.
    """
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} pictures; expected at least 2")
    keys = jax.random.split(key, checks.whole("n", n, low=1))
    pairs = [jax.random.choice(k, len(x), (2,), replace=False) for k in keys]
    return checks.real("x", x)[np.array(pairs)].mean(axis=1)


class Mean(NamedTuple):
    """A mean and its interval."""

    value: float
    low: float
    high: float


def mean_with_interval(values: Float[np.ndarray, " n"], *, seed: int = 0) -> Mean:
    """The mean over pictures with its 95 % bootstrap interval (SciPy's, percentiles of 2000 resamples).

    Args:
        values: One for each picture, at least 2.
        seed: Of the resampling.
    """
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} entries; expected at least 2")
    values = checks.real("values", values)
    checks.finite("values", values)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Mean(float(np.mean(values)), float(found.low), float(found.high))
