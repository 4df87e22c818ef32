"""`fit` and `fit_many`: training in compiled chunks of steps, looked after by `chunks`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, Real, Shaped

from lecture_lib import checks, chunks, devices

M = TypeVar("M", bound=nnx.Module)
Loss = Callable[..., tuple[Any, dict[str, Any]]]
"""loss(model, batch, key, **hyper) -> (loss, metrics): a scalar and a dict of scalars to be followed."""
Schedule = Callable[[Real[ArrayLike, ""]], Real[ArrayLike, ""]]
"""From the share of steps done, in [0, 1), to a factor of the learning rate."""

ADAM = optax.scale_by_adam()
"""Adam (Kingma and Ba 2015) without its learning rate. One object, shared: a fresh one recompiles."""
_TOGETHER = 200
"""Steps in a chunk of a program of several processes, if it is not told."""


def constant(fraction: Real[ArrayLike, "*shape"]) -> Real[Array, "*shape"]:
    """The learning rate stays as it is."""
    return jnp.ones_like(fraction)


def cosine(fraction: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """The learning rate falls from 1 to 0 as half a cosine wave (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + jnp.cos(jnp.pi * fraction))


class History(NamedTuple):
    """What happened at each step; of `fit_many`, losses and metrics have an axis of runs in front."""

    step: Int[np.ndarray, " steps"]
    """0, 1, 2, ...: the number of updates made before the loss was taken."""
    loss: Float[np.ndarray, "*runs steps"]
    """The loss on the batch of that step, before its update."""
    metrics: dict[str, Shaped[np.ndarray, "*runs steps"]]
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
    parted: NamedSharding | None,
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
    if parted:
        batch = jax.lax.with_sharding_constraint(batch, parted)

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
    static_argnames=("graphdef", "loss", "transform", "schedule", "batch_size", "many", "over"),
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
    many: bool,
    over: Mesh | None,
) -> tuple[_Carry, tuple[Any, dict[str, Any]]]:
    """Steps start to stop - 1; with `many` a `vmap` takes the models of a leading axis side by side.

    With `over`, each of its devices takes its share of every batch, or of the models.
    """
    parted = devices.parted(over) if over and not many else None
    step = partial(_step, graphdef, loss, transform, schedule, batch_size, parted, data)

    def run(carry: _Carry, hyper: dict[str, Any], key: PRNGKeyArray) -> Any:
        return chunks.scan(partial(step, hyper, rate, steps, key), carry, start, stop)

    carry, rows = (jax.vmap(run) if many else run)(carry, hyper, key)
    if over:
        lies = devices.parted(over) if many else devices.whole(over)
        carry = jax.lax.with_sharding_constraint(carry, lies)
        rows = jax.lax.with_sharding_constraint(rows, devices.whole(over))
    return carry, rows


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
    mesh: Mesh | None = None,
) -> Fitted[M]:
    """Train a copy of a model; the model handed in is not changed.

    The same key gives the same result bit for bit on one machine, whatever the chunk length. On several
    devices each takes an equal share of every batch: the same steps, but for the order of a sum.

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
        chunk: Steps in a chunk, from 1 to `chunks.LONGEST`; None picks a length of about 0.15 s.
        progress: Label of the progress bar on standard output; None shows none.
        mesh: The devices that share the batches; None takes all there are, of which as many are used as part
            a batch evenly. The trained model lies on the first.

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
        carry,
        static,
        data,
        key,
        steps,
        batch_size,
        learning_rate,
        hyper or {},
        on_chunk,
        chunk,
        progress,
        mesh,
    )


def fit_many(
    build: Callable[[nnx.Rngs], M],
    loss: Loss,
    data: Any,
    *,
    keys: Key[Array, " runs"],
    steps: int,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    schedule: Schedule = cosine,
    transform: optax.GradientTransformation = ADAM,
    hyper: dict[str, Any] | None = None,
    chunk: int | None = None,
    progress: str | None = "training",
    mesh: Mesh | None = None,
) -> Fitted[M]:
    """Train one model for each key, side by side in one compiled program (`jax.vmap`).

    Args:
        build: Makes a fresh model from `nnx.Rngs`.
        keys: Shape (runs,), keys of `jax.random.split`; each seeds one run's weights and its training.
        hyper: Numbers handed to the loss by name, each of shape (runs,).
        loss, data, steps, batch_size, learning_rate, schedule, transform, chunk, progress: As for `fit`.
        mesh: The devices that share the runs; None takes all there are, of which as many are used as part the
            runs evenly.

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

    graphdef = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))  # no weights are drawn for it
    static = {"graphdef": graphdef, "loss": loss, "transform": transform, "schedule": schedule, "many": True}
    training_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    carry = jax.vmap(start)(keys)
    return _run(
        carry,
        static,
        data,
        training_keys,
        steps,
        batch_size,
        learning_rate,
        hyper,
        None,
        chunk,
        progress,
        mesh,
    )


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
    mesh: Mesh | None,
) -> Any:
    checks.positive("learning_rate", learning_rate)
    data = jax.tree.map(jnp.asarray, data)
    check_data(data, batch_size)
    many = static["many"]
    runs = key.shape if many else ()
    examples = batch_size or len(jax.tree.leaves(data)[0])
    chosen = devices.mesh(runs[0] if many else examples, None if mesh is None else list(mesh.devices.flat))
    over = None if mesh is None and chosen.size == 1 else chosen  # None: JAX puts things where it does
    if over:
        whole, parted = devices.whole(over), devices.parted(over)
        data = devices.place(data, parted if batch_size is None and not many else whole)
        carry, key, hyper = devices.place((carry, key, hyper), parted if many else whole)
    if jax.process_count() > 1:  # all have to end their chunks at the same steps, whatever their clocks say
        chunk = chunk or _TOGETHER
        progress = progress if jax.process_index() == 0 else None
    run_chunk = partial(_chunk, batch_size=batch_size, over=over, **static)

    def advance(carry: _Carry, start: int, stop: int) -> Any:
        return run_chunk(carry, data, hyper, learning_rate, steps, key, start, stop)

    def model_of(state: chunks.State) -> Any:
        carry = devices.home(state.carry, over)
        return nnx.merge(static["graphdef"], carry.params, carry.rest)

    def after(state: chunks.State) -> None:
        if on_chunk:
            on_chunk(Progress(state.done, steps, _history(state, runs), partial(model_of, state)))

    state, interrupted = chunks.run(
        carry,
        advance,
        steps=steps,
        losses=lambda rows: rows[0],
        weights=lambda carry: devices.home(carry.params, over),
        after=after,
        chunk=chunk,
        progress=progress,
    )
    return Fitted(model_of(state), _history(state, runs), interrupted)


def check_data(data: Any, batch_size: int | None) -> None:
    """Raise ValueError unless all arrays have the same number of examples, at least a batch of them."""
    leaves = jax.tree.leaves(data)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if not leaves or None in sizes or len(sizes) > 1:
        shapes = [leaf.shape for leaf in leaves[:5]]
        more = f" and {len(leaves) - 5} more" if len(leaves) > 5 else ""  # a list is a tree of numbers
        raise ValueError(
            f"data has shapes {shapes}{more}; expected arrays with the same number of examples first"
        )
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


def _history(state: chunks.State, runs: tuple[int, ...]) -> History:
    if not state.pieces:
        return History(np.arange(0), np.zeros((*runs, 0), np.float32), {})
    losses, metrics = state.rows()
    return History(np.arange(state.done), losses, metrics)
