"""The checks behind the exercises of notebook 05: right answers pass, usual mistakes get their hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lecture_lib import problem_exercises, problem_trials, style_trials
from tests.test_exercises import verdict

Capture = pytest.CaptureFixture[str]
NEW = style_trials.embedded("new writers")
SEVEN = NEW.x[NEW.labels == 7][13]


def explained(x: Any, pictures: Any, weights: Any) -> Any:
    return 1 - np.sum((x - weights @ pictures) ** 2) / np.sum(x**2)


def sharpness(picture: Any) -> Any:
    around = np.pad(picture, 1)
    slopes = np.sum(np.diff(around, axis=0) ** 2) + np.sum(np.diff(around, axis=1) ** 2)
    return np.sqrt(slopes / np.sum(picture**2))


def sharpness_within(picture: Any, mode: str | None) -> Any:
    """Without the black beyond the edge: none of it, or what `np.pad` puts there instead."""
    around = np.pad(picture, 1, mode=mode) if mode else picture  # type: ignore[call-overload]
    slopes = np.sum(np.diff(around, axis=0) ** 2) + np.sum(np.diff(around, axis=1) ** 2)
    return np.sqrt(slopes / np.sum(picture**2))


def test_right_answers_pass(capsys: Capture) -> None:
    for check, answer in (
        (problem_exercises.check_best_guess, lambda pictures, p: p @ pictures),
        (problem_exercises.check_best_guess, lambda x, p: sum(q * y for q, y in zip(p, x, strict=True))),
        (problem_exercises.check_explained, explained),
        (problem_exercises.check_sharpness, sharpness),
    ):
        assert verdict(capsys, check, answer).startswith("Right. "), check


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (problem_exercises.check_best_guess, lambda x, p: x.mean(axis=0), "plain mean"),
        (problem_exercises.check_best_guess, lambda x, p: x[p.argmax()], "likeliest picture"),
        (problem_exercises.check_best_guess, lambda x, p: np.median(x, axis=0), "is possible"),
        (problem_exercises.check_best_guess, lambda x, p: x, "returns shape"),
        (problem_exercises.check_best_guess, lambda x, p: ..., "returns nothing yet"),
        (problem_exercises.check_explained, lambda *a: 1 - explained(*a), "left unexplained"),
        (
            problem_exercises.check_explained,
            lambda x, p, w: 1 - np.linalg.norm(x - w @ p) / np.linalg.norm(x),
            "square of the length",
        ),
        (
            problem_exercises.check_explained,
            lambda x, p, w: 1 - np.sum((x - w @ p) ** 2) / np.sum((x - x.mean()) ** 2),
            "R squared",
        ),
        (problem_exercises.check_explained, lambda *a: 0.5, "expected"),
        (problem_exercises.check_explained, lambda *a: ..., "returns nothing yet"),
        (problem_exercises.check_sharpness, lambda x: sharpness(x) * x.sum(), "divide by something"),
        (problem_exercises.check_sharpness, lambda x: sharpness(x) ** 2, "root is missing"),
        (problem_exercises.check_sharpness, lambda x: sharpness(x) / np.sqrt(2), "added, not averaged"),
        (problem_exercises.check_sharpness, lambda x: sharpness_within(x, None), "to the black beyond"),
        (problem_exercises.check_sharpness, lambda x: sharpness_within(x, "edge"), "expected"),
        (problem_exercises.check_sharpness, lambda x: sharpness_within(x, "wrap"), "expected"),
        (problem_exercises.check_sharpness, lambda x: 1.0, "expected"),
        (problem_exercises.check_sharpness, lambda x: ..., "returns nothing yet"),
        (problem_exercises.check_sharpness, lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_usual_mistakes_get_their_hint(capsys: Capture, check: Any, answer: Any, hint: str) -> None:
    said = verdict(capsys, check, answer)
    assert said.startswith("Not yet. ") and hint in said


def test_a_pixel_that_fools_the_judge(capsys: Capture) -> None:
    picture = SEVEN.reshape(8, 8)
    row, column = problem_trials.stray_pixel(picture)
    end = problem_trials.tail_pixel(picture)
    inked = tuple(int(i) for i in np.argwhere(picture > 0.9)[0])

    def costs(at_stray: float, at_tail: float) -> dict[str, Any]:
        cost = np.full((8, 8), -5.0)
        cost[row, column], cost[end] = at_stray, at_tail
        return {"ELBO": lambda x: np.asarray(x, np.float64) @ cost.ravel()}

    fooled, not_fooled = costs(-1, -2), costs(-2, -1)
    check = problem_exercises.check_pixel
    assert verdict(capsys, check, fooled, SEVEN, (row, column)).startswith("Right. ELBO loses 1.0 nats")
    for judges, place, hint in (
        (not_fooled, (row, column), "loses 2.0 nats there and 1.0 at the tail"),
        (fooled, end, "touches the ink"),
        (fooled, inked, "There is ink already"),
        (fooled, (8, 0), "from 0 to 7"),
        (fooled, (0.5, 0), "whole numbers"),
        (fooled, 3, "expected a row and a column"),
        (fooled, None, "expected a row and a column"),
        (fooled, (np.nan, 0), "whole numbers"),
        (fooled, (np.inf, 0), "whole numbers"),
        (fooled, "corner", "expected a row and a column"),
    ):
        said = verdict(capsys, check, judges, SEVEN, place)
        assert said.startswith("Not yet. ") and hint in said, said
    assert verdict(capsys, check, fooled, SEVEN, ...).startswith("Waiting for your answer")
