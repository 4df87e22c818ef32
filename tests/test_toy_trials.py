"""The GAN of numbers: its data, that settings reach the training, and that the recipe works."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, optimize, special, stats

from lecture_lib import objectives, toy_trials
from lecture_lib.priors import NORMAL, Uniform
from lecture_lib.toy_trials import DATA, MEAN, SD, Settings
from tests.test_training import same
from tests.toys import CALL, EVERY, KEYS, played, train

U = (np.arange(4096) + 0.5) / 4096
ROOT2 = 2**0.5
BY_HAND = {
    "one bump": lambda x: special.ndtr((x - 1) / 0.5),
    "two bumps": lambda x: (
        (special.ndtr((x - 0.55) / (0.5 * 0.19**0.5)) + special.ndtr((x - 1.45) / (0.5 * 0.19**0.5))) / 2
    ),
    # a gamma of shape 2: 1 - (1 + t) exp(-t)
    "skewed": lambda x: special.gammainc(2, np.maximum((x - 1) * ROOT2 / 0.5 + 2, 0)),
}
"""The cumulative distributions, written out."""


# --- the data -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(DATA))
def test_curves_have_one_mean_and_one_spread(kind: Any) -> None:
    curve = DATA[kind]
    low, high = curve.reach
    moments = [
        integrate.quad(lambda x, k=k: x**k * curve.density(x), low, high, limit=200)[0] for k in range(3)
    ]
    # beyond the reach: less than 1e-9, times 14^2
    np.testing.assert_allclose(moments, [1, MEAN, MEAN**2 + SD**2], atol=1e-7)
    x = np.linspace(low, high, 50)
    np.testing.assert_allclose(curve.cdf(x), BY_HAND[kind](x), atol=1e-12)


@pytest.mark.parametrize("kind", list(DATA))
def test_examples_are_quantiles(kind: Any) -> None:
    x = toy_trials.examples(kind)
    assert x.shape == (4096, 1) and x.dtype == np.float32
    assert (np.diff(x[:, 0]) > 0).all()
    np.testing.assert_allclose(BY_HAND[kind](x[:, 0].astype(np.float64)), U, atol=1e-6)
    for i in (0, 17, 2048, 4095):
        root = optimize.brentq(lambda t, u=U[i]: BY_HAND[kind](t) - u, -5, 15, xtol=1e-13)
        # where the density is 1e-3, what is read off a straight line between points 3e-4 apart
        assert x[i, 0] == pytest.approx(root, abs=2e-5)
    # half of a 4096th is missing at each end: of the mean less than 1e-3, of the spread the tails'
    assert x.mean() == pytest.approx(MEAN, abs=1e-3) and x.std() == pytest.approx(SD, abs=2e-3)


# --- settings -------------------------------------------------------------------------------


def b1_of(moments: Any) -> np.ndarray:
    return np.asarray(moments.hyperparams["b1"])


def first(settings: Settings) -> Any:
    """The games before their first step."""
    return train(settings, steps=0)


def weights(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def test_untrained_players() -> None:
    gan = toy_trials.build(nnx.Rngs(0))
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(nnx.state(gan.generator, nnx.Param)))
    assert shapes == [(1,), (1, 16), (16,), (16,), (16, 1), (16, 16)]
    assert gan.generator.squash is None and gan.generator.prior == Uniform(-1.0, 1.0)
    assert (gan.discriminator.centre, gan.discriminator.spread) == (MEAN, SD)
    assert toy_trials.build(nnx.Rngs(0), prior=NORMAL).generator.prior == NORMAL


def test_momentum_is_the_moments_own() -> None:
    for momentum in (0.0, 0.5, 0.9):
        last = first(Settings(momentum=momentum)).last
        for moments in (last.generator_moments, last.discriminator_moments):
            np.testing.assert_array_equal(b1_of(moments), np.full(8, np.float32(momentum)))
            np.testing.assert_array_equal(moments.hyperparams["b2"], np.full(8, np.float32(0.99)))
    # and stays so, and is used
    plain, some = (train(Settings(momentum=m)) for m in (0.0, 0.9))
    np.testing.assert_array_equal(b1_of(some.last.generator_moments), np.full(8, np.float32(0.9)))
    # without memory the first moment is the last gradient; the first step is the same for both
    assert not np.allclose(some.history.fake[:, 10], plain.history.fake[:, 10], atol=1e-3)
    np.testing.assert_allclose(some.history.real[:, 0], plain.history.real[:, 0], atol=1e-6)


def test_shift_moves_the_first_pictures() -> None:
    z = jnp.linspace(-1, 1, 9)[:, None]
    fits = [first(Settings(shift=shift)) for shift in (0.0, -4.0)]
    plain, moved = (
        np.asarray(jax.vmap(lambda p, f=f: f.game.generator_of(p)(z))(f.last.generator)) for f in fits
    )
    np.testing.assert_allclose(moved - plain, -4, atol=1e-6)  # float32 of size 4
    assert same(fits[0].last.discriminator, fits[1].last.discriminator)
    assert plain[:, 0].std() > 0.01  # each key its own


def test_prior_and_loss_reach_the_rules() -> None:
    for name, prior in (("uniform", Uniform(-1.0, 1.0)), ("normal", NORMAL)):
        fitted = first(Settings(prior=name))
        assert fitted.game.generator_of(weights(fitted.last.generator)).prior == prior
    for name, losses in (("−log D", objectives.NON_SATURATING), ("log(1 − D)", objectives.MINIMAX)):
        assert first(Settings(loss=name)).game.losses is losses


def test_rates_penalty_steps_and_data_reach_the_training() -> None:
    rates = np.array([0.0, *[1e-3] * 7])
    still = train(Settings(generator_rate=rates, discriminator_rate=rates[::-1], d_steps=3))
    begun = first(Settings()).last
    for player, run in (("generator", 0), ("discriminator", 7)):
        changed = [
            not same(
                *(
                    jax.tree.map(lambda a, r=r: np.asarray(a)[r], getattr(s, player))
                    for s in (begun, still.last)
                )
            )
            for r in range(8)
        ]
        assert changed == [r != run for r in range(8)]
    counts = [
        int(np.asarray(m.count)[0]) for m in (still.last.generator_moments, still.last.discriminator_moments)
    ]
    assert counts == [CALL, 3 * CALL]
    quiet: dict[str, Any] = {"generator_rate": 0.0, "discriminator_rate": 0.0}
    none, some = (train(Settings(penalty=gamma, **quiet)).history for gamma in (0.0, 2.0))
    assert (some.discriminator_loss > none.discriminator_loss).all() and same(some.real, none.real)
    other = train(Settings(data="skewed", penalty=0.0, **quiet)).history
    assert same(other.fake, none.fake) and not same(other.real, none.real)


def test_rates_fall_in_the_second_half() -> None:
    for share, factor in ((0.0, 1.0), (0.25, 1.0), (0.4999, 1.0), (0.75, 0.51), (0.9, 0.216), (1.0, 0.02)):
        assert float(toy_trials.falling(share)) == pytest.approx(factor, abs=1e-6)
    # a straight line from where it begins to fall
    half = np.linspace(0.5, 1, 11)
    np.testing.assert_allclose(np.diff(np.asarray(toy_trials.falling(half)), 2), 0, atol=1e-6)
    assert float(toy_trials.falling(0.5)) == 1.0


def test_frames_and_keep() -> None:
    fitted = train(Settings(), keep=("generator",), steps=0)
    assert fitted.kept.discriminator is None and fitted.kept.generator is not None
    np.testing.assert_array_equal(played().steps, np.arange(0, toy_trials.STEPS + 1, EVERY))
    assert played().history.real.shape == (len(KEYS), toy_trials.STEPS)


# --- it works -------------------------------------------------------------------------------


def test_the_recipe_finds_the_data() -> None:
    """All of 8 keys end below .1. Over 64 other keys W1 of the averaged G was .055 at most and .043 in the
    middle, so that the threshold is four times as far from the middle as any of them: false alarm below 1e-3.
    """
    fitted = played()
    u = (np.arange(2000) + 0.5) / 2000
    z, real = jnp.asarray(2 * u - 1, jnp.float32)[:, None], stats.norm(MEAN, SD).ppf(u)
    averaged = np.asarray(jax.vmap(lambda p: fitted.game.generator_of(p)(z))(fitted.last.averaged))[..., 0]
    w1 = np.abs(np.sort(averaged, axis=1) - real).mean(axis=1)
    assert w1.max() < 0.1 and not fitted.diverged.any()
    begun = np.asarray(jax.vmap(lambda p: fitted.game.generator_of(p)(z))(first(Settings()).last.generator))
    assert np.abs(np.sort(begun[..., 0], axis=1) - real).mean(axis=1).min() > 0.2


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"data": "three bumps"}, ValueError, r"^data is 'three bumps'; expected one of 'one bump', 'two b"),
        ({"loss": "log D"}, ValueError, r"^loss is 'log D'; expected one of '−log D', 'log\(1 − D\)'"),
        ({"prior": "cauchy"}, ValueError, r"^prior is 'cauchy'; expected one of 'uniform', 'normal'"),
        ({"momentum": 1.0}, ValueError, r"^momentum is 1\.0; expected a number from 0 to below 1"),
        ({"momentum": -0.1}, ValueError, r"^momentum is -0\.1; expected a number from 0"),
        ({"momentum": np.nan}, ValueError, r"^momentum is nan; expected a number from 0"),
        ({"shift": np.inf}, ValueError, r"^shift is inf; expected a finite number"),
        ({"discriminator_rate": -1.0}, ValueError, r"^discriminator_rate is -1\.0; expected a number of at"),
        (
            {"generator_rate": np.ones(3)},
            ValueError,
            r"^generator_rate has shape \(3,\); expected one number",
        ),
        ({"penalty": np.nan}, ValueError, r"^penalty has 1 of 1 values"),
        ({"d_steps": 0}, ValueError, r"^d_steps is 0; expected at least 1"),
        ({"d_steps": 1.5}, TypeError, r"^d_steps is 1\.5"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        train(Settings(**settings))


def test_bad_steps_and_kinds() -> None:
    with pytest.raises(ValueError, match=r"^steps is 520; expected a multiple of every, 50"):
        train(Settings(), steps=520)
    with pytest.raises(ValueError, match=r"^keys has shape \(\)"):
        train(Settings(), keys=jax.random.key(0))
    with pytest.raises(ValueError, match=r"^data is 'none'; expected one of"):
        toy_trials.examples("none")  # type: ignore[arg-type]
