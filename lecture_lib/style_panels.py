"""The panels of notebook 04 that the kernel draws: style sliders, two writers, and the weight of the KL."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lecture_lib import figures, measures, style_trials
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.digit_pictures import INK_LOOK, LOOKS, blank, shown
from lecture_lib.figures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, Drawing
from lecture_lib.panels import Panel, choice, choice_slider, slider, whole_slider
from lecture_lib.style_trials import Digits, Effects, Verdict


def _check_size(new: Digits) -> None:
    if new.size != 8:
        raise ValueError(f"new has pictures of {new.size} x {new.size}; expected 8 x 8")


def _leave_room(fig: Any, share: float) -> None:
    """Keep the layout out of the lowest share of the figure."""
    fig.get_layout_engine().set(rect=(0, share, 1, 1 - share))


def _digits_on(fig: Any, rows: int) -> list[Any]:
    """Ten pictures at the foot of a figure, in one row or two, each with its class under it; the artists.

    Placed by hand: the constrained layout spends seconds on ten more axes.
    """
    width, height = fig.get_size_inches()
    columns = 10 // rows
    step = 0.95 * width / columns
    side = min(0.92 * step, 1.3)
    found = []
    for digit in range(10):
        row, column = divmod(digit, columns)
        left, bottom = 0.03 * width + column * step, 0.3 + (rows - 1 - row) * (side + 0.3)
        axes = fig.add_axes((left / width, bottom / height, side / width, side / height))
        found.append(blank(axes))
        axes.set_xlabel(str(digit), labelpad=2)
    return found


# --- the style board ---------------------------------------------------------------------------


_TOLD = {"slant": "slant", "weight": "ink", "shape": "shape", "idle": "idle"}


class Board(NamedTuple):
    """What the board draws."""

    source: Float[np.ndarray, "8 8"]
    """The chosen digit, shape (8, 8)."""
    label: int
    z: Float[np.ndarray, " latent"]
    """Its style, moved by the sliders, shape (latent,)."""
    moved: Float[np.ndarray, " latent"]
    """By how much."""
    written: Float[np.ndarray, "10 8 8"]
    """Ten digits in that style, shape (10, 8, 8)."""
    look: str


@figures.styled
def board_panel(model: ConditionalVAE, effects: Effects, new: Digits, *, start: int = 0) -> Panel:
    """Pick a digit by a writer that the model has not seen; see its style z and all ten digits in it.

    Args:
        model: Of 8x8 digits.
        effects: What its latent dimensions do; they name the sliders.
        new: The digits to pick from.
        start: Which is shown first.

    Raises:
        ValueError: The pictures are not 8x8.
    """
    _check_size(new)
    styles = np.asarray(style_trials.styles(model, new.x, new.labels))
    fig, (left, middle) = figures.figure(8, 6.0, ncols=2, width_ratios=[1, 2.6])
    _leave_room(fig, 0.6)
    source = blank(left, "Written by a new hand")
    k = np.arange(model.latent)
    middle.axhline(0, color=FAINT, lw=1)
    for edge in (-2, 2):
        middle.axhline(edge, color=FAINT, lw=1, ls=":")
    bars = middle.bar(k, 0 * k, color=BLUE, edgecolor="white", label="style of this digit")
    (marks,) = middle.plot(k, 0 * k, "D", color=ORANGE, ms=8, label="with the sliders added")
    names = effects.names()
    middle.set(title="Its style z (dotted: ±2 sd of P(z))", ylabel="z", ylim=(-4, 4))
    middle.set_xticks(k, [f"z{i + 1}\n{_TOLD[name]}" for i, name in enumerate(names)], fontsize=8)
    middle.legend(loc="upper right", ncols=2, fontsize=8)
    fig.text(0.03, 0.565, "All ten digits in this style", fontsize=11)
    pictures = _digits_on(fig, 2)

    def compute(which: int, look: str, **moves: float) -> Board:
        moved = np.array([moves[f"z{i + 1}"] for i in k])
        z = styles[which] + moved
        written = np.asarray(style_trials.all_ten(model, jnp.asarray(z, jnp.float32)[None]))
        source = new.x[which].reshape(8, 8)
        return Board(source, int(new.labels[which]), z, moved, written.reshape(10, 8, 8), look)

    def update(what: Board) -> None:
        source.set_data(shown(what.source, what.look)[0])
        for bar, value in zip(bars, what.z - what.moved, strict=True):
            bar.set_height(value)
        marks.set_ydata(what.z)
        for picture, image in zip(pictures, shown(what.written, what.look), strict=True):
            picture.set_data(image)

    def say(what: Board) -> str:
        one = f"slant {measures.slant(what.source):+.1f}°, ink {measures.ink(what.source):.3f}"
        ten = measures.slant(what.written).mean(), measures.ink(what.written).mean()
        return f"a {what.label}: {one} | the ten: slant {ten[0]:+.1f}°, ink {ten[1]:.3f}"

    def alt(what: Board) -> str:
        values = ", ".join(f"{value:+.2f}" for value in what.z)
        return (
            f"A digit, its style z = ({values}) as bars, and all ten digits in it, {what.look}: {say(what)}."
        )

    units = [
        f"{s:+.0f}°" if n == "slant" else f"{w:+.2f}"
        for n, s, w in zip(names, effects.slant, effects.weight, strict=True)
    ]
    told = {"slant": "slant {}", "weight": "ink {}", "shape": "shape", "idle": "idle"}
    controls: dict[str, Any] = {
        f"z{i + 1}": slider(f"z{i + 1}: {told[name].format(unit)}", 0.0, -3, 3, 0.1)
        for i, (name, unit) in enumerate(zip(names, units, strict=True))
    }
    controls["which"] = whole_slider("which digit of the new writers", start, 0, len(new.x) - 1)
    controls["look"] = choice("shown", INK_LOOK, LOOKS)
    moving = [source, *bars, marks, *pictures]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, side_by_side=True, describe=say)


# --- two writers -------------------------------------------------------------------------------


class Morph(NamedTuple):
    """What the panel of two writers draws."""

    ends: Float[np.ndarray, "2 8 8"]
    """The two digits, shape (2, 8, 8)."""
    labels: tuple[int, int]
    share: float
    """0 is the first writer, 1 the second."""
    digit: int
    row: Float[np.ndarray, "9 8 8"]
    """The chosen class from one style to the other, shape (9, 8, 8)."""
    here: Float[np.ndarray, "8 8"]
    """The chosen class at `share`, shape (8, 8)."""
    look: str


_STEPS = np.linspace(0, 1, 9)


@figures.styled
def morph_panel(model: ConditionalVAE, new: Digits, *, start: tuple[int, int] = (0, 1)) -> Panel:
    """From one writer's style to another's, while the class is chosen freely.

    Args:
        model: Of 8x8 digits.
        new: The digits to pick two from.
        start: Which two are shown first.

    Raises:
        ValueError: The pictures are not 8x8.
    """
    _check_size(new)
    styles = np.asarray(style_trials.styles(model, new.x, new.labels))
    fig, axes = figures.figure(8, 3.5, ncols=3)
    _leave_room(fig, 0.37)
    titles = ("First writer", "Between them", "Second writer")
    first, between, second = (blank(a, title) for a, title in zip(axes, titles, strict=True))
    pictures = []
    for i in range(9):
        small = fig.add_axes((0.05 + 0.1 * i, 0.13, 0.095, 0.22))
        pictures.append(blank(small))
        small.set_xlabel(f"{_STEPS[i]:.3g}", labelpad=2)
    marker_axes = fig.add_axes((0.05, 0.0, 0.9, 0.05))
    marker_axes.set(xlim=(-0.0475 / 0.8, 0.8525 / 0.8), ylim=(0, 1))  # 0 and 1 under the outer pictures
    marker_axes.axis("off")
    (marker,) = marker_axes.plot([], [], "^", color=ORANGE, ms=9)

    def compute(a: int, b: int, share: float, digit: int, look: str) -> Morph:
        at = np.append(_STEPS, share)[:, None]
        z = (1 - at) * styles[a] + at * styles[b]
        labels = jnp.full(len(z), digit)
        written = np.clip(np.asarray(_write(model, jnp.asarray(z, jnp.float32), labels)), 0, 1).reshape(
            -1, 8, 8
        )
        ends = new.x[[a, b]].reshape(2, 8, 8)
        return Morph(
            ends, (int(new.labels[a]), int(new.labels[b])), share, digit, written[:-1], written[-1], look
        )

    def update(what: Morph) -> None:
        seen = shown(np.stack([*what.ends, what.here, *what.row]), what.look)
        for picture, image in zip((first, second, between, *pictures), seen, strict=True):
            picture.set_data(image)
        marker.set_data([what.share], [0.5])

    def say(what: Morph) -> str:
        slants = [float(measures.slant(image)) for image in (what.ends[0], what.here, what.ends[1])]
        return (
            f"first: a {what.labels[0]} of slant {slants[0]:+.1f}° | between: a {what.digit} of slant "
            f"{slants[1]:+.1f}° | second: a {what.labels[1]} of slant {slants[2]:+.1f}°"
        )

    def alt(what: Morph) -> str:
        return (
            f"Two digits by two writers, a {what.digit} in the style between them at {what.share:.2f}, and a "
            f"row of nine on the way, {what.look}. {say(what)}."
        )

    last = len(new.x) - 1
    controls = {
        "share": slider("first writer (0) to second (1)", 0.5, 0, 1, 0.02),
        "digit": whole_slider("digit that is written", 4, 0, 9),
        "a": whole_slider("first digit of the new writers", start[0], 0, last),
        "b": whole_slider("second digit of the new writers", start[1], 0, last),
        "look": choice("shown", INK_LOOK, LOOKS),
    }
    moving = [first, between, second, *pictures, marker]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)


@jax.jit
def _write(model: ConditionalVAE, z: Any, labels: Any) -> Float[Any, "n pixels"]:
    return model.write(z, labels)


# --- the weight of the KL ----------------------------------------------------------------------


class Traded(NamedTuple):
    """What the panel of the trade-off draws."""

    beta: float
    verdict: Verdict
    written: Float[np.ndarray, "10 8 8"]
    """Ten digits in the style of one digit, shape (10, 8, 8)."""
    label: int
    """Of that digit."""
    look: str


@figures.styled
def beta_panel(
    models: Mapping[float, ConditionalVAE], verdicts: Mapping[float, Verdict], new: Digits, *, start: int = 0
) -> Panel:
    """Fidelity against style over the weight of the KL: models that were trained before.

    Args:
        models: Weight to model of 8x8 digits.
        verdicts: Weight to what was found with it.
        new: The digits whose style is used.
        start: Which of them is shown first.

    Raises:
        ValueError: The weights of both differ, or there are none; the pictures are not 8x8.
    """
    _check_size(new)
    betas = sorted(models)
    if not betas or betas != sorted(verdicts):
        raise ValueError(
            f"models has weights {betas}, verdicts {sorted(verdicts)}; expected the same, at least one"
        )
    fig, (left, right) = figures.figure(8, 4.3, ncols=2)
    _leave_room(fig, 0.27)
    curves: Sequence[tuple[str, Any, str, str]] = (
        ("label fidelity", lambda v: v.fidelity, INK, "o-"),
        ("slant carried over", lambda v: v.transfer["slant"].written, BLUE, "s--"),
        ("ink carried over", lambda v: v.transfer["ink"].written, ORANGE, "D-."),
        ("label read from z (nearest)", lambda v: v.neighbour_probe, PURPLE, "^:"),
    )
    for name, of, colour, look in curves:
        left.plot(betas, [of(verdicts[beta]) for beta in betas], look, color=colour, ms=5, label=name)
    (line,) = left.plot([], [], color=GREEN, lw=6, alpha=0.35)
    left.set(
        title="What the weight of the KL does",
        xlabel="β",
        ylabel="share; slant, ink: correlation",
        xscale="log",
    )
    left.set(ylim=(-0.25, 1.05), xticks=betas, xticklabels=[f"{beta:g}" for beta in betas])
    left.minorticks_off()
    left.legend(loc="lower left", fontsize=8)
    styles = [np.mean([t.written for t in verdicts[beta].transfer.values()]) for beta in betas]
    faithful = [verdicts[beta].fidelity for beta in betas]
    right.plot(styles, faithful, "o-", color=FAINT, ms=5)
    for beta, x, y in zip(betas, styles, faithful, strict=True):
        right.annotate(f"{beta:g}", (x, y), (4, 5), textcoords="offset points", fontsize=8)
    (dot,) = right.plot([], [], "*", color=GREEN, ms=16, mec=INK)
    right.set(
        title="The trade-off, β at each point", xlabel="style carried over (mean)", ylabel="label fidelity"
    )
    pictures = _digits_on(fig, 1)

    def compute(beta: float, which: int, look: str) -> Traded:
        model = models[beta]
        one = new.x[[which]], new.labels[[which]]
        written = np.asarray(style_trials.all_ten(model, style_trials.styles(model, *one)))
        return Traded(beta, verdicts[beta], written.reshape(10, 8, 8), int(one[1][0]), look)

    def update(what: Traded) -> None:
        line.set_data([what.beta] * 2, [-0.25, 1.05])
        k = betas.index(what.beta)
        dot.set_data([styles[k]], [faithful[k]])
        for picture, image in zip(pictures, shown(what.written, what.look), strict=True):
            picture.set_data(image)

    def say(what: Traded) -> str:
        v = what.verdict
        return (
            f"β = {what.beta:g}: fidelity {v.fidelity:.3f} | slant {v.transfer['slant'].written:.3f} | "
            f"ink {v.transfer['ink'].written:.3f} | label read from z: {v.neighbour_probe:.3f} (nearest), "
            f"{v.linear_probe:.3f} (linear)"
        )

    def alt(what: Traded) -> str:
        return (
            "Curves of label fidelity, slant and ink carried over, and the label read from z, against beta; "
            f"fidelity against style; ten digits in the style of a {what.label}, {what.look}. {say(what)}."
        )

    controls = {
        "beta": choice_slider("β, the weight of the KL", betas[len(betas) // 2], betas),
        "which": whole_slider("which digit of the new writers", start, 0, len(new.x) - 1),
        "look": choice("shown", INK_LOOK, LOOKS),
    }
    return Panel(compute, Drawing(fig, [line, dot, *pictures], update, alt), controls, describe=say)
