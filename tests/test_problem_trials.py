"""The experiments of notebook 05: two edits of a 7 by a rule, samples, averages, means with intervals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import problem_trials, strokes, style_trials
from lecture_lib.networks import VAE
from lecture_lib.style_trials import Digits

NEW = style_trials.embedded("new writers")
SEVENS = NEW.x[NEW.labels == 7]
SEEN = Digits(*(part[:200] for part in style_trials.embedded("writers")))


def seven() -> np.ndarray:
    """A 7 of one-pixel strokes whose tail goes to the lower left, with room below."""
    picture = np.zeros((8, 8))
    picture[0, 1:6] = 1
    for row, column in ((1, 5), (2, 4), (3, 4), (4, 3), (5, 2)):
        picture[row, column] = 1
    return picture


# --- the two edits --------------------------------------------------------------------------


def test_the_tail_grows_on_the_way_it_was_going() -> None:
    picture = seven()
    assert problem_trials.tail_end(picture) == (5, 2)
    assert problem_trials.tail_pixel(picture) == (6, 1)
    assert problem_trials.tail_pixel(picture[:, ::-1]) == (6, 6)
    # grey above the end does not make it a tail, but it is ink
    grey = picture.copy()
    grey[6, 1] = 0.4
    assert problem_trials.tail_end(grey) == (5, 2) and problem_trials.tail_pixel(grey) != (6, 1)


def test_without_room_below_it_grows_sideways() -> None:
    picture = seven()[[0, 1, 2, 3, 4, 5]]
    assert problem_trials.tail_end(picture) == (5, 2)
    row, column = problem_trials.tail_pixel(picture)
    assert (row, column) == (5, 1)


@pytest.mark.parametrize("lean", [-15.0, 0.0, 15.0])
def test_tails_of_drawn_sevens_go_on_down(lean: float) -> None:
    picture = strokes.as_mnist(strokes.shear(strokes.example(7), lean), width=2.5)
    end, (row, column) = problem_trials.tail_end(picture), problem_trials.tail_pixel(picture)
    assert row > end[0] and abs(column - end[1]) <= 2
    assert picture[row, column] == 0 and picture[row - 1 : row + 2, column - 1 : column + 2].max() > 0


def test_the_stray_pixel_is_far_from_all_ink() -> None:
    picture = seven()
    row, column = problem_trials.stray_pixel(picture)
    blank, ink = np.argwhere(picture == 0), np.argwhere(picture > 0)
    nearest = np.sqrt(((blank[:, None] - ink) ** 2).sum(-1)).min(axis=1)
    assert (row, column) == tuple(blank[nearest.argmax()]) == (7, 7)


def test_both_edits_of_every_seven_are_the_same_change() -> None:
    for amount in (1.0, 0.3):
        edits = problem_trials.edited(SEVENS, ink=amount)
        assert edits.originals is SEVENS and len(SEVENS) == 38
        for changed in (edits.tails, edits.strays):
            differ = changed != SEVENS
            assert (differ.sum(axis=1) == 1).all()
            assert (SEVENS[differ] == 0).all() and (changed[differ] == np.float32(amount)).all()
            error = ((changed - SEVENS) ** 2).mean(axis=1)
            assert (error == error[0]).all()
        assert ((edits.tails != edits.strays).sum(axis=1) == 2).all()


def test_edits_refuse_what_is_no_list_of_square_pictures_of_floats() -> None:
    for x in (SEVENS[:, :63], SEVENS[0], SEVENS[:0]):
        with pytest.raises(ValueError, match=r"^x has shape .*; expected \(n, size \* size\), at least one"):
            problem_trials.edited(x)
    with pytest.raises(TypeError, match=r"^x has dtype int64; expected floating-point"):
        problem_trials.edited((SEVENS > 0.5).astype(np.int64), ink=0.5)  # would be cut off to no change


def test_pictures_without_the_places() -> None:
    with pytest.raises(ValueError, match=r"^picture has no pixel of 0.5 or more"):
        problem_trials.tail_pixel(np.full((4, 4), 0.2))
    with pytest.raises(ValueError, match=r"^picture has no blank pixel that touches the ink"):
        problem_trials.tail_pixel(np.ones((4, 4)))
    for picture in (np.ones((4, 4)), np.zeros((4, 4))):
        with pytest.raises(ValueError, match=r"^picture has no blank pixel, or no other"):
            problem_trials.stray_pixel(picture)
    for amount in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"^ink is .*; expected a brightness in \(0, 1\]"):
            problem_trials.edited(SEVENS, ink=amount)


# --- training and samples -------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_short_training_learns_the_mean(likelihood: str) -> None:
    options = {"key": jax.random.key(0), "likelihood": likelihood, "steps": 60}
    fitted = problem_trials.train(SEEN, **options)  # type: ignore[arg-type]
    assert len(fitted.history.loss) == 60
    assert fitted.history.loss[-10:].mean() < fitted.history.loss[:10].mean()
    drawn = problem_trials.samples(fitted.model, jax.random.key(1), 50)
    assert drawn.shape == (50, 64) and drawn.min() >= 0 and drawn.max() <= 1
    assert np.corrcoef(drawn.mean(axis=0), SEEN.x.mean(axis=0))[0, 1] > 0.8
    if likelihood == "gaussian":  # the noise has begun to fall from .22
        assert 0.15 < float(jnp.exp(fitted.model.noise_log_var[...] / 2)) < 0.25
    again = problem_trials.train(SEEN, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.history.loss, fitted.history.loss)


def test_samples_are_means_cut_to_brightness() -> None:
    model = VAE(9, 2, (), rngs=nnx.Rngs(0))
    drawn = problem_trials.samples(model, jax.random.key(3), 40)
    means = np.asarray(model.decoder(jax.random.normal(jax.random.key(3), (40, 2))))
    np.testing.assert_allclose(drawn, means.clip(0, 1), atol=1e-6)
    assert means.min() < 0


# --- controls and means ---------------------------------------------------------------------


def test_averages_are_of_two_different_pictures() -> None:
    x = np.eye(6)
    found = problem_trials.averages(x, jax.random.key(0), 60)
    assert found.shape == (60, 6)
    np.testing.assert_array_equal(np.sort(found, axis=1)[:, -2:], np.full((60, 2), 0.5))
    assert (
        len(np.unique(found, axis=0)) == 15
    )  # all pairs: one is missed with probability below 15 (14/15)^60
    with pytest.raises(ValueError, match=r"^x has 1 pictures; expected at least 2"):
        problem_trials.averages(x[:1], jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        problem_trials.averages(x, jax.random.key(0), 0)


def test_interval_of_a_mean_is_that_of_the_normal_for_many() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = problem_trials.mean_with_interval(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    # 2000 resamples give the ends to about .05 of half the width
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert problem_trials.mean_with_interval(values) == found
    with pytest.raises(ValueError, match=r"^values has 1 entries"):
        problem_trials.mean_with_interval(values[:1])
