"""The checks behind the exercises: right answers pass, usual mistakes get their hint, nothing raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lecture_lib import exercises

Capture = pytest.CaptureFixture[str]


def verdict(capsys: Capture, check: Callable[..., None], *answers: Any) -> str:
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


def kl(m: Any, s: Any) -> Any:
    return 0.5 * (jnp.exp(s) - 1 - s + m**2).sum(axis=-1)


def two_steps(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    key_m, key_x = jax.random.split(key)
    m = jax.random.choice(key_m, 3, (n,), p=weights)
    return means[m] + sds[m] * jax.random.normal(key_x, (n,))


def two_steps_by_numpy(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    rng = np.random.default_rng(0)
    m = rng.multinomial(1, np.asarray(weights, float) / np.sum(weights, dtype=float), n).argmax(axis=1)
    return list(rng.normal(np.asarray(means)[m], np.asarray(sds)[m]))


def equally_often(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    return two_steps(key, n, jnp.ones(3) / 3, means, sds)


def weighted_sum(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    return (means + sds * jax.random.normal(key, (n, 3))) @ weights


def one_m_for_all(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    m = jax.random.choice(key, 3, p=weights)
    return means[m] + sds[m] * jax.random.normal(key, (n,))


def weights_as_logits(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    return two_steps(key, n, jax.nn.softmax(weights), means, sds)


def plain_sum(key: Any, n: int, weights: Any, means: Any, sds: Any) -> Any:
    return (means + sds * jax.random.normal(key, (n, 3))).sum(axis=1)


def from_exponential(z: Any) -> Any:
    return -jnp.log(1 - jax.scipy.stats.norm.cdf(z))


def elbo(x: Any, m: Any, s: Any) -> Any:
    """L_b for x|z ~ N(z, 0.5^2) and q = N(m, exp(s)), with nothing left out."""
    reconstruction = -jnp.log(2 * jnp.pi * 0.25) / 2 - ((x - m) ** 2 + jnp.exp(s)) / 0.5
    return reconstruction - penalty(m, s)


def penalty(m: Any, s: Any) -> Any:
    return 0.5 * (jnp.exp(s) - 1 - s + m**2)


def elbo_from_the_joint(x: Any, m: Any, s: Any) -> list[float]:
    """E_q log P(x, z) plus the entropy of q, in NumPy."""
    x, m, s = (np.asarray(a, np.float64) for a in (x, m, s))
    second = m**2 + np.exp(s)
    joint = -np.log(2 * np.pi) - np.log(0.25) / 2 - second / 2 - (x**2 - 2 * x * m + second) / 0.5
    return list(joint + (np.log(2 * np.pi * np.e) + s) / 2)


def log_mean_exp_by_hand(log_w: Any) -> Any:
    top = log_w.max(axis=-1, keepdims=True)
    return top[..., 0] + jnp.log(jnp.exp(log_w - top).mean(axis=-1))


def log_mean_exp(log_w: Any) -> Any:
    return jax.nn.logsumexp(log_w, axis=-1) - jnp.log(log_w.shape[-1])


TARGET = ([0.35, 0.65], [1.0, -0.5], [0.35, 2.0])


@pytest.mark.parametrize(
    ("check", "answers"),
    [
        (exercises.check_lit_quarter, (120,)),
        (exercises.check_lit_quarter, (-120.0,)),
        (exercises.check_reparameterise, (lambda e, m, s: m + jnp.exp(s / 2) * e,)),
        (exercises.check_penalty_minimum, (0, 0.0)),
        (exercises.check_kl, (kl,)),
        (exercises.check_noise, (1.65,)),
        (exercises.check_two_steps, (two_steps,)),
        (exercises.check_two_steps, (two_steps_by_numpy,)),
        (exercises.check_equal_responsibility, (np.log(4) / 2,)),
        (exercises.check_equal_responsibility, (0.69,)),  # read off a picture
        (exercises.check_equal_responsibility, (jnp.log(2.0),)),
        (exercises.check_picture, TARGET),
        (exercises.check_picture, ([0.65, 0.35], [-0.5, 1.0], [2.0, 0.35])),  # the other way round
        (exercises.check_picture, tuple(map(np.array, ([0.35, 0.6, 0.05], [1, -0.5, -0.5], [0.35, 2, 2])))),
        (exercises.check_picture, ([0.36, 0.64], [1.0, -0.5], [0.35, 2.0])),  # nearly
        (exercises.check_linear_network, (1, 4.25)),
        (exercises.check_linear_network, (1.0, 2**2 + 0.5**2)),
        (exercises.check_push_forward, (from_exponential,)),
        (exercises.check_push_forward, (lambda z: -jax.scipy.stats.norm.logcdf(z),)),  # it falls with z
        (exercises.check_push_forward, (lambda z: stats.expon.ppf(stats.norm.cdf(z)),)),
        (exercises.check_elbo, (elbo,)),
        (exercises.check_elbo, (elbo_from_the_joint,)),
        (exercises.check_posterior, (0.8, 0.2)),
        (exercises.check_posterior, (jnp.float32(4 / 5), np.float64(1 / (1 + 1 / 0.25)))),
        (exercises.check_best_slope, (1.936,)),  # as in the lecture
        (exercises.check_best_slope, (jnp.sqrt(3.75),)),
        (exercises.check_log_mean_exp, (log_mean_exp,)),
        (exercises.check_log_mean_exp, (log_mean_exp_by_hand,)),
        (exercises.check_constant, (-32 * np.log(2 * np.pi),)),
        (exercises.check_constant, (-58.81,)),
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
        (exercises.check_two_steps, (equally_often,), "Every Gaussian is chosen equally often"),
        (exercises.check_two_steps, (weighted_sum,), "weighted sums of all Gaussians"),
        (
            exercises.check_two_steps,
            (lambda key, n, w, m, s: two_steps(key, n, w, m, s**2),),
            "The spread is sds ** 2",
        ),
        (exercises.check_two_steps, (one_m_for_all,), "Choose m for each draw"),
        (exercises.check_two_steps, (weights_as_logits,), "Choose m for each draw"),
        (exercises.check_two_steps, (plain_sum,), "Choose m for each draw"),
        (exercises.check_two_steps, (lambda key, n, w, m, s: m,), "shape (3,); expected (4000,)"),
        (exercises.check_two_steps, (lambda *a: (two_steps(*a),) * 2,), "shape (2, 4000); expected (4000,)"),
        (exercises.check_two_steps, (lambda *a: two_steps(*a) * jnp.nan,), "Choose m for each draw"),
        (exercises.check_two_steps, (lambda *a: None,), "returns nothing yet"),
        (exercises.check_two_steps, (lambda *a: ...,), "returns nothing yet"),
        (exercises.check_equal_responsibility, (0,), "At x = 0 the first is responsible with 0.800"),
        (exercises.check_equal_responsibility, (np.log(4),), "the second is responsible with 0.800"),
        (exercises.check_equal_responsibility, (-np.log(4) / 2,), "the first is responsible with 0.941"),
        (exercises.check_equal_responsibility, (1e8,), "the second is responsible with 1.000"),
        (exercises.check_equal_responsibility, (-1e300,), "the first is responsible with 1.000"),
        (exercises.check_equal_responsibility, (float("inf"),), "should be finite"),
        (exercises.check_equal_responsibility, ("log 2",), "should be a number"),
        (exercises.check_picture, ([0.65, 0.35], *TARGET[1:]), "get it to 0.03 or below"),
        (exercises.check_picture, (*TARGET[:2], [0.35**2, 4.0]), "get it to 0.03 or below"),
        (exercises.check_picture, ([0.4, 0.6], *TARGET[1:]), "The area between the two curves is 0.0"),
        (exercises.check_picture, ([0.35, 0.6], *TARGET[1:]), "expected none negative and a sum of 1"),
        (exercises.check_picture, ([1.35, -0.35], *TARGET[1:]), "expected none negative and a sum of 1"),
        (exercises.check_picture, ([0.35, 0.65], [1.0], [0.35, 2.0]), "Give as many means and sds"),
        (exercises.check_picture, (1.0, 1.0, 1.0), "Give as many means and sds"),
        (exercises.check_picture, ([], [], []), "at least one"),
        (exercises.check_picture, (*TARGET[:2], [0.35, 0.0]), "standard deviation must be above 0"),
        (exercises.check_picture, (*TARGET[:2], [0.35, np.nan]), "standard deviation must be above 0"),
        (exercises.check_picture, ([0.35, 0.65], [1.0, np.inf], [0.35, 2.0]), "not finite"),
        (exercises.check_picture, (["a", "b"], *TARGET[1:]), "weights should be a list of numbers"),
        (exercises.check_picture, (TARGET[0], [1.0, ...], TARGET[2]), "means should be a list of numbers"),
        (exercises.check_picture, (TARGET[0], TARGET[1], {"a": 1}), "sds should be a list of numbers"),
        (exercises.check_linear_network, (0, 4.25), "it is the mean of 2 z + 1"),
        (exercises.check_linear_network, (3, 4.25), "The mean is not 3"),
        (exercises.check_linear_network, (1, 4.25**0.5), "That is the standard deviation"),
        (exercises.check_linear_network, (1, 2.06), "That is the standard deviation"),
        (exercises.check_linear_network, (1, 2.25), "The variance is not 2.25: the variance of 2 z + 1"),
        (exercises.check_linear_network, (1, 4.5), "add up"),
        (exercises.check_linear_network, (1, "4.25 or so"), "The variance should be a number"),
        (exercises.check_linear_network, ([1], 4.25), "The mean should be a number"),
        (exercises.check_push_forward, (lambda z: z,), "A share of 0.500 of your x lies below -0.001"),
        (
            exercises.check_push_forward,  # a uniform one: all below 1, and not 1 - 1 / e
            (jax.scipy.stats.norm.cdf,),
            "A share of 1.000 of your x lies below 1.000; it should be 0.632",
        ),
        (exercises.check_push_forward, (jnp.exp,), "Which function makes z uniform"),
        (
            exercises.check_push_forward,
            (lambda z: 2 * from_exponential(z),),
            "which turns a uniform u into x",
        ),
        (exercises.check_push_forward, (lambda z: -jnp.log(z),), "not finite"),
        (exercises.check_push_forward, (lambda z: z.mean(),), "shape (); expected (2000,)"),
        (exercises.check_push_forward, (lambda z: None,), "returns nothing yet"),
        (
            exercises.check_elbo,
            (lambda x, m, s: elbo(x, m, s) + jnp.exp(s) / 0.5,),
            "z is not always m",
        ),
        (exercises.check_elbo, (lambda x, m, s: elbo(x, m, s) + penalty(m, s),), "subtract KL(q || P(z))"),
        (exercises.check_elbo, (lambda x, m, s: elbo(x, m, s) - penalty(m, s),), "twice what it should be"),
        (
            exercises.check_elbo,
            (lambda x, m, s: elbo(x, m, s) + jnp.log(2 * jnp.pi * 0.25) / 2,),
            "constant of the Gaussian is missing",
        ),
        (exercises.check_elbo, (lambda x, m, s: elbo(x, m, 2 * s),), "For x = 2, q = N(0.3, e^-1) it gives"),
        (exercises.check_elbo, (lambda x, m, s: -elbo(x, m, s),), "quadrature -"),
        (exercises.check_elbo, (lambda x, m, s: elbo(x, m, s) * jnp.nan,), "it gives nan, quadrature"),
        (exercises.check_elbo, (lambda x, m, s: elbo(x, m, s).sum(),), "shape (); expected (3,)"),
        (exercises.check_elbo, (lambda x, m, s: ...,), "returns nothing yet"),
        (exercises.check_posterior, (1, 0.2), "KL(q || P(z|x)) is still 0.1000 nats"),
        (exercises.check_posterior, (0.8, 1.25), "Precisions (1 / variance) add up"),
        (exercises.check_posterior, (0.8, 5), "Precisions (1 / variance) add up"),  # the precision itself
        (exercises.check_posterior, (0.8, 0.2**0.5), "Precisions (1 / variance) add up"),
        (exercises.check_posterior, (0.8, 0), "The variance is 0; it must be above 0"),
        (exercises.check_posterior, (0.8, -0.2), "The variance is -0.2; it must be above 0"),
        (exercises.check_posterior, (0.8, 1e-8), "KL(q || P(z|x)) is still 7.9056 nats"),
        (exercises.check_posterior, (1e300, 0.2), "still inf nats"),
        (exercises.check_posterior, ("x", 0.2), "The mean should be a number"),
        (exercises.check_posterior, (0.8, float("inf")), "The variance should be finite"),
        (exercises.check_best_slope, (1,), "At a = 1 log P(x) is -2.6305; it can be higher"),
        (exercises.check_best_slope, (2,), "which variance makes a Gaussian highest"),  # forgets the noise
        (exercises.check_best_slope, (0.941,), "it can be higher"),
        (exercises.check_best_slope, (3.75,), "it can be higher"),
        (exercises.check_best_slope, (-1.936,), "a is -1.936; answer with the one above 0"),
        (exercises.check_best_slope, (float("nan"),), "should be finite"),
        (exercises.check_log_mean_exp, (lambda w: jax.nn.logsumexp(w, axis=-1),), "log of the *sum*"),
        (exercises.check_log_mean_exp, (lambda w: w.mean(axis=-1),), "mean of the logs, the ELBO"),
        (exercises.check_log_mean_exp, (lambda w: jnp.exp(w).mean(axis=-1),), "For log-weights 0, 1, 2"),
        (exercises.check_log_mean_exp, (lambda w: jnp.log(jnp.exp(w).mean(axis=-1)),), "near -1000 it fails"),
        (exercises.check_log_mean_exp, (lambda w: log_mean_exp(w).mean(),), "shape (); expected (2,)"),
        (exercises.check_log_mean_exp, (lambda w: log_mean_exp(w.T),), "shape (3,); expected (2,)"),
        (exercises.check_log_mean_exp, (lambda w: None,), "returns nothing yet"),
        (exercises.check_constant, (32 * np.log(2 * np.pi),), "The sign"),
        (exercises.check_constant, (-np.log(2 * np.pi) / 2,), "constant of one pixel"),
        (exercises.check_constant, (-64 * np.log(2 * np.pi),), "Each of 64 pixels"),
        (exercises.check_constant, (0,), "Each of 64 pixels"),
        (exercises.check_constant, ("-58.8",), "Each of 64 pixels"),  # read as a number, but too coarse
        (exercises.check_constant, (float("-inf"),), "should be finite"),
    ],
)
def test_usual_mistakes_get_their_hint(
    capsys: Capture, check: Callable[..., None], answers: tuple[Any, ...], hint: str
) -> None:
    told = verdict(capsys, check, *answers)
    assert told.startswith("Not yet. ")
    assert hint in told


NEW: list[tuple[Callable[..., None], int]] = [
    (exercises.check_two_steps, 1),
    (exercises.check_equal_responsibility, 1),
    (exercises.check_picture, 3),
    (exercises.check_linear_network, 2),
    (exercises.check_push_forward, 1),
    (exercises.check_elbo, 1),
    (exercises.check_posterior, 2),
    (exercises.check_best_slope, 1),
    (exercises.check_log_mean_exp, 1),
    (exercises.check_constant, 1),
]


def fails(*_: Any) -> Any:
    raise KeyError("lost")


@pytest.mark.parametrize(("check", "count"), NEW)
@pytest.mark.parametrize("garbage", [None, "?", object(), {"a": 1}, [[1, 2], [3]], fails, lambda: 0, print])
def test_garbage_gets_a_hint_and_no_traceback(
    capsys: Capture, check: Callable[..., None], count: int, garbage: Any
) -> None:
    told = verdict(capsys, check, *[garbage] * count)
    assert "Not yet. " in told and "Right." not in told and "Traceback" not in told


@pytest.mark.parametrize(("check", "count"), NEW)
def test_any_dots_wait(capsys: Capture, check: Callable[..., None], count: int) -> None:
    for i in range(count):
        answers: list[Any] = [0] * count
        answers[i] = ...
        assert verdict(capsys, check, *answers).startswith("Waiting for your answer")


def test_dots_wait(capsys: Capture) -> None:
    assert verdict(capsys, exercises.check_noise, ...).startswith("Waiting for your answer")
    assert verdict(capsys, exercises.check_penalty_minimum, 0, ...).startswith("Waiting for your answer")
