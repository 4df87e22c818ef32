"""Steps in compiled chunks: progress, interruption and divergence; what a step does is the caller's."""

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm.std import tqdm

from lecture_lib import checks

LONGEST = 2000
"""The most steps in one chunk; `advance` gives rows of this length."""
_SECONDS = 0.15


class State(NamedTuple):
    """All that an interruption must not tear apart: replaced whole, never in parts."""

    carry: Any
    """What goes from step to step: weights, moments."""
    done: int
    """Steps done."""
    pieces: tuple[Any, ...]
    """What each chunk told: a tree of arrays, the steps along their last axis."""

    def rows(self) -> Any:
        """What all steps told: a tree of arrays of shape (..., steps done); after one chunk at least."""
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *self.pieces)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, start: Any, stop: Any, *, most: int = LONGEST
) -> tuple[Any, Any]:
    """Steps start to stop - 1 inside a compiled program, with start and stop traced: one program for all.

    A `lax.scan` has its length compiled in, and XLA fuses a scan of one step otherwise than one of fifty:
    the last bits of the result would then depend on where the chunks end.

    Args:
        step: step(carry, i) -> (carry, row), a row being a tree of arrays.
        carry: Where to start.
        start, stop: At most `most` apart.
        most: Compiled in.

    Returns:
        The last carry, and the rows stacked along a first axis of length `most`, zeros beyond the last step.
    """
    like = jax.eval_shape(step, carry, start)[1]
    rows = jax.tree.map(lambda leaf: jnp.zeros((most, *leaf.shape), leaf.dtype), like)

    def body(i: Any, both: Any) -> Any:
        carry, rows = both
        carry, row = step(carry, i)
        return carry, jax.tree.map(lambda all_, one: all_.at[i - start].set(one), rows, row)

    return jax.lax.fori_loop(start, stop, body, (carry, rows))


def run(
    carry: Any,
    advance: Callable[[Any, int, int], tuple[Any, Any]],
    *,
    steps: int,
    losses: Callable[[Any], Float[np.ndarray, "*runs steps"]],
    weights: Callable[[Any], Any],
    after: Callable[[State], None],
    stops: Collection[int] = (),
    chunk: int | None = None,
    progress: str | None = None,
) -> tuple[State, bool]:
    """Advance from step 0 to `steps`, chunk by chunk.

    Args:
        carry: Where to start.
        advance: advance(carry, start, stop) runs steps start to stop - 1 and returns the new carry and rows:
            a tree of arrays of shape (..., LONGEST), the first stop - start along the last axis counting.
        steps: Number of steps, at least 0.
        losses: Those of the rows that have to be finite, shape (..., steps).
        weights: Those parts of the carry that have to be finite in the end.
        after: Called after each chunk. The next chunk is already running meanwhile.
        stops: Steps after which a chunk ends, whatever its length.
        chunk: Steps in a chunk, from 1 to LONGEST; None picks a length of about 0.15 s.
        progress: Label of the progress bar on standard output; None shows none.

    Returns:
        The last state, and whether Ctrl-C (or Kernel > Interrupt) ended the run before its last step.

    Raises:
        TypeError, ValueError: An argument does not fit; the message names it.
        FloatingPointError: A loss was not finite; the message names the step and the last finite loss.
    """
    checks.whole("steps", steps, low=0)
    if chunk is not None:
        checks.whole("chunk", chunk, low=1, high=LONGEST)
    length = chunk or 16
    state, interrupted = State(carry, 0, ()), False
    last: Any = None

    def dispatch(state: State) -> tuple[int, Any]:
        stop = min([state.done + length, steps, *(s for s in stops if s > state.done)])
        return stop, advance(state.carry, state.done, stop)

    with _bar(progress, steps) as show:
        try:
            waiting = dispatch(state) if steps else None
            while waiting:
                stop, (carry, rows) = waiting
                began = time.perf_counter()
                told = jax.tree.map(lambda a, n=stop - state.done: np.asarray(a)[..., :n], rows)
                waited = time.perf_counter() - began
                _stop_if_diverged(losses(told), state.done, last)
                last = losses(told)[..., -1]
                cut = stop - state.done < length  # says nothing of how long a whole one takes
                state = State(carry, stop, (*state.pieces, told))
                if chunk is None and not cut and waited < _SECONDS / 2:
                    length = min(2 * length, LONGEST)
                elif chunk is None and waited > 2 * _SECONDS:
                    length = max(length // 2, 1)
                waiting = dispatch(state) if stop < steps else None
                show(stop, float(last.mean()))
                after(state)
        except KeyboardInterrupt:
            interrupted = state.done < steps
    if interrupted:
        print(f"Interrupted after step {state.done} of {steps}: the model keeps what it has learned so far.")
    elif not all(np.isfinite(leaf).all() for leaf in map(np.asarray, jax.tree.leaves(weights(state.carry)))):
        raise FloatingPointError(_diverged(state.done - 1, last, "the weights are"))
    return state, interrupted


def _stop_if_diverged(losses: np.ndarray, done: int, last: Any) -> None:
    bad = ~np.isfinite(losses)
    if not bad.any():
        return
    column = int(np.argmax(np.atleast_2d(bad).any(axis=0)))
    before = losses[..., column - 1] if column else last
    run = ""
    if losses.ndim > 1:
        which = int(np.argmax(bad[:, column]))
        run, before = f" of run {which}", None if before is None else before[which]
    raise FloatingPointError(_diverged(done + column, before, f"the loss{run} is"))


def _diverged(step: int, before: Any, what: str) -> str:
    last = (
        "there was no finite loss before it"
        if before is None
        else f"the last finite loss was {np.mean(before):.6g}"
    )
    return f"training diverged: {what} not finite at step {step}; {last}. Try a smaller learning rate."


@contextmanager
def _bar(label: str | None, steps: int) -> Iterator[Callable[[int, float], None]]:
    """A text progress bar: no widget, so that it works in any front end and nothing is left to go stale."""
    if label is None or not steps:
        yield lambda step, loss: None
        return
    layout = "{desc} |{bar:30}| {n_fmt}/{total_fmt} steps, {elapsed}{postfix}"
    with tqdm(total=steps, desc=label, bar_format=layout, file=sys.stdout, mininterval=0.25) as bar:

        def show(step: int, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update(step - bar.n)

        yield show
