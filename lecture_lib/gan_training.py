"""`fit_gan` and `fit_gans`: two players trained against each other, in compiled chunks of steps."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Real

from lecture_lib import adversarial, checks, chunks, training
from lecture_lib.networks import GAN, Generator
from lecture_lib.objectives import NON_SATURATING, GANLosses
from lecture_lib.training import Schedule


class GANHistory(NamedTuple):
    """What happened at each step; of `fit_gans`, all but `step` has an axis of runs in front."""

    step: Int[np.ndarray, " steps"]
    """0, 1, 2, ...: the number of steps of G made before."""
    discriminator_loss: Float[np.ndarray, "*runs steps"]
    """D's loss before its last update in this step, with the penalty."""
    generator_loss: Float[np.ndarray, "*runs steps"]
    """G's loss before its update."""
    real: Float[np.ndarray, "*runs steps"]
    """Mean probability that D gave to real x, before that update."""
    fake: Float[np.ndarray, "*runs steps"]
    """The same for generated x."""


class Snapshot(NamedTuple):
    """The game after some steps."""

    step: int
    gan: GAN
    """Both players."""
    averaged: Generator
    """The generator with the running mean of its parameters; see `adversarial.State`."""
    state: adversarial.State
    """All of it, to go on from."""


class FittedGAN(NamedTuple):
    """What `fit_gan` returns."""

    last: Snapshot
    """The trained players; those handed in are left as they were."""
    snapshots: tuple[Snapshot, ...]
    """The game after the steps that were asked for, as far as training came."""
    history: GANHistory
    game: adversarial.Game
    """The rules, to go on with."""
    interrupted: bool
    """Whether training was interrupted before its last step."""


class Rules(NamedTuple):
    """Numbers that may differ from game to game, none of them compiled in."""

    generator_rate: Real[ArrayLike, "*#runs"]
    discriminator_rate: Real[ArrayLike, "*#runs"]
    penalty: Real[ArrayLike, "*#runs"]


def _step(
    game: adversarial.Game,
    batch_size: int,
    schedule: Schedule,
    data: Any,
    d_steps: Any,
    steps: Any,
    rules: Rules,
    key: PRNGKeyArray,
    state: adversarial.State,
    i: Any,
) -> tuple[adversarial.State, tuple[adversarial.Said, adversarial.Said]]:
    """`d_steps` updates of D, then one of G."""
    key_d, key_g = jax.random.split(jax.random.fold_in(key, i))
    now = schedule(i / steps)

    def train_d(k: Any, both: Any) -> Any:
        key_rows, key_z = jax.random.split(jax.random.fold_in(key_d, k))
        rows = jax.random.randint(key_rows, (batch_size,), 0, len(data))
        rate, penalty = now * rules.discriminator_rate, rules.penalty
        state, said = game.discriminator_step(both[0], data[rows], key_z, rate=rate, penalty=penalty)
        return state, jax.tree.map(lambda a, like: a.astype(like.dtype), said, nothing)

    nothing = adversarial.Said(*jnp.zeros(3))  # whatever the data's dtype: weights and z have their own
    state, of_d = jax.lax.fori_loop(0, d_steps, train_d, (state, nothing))
    state, of_g = game.generator_step(state, batch_size, key_g, rate=now * rules.generator_rate)
    return state, (of_d, of_g)


@partial(jax.jit, static_argnames=("game", "batch_size", "schedule"))
def _chunk(
    state: adversarial.State,
    data: Any,
    rules: Rules,
    d_steps: Any,
    steps: Any,
    key: PRNGKeyArray,
    start: Any,
    stop: Any,
    *,
    game: adversarial.Game,
    batch_size: int,
    schedule: Schedule,
) -> tuple[adversarial.State, tuple[adversarial.Said, adversarial.Said]]:
    """Steps start to stop - 1 of one game."""
    step = partial(_step, game, batch_size, schedule, data, d_steps, steps, rules, key)
    return chunks.scan(step, state, start, stop)


def fit_gan(
    gan: GAN,
    data: Float[ArrayLike, "n pixels"],
    *,
    key: PRNGKeyArray,
    steps: int,
    batch_size: int = 64,
    d_steps: int = 1,
    generator_rate: float = 5e-4,
    discriminator_rate: float = 5e-4,
    penalty: float = 0.1,
    losses: GANLosses = NON_SATURATING,
    transform: optax.GradientTransformation = adversarial.ADAM,
    schedule: Schedule = training.constant,
    snapshots: Collection[int] = (),
    chunk: int | None = None,
    progress: str | None = "training",
) -> FittedGAN:
    """Let a copy of two players play: in each step `d_steps` updates of D, then one of G.

    Goodfellow and others 2014, algorithm 1. The same key gives the same result bit for bit on one machine,
    whatever the chunk length and the snapshots.

    Args:
        gan: The players; those handed in are not changed.
        data: Real x, shape (n, pixels); there are no labels.
        key: A key of `jax.random.key`; step i uses fold_in(key, i).
        steps: Number of G's updates, at least 0.
        batch_size: Real x in a batch, drawn uniformly with replacement, and as many generated ones.
        d_steps: Updates of D in a step, each on a new batch, at least 1; it is k in the paper.
        generator_rate, discriminator_rate: Learning rates, at least 0; at 0 a player stays as it is.
        penalty: Weight gamma of `objectives.r1_penalty`, at least 0.
        losses: What the players minimise; one of those in `objectives`.
        transform: An Optax transformation without a learning rate, for both players.
        schedule: The course of both learning rates: from the share of steps done, in [0, 1), to a factor.
        snapshots: After which steps to keep the game, each from 0 to `steps`.
        chunk: Steps in a chunk, from 1 to `chunks.LONGEST`; None picks a length of about 0.15 s.
        progress: Label of the progress bar on standard output; None shows none.

    Returns:
        FittedGAN. Ctrl-C (or Kernel > Interrupt) ends training early, says so, and returns what was learned
        so far.

    Raises:
        TypeError, ValueError: An argument does not fit; the message names it.
        FloatingPointError: A loss was not finite; the message names the step.
    """
    x, wanted = _checked(gan, data, steps, batch_size, d_steps, snapshots)
    rules = Rules(generator_rate, discriminator_rate, penalty)
    for name, value in rules._asdict().items():
        checks.at_least_zero(name, value)
    game, state = adversarial.start(gan, losses, transform)
    kept = {0: state} if wanted[:1] == [0] else {}
    run_chunk = partial(_chunk, game=game, batch_size=batch_size, schedule=schedule)

    def advance(carry: adversarial.State, start: int, stop: int) -> Any:
        return run_chunk(carry, x, rules, d_steps, steps, key, start, stop)

    def after(now: chunks.State) -> None:
        if now.done in wanted:
            kept[now.done] = now.carry

    end, interrupted = chunks.run(
        state,
        advance,
        steps=steps,
        losses=lambda rows: rows[0].loss + rows[1].loss,
        weights=lambda carry: (carry.generator, carry.discriminator),
        after=after,
        stops=wanted,
        chunk=chunk,
        progress=progress,
    )
    after(end)  # an interruption may have come between the last chunk and its call

    def snapshot(step: int, state: adversarial.State) -> Snapshot:
        return Snapshot(step, game.model(state), game.generator_of(state.averaged), state)

    return FittedGAN(
        snapshot(end.done, end.carry),
        tuple(snapshot(*item) for item in kept.items()),
        _history(end, ()),
        game,
        interrupted,
    )


class FittedGANs(NamedTuple):
    """What `fit_gans` returns."""

    last: adversarial.State
    """Where the games ended: arrays of shape (runs, ...)."""
    steps: Int[np.ndarray, " frames"]
    """After which steps the games were kept, as far as training came; shape (frames,)."""
    kept: adversarial.State
    """The games after those steps: arrays of shape (frames, runs, ...); None for parts that were not kept."""
    history: GANHistory
    """Shape (runs, steps run)."""
    game: adversarial.Game
    """The rules."""
    interrupted: bool
    """Whether training was interrupted before its last step."""

    @property
    def diverged(self) -> Bool[np.ndarray, " runs"]:
        """Which games have a weight that is not finite, shape (runs,)."""
        weights = jax.tree.leaves((self.last.generator, self.last.discriminator))
        finite = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in weights]
        return ~np.logical_and.reduce(finite)


@partial(jax.jit, static_argnames=("game", "batch_size", "schedule", "every", "frames", "keep"))
def _frames(
    state: adversarial.State,
    data: Any,
    rules: Rules,
    d_steps: Any,
    steps: Any,
    keys: PRNGKeyArray,
    start: Any,
    *,
    game: adversarial.Game,
    batch_size: int,
    schedule: Schedule,
    every: int,
    frames: int,
    keep: tuple[str, ...],
) -> Any:
    """Games side by side, `frames` times `every` steps, and what there was after each `every` of them."""

    def frame(rules: Rules, key: PRNGKeyArray, state: adversarial.State, start: Any) -> Any:
        step = partial(_step, game, batch_size, schedule, data, d_steps, steps, rules, key)
        return chunks.scan(step, state, start, start + every, most=every)

    def next_frame(state: adversarial.State, start: Any) -> Any:
        state, told = jax.vmap(frame, (0, 0, 0, None))(rules, keys, state, start)
        return state, (told, {name: getattr(state, name) for name in keep})

    state, (told, kept) = jax.lax.scan(next_frame, state, start + every * jnp.arange(frames))
    # (frames, runs, every) -> (runs, steps)
    told = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(a.shape[1], frames * every), told)
    return state, told, kept


def fit_gans(
    build: Callable[[nnx.Rngs], GAN],
    data: Float[ArrayLike, "n pixels"],
    *,
    keys: Key[Array, " runs"],
    steps: int,
    every: int,
    batch_size: int = 64,
    d_steps: int = 1,
    generator_rate: Real[ArrayLike, "*#runs"] = 5e-4,
    discriminator_rate: Real[ArrayLike, "*#runs"] = 5e-4,
    penalty: Real[ArrayLike, "*#runs"] = 0.1,
    losses: GANLosses = NON_SATURATING,
    transform: optax.GradientTransformation = adversarial.ADAM,
    start: Callable[[adversarial.State], adversarial.State] | None = None,
    schedule: Schedule = training.constant,
    keep: Sequence[str] = adversarial.State._fields,
    chunk: int | None = None,
    progress: str | None = "training",
) -> FittedGANs:
    """Play one game for each key, side by side in one compiled program (`jax.vmap`).

    A game that diverges does not stop the others; see `FittedGANs.diverged`. The same call gives the same
    result bit for bit on one machine; with other games beside it, or another `every`, the last bits of a game
    may differ, and a GAN makes much of them.

    Args:
        build: Makes fresh players from `nnx.Rngs`.
        keys: Shape (runs,), keys of `jax.random.split`; each seeds one game's weights and its training.
        steps: Number of G's updates, at least 0 and a multiple of `every`.
        every: After how many steps the games are kept again, from 1 to `chunks.LONGEST`.
        generator_rate, discriminator_rate, penalty: As for `fit_gan`: one number, or one for each game.
        start: Changes the first state of all games, if wanted.
        keep: Which fields of the state are kept.
        chunk: Steps in a compiled call, a multiple of `every`; None takes about a quarter of them.
        data, batch_size, d_steps, losses, transform, schedule, progress: As for `fit_gan`.

    Returns:
        FittedGANs. Ctrl-C (or Kernel > Interrupt) ends training early, says so, and returns what was learned
        so far.

    Raises:
        TypeError, ValueError: An argument does not fit; the message names it.
    """
    if not (isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"keys is of type {type(keys).__name__}; expected an array of keys of jax.random.key")
    if jnp.ndim(keys) != 1 or not len(keys):
        raise ValueError(
            f"keys has shape {jnp.shape(keys)}; expected (runs,), as jax.random.split makes them"
        )
    like = build(nnx.Rngs(0))
    x, _ = _checked(like, data, steps, batch_size, d_steps, ())
    frames, rest = divmod(steps, checks.whole("every", every, low=1, high=chunks.LONGEST))
    if rest:
        raise ValueError(f"steps is {steps}; expected a multiple of every, {every}")
    unknown = set(keep) - set(adversarial.State._fields)
    if unknown:
        raise ValueError(f"keep has {sorted(unknown)}; expected fields of adversarial.State")
    told = {
        "generator_rate": generator_rate,
        "discriminator_rate": discriminator_rate,
        "penalty": penalty,
    }
    for name, value in told.items():
        checks.at_least_zero(name, value)
        if np.shape(value) not in ((), keys.shape):
            raise ValueError(f"{name} has shape {np.shape(value)}; expected one number or {keys.shape}")
    rules = Rules(*(jnp.broadcast_to(jnp.asarray(value, float), keys.shape) for value in told.values()))
    game, _ = adversarial.start(like, losses, transform)

    def first(key: PRNGKeyArray) -> adversarial.State:
        return adversarial.start(build(nnx.Rngs(jax.random.fold_in(key, 0))), losses, transform)[1]

    state = jax.vmap(first)(keys)
    state = state if start is None else start(state)
    of_game = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    call = _frames_of_a_call(frames, every, chunk)
    options = {"game": game, "batch_size": batch_size, "schedule": schedule, "every": every, "frames": call}
    kept = [{name: jax.tree.map(lambda a: a[None], getattr(state, name)) for name in keep}]

    def advance(carry: adversarial.State, begin: int, _: int) -> Any:
        carry, told, seen = _frames(
            carry, x, rules, d_steps, steps, of_game, begin, keep=tuple(keep), **options
        )
        kept.append(seen)
        return carry, told

    end, interrupted = chunks.run(
        state,
        advance,
        steps=steps,
        losses=_finite_losses,
        weights=lambda carry: (),
        after=lambda now: None,
        chunk=max(1, call * every),
        progress=progress,
    )
    done = kept[: 1 + end.done // max(1, call * every)]  # the call after an interruption does not count
    parts = {
        name: jax.tree.map(lambda *a: np.concatenate(a), *(part[name] for part in done)) for name in keep
    }
    nothing = dict.fromkeys(adversarial.State._fields)
    return FittedGANs(
        end.carry,
        np.arange(0, end.done + 1, every),
        adversarial.State(**{**nothing, **parts}),
        _history(end, keys.shape),
        game,
        interrupted,
    )


def _finite_losses(rows: Any) -> np.ndarray:
    """The losses of both players together, or 0: a game that is lost does not end the others."""
    of_both = np.stack([said.loss for said in rows]).astype(np.float64)
    return np.where(np.isfinite(of_both).all(axis=0), of_both, 0).sum(axis=0)


def _frames_of_a_call(frames: int, every: int, chunk: int | None) -> int:
    """A number of frames that divides all of them: each call then runs the same program."""
    if chunk is not None and (checks.whole("chunk", chunk, low=1, high=chunks.LONGEST) % every):
        raise ValueError(f"chunk is {chunk}; expected a multiple of every, {every}")
    most = chunks.LONGEST // every
    wanted = frames // 4 if chunk is None else chunk // every
    return max((n for n in range(1, min(wanted, most) + 1) if frames % n == 0), default=1)


def _checked(
    gan: GAN, data: Any, steps: int, batch_size: int, d_steps: int, snapshots: Collection[int]
) -> tuple[Any, list[int]]:
    """The data as an array, and the snapshots in order."""
    x = jnp.asarray(data)
    training.check_data(x, checks.whole("batch_size", batch_size, low=1))
    checks.floating("data", x)
    if x.ndim != 2 or x.shape[1] != gan.generator.pixels:
        raise ValueError(f"data has shape {x.shape}; expected (n, {gan.generator.pixels})")
    checks.whole("steps", steps, low=0)
    checks.whole("d_steps", d_steps, low=1)
    return x, sorted({checks.whole("snapshots", step, low=0, high=steps) for step in snapshots})


def _history(end: chunks.State, runs: tuple[int, ...]) -> GANHistory:
    if not end.pieces:
        return GANHistory(np.arange(0), *(np.zeros((*runs, 0), np.float32),) * 4)
    of_d, of_g = end.rows()
    return GANHistory(np.arange(end.done), of_d.loss, of_g.loss, of_d.real, of_d.fake)
