"""`fit`: training in compiled chunks of steps, with progress, interruption and divergence looked after."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import PRNGKeyArray
from tqdm.std import tqdm

from lecture_lib import checks

M = TypeVar("M", bound=nnx.Module)
Loss = Callable[..., tuple[Any, dict[str, Any]]]
"""loss(model, batch, key, **hyper) -> (loss, metrics): a scalar and a dict of scalars to be followed."""
Schedule = Callable[[Any], Any]
"""From the share of steps done, in [0, 1), to a factor of the learning rate."""

ADAM = optax.scale_by_adam()
"""Adam (Kingma and Ba 2015) without its learning rate. One object, shared: a fresh one recompiles."""

LONGEST_CHUNK = 2000
_CHUNK_SECONDS = 0.15


def constant(fraction: Any) -> Any:
    """The learning rate stays as it is."""
    return jnp.ones_like(fraction)


def cosine(fraction: Any) -> Any:
    """The learning rate falls from 1 to 0 as half a cosine wave (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + jnp.cos(jnp.pi * fraction))


class History(NamedTuple):
    """What happened at each step; every array has shape (steps run,), or (runs, steps run) of `fit_many`."""

    step: np.ndarray
    """0, 1, 2, ...: the number of updates made before the loss was taken."""
    loss: np.ndarray
    """The loss on the batch of that step, before its update."""
    metrics: dict[str, np.ndarray]
    """What else the loss function returned, by name; empty if no step was run."""


class Fitted(NamedTuple, Generic[M]):
    """What `fit` returns."""

    model: M
    """The trained model; the one handed in is left as it was."""
    history: History
    interrupted: bool
    """Whether training was interrupted before its last step."""


class Progress(NamedTuple, Generic[M]):
    """What `fit` hands to `on_chunk` between two chunks."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    history: History
    """All steps so far."""
    model: Callable[[], M]
    """Call it for the model as trained so far."""


class _Carry(NamedTuple):
    params: Any
    rest: Any
    moments: Any


def _step(
    graphdef: Any,
    loss: Loss,
    transform: optax.GradientTransformation,
    schedule: Schedule,
    batch_size: int | None,
    data: Any,
    hyper: dict[str, Any],
    rate: Any,
    steps: Any,
    key: PRNGKeyArray,
    carry: _Carry,
    i: Any,
) -> tuple[_Carry, tuple[Any, dict[str, Any]]]:
    """One update of one model: its new carry, and the loss and metrics before the update."""
    key_batch, key_loss = jax.random.split(jax.random.fold_in(key, i))
    if batch_size is None:
        batch = data
    else:
        rows = jax.random.randint(key_batch, (batch_size,), 0, len(jax.tree.leaves(data)[0]))
        batch = jax.tree.map(lambda leaf: leaf[rows], data)

    def of_params(params: Any) -> tuple[Any, dict[str, Any]]:
        value, metrics = loss(nnx.merge(graphdef, params, carry.rest), batch, key_loss, **hyper)
        return value, metrics

    (value, metrics), gradient = jax.value_and_grad(of_params, has_aux=True)(carry.params)
    updates, moments = transform.update(gradient, carry.moments, carry.params)
    now = -rate * schedule(i / steps)
    params = optax.apply_updates(carry.params, jax.tree.map(lambda u: now * u, updates))
    return _Carry(params, carry.rest, moments), (value, metrics)


@partial(
    jax.jit,
    static_argnames=("graphdef", "loss", "transform", "schedule", "batch_size", "longest", "many"),
)
def _chunk(
    carry: _Carry,
    data: Any,
    hyper: dict[str, Any],
    rate: Any,
    steps: Any,
    key: PRNGKeyArray,
    start: Any,
    stop: Any,
    *,
    graphdef: Any,
    loss: Loss,
    transform: optax.GradientTransformation,
    schedule: Schedule,
    batch_size: int | None,
    longest: int,
    many: bool,
) -> tuple[_Carry, tuple[Any, dict[str, Any]]]:
    """Steps start to stop - 1; start and stop are traced, so that every chunk length is the same program.

    A `lax.scan` has its length compiled in, and XLA fuses a scan of one step otherwise than one of fifty:
    the last bits of the result would then depend on where the chunks end. With `many` there is a leading axis
    of models, which a `vmap` takes side by side.
    """
    step = partial(_step, graphdef, loss, transform, schedule, batch_size, data)

    def run(carry: _Carry, hyper: dict[str, Any], key: PRNGKeyArray) -> Any:
        like = jax.eval_shape(step, hyper, rate, steps, key, carry, start)[1]
        rows = jax.tree.map(lambda leaf: jnp.zeros((longest, *leaf.shape), leaf.dtype), like)

        def body(i: Any, both: Any) -> Any:
            carry, rows = both
            carry, row = step(hyper, rate, steps, key, carry, i)
            return carry, jax.tree.map(lambda all_, one: all_.at[i - start].set(one), rows, row)

        return jax.lax.fori_loop(start, stop, body, (carry, rows))

    return (jax.vmap(run) if many else run)(carry, hyper, key)


def fit(
    model: M,
    loss: Loss,
    data: Any,
    *,
    key: PRNGKeyArray,
    steps: int,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    schedule: Schedule = cosine,
    transform: optax.GradientTransformation = ADAM,
    hyper: dict[str, Any] | None = None,
    on_chunk: Callable[[Progress[M]], None] | None = None,
    chunk: int | None = None,
    progress: str | None = "training",
) -> Fitted[M]:
    """Train a copy of a model; the model handed in is not changed.

    The same key gives the same result bit for bit on one machine, whatever the chunk length.

    Args:
        model: A Flax NNX module; its `nnx.Param` variables are trained.
        loss: loss(model, batch, key, **hyper) -> (scalar, dict of scalars), as those in `objectives`. Pass
            the same function object each time: a fresh lambda is compiled anew.
        data: An array or a tuple of arrays with the examples along the first axis; moved to the device once.
        key: A key of `jax.random.key`; step i uses fold_in(key, i).
        steps: Number of updates, at least 0.
        batch_size: Examples in a batch, drawn on the device uniformly with replacement; None takes all.
        learning_rate: Highest step length, above 0.
        schedule: Its course: a function from the share of steps done, in [0, 1), to a factor.
        transform: An Optax transformation without a learning rate.
        hyper: Numbers handed to the loss by name; they can change without a new compilation.
        on_chunk: Called between chunks with a `Progress`, say to redraw a figure. The next chunk is already
            running meanwhile.
        chunk: Steps in a chunk, from 1 to `LONGEST_CHUNK`; None picks a length of about 0.15 s.
        progress: Label of the progress bar on standard output; None shows none.

    Returns:
        Fitted(model, history, interrupted). Ctrl-C (or Kernel > Interrupt) ends training early, says so, and
        returns what was learned so far.

    Raises:
        TypeError, ValueError: An argument does not fit; the message names it.
        FloatingPointError: The loss was not finite; the message names the step and the last finite loss.
    """
    split: Any = nnx.split(model, nnx.Param, ...)
    graphdef, params, rest = split
    carry = _Carry(params, rest, transform.init(params))
    static = {"graphdef": graphdef, "loss": loss, "transform": transform, "schedule": schedule, "many": False}
    return _run(
        carry, static, data, key, steps, batch_size, learning_rate, hyper or {}, on_chunk, chunk, progress
    )


def fit_many(
    build: Callable[[nnx.Rngs], M],
    loss: Loss,
    data: Any,
    *,
    keys: PRNGKeyArray,
    steps: int,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    schedule: Schedule = cosine,
    transform: optax.GradientTransformation = ADAM,
    hyper: dict[str, Any] | None = None,
    chunk: int | None = None,
    progress: str | None = "training",
) -> Fitted[M]:
    """Train one model for each key, side by side in one compiled program (`jax.vmap`).

    Args:
        build: Makes a fresh model from `nnx.Rngs`.
        keys: Shape (runs,), keys of `jax.random.split`; each seeds one run's weights and its training.
        hyper: Numbers handed to the loss by name, each of shape (runs,).
        loss, data, steps, batch_size, learning_rate, schedule, transform, chunk, progress: As for `fit`.

    Returns:
        Fitted, whose model has a leading axis of length `runs` on every array: hand it to
        `jax.vmap(lambda model: ...)`. The arrays of the history have shape (runs, steps).

    Raises:
        TypeError, ValueError, FloatingPointError: As for `fit`; the last names the run, too.
    """
    if jnp.ndim(keys) != 1 or not len(keys):
        raise ValueError(
            f"keys has shape {jnp.shape(keys)}; expected (runs,), as jax.random.split makes them"
        )
    hyper = {name: jnp.asarray(value) for name, value in (hyper or {}).items()}
    for name, value in hyper.items():
        if value.shape[:1] != keys.shape:
            raise ValueError(
                f"hyper[{name!r}] has shape {value.shape}; expected one value a run, {keys.shape}"
            )

    def start(key: PRNGKeyArray) -> _Carry:
        split: Any = nnx.split(build(nnx.Rngs(jax.random.fold_in(key, 0))), nnx.Param, ...)
        _, params, rest = split
        return _Carry(params, rest, transform.init(params))

    graphdef = nnx.graphdef(build(nnx.Rngs(0)))
    static = {"graphdef": graphdef, "loss": loss, "transform": transform, "schedule": schedule, "many": True}
    training_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    carry = jax.vmap(start)(keys)
    return _run(
        carry, static, data, training_keys, steps, batch_size, learning_rate, hyper, None, chunk, progress
    )


class _State(NamedTuple):
    """All that an interruption must not tear apart: replaced whole, never in parts."""

    carry: _Carry
    done: int
    pieces: tuple[tuple[np.ndarray, dict[str, np.ndarray]], ...]


def _run(
    carry: _Carry,
    static: dict[str, Any],
    data: Any,
    key: PRNGKeyArray,
    steps: int,
    batch_size: int | None,
    learning_rate: float,
    hyper: dict[str, Any],
    on_chunk: Callable[[Progress[Any]], None] | None,
    chunk: int | None,
    progress: str | None,
) -> Any:
    checks.whole("steps", steps, low=0)
    checks.positive("learning_rate", learning_rate)
    if chunk is not None:
        checks.whole("chunk", chunk, low=1, high=LONGEST_CHUNK)
    data = jax.tree.map(jnp.asarray, data)
    _check_data(data, batch_size)
    run_chunk = partial(_chunk, batch_size=batch_size, longest=LONGEST_CHUNK, **static)
    runs = key.shape if static["many"] else ()
    length = chunk or 16
    state, interrupted = _State(carry, 0, ()), False

    def dispatch(state: _State) -> tuple[int, Any]:
        stop = min(state.done + length, steps)
        args = (state.carry, data, hyper, learning_rate, steps, key, state.done, stop)
        return stop, run_chunk(*args)

    def model_of(state: _State) -> Any:
        return nnx.merge(static["graphdef"], state.carry.params, state.carry.rest)

    with _bar(progress, steps) as show:
        try:
            waiting = dispatch(state) if steps else None
            while waiting:
                stop, (carry, rows) = waiting
                began = time.perf_counter()
                losses, metrics = jax.tree.map(lambda a, n=stop - state.done: np.asarray(a)[..., :n], rows)
                waited = time.perf_counter() - began
                _stop_if_diverged(losses, state)
                state = _State(carry, stop, (*state.pieces, (losses, metrics)))
                if chunk is None and waited < _CHUNK_SECONDS / 2:
                    length = min(2 * length, LONGEST_CHUNK)
                elif chunk is None and waited > 2 * _CHUNK_SECONDS:
                    length = max(length // 2, 1)
                waiting = dispatch(state) if stop < steps else None
                show(stop, float(losses[..., -1].mean()))
                if on_chunk:
                    history = _history(state, runs)
                    on_chunk(Progress(stop, steps, history, partial(model_of, state)))
        except KeyboardInterrupt:
            interrupted = state.done < steps
    if interrupted:
        print(f"Interrupted after step {state.done} of {steps}: the model keeps what it has learned so far.")
    elif not all(np.isfinite(leaf).all() for leaf in map(np.asarray, jax.tree.leaves(state.carry.params))):
        raise FloatingPointError(_diverged(state.done - 1, _last_finite(state), "the weights are"))
    return Fitted(model_of(state), _history(state, runs), interrupted)


def _check_data(data: Any, batch_size: int | None) -> None:
    leaves = jax.tree.leaves(data)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if not leaves or None in sizes or len(sizes) > 1:
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(f"data has shapes {shapes}; expected arrays with the same number of examples first")
    n = leaves[0].shape[0]
    if n == 0:
        raise ValueError("data is empty; expected at least one example")
    for i, leaf in enumerate(leaves):
        checks.finite("data" if len(leaves) == 1 else f"data[{i}]", leaf)
    if batch_size is not None:
        checks.whole("batch_size", batch_size, low=1)
        if batch_size > n:
            raise ValueError(
                f"batch_size is {batch_size}, larger than the data ({n} examples); use at most {n}"
            )


def _stop_if_diverged(losses: np.ndarray, state: _State) -> None:
    bad = ~np.isfinite(losses)
    if not bad.any():
        return
    column = int(np.argmax(np.atleast_2d(bad).any(axis=0)))
    before = losses[..., column - 1] if column else _last_finite(state)
    run = ""
    if losses.ndim > 1:
        which = int(np.argmax(bad[:, column]))
        run, before = f" of run {which}", None if before is None else before[which]
    raise FloatingPointError(_diverged(state.done + column, before, f"the loss{run} is"))


def _last_finite(state: _State) -> Any:
    return state.pieces[-1][0][..., -1] if state.pieces else None


def _diverged(step: int, before: Any, what: str) -> str:
    last = (
        "there was no finite loss before it"
        if before is None
        else f"the last finite loss was {np.mean(before):.6g}"
    )
    return f"training diverged: {what} not finite at step {step}; {last}. Try a smaller learning rate."


def _history(state: _State, runs: tuple[int, ...]) -> History:
    if not state.pieces:
        return History(np.arange(0), np.zeros((*runs, 0), np.float32), {})
    losses, metrics = jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *state.pieces)
    return History(np.arange(state.done), losses, metrics)


@contextmanager
def _bar(label: str | None, steps: int) -> Iterator[Callable[[int, float], None]]:
    """A text progress bar: no widget, so that it works in any front end and nothing is left to go stale."""
    if label is None or not steps:
        yield lambda step, loss: None
        return
    layout = "{desc} |{bar:30}| {n_fmt}/{total_fmt} steps, {elapsed}{postfix}"
    with tqdm(total=steps, desc=label, bar_format=layout, file=sys.stdout, mininterval=0.1) as bar:

        def show(step: int, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update(step - bar.n)

        yield show
