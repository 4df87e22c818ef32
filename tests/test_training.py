"""`fit`: that it learns, repeats itself bit for bit, survives interruption and says where it diverged."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from lecture_lib import chunks, objectives, training
from lecture_lib.networks import VAE, Autoencoder

ROOT = Path(__file__).resolve().parent.parent
SGD = optax.identity()
KEY = jax.random.key(0)


class Line(nnx.Module):
    """y = x w + b."""

    def __init__(self, inputs: int, w: float = 0.0):
        self.w = nnx.Param(jnp.full((inputs,), w))
        self.b = nnx.Param(jnp.zeros(()))


class Number(nnx.Module):
    """One parameter, and one number that must stay as it is."""

    def __init__(self, w: float):
        self.w = nnx.Param(jnp.float32(w))
        self.count = nnx.Variable(jnp.float32(7))


def square(model: Line, batch: Any, key: Any) -> Any:
    x, y = batch
    loss = ((x @ model.w[...] + model.b[...] - y) ** 2).mean()
    return loss, {"w0": model.w[0]}


def slide(model: Number, batch: Any, key: Any) -> Any:
    """Gradient 1: with SGD, a constant rate of 1 and w = w0, the loss at step i is w0 - i."""
    return model.w[...], {"count": model.count[...]}


def cliff(model: Number, batch: Any, key: Any, *, edge: Any = 3.0) -> Any:
    """As `slide`, until w falls to the edge."""
    return jnp.where(model.w[...] <= edge, jnp.nan, model.w[...]), {}


def regression(n: int = 40, inputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, inputs)).astype(np.float32)
    return x, (x @ np.arange(1, inputs + 1) - 0.5 + rng.normal(0, 0.3, n)).astype(np.float32)


def sliding(w: float, loss: Any = slide, *, steps: int, **options: Any) -> Any:
    given = {"learning_rate": 1.0, "schedule": training.constant, "transform": SGD, "progress": None}
    return training.fit(Number(w), loss, jnp.zeros(1), key=KEY, steps=steps, **{**given, **options})


def arrays(model: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    a, b = jax.tree.map(np.asarray, one), jax.tree.map(np.asarray, other)
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in leaves)


def vae() -> VAE:
    return VAE(6, 1, (8,), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images() -> Any:
    return jnp.asarray(np.random.default_rng(0).uniform(size=(12, 6)).astype(np.float32))


# --- it learns ------------------------------------------------------------------------------


def test_linear_regression_reaches_the_closed_form() -> None:
    x, y = regression()
    fitted = training.fit(Line(3), square, (x, y), key=KEY, steps=2000, learning_rate=0.05, progress=None)
    exact, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]).astype(np.float64), y, rcond=None)
    # a well-conditioned quadratic and a rate that falls to 0: float32 rounding of the gradient is left
    np.testing.assert_allclose(fitted.model.w[...], exact[:3], atol=1e-3)
    assert float(fitted.model.b[...]) == pytest.approx(exact[3], abs=1e-3)
    assert fitted.history.loss[-1] < fitted.history.loss[0] / 10


def test_mini_batches_reach_the_closed_form_too() -> None:
    x, y = regression(200)
    fitted = training.fit(
        Line(3), square, (x, y), key=KEY, steps=4000, batch_size=20, learning_rate=0.02, progress=None
    )
    exact, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]).astype(np.float64), y, rcond=None)
    # noise of the last steps: residual 0.3, batches of 20, rate falling to 0. 0.02 is a tenth of the noise of
    # the data itself in a batch, 0.3 / sqrt(20), times three
    np.testing.assert_allclose(fitted.model.w[...], exact[:3], atol=0.02)


def numpy_adam(
    x: np.ndarray, y: np.ndarray, steps: int, rate: float, factor: Callable[[float], float]
) -> tuple[np.ndarray, list[float]]:
    """Kingma and Ba (2015), algorithm 1, in float64, on the regression from zero weights."""
    design = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    w, m, v, losses = np.zeros(design.shape[1]), 0.0, 0.0, []
    for i in range(steps):
        residual = design @ w - y
        losses.append(float((residual**2).mean()))
        g = 2 * design.T @ residual / len(y)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = m / (1 - 0.9 ** (i + 1)) / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8)
        w = w - rate * factor(i / steps) * step
    return w, losses


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        (training.constant, lambda share: 1.0),
        (training.cosine, lambda share: (1 + np.cos(np.pi * share)) / 2),
    ],
)
def test_steps_are_those_of_adam_written_out(schedule: Any, factor: Callable[[float], float]) -> None:
    x, y = regression()
    fitted = training.fit(
        Line(3), square, (x, y), key=KEY, steps=60, learning_rate=0.03, schedule=schedule, progress=None
    )
    w, losses = numpy_adam(x, y, 60, 0.03, factor)
    # 60 float32 steps of 0.03: rounding 6e-8 each, and that of Adam's quotient where it starts
    np.testing.assert_allclose([*fitted.model.w[...], fitted.model.b[...]], w, atol=2e-5)
    np.testing.assert_allclose(fitted.history.loss, losses, rtol=1e-4)


def test_loss_is_taken_before_the_update() -> None:
    fitted = sliding(10.0, steps=5)
    np.testing.assert_array_equal(fitted.history.loss, [10, 9, 8, 7, 6])
    np.testing.assert_array_equal(fitted.history.step, [0, 1, 2, 3, 4])
    assert float(fitted.model.w[...]) == 5
    np.testing.assert_array_equal(fitted.history.metrics["count"], [7] * 5)


def test_schedules() -> None:
    share = np.linspace(0, 1, 11)
    np.testing.assert_allclose(training.cosine(share), (1 + np.cos(np.pi * share)) / 2, atol=1e-6)
    assert training.cosine(0.0) == 1
    np.testing.assert_array_equal(training.constant(share), np.ones(11))
    # the last of n steps has share (n - 1) / n, so the sum of factors is (n + 1) / 2
    fitted = sliding(0.0, steps=10, schedule=training.cosine)
    assert float(fitted.model.w[...]) == pytest.approx(-5.5, abs=1e-5)  # float32


def test_vae_and_auto_encoder_learn(images: Any) -> None:
    ae = Autoencoder(6, 1, (8,), rngs=nnx.Rngs(0))
    for model, loss, names in (
        (vae(), objectives.negative_elbo, {"reconstruction", "kl", "sd"}),
        (ae, objectives.squared_error, set()),
    ):
        fitted = training.fit(model, loss, images, key=KEY, steps=300, progress=None)
        history = fitted.history
        assert set(history.metrics) == names
        for values in (history.step, history.loss, *history.metrics.values()):
            assert values.shape == (300,) and isinstance(values, np.ndarray)
        assert history.loss[-20:].mean() < history.loss[:20].mean()
        assert not fitted.interrupted and isinstance(fitted.model, type(model))


# --- the same key gives the same ------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(images: Any) -> Any:
    return training.fit(
        vae(), objectives.negative_elbo, images, key=KEY, steps=150, batch_size=5, chunk=2000, progress=None
    )


@pytest.mark.parametrize("chunk", [1, 7, None, 149, 150])
def test_result_does_not_depend_on_the_chunk(reference: Any, images: Any, chunk: int | None) -> None:
    seen: list[int] = []
    fitted = training.fit(
        vae(),
        objectives.negative_elbo,
        images,
        key=KEY,
        steps=150,
        batch_size=5,
        chunk=chunk,
        progress=None,
        on_chunk=(lambda p: seen.append(p.step)) if chunk == 7 else None,
    )
    assert same(arrays(fitted.model), arrays(reference.model))
    assert same(fitted.history, reference.history)
    assert seen == ([*range(7, 150, 7), 150] if chunk == 7 else [])


def test_other_key_other_result(reference: Any, images: Any) -> None:
    fitted = training.fit(
        vae(),
        objectives.negative_elbo,
        images,
        key=jax.random.key(1),
        steps=150,
        batch_size=5,
        progress=None,
    )
    assert not same(arrays(fitted.model), arrays(reference.model))
    assert not same(fitted.history.loss, reference.history.loss)


def test_model_handed_in_is_left_as_it_was(images: Any) -> None:
    model = vae()
    before = arrays(model)
    fitted = training.fit(model, objectives.negative_elbo, images, key=KEY, steps=20, progress=None)
    assert same(arrays(model), before)
    assert not same(arrays(fitted.model), before)
    fitted.model.noise_log_var[...] = jnp.float32(-1)
    assert same(arrays(model), before)


def test_key_of_the_loss_is_new_at_every_step() -> None:
    def loss(model: Number, batch: Any, key: Any) -> Any:
        return model.w[...], {"u": jax.random.uniform(key), "bits": jax.random.bits(key)}

    metrics = sliding(0.0, loss, steps=500).history.metrics
    # false alarms, over keys: two of 500 draws of 32 bits agree with probability 3e-5; KS 1e-6
    assert len(np.unique(metrics["bits"])) == 500
    assert stats.kstest(metrics["u"], stats.uniform.cdf).pvalue > 1e-6


# --- batches --------------------------------------------------------------------------------


def rows_drawn(n: int, batch_size: int, steps: int) -> np.ndarray:
    """Which rows each step drew, shape (steps, batch_size)."""

    def loss(model: Number, batch: Any, key: Any) -> Any:
        rows, twins = batch
        seen = {f"row{i}": rows[i] for i in range(batch_size)}
        return model.w[...], {**seen, "torn": jnp.abs(rows - twins).max()}

    rows = jnp.arange(n, dtype=jnp.float32)
    fitted = training.fit(
        Number(0.0), loss, (rows, rows), key=KEY, steps=steps, batch_size=batch_size, progress=None
    )
    metrics = fitted.history.metrics
    assert (metrics["torn"] == 0).all()  # all arrays of the data get the same rows
    return np.stack([metrics[f"row{i}"] for i in range(batch_size)], axis=-1).astype(int)


def test_batches_are_uniform_and_with_replacement() -> None:
    """False alarms, over keys: 1e-6 each."""
    rows = rows_drawn(10, 3, 2000)
    assert stats.chisquare(np.bincount(rows.ravel(), minlength=10)).pvalue > 1e-6
    pairs = np.bincount(rows[:, 0] * 10 + rows[:, 1], minlength=100)
    assert stats.chisquare(pairs).pvalue > 1e-6  # uniform over pairs: independent, repeats included
    following = np.bincount(rows[:-1, 0] * 10 + rows[1:, 0], minlength=100)
    assert stats.chisquare(following).pvalue > 1e-6  # and from one step to the next


def test_batch_as_large_as_the_data_is_still_drawn() -> None:
    rows = rows_drawn(4, 4, 50)
    assert any(len(set(row)) < 4 for row in rows)
    assert set(rows.ravel()) == {0, 1, 2, 3}


def test_loss_on_batches_is_unbiased() -> None:
    """Mean of the batch loss at a model that stands still, within 5 standard errors: 6e-7, over keys."""
    x, y = regression(200)
    fitted = training.fit(
        Line(3), square, (x, y), key=KEY, steps=4000, batch_size=20, learning_rate=1e-30, progress=None
    )
    losses = fitted.history.loss.astype(np.float64)
    assert abs(losses.mean() - (y.astype(np.float64) ** 2).mean()) < 5 * losses.std() / 4000**0.5


def test_no_batch_size_takes_all_in_order() -> None:
    def loss(model: Number, batch: Any, key: Any) -> Any:
        return model.w[...], {"in_order": (batch == jnp.arange(9.0)).all().astype(jnp.float32)}

    fitted = training.fit(Number(0.0), loss, jnp.arange(9.0), key=KEY, steps=5, progress=None)
    assert (fitted.history.metrics["in_order"] == 1).all()


# --- steps, hyper, on_chunk, progress --------------------------------------------------------


def test_no_steps_is_the_model_as_it_was(images: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = vae()
    calls: list[Any] = []
    fitted = training.fit(model, objectives.negative_elbo, images, key=KEY, steps=0, on_chunk=calls.append)
    assert same(arrays(fitted.model), arrays(model)) and fitted.model is not model
    assert fitted.history.step.shape == fitted.history.loss.shape == (0,)
    assert not fitted.interrupted and calls == [] and capsys.readouterr().out == ""


def test_hyper_reaches_the_loss_and_compiles_nothing_new() -> None:
    traces = []

    def loss(model: Number, batch: Any, key: Any, *, slope: Any) -> Any:
        traces.append(1)
        return slope * model.w[...], {}

    ends = []
    for slope in (1.0, 2.0, -0.5):
        ends.append(float(sliding(0.0, loss, steps=4, hyper={"slope": slope}).model.w[...]))
        if len(ends) == 1:
            first = len(traces)
    assert ends == [-4, -8, 2]
    # nor do another number of steps, another learning rate, another chunk
    sliding(0.0, loss, steps=9, hyper={"slope": 1.0}, learning_rate=0.1, chunk=2)
    assert len(traces) == first


def test_beta_reaches_the_vae(images: Any) -> None:
    sds = []
    for beta in (0.0, 1.0):
        fitted = training.fit(
            vae(),
            objectives.negative_elbo,
            images,
            key=KEY,
            steps=600,
            hyper={"beta": beta},
            progress=None,
        )
        sds.append(fitted.history.metrics["sd"][-1])
    assert sds[0] < sds[1]  # nothing keeps the noise from shrinking without the KL


def test_on_chunk_gets_rising_steps_and_the_model_so_far() -> None:
    seen: list[tuple[int, int, int, float]] = []

    def look(p: training.Progress[Number]) -> None:
        seen.append((p.step, p.steps, len(p.history.loss), float(p.model().w[...])))
        assert (p.history.step == np.arange(p.step)).all()

    fitted = sliding(100.0, steps=23, chunk=5, on_chunk=look)
    assert seen == [(n, 23, n, 100.0 - n) for n in (5, 10, 15, 20, 23)]
    assert float(fitted.model.w[...]) == 77


def test_chunks_of_its_own_choice_cover_all_steps() -> None:
    seen: list[int] = []
    sliding(1e6, steps=5000, on_chunk=lambda p: seen.append(p.step))
    assert seen[-1] == 5000 and seen == sorted(set(seen))
    assert max(np.diff([0, *seen])) <= chunks.LONGEST


def test_model_of_a_chunk_stays_as_it_was() -> None:
    """It is no view of the run that goes on."""
    models: list[Number] = []
    makers: list[Callable[[], Number]] = []

    def look(p: training.Progress[Number]) -> None:
        models.append(p.model())
        makers.append(p.model)

    sliding(100.0, steps=20, chunk=10, on_chunk=look)
    assert [float(m.w[...]) for m in models] == [float(m().w[...]) for m in makers] == [90, 80]


def test_error_in_on_chunk_is_the_callers() -> None:
    def look(p: Any) -> None:
        raise RuntimeError("figure is gone")

    with pytest.raises(RuntimeError, match="figure is gone"):
        sliding(10.0, steps=5, chunk=1, on_chunk=look)


def test_progress_bar_is_text_and_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    sliding(100.0, steps=30, progress="moons")
    out = capsys.readouterr().out
    assert "moons" in out and "30/30 steps" in out and "loss 71" in out
    sliding(100.0, steps=30, progress=None)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# --- interruption ---------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handling of SIGINT, whatever the test runner has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_at(step: int, images: Any, steps: int, how: Callable[[], None]) -> Any:
    def look(p: Any) -> None:
        if p.step == step:
            how()

    return training.fit(
        vae(),
        objectives.negative_elbo,
        images,
        key=KEY,
        steps=steps,
        chunk=10 if step % 10 == 0 else step,
        progress=None,
        on_chunk=look,
    )


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def raise_sigint() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("how", [raise_interrupt, raise_sigint])
@pytest.mark.usefixtures("ctrl_c")
def test_interruption_keeps_what_was_learned(
    how: Callable[[], None], images: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots: dict[int, Any] = {}
    whole = training.fit(
        vae(),
        objectives.negative_elbo,
        images,
        key=KEY,
        steps=100,
        chunk=10,
        progress=None,
        on_chunk=lambda p: snapshots.update({p.step: arrays(p.model())}),
    )
    assert capsys.readouterr().out == ""
    fitted = interrupted_at(40, images, 100, how)
    assert capsys.readouterr().out == (
        "Interrupted after step 40 of 100: the model keeps what it has learned so far.\n"
    )
    assert fitted.interrupted and not whole.interrupted
    assert same(arrays(fitted.model), snapshots[40])
    assert not same(snapshots[40], snapshots[100])
    assert fitted.history.step.tolist() == list(range(40))
    assert same(fitted.history.loss, whole.history.loss[:40])
    assert all(same(fitted.history.metrics[k], v[:40]) for k, v in whole.history.metrics.items())
    # and training can go on from there
    again = training.fit(fitted.model, objectives.negative_elbo, images, key=KEY, steps=10, progress=None)
    assert not again.interrupted and len(again.history.loss) == 10


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_from_outside_at_any_moment(images: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Another thread interrupts, wherever the main one is; the result is that of a run cut at that step."""
    steps, going = 1_000_000, threading.Event()

    def interrupt() -> None:
        going.wait(120)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    fitted = training.fit(
        vae(),
        objectives.negative_elbo,
        images,
        key=KEY,
        steps=steps,
        chunk=10,
        progress=None,
        on_chunk=lambda p: going.set() if p.step >= 50 else None,
    )
    thread.join()
    done = len(fitted.history.loss)
    assert fitted.interrupted and 50 <= done < steps and done % 10 == 0
    assert capsys.readouterr().out.startswith(f"Interrupted after step {done} of {steps}:")
    assert (fitted.history.step == np.arange(done)).all()
    cut = interrupted_at(done, images, steps, raise_interrupt)
    assert same(arrays(fitted.model), arrays(cut.model))
    assert same(fitted.history, cut.history)


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_before_the_first_chunk_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    def loss(model: Number, batch: Any, key: Any) -> Any:
        raise KeyboardInterrupt  # while the program is being traced

    fitted = sliding(3.0, loss, steps=5)
    assert fitted.interrupted and float(fitted.model.w[...]) == 3
    assert fitted.history.loss.shape == (0,)
    assert "after step 0 of 5" in capsys.readouterr().out


@pytest.mark.usefixtures("ctrl_c")
def test_interruption_closes_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    def look(p: Any) -> None:
        raise KeyboardInterrupt

    sliding(100.0, steps=30, chunk=10, progress="moons", on_chunk=look)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("Interrupted after step 10 of 30")


# --- divergence -----------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 7, None, 2000])
def test_divergence_names_its_step_and_the_last_finite_loss(chunk: int | None) -> None:
    """w = 10, 9, ...: at step 7 it has reached the edge, 3; the loss before that was 4."""
    with pytest.raises(FloatingPointError) as caught:
        sliding(10.0, cliff, steps=50, chunk=chunk)
    assert str(caught.value) == (
        "training diverged: the loss is not finite at step 7; the last finite loss was 4. "
        "Try a smaller learning rate."
    )


def test_divergence_at_the_very_first_step() -> None:
    with pytest.raises(FloatingPointError, match=r"at step 0; there was no finite loss before it\."):
        sliding(1.0, cliff, steps=5)


def test_divergence_of_the_weights_in_the_last_update() -> None:
    """sqrt(w) at w = 0 is finite and its derivative is not: no later loss could tell."""

    def loss(model: Number, batch: Any, key: Any) -> Any:
        return jnp.where(model.w[...] > 0.5, model.w[...], jnp.sqrt(model.w[...])), {}

    with pytest.raises(FloatingPointError, match=r"the weights are not finite at step 3; .+ loss was 0\."):
        sliding(3.0, loss, steps=4)
    assert float(sliding(3.0, loss, steps=3).model.w[...]) == 0


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf])
def test_infinite_loss_counts_as_divergence(bad: Any) -> None:
    def loss(model: Number, batch: Any, key: Any) -> Any:
        return jnp.where(model.w[...] <= 3, bad, model.w[...]), {}

    with pytest.raises(FloatingPointError, match="not finite at step 7; the last finite loss was 4"):
        sliding(10.0, loss, steps=50)


def test_learning_rate_far_too_large() -> None:
    """Gradient descent on a quadratic multiplies the error by about -1e6 a step: float32 ends soon."""
    x, y = regression()
    with pytest.raises(FloatingPointError, match=r"not finite at step \d; the last finite loss was \d"):
        training.fit(
            Line(3),
            square,
            (x, y),
            key=KEY,
            steps=100,
            learning_rate=1e6,
            schedule=training.constant,
            transform=SGD,
            progress=None,
        )


# --- bad arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"steps": -1}, ValueError, "steps is -1; expected at least 0"),
        ({"steps": 10.0}, TypeError, r"steps is 10\.0 of type float; expected a whole number"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate is 0"),
        ({"learning_rate": -1e-3}, ValueError, "learning_rate is -0.001; expected a number above 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate has 1 of 1 values that are not finite"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate"),
        ({"chunk": 0}, ValueError, "chunk is 0; expected from 1 to 2000"),
        ({"chunk": 2001}, ValueError, "chunk is 2001"),
        ({"chunk": 2.5}, TypeError, r"chunk is 2\.5"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; expected at least 1"),
        ({"batch_size": 2.0}, TypeError, r"batch_size is 2\.0"),
        (
            {"batch_size": 41},
            ValueError,
            r"batch_size is 41, larger than the data \(40 examples\); use at most 40",
        ),
    ],
)
def test_bad_numbers(options: dict[str, Any], error: type[Exception], told: str) -> None:
    given = {"key": KEY, "steps": 5, "progress": None}
    with pytest.raises(error, match=told):
        training.fit(Line(3), square, regression(), **{**given, **options})


def nan_at(array: np.ndarray, *index: int) -> np.ndarray:
    out = array.copy()
    out[index] = np.nan
    return out


X, Y = regression()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            (nan_at(X, 3, 1), Y),
            r"data\[0\] has 1 of 120 values that are not finite \(first at index \(3, 1\)\)",
        ),
        ((X, nan_at(Y, 0)), r"data\[1\] has 1 of 40"),
        (nan_at(X, 3, 1), "data has 1 of 120"),
        ((X[:0], Y[:0]), "data is empty"),
        ((X, Y[:-1]), r"data has shapes \[\(40, 3\), \(39,\)\]; expected arrays with the same number"),
        (np.float32(3), r"data has shapes \[\(\)\]"),
        ((), r"data has shapes \[\]"),
        (None, r"data has shapes \[\]"),
    ],
)
def test_bad_data(data: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        training.fit(Line(3), square, data, key=KEY, steps=5, progress=None)


def test_data_may_be_numpy_of_any_kind(images: Any) -> None:
    reference = training.fit(vae(), objectives.negative_elbo, images, key=KEY, steps=3, progress=None)
    for data in (np.asarray(images), np.asarray(images, np.float64)):
        fitted = training.fit(vae(), objectives.negative_elbo, data, key=KEY, steps=3, progress=None)
        assert same(arrays(fitted.model), arrays(reference.model))
    for narrow, rounding in ((np.float16, 2.0**-10), (jnp.bfloat16, 2.0**-7)):
        data = jnp.asarray(images, narrow)
        fitted = training.fit(vae(), objectives.negative_elbo, data, key=KEY, steps=3, progress=None)
        assert fitted.history.loss.dtype == np.float32
        np.testing.assert_allclose(fitted.history.loss, reference.history.loss, rtol=40 * rounding)
    told = r"^data has shapes \[(\(\), ){4}\(\)\] and 67 more; expected arrays"
    with pytest.raises(ValueError, match=told):  # a list is a tree of numbers
        listed = np.asarray(images).tolist()
        training.fit(vae(), objectives.negative_elbo, listed, key=KEY, steps=3, progress=None)
    with pytest.raises(TypeError, match="x has dtype uint8"):
        training.fit(
            vae(), objectives.negative_elbo, np.ones((4, 6), np.uint8), key=KEY, steps=3, progress=None
        )


# --- many models side by side ---------------------------------------------------------------


def build_line(rngs: nnx.Rngs) -> Line:
    line = Line(3)
    line.w[...] = jax.random.normal(rngs.params(), (3,))
    return line


@pytest.mark.parametrize("batch_size", [None, 8])
def test_fit_many_is_many_fits(batch_size: int | None) -> None:
    keys = jax.random.split(jax.random.key(5), 3)
    options: dict[str, Any] = {"steps": 80, "batch_size": batch_size, "learning_rate": 0.03, "progress": None}
    many = training.fit_many(build_line, square, regression(), keys=keys, **options)
    assert many.history.loss.shape == many.history.metrics["w0"].shape == (3, 80)
    assert many.history.step.tolist() == list(range(80))
    assert many.model.w[...].shape == (3, 3) and not many.interrupted
    for i, key in enumerate(keys):
        start, training_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        one = training.fit(build_line(nnx.Rngs(start)), square, regression(), key=training_key, **options)
        # side by side, sums are reordered: 80 steps of float32 rounding
        np.testing.assert_allclose(many.model.w[i], one.model.w[...], atol=1e-4)
        np.testing.assert_allclose(many.history.loss[i], one.history.loss, rtol=1e-3, atol=1e-5)
    assert not np.allclose(many.history.loss[0], many.history.loss[1])
    seen = jax.vmap(lambda model: model.w[...].sum())(many.model)
    np.testing.assert_allclose(seen, np.asarray(many.model.w[...]).sum(1), rtol=1e-5)


def build_number(rngs: nnx.Rngs) -> Number:
    return Number(10.0)


def test_fit_many_takes_one_hyper_a_run_and_names_the_run_that_diverges() -> None:
    options: dict[str, Any] = {
        "keys": jax.random.split(KEY, 3),
        "learning_rate": 1.0,
        "schedule": training.constant,
        "transform": SGD,
        "progress": None,
    }
    data = jnp.zeros(1)
    edges = {"edge": [-100.0, 3.0, 5.0]}
    fine = training.fit_many(build_number, cliff, data, steps=4, hyper=edges, **options)
    np.testing.assert_array_equal(fine.history.loss, [[10, 9, 8, 7]] * 3)
    told = r"the loss of run 2 is not finite at step 5; the last finite loss was 6\."
    for chunk in (1, 5, None):
        with pytest.raises(FloatingPointError, match=told):
            training.fit_many(build_number, cliff, data, steps=30, hyper=edges, chunk=chunk, **options)


def test_fit_many_with_no_steps_keeps_the_shapes() -> None:
    keys = jax.random.split(KEY, 3)
    none = training.fit_many(build_line, square, regression(), keys=keys, steps=0, progress=None)
    assert none.history.loss.shape == (3, 0) and none.history.step.shape == (0,)
    assert none.model.w[...].shape == (3, 3)


def test_fit_many_refuses_wrong_keys_and_hyper() -> None:
    keys = jax.random.split(KEY, 3)
    for bad in (KEY, keys[:0], keys.reshape(1, 3)):
        with pytest.raises(ValueError, match=r"keys has shape .+; expected \(runs,\)"):
            training.fit_many(build_line, square, regression(), keys=bad, steps=1)
    for value in (1.0, [1.0, 2.0]):
        with pytest.raises(
            ValueError, match=r"hyper\['edge'\] has shape .+; expected one value a run, \(3,\)"
        ):
            training.fit_many(build_number, cliff, jnp.zeros(1), keys=keys, steps=1, hyper={"edge": value})
    with pytest.raises(ValueError, match="steps is -1"):
        training.fit_many(build_line, square, regression(), keys=keys, steps=-1)


# --- odd machines ---------------------------------------------------------------------------

TRAIN = """
import jax, numpy as np
from flax import nnx
from lecture_lib import objectives, training
from lecture_lib.networks import VAE
x = np.random.default_rng(0).uniform(size=(12, 6)).astype(np.float32)
fitted = training.fit(VAE(6, 1, (8,), rngs=nnx.Rngs(0)), objectives.negative_elbo, x, key=jax.random.key(0),
                      steps=150, progress=None)
print(len(jax.devices()), len(fitted.history.loss), float(fitted.history.loss[-1]))
"""


def run_elsewhere(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.proof
@pytest.mark.parametrize(
    ("devices", "folder"),
    # the cache of compiled programs cannot be written: neither /proc nor a file is a folder to write in
    [(8, "/proc/no/such/folder"), (1, os.devnull + "/cache")],
)
def test_trains_on_odd_machines(devices: int, folder: str, images: Any) -> None:
    here = training.fit(vae(), objectives.negative_elbo, images, key=KEY, steps=150, progress=None)
    count, steps, last = run_elsewhere(
        TRAIN,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
        JAX_COMPILATION_CACHE_DIR=folder,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert (int(count), int(steps)) == (devices, 150)
    # another number of threads may sum in another order: float32, 150 steps
    assert float(last) == pytest.approx(float(here.history.loss[-1]), rel=1e-4)
