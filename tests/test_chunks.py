"""Steps in chunks: every step once, stops kept, how long a chunk is, interruption and divergence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lecture_lib import chunks
from lecture_lib.chunks import LONGEST, State


def losses(steps: Any) -> np.ndarray:
    """Told by step i: i / 2 + 1."""
    return np.asarray(steps) / 2 + 1


class Counter:
    """A carry that counts, rows that tell the step; it remembers what it was asked for."""

    def __init__(self, loss: Callable[[Any], Any] = losses) -> None:
        self.loss = loss
        self.asked: list[tuple[int, int]] = []
        self.after: list[State] = []

    def advance(self, carry: int, start: int, stop: int) -> Any:
        assert carry == start
        self.asked.append((start, stop))
        rows = np.full((2, LONGEST), np.nan)
        rows[0, : stop - start] = np.arange(start, stop)
        rows[1, : stop - start] = self.loss(np.arange(start, stop))
        return stop, {"all": rows}

    def run(self, **options: Any) -> tuple[State, bool]:
        given: dict[str, Any] = {
            "losses": lambda rows: rows["all"][1],
            "weights": np.float64,
            "after": self.after.append,
        }
        return chunks.run(0, self.advance, **{**given, **options})


# --- scan -----------------------------------------------------------------------------------


def test_scan_is_a_loop() -> None:
    def step(carry: Any, i: Any) -> Any:
        return carry * 0.5 + i, {"before": carry, "twice": jnp.stack([2 * i, i])}

    run = jax.jit(partial(chunks.scan, step))
    traced = []
    for start, stop in ((0, 5), (3, 4), (7, 7), (0, LONGEST)):
        carry, rows = run(jnp.float32(1.0), start, stop)
        expected, before = np.float32(1.0), []
        for i in range(start, stop):
            before.append(expected)
            expected = expected * np.float32(0.5) + np.float32(i)
        n = stop - start
        assert float(carry) == expected  # halves and whole numbers below 4000: nothing is rounded otherwise
        assert rows["before"].shape == (LONGEST,) and rows["twice"].shape == (LONGEST, 2)
        np.testing.assert_array_equal(rows["before"][:n], before)
        np.testing.assert_array_equal(rows["twice"][:n, 0], 2 * np.arange(start, stop))
        assert not rows["before"][n:].any() and not rows["twice"][n:].any()
        traced.append(run._cache_size())  # type: ignore[attr-defined]
    assert traced == [1] * 4  # one program for all


def test_scan_with_few_steps_at_most() -> None:
    """The rows have that length; the steps are those of the longer program."""

    def step(carry: Any, i: Any) -> Any:
        return carry * 0.5 + i, {"before": carry}

    for most in (1, 4):
        run = jax.jit(partial(chunks.scan, step, most=most))
        for start, stop in ((0, 1), (5, 5 + most), (3, 3)):
            carry, rows = run(jnp.float32(1.0), start, stop)
            long, longer = chunks.scan(step, jnp.float32(1.0), start, stop)
            assert float(carry) == float(long) and rows["before"].shape == (most,)
            np.testing.assert_array_equal(rows["before"], longer["before"][:most])


# --- run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 10, LONGEST, None])
@pytest.mark.parametrize("stops", [(), (4, 9), (9, 4, 4, 0, 10, 99)])
def test_every_step_is_done_once_and_stops_are_kept(chunk: int | None, stops: tuple[int, ...]) -> None:
    counter = Counter()
    state, interrupted = counter.run(steps=10, chunk=chunk, stops=stops)
    assert not interrupted and (state.carry, state.done) == (10, 10)
    np.testing.assert_array_equal(state.rows()["all"], [np.arange(10), losses(np.arange(10))])
    starts, ends = zip(*counter.asked, strict=True)
    assert starts == (0, *ends[:-1]) and ends[-1] == 10
    assert {stop for stop in stops if 0 < stop <= 10} <= set(ends)
    if chunk:
        assert max(b - a for a, b in counter.asked) <= chunk
        assert stops or all(b - a == chunk for a, b in counter.asked[:-1])
    # told of after each chunk, with everything up to there
    assert [after.done for after in counter.after] == [after.carry for after in counter.after] == list(ends)
    for after in counter.after:
        np.testing.assert_array_equal(after.rows()["all"][0], np.arange(after.done))


def test_next_chunk_is_running_when_the_last_one_is_told_of() -> None:
    counter = Counter()
    running: list[int] = []
    counter.run(steps=9, chunk=3, after=lambda state: running.append(counter.asked[-1][1]))
    assert running == [6, 9, 9]


def test_no_steps() -> None:
    counter = Counter()
    assert counter.run(steps=0, progress="none") == (State(0, 0, ()), False)
    assert not counter.asked and not counter.after


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Waiting for a chunk takes that long."""
    now = 0.0

    def tick() -> float:  # asked before and after the waiting
        nonlocal now
        now += seconds
        return now

    monkeypatch.setattr(chunks.time, "perf_counter", tick)


def lengths(counter: Counter) -> list[int]:
    return [stop - start for start, stop in counter.asked]


def test_quick_chunks_grow_and_slow_ones_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.01)
    quick = Counter()
    quick.run(steps=10_000)
    assert lengths(quick)[:8] == [16, 32, 64, 128, 256, 512, 1024, LONGEST]
    assert max(lengths(quick)) == LONGEST
    clock(monkeypatch, 0.15)
    right = Counter()
    right.run(steps=100)
    assert lengths(right) == [16] * 6 + [4]
    clock(monkeypatch, 1.0)
    slow = Counter()
    slow.run(steps=40)
    assert lengths(slow) == [16, 8, 4, 2] + [1] * 10
    clock(monkeypatch, 1.0)
    told = Counter()
    told.run(steps=40, chunk=10)
    assert lengths(told) == [10] * 4


def test_a_chunk_cut_short_says_nothing_of_longer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps in 10 ms; after 50 such pieces a chunk of 2000 would not answer Ctrl-C for two seconds."""
    clock(monkeypatch, 0.01)
    counter = Counter()
    counter.run(steps=700, stops=range(0, 501, 10))
    assert lengths(counter)[:50] == [10] * 50
    assert lengths(counter)[50:53] == [16, 32, 64]


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Counter().run(steps=30, chunk=10)
    assert capsys.readouterr().out == ""
    Counter().run(steps=30, chunk=10, progress="a game")
    last = capsys.readouterr().out.split("\r")[-1]
    assert last.startswith("a game |") and "30/30 steps" in last and "loss 15.5" in last


# --- interruption ---------------------------------------------------------------------------


def interrupt(where: str, at: int, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chunks of 10 up to 50, with Ctrl-C at one of the three places where Python waits or works."""
    told = {}

    def after(state: State) -> None:
        if where == "after" and state.done == at:
            raise KeyboardInterrupt
        counter.after.append(state)

    def advance(carry: int, start: int, stop: int) -> Any:
        if where == "advance" and start == at:
            raise KeyboardInterrupt
        return Counter.advance(counter, carry, start, stop)

    @contextmanager
    def bar(label: Any, steps: int) -> Any:
        def show(step: int, loss: float) -> None:
            if where == "bar" and step == at:
                raise KeyboardInterrupt

        yield show
        told["closed"] = True

    monkeypatch.setattr(chunks, "_bar", bar)
    monkeypatch.setattr(counter, "advance", advance)
    result = counter.run(steps=50, chunk=10, after=after)
    assert told == {"closed": True}
    return result


@pytest.mark.parametrize("where", ["after", "advance", "bar"])
@pytest.mark.parametrize("at", [10, 30, 50])
def test_interruption_keeps_all_steps_that_are_back(
    where: str, at: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counter = Counter()
    state, interrupted = interrupt(where, at, counter, monkeypatch)
    assert state.done == state.carry == at
    np.testing.assert_array_equal(state.rows()["all"][0], np.arange(at))
    assert interrupted == (at < 50)
    told = f"Interrupted after step {at} of 50: the model keeps what it has learned so far.\n"
    assert capsys.readouterr().out == (told if at < 50 else "")


def test_interruption_before_the_first_chunk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counter = Counter()
    assert interrupt("advance", 0, counter, monkeypatch) == (State(0, 0, ()), True)
    assert capsys.readouterr().out.startswith("Interrupted after step 0 of 50:")


# --- divergence -----------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, 50])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_divergence_names_the_step_and_the_loss_before(chunk: int, bad: float) -> None:
    counter = Counter(lambda i: np.where(i >= 7, bad, i + 0.5))
    with pytest.raises(FloatingPointError) as caught:
        counter.run(steps=50, chunk=chunk)
    assert str(caught.value) == (
        "training diverged: the loss is not finite at step 7; the last finite loss was 6.5. "
        "Try a smaller learning rate."
    )
    assert all(state.done <= 7 for state in counter.after)


def test_divergence_of_one_run_of_several() -> None:
    def several(rows: Any) -> np.ndarray:
        i = rows["all"][0]
        return np.stack([i, np.where(i < 4, 10 * i, np.nan), np.where(i < 6, i, np.nan)])

    for chunk in (1, 4, 9):
        with pytest.raises(
            FloatingPointError, match=r"loss of run 1 is not finite at step 4; the last .+ was 30\."
        ):
            Counter().run(steps=9, chunk=chunk, losses=several)
    with pytest.raises(FloatingPointError, match=r"at step 0; there was no finite loss before it\."):
        Counter(lambda i: i / np.nan).run(steps=9)


def test_weights_have_to_be_finite_in_the_end() -> None:
    def broken(carry: Any) -> list[Any]:
        return [np.ones(2), np.array([1.0, np.nan])]

    with pytest.raises(FloatingPointError, match=r"the weights are not finite at step 4; .+ loss was 3\."):
        Counter().run(steps=5, weights=broken)


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"steps": -1}, ValueError, r"^steps is -1; expected at least 0"),
        ({"steps": 2.0}, TypeError, r"^steps is 2\.0 of type float; expected a whole number"),
        ({"chunk": 0}, ValueError, r"^chunk is 0; expected from 1 to 2000"),
        ({"chunk": 2001}, ValueError, r"^chunk is 2001; expected from 1 to 2000"),
        ({"chunk": True}, TypeError, r"^chunk is True"),
    ],
)
def test_bad_numbers(options: dict[str, Any], error: type[Exception], told: str) -> None:
    counter = Counter()
    with pytest.raises(error, match=told):
        counter.run(**{"steps": 5, **options})
    assert not counter.asked
