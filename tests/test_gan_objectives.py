"""A GAN's losses on logits: against SciPy, the theory of the best D, finite differences, closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special
from scipy.spatial import distance

from lecture_lib import objectives
from lecture_lib.networks import Discriminator
from tests.gans import numpy_d
from tests.laws import law

N = 5


def logits(most: float = 30) -> Any:
    return hnp.arrays(np.float64, (N,), elements=st.floats(-most, most))


def in_64_bits(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(function(*arguments))


# --- values ---------------------------------------------------------------------------------


@law(50)
@given(logits(), logits())
def test_losses_are_those_of_the_papers(real: Any, fake: Any) -> None:
    """log D is log_expit(a) and log(1 - D) is log_expit(-a); sums of float64 numbers up to 30."""
    log_d, log_not_d = special.log_expit, lambda a: special.log_expit(-a)
    for ours, formula in (
        (in_64_bits(objectives.cross_entropy, real, fake), -log_d(real).mean() - log_not_d(fake).mean()),
        (in_64_bits(objectives.non_saturating, fake), -log_d(fake).mean()),
        (in_64_bits(objectives.minimax, fake), log_not_d(fake).mean()),
        (
            in_64_bits(objectives.least_squares_discriminator, real, fake),
            0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
        ),
        (in_64_bits(objectives.least_squares_generator, fake), 0.5 * ((fake - 1) ** 2).mean()),
    ):
        assert ours.shape == () and ours.dtype == np.float64
        np.testing.assert_allclose(ours, formula, rtol=1e-13, atol=1e-14)


@law(50)
@given(logits(3), logits(3))
def test_losses_in_the_words_of_the_lecture(real: Any, fake: Any) -> None:
    """By the probability itself: between logits of -3 and 3, 1 - D keeps its digits."""
    d_real, d_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    ours = in_64_bits(objectives.cross_entropy, real, fake)
    np.testing.assert_allclose(ours, -np.mean(np.log(d_real)) - np.mean(np.log(1 - d_fake)), rtol=1e-13)
    np.testing.assert_allclose(
        in_64_bits(objectives.non_saturating, fake), -np.mean(np.log(d_fake)), rtol=1e-13
    )
    np.testing.assert_allclose(in_64_bits(objectives.minimax, fake), np.mean(np.log(1 - d_fake)), rtol=1e-13)
    # the zero-sum game: what D loses on generated pictures G wins
    game = ours + in_64_bits(objectives.minimax, fake)
    np.testing.assert_allclose(game, -np.mean(np.log(d_real)), rtol=1e-12, atol=1e-14)


def test_where_d_says_one_half() -> None:
    zero, half = np.zeros(3), np.full(3, 0.5)
    for value, expected in (
        (in_64_bits(objectives.cross_entropy, zero, zero), 2 * np.log(2)),
        (in_64_bits(objectives.non_saturating, zero), np.log(2)),
        (in_64_bits(objectives.minimax, zero), -np.log(2)),
        (in_64_bits(objectives.least_squares_discriminator, half, half), 1 / 4),
        (in_64_bits(objectives.least_squares_generator, half), 1 / 8),
    ):
        assert value == pytest.approx(expected, abs=1e-15)


def test_number_of_real_and_of_generated_pictures_may_differ() -> None:
    real, fake = np.array([1.0, -2.0, 0.5]), np.array([0.3])
    expected = -special.log_expit(real).mean() - special.log_expit(-fake).mean()
    assert float(in_64_bits(objectives.cross_entropy, real, fake)) == pytest.approx(expected, abs=1e-15)


def test_logits_far_out_are_exact_with_their_gradients() -> None:
    """In float32: log(sigmoid(a)) would be log(0) from -104 on."""
    low, high = jnp.array([-1000.0]), jnp.array([1000.0])
    for loss, at, value, slope in (
        (objectives.non_saturating, low, 1000, -1),
        (objectives.non_saturating, high, 0, 0),
        (objectives.minimax, low, 0, 0),
        (objectives.minimax, high, -1000, -1),
        (lambda a: objectives.cross_entropy(a, low), low, 1000, -1),
        (lambda a: objectives.cross_entropy(a, low), high, 0, 0),
        (lambda a: objectives.cross_entropy(high, a), high, 1000, 1),
        (lambda a: objectives.cross_entropy(high, a), low, 0, 0),
    ):
        got, gradient = jax.value_and_grad(loss)(at)
        assert (float(got), float(gradient[0])) == (value, slope)
    assert float(objectives.cross_entropy(low, high)) == 2000


# --- derivatives ----------------------------------------------------------------------------


@jax.jit
def slopes(fake: Any) -> Any:
    losses: tuple[Callable[..., Any], ...] = (
        objectives.non_saturating,
        objectives.minimax,
        lambda a: objectives.cross_entropy(a, np.zeros(N)),
        lambda a: objectives.cross_entropy(np.zeros(N), a),
        objectives.least_squares_generator,
        lambda a: objectives.least_squares_discriminator(a, np.zeros(N)),
        lambda a: objectives.least_squares_discriminator(np.zeros(N), a),
    )
    return jnp.stack([jax.grad(loss)(fake) for loss in losses])


@law(20)
@given(logits())
def test_derivatives_by_a_logit(fake: Any) -> None:
    d, not_d = special.expit(fake), special.expit(-fake)
    expected = np.stack([-not_d, -d, -not_d, d, fake - 1, fake - 1, fake]) / N
    np.testing.assert_allclose(in_64_bits(slopes, fake), expected, rtol=1e-13, atol=1e-16)


# --- the best D -----------------------------------------------------------------------------

PLACES = 3
places = hnp.arrays(np.int64, (9,), elements=st.integers(0, PLACES - 1))


@law(50)
@given(places, places, hnp.arrays(np.float64, (PLACES,), elements=st.floats(-5, 5)))
def test_best_logit_is_the_log_ratio_of_the_densities(real: Any, fake: Any, away: Any) -> None:
    """Three places; nothing is below the loss at log(p_data / p_g): 2 log 2 - 2 JS(p_data, p_g) there."""
    real, fake = (np.concatenate([np.arange(PLACES), drawn]) for drawn in (real, fake))
    p_data, p_g = (np.bincount(drawn, minlength=PLACES) / 12 for drawn in (real, fake))
    best = np.log(p_data / p_g)
    least = in_64_bits(objectives.cross_entropy, best[real], best[fake])
    js = distance.jensenshannon(p_data, p_g) ** 2  # SciPy's is the square root; of a rounded difference
    assert float(least) == pytest.approx(2 * np.log(2) - 2 * js, abs=1e-12)
    other = in_64_bits(objectives.cross_entropy, (best + away)[real], (best + away)[fake])
    assert other >= least - 1e-14
    # of the least-squares loss it is D* itself
    share = p_data / (p_data + p_g)
    least = in_64_bits(objectives.least_squares_discriminator, share[real], share[fake])
    other = in_64_bits(objectives.least_squares_discriminator, (share + away)[real], (share + away)[fake])
    assert other >= least - 1e-14


def test_pairs() -> None:
    d, g = objectives.cross_entropy, objectives.non_saturating
    zero_sum = objectives.MINIMAX
    assert tuple(objectives.NON_SATURATING) == (d, g)
    assert zero_sum == (d, objectives.minimax)
    least = objectives.LEAST_SQUARES
    assert least == (objectives.least_squares_discriminator, objectives.least_squares_generator)
    assert least.discriminator is least[0] and least.generator is least[1]


# --- the R1 penalty -------------------------------------------------------------------------


def test_r1_by_finite_differences() -> None:
    """D is straight between its bends, so that differences are exact but for rounding: 1e-16 / 1e-5."""
    x = np.random.default_rng(0).normal(size=(6, 4))
    d = Discriminator(4, (8, 5), rngs=nnx.Rngs(0))
    h = 1e-5
    slopes = [(numpy_d(d, x + h * e) - numpy_d(d, x - h * e)) / (2 * h) for e in np.eye(4)]
    expected = (np.square(slopes).sum(axis=0) / 2).mean()
    with jax.enable_x64(True):
        nnx.update(d, jax.tree.map(lambda w: w.astype(jnp.float64), nnx.state(d)))
        ours = objectives.r1_penalty(d, jnp.asarray(x))
    assert ours.dtype == np.float64 and ours.shape == ()
    assert float(ours) == pytest.approx(expected, rel=1e-9)
    assert expected > 0.01


def test_r1_of_a_straight_line_is_half_its_squared_slope_everywhere() -> None:
    d = Discriminator(3, (), rngs=nnx.Rngs(0))
    line: Any = d.layers.layers[0]
    line.kernel[...] = jnp.array([[1.0], [-2.0], [0.5]])
    for scale in (0.0, 1.0, 100.0):
        assert float(objectives.r1_penalty(d, scale * jnp.ones((4, 3)))) == (1 + 4 + 0.25) / 2
    line.kernel[...] = 3 * line.kernel[...]
    line.bias[...] = jnp.array([7.0])
    assert float(objectives.r1_penalty(d, jnp.ones((1, 3)))) == 9 * 5.25 / 2


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "told"),
    [
        (np.array([1, 0]), TypeError, "has dtype int64; expected floating-point numbers"),
        (
            np.array([0.5, np.nan]),
            ValueError,
            r"has 1 of 2 values that are not finite \(first at index \(1,\)\)",
        ),
        (np.array([np.inf]), ValueError, "has 1 of 1 values that are not finite"),
        (np.zeros(0), ValueError, "is empty; expected at least one logit"),
    ],
)
def test_bad_logits(bad: Any, error: type[Exception], told: str) -> None:
    fine = np.zeros(2)
    for of_both in (objectives.cross_entropy, objectives.least_squares_discriminator):
        with pytest.raises(error, match="^real " + told):
            of_both(bad, fine)
        with pytest.raises(error, match="^fake " + told):
            of_both(fine, bad)
    for of_fake in (
        objectives.non_saturating,
        objectives.minimax,
        objectives.least_squares_generator,
    ):
        with pytest.raises(error, match="^fake " + told):
            of_fake(bad)
