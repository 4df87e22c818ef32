"""The experiments of notebook 06: a GAN of 8x8 digits, what its samples are worth, and a D that is not frozen."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.spatial import distance
from sklearn.neural_network import MLPClassifier

from lecture_lib import adversarial, checks, measures, objectives, training
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.objectives import GANLosses
from lecture_lib.style_trials import CLASSES, Digits
from lecture_lib.training import FittedGAN, Snapshot

LATENT = 16
HIDDEN = (256, 256)
STEPS = 5000
GENERATIONS = (0, 10, 20, 50, 100, 150, 200, 350, 500, 700, 1000, 1500, 2500, 5000)
"""After which steps a generation is kept."""
RATE = 5e-4


def build(rngs: nnx.Rngs, *, pixels: int = 64) -> GAN:
    """Two untrained players.

    Args:
        rngs: Source of the initial weights.
        pixels: Length of x.
    """
    return GAN(Generator(LATENT, pixels, HIDDEN, rngs=rngs), Discriminator(pixels, HIDDEN, rngs=rngs))


def train(
    data: Digits,
    *,
    key: PRNGKeyArray,
    steps: int = STEPS,
    losses: GANLosses = objectives.NON_SATURATING,
    penalty: float = 0.1,
    progress: str | None = None,
) -> FittedGAN:
    """Train a GAN on digits; their labels are not looked at.

    Args:
        data: The real pictures.
        key: Seeds the weights and the training.
        steps: Steps of the game, one update of D and one of G in each.
        losses: What the players minimise.
        penalty: Weight of the R1 penalty.
        progress: Label of the progress bar; None shows none.

    Returns:
        FittedGAN, with the generations of GENERATIONS up to `steps` as its snapshots.
    """
    key_weights, key_training = jax.random.split(key)
    return training.fit_gan(
        build(nnx.Rngs(key_weights), pixels=data.x.shape[1]),
        data.x,
        key=key_training,
        steps=steps,
        generator_rate=RATE,
        discriminator_rate=RATE,
        penalty=penalty,
        losses=losses,
        snapshots=[step for step in GENERATIONS if step <= steps],
        progress=progress,
    )


@partial(jax.jit, static_argnames="n")
def draw(generator: Generator, key: PRNGKeyArray, n: int) -> Float[Any, "n pixels"]:
    """Pictures of n draws z ~ N(0, I); the same key gives the same z to every generator."""
    return generator.sample(key, n)


@jax.jit
def probability(discriminator: Discriminator, x: Any) -> Float[Any, " n"]:
    """What D says of each picture, x of shape (n, pixels): its probability of being real, from 0 to 1."""
    return jax.nn.sigmoid(discriminator(x))


# --- what samples are worth ---------------------------------------------------------------------


def judge(data: Digits) -> MLPClassifier:
    """A classifier that has seen real pictures only, and says how sure it is: scikit-learn's perceptron."""
    return MLPClassifier((128,), max_iter=400, random_state=0).fit(data.x, data.labels)


def nearest(x: Float[Any, "n pixels"], data: Float[Any, "m pixels"]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `data` to each x.

    Returns:
        Its row, shape (n,), and its Euclidean distance, shape (n,).
    """
    apart = distance.cdist(np.asarray(x, np.float64), np.asarray(data, np.float64))
    return apart.argmin(axis=1), apart.min(axis=1)


class Worth(NamedTuple):
    """What an independent judge finds in samples."""

    confidence: float
    """Mean of the largest class probability."""
    score: float
    """`measures.inception_score`."""
    shares: Float[np.ndarray, " 10"]
    """The share of each digit, as the judge reads them."""


def worth(classifier: MLPClassifier, x: Float[Any, "n pixels"]) -> Worth:
    """Judge samples.

    Args:
        classifier: Of `judge`.
        x: The samples, shape (n, 64).
    """
    p = classifier.predict_proba(np.asarray(x))
    shares = np.bincount(p.argmax(axis=1), minlength=CLASSES) / len(p)
    return Worth(float(p.max(axis=1).mean()), measures.inception_score(p), shares)
