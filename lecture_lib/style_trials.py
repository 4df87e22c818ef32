"""The experiments of notebook 04: a conditional VAE of digits, and how far a style carries over."""

import os
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from lecture_lib import checks, datasets, measures, objectives, training
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.layers import mlp
from lecture_lib.networks import Likelihood

CLASSES = 10
LATENT = 8
BETA = 2.0
BETAS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Weights of the KL term for the trade-off."""


class Recipe(NamedTuple):
    """How a conditional VAE is trained."""

    hidden: tuple[int, ...]
    likelihood: Likelihood
    beta: float
    steps: int
    batch_size: int
    learning_rate: float
    augmented: bool
    """Whether every picture is varied each time it is seen; see `augment`."""


DIGITS = Recipe((256, 128), "gaussian", BETA, 2000, 64, 1.5e-3, augmented=True)
"""For the embedded 8x8 digits, of which there are few."""
MNIST = Recipe((256, 128), "bernoulli", 4.0, 6000, 64, 2e-3, augmented=False)
"""For 28x28 pixels."""
NOISE_START = 0.22
"""Where the learned noise of a pixel starts: from 1 it does not come down in the steps of a recipe."""


_SEEN = 8000


class Digits(NamedTuple):
    """Flat pictures and their classes, for training or for a trial."""

    x: Float[np.ndarray, "n pixels"]
    labels: Int[np.ndarray, " n"]

    @property
    def size(self) -> int:
        """Height and width of a picture."""
        return round(self.x.shape[1] ** 0.5)


def embedded(split: Literal["writers", "new writers"]) -> Digits:
    """The 8x8 digits of eleven forms, or of three others (14 forms by 13 people: one may be in both)."""
    images, labels = datasets.digits(split)
    return Digits(images.reshape(len(images), -1), labels)


def mnist(folder: str | os.PathLike[str], *, full: bool = True) -> tuple[Digits, Digits]:
    """MNIST to learn from, and the last 2000 of its test images to be tried on.

    The file is said to be in the order of the writers: then these are by other hands, but perhaps one.

    Args:
        folder: With the original files; see `datasets.mnist`.
        full: Learn from all 60 000 training images if they are in the folder. Otherwise it is the first 8000
            test images: the data of the shipped weights.

    Raises:
        FileNotFoundError, ValueError: As for `datasets.mnist`.
    """
    images, labels = datasets.mnist(folder, "test")
    x = images.reshape(len(images), -1)
    seen, new = Digits(x[:_SEEN], labels[:_SEEN]), Digits(x[_SEEN:], labels[_SEEN:])
    if full and "train" in datasets.mnist_splits(folder):
        images, labels = datasets.mnist(folder, "train")
        seen = Digits(images.reshape(len(images), -1), labels)
    return seen, new


# --- training ---------------------------------------------------------------------------------


def augment(
    x: Float[Array, "batch pixels"],
    key: PRNGKeyArray,
    *,
    shear: float = 0.15,
    rotation: float = 0.05,
    log_scale: float = 0.05,
    shift: float = 0.3,
) -> Float[Array, "batch pixels"]:
    """Each picture a little sheared, turned, scaled and moved, at random: more handwritings than there are.

    Args:
        x: Square pictures, shape (batch, size * size); black beyond the edge.
        key: For the draws, one of each kind a picture, all normal with mean 0.
        shear: Standard deviation of the tangent of the slant.
        rotation: Standard deviation of the angle, radians.
        log_scale: Standard deviation of the logarithms of width and height.
        shift: Standard deviation of the way moved across and down, pixels.

    Returns:
        Pictures in the shape of x.

    Raises:
        ValueError: The pictures are not square.
    """
    (x,) = checks.floats(x=x)
    size = round(x.shape[1] ** 0.5) if x.ndim == 2 else 0
    if x.ndim != 2 or size**2 != x.shape[1]:
        raise ValueError(f"x has shape {x.shape}; expected (batch, size * size)")
    k_shear, k_turn, k_scale, k_shift = jax.random.split(key, 4)
    n = len(x)
    middle = (size - 1) / 2
    rows, columns = jnp.meshgrid(*[jnp.arange(size) - middle] * 2, indexing="ij")

    def one(picture: Any, lean: Any, turn: Any, scale: Any, move: Any) -> Array:
        down, right = rows * scale[0], columns * scale[1] + lean * rows
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        places = [cos * down - sin * right + move[0] + middle, sin * down + cos * right + move[1] + middle]
        return jax.scipy.ndimage.map_coordinates(picture.reshape(size, size), places, order=1).ravel()

    return jax.vmap(one)(
        x,
        shear * jax.random.normal(k_shear, (n,)),
        rotation * jax.random.normal(k_turn, (n,)),
        jnp.exp(log_scale * jax.random.normal(k_scale, (n, 2))),
        shift * jax.random.normal(k_shift, (n, 2)),
    )


def augmented_loss(
    model: ConditionalVAE,
    batch: tuple[Float[Array, "batch pixels"], Int[Array, " batch"]],
    key: PRNGKeyArray,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """`objectives.conditional_negative_elbo` of augmented pictures, for `training.fit`."""
    key_pictures, key_z = jax.random.split(key)
    x = jnp.clip(augment(batch[0], key_pictures), 0, 1)  # rounding may leave [0, 1] by an ulp
    return objectives.conditional_negative_elbo(model, (x, batch[1]), key_z, beta=beta)


def build(
    recipe: Recipe,
    rngs: nnx.Rngs,
    *,
    condition: Literal["film", "concat"] = "film",
    pixels: int = 64,
    noise_start: float = NOISE_START,
) -> ConditionalVAE:
    """An untrained model of a recipe.

    Args:
        recipe: Widths and likelihood.
        rngs: Source of the initial weights.
        condition: How the label enters the decoder.
        pixels: Length of x.
        noise_start: Where a learned noise starts.
    """
    return ConditionalVAE(
        pixels,
        LATENT,
        recipe.hidden,
        condition=condition,
        likelihood=recipe.likelihood,
        noise_sd="learned" if recipe.likelihood == "gaussian" else 1.0,
        noise_start=noise_start,
        rngs=rngs,
    )


def train(
    data: Digits,
    *,
    key: PRNGKeyArray,
    recipe: Recipe = DIGITS,
    condition: Literal["film", "concat"] = "film",
    noise_start: float = NOISE_START,
    progress: str | None = None,
) -> training.Fitted[ConditionalVAE]:
    """Train a conditional VAE on digits.

    Args:
        data: What it learns from.
        key: Seeds the weights and the training.
        recipe: Widths, likelihood, beta and course of the training; `recipe._replace(beta=1)` changes one.
        condition: How the label enters the decoder.
        noise_start: Where the learned noise of a Gaussian starts.
        progress: Label of the progress bar; None shows none.
    """
    key_weights, key_training = jax.random.split(key)
    model = build(
        recipe,
        nnx.Rngs(key_weights),
        condition=condition,
        pixels=data.x.shape[1],
        noise_start=noise_start,
    )
    return training.fit(
        model,
        augmented_loss if recipe.augmented else objectives.conditional_negative_elbo,
        tuple(data),
        key=key_training,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        hyper={"beta": recipe.beta},
        progress=progress,
    )


def reading_loss(
    reader: nnx.Sequential,
    batch: tuple[Float[Array, "batch pixels"], Int[Array, " batch"]],
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy of a classifier on augmented pictures, for `training.fit`."""
    logits = reader(augment(batch[0], key, shear=0.2, rotation=0.1, log_scale=0.1, shift=1.0))
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean(), {}


def train_reader(data: Digits, *, key: PRNGKeyArray, hidden: int = 64, steps: int = 6000) -> nnx.Sequential:
    """A small classifier for the drawing board: flat pictures to ten logits.

    It proposes a label and judges nothing; that is for `judge`.

    Args:
        data: What it learns from.
        key: Seeds the weights and the training.
        hidden: Width of the one hidden layer.
        steps: Of training, with batches of 128.
    """
    key_weights, key_training = jax.random.split(key)
    reader = mlp([data.x.shape[1], hidden, CLASSES], nnx.relu, nnx.Rngs(key_weights))
    fitted = training.fit(
        reader,
        reading_loss,
        tuple(data),
        key=key_training,
        steps=steps,
        batch_size=128,
        learning_rate=2e-3,
        progress=None,
    )
    return fitted.model


# --- the judge --------------------------------------------------------------------------------


def judge(data: Digits) -> Pipeline:
    """A classifier that has seen real pictures only: principal components, then a support vector machine.

    scikit-learn's; it shares nothing with the models that it judges.
    """
    components = min(40, data.x.shape[1])
    return make_pipeline(PCA(components, random_state=0), SVC(C=10)).fit(data.x, data.labels)


class Transfer(NamedTuple):
    """How one property of the handwriting survives: correlations, centred within classes, and a slope."""

    written: float
    """Source and the ten digits written in its style."""
    worst: float
    """The least of the ten classes."""
    random: float
    """Source and ten digits written in a random style: what chance gives."""
    reconstruction: float
    """Source and its own reconstruction, the yardstick: what survives when the class stays."""
    slope: float
    """How much of the property arrives: what the ten have more of, in the mean, for each unit of the source.

    No correlation, which says nothing of size: a model that writes the same ten digits for everybody can show
    one in their last decimals.
    """


class Verdict(NamedTuple):
    """What a trial found, on pictures that the model has not seen."""

    fidelity: float
    """Share of written digits that the judge reads as what was asked for."""
    fidelity_prior: float
    """The same for styles z from P(z)."""
    transfer: dict[str, Transfer]
    """By the name of the property: "slant", "ink", and "thickness" where asked for."""
    linear_probe: float
    """Accuracy of reading the label from z by logistic regression; chance is about 0.1."""
    neighbour_probe: float
    """The same by the nearest neighbour."""


@jax.jit
def styles(
    model: ConditionalVAE, x: Float[ArrayLike, "n pixels"], labels: Int[ArrayLike, " n"]
) -> Float[Array, "n latent"]:
    """The style of each picture, x of shape (n, pixels), labels (n,): the mean of q(z|x, y)."""
    return model.encoder(jnp.asarray(x), jnp.asarray(labels)).mean


@jax.jit
def all_ten(model: ConditionalVAE, z: Float[ArrayLike, "n latent"]) -> Float[Array, "n 10 pixels"]:
    """Ten digits in each style z of shape (n, latent), brightness cut to [0, 1]."""
    return jnp.clip(model.all_classes(jnp.asarray(z)), 0, 1)


@jax.jit
def _reconstructed(model: ConditionalVAE, z: Any, labels: Any) -> Array:
    return jnp.clip(model.write(z, labels), 0, 1)


def assess(
    model: ConditionalVAE,
    seen: Digits,
    new: Digits,
    classifier: Pipeline,
    *,
    key: PRNGKeyArray,
    properties: tuple[str, ...] = ("slant", "ink"),
) -> Verdict:
    """Write all ten digits in the style of each new digit and measure them.

    Args:
        model: Trained on `seen`.
        seen: For the probes of z.
        new: Digits by writers that the model does not know.
        classifier: A `judge` of `seen`.
        key: For the random styles.
        properties: Names of functions of `measures`; "thickness" needs pictures larger than 8x8.

    Returns:
        The verdict; its correlations are between n new digits and the ten written for each, one of which is
        the reconstruction.

    Raises:
        ValueError: A property is constant within every class, in `new` or in what was written.
    """
    z = styles(model, new.x, new.labels)
    square = (-1, CLASSES, new.size, new.size)
    written = np.asarray(all_ten(model, z)).reshape(square)
    random = np.asarray(all_ten(model, jax.random.normal(key, z.shape))).reshape(square)
    again = np.asarray(_reconstructed(model, z, new.labels)).reshape(-1, new.size, new.size)
    source = new.x.reshape(-1, new.size, new.size)

    def transfer(name: str) -> Transfer:
        of = getattr(measures, name)
        before = of(source)
        after = of(written)
        each = [measures.within_class_correlation(before, w, new.labels) for w in after.T]
        chance = np.mean([measures.within_class_correlation(before, w, new.labels) for w in of(random).T])
        best = measures.within_class_correlation(before, of(again), new.labels)
        slope = measures.within_class_slope(before, after.mean(axis=1), new.labels)
        return Transfer(float(np.mean(each)), min(each), float(chance), best, slope)

    codes = styles(model, seen.x, seen.labels), z
    linear = LogisticRegression(max_iter=2000)
    return Verdict(
        _fidelity(classifier, written),
        _fidelity(classifier, random),
        {name: transfer(name) for name in properties},
        *(
            float(probe.fit(codes[0], seen.labels).score(codes[1], new.labels))
            for probe in (linear, KNeighborsClassifier(1))
        ),
    )


def _fidelity(classifier: Pipeline, written: np.ndarray) -> float:
    """Share of pictures, shape (n, 10, size, size), that are read as their place along the second axis."""
    read = classifier.predict(written.reshape(len(written) * CLASSES, -1)).reshape(-1, CLASSES)
    return float((read == np.arange(CLASSES)).mean())


# --- what each direction of z does ------------------------------------------------------------


class Effects(NamedTuple):
    """What one unit of each latent dimension does to the ten digits, in the mean over them."""

    slant: Float[np.ndarray, " latent"]
    """Degrees."""
    weight: Float[np.ndarray, " latent"]
    """How heavy the writing is: mean ink for 8x8 digits, thickness in pixels for larger ones."""
    change: Float[np.ndarray, " latent"]
    """Root mean square change of a pixel, from -1/2 to +1/2 about the middle."""
    explained: tuple[float, float]
    """Share of the variance of slant and of weight, over styles from P(z), that the linear fit explains."""

    def directions(self) -> Float[np.ndarray, "2 latent"]:
        """Two unit vectors at right angles: where slant grows fastest, and, of what is left, weight."""
        first = self.slant / np.linalg.norm(self.slant)
        rest = self.weight - (self.weight @ first) * first
        return np.stack([first, rest / np.linalg.norm(rest)])

    def names(self) -> list[str]:
        """Each dimension's name by its greatest effect, in units of what the strongest dimension does.

        "slant" or "weight" if it has more than half of the strongest effect of that kind; "idle" if it
        changes the pixels by less than a fifth of what the strongest does; else "shape".
        """
        shares = np.abs([self.slant, self.weight]) / np.max(
            np.abs([self.slant, self.weight]), 1, keepdims=True
        )
        found = []
        for k, change in enumerate(self.change / self.change.max()):
            best = int(shares[:, k].argmax())
            named = ("slant", "weight")[best] if shares[best, k] > 0.5 else "shape"
            found.append("idle" if change < 0.2 else named)
        return found


def effects(model: ConditionalVAE, *, key: PRNGKeyArray, n: int = 400) -> Effects:
    """Measure what each latent dimension does, by a linear fit over n styles from P(z).

    Args:
        model: Of square pictures; the weight is ink for 8x8, thickness for all others.
        key: For the styles.
        n: How many, more than the latent has dimensions.
    """
    checks.whole("n", n, low=2 * model.latent)
    z = jax.random.normal(key, (n, model.latent))
    size = round(model.pixels**0.5)
    written = np.asarray(all_ten(model, z)).reshape(n, CLASSES, size, size)
    weight = measures.ink if size == 8 else measures.thickness
    fit_to = np.column_stack([np.ones(n), np.asarray(z, np.float64)])
    slopes, explained = [], []
    for of in (measures.slant, weight):
        value = of(written).mean(axis=1)
        slope, *_ = np.linalg.lstsq(fit_to, value, rcond=None)
        slopes.append(slope[1:])
        explained.append(float(1 - np.var(value - fit_to @ slope) / np.var(value)))
    steps = 0.5 * jnp.eye(model.latent)
    change = np.asarray(all_ten(model, steps) - all_ten(model, -steps))
    change = np.sqrt((change**2).mean(axis=(1, 2)))
    return Effects(slopes[0], slopes[1], change, (explained[0], explained[1]))
