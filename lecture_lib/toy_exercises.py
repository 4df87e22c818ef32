"""The checks behind the exercises of notebook 07; see `exercises`."""

import math
from typing import Any

import jax
import numpy as np
from scipy import stats

from lecture_lib import toy_worlds
from lecture_lib.answers import NotYetError, as_array, as_number, exercise
from lecture_lib.toy_trials import MEAN, SD, Settings
from lecture_lib.toy_worlds import WORLDS

BEST_LOSS = 1.2
"""D's loss in the first exercise, nats."""
D_SAYS, SLOPE = 1e-4, 2.0
"""In the gradient exercise: D at one of G's x, and the slope of D's logit there."""
_GAMES, _ENOUGH = 8, 6


@exercise
def check_divergence(js: Any) -> str:
    """The Jensen-Shannon divergence, in nats, if the best possible D has the loss BEST_LOSS."""
    value, right = as_number("js", js), math.log(2) - BEST_LOSS / 2
    if abs(value + right) < 1e-3:
        raise NotYetError("The sign: a divergence is at least 0, and D's loss is *below* 2 log 2.")
    if abs(value - 2 * right) < 1e-3:
        raise NotYetError("That is 2 JS: how far the loss is below 2 log 2.")
    if abs(value - right / math.log(2)) < 1e-3:
        raise NotYetError("That is in bits; D's loss is in nats, with the natural logarithm.")
    if not abs(value - right) < 1e-3:
        raise NotYetError(f"The best D has the loss 2 log 2 - 2 JS = {BEST_LOSS}. Solve for JS.")
    return "So D's loss would tell the divergence, if only D were the best possible one."


@exercise
def check_density(function: Any) -> str:
    """function(x): the density of x = z^2 at x in (0, 1), for z uniform on [-1, 1]."""
    x = np.linspace(0.05, 0.95, 7)
    try:
        value = as_array(function(x), (7,))
    except (TypeError, ValueError):  # a formula for one number at a time
        value = as_array(np.vectorize(function, otypes=[float])(x), (7,))
    right = 0.5 / np.sqrt(x)
    if np.allclose(value, right / 2):
        raise NotYetError("One preimage is missing: both sqrt(x) and -sqrt(x) are sent to x.")
    if np.allclose(value, 2 * right):
        raise NotYetError("P(z) is 1/2 on [-1, 1]; it has to integrate to 1.")
    if np.allclose(value, np.sqrt(x)) or np.allclose(value, 2 * np.sqrt(x)):
        raise NotYetError("Divide by the slope |2 z|; where G is steep, the x are thinly spread.")
    if not np.allclose(value, right):
        raise NotYetError(
            "Add P(z) / |G'(z)| over all z with G(z) = x. "
            f"At x = {x[0]:.2f} you give {value[0]:.3f}, expected {right[0]:.3f}."
        )
    return "It integrates to 1, though it has no upper limit near 0: G is flat there."


@exercise
def check_one_point(w1: Any, js: Any) -> str:
    """W1 and JS (nats) of N(1, 0.5^2) and a G that makes nothing but x = 1."""
    distance, divergence = as_number("w1", w1), as_number("js", js)
    right = float(stats.norm(MEAN, SD).expect(lambda x: abs(x - MEAN)))
    if abs(distance - SD) < 1e-3:
        raise NotYetError("w1 is the mean of |x - 1|, not the root of the mean square: less than the sd.")
    if not abs(distance - right) < 2e-2:
        raise NotYetError("All of the data's probability has to be carried to 1: w1 is the mean of |x - 1|.")
    if abs(divergence) < 1e-3:
        raise NotYetError("js is 0 for equal distributions only.")
    if abs(divergence - 1) < 1e-3:
        raise NotYetError("1 is js in bits; in nats, with the natural logarithm, it is log 2 times that.")
    if not abs(divergence - math.log(2)) < 5e-3:
        raise NotYetError("A D that says generated at x = 1 alone is never wrong. What is js then?")
    return "JS is as large as it can be, wherever the point is; W1 knows that this point is a good one."


@exercise
def check_gradients(minimax: Any, non_saturating: Any) -> str:
    """|d/dx| of log(1 - D(x)) and of -log D(x), where D is D_SAYS and the slope of its logit is SLOPE."""
    first, second = as_number("minimax", minimax), as_number("non_saturating", non_saturating)
    if first < 0 or second < 0:
        raise NotYetError("How steep they are: absolute values, both above 0.")
    if first > second:
        raise NotYetError("The other way round: log(1 - D) is the flat one where D is small.")
    if not math.isclose(first, D_SAYS * SLOPE, rel_tol=1e-2):
        raise NotYetError(
            "log(1 - sigmoid(a)) has the derivative -sigmoid(a) by the logit a; then times the slope."
        )
    if not math.isclose(second, (1 - D_SAYS) * SLOPE, rel_tol=1e-2):
        raise NotYetError(
            "-log sigmoid(a) has the derivative -(1 - sigmoid(a)) by the logit a; then times the slope."
        )
    return "A factor of ten thousand, for a loss with the same best G."


@exercise
def check_repair(settings: Any) -> str:
    """Settings that cure the collapsed GAN; one number differs from those of its world."""
    broken = WORLDS["mode collapse"].settings
    if not isinstance(settings, Settings):
        raise NotYetError(f"Your answer is a {type(settings).__name__}; expected broken._replace(...).")
    changed = [name for name, value in settings._asdict().items() if value != getattr(broken, name)]
    if not changed:
        raise NotYetError("Nothing is changed yet.")
    if "data" in changed:
        raise NotYetError("The data have to stay: two bumps.")
    if len(changed) > 1:
        raise NotYetError(f"You changed {', '.join(changed)}; one is enough.")
    keys = jax.random.split(jax.random.key(21), _GAMES)
    films = toy_worlds.films(settings, keys=keys, every=50)  # only their ends count
    cured = sum(WORLDS["cured"].holds(film) for film in films)
    if cured < _ENOUGH:
        lost = sum(film.largest[-1] > 0.95 for film in films)
        raise NotYetError(
            f"{cured} of {_GAMES} games end with both bumps and an averaged G of W1 below 0.1; {lost} end on "
            "one side. Who runs ahead of whom? Let the slow one make more steps, or the fast one smaller "
            "ones, or both forget their last directions sooner."
        )
    return f"{cured} of {_GAMES} games end with both bumps and an averaged G of W1 below 0.1."
