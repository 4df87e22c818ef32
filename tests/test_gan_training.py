"""`fit_gan`: no matter the chunks and snapshots, who learns how often, interruption, divergence."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import special, stats

from lecture_lib import adversarial, chunks, gan_training, objectives, training
from lecture_lib.gan_training import FittedGAN
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.objectives import GANLosses
from tests.gans import pictures, tiny
from tests.test_training import same

KEY = jax.random.key(0)
DATA = pictures(40)


def fit(**options: Any) -> FittedGAN:
    """One compiled program for most tests: rates, steps of D, penalty and weights are not compiled in."""
    given: dict[str, Any] = {
        **{"gan": tiny(), "data": DATA, "key": KEY, "steps": 60, "batch_size": 8},
        **{"generator_rate": 5e-3, "discriminator_rate": 5e-3, "progress": None},
    }
    return gan_training.fit_gan(**{**given, **options})


@pytest.fixture(scope="module")
def reference() -> FittedGAN:
    return fit(snapshots=(60, 0, 10), chunk=2000)


def weights(model: nnx.Module) -> Any:
    return nnx.state(model, nnx.Param)


# --- the same key gives the same ------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "snapshots"), [(1, ()), (7, (10,)), (None, (59, 1)), (59, range(61)), (60, (0, 10, 60))]
)
def test_result_depends_neither_on_the_chunk_nor_on_the_snapshots(
    reference: FittedGAN, chunk: int | None, snapshots: Any
) -> None:
    fitted = fit(chunk=chunk, snapshots=snapshots)
    assert same(fitted.last.state, reference.last.state)
    assert same(fitted.history, reference.history)
    assert [s.step for s in fitted.snapshots] == sorted(snapshots)
    kept = {s.step: s.state for s in fitted.snapshots}
    for s in reference.snapshots:
        if s.step in kept:
            assert same(kept[s.step], s.state)


def test_other_key_other_result(reference: FittedGAN) -> None:
    fitted = fit(key=jax.random.key(1))
    assert not same(fitted.last.state, reference.last.state)
    assert not same(fitted.history.discriminator_loss, reference.history.discriminator_loss)


def test_snapshots_are_the_ends_of_shorter_games(reference: FittedGAN) -> None:
    first, tenth, last = reference.snapshots
    assert [s.step for s in reference.snapshots] == [0, 10, 60]
    assert same(first.state, adversarial.start(tiny())[1])
    assert same(weights(first.gan), weights(tiny()))
    short = fit(steps=10)
    assert short.last.step == 10 and short.snapshots == ()
    assert same(tenth.state, short.last.state)
    assert same(last.state, reference.last.state) and reference.last.step == 60
    assert not same(first.state, tenth.state) and not same(tenth.state, last.state)
    for s in (first, tenth, last):
        assert same(weights(s.gan.generator), s.state.generator)
        assert same(weights(s.gan.discriminator), s.state.discriminator)
        assert same(weights(s.averaged), s.state.averaged)
    assert not reference.interrupted
    assert reference.game == adversarial.start(tiny())[0]


def test_models_share_nothing(reference: FittedGAN) -> None:
    """Players handed in stay as they were, also where they are the first snapshot; so do states."""
    gan = tiny()
    fitted = fit(gan=gan, snapshots=(0, 10))
    assert same(weights(gan), weights(tiny()))
    before = [np.asarray(leaf) for s in fitted.snapshots for leaf in jax.tree.leaves(s.state)]
    for s in (*fitted.snapshots, fitted.last):
        s.gan.generator.decoder.layers.layers[0].bias[...] = jnp.full(8, 7.0)
        s.gan.discriminator.layers.layers[0].bias[...] = jnp.full(8, 7.0)
    assert same(weights(gan), weights(tiny()))
    assert same([leaf for s in fitted.snapshots for leaf in jax.tree.leaves(s.state)], before)
    assert same(weights(fitted.snapshots[0].averaged), weights(tiny().generator))
    assert same(fitted.last.state, reference.last.state)


def test_nor_does_the_model_of_fit_after_no_step() -> None:
    model = tiny().discriminator
    fitted = training.fit(model, lambda *_: (0.0, {}), DATA, key=KEY, steps=0, progress=None)
    fitted.model.layers.layers[0].bias[...] = jnp.full(8, 7.0)
    assert same(weights(model), weights(tiny().discriminator))


def test_data_of_any_kind(reference: FittedGAN) -> None:
    assert same(fit(data=DATA.astype(np.float64)).last.state, reference.last.state)
    # whole numbers: nothing is rounded
    one, other = (drawn(np.arange(10), dtype, steps=5).history for dtype in (np.float16, np.float32))
    assert same(one, other) and len(set(one.discriminator_loss)) > 1


# --- steps and rates ------------------------------------------------------------------------


def updates(state: Any) -> tuple[int, int]:
    """Of D and of G, as Adam counts them."""
    return int(state.discriminator_moments.count), int(state.generator_moments.count)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_d_learns_k_times_a_step(k: int) -> None:
    fitted = fit(d_steps=k, snapshots=(0, 10))
    assert [updates(s.state) for s in fitted.snapshots] == [(0, 0), (10 * k, 10)]
    assert updates(fitted.last.state) == (60 * k, 60)
    assert int(fitted.last.state.steps) == 60
    assert all(values.shape == (60,) for values in fitted.history)


def test_rate_of_zero_leaves_d() -> None:
    """And then G hears nothing of the data: D alone looks at them."""
    one, other = (fit(data=data, discriminator_rate=0.0) for data in (DATA, pictures(40, seed=1)))
    assert same(one.last.state.discriminator, adversarial.start(tiny())[1].discriminator)
    assert same(one.last.state.generator, other.last.state.generator)
    assert same(one.history.generator_loss, other.history.generator_loss)
    assert same(one.history.fake, other.history.fake)
    assert not same(one.history.discriminator_loss, other.history.discriminator_loss)
    assert one.history.generator_loss[-1] < one.history.generator_loss[0]
    assert not same(one.last.state.generator, adversarial.start(tiny())[1].generator)


def test_rate_of_zero_leaves_g() -> None:
    fitted = fit(generator_rate=0.0)
    assert same(fitted.last.state.generator, adversarial.start(tiny())[1].generator)
    loss = fitted.history.discriminator_loss
    assert loss[-10:].mean() < loss[:10].mean()


def test_no_steps(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = fit(steps=0, snapshots=[0], progress="training")
    assert fitted.last.step == 0 and [s.step for s in fitted.snapshots] == [0]
    assert same(fitted.last.state, adversarial.start(tiny())[1])
    assert all(values.shape == (0,) for values in fitted.history) and not fitted.interrupted
    assert fit(steps=0, losses=objectives.MINIMAX).game.losses is objectives.MINIMAX
    assert fit(steps=0).snapshots == () and capsys.readouterr().out == ""


def falling(share: Any) -> Any:
    """A course of its own for each quarter; kept outside the tests, since a new one is compiled anew."""
    return jnp.where(share < 0.25, 1.0, jnp.where(share < 0.75, 0.5, 0.0))


def test_schedule_is_the_course_of_both_rates() -> None:
    """D's bias falls by the rate in each of k updates, G's by D's slope: 4 whole steps of 16, 8 half ones."""
    losses = GANLosses(DRAWN.discriminator, lambda fake: fake.mean())
    options: dict[str, Any] = {"gan": line(w=0.25), "losses": losses, "schedule": falling, "steps": 16}
    for chunk, k in ((16, 1), (3, 2), (None, 1)):
        rates = {"discriminator_rate": 0.5, "generator_rate": 2.0, "d_steps": k, "chunk": chunk}
        fitted = drawn(np.zeros(10), **options, **rates)
        d: Any = fitted.last.gan.discriminator.layers.layers[0]
        g: Any = fitted.last.gan.generator.decoder.layers.layers[0]
        assert float(d.bias[0]) == -0.5 * k * (4 + 0.5 * 8)  # halves: nothing is rounded
        assert float(d.kernel[0, 0]) == 0.25  # data of 0
        assert float(g.bias[0]) == -2 * 0.25 * (4 + 0.5 * 8)
        steps = np.concatenate([np.ones(4), np.full(8, 0.5), np.zeros(4)])
        biases = -0.5 * k * (np.cumsum(steps) - steps) - 0.5 * (k - 1) * steps  # before the last update
        np.testing.assert_array_equal(fitted.history.discriminator_loss, biases)


def test_a_constant_schedule_is_none(reference: FittedGAN) -> None:
    assert same(fit(schedule=training.constant).last.state, reference.last.state)


# --- history --------------------------------------------------------------------------------


def test_history_of_players_that_stand_still() -> None:
    """D says sigmoid(0.7) to all: both losses are in closed form, and R1 is 0."""
    gan = tiny()
    for layer in (gan.discriminator.layers.layers[0], gan.discriminator.layers.layers[2]):
        layer.kernel[...] = jnp.zeros_like(layer.kernel[...])
    gan.discriminator.layers.layers[2].bias[...] = jnp.array([0.7])
    rates = {"generator_rate": 0.0, "discriminator_rate": 0.0}
    history = fit(gan=gan, steps=10, penalty=3.0, **rates).history
    np.testing.assert_array_equal(history.step, np.arange(10))
    for values, expected in (
        (history.discriminator_loss, np.logaddexp(0, -0.7) + np.logaddexp(0, 0.7)),
        (history.generator_loss, np.logaddexp(0, -0.7)),
        (history.real, special.expit(0.7)),
        (history.fake, special.expit(0.7)),
    ):
        assert values.shape == (10,) and isinstance(values, np.ndarray) and values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_history_is_of_before_the_update(reference: FittedGAN) -> None:
    """The first row of D does not know its rate, and that of G knows D's but not its own."""
    slow = fit(steps=1, generator_rate=0.0, discriminator_rate=0.0).history
    quick = reference.history
    for name in ("discriminator_loss", "real", "fake"):
        assert getattr(slow, name)[0] == pytest.approx(getattr(quick, name)[0], rel=1e-6)
    no_g = fit(steps=1, generator_rate=0.0).history
    assert same(no_g.generator_loss[0], quick.generator_loss[0])
    assert abs(slow.generator_loss[0] - quick.generator_loss[0]) > 1e-3


def test_history_has_the_penalty_in_it() -> None:
    still = {"steps": 5, "generator_rate": 0.0, "discriminator_rate": 0.0}
    none, one, two = (fit(penalty=gamma, **still).history for gamma in (0.0, 1.0, 2.0))
    first, second = (h.discriminator_loss - none.discriminator_loss for h in (one, two))
    assert first.min() > 0.1
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
    assert same(none.generator_loss, two.generator_loss) and same(none.real, two.real)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    fit(progress="digits")
    out = capsys.readouterr().out
    assert out.split("\r")[-1].startswith("digits |") and "60/60 steps" in out
    fit()
    assert capsys.readouterr().out == ""


# --- batches --------------------------------------------------------------------------------

DRAWN = GANLosses(lambda real, fake: real.mean() + 0 * fake.mean(), lambda fake: 0 * fake.mean())
"""D's loss is its mean logit of the real x; G has nothing to learn."""
PLAIN = optax.identity()


def line(w: float = 1.0, b: float = 0.0) -> GAN:
    """D(x) = w x + b of numbers x; G is a line, too."""
    g, d = Generator(1, 1, (), squash=None, rngs=nnx.Rngs(0)), Discriminator(1, (), rngs=nnx.Rngs(0))
    layer: Any = d.layers.layers[0]
    layer.kernel[...], layer.bias[...] = jnp.array([[w]]), jnp.array([b])
    return GAN(g, d)


def drawn(data: Any, dtype: Any = np.float32, **options: Any) -> FittedGAN:
    given: dict[str, Any] = {
        **{"batch_size": 1, "penalty": 0.0, "losses": DRAWN, "transform": PLAIN},
        **{"generator_rate": 0.0, "discriminator_rate": 0.0},
    }
    data = np.asarray(data, dtype)[:, None]
    return fit(**{"gan": line(), "data": data, **given, **options})


def test_batches_are_uniform_and_independent() -> None:
    """False alarms, over keys: 1e-6 each."""
    rows = drawn(np.arange(10), steps=2000).history.discriminator_loss.astype(int)
    assert stats.chisquare(np.bincount(rows, minlength=10)).pvalue > 1e-6
    following = np.bincount(rows[:-1] * 10 + rows[1:], minlength=100)
    assert stats.chisquare(following).pvalue > 1e-6


def test_each_of_the_k_updates_has_its_own_batch() -> None:
    """The slope of D falls by the sum of all x drawn: of 16 coins, not 16 times one (false alarm 2^-15)."""
    fitted = drawn([0, 1] * 5, steps=1, d_steps=16, discriminator_rate=1.0)
    layer: Any = fitted.last.gan.discriminator.layers.layers[0]
    assert 1 - float(layer.kernel[0, 0]) in range(1, 16)
    assert float(layer.bias[0]) == -16  # and every update counts


def test_nothing_is_compiled_anew() -> None:
    """Not by other players, rates, steps of D, penalties, numbers of steps, chunks or snapshots."""
    traces = []

    def loss(real: Any, fake: Any) -> Any:
        traces.append(1)
        return real.mean() - fake.mean()

    losses = GANLosses(loss, DRAWN.generator)
    drawn(np.arange(10), steps=2, losses=losses)
    first = len(traces)
    drawn(np.arange(10), steps=5, losses=losses, gan=line(2.0), d_steps=3, penalty=0.2, chunk=2)
    drawn(np.ones(10), steps=9, losses=losses, generator_rate=0.1, discriminator_rate=0.2, snapshots=(3,))
    assert len(traces) == first > 0


# --- it learns ------------------------------------------------------------------------------


def test_a_line_learns_mean_and_spread_of_a_gaussian() -> None:
    """G(z) = a z + c for data from N(2, 0.5^2): c is to be the mean, |a| the standard deviation.

    Over the seeds 0 to 29 the averaged G ended within 0.01 of the mean, and with |a| from 0.37 to 0.52.
    """
    data = np.random.default_rng(0).normal(2, 0.5, size=(2000, 1)).astype(np.float32)
    for seed in range(3):
        gan = GAN(
            Generator(1, 1, (), squash=None, rngs=nnx.Rngs(seed)),
            Discriminator(1, (16,), rngs=nnx.Rngs(100 + seed)),
        )
        rates = {"generator_rate": 1e-2, "discriminator_rate": 1e-2, "penalty": 0.3}
        fitted = fit(gan=gan, data=data, key=jax.random.key(seed), steps=2000, batch_size=64, **rates)
        layer: Any = fitted.last.averaged.decoder.layers.layers[0]
        assert float(layer.bias[0]) == pytest.approx(float(data.mean()), abs=0.06)
        assert 0.3 < abs(float(layer.kernel[0, 0])) < 0.65
        # and D, which told them apart at first, is left with little
        real, fake = fitted.history.real[-200:].mean(), fitted.history.fake[-200:].mean()
        assert real - fake < 0.1 < np.max(fitted.history.real - fitted.history.fake)


# --- interruption ---------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handling of SIGINT, whatever the test runner has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def watch(monkeypatch: pytest.MonkeyPatch, seen: Callable[[int], None]) -> None:
    """Called where the progress bar is moved."""

    @contextmanager
    def bar(label: Any, steps: int) -> Any:
        yield lambda step, loss: seen(step)

    monkeypatch.setattr(chunks, "_bar", bar)


@pytest.mark.parametrize("at", [20, 30, 60])
@pytest.mark.usefixtures("ctrl_c")
def test_interruption_keeps_what_was_learned(
    reference: FittedGAN, at: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(step: int) -> None:
        if step == at:
            signal.raise_signal(signal.SIGINT)

    watch(monkeypatch, seen)
    fitted = fit(chunk=10, snapshots=(0, 10, 30, 60))
    monkeypatch.undo()
    assert fitted.interrupted == (at < 60)
    told = f"Interrupted after step {at} of 60: the model keeps what it has learned so far.\n"
    assert capsys.readouterr().out == (told if at < 60 else "")
    assert fitted.last.step == at
    assert same(fitted.last.state, fit(steps=at).last.state)
    assert same(fitted.history, gan_training.GANHistory(*(values[:at] for values in reference.history)))
    # the chunk that was back when it came counts
    assert [s.step for s in fitted.snapshots] == [step for step in (0, 10, 30, 60) if step <= at]
    for s in fitted.snapshots:
        assert same(s.state, fit(steps=s.step).last.state)
    # and the game can go on from there
    x = jnp.asarray(DATA[:8])
    on, _ = jax.jit(lambda state: fitted.game.discriminator_step(state, x, KEY, rate=0.1, penalty=0.1))(
        fitted.last.state
    )
    assert updates(on) == (at + 1, at)


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_from_outside_at_any_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another thread interrupts, wherever the main one is; the result is that of a game so long."""
    steps, going = 1_000_000, threading.Event()

    def interrupt() -> None:
        going.wait(120)
        _thread.interrupt_main()

    watch(monkeypatch, lambda step: going.set() if step >= 50 else None)
    thread = threading.Thread(target=interrupt)
    thread.start()
    fitted = fit(steps=steps, chunk=10, snapshots=(0, 10, 50, steps))
    thread.join()
    monkeypatch.undo()
    done = fitted.last.step
    assert fitted.interrupted and 50 <= done < steps and done % 10 == 0
    assert capsys.readouterr().out.startswith(f"Interrupted after step {done} of {steps}:")
    assert [s.step for s in fitted.snapshots] == [0, 10, 50]
    short = fit(steps=done)
    assert same(fitted.last.state, short.last.state)
    assert same(fitted.history, short.history)


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_before_the_first_chunk_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    def loss(fake: Any) -> Any:
        raise KeyboardInterrupt  # while the program is being traced

    fitted = drawn(np.arange(10), losses=GANLosses(DRAWN.discriminator, loss), snapshots=(0, 5))
    assert fitted.interrupted and fitted.last.step == 0 and [s.step for s in fitted.snapshots] == [0]
    assert same(weights(fitted.last.gan), weights(line()))
    assert all(values.shape == (0,) for values in fitted.history)
    assert "after step 0 of 60" in capsys.readouterr().out


# --- divergence -----------------------------------------------------------------------------


def cliff(real: Any, fake: Any) -> Any:
    """With data of 0 it is D's bias, until that has come down to 3."""
    loss = real.mean() + 0 * fake.mean()
    return jnp.where(loss <= 3, jnp.nan, loss)


def test_divergence_names_its_step_and_the_last_finite_loss() -> None:
    """b = 10, 9, ...: at step 7 it has reached the edge; the loss before that was 4, of D and G together."""
    losses = GANLosses(cliff, DRAWN.generator)
    options: dict[str, Any] = {"gan": line(b=10.0), "losses": losses, "discriminator_rate": 1.0}
    fitted = drawn(np.zeros(10), steps=7, **options)
    np.testing.assert_array_equal(fitted.history.discriminator_loss, [10, 9, 8, 7, 6, 5, 4])
    for chunk, snapshots in ((1, ()), (3, (5,)), (None, (7, 8))):
        with pytest.raises(FloatingPointError) as caught:
            drawn(np.zeros(10), steps=50, chunk=chunk, snapshots=snapshots, **options)
        assert str(caught.value) == (
            "training diverged: the loss is not finite at step 7; the last finite loss was 4. "
            "Try a smaller learning rate."
        )


@pytest.mark.parametrize("player", ["generator_rate", "discriminator_rate"])
def test_divergence_of_the_weights_in_the_last_update(player: str) -> None:
    """A rate beyond float32; G's loss comes after D's update, and tells at once."""
    what = "the weights are" if player == "generator_rate" else "the loss is"
    with pytest.raises(FloatingPointError, match=f"training diverged: {what} not finite at step 0"):
        fit(steps=1, **{player: 1e39})


# --- what is refused ------------------------------------------------------------------------


def nan_at(*index: int) -> np.ndarray:
    data = DATA.copy()
    data[index] = np.nan
    return data


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"steps": -1}, ValueError, r"^steps is -1; expected at least 0"),
        ({"steps": 10.0}, TypeError, r"^steps is 10\.0 of type float; expected a whole number"),
        ({"batch_size": 0}, ValueError, r"^batch_size is 0; expected at least 1"),
        ({"batch_size": 2.0}, TypeError, r"^batch_size is 2\.0"),
        ({"batch_size": None}, TypeError, r"^batch_size is None"),
        (
            {"batch_size": 41},
            ValueError,
            r"^batch_size is 41, larger than the data \(40 examples\); use at most 40",
        ),
        ({"d_steps": 0}, ValueError, r"^d_steps is 0; expected at least 1"),
        ({"d_steps": 1.5}, TypeError, r"^d_steps is 1\.5"),
        ({"generator_rate": -1e-3}, ValueError, r"^generator_rate is -0\.001; expected a number of at least"),
        ({"discriminator_rate": -1.0}, ValueError, r"^discriminator_rate is -1\.0; expected a number of at"),
        ({"generator_rate": float("nan")}, ValueError, r"^generator_rate has 1 of 1 values .+ not finite"),
        ({"discriminator_rate": float("inf")}, ValueError, r"^discriminator_rate has 1 of 1"),
        ({"penalty": -0.1}, ValueError, r"^penalty is -0\.1; expected a number of at least 0"),
        ({"snapshots": [3, 61]}, ValueError, r"^snapshots is 61; expected from 0 to 60"),
        ({"snapshots": [-1]}, ValueError, r"^snapshots is -1; expected from 0 to 60"),
        ({"snapshots": [2.5]}, TypeError, r"^snapshots is 2\.5 of type float"),
        ({"chunk": 0}, ValueError, r"^chunk is 0; expected from 1 to 2000"),
        ({"chunk": 2001}, ValueError, r"^chunk is 2001"),
        ({"data": DATA[:, :3]}, ValueError, r"^data has shape \(40, 3\); expected \(n, 4\)"),
        ({"data": DATA.reshape(-1)}, ValueError, r"^data has shape \(160,\); expected \(n, 4\)"),
        ({"data": DATA.reshape(40, 2, 2)}, ValueError, r"^data has shape \(40, 2, 2\); expected \(n, 4\)"),
        ({"data": nan_at(3, 1)}, ValueError, r"^data has 1 of 160 .+ \(first at index \(3, 1\)\)"),
        ({"data": np.ones((40, 4), np.uint8)}, TypeError, r"^data has dtype uint8; expected floating-point"),
        ({"data": np.ones((40, 4), int)}, TypeError, r"^data has dtype int32; expected floating-point"),
        ({"data": DATA[:0]}, ValueError, r"^data is empty; expected at least one example"),
        ({"data": np.float32(3)}, ValueError, r"^data has shapes \[\(\)\]"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        fit(**options)
