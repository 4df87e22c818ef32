"""The checks behind the exercises of notebook 05; see `exercises`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lecture_lib import blur, combinations, judging, problem_trials, strokes
from lecture_lib.answers import NotYetError, as_array, exercise
from lecture_lib.judging import Judge


@exercise
def check_best_guess(function: Any) -> str:
    """function(pictures, p): the y of least expected squared error if picture i has probability p[i]."""
    pictures = np.random.default_rng(0).uniform(size=(4, 6))
    p = np.array([0.5, 0.3, 0.15, 0.05])
    value = as_array(function(pictures, p), (6,))
    if np.allclose(value, pictures.mean(axis=0)):
        raise NotYetError("That is the plain mean: a picture that comes more often has to count for more.")
    if np.allclose(value, pictures[0]):
        raise NotYetError("That is the likeliest picture: where another one comes, it is far off.")
    if not np.allclose(value, p @ pictures):
        cost, least = (float(p @ ((pictures - y) ** 2).sum(axis=1)) for y in (value, p @ pictures))
        raise NotYetError(
            f"Its expected squared error is {cost:.3f}; {least:.3f} is possible. Set the derivative to 0."
        )
    return "The expected picture, whether or not it looks like any of those that may come."


@exercise
def check_explained(function: Any) -> str:
    """function(x, pictures, weights): the share of the energy of x that the weighted sum explains."""
    rng = np.random.default_rng(1)
    x, pictures, weights = rng.uniform(size=9), rng.uniform(size=(2, 9)), np.array([0.7, 0.2])
    value = float(as_array(function(x, pictures, weights), ()))
    together = weights @ pictures
    rest = x - together
    right = float(combinations.explained_energy(x, together))
    if np.isclose(value, 1 - right):
        raise NotYetError("That is the share that is left unexplained.")
    if np.isclose(value, 1 - np.linalg.norm(rest) / np.linalg.norm(x)):
        raise NotYetError("Energy is the square of the length: the sum of squares, without the root.")
    if np.isclose(value, 1 - rest @ rest / ((x - x.mean()) @ (x - x.mean()))):
        raise NotYetError("That is R squared, which takes off the mean; here a black picture explains 0.")
    if not np.isclose(value, right):
        raise NotYetError(f"It gives {value:.4f}, expected {right:.4f}: 1 - |residual|^2 / |x|^2.")
    return "1 for a combination that is x itself, 0 for a black one, and below 0 for a bad one."


@exercise
def check_sharpness(function: Any) -> str:
    """function(picture): root of (squared differences of neighbours / squares), black outside."""
    picture = strokes.as_mnist(strokes.example(2), width=2.5)
    rows, columns = (np.flatnonzero(picture.any(axis=axis)) for axis in (1, 0))
    picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # its ink meets every edge
    value = float(as_array(function(picture), ()))
    if not np.isclose(float(as_array(function(picture / 2), ())), value, rtol=1e-6):
        raise NotYetError(
            "Half as bright it should be as sharp as before: divide by something that halves, too."
        )
    right = float(blur.sharpness(picture))
    if np.isclose(value, right**2, rtol=1e-4):
        raise NotYetError("The root is missing: as it stands the unit is radians a pixel, squared.")
    if np.isclose(value, right / np.sqrt(2), rtol=1e-4):
        raise NotYetError("The squares of both directions are added, not averaged.")
    inside = sum((np.diff(picture, axis=axis) ** 2).sum() for axis in (0, 1)) / (picture**2).sum()
    if np.isclose(value, np.sqrt(inside), rtol=1e-4):
        raise NotYetError("The steps from the edge of the picture to the black beyond it are missing.")
    if not np.isclose(value, right, rtol=1e-4):
        raise NotYetError(f"For a 2 cut to its ink it gives {value:.3f}, expected {right:.3f}.")
    return "Brightness does not matter; blur lowers it, and so does a wider pen."


@exercise
def check_pixel(judges: Mapping[str, Judge], seven: Any, place: Any) -> str:
    """A blank pixel, as (row, column), away from all ink, that the first judge minds less than the tail's."""
    picture = np.asarray(seven, np.float32).reshape(8, 8)
    if np.shape(place) != (2,):
        raise NotYetError(f"place is {place}; expected a row and a column, such as (0, 7).")
    row, column = (int(v) if np.isfinite(v) and v == int(v) else -1 for v in as_array(place, (2,)))
    if not (0 <= row < 8 and 0 <= column < 8):
        raise NotYetError(f"place is {place}; expected a row and a column, whole numbers from 0 to 7.")
    if picture[row, column] > 0:
        raise NotYetError(
            "There is ink already: full ink there would be a smaller change, with a smaller MSE."
        )
    near = picture[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    if (near > 0).any():
        raise NotYetError("It touches the ink, corners included; a stray pixel is asked for.")
    name, judge = next(iter(judges.items()))
    map_ = judging.maps({name: judge}, picture)[name]
    tail, here = map_[problem_trials.tail_pixel(picture)], map_[row, column]
    if here <= tail:
        raise NotYetError(
            f"{name} loses {-here:.1f} nats there and {-tail:.1f} at the tail. The map shows more."
        )
    return (
        f"{name} loses {-here:.1f} nats there and {-tail:.1f} at the tail: it is no judge of sevens, either."
    )
