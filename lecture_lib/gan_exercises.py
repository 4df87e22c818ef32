"""The checks behind the exercises of notebook 06; see `exercises`."""

from typing import Any

import jax
import numpy as np
from scipy import special, stats

from lecture_lib import measures
from lecture_lib.answers import NotYetError, as_array, as_number, exercise


@exercise
def check_discriminator_loss(function: Any) -> str:
    """function(real, fake): D's loss from logits, good for any logit."""
    key_real, key_fake = jax.random.split(jax.random.key(60))
    real, fake = jax.random.normal(key_real, (6,)), jax.random.normal(key_fake, (6,))
    value = float(as_array(function(real, fake), ()))
    d_real, d_fake = special.expit(np.asarray(real, np.float64)), special.expit(np.asarray(fake, np.float64))
    right = -np.log(d_real).mean() - np.log(1 - d_fake).mean()
    if np.isclose(value, -right, atol=1e-4):
        raise NotYetError("The sign: D maximises log D(x) + log(1 - D(G(z))); a loss is minimised.")
    if np.isclose(value, right / 2, atol=1e-4):
        raise NotYetError("That is half of it: the two means are added, as the paper has it.")
    twice = -np.log(special.expit(d_real)).mean() - np.log(1 - special.expit(d_fake)).mean()
    if np.isclose(value, twice, atol=1e-4):
        raise NotYetError("A doubled sigmoid: your formula takes D's probability, and a logit came in.")
    if not np.isclose(value, right, atol=1e-4):
        raise NotYetError(f"On six logits of each it gives {value:.4f}, expected {right:.4f}.")
    for far, expected in ((-200.0, 400.0), (200.0, 0.0), (-2000.0, 4000.0)):
        at = float(as_array(function(jax.numpy.array([far]), jax.numpy.array([-far])), ()))
        if not abs(at - expected) <= 1e-2:
            raise NotYetError(
                f"Right for small logits, but at {far:g} (real) and {-far:g} (fake) it gives {at:g}, not "
                f"{expected:g}: log(sigmoid(a)) is log(0) there, or exp(a) overflows. jax.nn.softplus(-a) is "
                "-log(sigmoid(a)) for every a."
            )
    return "It is -log of a probability, and good for any logit."


@exercise
def check_best_discriminator(function: Any) -> str:
    """function(p_data, p_g): the probability of "real" that the best possible D gives to an x."""
    x = np.linspace(-4, 4, 9)
    p_data, p_g = stats.norm.pdf(x, -1, 1), stats.norm.pdf(x, 1.5, 0.7)
    value = as_array(function(p_data, p_g), (9,))
    right = p_data / (p_data + p_g)
    if np.allclose(value, 1 - right):
        raise NotYetError("That is the probability of generated; D says how likely it is *real*.")
    if np.allclose(value, p_data / p_g):
        raise NotYetError("That is the ratio of the densities; it can exceed 1. A probability is asked for.")
    if np.allclose(value, np.log(p_data / p_g)):
        raise NotYetError("That is the best *logit*; its sigmoid is asked for.")
    if not np.allclose(value, right):
        raise NotYetError(
            "Of all x at one place, half of them drawn from each side, which share is real? "
            f"At x = 0 you give {value[4]:.3f}, expected {right[4]:.3f}."
        )
    return "Where both densities are equal it is 1/2: a perfect G leaves the best D nothing to tell."


@exercise
def check_last_bias(gradient: Any) -> str:
    """The gradient of -log D(G(z)) by D's last bias where D(G(z)) is 0.2."""
    value = as_number("The gradient", gradient)
    if abs(value - 0.8) < 1e-6:
        raise NotYetError("The sign: with a larger bias D says real louder, and the loss falls.")
    if abs(value + 5) < 1e-6:
        raise NotYetError("That is the derivative by D's probability, -1/D; go on through the sigmoid.")
    if abs(value + 0.2) < 1e-6:
        raise NotYetError("That is minus D: it belongs to the minimax loss log(1 - D).")
    if abs(value + 0.8) > 1e-6:
        raise NotYetError(
            "The bias adds to the logit a, and the loss is log(1 + exp(-a)): differentiate by a."
        )
    return "-(1 - D): the surer D is that the picture is generated, the harder it is pushed to say real."


@exercise
def check_inception_score(function: Any) -> str:
    """function(p): exp of the mean KL between each row of p and their mean; p of shape (samples, classes)."""
    p = np.random.default_rng(6).dirichlet([0.3, 0.5, 1.0], size=40)
    value = float(as_array(function(p), ()))
    right = measures.inception_score(p)
    if np.isclose(value, np.log(right)):
        raise NotYetError("That is its logarithm: take exp in the end.")
    confidence = float(p.max(axis=1).mean())
    if np.isclose(value, confidence):
        raise NotYetError("That is the mean confidence, which nonsense can have, too.")
    uniform = np.exp(np.log(3) - stats.entropy(p, axis=1).mean())
    if np.isclose(value, uniform):
        raise NotYetError("Compare each row with the *mean of the rows*, not with equal shares.")
    if np.isclose(value, np.exp(special.rel_entr(p, p.mean(axis=0)).sum())):
        raise NotYetError("Sum over the classes, but take the mean over the samples.")
    if not np.isclose(value, right):
        raise NotYetError(f"On 40 rows of three classes it gives {value:.4f}, expected {right:.4f}.")
    with np.errstate(divide="ignore", invalid="ignore"):
        sure = float(as_array(function(np.eye(4)[[0, 0, 1, 2]]), ()))
    if not np.isclose(sure, np.exp(1.5 * np.log(2))):  # the entropy of 1/2, 1/4, 1/4; the fourth never occurs
        raise NotYetError(
            f"Right where no probability is 0, but on rows of zeros and a one it gives {sure:.4f}, expected "
            f"{np.exp(1.5 * np.log(2)):.4f}: 0 log 0 counts as 0, also for a class that never occurs."
        )
    return "Sure of each and different from each other: both are needed for a high score."
