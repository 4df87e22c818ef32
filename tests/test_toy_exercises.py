"""The checks behind the exercises of notebook 07: right answers pass, usual mistakes get their hint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from lecture_lib import toy_exercises, toy_worlds
from lecture_lib.toy_films import Film
from lecture_lib.toy_trials import Settings
from lecture_lib.toy_worlds import WORLDS
from tests.test_exercises import verdict

Capture = pytest.CaptureFixture[str]
divergence, density, point, gradients, repair = (
    toy_exercises.check_divergence,
    toy_exercises.check_density,
    toy_exercises.check_one_point,
    toy_exercises.check_gradients,
    toy_exercises.check_repair,
)
BROKEN = WORLDS["mode collapse"].settings
JS = math.log(2) - 0.6
W1 = 0.5 * math.sqrt(2 / math.pi)
"""The mean distance of N(1, 0.5^2) from 1."""


def spread(x: Any) -> Any:
    return 0.5 / np.sqrt(x)


def test_the_numbers_asked_for() -> None:
    """By quadrature and by differentiation, from the questions alone."""
    assert integrate.quad(spread, 0, 1)[0] == pytest.approx(1)
    assert integrate.quad(lambda x: abs(x - 1) * stats.norm(1, 0.5).pdf(x), -4, 6)[0] == pytest.approx(W1)
    assert 2 * math.log(2) - 2 * JS == pytest.approx(toy_exercises.BEST_LOSS)

    def logit(x: Any) -> Any:
        return jnp.log(1e-4 / (1 - 1e-4)) + 2 * x

    with jax.enable_x64(True):
        slopes = [jax.grad(lambda x, of=of: of(jax.nn.sigmoid(logit(x))))(0.0) for of in (flat, steep)]
    assert slopes == pytest.approx([-2e-4, -1.9998])


def flat(d: Any) -> Any:
    return jnp.log(1 - d)


def steep(d: Any) -> Any:
    return -jnp.log(d)


def test_right_answers_pass(capsys: Capture) -> None:
    cases: list[tuple[Any, ...]] = [
        (divergence, JS),
        (divergence, 0.093),
        (divergence, np.float32(JS)),
        (divergence, jnp.log(2) - 0.6),
        (density, spread),
        (density, lambda x: 1 / (2 * jnp.sqrt(x))),
        (density, lambda x: 2 * 0.5 / np.abs(2 * np.sqrt(x))),
        (density, lambda x: [0.5 * value**-0.5 for value in x]),
        (point, W1, math.log(2)),
        (point, np.mean(np.abs(np.random.default_rng(0).normal(0, 0.5, 200_000))), 0.693),
        (gradients, 2e-4, 1.9998),
        (gradients, 0.0002, 2),
        (gradients, np.float32(2e-4), jnp.float32(1.9998)),
    ]
    for check, *answers in cases:
        assert verdict(capsys, check, *answers).startswith("Right. "), (check, answers)


@pytest.mark.parametrize(
    ("check", "answers", "hint"),
    [
        (divergence, (-JS,), "The sign: a divergence is at least 0"),
        (divergence, (2 * JS,), "That is 2 JS"),
        (divergence, (JS / math.log(2),), "That is in bits"),
        (divergence, (0.095,), "2 log 2 - 2 JS = 1.2"),
        (divergence, (0,), "Solve for JS"),
        (density, (lambda x: 0.25 / np.sqrt(x),), "One preimage is missing"),
        (density, (lambda x: 1 / np.sqrt(x),), "P(z) is 1/2 on [-1, 1]"),
        (density, (np.sqrt,), "Divide by the slope |2 z|"),
        (density, (lambda x: 2 * np.sqrt(x),), "Divide by the slope |2 z|"),
        (density, (lambda x: 0.5 / x,), "At x = 0.05 you give 10.000, expected 2.236"),
        (density, (lambda x: np.ones(7),), "Add P(z) / |G'(z)|"),
        (density, (lambda x: 1.0,), "returns shape (); expected (7,)"),
        (density, (lambda x: math.sqrt(x),), "Divide by the slope |2 z|"),  # one number at a time
        (density, (lambda x: None + x,), "Your answer raised TypeError"),
        (point, (0.5, math.log(2)), "not the root of the mean square"),
        (point, (0.0, math.log(2)), "w1 is the mean of |x - 1|"),
        (point, (0.43, math.log(2)), "All of the data's probability"),
        (point, (W1, 0), "js is 0 for equal distributions only"),
        (point, (W1, 1), "1 is js in bits"),
        (point, (W1, 2 * math.log(2)), "What is js then?"),
        (gradients, (1.9998, 2e-4), "The other way round"),
        (gradients, (-2e-4, -1.9998), "absolute values"),
        (gradients, (-2e-4, 1.9998), "absolute values"),
        (gradients, (1e-4, 1.9998), "the derivative -sigmoid(a)"),  # without the slope
        (gradients, (1e-4 / (1 - 1e-4), 1e4), "the derivative -sigmoid(a)"),  # by D
        (gradients, (2e-4, 0.9999), "the derivative -(1 - sigmoid(a))"),
        (gradients, (2e-4, 1e4), "the derivative -(1 - sigmoid(a))"),
    ],
)
def test_usual_mistakes_get_their_hint(capsys: Capture, check: Any, answers: Any, hint: str) -> None:
    said = verdict(capsys, check, *answers)
    assert said.startswith("Not yet. ") and hint in said


def test_dots_wait(capsys: Capture) -> None:
    for check, *answers in (
        (divergence, ...),
        (density, ...),
        (point, ..., ...),
        (point, W1, ...),
        (gradients, ..., 2.0),
        (repair, ...),
    ):
        assert verdict(capsys, check, *answers).startswith("Waiting for your answer")
    for unwritten in (lambda x: ..., lambda x: None):
        said = verdict(capsys, density, unwritten)
        assert said == "Not yet. The function returns nothing yet: write the formula after `return`.\n"


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "one",
        [],
        {},
        float("nan"),
        float("inf"),
        1j,
        lambda: 1,
        lambda *x: "one",
        lambda *x: [[1], [1, 2]],
        lambda *x: float("nan"),
        lambda *x: 1 / 0,
        print,
    ],
)
def test_garbage_gets_one_line(capsys: Capture, garbage: Any) -> None:
    checks: list[tuple[Callable[..., None], int]] = [
        (divergence, 1),
        (density, 1),
        (point, 2),
        (gradients, 2),
        (repair, 1),
    ]
    for check, answers in checks:
        said = verdict(capsys, check, *([garbage] * answers)).splitlines()[-1]
        assert said.startswith("Not yet. ")


# --- the repair -------------------------------------------------------------------------------

SLOWER = BROKEN._replace(generator_rate=1e-3)
"""A slower G."""
FASTER = BROKEN._replace(discriminator_rate=2e-2)
"""A faster D, and both remember: not enough."""


@pytest.mark.proof
@pytest.mark.parametrize("settings", [SLOWER, BROKEN._replace(d_steps=10)])
def test_repairs_pass(capsys: Capture, settings: Settings) -> None:
    said = verdict(capsys, repair, settings)
    assert said.startswith("Right. ") and "of 8 games end with both bumps" in said


def test_what_repairs_too_little_is_told_how_much(capsys: Capture) -> None:
    said = verdict(capsys, repair, FASTER)
    assert said.startswith("Not yet. ") and "Who runs ahead of whom?" in said
    cured = int(said.removeprefix("Not yet. ").split(" of 8 games end with both bumps")[0])
    assert cured <= 3  # none of eight as measured


def test_six_of_eight_are_enough(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in films that are made up: W1 of the averaged G, and the share on the fuller side."""

    def some(cured: int, lost: int) -> Any:
        told = [(0.05, 0.6)] * cured + [(0.4, 0.99)] * lost + [(0.2, 0.8)] * (8 - cured - lost)
        blank = dict.fromkeys(Film._fields)
        ends = [Film(**{**blank, "w1_averaged": np.array([w]), "largest": np.array([p])}) for w, p in told]
        return lambda settings, *, keys, every: ends if keys.shape == (8,) else None

    for cured, lost, passes in ((8, 0, True), (7, 1, True), (6, 2, True), (5, 0, False), (0, 8, False)):
        monkeypatch.setattr(toy_worlds, "films", some(cured, lost))
        said = verdict(capsys, repair, SLOWER)
        assert said.startswith("Right. " if passes else "Not yet. ")
        assert f"{cured} of 8 games end with both bumps and an averaged G of W1 below 0.1" in said
        assert passes or f"{lost} end on one side" in said


def test_what_is_no_repair_is_told_without_a_game(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_game(*args: Any, **options: Any) -> None:
        raise AssertionError("a game was played")

    monkeypatch.setattr(toy_worlds, "films", no_game)
    cases: list[tuple[Any, str]] = [
        (BROKEN, "Nothing is changed yet"),
        (BROKEN._replace(momentum=0.9), "Nothing is changed yet"),
        (BROKEN._replace(data="one bump"), "The data have to stay"),
        (SLOWER._replace(data="one bump"), "The data have to stay"),
        (SLOWER._replace(momentum=0.0), "You changed generator_rate, momentum; one is enough"),
        (Settings("two bumps"), "one is enough"),
        ({"momentum": 0.0}, "Your answer is a dict; expected broken._replace(...)"),
        (tuple(SLOWER), "Your answer is a tuple"),
        (SLOWER._asdict(), "Your answer is a dict"),
        (1e-3, "Your answer is a float"),
    ]
    for answer, hint in cases:
        said = verdict(capsys, repair, answer)
        assert said.startswith("Not yet. ") and hint in said


@pytest.mark.parametrize(
    "changed", [{"momentum": 1.0}, {"generator_rate": -1.0}, {"d_steps": 0}, {"loss": "log D"}]
)
def test_settings_that_cannot_be_played_get_a_hint(capsys: Capture, changed: dict[str, Any]) -> None:
    said = verdict(capsys, repair, BROKEN._replace(**changed))
    assert said.startswith("Not yet. Your answer raised ValueError: ") and said.count("\n") == 1
