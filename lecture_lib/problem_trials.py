"""The experiments of notebook 05: a 7 with one pixel too many, before five judges, and what samples are made of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import ndimage, stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from lecture_lib import checks, gaussians, objectives, training
from lecture_lib.gaussians import PPCA
from lecture_lib.networks import VAE, Likelihood
from lecture_lib.objectives import ELBO
from lecture_lib.style_trials import NOISE_START, Digits

LATENT = 8
HIDDEN = (256, 128)
STEPS = 2000
DRAWS = 64
"""Of z, in the mean that estimates an ELBO."""
BANDWIDTHS = tuple(float(h) for h in np.geomspace(0.05, 0.5, 9))
"""Of the kernel density, in units of brightness, from which the data choose."""

Judge = Callable[[Float[np.ndarray, "n pixels"]], Float[np.ndarray, " n"]]
"""From pictures to what it thinks of each: more is better, and the unit is nats."""


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

    More than 2000 steps fit the training digits better and new ones worse.

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
    inked = (picture >= INK).any(axis=1)
    if not inked.any():
        raise ValueError(f"picture has no pixel of {INK} or more, so no tail")
    row = int(np.flatnonzero(inked)[-1])
    return row, int(picture[row].argmax())


def tail_pixel(picture: Float[np.ndarray, "height width"]) -> tuple[int, int]:
    """Row and column of the blank pixel that makes the tail of a 7 longer.

    Of the blank pixels (brightness 0) that touch the ink, corners included, the one nearest to the point that
    lies one pixel beyond the tail's end. "Beyond" is the way from the centre of brightness of the lower half of
    the ink to that end. (An 8x8 digit fills its frame from top to bottom: what is left is beside the end.)

    Args:
        picture: Brightness of a 7, at least 0.

    Raises:
        ValueError: No stroke, or no blank pixel touches the ink.
    """
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
    """Row and column of the blank pixel farthest from all ink (Euclidean; of equals the first in reading order).

    Raises:
        ValueError: No pixel is blank, or all are.
    """
    ink = picture > 0
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
        x: Flat square pictures of sevens.
        ink: Brightness of the pixel that is set, in (0, 1].

    Raises:
        ValueError: As for `tail_pixel` and `stray_pixel`; or an ink outside (0, 1].
    """
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


# --- the judges --------------------------------------------------------------------------------


def elbo(model: VAE, x: Float[Array, "n pixels"], eps: Float[Array, "draws latent"]) -> ELBO:
    """The ELBO of each picture, the mean over draws of z that are the same for all: z = m + exp(s / 2) eps.

    Common draws leave less noise in a difference of two pictures.

    Returns:
        ELBO(reconstruction, kl), each of shape (n,), in nats.
    """
    q = model.encoder(x)

    def one(e: Array) -> Array:
        return objectives.log_likelihood_given_z(model, x, q.mean + jnp.exp(q.log_var / 2) * e)

    return ELBO(jax.lax.map(one, eps).mean(axis=0), gaussians.kl_standard_normal(*q))


@jax.jit
def _elbo(model: VAE, x: Array, eps: Array) -> Array:
    return elbo(model, x, eps).value


def elbo_judge(model: VAE, *, key: PRNGKeyArray, draws: int = DRAWS) -> Judge:
    """The ELBO as a judge: a lower bound of log p(x), the mean over draws that are the same for every picture.

    Args:
        model: The VAE.
        key: For the draws of z.
        draws: How many, at least 1.
    """
    eps = jax.random.normal(key, (checks.whole("draws", draws, low=1), model.decoder.latent))
    return lambda x: np.asarray(_elbo(model, jnp.asarray(x, jnp.float32), eps), np.float64)


def ppca_judge(seen: Digits, latent: int = LATENT) -> Judge:
    """The log-density of probabilistic PCA: the VAE whose decoder is a matrix, and no bound."""
    model = PPCA.fit(jnp.asarray(seen.x, jnp.float32), latent)
    log_prob = jax.jit(model.log_prob)
    return lambda x: np.asarray(log_prob(jnp.asarray(x, jnp.float32)), np.float64)


def kernel_density(seen: Digits, bandwidth: float | None = None) -> KernelDensity:
    """A Gaussian on every training picture: scikit-learn's, with all pictures in one leaf of its tree.

    With smaller leaves it prunes by bounds whose rounding errors reach hundreds of nats in 64 dimensions
    (scikit-learn's issues 7492 and 25799); with one leaf it sums all Gaussians.

    Args:
        seen: The training pictures, in the order of their writers.
        bandwidth: Standard deviation of a pixel, in units of brightness, above 0. None takes the one of
            `BANDWIDTHS` under which five fifths of the data, each left out in turn, are most likely. The fifths
            are in the order of the file, so that what is left out is by other hands.
    """
    plain = KernelDensity(leaf_size=len(seen.x))
    if bandwidth is not None:
        checks.positive("bandwidth", bandwidth)
        return plain.set_params(bandwidth=bandwidth).fit(seen.x)
    return GridSearchCV(plain, {"bandwidth": BANDWIDTHS}, cv=KFold(5)).fit(seen.x).best_estimator_


def classifier(seen: Digits) -> CalibratedClassifierCV:
    """The judge of notebook 04 with probabilities: principal components and a support vector machine.

    Its scores become probabilities by one temperature, fitted by cross-validation (Guo et al. 2017).
    """
    machine = make_pipeline(PCA(min(40, seen.x.shape[1]), random_state=0), SVC(C=10))
    return CalibratedClassifierCV(machine, ensemble=False, method="temperature").fit(seen.x, seen.labels)


def class_judge(machine: CalibratedClassifierCV, label: int) -> Judge:
    """The logarithm of a classifier's probability of a class."""
    column = list(machine.classes_).index(label)
    return lambda x: np.log(machine.predict_proba(x)[:, column])


TIE = 1e-6
"""Opinions that differ by no more, in nats, are the same but for rounding."""


class Preference(NamedTuple):
    """How often a judge likes the first of two edits better than the second."""

    first: int
    """Pictures for which it likes the first edit better."""
    ties: int
    """Pictures for which it likes both equally, to within `TIE`."""
    second: int
    """Pictures for which it likes the second edit better."""

    @property
    def n(self) -> int:
        """Pictures in all."""
        return self.first + self.ties + self.second

    @property
    def share(self) -> float:
        """`first` / `n`: a tie is no preference."""
        return self.first / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of that share (Clopper and Pearson 1934)."""
        return _interval(self.first, self.n)

    @property
    def verdict(self) -> str:
        """ "first" or "second" if the interval of that one's share lies above one half, or "undecided"."""
        if self.interval[0] > 0.5:
            return "first"
        return "second" if _interval(self.second, self.n)[0] > 0.5 else "undecided"


def _interval(count: int, n: int) -> tuple[float, float]:
    found = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def prefers(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Preference:
    """Count how often one of two opinions is the larger one, by more than `TIE`.

    Args:
        first: What a judge thinks of the first edit of each picture.
        second: Of the second edit.

    Raises:
        ValueError: The shapes differ, there is no picture, or an opinion is not finite.
    """
    checks.same_shape(first=first, second=second)
    for name, value in (("first", first), ("second", second)):
        checks.finite(name, value)
    if len(first) == 0:
        raise ValueError("first is empty; expected at least one picture")
    more = first - second
    return Preference(int(np.sum(more > TIE)), int(np.sum(np.abs(more) <= TIE)), int(np.sum(more < -TIE)))


def opinions(judges: Mapping[str, Judge], pictures: Edited) -> dict[str, Preference]:
    """How often each judge likes the pixel at the tail (first) better than the stray one (second)."""
    return {name: prefers(judge(pictures.tails), judge(pictures.strays)) for name, judge in judges.items()}


def maps(judges: Mapping[str, Judge], picture: Float[np.ndarray, "height width"]) -> dict[str, np.ndarray]:
    """What each judge says of the same change on every blank pixel.

    Args:
        judges: By name.
        picture: Brightness in [0, 1].

    Returns:
        For each judge the change of its opinion when that pixel is set to full ink, in the shape of the
        picture; NaN where there is ink.
    """
    blank = np.argwhere(picture == 0)
    changed = np.repeat(picture[None], picture.size + 1, axis=0)  # one shape for every picture: compiled once
    for k, (row, column) in enumerate(blank):
        changed[k, row, column] = 1.0
    found = {}
    for name, judge in judges.items():
        said = judge(changed.reshape(len(changed), -1))
        found[name] = np.full(picture.shape, np.nan)
        found[name][tuple(blank.T)] = said[: len(blank)] - said[-1]
    return found


# --- what samples are made of ------------------------------------------------------------------


def averages(x: Float[np.ndarray, "n pixels"], key: PRNGKeyArray, n: int) -> Float[np.ndarray, "n pixels"]:
    """Averages of two different pictures, drawn at random.

    Args:
        x: At least 2 pictures.
        key: For the pairs.
        n: How many averages, at least 1.
    """
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} pictures; expected at least 2")
    pairs = [jax.random.choice(k, len(x), (2,), replace=False) for k in jax.random.split(key, n)]
    return np.asarray(x, np.float64)[np.array(pairs)].mean(axis=1)


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
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Mean(float(np.mean(values)), float(found.low), float(found.high))
