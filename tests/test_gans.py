"""`fit_gans`: many games side by side are those games; frames, rates, divergence, interruption."""

from __future__ import annotations

import functools
import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import adversarial, gan_training, objectives
from lecture_lib.gan_training import FittedGANs
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.objectives import GANLosses
from tests.test_gan_training import PLAIN, ctrl_c, watch
from tests.test_training import same

__all__ = ["ctrl_c"]
KEYS = jax.random.split(jax.random.key(0), 3)
DATA = np.random.default_rng(0).normal(2, 0.5, (40, 1)).astype(np.float32)


def build(rngs: nnx.Rngs) -> GAN:
    return GAN(Generator(1, 1, (), squash=None, rngs=rngs), Discriminator(1, (3,), rngs=rngs))


def fit(**options: Any) -> FittedGANs:
    """One compiled program for all that name the same `every`, `chunk`, `keep` and losses."""
    given: dict[str, Any] = {
        **{"keys": KEYS, "steps": 8, "every": 2, "chunk": 2, "batch_size": 8, "progress": None},
        **{"generator_rate": 1e-2, "discriminator_rate": 1e-2},
    }
    given = {**given, **options}
    return gan_training.fit_gans(given.pop("build", build), given.pop("data", DATA), **given)


@functools.cache
def reference() -> FittedGANs:
    return fit()


def game(tree: Any, run: int) -> Any:
    """That game's part, with the games in front."""
    return jax.tree.map(lambda a: np.asarray(a)[run], tree)


def frame(fitted: FittedGANs, i: int) -> Any:
    return jax.tree.map(lambda a: np.asarray(a)[i], fitted.kept)


def close(one: Any, other: Any, atol: float) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


# --- the same games -------------------------------------------------------------------------


def test_each_game_is_one_of_fit_gan() -> None:
    """With its key and its start; side by side they may differ in the last bits of float32."""
    rates = np.array([1e-2, 3e-3, 2e-2])
    fitted = fit(generator_rate=rates, discriminator_rate=rates[::-1], penalty=rates * 10, d_steps=2)
    for run in range(3):
        alone = gan_training.fit_gan(
            build(nnx.Rngs(jax.random.fold_in(KEYS[run], 0))),
            DATA,
            key=jax.random.fold_in(KEYS[run], 1),
            **{"steps": 8, "batch_size": 8, "progress": None, "d_steps": 2},
            **{
                "generator_rate": rates[run],
                "discriminator_rate": rates[2 - run],
                "penalty": rates[run] * 10,
            },
        )
        # Adam's first steps are of the size of the rate whatever the gradient: 16 of .02 to 1e-5 of that
        close(game(fitted.last, run), alone.last.state, 1e-5)
        close(game(fitted.history[1:], run), alone.history[1:], 1e-5)
        assert not np.allclose(fitted.history.real[run], fitted.history.real[run - 1], atol=1e-3)
    assert fitted.game == alone.game


def test_the_same_call_gives_the_same() -> None:
    again = fit()
    assert same(again[:4], reference()[:4])
    assert not same(fit(keys=KEYS[::-1]).last.generator, reference().last.generator)


def test_games_begin_as_they_are_built() -> None:
    first = frame(reference(), 0)
    for run in range(3):
        rngs = nnx.Rngs(jax.random.fold_in(KEYS[run], 0))
        _, state = adversarial.start(build(rngs))
        close(game(first, run), state, 1e-7)  # drawn side by side
    assert same(first.generator, first.averaged)


def test_neither_chunk_nor_frames_nor_what_is_kept_change_a_game() -> None:
    """Up to the last bits: it is another program, of two frames in a call."""
    fitted, whole = fit(every=4, chunk=8, keep=("generator", "steps")), reference()
    close((fitted.last, fitted.history), (whole.last, whole.history), 1e-6)
    np.testing.assert_array_equal(fitted.steps, [0, 4, 8])
    close(fitted.kept.generator, jax.tree.map(lambda a: np.asarray(a)[::2], whole.kept.generator), 1e-6)
    np.testing.assert_array_equal(fitted.kept.steps, whole.kept.steps[::2])
    absent = {"discriminator", "averaged", "generator_moments", "discriminator_moments"}
    assert {name for name in fitted.kept._fields if getattr(fitted.kept, name) is None} == absent


@pytest.mark.parametrize(
    ("frames", "every", "chunk", "found"),
    [
        *((40, 50, None, 10), (40, 50, 500, 10), (40, 50, 50, 1), (40, 50, 350, 5), (7, 2, None, 1)),
        *((4, 2, 6, 2), (0, 5, None, 1), (3, 1000, 2000, 1), (4, 1000, None, 1), (8000, 1, None, 2000)),
    ],
)
def test_frames_of_a_call_divide_all(frames: int, every: int, chunk: int | None, found: int) -> None:
    assert gan_training._frames_of_a_call(frames, every, chunk) == found


# --- frames and history ---------------------------------------------------------------------


def test_frames_are_the_ends_of_shorter_games() -> None:
    """Bit for bit, since they run the same program."""
    whole = reference()
    np.testing.assert_array_equal(whole.steps, [0, 2, 4, 6, 8])
    assert same(frame(whole, -1), whole.last)
    for i, steps in enumerate((0, 2, 4, 6)):
        short = fit(steps=steps)
        assert same(frame(whole, i), short.last)
        assert same(short.history, gan_training.GANHistory(*(v[..., :steps] for v in whole.history)))
        np.testing.assert_array_equal(whole.kept.steps[i], np.full(3, steps))
    assert not whole.interrupted and not whole.diverged.any()


def test_history_of_many_games() -> None:
    history = reference().history
    np.testing.assert_array_equal(history.step, np.arange(8))
    for values in history[1:]:
        assert values.shape == (3, 8) and isinstance(values, np.ndarray)
    assert ((history.real > 0) & (history.real < 1)).all() and len(np.unique(history.fake)) == 24


def test_no_steps() -> None:
    fitted = fit(steps=0, progress="games")
    np.testing.assert_array_equal(fitted.steps, [0])
    assert same(frame(fitted, 0), fitted.last) and same(fitted.last, frame(reference(), 0))
    assert all(values.shape == (3, 0) for values in fitted.history[1:])
    assert fitted.history.step.shape == (0,) and not fitted.interrupted
    assert fit(steps=0, losses=objectives.MINIMAX, transform=PLAIN).game.losses is objectives.MINIMAX
    assert fit(steps=0, keep=()).kept == adversarial.State(*[None] * 6)


def test_start_changes_the_first_state() -> None:
    def start(state: adversarial.State) -> adversarial.State:
        return state._replace(steps=state.steps + 5)

    np.testing.assert_array_equal(fit(start=start).kept.steps[:, 1], [5, 7, 9, 11, 13])


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    fit(progress="games")
    out = capsys.readouterr().out
    assert out.split("\r")[-1].startswith("games |") and "8/8 steps" in out


# --- each game its own rates ----------------------------------------------------------------


def test_rates_of_zero_leave_that_player_of_that_game() -> None:
    rates = {"generator_rate": [0.0, 1e-2, 1e-2], "discriminator_rate": np.array([1e-2, 0.0, 1e-2])}
    fitted = fit(**rates)
    first = frame(fitted, 0)
    for player, still in (("generator", 0), ("discriminator", 1)):
        for run in range(3):
            pair = game(getattr(first, player), run), game(getattr(fitted.last, player), run)
            assert same(*pair) == (run == still)
    assert same(game(fitted.last, 2), game(reference().last, 2))  # and the others do not hear of it


def test_a_penalty_of_each_game() -> None:
    still: dict[str, Any] = {"generator_rate": 0.0, "discriminator_rate": 0.0}
    none, some = (fit(penalty=gamma, **still).history for gamma in (0.0, (0.0, 1.0, 3.0)))
    added = some.discriminator_loss - none.discriminator_loss
    np.testing.assert_array_equal(added[0], 0)
    assert (added[1:] > 0).all() and same(some.real, none.real)


# --- divergence -----------------------------------------------------------------------------


def test_a_game_that_diverges_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate of 3e38, where float32 ends."""
    for player in ("generator_rate", "discriminator_rate"):
        fitted = fit(**{player: [1e-2, 3e38, 1e-2]}, progress="games")
        lost = fitted.diverged
        assert lost.tolist() == [False, True, False] and not fitted.interrupted
        for run in (0, 2):
            assert same(game(fitted.last, run), game(reference().last, run))
            assert same(game(fitted.history[1:], run), game(reference().history[1:], run))
        assert not np.isfinite(fitted.history.discriminator_loss[1]).all()
    assert "8/8 steps" in capsys.readouterr().out


def test_infinite_losses_are_told_without_a_warning() -> None:
    """A warning is an error in these tests: infinities are neither added nor is the mean of any taken."""
    losses = GANLosses(lambda real, fake: real.mean() * 0 + jnp.inf, lambda fake: fake.mean() * 0 - jnp.inf)
    fitted = fit(steps=2, losses=losses, transform=PLAIN, generator_rate=0.0, discriminator_rate=0.0)
    assert np.isposinf(fitted.history.discriminator_loss).all()
    assert np.isneginf(fitted.history.generator_loss).all()
    huge = float(np.finfo(np.float32).max)
    each = np.array([[1, np.inf, np.nan, huge, -np.inf], [2, np.inf, 1, huge, 3]], np.float32)
    said = tuple(adversarial.Said(loss[None], None, None) for loss in each)
    np.testing.assert_array_equal(gan_training._finite_losses(said), [[3, 0, 0, 2 * huge, 0]])


# --- interruption ---------------------------------------------------------------------------


@pytest.mark.parametrize("at", [2, 6, 8])
@pytest.mark.usefixtures("ctrl_c")
def test_interruption_keeps_what_was_learned(
    at: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames, history and last state end at the same step; the call that was running does not count."""
    watch(monkeypatch, lambda step: signal.raise_signal(signal.SIGINT) if step == at else None)
    fitted = fit()
    monkeypatch.undo()
    assert fitted.interrupted == (at < 8)
    told = f"Interrupted after step {at} of 8: the model keeps what it has learned so far.\n"
    assert capsys.readouterr().out == (told if at < 8 else "")
    np.testing.assert_array_equal(fitted.steps, np.arange(0, at + 1, 2))
    short = fit(steps=at)
    assert same(fitted.last, short.last) and same(fitted.kept, short.kept)
    assert same(fitted.history, short.history)
    assert same(frame(fitted, -1), fitted.last)


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_before_the_first_call_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    def loss(fake: Any) -> Any:
        raise KeyboardInterrupt  # while the program is being traced

    fitted = fit(losses=GANLosses(objectives.cross_entropy, loss))
    assert fitted.interrupted and fitted.steps.tolist() == [0]
    assert same(frame(fitted, 0), fitted.last) and fitted.history.real.shape == (3, 0)
    assert "after step 0 of 8" in capsys.readouterr().out


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"keys": jax.random.key(0)}, ValueError, r"^keys has shape \(\); expected \(runs,\), as jax"),
        ({"keys": KEYS[:0]}, ValueError, r"^keys has shape \(0,\)"),
        ({"keys": KEYS[None]}, ValueError, r"^keys has shape \(1, 3\)"),
        ({"keys": np.arange(3)}, TypeError, r"^keys is of type ndarray; expected an array of keys of jax"),
        ({"keys": jax.random.PRNGKey(0)}, TypeError, r"^keys is of type \w+; expected an array of keys"),
        ({"keys": list(KEYS)}, TypeError, r"^keys is of type list; expected an array of keys"),
        ({"steps": -2}, ValueError, r"^steps is -2; expected at least 0"),
        ({"steps": 8.0}, TypeError, r"^steps is 8\.0 of type float; expected a whole number"),
        ({"steps": 7}, ValueError, r"^steps is 7; expected a multiple of every, 2"),
        ({"every": 16, "chunk": 16}, ValueError, r"^steps is 8; expected a multiple of every, 16"),
        ({"every": 0}, ValueError, r"^every is 0; expected from 1 to 2000"),
        ({"every": 2001}, ValueError, r"^every is 2001; expected from 1 to 2000"),
        ({"every": 2.0}, TypeError, r"^every is 2\.0"),
        ({"chunk": 3}, ValueError, r"^chunk is 3; expected a multiple of every, 2"),
        ({"chunk": 0}, ValueError, r"^chunk is 0; expected from 1 to 2000"),
        ({"chunk": 2002}, ValueError, r"^chunk is 2002"),
        ({"batch_size": 41}, ValueError, r"^batch_size is 41, larger than the data"),
        ({"batch_size": 0}, ValueError, r"^batch_size is 0; expected at least 1"),
        ({"d_steps": 0}, ValueError, r"^d_steps is 0; expected at least 1"),
        ({"d_steps": 1.5}, TypeError, r"^d_steps is 1\.5"),
        (
            {"generator_rate": [1e-2, -1.0, 0.0]},
            ValueError,
            r"^generator_rate is \[.+; expected a number of at",
        ),
        ({"discriminator_rate": -1.0}, ValueError, r"^discriminator_rate is -1\.0; expected a number of at"),
        ({"generator_rate": np.nan}, ValueError, r"^generator_rate has 1 of 1 values .+ not finite"),
        ({"penalty": -0.1}, ValueError, r"^penalty is -0\.1; expected"),
        ({"penalty": np.ones(2)}, ValueError, r"^penalty has shape \(2,\); expected one number or \(3,\)"),
        (
            {"generator_rate": np.ones((3, 1))},
            ValueError,
            r"^generator_rate has shape \(3, 1\); expected one",
        ),
        (
            {"discriminator_rate": [1.0]},
            ValueError,
            r"^discriminator_rate has shape \(1,\); expected one num",
        ),
        (
            {"keep": ("generator", "opinions")},
            ValueError,
            r"^keep has \['opinions'\]; expected fields of adv",
        ),
        ({"data": DATA[:, 0]}, ValueError, r"^data has shape \(40,\); expected \(n, 1\)"),
        ({"data": np.full((40, 1), np.inf, np.float32)}, ValueError, r"^data has 40 of 40"),
        ({"data": np.ones((40, 1), int)}, TypeError, r"^data has dtype int32; expected floating-point"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        fit(**options)
