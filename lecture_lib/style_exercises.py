"""The checks behind the exercises of notebook 04; see `exercises`."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lecture_lib import measures, strokes, style_trials
from lecture_lib.answers import NotYetError, as_array, as_number, exercise
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.style_trials import Verdict

LEAN, LIGHT = 12.0, 0.25
"""What `check_style` asks for: mean slant in degrees at least, mean ink at most."""
FAITHFUL = 0.95
"""What `check_trade_off` asks for: label fidelity at least."""


@exercise
def check_film(function: Any) -> str:
    """function(u, a, s): u = W h + b, scaled and shifted by what belongs to the label."""
    u, a, s = (jax.random.normal(key, (3, 4)) for key in jax.random.split(jax.random.key(4), 3))
    value = as_array(function(u, a, s), (3, 4))
    if np.allclose(value, a * u + s, atol=1e-5):
        raise NotYetError("With a = 0 and s = 0 it should change nothing: the factor is 1 + a.")
    if np.allclose(value, (1 + a) * (u + s), atol=1e-5):
        raise NotYetError("The shift comes after the scale: it is not scaled itself.")
    if not np.allclose(value, (1 + a) * u + s, atol=1e-5):
        raise NotYetError("Scale u by 1 + a, then add s, number by number.")
    return "Every class gets its own scale and shift in every layer; the weights W are shared."


@exercise
def check_slant(function: Any) -> str:
    """function(picture): the slant in degrees from moments, positive to the right at the top."""
    leaning = [strokes.shear(strokes.example(7), angle) for angle in (-20.0, 0.0, 15.0)]
    pictures = np.stack([strokes.as_mnist(lines, width=2.5) for lines in leaning])
    slants = [function(picture) for picture in pictures]
    value = as_array(None if any(slant is ... or slant is None for slant in slants) else slants, (3,))
    right = measures.slant(pictures)
    if np.allclose(value, -right, atol=1e-3):
        raise NotYetError("The sign: rows are counted downwards, so leaning right is a *negative* moment.")
    if np.allclose(value, np.radians(right), atol=1e-4):
        raise NotYetError("That is in radians; the answer is in degrees.")
    if np.allclose(value, np.tan(np.radians(right)), atol=1e-4):
        raise NotYetError("That is the tangent of the slant.")
    if not np.allclose(value, right, atol=1e-3):
        raise NotYetError(
            f"For a 7 it gives {value[0]:.2f} degrees, expected {right[0]:.2f}. "
            "Take x and y from the centre of mass."
        )
    return "It agrees on three sevens that lean to the left, hardly, and to the right."


@exercise
def check_centre(function: Any) -> str:
    """function(values, labels): the values without the mean of their class."""
    values = np.array([1.0, 3.0, 10.0, 14.0, -2.0, 12.0])
    labels = np.array([0, 0, 1, 1, 2, 1])
    value = as_array(function(values, labels), (6,))
    if np.allclose(value, values - values.mean()):
        raise NotYetError("That is the mean of all values; each class has a mean of its own.")
    if not np.allclose(value, [-1, 1, -2, 2, 0, 0]):
        raise NotYetError("For values 1, 3 of class 0 the mean is 2, which leaves -1 and 1; and so on.")
    return "What differs between classes only, say that sevens lean more than eights, is gone."


@exercise
def check_style(model: ConditionalVAE, z: Any) -> str:
    """A style z in which the ten digits lean right by LEAN degrees and more, with ink of LIGHT or less."""
    style = as_array(z, (model.latent,))
    if np.abs(style).max() > 4:
        raise NotYetError(f"z has {np.abs(style).max():.1f}: stay within 4 of 0.")
    size = round(model.pixels**0.5)
    digits = np.asarray(style_trials.all_ten(model, jnp.asarray(style, jnp.float32)[None]))
    digits = digits.reshape(-1, size, size)
    slant, ink = float(measures.slant(digits).mean()), float(measures.ink(digits).mean())
    if slant < LEAN:
        raise NotYetError(f"They lean by {slant:.1f} degrees in the mean; at least {LEAN:g} are asked for.")
    if ink > LIGHT:
        raise NotYetError(
            f"The slant of {slant:.1f} is enough, but their ink is {ink:.3f}, more than {LIGHT}."
        )
    return f"Slant {slant:.1f} degrees, ink {ink:.3f}: one style, ten digits."


@exercise
def check_trade_off(verdicts: Mapping[float, Verdict], beta: Any) -> str:
    """The weight that carries most style over among those with a label fidelity of FAITHFUL or more."""
    chosen = as_number("beta", beta)
    if chosen not in verdicts:
        raise NotYetError(f"beta is {chosen:g}; choose one of {', '.join(f'{b:g}' for b in verdicts)}.")
    carried = {b: np.mean([t.written for t in v.transfer.values()]) for b, v in verdicts.items()}
    faithful = [b for b, v in verdicts.items() if v.fidelity >= FAITHFUL]
    if chosen not in faithful:
        raise NotYetError(f"Its fidelity is {verdicts[chosen].fidelity:.3f}, below {FAITHFUL}.")
    best = max(faithful, key=carried.__getitem__)
    if chosen != best:
        raise NotYetError(f"It carries {carried[chosen]:.3f} of the style over; another faithful one more.")
    return "With less of it other digits come out than were asked for; with more the ink goes first."
