"""Judges of pictures for notebook 05: an ELBO, probabilistic PCA, a kernel density, a classifier.

A judge is a function from flat pictures to numbers in nats; more is better.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from scipy import stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from lecture_lib import checks, gaussians, objectives
from lecture_lib.gaussians import PPCA
from lecture_lib.networks import VAE
from lecture_lib.objectives import ELBO
from lecture_lib.problem_trials import LATENT, Edited
from lecture_lib.style_trials import Digits

DRAWS = 64
"""Of z, in the mean that estimates an ELBO."""
BANDWIDTHS = tuple(float(h) for h in np.geomspace(0.05, 0.5, 9))
"""Of the kernel density, in units of brightness, from which the data choose."""

Judge = Callable[[Float[np.ndarray, "n pixels"]], Float[np.ndarray, " n"]]
"""From pictures to what it thinks of each: more is better, and the unit is nats."""


@runtime_checkable
class Classifier(Protocol):
    """A classifier of scikit-learn with probabilities, fitted; see `classifier`."""

    classes_: Shaped[np.ndarray, " classes"]
    n_features_in_: int

    def predict_proba(self, x: Float[np.ndarray, "n pixels"], /) -> Float[np.ndarray, "n classes"]:
        """The probabilities of all classes for each picture."""


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
    """The ELBO as a judge: a lower bound of log p(x), with the same draws of z for every picture.

    Args:
        model: The VAE.
        key: For the draws of z.
        draws: How many, at least 1.
    """
    eps = jax.random.normal(key, (checks.whole("draws", draws, low=1), model.decoder.latent))
    return lambda x: np.asarray(_elbo(model, jnp.asarray(x, jnp.float32), eps), np.float64)


def ppca_judge(seen: Digits, latent: int = LATENT) -> Judge:
    """The log-density of probabilistic PCA: the VAE whose decoder is a matrix, and no bound."""
    _check_seen(seen)
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
            `BANDWIDTHS` under which five fifths of the data, each left out in turn, are most likely. The
            fifths are in the order of the file, so that what is left out is by other hands.
    """
    _check_seen(seen)
    plain = KernelDensity(leaf_size=len(seen.x))
    if bandwidth is not None:
        checks.positive("bandwidth", bandwidth)
        return plain.set_params(bandwidth=bandwidth).fit(seen.x)
    return GridSearchCV(plain, {"bandwidth": BANDWIDTHS}, cv=KFold(5)).fit(seen.x).best_estimator_


def classifier(seen: Digits) -> CalibratedClassifierCV:
    """The judge of notebook 04 with probabilities: principal components and a support vector machine.

    Its scores become probabilities by one temperature, fitted by cross-validation (Guo et al. 2017). They are
    margins, one class against the rest: `SVC` itself hands out votes, which give every picture, noise too,
    nearly the same probability.

    Args:
        seen: The training pictures, of two classes at least, with five pictures of each at least.

    Raises:
        TypeError, ValueError: They do not fit; the message says what does not.
    """
    _check_seen(seen)
    classes, count = np.unique(seen.labels, return_counts=True)
    if len(classes) < 2 or count.min() < _PARTS:
        told = dict(zip(classes.tolist(), count.tolist(), strict=True))
        raise ValueError(f"seen has {told} pictures by class; expected two classes and {_PARTS} of each")
    machine = make_pipeline(PCA(min(40, seen.x.shape[1]), random_state=0), OneVsRestClassifier(SVC(C=10)))
    return CalibratedClassifierCV(machine, ensemble=False, method="temperature").fit(seen.x, seen.labels)


def class_judge(machine: Classifier, label: int) -> Judge:
    """The logarithm of a classifier's probability of a class.

    Args:
        machine: Of `classifier`, or another.
        label: One of its classes.

    Raises:
        ValueError: It knows no such class.
    """
    classes = machine.classes_.tolist()
    if label not in classes:
        raise ValueError(f"label is {label!r}; expected one of {classes}")

    def judge(x: Float[np.ndarray, "n pixels"]) -> Float[np.ndarray, " n"]:
        pictures = _checked("x", x)
        checks.last_axis("x", pictures, machine.n_features_in_)
        return np.log(machine.predict_proba(pictures)[:, classes.index(label)])

    return judge


_PARTS = 5
"""Of the cross-validation that fits the temperature."""


def _checked(name: str, x: Any) -> Float[np.ndarray, "n pixels"]:
    """Give pictures as an array, or raise TypeError or ValueError unless they are flat and finite."""
    checks.floating(name, x)
    pictures = np.asarray(x)
    if pictures.ndim != 2 or not len(pictures):
        raise ValueError(f"{name} has shape {pictures.shape}; expected (n, pixels), at least one picture")
    checks.finite(name, pictures)
    return pictures.astype(np.promote_types(pictures.dtype, np.float32), copy=False)


def _check_seen(seen: Digits) -> None:
    x, labels = _checked("seen.x", seen.x), np.shape(seen.labels)
    if labels != x.shape[:1]:
        raise ValueError(f"seen.labels has shape {labels}; expected {x.shape[:1]}, one for each picture")


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
        """Say "first" or "second" if the interval of that one's share is above one half, or "undecided"."""
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
    first, second = checks.real("first", first), checks.real("second", second)
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


def maps(
    judges: Mapping[str, Judge], picture: Float[np.ndarray, "height width"]
) -> dict[str, Float[np.ndarray, "height width"]]:
    """What each judge says of the same change on every blank pixel.

    Args:
        judges: By name.
        picture: Brightness in [0, 1].

    Returns:
        For each judge the change of its opinion when that pixel is set to full ink, in the shape of the
        picture; NaN where there is ink.
    """
    picture = np.asarray(picture)
    checks.floating("picture", picture)
    if picture.ndim != 2:
        raise ValueError(f"picture has shape {picture.shape}; expected (height, width)")
    checks.finite("picture", picture)
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
