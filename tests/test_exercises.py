"""The checks behind the exercises: right answers pass, usual mistakes get their hint, nothing raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import pytest

from lecture_lib import exercises

Capture = pytest.CaptureFixture[str]


def verdict(capsys: Capture, check: Callable[..., None], *answers: Any) -> str:
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


def kl(m: Any, s: Any) -> Any:
    return 0.5 * (jnp.exp(s) - 1 - s + m**2).sum(axis=-1)


@pytest.mark.parametrize(
    ("check", "answers"),
    [
        (exercises.check_lit_quarter, (120,)),
        (exercises.check_lit_quarter, (-120.0,)),
        (exercises.check_reparameterise, (lambda e, m, s: m + jnp.exp(s / 2) * e,)),
        (exercises.check_penalty_minimum, (0, 0.0)),
        (exercises.check_kl, (kl,)),
        (exercises.check_noise, (1.65,)),
    ],
)
def test_right_answers_pass(capsys: Capture, check: Callable[..., None], answers: tuple[Any, ...]) -> None:
    assert verdict(capsys, check, *answers).startswith("Right. ")


@pytest.mark.parametrize(
    ("check", "answers", "hint"),
    [
        (exercises.check_lit_quarter, (90,), "50.0% of the disc"),
        (exercises.check_lit_quarter, ("full",), "should be a number"),
        (exercises.check_lit_quarter, (float("nan"),), "should be finite"),
        (exercises.check_reparameterise, (lambda e, m, s: m + jnp.exp(s) * e,), "variance* is exp(2 s)"),
        (exercises.check_reparameterise, (lambda e, m, s: e,), "must return m"),
        (exercises.check_reparameterise, (lambda e, m, s: 1.0,), "expected (3,)"),
        (exercises.check_reparameterise, (lambda e, m, s: ...,), "returns nothing yet"),
        (exercises.check_reparameterise, (lambda e, m: e,), "TypeError"),
        (exercises.check_reparameterise, (3,), "TypeError"),
        (exercises.check_lit_quarter, (240,), "from 0 (full moon) to 180 (new moon)"),
        (exercises.check_lit_quarter, (-240.0,), "from 0 (full moon) to 180 (new moon)"),
        (exercises.check_penalty_minimum, (1, 0), "slope"),
        (exercises.check_penalty_minimum, (800, 0), "At s = 800 the slope"),
        (exercises.check_penalty_minimum, (-800, 0), "At s = -800 the slope exp(s) - 1 is -1,"),
        (exercises.check_penalty_minimum, (0, 1), "s is right"),
        (exercises.check_kl, (lambda m, s: 2 * kl(m, s),), "twice the KL"),
        (exercises.check_kl, (lambda m, s: kl(m, 2 * s),), "variance of exp(2 s)"),
        (exercises.check_kl, (lambda m, s: kl(m, s) / 3,), "Sum over"),
        (exercises.check_kl, (lambda m, s: kl(m, s) + 1,), "quadrature gives"),
        (
            exercises.check_kl,
            (lambda m, s: kl(m, s).mean(),),
            "one number for all rows: sum over the last axis only",
        ),
        (exercises.check_kl, (lambda m, s: kl(m, s).sum(),), "one number for all rows"),
        (exercises.check_kl, (lambda m, s: kl(m, s)[:, None],), "shape (4, 1); expected (4,)"),
        (exercises.check_kl, (lambda m, s: ...,), "returns nothing yet"),
        (exercises.check_kl, (lambda m, s: None,), "returns nothing yet"),
        (exercises.check_noise, (3.0,), "blurred; less noise"),
        (exercises.check_noise, (0.3,), "sharp; more noise"),
        (exercises.check_noise, (-1,), "between 0.01 and 100"),
    ],
)
def test_usual_mistakes_get_their_hint(
    capsys: Capture, check: Callable[..., None], answers: tuple[Any, ...], hint: str
) -> None:
    told = verdict(capsys, check, *answers)
    assert told.startswith("Not yet. ")
    assert hint in told


def test_dots_wait(capsys: Capture) -> None:
    assert verdict(capsys, exercises.check_noise, ...).startswith("Waiting for your answer")
    assert verdict(capsys, exercises.check_penalty_minimum, 0, ...).startswith("Waiting for your answer")
