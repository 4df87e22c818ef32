"""The panels of notebook 06 on what reaches G through D, and on a D that is not frozen."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from lecture_lib import checks, figures, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, LOOKS, blank, shown, wall
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, PURPLE, Drawing
from lecture_lib.gan_panels import BELOW, JUDGED, MANY, Opinions, blank_wall, check_generations, named
from lecture_lib.gan_training import FittedGAN
from lecture_lib.gan_trials import Drift
from lecture_lib.panels import Panel, choice, choice_slider, whole_slider
from lecture_lib.style_trials import Digits

# --- what reaches G ---------------------------------------------------------------------------

_FARTHEST = 3.5
"""Where the axis of distances ends: even the first G's pictures are nearer to a digit."""


class Reached(NamedTuple):
    """What the panel of the gradient draws."""

    step: int
    image: Float[np.ndarray, " 64"]
    """A sample, shape (64,)."""
    said: float
    """D of it."""
    pull: Float[np.ndarray, " 64"]
    """What D asks for: minus the gradient of -log D by the pixels, shape (64,)."""
    row: int
    """The nearest real digit that D has learned from."""
    distance: float
    """To it."""
    look: str


@figures.styled
def reach_panel(fitted: FittedGAN, seen: Digits, new: Digits) -> Panel:
    """All that a step of G hears of the real digits: a gradient by the pixels. And is the sample a copy?

    Args:
        fitted: A trained GAN with snapshots.
        seen: What D has learned from.
        new: Other real digits, for how near to `seen` real ones come.

    Raises:
        ValueError: Too few snapshots, or pictures that are not 8x8.
    """
    check_generations(fitted)
    snapshots = fitted.snapshots
    key = jax.random.key(61)
    real = gan_trials.nearest(new.x, seen.x)[1]
    edge = float(np.quantile(real, 0.01))
    many = np.asarray(gan_trials.draw(fitted.last.averaged, key, JUDGED))
    made = gan_trials.nearest(many, seen.x)[1]

    fig, four = figures.figure(8, 3.0)  # the others by hand: the layout engine finds no room for the pictures
    fig.set_layout_engine("none")
    four.set_position((0.725, 0.17, 0.255, 0.7))
    one, two, three = (fig.add_axes((left, 0.22, 0.17, 0.17 * 8 / 3)) for left in (0.01, 0.2, 0.46))
    sample = blank(one, "G's picture")
    asked = two.imshow(np.zeros((8, 8)), cmap="PuOr_r", vmin=-1, vmax=1)
    two.set(xticks=[], yticks=[], title="What D asks for")
    bar = fig.colorbar(asked, cax=fig.add_axes((0.38, 0.22, 0.01, 0.17 * 8 / 3)), ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["darker", "same", "lighter"], fontsize=7)
    near = blank(three, "Nearest real")
    bins = np.linspace(0, _FARTHEST, 36)
    four.hist(
        real, bins, weights=np.full(len(real), 1 / len(real)), color=GREEN, alpha=0.45, label="held-out real"
    )
    four.hist(
        made,
        bins,
        weights=np.full(len(made), 1 / len(made)),
        histtype="step",
        color=ORANGE,
        lw=2,
        ls="--",
        label="G's, at the end",
    )
    four.axvline(edge, color=INK, lw=1.5, ls=":", label="nearest 1 % of real")
    (mark,) = four.plot([], [], "v", color=INK, ms=9, clip_on=False, label="this picture")
    four.set(title="Copies?", xlabel="distance to the nearest", ylabel="share")
    four.set(xlim=(0, _FARTHEST), ylim=(0, 0.2))
    four.legend(fontsize=6, loc="upper right", bbox_to_anchor=(1.02, 1.04))

    def compute(place: int, codes: int, look: str) -> Reached:
        s = snapshots[place]
        x = gan_trials.draw(s.gan.generator, key, MANY)[codes : codes + 1]
        row, distance = gan_trials.nearest(x, seen.x)
        said = gan_trials.probability(s.gan.discriminator, x)
        pull = gan_trials.pull(s.gan.discriminator, x)
        return Reached(
            s.step,
            np.asarray(x[0]),
            float(said[0]),
            np.asarray(pull[0]),
            int(row[0]),
            float(distance[0]),
            look,
        )

    def update(what: Reached) -> None:
        sample.set_data(shown(what.image, what.look)[0])
        asked.set_data((what.pull / max(np.abs(what.pull).max(), 1e-12)).reshape(8, 8))
        near.set_data(shown(seen.x[what.row], what.look)[0])
        mark.set_data([min(what.distance, _FARTHEST)], [0.0])

    def say(what: Reached) -> str:
        label = seen.labels[what.row]
        return (
            f"after {what.step} steps | D: {what.said:.2f} | length of the gradient: "
            f"{np.linalg.norm(what.pull):.3f} | nearest of {len(seen.x)} real digits: "
            f"{'an' if label == 8 else 'a'} {label} at {what.distance:.2f} (nearest 1 % of real: {edge:.2f})"
        )

    def alt(what: Reached) -> str:
        return (
            "A sample of G; the gradient through D as a map of the pixels that should become lighter or "
            "darker; the real digit most like it; distances to the nearest real digit of held-out digits and "
            f"of samples, as histograms. Shown {what.look}. {say(what)}."
        )

    controls: dict[str, Any] = {
        "place": choice_slider("generation: G and D after", len(snapshots) // 2, named(snapshots)),
        "codes": whole_slider("which of 24 codes z", 0, 0, MANY - 1),
        "look": choice("shown", INK_LOOK, LOOKS),
    }
    return Panel(compute, Drawing(fig, [sample, asked, near, mark], update, alt), controls, describe=say)


# --- D that is not frozen ---------------------------------------------------------------------

_DRIFT_STEPS = 200
_FREED: list[tuple[str, gan_trials.Freed]] = [
    ("D frozen", "nothing"),
    ("only D's last bias free", "last bias"),
    ("all of D free", "everything"),
]


class Drifted(NamedTuple):
    """What the panel of the free D draws."""

    step: int
    """The generation it starts from."""
    course: Drift
    at: int
    """Steps of G since."""
    freed: str


@figures.styled
def drift_panel(fitted: FittedGAN, new: Digits, *, start: int = 6) -> Panel:
    """G's loss minimised 200 times, with D frozen, with its last bias free, or with all of it free.

    Args:
        fitted: A trained GAN with snapshots to start from.
        new: Real digits to ask D about.
        start: Which snapshot to start from at first.

    Raises:
        ValueError: Too few snapshots, or pictures that are not 8x8.
    """
    check_generations(fitted, least=checks.whole("start", start, low=0) + 1)
    snapshots = fitted.snapshots
    courses: dict[tuple[int, gan_trials.Freed], Drift] = {}

    def course_of(place: int, freed: gan_trials.Freed) -> Drift:
        if (place, freed) not in courses:
            courses[place, freed] = gan_trials.drift(
                fitted.game,
                snapshots[place].state,
                new.x,
                freed=freed,
                steps=_DRIFT_STEPS,
                key=jax.random.key(62),
                samples=16,
            )
        return courses[place, freed]

    fig, axes = figures.figure(8, 4.4, nrows=2, ncols=2, width_ratios=[1.35, 1], height_ratios=[1.7, 1])
    for a in axes[:, 1]:
        a.remove()
    side = fig.add_subplot(axes[0, 1].get_gridspec()[:, 1])
    picture = blank_wall(side, 16, 4, "What G draws, what D says")
    opinions = Opinions(side, 16, 4)
    top, low = axes[:, 0]
    steps = np.arange(_DRIFT_STEPS + 1)
    looks = ((ORANGE, "--", "G's pictures"), (GREEN, "-.", "real digits"), (PURPLE, ":", "uniform noise"))
    lines = [top.plot(steps, 0 * steps, ls, color=c, label=name)[0] for c, ls, name in looks]
    (here,) = top.plot([], [], color=INK, lw=5, alpha=0.2)
    top.set(title="D's mean probability of being real", ylim=(0, 1.03), ylabel="probability")
    top.legend(loc="lower right", fontsize=8)
    top.sharex(low)
    for a in (top, low):  # most of it happens in the first ten steps
        a.set_xscale("symlog", linthresh=5, linscale=0.8)
        a.set(xlim=(-0.2, _DRIFT_STEPS * 1.1))
        a.set_xticks([0, 2, 5, 10, 20, 50, 100, 200], [0, 2, 5, 10, 20, 50, 100, 200])
        a.minorticks_off()
    (bias,) = low.plot(steps, 0 * steps, color=BLUE)
    (there,) = low.plot([], [], color=INK, lw=5, alpha=0.2)
    low.set(title="Gradient of G's loss by D's last bias: −mean(1 − D)", ylim=(-1, 0.05), ylabel="derivative")
    low.set_xlabel("steps of G (the axis is stretched on the left)")
    low.title.set_fontsize(9)

    def compute(at: int, freed: gan_trials.Freed, place: int) -> Drifted:
        names = {value: name for name, value in _FREED}
        return Drifted(snapshots[place].step, course_of(place, freed), at, names[freed])

    def update(what: Drifted) -> None:
        run = what.course
        for line, ys in zip(lines, (run.fake.mean(axis=1), run.real, run.noise), strict=True):
            line.set_ydata(ys)
        bias.set_ydata(run.bias)
        here.set_data([what.at] * 2, [0, 1])
        there.set_data([what.at] * 2, [-1, 0])
        picture.set_data(wall(run.made[what.at], INK_LOOK, columns=4, below=BELOW))
        opinions.show(run.fake[what.at])

    def say(what: Drifted) -> str:
        run, at = what.course, what.at
        return (
            f"from generation {what.step}, {what.freed}, after {at} steps | D on G's: "
            f"{run.fake[at].mean():.3f}, on real: {run.real[at]:.3f}, on noise: {run.noise[at]:.3f} | "
            f"gradient by the last bias: {run.bias[at]:+.3f}"
        )

    def alt(what: Drifted) -> str:
        return (
            "Curves of what D says of G's pictures, of real digits and of noise, and of the gradient by its "
            f"last bias, over 200 steps of G; sixteen of G's pictures. {say(what)}."
        )

    controls: dict[str, Any] = {
        "at": whole_slider("steps of G", 5, 0, _DRIFT_STEPS),
        "freed": choice("G's loss may change", "everything", _FREED),
        "place": choice_slider("start from G and D after", start, named(snapshots)),
    }
    moving = [picture, *opinions.artists, *lines, here, bias, there]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)
