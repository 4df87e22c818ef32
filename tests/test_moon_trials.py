"""The experiment of notebook 01: its verdicts on constructed cases, and one small run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import chunks, measures, moon, moon_trials, objectives
from lecture_lib.networks import VAE, Autoencoder

SIZE = moon_trials.SIZE


def true(degrees: float) -> np.ndarray:
    return np.asarray(moon.render(degrees, SIZE), np.float64).ravel()


PHASES = [0, 45, 90]
CROSSFADE = (true(0) + true(90)) / 2
IMAGES = np.asarray(moon_trials.moons(PHASES))
GARBAGE = {
    "far from everything": np.full(SIZE**2, 100.0),
    "noise": np.random.default_rng(0).uniform(size=SIZE**2),
    "grey": np.full(SIZE**2, 0.5),
    "black": np.zeros(SIZE**2),
    "a moon of the wrong side": np.asarray(moon.render(-45, SIZE)).ravel(),
    "a negative": 1 - np.asarray(moon.render(45, SIZE)).ravel(),
    "a moon under noise": true(45) + np.random.default_rng(1).normal(0, 0.4, SIZE**2),
}


def judged(
    middle: np.ndarray,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
    codes: Any = (0.0, 1.0, 2.0),
    decoded: Any = IMAGES,
) -> moon_trials.Trial:
    """The verdicts on one model that decodes `middle` half-way from full to half moon."""
    between = np.stack([middle, *(neighbours or (middle, middle))])
    return moon_trials.judge(np.array([codes]), np.asarray(decoded)[None], between[None], IMAGES, PHASES)


def test_moons_are_flat_pictures_of_the_recipes_size() -> None:
    x = moon_trials.moons([0, 90])
    assert x.shape == (2, SIZE * SIZE) and x.dtype == jnp.float32
    np.testing.assert_allclose(x[1], true(90), atol=1e-6)  # compiled and eager rendering


def test_the_phases_of_the_claims_hold_full_and_half() -> None:
    for phases in (moon_trials.FIVE_PHASES, moon_trials.DENSE_PHASES, moon_trials.GAP_PHASES):
        assert 0 in phases and 90 in phases
        assert list(phases) == sorted(set(phases)) and max(phases) < 180


@pytest.mark.parametrize("degrees", [15, 16, 30, 45, 60, 74, 75])
def test_a_moon_in_between_is_one(degrees: int) -> None:
    trial = judged(true(degrees))
    assert trial.is_moon.tolist() == [True] and trial.midpoint.phase[0] == degrees
    assert trial.midpoint.distance[0] < 1e-6  # compiled and eager rendering
    assert trial.to_crossfade[0] == pytest.approx(np.sqrt(((true(degrees) - CROSSFADE) ** 2).mean()))


@pytest.mark.parametrize("degrees", [0, 10, 14, 76, 90, 170])
def test_a_moon_elsewhere_is_not(degrees: int) -> None:
    assert judged(true(degrees)).is_moon.tolist() == [False]


def test_the_crossfade_is_no_moon() -> None:
    trial = judged(CROSSFADE)
    # compiled and eager rendering
    assert trial.is_moon.tolist() == [False] and trial.to_crossfade[0] == pytest.approx(0, abs=1e-6)
    assert trial.midpoint.distance[0] > 0.05
    # a mix is judged by what it is nearer to
    assert judged(0.8 * true(45) + 0.2 * CROSSFADE).is_moon.tolist() == [True]
    assert judged(0.2 * true(45) + 0.8 * CROSSFADE).is_moon.tolist() == [False]


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_no_moon(what: str) -> None:
    picture = GARBAGE[what]
    trial = judged(picture, (picture, picture))
    assert trial.is_moon.tolist() == [False] and trial.neighbours.tolist() == [0]


def test_far_from_the_crossfade_is_not_enough() -> None:
    """Nearer to a moon of the right phase than to the cross-fade, but farther than that is from a moon."""
    away = true(45) - CROSSFADE
    limit = measures.nearest_moon(CROSSFADE[None]).distance[0]
    step = away / np.sqrt((away**2).mean())
    for size, expected in ((0.5, True), (2.0, False)):
        picture = true(45) + size * limit * step
        trial = judged(picture)
        assert 15 <= trial.midpoint.phase[0] <= 75 and trial.midpoint.distance[0] < trial.to_crossfade[0]
        assert trial.is_moon.tolist() == [expected]


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (true(22), true(67), 2),
        (true(1), true(89), 2),
        (true(44), true(46), 2),
        (true(67), true(22), 0),  # moons, but not of phases between the neighbours'
        (true(0), true(45), 0),  # the neighbours themselves
        (true(45), true(90), 0),
        (true(22), true(90), 1),
        (true(45), true(67), 1),
        ((true(0) + true(45)) / 2, (true(45) + true(90)) / 2, 0),  # cross-fades of the neighbours
        (0.8 * true(22) + 0.1 * (true(0) + true(45)), true(67), 2),
        (0.2 * true(22) + 0.4 * (true(0) + true(45)), true(67), 1),
        (GARBAGE["noise"], true(67), 1),
    ],
)
def test_moons_between_neighbours_are_counted(first: np.ndarray, second: np.ndarray, count: int) -> None:
    for middle, is_moon in ((true(45), True), (CROSSFADE, False)):  # the middle has no say in it
        trial = judged(middle, (first, second))
        assert trial.is_moon.tolist() == [is_moon]
        assert trial.neighbours.tolist() == [count] and trial.pairs == 2


@pytest.mark.parametrize("name", ["FIVE_PHASES", "DENSE_PHASES", "GAP_PHASES"])
def test_true_moons_pass_and_crossfades_fail_between_the_phases_of_the_claims(name: str) -> None:
    phases = getattr(moon_trials, name)
    x = np.asarray(moon_trials.moons(phases))
    moons = moon_trials.moons([45, *((a + b) / 2 for a, b in pairwise(phases))])
    fades = np.stack([(true(0) + true(90)) / 2, *((a + b) / 2 for a, b in pairwise(x))])
    runs = np.stack([moons, fades])
    codes = np.arange(2 * len(x)).reshape(2, -1)
    trial = moon_trials.judge(codes, np.stack([x, x]), runs, x, phases)
    assert trial.pairs == len(phases) - 1
    assert trial.neighbours.tolist() == [trial.pairs, 0] and trial.is_moon.tolist() == [True, False]


def test_judging_needs_full_and_half() -> None:
    with pytest.raises(ValueError, match=r"phases is \[0, 45, 80\]; expected 90 among them"):
        moon_trials.judge(np.zeros((1, 3)), IMAGES[None], IMAGES[None], IMAGES, [0, 45, 80])


def test_index() -> None:
    assert [moon_trials.index(moon_trials.GAP_PHASES, phase) for phase in (0, 90, 170)] == [0, 4, 9]
    assert moon_trials.index([0.0, 45.5, 90.0], 45.5) == 1
    with pytest.raises(ValueError, match=r"phases is \[0, 45\]; expected 90 among them"):
        moon_trials.index([0, 45], 90)


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
    off = moon_trials.build("noise off", nnx.Rngs(0), steepness=moon_trials.STEEP, noise_sd=0.5)
    # the same network as the VAE's, number for number: only the loss differs
    jax.tree.map(np.testing.assert_array_equal, nnx.state(off, nnx.Param), nnx.state(vae, nnx.Param))
    assert moon_trials.loss_of("noise off") is moon_trials.noise_off
    unknown: Any = "GAN"
    refused = r"kind is 'GAN'; expected one of \['auto-encoder', 'noise off', 'VAE'\]"
    with pytest.raises(ValueError, match=refused):
        moon_trials.build(unknown, nnx.Rngs(0))
    with pytest.raises(ValueError, match=refused):
        moon_trials.loss_of(unknown)

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
def test_between_goes_from_full_to_half_and_then_along_the_neighbours(kind: Any) -> None:
    phases = [0, 30, 90, 120]
    x = moon_trials.moons(phases)
    model = moon_trials.build(kind, nnx.Rngs(0), steepness=moon_trials.STEEP)
    expected = [moon_trials.halfway(model, x[i], x[j]) for i, j in ((0, 2), (0, 1), (1, 2), (2, 3))]
    seen = moon_trials.between(model, x, phases)
    # a steep decoder amplifies the last bit of the code some thirtyfold
    np.testing.assert_allclose(seen, np.stack(expected), atol=1e-4)
    assert np.ptp(np.asarray(seen), axis=0).max() > 0.01  # so that a wrong order would be seen


@pytest.mark.parametrize("noise_sd", [0.5, 2.0])
def test_noise_off_is_the_loss_at_the_mean(noise_sd: float) -> None:
    """-log N(x; decoder(m), sd^2 I) + KL(N(m, exp(s)) || N(0, 1)), by hand; the key plays no part."""
    vae = moon_trials.build("VAE", nnx.Rngs(3), steepness=moon_trials.STEEP, noise_sd=noise_sd)
    x = moon_trials.moons(moon_trials.FIVE_PHASES)
    m, s = (np.asarray(part, np.float64) for part in vae.encoder(x))
    wrong = np.asarray(x, np.float64) - np.asarray(vae.decoder(jnp.asarray(m, jnp.float32)), np.float64)
    log_density = -0.5 * (wrong**2 / noise_sd**2 + np.log(2 * np.pi * noise_sd**2)).sum(1)
    kl = 0.5 * (np.exp(s) - 1 - s + m**2).sum(1)
    loss, metrics = moon_trials.noise_off(vae, x, jax.random.key(0))
    assert float(loss) == pytest.approx((kl - log_density).mean(), rel=1e-5)  # float32 sums of 576 pixels
    assert metrics == {}
    assert float(moon_trials.noise_off(vae, x, jax.random.key(1))[0]) == float(loss)
    assert float(objectives.negative_elbo(vae, x, jax.random.key(1))[0]) != float(loss)


@pytest.mark.parametrize("kind", ["auto-encoder", "noise off", "VAE"])
def test_a_small_run(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moon_trials, "STEPS", 400)
    n = 12  # as notebook 01 has: the programs are compiled once for both
    keys = jax.random.split(jax.random.key(0), n)
    trial = moon_trials.run(kind, moon_trials.FIVE_PHASES, keys=keys)
    assert trial.in_order.shape == trial.is_moon.shape == (n,)
    assert trial.in_order.dtype == trial.is_moon.dtype == np.bool_
    for values in (trial.midpoint.phase, trial.midpoint.distance, trial.to_crossfade, trial.error):
        assert values.shape == (n,) and np.isfinite(values).all()
    assert trial.pairs == 4 and trial.neighbours.shape == (n,)
    assert ((trial.neighbours >= 0) & (trial.neighbours <= 4)).all()
    assert (trial.error > 0).all() and (trial.error < 0.5).all()
    if kind == "auto-encoder":
        # 400 steps take it well below what the mean picture would give, 0.3 for these five moons
        mean_picture = measures.rms(np.mean(moon_trials.moons(moon_trials.FIVE_PHASES), 0), IMAGES).mean()
        assert (trial.error < mean_picture / 2).all()
        again = moon_trials.run(kind, moon_trials.FIVE_PHASES, keys=keys)
        np.testing.assert_array_equal(again.error, trial.error)


def test_an_interrupted_run_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    def judge(*_: Any) -> None:
        pytest.fail("half-trained models were judged")

    keys = jax.random.split(jax.random.key(0), 2)
    with monkeypatch.context() as patched:
        patched.setattr(chunks, "_stop_if_diverged", interrupt)  # called between the chunks of steps
        patched.setattr(moon_trials, "judge", judge)
        with pytest.raises(KeyboardInterrupt, match="the trial was interrupted: half-trained models"):
            moon_trials.run("auto-encoder", moon_trials.FIVE_PHASES, keys=keys)
    assert "Interrupted after step 0 of 2000" in capsys.readouterr().out


@pytest.mark.parametrize(("phases", "lacking"), [([45, 90], 0), ([0, 45], 90), ([], 0)])
def test_run_needs_full_and_half(phases: list[float], lacking: int) -> None:
    with pytest.raises(ValueError, match=rf"phases is \[.*\]; expected {lacking} among them"):
        moon_trials.run("VAE", phases, keys=jax.random.split(jax.random.key(0), 2))


@pytest.mark.parametrize("phases", [[0, 90, 45], [90, 0], [0, 45, 45, 90]])
def test_run_needs_rising_phases(phases: list[float]) -> None:
    with pytest.raises(ValueError, match=r"phases is \[.+\]; expected rising phase angles"):
        moon_trials.run("VAE", phases, keys=jax.random.split(jax.random.key(0), 2))


def test_table_says_what_was_found() -> None:
    between = np.stack(
        [[true(45), true(22), true(67)], [CROSSFADE, true(22), CROSSFADE], [true(30), CROSSFADE, true(10)]]
    )
    three = moon_trials.judge(
        np.array([[0.0, 1, 2], [0, 2, 1], [2, 1, 0]]), np.stack([IMAGES] * 3), between, IMAGES, PHASES
    )
    assert three.neighbours.tolist() == [2, 1, 0] and three.is_moon.tolist() == [True, False, True]
    one = judged(true(45), (true(22), true(67)))
    lines = moon_trials.table({"a long name": three, "b": one}).splitlines()
    assert len(lines) == 4
    assert "half-way full to half" in lines[0] and "half-way between neighbours" in lines[0]
    assert lines[1].split() == ["in", "order", "a", "moon", "phases", "to", "moon", "to", "fade", "a", "moon"]
    first, second = lines[2].split("   "), lines[3].split("   ")
    assert first[0] == "a long name" and second[0].strip() == "b"
    low, high = min(three.midpoint.phase), max(three.midpoint.phase)
    distances = [f"{np.median(values):.3f}" for values in (three.midpoint.distance, three.to_crossfade)]
    assert lines[2].split()[3:] == [
        "2/3",
        "2/3",
        f"{low}-{high}",
        *distances,
        "3",
        "of",
        "6",
        "pairs",
    ]
    assert lines[3].split()[1:4] == ["1/1", "1/1", "45-45"] and lines[3].endswith("2 of 2 pairs")
    # the columns stand under each other
    assert len({len(line.rstrip()) for line in lines[2:]}) == 1
    starts = lines[1].index("in order"), lines[1].index("a moon"), lines[1].rindex("a moon")
    assert starts[0] <= lines[2].index("2/3") < starts[0] + len("in order")
    assert starts[1] <= lines[2].rindex("2/3") < starts[1] + len("a moon")
    assert starts[1] == lines[0].index("half-way full")
    assert starts[2] == lines[2].index("3 of 6 pairs")
    for row in lines[2:]:
        assert row.index("-", 12) < lines[1].index("to moon") <= row.index("0.") < lines[1].index("to fade")
    assert lines[0].index("half-way between") == starts[2]


def test_table_of_nothing() -> None:
    with pytest.raises(ValueError, match="trials is empty"):
        moon_trials.table({})
