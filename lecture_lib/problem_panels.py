"""The panels of notebook 05 with a 7: one to break, and maps of where each judge minds a pixel."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib import colormaps

from lecture_lib import figures, judging, problem_trials
from lecture_lib.figures import FAINT, GREEN, ORANGE, PAPER, PURPLE, SKY, Drawing
from lecture_lib.judging import Classifier, Judge
from lecture_lib.panels import Kept, Panel, Place, Press, choice, whole_slider

AS_WRITTEN, TAIL, STRAY = "as written", "one pixel more at the tail", "one stray pixel"
_LEAST, _MOST = -100.0, 20.0
"""Ends of the axis of nats; beyond, the numbers go on."""
_MOST_ERROR = 0.08


def _sevens(pictures: Any) -> np.ndarray:
    pictures = np.asarray(pictures)
    if pictures.ndim != 2 or pictures.shape[1] != 64 or not len(pictures):
        raise ValueError(
            f"sevens has shape {pictures.shape}; expected (n, 64), at least one picture of 8 x 8"
        )
    return pictures.astype(np.float32)


def _squares(pixels: Any) -> tuple[list[float], list[float]]:
    """The outlines of pixels (row, column) as one line with gaps."""
    xs: list[float] = []
    ys: list[float] = []
    for row, column in pixels:
        xs += [column - 0.44, column + 0.44, column + 0.44, column - 0.44, column - 0.44, np.nan]
        ys += [row - 0.44, row - 0.44, row + 0.44, row + 0.44, row - 0.44, np.nan]
    return xs, ys


def _raster(axes: Any, title: str) -> Any:
    """An empty picture of 8 x 8 pixels with lines between them; the artist, whose data are then set."""
    axes.set(title=title, xticks=range(8), yticks=range(8), xlabel="column", ylabel="row")
    axes.tick_params(length=0, labelsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes.imshow(np.zeros((8, 8)), cmap="gray", vmin=0, vmax=1)


# --- a 7 to break ------------------------------------------------------------------------------


class Broken(NamedTuple):
    """What the panel of the 7 draws."""

    which: int
    picture: Float[np.ndarray, "8 8"]
    """With all that was changed, shape (8, 8)."""
    changed: tuple[tuple[int, int], ...]
    """Row and column of each pixel that is not as it was."""
    cursor: tuple[int, int]
    """Row and column of the pixel that the button toggles."""
    error: float
    """Mean squared error per pixel."""
    nats: tuple[float, ...]
    """Change of each judge's opinion."""
    probability: float
    """Of a 7."""


@figures.styled
def seven_panel(
    judges: Mapping[str, Judge],
    machine: Classifier,
    sevens: Float[ArrayLike, "n 64"],
    *,
    start: int = 0,
) -> Panel:
    """A 7 whose pixels are toggled by the pointer, and what each judge says of it against the 7 as written.

    It opens with one pixel more at the tail. A toggled pixel becomes full ink if it was below one half, and
    blank otherwise.

    Args:
        judges: Their opinions are log-densities in nats; one to four of them.
        machine: A classifier of flat pictures with classes 0 to 9.
        sevens: Shape (n, 64), n at least 2.
        start: Which is shown first.

    Raises:
        ValueError: The shape is another one, start is not among them, or there are too many judges.
    """
    sevens = _sevens(sevens)
    if not 1 <= len(judges) <= 4:
        raise ValueError(f"judges has {len(judges)} entries; expected 1 to 4")
    names = list(judges)
    read = judging.class_judge(machine, 7)
    edits = problem_trials.edited(sevens)
    before = np.stack([judges[name](sevens) for name in names])
    marks = [np.stack([judges[name](x) for name in names]) - before for x in (edits.tails, edits.strays)]
    likely = [np.exp(read(x)) for x in (edits.tails, edits.strays)]
    presets = {TAIL: edits.tails, STRAY: edits.strays, AS_WRITTEN: sevens}

    k = np.arange(len(names))
    fig, axes = figures.figure(
        8, 4.3, nrows=3, ncols=2, width_ratios=[1.15, 1], height_ratios=[1, 0.35 + len(names), 1]
    )
    layout: Any = fig.get_layout_engine()
    layout.set(rect=(0, 0, 0.93, 1))  # the numbers stand to the right of the bars
    grid = axes[0, 0].get_gridspec()
    for one in axes[:, 0]:
        one.remove()
    left = fig.add_subplot(grid[:, 0])
    raster = _raster(left, "Press or draw on the pixels")
    (outlines,) = left.plot([], [], color=ORANGE, lw=2.5)
    (cursor,) = left.plot([], [], color=SKY, lw=1.5, ls="--")
    top, middle, bottom = axes[:, 1]
    bars, dots, texts = [], [], []
    for one, at, span in (
        (top, np.zeros(1), (0, _MOST_ERROR)),
        (middle, k, (_LEAST, _MOST)),
        (bottom, np.zeros(1), (0, 1.03)),  # room for the marks of a sure classifier
    ):
        bars.append(one.barh(at, 0 * at, height=0.7, color=SKY))
        dots += one.plot([], [], "^", color=GREEN, ms=8, mec="white", label="with the tail pixel")
        dots += one.plot([], [], "o", color=PURPLE, ms=7, mec="white", label="with the stray pixel")
        texts += [
            one.text(1.02, y, "", transform=one.get_yaxis_transform(), va="center", fontsize=9) for y in at
        ]
        one.set(xlim=span, ylim=(len(at) - 0.5, -0.5), yticks=at)
        one.tick_params(axis="y", length=0)
    top.set(title="Mean squared error", xlabel=f"per pixel (axis up to {_MOST_ERROR})", yticklabels=["MSE"])
    middle.set(title="Change of log-density", xlabel=f"nats (axis from {_LEAST:.0f})", yticklabels=names)
    middle.axvline(0, color=FAINT, lw=1)
    bottom.set(title="Classifier", xlabel="probability of a 7", yticklabels=["P(7)"])
    fig.legend(*middle.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=9)

    def compute(which: int, edit: str, row: int, column: int, changed: frozenset[tuple[int, int]]) -> Broken:
        original = sevens[which].reshape(8, 8)
        picture = presets[edit][which].reshape(8, 8).copy()
        for place in changed:
            picture[place] = float(picture[place] < problem_trials.INK)
        flat = picture.reshape(1, 64)
        nats = [float(judges[name](flat)[0] - before[i, which]) for i, name in enumerate(names)]
        differ = tuple((int(r), int(c)) for r, c in np.argwhere(picture != original))
        error = float(np.mean((picture - original) ** 2))
        probability = float(np.exp(read(flat)[0]))
        return Broken(which, picture, differ, (row, column), error, tuple(nats), probability)

    def update(what: Broken) -> None:
        raster.set_data(what.picture)
        outlines.set_data(*_squares(what.changed))
        cursor.set_data(*_squares([what.cursor]))
        values = [[what.error], what.nats, [what.probability]]
        for group, lengths in zip(bars, values, strict=True):
            for bar, length in zip(group, lengths, strict=True):
                bar.set_width(length)
        for i in range(2):
            aside = 0.3 * (2 * i - 1)  # one above the other where they would hide each other
            dots[i].set_data([1 / 64], [aside])
            dots[2 + i].set_data(np.clip(marks[i][:, what.which], _LEAST, _MOST), k + aside)
            dots[4 + i].set_data([likely[i][what.which]], [aside])
        told = [f"{what.error:.4f}", *map(_signed, what.nats), f"{what.probability:.3f}"]
        for text, value in zip(texts, told, strict=True):
            text.set_text(value)

    def say(what: Broken) -> str:
        nats = " | ".join(
            f"{name} {_signed(value)} nats" for name, value in zip(names, what.nats, strict=True)
        )
        return f"MSE {what.error:.4f} | {nats} | P(7) {what.probability:.3f}"

    def alt(what: Broken) -> str:
        where = ", ".join(f"row {r} column {c}" for r, c in what.changed) or "none"
        return (
            f"Seven number {what.which}, 8 by 8 pixels. Changed pixels: {where}. Cursor at row "
            f"{what.cursor[0]}, column {what.cursor[1]}. Bars: {say(what)}."
        )

    def toggle(values: dict[str, Any]) -> dict[str, Any]:
        return {"changed": values["changed"] ^ {(values["row"], values["column"])}}

    def act(values: dict[str, Any], place: Place, last: Place | None) -> dict[str, Any]:
        here = _pixel(place)
        changed: frozenset[tuple[int, int]] = values["changed"]
        if last is None:
            changed ^= {here}
        else:  # as the stroke began
            way = set(_way(_pixel(last), here))
            changed = changed | way if _pixel(last) in changed else changed - way
        return {"changed": changed, "row": here[0], "column": here[1]}

    controls: dict[str, Any] = {
        "edit": choice("a change of one pixel", TAIL, [AS_WRITTEN, TAIL, STRAY]),
        "which": whole_slider("which seven of the new writers", start, 0, len(sevens) - 1),
        "row": whole_slider("row of a pixel", 3, 0, 7),
        "column": whole_slider("column of a pixel", 3, 0, 7),
        "changed": Kept(value=frozenset()),
    }
    moving = [raster, outlines, cursor, *(bar for group in bars for bar in group), *dots, *texts]
    actions = {
        "Toggle this pixel": toggle,
        "Undo all": lambda _: {"changed": frozenset(), "edit": AS_WRITTEN},
    }
    drawing = Drawing(fig, moving, update, alt)
    return Panel(compute, drawing, controls, press=Press(left, act), actions=actions, describe=say)


def _signed(nats: float) -> str:
    return f"{round(nats, 1) + 0.0:+.1f}"  # + 0.0: no "-0.0"


def _pixel(place: Place) -> tuple[int, int]:
    """The pixel (row, column) at a place of the raster, or the nearest one."""
    return min(max(round(place.y), 0), 7), min(max(round(place.x), 0), 7)


def _way(start: tuple[int, int], stop: tuple[int, int]) -> list[tuple[int, int]]:
    """The pixels on a straight line from one to another, both included."""
    steps = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]), 1)
    along = np.linspace(start, stop, steps + 1).round().astype(int)
    return [(int(row), int(column)) for row, column in along]


# --- where each judge minds a pixel -------------------------------------------------------------


class Minded(NamedTuple):
    """What the panel of maps draws."""

    which: int
    picture: Float[np.ndarray, "8 8"]
    """The 7, shape (8, 8)."""
    maps: dict[str, Float[np.ndarray, "8 8"]]
    """Judge to the change of its opinion for each blank pixel, NaN on ink, shape (8, 8)."""
    tail: tuple[int, int]
    stray: tuple[int, int]


def rank(map_: Float[np.ndarray, "height width"], place: tuple[int, int]) -> float:
    """Share of the other blank pixels that a judge minds more than that at `place`; a tie counts half."""
    others = map_[np.isfinite(map_)]
    here = map_[place]
    return float((np.sum(others < here) + (np.sum(others == here) - 1) / 2) / (len(others) - 1))


@figures.styled
def maps_panel(judges: Mapping[str, Judge], sevens: Float[ArrayLike, "n 64"], *, start: int = 0) -> Panel:
    """The same change on every blank pixel of a 7, one at a time: where each judge minds it least.

    Args:
        judges: Up to four.
        sevens: Shape (n, 64), n at least 2.
        start: Which is shown first.

    Raises:
        ValueError: As for `seven_panel`.
    """
    sevens = _sevens(sevens)
    if not 1 <= len(judges) <= 4:
        raise ValueError(f"judges has {len(judges)} entries; expected 1 to 4")
    fig, axes = figures.figure(8, 2.7, ncols=1 + len(judges))
    rasters, dots = [], []
    for one, title in zip(axes, ["The 7", *judges], strict=True):
        picture = _raster(one, title)
        one.set(xticks=[], yticks=[], xlabel="", ylabel="")
        rasters.append(picture)
        if one is not axes[0]:
            picture.set(cmap=colormaps["cividis"].with_extremes(bad=PAPER))
        dots += one.plot([], [], "^", color=GREEN, ms=8, mec="white", label="pixel at the tail")
        dots += one.plot([], [], "o", color=PURPLE, ms=7, mec="white", label="stray pixel")
    bar = fig.colorbar(rasters[1], ax=list(axes), location="bottom", shrink=0.5, aspect=30, pad=0.06)
    bar.set_ticks([0, 1], labels=["minds it most", "minds it least"])
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9)

    def compute(which: int) -> Minded:
        picture = sevens[which].reshape(8, 8)
        found = judging.maps(judges, picture)
        return Minded(
            which, picture, found, problem_trials.tail_pixel(picture), problem_trials.stray_pixel(picture)
        )

    def update(what: Minded) -> None:
        rasters[0].set_data(what.picture)
        for raster, values in zip(rasters[1:], what.maps.values(), strict=True):
            low, high = np.nanmin(values), np.nanmax(values)
            scaled = (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.5)
            raster.set_data(np.ma.masked_invalid(scaled))
        for i, (row, column) in enumerate((what.tail, what.stray)):
            for dot in dots[i::2]:
                dot.set_data([column], [row])

    def say(what: Minded) -> str:
        return " | ".join(
            f"{name}: {np.nanmin(m):+.3g} to {np.nanmax(m):+.3g}, tail above {rank(m, what.tail):.0%}"
            for name, m in what.maps.items()
        )

    def alt(what: Minded) -> str:
        return (
            f"Seven number {what.which}, and for each judge a map of what it thinks of full ink on each "
            "blank pixel: least and most, in nats, and the share of pixels that it minds more than the "
            f"tail's. {say(what)}."
        )

    controls = {"which": whole_slider("which seven of the new writers", start, 0, len(sevens) - 1)}
    return Panel(compute, Drawing(fig, [*rasters, *dots], update, alt), controls, describe=say)
