"""The experiment of notebook 01: its verdicts on constructed cases, and one small run."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import measures, moon, moon_trials, objectives
from lecture_lib.networks import VAE, Autoencoder

SIZE = moon_trials.SIZE


def true(degrees: float) -> np.ndarray:
    return np.asarray(moon.render(degrees, SIZE), np.float64).ravel()


CROSSFADE = (true(0) + true(90)) / 2
IMAGES = np.asarray(moon_trials.moons([0, 45, 90]))


def judged(between: np.ndarray, codes: Any = (0.0, 1.0, 2.0), decoded: Any = IMAGES) -> moon_trials.Trial:
    return moon_trials.judge(np.array([codes]), np.asarray(decoded)[None], between[None], IMAGES, CROSSFADE)


def test_moons_are_flat_pictures_of_the_recipes_size() -> None:
    x = moon_trials.moons([0, 90])
    assert x.shape == (2, SIZE * SIZE) and x.dtype == jnp.float32
    np.testing.assert_allclose(x[1], true(90), atol=1e-6)  # compiled and eager rendering


def test_the_phases_of_the_claims_hold_full_and_half() -> None:
    for phases in (moon_trials.FIVE_PHASES, moon_trials.DENSE_PHASES, moon_trials.GAP_PHASES):
        assert 0 in phases and 90 in phases
        assert list(phases) == sorted(set(phases)) and max(phases) < 180


@pytest.mark.parametrize("degrees", [16, 30, 45, 60, 74])
def test_a_moon_in_between_is_one(degrees: int) -> None:
    trial = judged(true(degrees))
    assert trial.is_moon.tolist() == [True] and trial.midpoint.phase[0] == degrees
    assert trial.midpoint.distance[0] < 1e-6  # compiled and eager rendering
    assert trial.to_crossfade[0] == pytest.approx(np.sqrt(((true(degrees) - CROSSFADE) ** 2).mean()))


@pytest.mark.parametrize("degrees", [0, 10, 15, 75, 90, 170])
def test_a_moon_elsewhere_is_not(degrees: int) -> None:
    assert judged(true(degrees)).is_moon.tolist() == [False]


def test_the_crossfade_is_no_moon() -> None:
    trial = judged(CROSSFADE)
    assert trial.is_moon.tolist() == [False] and trial.to_crossfade[0] == 0
    assert trial.midpoint.distance[0] > 0.05
    # a mix is judged by what it is nearer to
    assert judged(0.8 * true(45) + 0.2 * CROSSFADE).is_moon.tolist() == [True]
    assert judged(0.2 * true(45) + 0.8 * CROSSFADE).is_moon.tolist() == [False]


def test_order_and_error() -> None:
    assert judged(true(45)).in_order.tolist() == [True]
    assert judged(true(45), codes=(2.0, 1.0, -3.0)).in_order.tolist() == [True]
    assert judged(true(45), codes=(0.0, 2.0, 1.0)).in_order.tolist() == [False]
    assert judged(true(45)).error.tolist() == [0]
    shifted = IMAGES + np.array([[0.1], [0.2], [-0.6]])
    # rms of a constant shift is its size; the mean over moons is 0.3
    assert judged(true(45), decoded=shifted).error[0] == pytest.approx(0.3, rel=1e-6)


def test_build_and_loss_and_codes() -> None:
    ae = moon_trials.build("auto-encoder", nnx.Rngs(0))
    vae = moon_trials.build("VAE", nnx.Rngs(0), steepness=moon_trials.STEEP, noise_sd=0.5)
    assert isinstance(ae, Autoencoder) and isinstance(vae, VAE)
    assert ae.latent == vae.latent == 1 and ae.pixels == vae.pixels == SIZE**2
    assert float(vae.noise_log_var[...]) == pytest.approx(np.log(0.25), rel=1e-6)
    assert moon_trials.loss_of("auto-encoder") is objectives.squared_error
    assert moon_trials.loss_of("VAE") is objectives.negative_elbo
    with pytest.raises(ValueError, match="kind is 'GAN'; expected 'auto-encoder' or 'VAE'"):
        moon_trials.build("GAN", nnx.Rngs(0))  # type: ignore[arg-type]

    x = moon_trials.moons([0, 45, 90])
    codes = moon_trials.codes_of(ae, x)
    assert codes.mean.shape == (3,) and codes.sd is None
    np.testing.assert_array_equal(codes.mean, np.asarray(ae.encode(x))[:, 0])
    codes, q = moon_trials.codes_of(vae, x), vae.encoder(x)
    assert codes.sd is not None
    np.testing.assert_array_equal(codes.mean, np.asarray(q.mean)[:, 0])
    np.testing.assert_allclose(codes.sd, np.exp(np.asarray(q.log_var)[:, 0] / 2), rtol=1e-6)  # float32


def test_halfway_decodes_the_mean_of_two_codes() -> None:
    x = moon_trials.moons([0, 90])
    for kind in ("auto-encoder", "VAE"):
        model = moon_trials.build(kind, nnx.Rngs(0), steepness=moon_trials.STEEP)  # type: ignore[arg-type]
        codes = moon_trials.codes_of(model, x).mean
        expected = model.decoder(jnp.full((1, 1), codes.mean()))[0]
        # a steep decoder amplifies the last bit of the code some thirtyfold
        np.testing.assert_allclose(moon_trials.halfway(model, x[0], x[1]), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["auto-encoder", "VAE"])
def test_a_small_run(kind: Any) -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    trial = moon_trials.run(kind, moon_trials.FIVE_PHASES, keys=keys, steps=200)
    assert trial.in_order.shape == trial.is_moon.shape == (2,)
    assert trial.in_order.dtype == trial.is_moon.dtype == np.bool_
    for values in (trial.midpoint.phase, trial.midpoint.distance, trial.to_crossfade, trial.error):
        assert values.shape == (2,) and np.isfinite(values).all()
    assert (trial.error > 0).all() and (trial.error < 0.5).all()
    if kind == "auto-encoder":
        # 200 steps take it well below what the mean picture would give, 0.3 for these five moons
        mean_picture = measures.rms(np.mean(moon_trials.moons(moon_trials.FIVE_PHASES), 0), IMAGES).mean()
        assert (trial.error < mean_picture / 2).all()
        again = moon_trials.run(kind, moon_trials.FIVE_PHASES, keys=keys, steps=200)
        np.testing.assert_array_equal(again.error, trial.error)


@pytest.mark.parametrize("phases", [[45, 90], [0, 45], []])
def test_run_needs_full_and_half(phases: list[float]) -> None:
    with pytest.raises(ValueError, match=r"phases is .+; expected 0 \(full\) and 90 \(half\) among them"):
        moon_trials.run("VAE", phases, keys=jax.random.split(jax.random.key(0), 2))


def test_table_says_what_was_found() -> None:
    three = moon_trials.judge(
        np.array([[0.0, 1, 2], [0, 2, 1], [2, 1, 0]]),
        np.stack([IMAGES] * 3),
        np.stack([true(45), CROSSFADE, true(30)]),
        IMAGES,
        CROSSFADE,
    )
    lines = moon_trials.table({"a long name": three, "b": judged(true(45))}).splitlines()
    assert len(lines) == 3
    assert "in order" in lines[0] and "in-between moon" in lines[0]
    first, second = lines[1].split("   "), lines[2].split("   ")
    assert first[0] == "a long name" and second[0].strip() == "b"
    assert "2/3" in lines[1] and "1/1" in lines[2]
    low, high = min(three.midpoint.phase), max(three.midpoint.phase)
    assert f"{low}-{high}" in lines[1] and "45-45" in lines[2]
    assert f"{np.median(three.to_crossfade):.3f}" in lines[1]
    # the columns stand under each other
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1
    assert lines[0].index("in order") <= lines[1].index("2/3") <= lines[0].index("in order") + len("in order")
