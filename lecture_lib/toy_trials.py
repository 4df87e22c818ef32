"""The experiments of notebook 07: a GAN of numbers, small worlds where it fails, a map of learning rates."""

import numbers
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, Real
from scipy import stats

from lecture_lib import adversarial, gan_training, objectives
from lecture_lib.datasets import Curve
from lecture_lib.gan_training import FittedGANs
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.priors import NORMAL, Prior, Uniform

MEAN, SD = 1.0, 0.5
"""Of each kind of data: a G that gets only these two right is not right."""
HIDDEN = (16, 16)
BATCH, STEPS, EVERY = 64, 2000, 10
_EXAMPLES = 4096

_APART = 0.9 * SD
_NARROW = float(np.sqrt(SD**2 - _APART**2))
DATA: Mapping[str, Curve] = MappingProxyType(
    {
        "one bump": Curve((stats.norm(MEAN, SD),), (1.0,), (-3.0, 5.0)),
        "two bumps": Curve(
            (stats.norm(MEAN - _APART, _NARROW), stats.norm(MEAN + _APART, _NARROW)), (0.5, 0.5), (-2.0, 4.0)
        ),
        "skewed": Curve(
            (stats.gamma(2, loc=MEAN - SD * 2**0.5, scale=SD / 2**0.5),), (1.0,), (MEAN - SD * 2**0.5, 14.0)
        ),
    }
)
"""The black curves: all with the mean and the standard deviation above."""

Kind = Literal["one bump", "two bumps", "skewed"]
LossName = Literal["−log D", "log(1 − D)"]
PriorName = Literal["uniform", "normal"]
LOSSES = {"−log D": objectives.NON_SATURATING, "log(1 − D)": objectives.MINIMAX}
PRIORS: Mapping[str, Prior] = MappingProxyType({"uniform": Uniform(-1.0, 1.0), "normal": NORMAL})

ADAM = optax.inject_hyperparams(optax.scale_by_adam)(b1=0.0, b2=0.99)
"""Adam whose memory of past gradients, b1, is a number of the state and not compiled in."""


def falling(fraction: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """The learning rates stay for the first half, and then fall in a straight line to 2 %."""
    done = jnp.asarray(fraction)
    return jnp.where(done < 0.5, 1.0, 1.0 - 0.98 * (2 * done - 1))


class Settings(NamedTuple):
    """What a student can set. The default is the recipe that works."""

    data: Kind = "one bump"
    discriminator_rate: Real[ArrayLike, "*#games"] = 5e-3
    """Learning rate of D; one number, or one for each game."""
    generator_rate: Real[ArrayLike, "*#games"] = 1e-3
    """Learning rate of G."""
    d_steps: int = 1
    """k: steps of D for each step of G."""
    penalty: Real[ArrayLike, "*#games"] = 1.0
    """Weight gamma of the R1 penalty."""
    momentum: float = 0.0
    """Adam's b1: how much of the last steps' direction is kept, from 0 to below 1."""
    loss: LossName = "−log D"
    """What G minimises: the mean of it."""
    shift: float = 0.0
    """How far G's first pictures are moved, in units of x."""
    prior: PriorName = "uniform"
    """P(z): uniform on [-1, 1] or standard normal."""


RECIPE = Settings()


def build(rngs: nnx.Rngs, *, shift: float = 0.0, prior: Prior = PRIORS["uniform"]) -> GAN:
    """Two untrained players, 1-16-16-1 with leaky ReLU; D sees x in units of the data's spread.

    Args:
        rngs: Source of the initial weights.
        shift: Added to G's last bias.
        prior: P(z).
    """
    generator = Generator(1, 1, HIDDEN, squash=None, prior=prior, rngs=rngs)
    last: Any = generator.decoder.layers.layers[-1]
    last.bias[...] = last.bias[...] + shift
    return GAN(generator, Discriminator(1, HIDDEN, centre=MEAN, spread=SD, rngs=rngs))


def examples(kind: Kind) -> Float[np.ndarray, "4096 1"]:
    """What the players learn from: equally likely values in rising order, the quantiles of the black curve.

    Raises:
        ValueError: An unknown kind.
    """
    curve, u = _of("data", DATA, kind), (np.arange(_EXAMPLES) + 0.5) / _EXAMPLES
    if len(curve.parts) == 1:
        return curve.parts[0].ppf(u).astype(np.float32)[:, None]
    low, high = curve.reach
    x = np.linspace(low, high, 20001)
    return np.interp(u, curve.cdf(x), x).astype(np.float32)[:, None]


def train(
    settings: Settings,
    *,
    keys: Key[Array, " games"],
    steps: int = STEPS,
    every: int = EVERY,
    keep: Sequence[str] = adversarial.State._fields,
    chunk: int | None = None,
    progress: str | None = None,
) -> FittedGANs:
    """Play a game for each key, side by side.

    Adam with b2 .99, batches of 64, learning rates that fall in the second half; the averaged G is the one
    to be judged in the end.

    Args:
        settings: Rates and penalty may hold one number for each game.
        keys: Shape (games,); each seeds a game's weights and its training.
        steps: Steps of G, a multiple of `every`.
        every: After how many steps the games are kept again.
        keep, chunk: See `gan_training.fit_gans`.
        progress: Label of the progress bar; None shows none.

    Raises:
        TypeError, ValueError: A setting does not fit; the message names it.
    """
    momentum, shift = settings.momentum, settings.shift
    if not isinstance(momentum, numbers.Real) or not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum!r}; expected a number from 0 to below 1")
    if not isinstance(shift, numbers.Real) or not np.isfinite(float(shift)):
        raise ValueError(f"shift is {shift!r}; expected a finite number")

    def with_momentum(state: adversarial.State) -> adversarial.State:
        def of(moments: Any) -> Any:
            b1 = jnp.full_like(moments.hyperparams["b1"], float(momentum))
            return moments._replace(hyperparams={**moments.hyperparams, "b1": b1})

        return state._replace(
            generator_moments=of(state.generator_moments),
            discriminator_moments=of(state.discriminator_moments),
        )

    prior = _of("prior", PRIORS, settings.prior)
    return gan_training.fit_gans(
        partial(build, shift=float(shift), prior=prior),
        examples(settings.data),
        keys=keys,
        steps=steps,
        batch_size=BATCH,
        d_steps=settings.d_steps,
        generator_rate=settings.generator_rate,
        discriminator_rate=settings.discriminator_rate,
        penalty=settings.penalty,
        losses=_of("loss", LOSSES, settings.loss),
        transform=ADAM,
        start=with_momentum,
        schedule=falling,
        every=every,
        keep=keep,
        chunk=chunk,
        progress=progress,
    )


def players(fitted: FittedGANs, frame: int, *, run: int = 0) -> GAN:
    """Both players of one game as they were when they were kept.

    Args:
        fitted: Of `train`.
        frame: Which of `fitted.steps`.
        run: Which game.
    """
    kept = fitted.kept.generator, fitted.kept.discriminator
    g, d = (jax.tree.map(lambda a: a[frame, run], part) for part in kept)
    return GAN(fitted.game.generator_of(g), fitted.game.discriminator_of(d))


def _of(name: str, table: Mapping[str, Any], key: Any) -> Any:
    if not isinstance(key, str) or key not in table:
        raise ValueError(f"{name} is {key!r}; expected one of {', '.join(map(repr, table))}")
    return table[key]
