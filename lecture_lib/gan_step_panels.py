"""The panel of notebook 06 in which the two players move one step at a time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lecture_lib import adversarial, checks, figures, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, wall
from lecture_lib.figures import FAINT, GREEN, INK, ORANGE, Drawing
from lecture_lib.gan_panels import BELOW, Opinions, blank_wall, check_generations, named
from lecture_lib.gan_training import FittedGAN
from lecture_lib.panels import Kept, Panel, choice, choice_slider
from lecture_lib.style_trials import Digits

_FOLLOWED, _SHOWN_STEPS, _ASKED = 8, 30, 60
_REMEMBERED = 50
"""Presses; each holds both players and their moments, 2 MB."""


class Round(NamedTuple):
    """What the panel of single steps draws."""

    step: int
    """The generation it started from."""
    log: tuple[tuple[str, float], ...]
    """The steps since: whose, and the learning rate."""
    images: Float[np.ndarray, "8 64"]
    """Eight samples, shape (8, 64)."""
    said: Float[np.ndarray, " 8"]
    """D of each, shape (8,)."""
    fake: Float[np.ndarray, " 60"]
    """D of 60 samples, shape (60,)."""
    real: Float[np.ndarray, " 60"]
    """D of 60 held-out real digits, shape (60,)."""
    course: Float[np.ndarray, "steps 2"]
    """Mean of `fake` and of `real` before the first step and after each, shape (steps + 1, 2)."""
    first: tuple[Float[np.ndarray, " 60"], Float[np.ndarray, " 60"]]
    """`fake` and `real` at the start."""


@figures.styled
def step_panel(fitted: FittedGAN, seen: Digits, new: Digits, *, start: int = 4) -> Panel:
    """One step of D, one step of G, and what D then says of real digits and of G's.

    Args:
        fitted: A trained GAN with snapshots to start from.
        seen: What D learns from.
        new: Real digits to ask D about.
        start: Which snapshot to start from at first.

    Raises:
        ValueError: Too few snapshots, pictures that are not 8x8, or too few real digits to ask about.
    """
    check_generations(fitted, least=checks.whole("start", start, low=0) + 1)
    if len(new.x) < _ASKED:
        raise ValueError(f"new has {len(new.x)} digits; expected at least {_ASKED}")
    game, snapshots = fitted.game, fitted.snapshots
    key = jax.random.key(60)
    key_codes, key_steps = jax.random.split(key)
    codes = jax.random.normal(key_codes, (_ASKED, fitted.last.gan.generator.latent))
    real_x = jnp.asarray(new.x[:_ASKED])
    x = jnp.asarray(seen.x)

    @jax.jit
    def look(state: adversarial.State) -> Any:
        d, made = game.discriminator_of(state.discriminator), game.generator_of(state.generator)(codes)
        return made[:_FOLLOWED], jax.nn.sigmoid(d(made)), jax.nn.sigmoid(d(real_x))

    @jax.jit
    def of_d(state: adversarial.State, i: Any, rate: Any) -> adversarial.State:
        key_rows, key_z = jax.random.split(jax.random.fold_in(key_steps, i))
        batch = x[jax.random.randint(key_rows, (64,), 0, len(x))]
        return game.discriminator_step(state, batch, key_z, rate=rate, penalty=0.1)[0]

    @jax.jit
    def of_g(state: adversarial.State, i: Any, rate: Any) -> adversarial.State:
        return game.generator_step(state, 64, jax.random.fold_in(key_steps, i), rate=rate)[0]

    played: dict[Any, tuple[adversarial.State, np.ndarray]] = {}

    def play(place: int, log: tuple[tuple[str, float], ...]) -> tuple[adversarial.State, np.ndarray]:
        """The state after these steps; the last presses are remembered, so that one costs its own steps."""
        known = len(log)
        while known and (place, log[:known]) not in played:
            known -= 1
        if known:
            state, course = played[place, log[:known]]
        else:
            state = snapshots[place].state
            course = np.array([[float(p.mean()) for p in look(state)[1:]]])
        for i in range(known, len(log)):
            who, rate = log[i]
            state = (of_d if who == "D" else of_g)(state, i, rate)
            now = [float(p.mean()) for p in look(state)[1:]]
            course = np.append(course, [now], axis=0)
        if log:
            played[place, log] = state, course
        while len(played) > _REMEMBERED:
            del played[next(iter(played))]
        return state, course

    fig, axes = figures.figure(8, 5.6, nrows=3, height_ratios=[1.15, 1, 1.25])
    picture = blank_wall(axes[0], _FOLLOWED, _FOLLOWED, "Eight of G's pictures, and what D says of them now")
    opinions = Opinions(axes[0], _FOLLOWED, _FOLLOWED)
    rng = np.random.default_rng(0)
    heights = np.array([[1.0], [0.0]]) + rng.uniform(-0.28, 0.28, (2, _ASKED))
    kinds = (("G's pictures", ORANGE, "o"), ("real digits, held out", GREEN, "s"))
    before = [
        axes[1].plot(0 * h, h, m, mfc="none", color=FAINT, ms=5)[0]
        for (_, _, m), h in zip(kinds, heights, strict=True)
    ]
    after = [
        axes[1].plot(0 * h, h, m, color=c, ms=4.5)[0] for (_, c, m), h in zip(kinds, heights, strict=True)
    ]
    axes[1].axvline(0.5, color=INK, lw=1, ls=":")
    axes[1].set(title="60 of each: D at the start (hollow) and now (filled)", xlim=(0, 1), ylim=(-0.5, 1.5))
    axes[1].set_yticks([0, 1], ["real", "G's"])
    axes[1].set_xlabel("D's probability that it is real")
    course = [
        axes[2].plot([], [], m + ls, color=c, ms=5, label=f"mean over {name}")[0]
        for (name, c, m), ls in zip(kinds, ("--", "-."), strict=True)
    ]
    letters = [axes[2].text(k, -0.16, "", ha="center", fontsize=9) for k in range(1, _SHOWN_STEPS + 1)]
    axes[2].axhline(0.5, color=INK, lw=1, ls=":")
    axes[2].set(title="Whose step it was, and the means after it", ylabel="D's probability", ylim=(-0.2, 1.4))
    axes[2].set_yticks([0, 0.5, 1])
    axes[2].set(xlim=(-0.5, _SHOWN_STEPS + 0.5), xlabel=f"steps (the last {_SHOWN_STEPS})")
    axes[2].set_xticks(range(0, _SHOWN_STEPS + 1, 5))
    axes[2].legend(loc="upper right", ncols=2, fontsize=8)

    def compute(place: int, times: float, log: tuple[tuple[str, float], ...]) -> Round:
        state, means = play(place, log)
        made, fake, real = (np.asarray(a) for a in look(state))
        _, fake_first, real_first = (np.asarray(a) for a in look(snapshots[place].state))
        first = fake_first, real_first
        return Round(snapshots[place].step, log, made, fake[:_FOLLOWED], fake, real, means, first)

    def update(what: Round) -> None:
        picture.set_data(wall(what.images, INK_LOOK, columns=_FOLLOWED, below=BELOW))
        opinions.show(what.said)
        for artists, values in ((before, what.first), (after, (what.fake, what.real))):
            for artist, p in zip(artists, values, strict=True):
                artist.set_xdata(p)
        recent = what.course[-_SHOWN_STEPS - 1 :]
        for line, ys in zip(course, recent.T, strict=True):
            line.set_data(np.arange(len(ys)), ys)
        last = [who for who, _ in what.log[-_SHOWN_STEPS:]]
        for k, letter in enumerate(letters):
            letter.set_text(last[k] if k < len(last) else "")

    def say(what: Round) -> str:
        steps = "".join(who for who, _ in what.log)
        counted = f"{steps.count('D')} steps of D, {steps.count('G')} of G" if steps else "no step yet"
        right = ((what.fake < 0.5).mean() + (what.real > 0.5).mean()) / 2
        return (
            f"from generation {what.step}: {counted} | D's mean on G's: {what.fake.mean():.3f}, on real: "
            f"{what.real.mean():.3f} | D is right on {right:.0%}"
        )

    def alt(what: Round) -> str:
        return (
            "Eight samples with D's probability of being real; D's probabilities of 60 samples and 60 real "
            f"digits at the start and now; their means over the steps. {say(what)}."
        )

    def step(*whose: str) -> Any:
        def act(values: dict[str, Any]) -> dict[str, Any]:
            return {"log": values["log"] + tuple((who, values["times"] * gan_trials.RATE) for who in whose)}

        return act

    controls: dict[str, Any] = {
        "place": choice_slider("start from G and D after", start, named(snapshots)),
        "times": choice("learning rate", 1.0, [("as trained", 1.0), ("5 times", 5.0), ("20 times", 20.0)]),
        "log": Kept(value=()),
    }
    actions = {
        "one step of D": step("D"),
        "one step of G": step("G"),
        "ten steps of each": step(*"DG" * 10),
        "ten steps of D alone": step(*"D" * 10),
        "ten steps of G alone": step(*"G" * 10),
    }
    moving = [picture, *opinions.artists, *before, *after, *course, *letters]
    drawing = Drawing(fig, moving, update, alt)
    return Panel(compute, drawing, controls, actions=actions, describe=say)
