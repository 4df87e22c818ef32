"""Data that ships with the packages, MNIST from a folder, and curves to be imitated.

No network, but for `fetch_mnist`, which nothing here calls.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray, Real
from scipy import stats

from lecture_lib import checks, mnist_files, quadrature

Split = Literal["all", "train", "test", "writers", "new writers"]

_TEST = 360
_SEED = 0
_ELEVEN_FORMS = 1415


class Images(NamedTuple):
    """Pictures and their classes, as read-only NumPy arrays."""

    images: Float32[np.ndarray, "n *pixels"]
    """Brightness in [0, 1]; (n, height, width) as read, or (n, pixels)."""
    labels: Int32[np.ndarray, " n"]
    """The class of each, from 0."""


@functools.cache
def digits(split: Split = "all") -> Images:
    """Handwritten digits, 8x8 pixels (Alpaydin and Kaynak 1998), from scikit-learn's package.

    The file goes fourteen times through one sequence of about 128 labels, a form that was filled in fourteen
    times: it is the test part of the original data, by 13 people.

    Args:
        split: "all" 1797 digits in the order of the file; "train" 1437 and "test" 360 of them: always the
            same ones, with the classes in proportion; "writers" the first eleven forms, 1415 digits, and
            "new writers" the last three, 382 digits by other hands, but for one perhaps.

    Returns:
        Images of shape (n, 8, 8), float32 in [0, 1] (the 17 grey levels divided by 16), and labels 0 to 9.

    Raises:
        ValueError: An unknown split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, get_args(Split)))}")
    raw = load_digits()
    images = (raw.images / 16).astype(np.float32)
    labels = raw.target.astype(np.int32)
    rows = np.arange(len(labels))
    if split in ("writers", "new writers"):
        chosen = rows[:_ELEVEN_FORMS] if split == "writers" else rows[_ELEVEN_FORMS:]
        images, labels = images[chosen], labels[chosen]
    elif split != "all":
        train, test = train_test_split(rows, test_size=_TEST, stratify=labels, random_state=_SEED)
        chosen = np.sort(train if split == "train" else test)
        images, labels = images[chosen], labels[chosen]
    images.flags.writeable = False  # the arrays are cached: a change would reach every later caller
    labels.flags.writeable = False
    return Images(images, labels)


def mnist(folder: str | os.PathLike[str], split: Literal["train", "test"]) -> Images:
    """The original MNIST digits, 28x28 pixels (LeCun, Cortes and Burges 1998), from files in a folder.

    The files are train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
    t10k-labels-idx1-ubyte, each plain or as .gz, or with .idx in place of -idx; the last two are the test
    split.

    Args:
        folder: Where they are, such as "data/mnist".
        split: "train" 60000 digits, "test" 10000 other ones of other people, both in the order of the files.

    Returns:
        Images of shape (n, 28, 28), float32 in [0, 1] (the 256 grey levels divided by 255), and labels 0
        to 9. Read-only like those of `digits`, but read anew each time: the train images take 188 MB.

    Raises:
        FileNotFoundError: The folder or one of the two files is not there.
        ValueError: An unknown split, or a file that is damaged, of the wrong kind or shape, or that does not
            have the bytes of the original, told by their SHA-256: Fashion-MNIST has the same shapes. Like the
            one above, the message names the file.
    """
    pixels, classes = mnist_files.load(folder, split)
    images = np.divide(pixels, np.float32(255))
    labels = classes.astype(np.int32)
    images.flags.writeable = False
    labels.flags.writeable = False
    return Images(images, labels)


def mnist_splits(folder: str | os.PathLike[str]) -> tuple[Literal["train", "test"], ...]:
    """The splits that `mnist` finds both files of: () where there are none, or no such folder.

    The contents are not looked at: damaged files are for `mnist` to complain about, not to be passed over.
    """
    return mnist_files.complete(folder)


def fetch_mnist(
    folder: str | os.PathLike[str], splits: Iterable[Literal["train", "test"]] = ("train", "test")
) -> None:
    """Fetch those files of MNIST that are missing or damaged, 11.6 MB in all: the only use of the network.

    Prints a line for each file. Each comes from the first mirror that has it with the right SHA-256, and is
    put into place whole, as .gz, or not at all; a second call goes on where the first one failed.

    Args:
        folder: Where to put them; it is made if need be.
        splits: Which to fetch.

    Raises:
        ValueError: An unknown split.
        ConnectionError: No mirror had the file, or none could be reached; nothing else here needs it.
        OSError: The folder cannot be made, or written to.
    """
    mnist_files.fetch(folder, splits)


@dataclass(frozen=True)
class Curve:
    """A density P(x) of numbers x that a model is to imitate: the black curve of the lecture.

    It is a mixture of SciPy distributions, most often of a single one.
    """

    parts: tuple[Any, ...]
    """Frozen SciPy distributions."""
    shares: tuple[float, ...]
    """The share of each part; their sum is 1."""
    reach: tuple[float, float]
    """Practically all of the probability lies between these two."""
    heavy: bool = False
    """Whether the density falls as slowly as a power of x."""

    def density(self, x: Real[ArrayLike, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """P(x), elementwise, in float64."""
        return np.asarray(sum(w * part.pdf(x) for w, part in zip(self.shares, self.parts, strict=True)))

    def cdf(self, x: Real[ArrayLike, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Share of the probability below x, elementwise, in float64."""
        return np.asarray(sum(w * part.cdf(x) for w, part in zip(self.shares, self.parts, strict=True)))

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
        """Draw n times: a part first, then its quantile at a uniform number."""
        key_part, key_u = jax.random.split(key)
        n = checks.whole("n", n, low=1)
        which = np.asarray(jax.random.choice(key_part, len(self.parts), (n,), p=jnp.asarray(self.shares)))
        drawn = jax.random.uniform(key_u, (n,))  # k * eps for k = 0, 1, ...: 0 itself, whose quantile is -inf
        u = np.asarray(drawn, np.float64) + float(jnp.finfo(drawn.dtype).eps) / 2
        return jnp.asarray(np.choose(which, [part.ppf(u) for part in self.parts]), float)

    def rule(self, points: int) -> quadrature.Rule:
        """A quadrature rule for integrals of f(x) dx over the support, its nodes of shape (points, 1).

        Gauss-Legendre, dense where an edge may be; for heavy tails the trapezoid rule after x = sinh(t).
        """
        if self.heavy:
            return quadrature.sinh_trapezoid(self.reach[1], points)
        return quadrature.gauss_legendre(*self.reach, points)


CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "skewed": Curve((stats.gamma(3, loc=-3),), (1.0,), (-3.0, 25.0)),
        "three bumps": Curve(
            (stats.logistic(-3, 0.25), stats.norm(-0.4, 0.4), stats.skewnorm(4, loc=1.5, scale=1.2)),
            (0.35, 0.25, 0.4),
            (-8.0, 9.0),
        ),
        "sharp edges": Curve((stats.uniform(-2, 4),), (1.0,), (-2.0, 2.0)),
        "heavy tails": Curve((stats.t(3),), (1.0,), (-1e6, 1e6), heavy=True),
    }
)
"""The black curves by name: a gamma density, three bumps, a uniform one, and Student's t with 3 degrees."""


class Arc(NamedTuple):
    """Points scattered around an arc in the plane."""

    x: Float[Array, "n 2"]
    angle: Float[Array, " n"]
    """The position along the arc that each was made from, degrees."""


def arc(key: PRNGKeyArray, n: int, *, noise_sd: float = 0.08) -> Arc:
    """Points near the arc of radius 1 from -30 to 210 degrees, evenly spread along it.

    Args:
        key: A key of `jax.random.key`.
        n: How many, at least 1.
        noise_sd: Standard deviation of the distance from the arc, each way, above 0.
    """
    checks.positive("noise_sd", noise_sd)
    key_angle, key_noise = jax.random.split(key)
    angle = jax.random.uniform(key_angle, (checks.whole("n", n, low=1),), minval=-30.0, maxval=210.0)
    radians = jnp.deg2rad(angle)
    on_arc = jnp.stack([jnp.cos(radians), jnp.sin(radians)], axis=-1)
    return Arc(on_arc + noise_sd * jax.random.normal(key_noise, on_arc.shape), angle)
