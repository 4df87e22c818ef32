"""What tests of GANs share: small players, a short game of 8x8 digits, and networks written out in NumPy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from lecture_lib import gan_trials, style_trials
from lecture_lib.gan_training import FittedGAN
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.style_trials import Digits


def tiny(seed: int = 0, *, latent: int = 2, pixels: int = 4) -> GAN:
    """One hidden layer of 8 for each player."""
    return GAN(
        Generator(latent, pixels, (8,), rngs=nnx.Rngs(2 * seed)),
        Discriminator(pixels, (8,), rngs=nnx.Rngs(2 * seed + 1)),
    )


def pictures(n: int = 40, pixels: int = 4, *, seed: int = 0) -> np.ndarray:
    """Uniform noise."""
    return np.random.default_rng(seed).uniform(size=(n, pixels)).astype(np.float32)


def digits(split: Any, n: int) -> Digits:
    """The first n of them."""
    return Digits(*(part[:n] for part in style_trials.embedded(split)))


@functools.cache
def short_game() -> FittedGAN:
    """Small players after 50 steps on 200 digits, kept at 0, 10, 20, 50: all say something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_trials, "HIDDEN", (16,))
        patch.setattr(gan_trials, "RATE", 5e-3)
        return gan_trials.train(digits("writers", 200), key=jax.random.key(0), steps=50)


def numpy_mlp(layers: Any, x: Any) -> np.ndarray:
    """Linear, leaky, ..., linear in float64, from the weights alone."""
    linear = [layer for layer in layers.layers if isinstance(layer, nnx.Linear)]
    x = np.asarray(x, np.float64)
    for i, layer in enumerate(linear):
        x = x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)
        x = np.where(x > 0, x, 0.2 * x) if i < len(linear) - 1 else x
    return x


def numpy_d(discriminator: Any, x: Any) -> np.ndarray:
    """The logits."""
    return numpy_mlp(discriminator.layers, x)[..., 0]
