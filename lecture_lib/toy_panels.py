"""The panels of notebook 07: the GAN of numbers with all its sliders, and the map of learning rates."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.colors import LogNorm
from scipy import stats

from lecture_lib import adversarial, figures, toy_films, toy_trials
from lecture_lib.figures import INK, ORANGE, PAPER, Drawing
from lecture_lib.gan_training import FittedGANs
from lecture_lib.panels import Panel, Place, Press, choice, choice_slider, slider, whole_slider
from lecture_lib.toy_films import Film
from lecture_lib.toy_trials import BATCH, DATA, LOSSES, PRIORS, Settings
from lecture_lib.toy_widgets import FilmPlayer
from lecture_lib.toy_worlds import FAILURES, WORLDS, Balance, World

RATES = [0.0, 1e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2]
_NAMED = [(f"{rate:g}", rate) for rate in RATES]
START = 15
"""The frame that a player begins with."""
_REMEMBERED = 4
"""Games; each holds 201 states of both players, 4 MB."""


class _Games:
    """Trains what is asked for, and keeps the last games: to step on from, and to come back to."""

    def __init__(self) -> None:
        self._train = functools.lru_cache(maxsize=_REMEMBERED)(self._fresh)

    def _fresh(self, settings: Settings, seed: int) -> tuple[FittedGANs, Film]:
        fitted = toy_trials.train(settings, keys=jax.random.split(jax.random.key(seed), 1))
        return fitted, toy_films.film(fitted, settings.data)

    def __call__(self, settings: Settings, seed: int) -> tuple[FittedGANs, Film]:
        played = self._train(settings, seed)
        if played[0].interrupted:  # it is shown as far as it came; asked for again, it is played to its end
            self._train.cache_clear()
        return played


def film_panel(settings: Settings = toy_trials.RECIPE, *, seed: int = 0, start: int = START) -> Panel:
    """Train a GAN of numbers with sliders, play it as a film, and step its players by hand.

    Args:
        settings: At the start, and after a reset. Learning rates are among those of the sliders.
        seed: Of the weights and of the training, 0 to 9.
        start: The frame to begin with.
    """
    games = _Games()
    shown: dict[str, Any] = {}

    def compute(seed: int, **chosen: Any) -> Film:
        settings = Settings(**chosen)
        film = games(settings, seed)[1]
        shown.update(settings=settings, seed=seed)  # not of a game that failed: the last good one still plays
        return film

    controls: dict[str, Any] = {
        "data": choice("data", settings.data, list(DATA)),
        "prior": choice("P(z)", settings.prior, list(PRIORS)),
        "loss": choice("G minimises", settings.loss, list(LOSSES)),
        "seed": whole_slider("seed", seed, 0, 9),
        "discriminator_rate": choice_slider("rate of D", settings.discriminator_rate, _NAMED),
        "generator_rate": choice_slider("rate of G", settings.generator_rate, _NAMED),
        "d_steps": whole_slider("k, steps of D", settings.d_steps, 1, 10),
        "penalty": choice_slider("γ of R1", settings.penalty, [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
        "momentum": choice_slider("Adam's b1", settings.momentum, [0.0, 0.25, 0.5, 0.75, 0.9]),
        "shift": slider("move G's start", settings.shift, -4, 4, 0.5),
    }
    chosen = {name: control.value for name, control in controls.items()}
    player = FilmPlayer(compute(**chosen), start=start, steps=True)
    worlds = {name: _setting(world.settings) for name, world in WORLDS.items() if name != "D is fooled"}

    def say(film: Film) -> str:
        at = [world for world in WORLDS.values() if world.settings == shown["settings"]]
        fates = [f"{world.tells} Sign: {world.sign}. Met: {_answer(world, film)}" for world in at]
        failed = [name for name in FAILURES if WORLDS[name].holds(film)]
        return " | ".join([*fates, f"signs of failure in this game: {', '.join(failed) or 'none'}"])

    panel = Panel(compute, player, controls, actions=worlds, side_by_side=list(controls), describe=say)

    def answer(place: int, log: str) -> None:
        settings = shown["settings"]
        fitted, _ = games(settings, shown["seed"])
        state = walk(fitted, settings, place, log)
        film = toy_films.look(fitted.game, toy_films.players(state), settings.data, [fitted.steps[place]])
        told = ", ".join(f"{len(list(run))} × {who}" for who, run in itertools.groupby(log))
        player.show_branch(film, told)

    def asked(change: Any) -> None:
        place, log = change["new"]
        if not log:
            return
        with figures.ONE_AT_A_TIME, panel.working():
            try:
                answer(place, log)
            except Exception as error:  # as for a slider: the student must see it
                player.asked = [0, ""]
                panel.tell(error)

    player.observe(asked, "asked")
    return panel


def _answer(world: World, film: Film) -> str:
    return "yes" if world.holds(film) else "no, not with this seed"


def _setting(settings: Settings) -> Any:
    return lambda values: settings._asdict()


def walk(fitted: FittedGANs, settings: Settings, place: int, log: str) -> adversarial.State:
    """Single steps from a kept state of the first game: "D" and "G" in any order.

    Args:
        fitted: Of `toy_trials.train`.
        settings: Those of the game; a step of D is one step, whatever k is.
        place: Which kept state.
        log: Whose steps.

    Raises:
        ValueError: A step that is neither D's nor G's.
    """
    if set(log) - {"D", "G"}:
        raise ValueError(f"log is {log!r}; expected letters D and G")
    state = jax.tree.map(lambda leaf: leaf[place, 0], fitted.kept)
    fraction = toy_trials.falling(fitted.steps[place] / max(1, fitted.steps[-1]))
    key = jax.random.fold_in(jax.random.key(7), place)
    whose = np.array([who == "D" for who in log])
    x = toy_trials.examples(settings.data)
    rates = fraction * settings.discriminator_rate, fraction * settings.generator_rate
    for i, d in enumerate(whose):
        step = _d_step if d else _g_step
        state = step(fitted.game, state, x, jax.random.fold_in(key, i), rates, settings.penalty)
    return jax.tree.map(lambda leaf: leaf[None], state)


@functools.partial(jax.jit, static_argnames="game")
def _d_step(game: adversarial.Game, state: Any, x: Any, key: Any, rates: Any, penalty: Any) -> Any:
    key_rows, key_z = jax.random.split(key)
    batch = x[jax.random.randint(key_rows, (BATCH,), 0, len(x))]
    return game.discriminator_step(state, batch, key_z, rate=rates[0], penalty=penalty)[0]


@functools.partial(jax.jit, static_argnames="game")
def _g_step(game: adversarial.Game, state: Any, x: Any, key: Any, rates: Any, penalty: Any) -> Any:
    return game.generator_step(state, BATCH, key, rate=rates[1])[0]


# --- the map of learning rates ------------------------------------------------------------------


class Cell(NamedTuple):
    """What the map draws."""

    row: int
    column: int
    film: Film
    """Of the game in this cell."""


@figures.styled
def balance_panel(balance: Balance, *, row: int = 6, column: int = 9) -> Panel:
    """Final W1 of many GANs by their two learning rates; the one under the cursor plays below.

    Args:
        balance: Of `toy_worlds.balance`.
        row, column: Where the cursor starts: which learning rate of G, and of D.

    Raises:
        ValueError: A place that is not on the map.
    """
    rows, columns = balance.shape
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"row is {row}, column {column}; expected a place on a map of {rows} x {columns}")
    w1 = balance.map("w1")
    fig, ax = figures.figure(8, 4.2)
    picture = ax.imshow(w1, origin="lower", cmap="cividis_r", norm=LogNorm(0.02, 2), aspect="auto")
    bar = fig.colorbar(picture, ax=ax, ticks=[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], extend="both")
    bar.ax.set_yticklabels(["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"])
    bar.ax.minorticks_off()
    bar.set_label("final W1, units of x")
    good = np.argwhere(w1 < 0.05)
    ax.plot(good[:, 1], good[:, 0], "o", color="white", mec=INK, ms=4, mew=0.7, label="W1 below 0.05")
    cursor = ax.plot([], [], "s", mfc="none", mec=PAPER, mew=5, ms=14)
    cursor += ax.plot([], [], "s", mfc="none", mec=ORANGE, mew=2.5, ms=14, label="plays below")
    ax.set(title=f"{rows * columns} GANs, all from the same start", xlabel="learning rate of D")
    ax.set(ylabel="learning rate of G")
    ax.set_xticks(range(0, columns, 3), [f"{r:.1g}" for r in balance.discriminator_rates[::3]])
    ax.set_yticks(range(0, rows, 3), [f"{r:.1g}" for r in balance.generator_rates[::3]])
    ax.legend(loc="lower right", bbox_to_anchor=(1.02, 1.0), ncols=2, fontsize=8)

    def compute(row: int, column: int) -> Cell:
        return Cell(row, column, balance.film(row, column))

    player = FilmPlayer(compute(row, column).film, start=balance.last)
    ranks = {name: _ranks(balance.map(name)) for name in ("w1", "loss_g", "loss_d")}

    def update(what: Cell) -> None:
        for artist in cursor:
            artist.set_data([what.column], [what.row])
        player.show(what.film)

    def say(what: Cell) -> str:
        here = what.row, what.column
        told = {
            name: f"{balance.map(name)[here]:.3f} (rank {ranks[name][here]} of {w1.size})" for name in ranks
        }
        return (
            f"rate of D {balance.discriminator_rates[what.column]:.2g}, of G "
            f"{balance.generator_rates[what.row]:.2g} | final W1 {told['w1']} | G's loss {told['loss_g']} | "
            f"D's loss {told['loss_d']}"
        )

    def alt(what: Cell) -> str:
        return (
            f"Map of the final W1 of {w1.size} GANs by the learning rates of D and of G; {len(good)} are "
            f"below 0.05. The cursor: {say(what)}."
        )

    def pressed(values: dict[str, Any], place: Place, before: Place | None) -> dict[str, Any]:
        inside = [int(min(max(round(v), 0), n - 1)) for v, n in ((place.x, columns), (place.y, rows))]
        return {"column": inside[0], "row": inside[1]}

    controls = {
        name: choice_slider(label, start, [(f"{rate:.2g}", i) for i, rate in enumerate(rates)])
        for name, label, start, rates in (
            ("column", "learning rate of D", column, balance.discriminator_rates),
            ("row", "learning rate of G", row, balance.generator_rates),
        )
    }
    drawing = Drawing(fig, cursor, update, alt)
    panel = Panel(compute, drawing, controls, press=Press(ax, pressed), describe=say)
    panel.put_below(player)
    return panel


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest."""
    known = np.where(np.isfinite(values), values, np.inf)  # a game that has diverged is the last
    return stats.rankdata(known, method="min").reshape(values.shape).astype(int)
