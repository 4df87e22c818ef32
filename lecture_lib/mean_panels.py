"""The panel of notebook 05 with two moons: the picture of least expected squared error is their mean."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from lecture_lib import figures, moon
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, PURPLE, Drawing
from lecture_lib.panels import Panel, slider


class Guessed(NamedTuple):
    """What the panel of the mean draws."""

    share: float
    """Probability of the second picture."""
    mix: float
    """How much of the second picture is in the answer."""
    answer: Float[np.ndarray, "size size"]
    error: float
    """Expected squared error of the answer, summed over pixels."""
    mean_error: float
    """That of the mean, the least there is."""
    first_error: float
    """That of answering with the first picture."""
    second_error: float


@figures.styled
def mean_panel(*, phases: tuple[float, float] = (0.0, 90.0), size: int = 32) -> Panel:
    """Two moons may come, and one picture has to be the answer: its expected squared error.

    Args:
        phases: Phase angles of the two moons, degrees.
        size: Height and width of a picture.
    """
    one, two = (np.asarray(moon.render(phase, size), np.float64) for phase in phases)
    gap = float(np.sum((one - two) ** 2))
    fig, axes = figures.figure(8, 2.9, ncols=4, width_ratios=[1, 1, 1, 2.2])
    pictures = []
    for ax, title in zip(axes[:3], ["first picture", "second picture", "your answer"], strict=True):
        ax.set(xticks=[], yticks=[], title=title)
        pictures.append(ax.imshow(one, cmap="gray", vmin=0, vmax=1))
    pictures[1].set_data(two)
    share_text = [ax.text(0.5, -0.12, "", transform=ax.transAxes, ha="center") for ax in axes[:3]]
    right = axes[3]
    mixes = np.linspace(0, 1, 101)
    (line,) = right.plot([], [], color=BLUE, label="expected squared error")
    (ends,) = right.plot([], [], "s", color=PURPLE, ms=7, label="one of the two pictures")
    (best,) = right.plot([], [], "D", color=GREEN, ms=8, label="their mean")
    (mine,) = right.plot([], [], "*", color=ORANGE, ms=15, mec=INK, label="your answer")
    right.set(xlim=(-0.04, 1.04), ylim=(-0.03 * gap, 1.45 * gap))
    right.set(xlabel="share of the second picture in the answer", ylabel="sum over pixels")
    right.set(title="What an answer costs")
    right.legend(loc="upper center", ncols=2, fontsize=8, columnspacing=1)

    def errors(share: float, mix: Any) -> Any:
        answer = [(1 - m) * one + m * two for m in np.atleast_1d(mix)]
        costs = [(1 - share) * np.sum((one - y) ** 2) + share * np.sum((two - y) ** 2) for y in answer]
        return np.array(costs)

    def compute(share: float, mix: float) -> Guessed:
        found = errors(share, [mix, share, 0.0, 1.0])
        return Guessed(share, mix, (1 - mix) * one + mix * two, *(float(value) for value in found))

    def update(what: Guessed) -> None:
        pictures[2].set_data(what.answer)
        for text, told in zip(
            share_text,
            (
                f"P = {1 - what.share:.2f}",
                f"P = {what.share:.2f}",
                f"{what.mix:.0%} of the second",
            ),
            strict=True,
        ):
            text.set_text(told)
        line.set_data(mixes, errors(what.share, mixes))
        ends.set_data([0, 1], [what.first_error, what.second_error])
        best.set_data([what.share], [what.mean_error])
        mine.set_data([what.mix], [what.error])

    def say(what: Guessed) -> str:
        return (
            f"your answer {what.error:.1f} | the mean {what.mean_error:.1f} | the first picture "
            f"{what.first_error:.1f} | the second {what.second_error:.1f}"
        )

    def alt(what: Guessed) -> str:
        return (
            f"Two moons that come with probability {1 - what.share:.2f} and {what.share:.2f}, an answer with "
            f"{what.mix:.0%} of the second, and a parabola of the expected squared error: {say(what)}."
        )

    controls = {
        "share": slider("probability of the second picture", 0.5, 0, 1, 0.01),
        "mix": slider("second picture in your answer", 0.0, 0, 1, 0.01),
    }
    moving = [pictures[2], *share_text, line, ends, best, mine]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)
