"""The panel of notebook 06 that goes from generation to generation, and what its other panels share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib.collections import LineCollection
from sklearn.pipeline import Pipeline

from lecture_lib import figures, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, LOOKS, SIDE, blank, wall
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, PURPLE, Drawing
from lecture_lib.gan_training import FittedGAN, Snapshot
from lecture_lib.gan_trials import Worth
from lecture_lib.panels import Panel, choice, choice_slider, whole_slider
from lecture_lib.style_trials import CLASSES, Digits

AS_IT_IS, AVERAGED = "as it is", "averaged over its last steps"
JUDGED = 1000
MANY = 24
_COLUMNS = 8
BELOW = 34
"""Dots of paper under a digit on the wall, for what D says of it."""


def named(snapshots: Sequence[Snapshot]) -> list[tuple[str, int]]:
    """What a slider of generations shows, and the place of each."""
    return [(f"{s.step} steps", i) for i, s in enumerate(snapshots)]


def check_generations(fitted: FittedGAN, *, least: int = 2) -> None:
    """Raise ValueError unless it has that many snapshots, of 8x8 pixels."""
    if len(fitted.snapshots) < least:
        raise ValueError(
            f"fitted has {len(fitted.snapshots)} snapshots; expected at least {least} generations"
        )
    pixels = fitted.last.gan.generator.pixels
    if pixels != 64:
        raise ValueError(f"fitted is of {pixels} pixels; expected 8 x 8 = 64")


class Opinions:
    """D's opinion of each picture on a wall: a number under it, and a bar of up to the picture's width."""

    def __init__(self, axes: Any, n: int, columns: int):
        self._width = SIDE + 4
        self._height = SIDE + BELOW
        self._places = [divmod(i, columns) for i in range(n)]
        self.bars = axes.add_collection(LineCollection([], colors=ORANGE, linewidths=4))
        self.numbers = [
            axes.text(
                column * self._width + self._width / 2,
                row * self._height + SIDE + BELOW - 3,
                "",
                ha="center",
                va="bottom",
                fontsize=7,
            )
            for row, column in self._places
        ]

    @property
    def artists(self) -> list[Any]:
        """What moves."""
        return [self.bars, *self.numbers]

    def show(self, probabilities: Float[ArrayLike, " n"]) -> None:
        """Set them all; shape (n,), from 0 to 1."""
        lines = []
        for (row, column), text, p in zip(self._places, self.numbers, np.asarray(probabilities), strict=True):
            left, y = column * self._width + 2, row * self._height + SIDE + 5
            lines.append([(left, y), (left + p * SIDE, y)])
            text.set_text(f"{p:.2f}")
        self.bars.set_segments(lines)


def blank_wall(axes: Any, n: int, columns: int, title: str) -> Any:
    """A wall of n pictures with room under each; the artist."""
    picture = blank(axes, title, shape=(n // columns * (SIDE + BELOW), columns * (SIDE + 4)))
    picture.set_cmap(picture.get_cmap().with_extremes(bad=figures.PAPER))
    return picture


# --- generations ------------------------------------------------------------------------------


class Generation(NamedTuple):
    """What the panel of the evolution draws."""

    place: int
    """Which generation, counted from 0."""
    step: int
    images: Float[np.ndarray, "24 64"]
    """Samples, shape (24, 64)."""
    said: Float[np.ndarray, " 24"]
    """What D says of each: probability of being real, shape (24,)."""
    worth: Worth
    """The judge on 1000 samples."""
    fake: float
    """The mean of what D says of those."""
    real: float
    """The same for held-out real digits."""
    which: str
    """G as it is, or averaged."""
    look: str


@figures.styled
def evolution_panel(fitted: FittedGAN, classifier: Pipeline, new: Digits) -> Panel:
    """Generation after generation: what G draws, what D says of it, and what an independent judge finds.

    Args:
        fitted: A trained GAN with at least two snapshots.
        classifier: Of `gan_trials.judge`.
        new: Real digits that neither D nor the judge has seen.

    Raises:
        ValueError: Too few snapshots, or pictures that are not 8x8.
    """
    check_generations(fitted)
    snapshots = fitted.snapshots
    key = jax.random.key(6)

    def generator(snapshot: Snapshot, which: str) -> Any:
        return snapshot.averaged if which == AVERAGED else snapshot.gan.generator

    def assess(which: str) -> list[tuple[Worth, float, float]]:
        found = []
        for s in snapshots:
            x = gan_trials.draw(generator(s, which), key, JUDGED)
            said = [gan_trials.probability(s.gan.discriminator, a).mean() for a in (x, new.x)]
            found.append((gan_trials.worth(classifier, x), float(said[0]), float(said[1])))
        return found

    found = {which: assess(which) for which in (AS_IT_IS, AVERAGED)}
    of_real = gan_trials.worth(classifier, new.x)

    fig, axes = figures.figure(8, 6.6, nrows=2, ncols=2, height_ratios=[1.55, 1], width_ratios=[1.7, 1])
    for a in axes[0]:
        a.remove()
    top = fig.add_subplot(axes[0, 0].get_gridspec()[0, :])
    rows = MANY // _COLUMNS
    picture = blank_wall(top, MANY, _COLUMNS, "What G draws, and D's probability that it is real")
    opinions = Opinions(top, MANY, _COLUMNS)
    left, right = axes[1]
    at = np.arange(len(snapshots))
    looks = (
        (GREEN, "s-.", "D on real digits"),
        (ORANGE, "o--", "D on G's"),
        (BLUE, "^-", "judge's confidence"),
    )
    lines = [left.plot(at, 0 * at, look, color=colour, ms=4, label=name)[0] for colour, look, name in looks]
    lines += left.plot(at, 0 * at, "D:", color=PURPLE, ms=4, label="inception score / 10")
    (here,) = left.plot([], [], color=INK, lw=5, alpha=0.2)
    left.set(title="All generations", xlabel="steps of training", ylabel="from 0 to 1", ylim=(0, 1.32))
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])
    left.set_xticks(at, [str(s.step) for s in snapshots], fontsize=7, rotation=45)
    left.legend(loc="upper left", ncols=2, fontsize=7)
    digits = np.arange(CLASSES)
    bars = right.bar(digits, 0 * digits, color=BLUE, edgecolor="white", label="G's samples")
    right.plot(digits, of_real.shares, "k_", ms=14, mew=2, label="real digits")
    right.set(title="Which digits the judge reads", xlabel="digit", ylabel="share", ylim=(0, 1.32))
    right.set_yticks([0, 0.25, 0.5, 0.75, 1])
    right.set_xticks(digits)
    right.legend(fontsize=7)

    def compute(place: int, which: str, codes: int, look: str) -> Generation:
        s = snapshots[place]
        x = gan_trials.draw(generator(s, which), jax.random.fold_in(key, codes), MANY)
        said = np.asarray(gan_trials.probability(s.gan.discriminator, x))
        return Generation(place, s.step, np.asarray(x), said, *found[which][place], which, look)

    def update(what: Generation) -> None:
        picture.set_data(wall(what.images, what.look, columns=_COLUMNS, below=BELOW))
        opinions.show(what.said)
        here.set_data([what.place] * 2, [0, 1])
        for bar, share in zip(bars, what.worth.shares, strict=True):
            bar.set_height(share)
        told = [(real, fake, w.confidence, w.score / 10) for w, fake, real in found[what.which]]
        for line, ys in zip(lines, np.transpose(told), strict=True):
            line.set_ydata(ys)

    def say(what: Generation) -> str:
        w = what.worth
        return (
            f"after {what.step} steps | D on G's: {what.fake:.2f}, on real digits: {what.real:.2f} | judge: "
            f"confidence {w.confidence:.2f} (real {of_real.confidence:.2f}), inception score {w.score:.1f} "
            f"(real {of_real.score:.1f})"
        )

    def alt(what: Generation) -> str:
        said = ", ".join(f"{p:.2f}" for p in what.said[:8])
        return (
            f"{rows} rows of {_COLUMNS} samples of G {what.which}, {what.look}; D gives the first row "
            f"{said}. Curves of D's mean probabilities, the judge's confidence and the inception score over "
            f"all generations; shares of the ten digits. {say(what)}."
        )

    controls: dict[str, Any] = {
        "place": choice_slider("generation: G and D after", len(snapshots) - 1, named(snapshots)),
        "codes": whole_slider("another 24 codes z", 0, 0, 9),
        "which": choice("G", AS_IT_IS, [AS_IT_IS, AVERAGED]),
        "look": choice("shown", INK_LOOK, LOOKS),
    }
    moving = [picture, *opinions.artists, here, *bars, *lines]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)
