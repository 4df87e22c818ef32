"""The checks behind the exercises of notebook 04: right answers pass, usual mistakes get their hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array

from lecture_lib import strokes, style_exercises
from lecture_lib.style_trials import Transfer, Verdict
from tests.test_exercises import verdict

Capture = pytest.CaptureFixture[str]
WAITING = "Waiting for your answer"


def film(h: Any, a: Any, s: Any) -> Any:
    return (1 + a) * h + s


def slant(picture: np.ndarray) -> float:
    rows, columns = np.indices(picture.shape)
    total = picture.sum()
    y, x = rows - (picture * rows).sum() / total, columns - (picture * columns).sum() / total
    return float(np.degrees(np.arctan(-(picture * x * y).sum() / (picture * y * y).sum())))


def centre(values: Any, labels: Any) -> Any:
    means = {k: np.mean(np.asarray(values)[labels == k]) for k in set(labels)}
    return [value - means[k] for value, k in zip(values, labels, strict=True)]


class Pen(nnx.Module):
    """Writes stroke digits whose lean is ten degrees for each unit of z1, and as heavy as z2 says."""

    latent, pixels, classes = 2, 784, 10

    def __init__(self) -> None:
        leans = np.linspace(-40, 40, 33)
        drawn = [
            [strokes.as_mnist(strokes.shear(strokes.example(d), a), width=3.0) for d in range(10)]
            for a in leans
        ]
        self.table = nnx.Variable(jnp.asarray(np.reshape(drawn, (33, 10, 784)), jnp.float32))

    def all_classes(self, z: Array) -> Array:
        row = jnp.clip(jnp.round((10 * z[:, 0] + 40) / 2.5), 0, 32).astype(int)
        return self.table[...][row] * jnp.exp(z[:, 1])[:, None, None]


@pytest.fixture(scope="module")
def pen() -> Any:
    return Pen()


@pytest.fixture(autouse=True)
def lighter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits of 28 x 28 pixels have more black around them than those of 8 x 8, so .24 is much."""
    monkeypatch.setattr(style_exercises, "LIGHT", 0.1)


def told(fidelity: float, slant: float, ink: float) -> Verdict:
    carried = {
        name: Transfer(value, value, 0.0, 1.0, 0.9) for name, value in (("slant", slant), ("ink", ink))
    }
    return Verdict(fidelity, fidelity, carried, 0.1, 0.1)


VERDICTS = {1.0: told(0.9, 0.99, 0.99), 2.0: told(0.98, 0.95, 0.9), 3.0: told(0.99, 0.95, 0.7)}


def test_right_answers_pass(capsys: Capture, pen: Any) -> None:
    cases: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (style_exercises.check_film, (film,)),
        (style_exercises.check_slant, (slant,)),
        (style_exercises.check_centre, (centre,)),
        (style_exercises.check_centre, (lambda v, k: v - np.bincount(k, v)[k] / np.bincount(k)[k],)),
        (style_exercises.check_style, (pen, [2.0, -0.8])),
        (style_exercises.check_trade_off, (VERDICTS, 2)),
        (style_exercises.check_trade_off, (VERDICTS, 2.0)),
    ]
    for check, answers in cases:
        assert verdict(capsys, check, *answers).startswith("Right. "), check


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (style_exercises.check_film, lambda h, a, s: a * h + s, "the factor is 1 + a"),
        (style_exercises.check_film, lambda h, a, s: (1 + a) * (h + s), "it is not scaled itself"),
        (style_exercises.check_film, lambda h, a, s: h, "then add s"),
        (style_exercises.check_film, lambda h, a, s: h[0], "returns shape"),
        (style_exercises.check_film, lambda h, a, s: ..., "returns nothing yet"),
        (style_exercises.check_slant, lambda p: -slant(p), "The sign"),
        (style_exercises.check_slant, lambda p: np.radians(slant(p)), "in radians"),
        (style_exercises.check_slant, lambda p: np.tan(np.radians(slant(p))), "tangent"),
        (style_exercises.check_slant, lambda p: slant(p) + 1, "centre of mass"),
        (style_exercises.check_slant, lambda p: ..., "returns nothing yet"),
        (style_exercises.check_slant, lambda p: None, "returns nothing yet"),
        (style_exercises.check_centre, lambda v, k: v - v.mean(), "a mean of its own"),
        (style_exercises.check_centre, lambda v, k: v, "leaves -1 and 1"),
        (style_exercises.check_centre, lambda v, k: v[:2], "returns shape"),
        (style_exercises.check_centre, lambda v, k: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_usual_mistakes_get_their_hint(capsys: Capture, check: Any, answer: Any, hint: str) -> None:
    said = verdict(capsys, check, answer)
    assert said.startswith("Not yet. ") and hint in said


def test_styles_that_are_not_asked_for(capsys: Capture, pen: Any) -> None:
    for z, hint in (
        ([0.0, -0.5], "They lean by"),
        ([-2.0, -0.5], "They lean by -"),
        ([2.0, 2.0], "their ink is"),
        ([9.0, 0.0], "within 4 of 0"),
        ([2.0], "returns shape"),
        ("heavy", "ValueError"),
    ):
        said = verdict(capsys, style_exercises.check_style, pen, z)
        assert said.startswith("Not yet. ") and hint in said


def test_weights_that_are_not_asked_for(capsys: Capture) -> None:
    for beta, hint in (
        (1, "fidelity is 0.900"),
        (3, "another faithful one more"),
        (7, "choose one of 1, 2, 3"),
        ("two", "should be a number"),
    ):
        said = verdict(capsys, style_exercises.check_trade_off, VERDICTS, beta)
        assert said.startswith("Not yet. ") and hint in said


def test_dots_wait(capsys: Capture, pen: Any) -> None:
    assert verdict(capsys, style_exercises.check_style, pen, ...).startswith(WAITING)
    assert verdict(capsys, style_exercises.check_trade_off, VERDICTS, ...).startswith(WAITING)
