"""The checks behind the exercises of notebook 06: right answers pass, usual mistakes get their hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from lecture_lib import gan_exercises
from tests.test_exercises import verdict

Capture = pytest.CaptureFixture[str]
loss, best, bias, score = (
    gan_exercises.check_discriminator_loss,
    gan_exercises.check_best_discriminator,
    gan_exercises.check_last_bias,
    gan_exercises.check_inception_score,
)


def right_loss(real: Any, fake: Any) -> Any:
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def right_score(p: Any) -> Any:
    return np.exp(np.mean([stats.entropy(row, p.mean(axis=0)) for row in p]))


def d(a: Any) -> Any:
    return jax.nn.sigmoid(a)


def naive(real: Any, fake: Any) -> Any:
    return -jnp.log(d(real)).mean() - jnp.log(1 - d(fake)).mean()


def test_right_answers_pass(capsys: Capture) -> None:
    cases: list[tuple[Callable[..., None], Any]] = [
        (loss, right_loss),
        (loss, lambda r, f: -jax.nn.log_sigmoid(r).mean() - jax.nn.log_sigmoid(-f).mean()),
        (loss, lambda r, f: np.logaddexp(0, -np.asarray(r)).mean() + np.logaddexp(0, np.asarray(f)).mean()),
        (best, lambda p, q: p / (p + q)),
        (best, lambda p, q: jnp.asarray(p) / (jnp.asarray(p) + jnp.asarray(q))),
        (best, lambda p, q: 1 / (1 + np.exp(-np.log(p / q)))),
        (bias, -0.8),
        (bias, -(1 - 0.2)),
        (bias, jnp.float32(-0.8)),
        (score, right_score),
        (score, lambda p: jnp.exp(jnp.sum(special.rel_entr(p, p.mean(0)), axis=1).mean())),
    ]
    for check, answer in cases:
        assert verdict(capsys, check, answer).startswith("Right. "), check


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (loss, lambda r, f: -right_loss(r, f), "The sign: D maximises"),
        (loss, lambda r, f: right_loss(r, f) / 2, "half of it"),
        (loss, lambda r, f: right_loss(d(r), d(f)), "A doubled sigmoid"),
        (loss, lambda r, f: right_loss(f, r), "On six logits of each it gives"),
        (loss, lambda r, f: jax.nn.softplus(-r).sum() + jax.nn.softplus(f).sum(), "On six logits of each"),
        (loss, naive, "log(sigmoid(a)) is log(0) there"),
        (loss, naive, "it gives inf, not 400"),
        (
            loss,  # right where real is far below 0 and fake far above, overflows on the other side
            lambda r, f: (jnp.log(1 + jnp.exp(r)) - r).mean() + (f + jnp.log(1 + jnp.exp(-f))).mean(),
            "it gives inf, not 0",
        ),
        (
            score,
            lambda p: np.exp((p * np.log(p / p.mean(0))).sum(1).mean()),
            "it gives nan, expected 2.8284: 0 log 0 counts as 0",
        ),
        (
            loss,
            lambda r, f: -jnp.log(d(r) + 1e-9).mean() - jnp.log(1 - d(f) + 1e-9).mean(),
            "it gives 41.4465",
        ),
        (loss, lambda r, f: jax.nn.softplus(-r) + jax.nn.softplus(f), "returns shape (6,); expected ()"),
        (best, lambda p, q: q / (p + q), "the probability of generated"),
        (best, lambda p, q: p / q, "the ratio of the densities"),
        (best, lambda p, q: np.log(p / q), "the best *logit*"),
        (best, lambda p, q: p, "which share is real"),
        (best, lambda p, q: (p / (p + q))[:3], "returns shape (3,); expected (9,)"),
        (bias, 0.8, "The sign: with a larger bias"),
        (bias, -5, "That is the derivative by D's probability"),
        (bias, -0.2, "it belongs to the minimax loss"),
        (bias, 0.2, "differentiate by a"),
        (bias, -0.8001, "differentiate by a"),
        (score, lambda p: np.log(right_score(p)), "take exp in the end"),
        (score, lambda p: p.max(axis=1).mean(), "the mean confidence"),
        (
            score,
            lambda p: np.exp(np.mean([stats.entropy(row, np.ones(3) / 3) for row in p])),
            "with equal shares",
        ),
        (
            score,
            lambda p: np.exp(np.sum([stats.entropy(row, p.mean(axis=0)) for row in p])),
            "take the mean over the samples",
        ),
        (score, lambda p: 2.0, "On 40 rows of three classes it gives 2.0000"),
        (score, lambda p: right_score(p.T), "On 40 rows"),
        (score, lambda p: p.mean(axis=0), "returns shape (3,); expected ()"),
    ],
)
def test_usual_mistakes_get_their_hint(capsys: Capture, check: Any, answer: Any, hint: str) -> None:
    said = verdict(capsys, check, answer)
    assert said.startswith("Not yet. ") and hint in said


def test_each_usual_mistake_has_a_hint_of_its_own(capsys: Capture) -> None:
    """The two wrong scores of the same size are not taken for each other."""
    hints = [
        verdict(capsys, score, wrong)
        for wrong in (
            lambda p: np.log(right_score(p)),
            lambda p: p.max(axis=1).mean(),
            lambda p: np.exp(np.log(3) - stats.entropy(p, axis=1).mean()),
            lambda p: 2.0,
        )
    ]
    assert len(set(hints)) == 4


def test_dots_wait(capsys: Capture) -> None:
    for check in (loss, best, bias, score):
        assert verdict(capsys, check, ...).startswith("Waiting for your answer")
    for check in (loss, best, score):
        for unwritten in (lambda *x: ..., lambda *x: None):
            said = verdict(capsys, check, unwritten)
            assert said == "Not yet. The function returns nothing yet: write the formula after `return`.\n"


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "one",
        [],
        {},
        float("nan"),
        1j,
        lambda: 1,
        lambda *x: "one",
        lambda *x: [[1], [1, 2]],
        lambda *x: float("nan"),
        lambda *x: float("inf"),
        lambda *x: 1j,
        lambda *x: 1 / 0,
        lambda *x: np.zeros((2, 2, 2)),
        print,
    ],
)
def test_garbage_gets_one_line(capsys: Capture, garbage: Any) -> None:
    for check in (loss, best, bias, score):
        said = verdict(capsys, check, garbage).splitlines()[-1]
        assert said.startswith("Not yet. ")
