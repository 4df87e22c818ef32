"""The experiments of notebook 06: a GAN of 8x8 digits, what its samples are worth, a D that is not frozen."""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.spatial import distance
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from lecture_lib import adversarial, checks, gan_training, measures, objectives
from lecture_lib.gan_training import FittedGAN
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.objectives import GANLosses
from lecture_lib.style_trials import CLASSES, Digits

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
    return gan_training.fit_gan(
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
def draw(generator: Generator, key: PRNGKeyArray, n: int) -> Float[Array, "n pixels"]:
    """Pictures of n draws z ~ N(0, I); the same key gives the same z to every generator."""
    return generator.sample(key, n)


@jax.jit
def probability(discriminator: Discriminator, x: Float[ArrayLike, "n pixels"]) -> Float[Array, " n"]:
    """What D says of each picture, x of shape (n, pixels): its probability of being real, from 0 to 1."""
    return jax.nn.sigmoid(discriminator(jnp.asarray(x)))


# --- what samples are worth ---------------------------------------------------------------------


def judge(data: Digits) -> Pipeline:
    """A classifier that has seen real pictures only, and says how sure it is: scikit-learn's.

    Logistic regression on the likeness to 300 of the pictures (a radial kernel).
    """
    likeness = Nystroem(gamma=0.15, n_components=300, random_state=0)
    return make_pipeline(likeness, LogisticRegression(C=100, max_iter=2000)).fit(data.x, data.labels)


def nearest(
    x: Float[ArrayLike, "n pixels"], data: Float[ArrayLike, "m pixels"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The nearest of `data` to each x.

    Returns:
        Its row, shape (n,), and its Euclidean distance, shape (n,).

    Raises:
        ValueError: `data` is empty.
    """
    if not np.size(data):
        raise ValueError("data is empty; expected at least one picture")
    pictures = {"x": checks.real("x", x), "data": checks.real("data", data)}
    for name, value in pictures.items():
        checks.finite(name, value)
    apart = distance.cdist(*pictures.values())
    return apart.argmin(axis=1), apart.min(axis=1)


class Worth(NamedTuple):
    """What an independent judge finds in samples."""

    confidence: float
    """Mean of the largest class probability."""
    score: float
    """`measures.inception_score`."""
    shares: Float[np.ndarray, " 10"]
    """The share of each digit, as the judge reads them."""


def worth(classifier: Pipeline, x: Float[ArrayLike, "n pixels"]) -> Worth:
    """Judge samples.

    Args:
        classifier: Of `judge`.
        x: The samples, shape (n, 64).
    """
    p = classifier.predict_proba(np.asarray(x))
    shares = np.bincount(classifier.classes_[p.argmax(axis=1)], minlength=CLASSES) / len(p)
    return Worth(float(p.max(axis=1).mean()), measures.inception_score(p), shares)


# --- what reaches the generator -----------------------------------------------------------------


@jax.jit
def pull(discriminator: Discriminator, x: Float[ArrayLike, "n pixels"]) -> Float[Array, "n pixels"]:
    """What a step of G is told of each picture: minus the gradient of -log D(x) by its pixels.

    Positive where D asks for more light. The whole gradient of G's parameters is the negative of this one,
    shared out over the n pictures and carried on through G.

    Args:
        discriminator: D, by its logits.
        x: Pictures, shape (n, pixels).
    """
    return -jax.grad(lambda x: jax.nn.softplus(-discriminator(x)).sum())(jnp.asarray(x))


# --- what happens if D is not frozen ------------------------------------------------------------

Freed = Literal["nothing", "last bias", "everything"]
"""Which parameters of D a step of G changes, too."""


class Drift(NamedTuple):
    """A few steps of G's loss, with a D that is not frozen, or only in part; before the first, after each."""

    made: Float[np.ndarray, "states samples pixels"]
    """Pictures of the same codes."""
    fake: Float[np.ndarray, "states samples"]
    """What D says of each: probability of being real."""
    real: Float[np.ndarray, " states"]
    """The mean of what it says of real pictures."""
    noise: Float[np.ndarray, " states"]
    """The mean of what it says of pictures of uniform noise."""
    bias: Float[np.ndarray, " states"]
    """The gradient of G's loss by D's last bias, on these codes: -mean(1 - D)."""


def drift(
    game: adversarial.Game,
    state: adversarial.State,
    real: Float[ArrayLike, "n pixels"],
    *,
    freed: Freed,
    steps: int,
    key: PRNGKeyArray,
    samples: int = 24,
) -> Drift:
    """Let G's loss change parameters of D, too: `objectives.non_saturating`, whatever G has learned from.

    Args:
        game: The rules.
        state: Where the game stands.
        real: Real pictures to ask D about.
        freed: What of D is not frozen.
        steps: Number of steps, at least 1; D has none of its own.
        key: For the codes.
        samples: How many pictures to follow.

    Raises:
        TypeError, ValueError: An argument does not fit; the message names it.
    """
    if freed not in get_args(Freed):
        raise ValueError(f"freed is {freed!r}; expected one of {', '.join(map(repr, get_args(Freed)))}")
    checks.whole("steps", steps, low=1)
    checks.whole("samples", samples, low=1)
    checks.finite("real", real)
    mask = _mask(game, state, freed)
    told = _drift(state, jnp.asarray(real), mask, key, game=game, steps=steps, samples=samples)
    return Drift(*map(np.asarray, told))


def _mask(game: adversarial.Game, state: adversarial.State, freed: Freed) -> Any:
    """1 for each parameter of D that is free, else 0."""
    d = game.discriminator_of(
        jax.tree.map(jnp.ones_like if freed == "everything" else jnp.zeros_like, state.discriminator)
    )
    if freed == "last bias":
        last: Any = d.layers.layers[-1]
        last.bias[...] = jnp.ones_like(last.bias[...])
    return nnx.state(d, nnx.Param)


@partial(jax.jit, static_argnames=("game", "steps", "samples"))
def _drift(
    state: adversarial.State,
    real: Any,
    mask: Any,
    key: PRNGKeyArray,
    *,
    game: adversarial.Game,
    steps: int,
    samples: int,
) -> Any:
    key_z, key_noise, key_steps = jax.random.split(key, 3)
    latent = game.generator_of(state.generator).latent
    codes = jax.random.normal(key_z, (samples, latent))
    noise = jax.random.uniform(key_noise, (200, real.shape[1]))

    def look(state: adversarial.State) -> Any:
        d, made = game.discriminator_of(state.discriminator), game.generator_of(state.generator)(codes)
        fake = jax.nn.sigmoid(d(made))
        return made, fake, jax.nn.sigmoid(d(real)).mean(), jax.nn.sigmoid(d(noise)).mean(), -(1 - fake).mean()

    def loss(g: Any, d: Any, z: Any) -> Any:
        return objectives.non_saturating(game.discriminator_of(d)(game.generator_of(g)(z)))

    def step(state: adversarial.State, key: Any) -> Any:
        z = jax.random.normal(key, (64, latent))
        for_g, for_d = jax.grad(loss, (0, 1))(state.generator, state.discriminator, z)
        g, g_moments = game.update(for_g, state.generator_moments, state.generator, RATE)
        d, d_moments = game.update(for_d, state.discriminator_moments, state.discriminator, RATE)
        d = jax.tree.map(lambda old, new, free: old + free * (new - old), state.discriminator, d, mask)
        state = state._replace(
            generator=g, discriminator=d, generator_moments=g_moments, discriminator_moments=d_moments
        )
        return state, look(state)

    _, after = jax.lax.scan(step, state, jax.random.split(key_steps, steps))
    return jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), look(state), after)


class Shares(NamedTuple):
    """Who makes D say "real" louder, in one small plain gradient step of G's loss; the four sum to 1."""

    generator: float
    last_bias: float
    """Of D."""
    last_weights: float
    other_layers: float


def shares(game: adversarial.Game, state: adversarial.State, *, key: PRNGKeyArray, n: int = 256) -> Shares:
    """How much each part contributes to the rise of D's mean logit, to first order in the learning rate.

    For a part with parameters p it is minus the product of dL/dp and d(mean logit)/dp.

    Args:
        game: The rules.
        state: Where the game stands.
        key: For the codes.
        n: How many codes.
    """
    parts = np.asarray(_rises(state, key, game=game, n=checks.whole("n", n, low=1)), np.float64)
    return Shares(*(parts / parts.sum()).tolist())


@partial(jax.jit, static_argnames=("game", "n"))
def _rises(state: adversarial.State, key: Any, *, game: adversarial.Game, n: int) -> Float[Any, " 4"]:
    z = jax.random.normal(key, (n, game.generator_of(state.generator).latent))

    def logits(g: Any, d: Any) -> Any:
        return game.discriminator_of(d)(game.generator_of(g)(z))

    both = state.generator, state.discriminator
    down = jax.grad(lambda g, d: objectives.non_saturating(logits(g, d)), (0, 1))(*both)
    up = jax.grad(lambda g, d: logits(g, d).mean(), (0, 1))(*both)
    of_g, of_d = (jax.tree.map(lambda a, b: -jnp.sum(a * b), *pair) for pair in zip(down, up, strict=True))
    d: Any = game.discriminator_of(of_d)
    last = d.layers.layers[-1]
    bias, kernel = last.bias[...], last.kernel[...]
    rest = sum(jax.tree.leaves(of_d)) - bias - kernel
    return jnp.stack([sum(jax.tree.leaves(of_g)), bias, kernel, rest])
