"""What tests of the GAN of numbers share: games that are played once, and films made by hand."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from lecture_lib import toy_films, toy_trials
from lecture_lib.gan_training import FittedGANs
from lecture_lib.toy_films import Film
from lecture_lib.toy_trials import MEAN, SD, Settings

KEYS = jax.random.split(jax.random.key(11), 8)
"""Always as many games, frames and steps in a call: a new number of any is compiled anew, for seconds."""
EVERY, CALL = 50, 500


@functools.cache
def played(settings: Settings = toy_trials.RECIPE, steps: int = toy_trials.STEPS) -> FittedGANs:
    """Eight games; for settings without arrays."""
    return train(settings, steps=steps)


def train(settings: Settings, *, steps: int = CALL, **options: Any) -> FittedGANs:
    return toy_trials.train(
        settings, **{"keys": KEYS, "steps": steps, "every": EVERY, "chunk": CALL, **options}
    )


@functools.cache
def filmed(settings: Settings = toy_trials.RECIPE) -> list[Film]:
    """The eight games, frame by frame."""
    fitted = played(settings)
    return [toy_films.film(fitted, settings.data, run) for run in range(len(KEYS))]


def made(frames: int = 3, **numbers: Any) -> Film:
    """A film of what is right: G makes the data, D says one half; `numbers` replace some of it."""
    plain: dict[str, Any] = {
        **{"kind": "one bump", "prior": "uniform", "step": np.arange(frames) * EVERY},
        **{"d": np.full((frames, 181), 0.5), "density": np.full((frames, 180), 1 / 9)},
        **{"z": np.linspace(-0.95, 0.95, 21), "x": np.tile(np.linspace(0, 2, 21), (frames, 1))},
        **{"loss_d": 2 * np.log(2), "loss_g": np.log(2), "real": 0.5, "fake": 0.5, "right": 0.5},
        **{"outside": 0.0, "js": 0.0, "w1": 0.02, "w1_averaged": 0.02, "reach": 0.1, "reach_minimax": 0.1},
        **{"mean": MEAN, "sd": SD, "largest": 0.5},
    }
    assert set(numbers) <= set(plain)
    plain.update(numbers)
    whole = ("kind", "prior", "z")
    for name in set(plain) - {*whole, "step", "d", "density", "x"}:
        plain[name] = np.broadcast_to(np.asarray(plain[name], np.float64), (frames,))
    return Film(**plain)
