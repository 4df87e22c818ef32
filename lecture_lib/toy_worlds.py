"""Small worlds of a GAN of numbers, each with the number that proves it, and the map of learning rates."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray
from scipy import stats

from lecture_lib import checks, toy_films, toy_trials
from lecture_lib.gan_training import FittedGANs
from lecture_lib.toy_films import Film
from lecture_lib.toy_trials import MEAN, SD, STEPS, Settings

_SEEN = 20
"""Steps between two frames by which a world is judged."""
_NEAR = np.abs(toy_films.EDGES - MEAN) <= 3 * SD
"""Where there is data."""


class World(NamedTuple):
    """Settings with a known fate."""

    settings: Settings
    tells: str
    """What happens, in a sentence."""
    sign: str
    """The number that proves it."""
    holds: Callable[[Film], bool]
    """Whether it did happen in a film."""


def _works(film: Film) -> bool:
    return bool(film.w1_averaged[-1] < 0.1 and film.largest[-1] < 0.75)


def _weak(film: Film) -> bool:
    return bool(np.abs(film.d[-1][_NEAR] - 0.5).max() < 0.05 and film.w1[-1] > 0.15)


def _dead(film: Film) -> bool:
    return bool(film.w1[-1] > 0.8 * film.w1[0] and film.reach_minimax[-1] < 1e-3 * film.reach[-1])


def _alive(film: Film) -> bool:
    return bool(film.w1[-1] < 0.2 * film.w1[0])


def _swings(film: Film) -> bool:
    beyond = np.sign(film.mean - MEAN)
    crossings = np.nonzero(np.diff(beyond))[0]
    return bool(len(crossings) >= 8 and np.abs(film.mean[crossings[0] + 1 :] - MEAN).max() > 2 * SD)


def _collapsed(film: Film) -> bool:
    bumps = np.array([part.mean() for part in toy_trials.DATA["two bumps"].parts])
    away = np.abs(film.mean[-1] - bumps).min()
    hops = np.count_nonzero(np.diff(np.sign(film.mean - MEAN)))
    return bool(film.kind == "two bumps" and film.largest[-1] > 0.95 and away < SD and hops >= 2)


def fooled(film: Film) -> Bool[np.ndarray, " frames"]:
    """In which frames a few values fool D: mean D on G's x above .6, their sd below .15, W1 above .2."""
    return (film.fake > 0.6) & (film.sd < 0.15) & (film.w1 > 0.2) & (film.step > 0)


_STRONG = Settings(discriminator_rate=1e-2, generator_rate=3e-4, d_steps=5, penalty=0.0, shift=-4.0)
_WILD = Settings(discriminator_rate=1e-2, generator_rate=1e-2, penalty=0.0, momentum=0.9)

WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "the recipe": World(
            Settings(),
            "G finds the data and stays there.",
            "W1 of the averaged G below .1, and no side with 75 % of G's probability at the end",
            _works,
        ),
        "D too weak": World(
            Settings(discriminator_rate=1e-4, generator_rate=2e-2, penalty=10.0, momentum=0.9),
            "D says one half to everything, whatever G makes.",
            "D within .05 of 1/2 wherever there is data, and W1 above .15 at the end",
            _weak,
        ),
        "D too strong": World(
            _STRONG._replace(loss="log(1 − D)"),
            "D sees through G at once, log(1 − D) is flat there, and G never learns.",
            "W1 stays above 80 % of its start, log(1 − D) reaches G with under 1/1000 of what −log D would",
            _dead,
        ),
        "strong, but −log D": World(
            _STRONG,
            "The same D; the other loss pulls G in.",
            "W1 falls below 20 % of its start",
            _alive,
        ),
        "overshoot": World(
            _WILD,
            "G runs past the data, D turns round, G runs back.",
            "G's mean crosses the data's at least 8 times and gets more than 2 sd away again",
            _swings,
        ),
        "mode collapse": World(
            Settings("two bumps", 1e-3, 2e-2, momentum=0.9),
            "G makes little but one value, at one bump, and hops to the other when D finds out.",
            "G's mean changes sides at least twice, and ends within 0.5 of one bump, with 95 % on that side",
            _collapsed,
        ),
        "cured": World(
            Settings("two bumps"),
            "The recipe on two bumps: G makes both.",
            "W1 of the averaged G below .1, and no side with 75 % of G's probability at the end",
            _works,
        ),
        "D is fooled": World(
            _WILD,
            "G finds a few values that D takes for real.",
            "at some time mean D on G's x is above .6 while their sd is below .15 and W1 above .2",
            lambda film: bool(fooled(film).any()),
        ),
    }
)


FAILURES = ("D too weak", "D too strong", "overshoot", "mode collapse", "D is fooled")
"""Those worlds whose sign is one of failure; a game may meet several."""


def films(
    settings: Settings, *, keys: Key[Array, " games"], steps: int = STEPS, every: int = _SEEN
) -> list[Film]:
    """Play games side by side and look at each.

    Args:
        settings: The same for all.
        keys: Shape (games,).
        steps, every: See `toy_trials.train`.

    Raises:
        KeyboardInterrupt: The training was interrupted; half-played games are not judged.
    """
    fitted = toy_trials.train(settings, keys=keys, steps=steps, every=every)
    if fitted.interrupted:
        raise KeyboardInterrupt("the games were interrupted: half-played ones would be judged")
    return [toy_films.film(fitted, settings.data, run) for run in range(len(keys))]


class Fate(NamedTuple):
    """How often a world's sign was seen."""

    seen: int
    games: int
    w1: float
    """The median of W1 at the end."""


def fates(*, keys: Key[Array, " games"], worlds: Mapping[str, World] = WORLDS) -> dict[str, Fate]:
    """Play each world with each key, and count.

    Args:
        keys: Shape (games,).
        worlds: Which; worlds with the same settings are played once.

    Raises:
        KeyboardInterrupt: As for `films`.
    """
    played: dict[Settings, list[Film]] = {}
    for world in worlds.values():
        if world.settings not in played:
            played[world.settings] = films(world.settings, keys=keys)
    told = {}
    for name, world in worlds.items():
        seen = [world.holds(film) for film in played[world.settings]]
        w1 = float(np.median([film.w1[-1] for film in played[world.settings]]))
        told[name] = Fate(sum(seen), len(seen), w1)
    return told


# --- the map of learning rates ------------------------------------------------------------------


class Balance(NamedTuple):
    """Many games from one start that differ in their learning rates only."""

    settings: Settings
    discriminator_rates: Float[np.ndarray, " columns"]
    generator_rates: Float[np.ndarray, " rows"]
    fitted: FittedGANs
    """Row after row."""
    end: Film
    """All games at the end: games stand where other films have frames."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (learning rates of G) and columns (of D)."""
        return len(self.generator_rates), len(self.discriminator_rates)

    @property
    def last(self) -> int:
        """The last frame of each film."""
        return len(self.fitted.steps) - 1

    def map(self, name: str) -> Float[np.ndarray, "rows columns"]:
        """A number of each game at the end, by its name in `Film`."""
        return getattr(self.end, name).reshape(self.shape)

    def film(self, row: int, column: int) -> Film:
        """One of the games, frame by frame."""
        return toy_films.film(self.fitted, self.settings.data, row * self.shape[1] + column)


RATES = tuple(float(rate) for rate in np.geomspace(1e-4, 3e-2, 16))
PLAIN = Settings(penalty=0.0, momentum=0.5)
"""The plain GAN: no penalty, Adam as is usual for GANs."""


def balance(
    settings: Settings = PLAIN,
    *,
    key: PRNGKeyArray,
    generator_rates: Sequence[float] = RATES,
    discriminator_rates: Sequence[float] = RATES,
    steps: int = STEPS,
    every: int = _SEEN,
    progress: str | None = None,
) -> Balance:
    """Play a game for each pair of learning rates, all from the same weights, in one compiled program.

    Args:
        settings: All but the learning rates.
        key: Of every game.
        generator_rates, discriminator_rates: Above 0.
        steps, every, progress: See `toy_trials.train`.
    """
    rates = [np.asarray(given, np.float64) for given in (generator_rates, discriminator_rates)]
    for name, given in zip(("generator_rates", "discriminator_rates"), rates, strict=True):
        if given.ndim != 1 or not len(given):
            raise ValueError(f"{name} has shape {given.shape}; expected at least one rate, shape (n,)")
        checks.positive(name, given)
    of_g, of_d = (grid.ravel() for grid in np.meshgrid(*rates, indexing="ij"))
    fitted = toy_trials.train(
        settings._replace(generator_rate=of_g, discriminator_rate=of_d),
        keys=jnp.broadcast_to(key, of_g.shape),
        steps=steps,
        every=every,
        keep=toy_films.Players._fields,
        chunk=every,
        progress=progress,
    )
    done = np.full(len(of_g), fitted.steps[-1])  # less than `steps` after an interruption
    end = toy_films.look(fitted.game, toy_films.players(fitted.last), settings.data, done)
    return Balance(settings, rates[1], rates[0], fitted, end)


# --- the missing signal -------------------------------------------------------------------------

SIGNALS: Mapping[str, Callable[[Film], Float[np.ndarray, " frames"]]] = MappingProxyType(
    {
        "D's loss": lambda film: film.loss_d,
        "G's loss": lambda film: film.loss_g,
        "G's loss off log 2": lambda film: np.abs(film.loss_g - np.log(2)),
        "share D gets right": lambda film: film.right,
        "mean D on G's x": lambda film: film.fake,
        "exact JS (no one has it)": lambda film: film.js,
    }
)
"""What one could look at to know how good G is; the last of them needs both densities."""


def signals(films: Sequence[Film], *, after: int = 0) -> dict[str, Float[np.ndarray, " films"]]:
    """Spearman's rank correlation of each signal with W1: 1 if it orders G's as W1 does.

    Args:
        films: Games along training, or `Balance.end`.
        after: Frames before this step are left out.

    Returns:
        For each signal the correlation in each film, shape (films,); 0 where a signal does not change.
    """
    found = {}
    for name, of in SIGNALS.items():
        pairs = [(of(film)[film.step >= after], film.w1[film.step >= after]) for film in films]
        found[name] = np.array([_spearman(a, b) for a, b in pairs])
    return found


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)
