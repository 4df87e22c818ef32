"""What pictures are made of: the panel of sparse combinations of notebook 05, and its curves."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from lecture_lib import combinations, figures, problem_trials
from lecture_lib.combinations import Combination
from lecture_lib.figures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, Drawing, Still
from lecture_lib.panels import Panel, choice, whole_slider

_SLOTS = 10


class Composed(NamedTuple):
    """What the panel of combinations draws."""

    kind: str
    which: int
    picture: Float[np.ndarray, " pixels"]
    """Flat, as all of them."""
    path: list[Combination]
    """Of 1, 2, ... pictures."""
    k: int
    """How many are shown: as many as asked for, or as there are."""
    asked: int


@figures.styled
def combination_panel(
    database: Real[ArrayLike, "n pixels"], kinds: Mapping[str, Real[ArrayLike, "m pixels"]], *, k: int = 2
) -> Panel:
    """A picture, the k pictures of the database that explain it best (greedily), their sum and the residual.

    Args:
        database: Flat square pictures, shape (n, pixels).
        kinds: Name to pictures, shape (m, pixels); as many of each kind, at least 2.
        k: How many pictures of the database are combined at first, from 1 to 10.

    Raises:
        ValueError: The shapes do not fit each other, or there is no kind.
    """
    database = np.asarray(database, np.float64)
    if database.ndim != 2 or round(database.shape[1] ** 0.5) ** 2 != database.shape[1]:
        raise ValueError(f"database has shape {database.shape}; expected (n, size * size)")
    pictures = {name: np.asarray(of, np.float64) for name, of in kinds.items()}
    shapes = {of.shape for of in pictures.values()}
    if len(shapes) != 1 or (shape := shapes.pop())[1:] != database.shape[1:] or shape[0] < 2:
        told = {name: of.shape for name, of in pictures.items()}
        raise ValueError(
            f"kinds has shapes {told}; expected the same for all, (m, {database.shape[1]}) with m at least 2"
        )
    size = round(database.shape[1] ** 0.5)
    paths: dict[tuple[str, int], list[Combination]] = {}

    fig, axes = figures.figure(8, 3.9, ncols=4, width_ratios=[1, 1, 1, 1.3])
    layout: Any = fig.get_layout_engine()
    layout.set(rect=(0, 0.4, 1, 0.6))
    large = [
        _picture(ax, size, title) for ax, title in zip(axes, ("", "combination", "residual"), strict=False)
    ]
    large[2].set(cmap="PuOr", clim=(-1, 1))
    heading = axes[0].text(0, 1.06, "", transform=axes[0].transAxes, fontsize=11)
    curve = axes[3]
    sizes = np.arange(1, _SLOTS + 1)
    (line,) = curve.plot([], [], "o-", color=BLUE, ms=4)
    (here,) = curve.plot([], [], "o", color=ORANGE, ms=9, mec=INK)
    curve.set(
        title="Explained energy", xlabel="k", ylabel="share", xlim=(0.5, _SLOTS + 0.5), ylim=(0.6, 1.01)
    )
    curve.set_xticks([1, 2, 5, 10])
    curve.axhline(1, color=FAINT, lw=1, ls=":")
    small, weights = [], []
    fig.text(0.01, 0.35, "Pictures of the database, and their weights", fontsize=11)
    for i in range(_SLOTS):
        ax = fig.add_axes((0.01 + 0.099 * i, 0.12, 0.092, 0.21))
        small.append(_picture(ax, size))
        weights.append(ax.text(0.5, -0.06, "", transform=ax.transAxes, ha="center", va="top", fontsize=9))
    fig.text(
        0.01, 0.005, "Residual: orange where the combination is too bright, purple too dark.", fontsize=8
    )

    def compute(kind: str, which: int, k: int) -> Composed:
        picture = pictures[kind][which]
        if (kind, which) not in paths:
            paths[kind, which] = combinations.pursue(database, picture, _SLOTS)
            if not paths[kind, which]:
                raise ValueError(f"kinds[{kind!r}][{which}] has no light where the database has some")
        path = paths[kind, which]
        return Composed(kind, which, picture, path, min(k, len(path)), k)

    def update(what: Composed) -> None:
        shown = what.path[what.k - 1]
        together = shown.picture(database)
        for artist, image in zip(large, (what.picture, together, what.picture - together), strict=True):
            artist.set_data(image.reshape(size, size))
        heading.set_text(what.kind)
        line.set_data(sizes[: len(what.path)], [c.explained for c in what.path])
        here.set_data([what.k], [shown.explained])
        for i in range(_SLOTS):
            used = i < what.k
            small[i].set_visible(used)
            if used:
                small[i].set_data(database[shown.chosen[i]].reshape(size, size))
            weights[i].set_text(f"{shown.weights[i]:.2f}" if used else "")

    def say(what: Composed) -> str:
        shown = what.path[what.k - 1]
        k = f"k = {what.asked}" + (f" ({what.k} explain all that can be)" if what.k < what.asked else "")
        return f"{what.kind}, number {what.which} | {k} | explained {shown.explained:.3f}"

    def alt(what: Composed) -> str:
        shown = what.path[what.k - 1]
        told = ", ".join(
            f"{w:.2f} times picture {j}" for w, j in zip(shown.weights, shown.chosen, strict=True)
        )
        return (
            "A picture, its best combination of pictures of the database, the residual, and the explained "
            f"energy against k. {say(what)}: {told}."
        )

    controls = {
        "kind": choice("what", next(iter(pictures)), list(pictures)),
        "which": whole_slider("which one", 0, 0, shape[0] - 1),
        "k": whole_slider("k, pictures in the combination", k, 1, _SLOTS),
    }
    moving = [*large, heading, line, here, *small, *weights]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)


def _picture(axes: Any, size: int, title: str = "") -> Any:
    axes.set(xticks=[], yticks=[], title=title)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes.imshow(np.zeros((size, size)), cmap="gray", vmin=0, vmax=1)


_LOOKS = (
    (BLUE, "o", "-"),
    (INK, "s", "-"),
    (SKY, "v", "--"),
    (ORANGE, "D", "-."),
    (GREEN, "^", ":"),
    (PURPLE, "P", (0, (5, 1))),
    (FAINT, "X", (0, (1, 1))),
)


@figures.styled
def explained_figure(curves: Mapping[str, Any], ks: Sequence[int]) -> Still:
    """What is left unexplained against the number of pictures, with 95 % bootstrap intervals over pictures.

    Args:
        curves: Kind to explained energy, shape (n, len(ks)); at most seven kinds.
        ks: Pictures in a combination.

    Raises:
        ValueError: There are too many kinds, or the shapes do not fit.
    """
    if not 1 <= len(curves) <= len(_LOOKS):
        raise ValueError(f"curves has {len(curves)} kinds; expected 1 to {len(_LOOKS)}")
    fig, ax = figures.figure(8, 3.4)
    told = []
    for i, ((name, values), (colour, marker, style)) in enumerate(zip(curves.items(), _LOOKS, strict=False)):
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1] != len(ks):
            raise ValueError(f"curves[{name!r}] has shape {values.shape}; expected (n, {len(ks)})")
        means = [problem_trials.mean_with_interval(1 - column) for column in values.T]
        middle = np.array([m.value for m in means])
        ends = np.abs(np.array([(m.low, m.high) for m in means]).T - middle)
        aside = np.asarray(ks) * 1.02 ** (i - (len(curves) - 1) / 2)
        ax.errorbar(aside, middle, ends, color=colour, marker=marker, ls=style, ms=6, capsize=3, label=name)
        told.append(f"{name} " + ", ".join(f"{value:.3f}" for value in middle))
    ax.set(xscale="log", yscale="log", xlabel="k, pictures of the database in the combination")
    ax.set(title="What a greedy non-negative combination leaves unexplained", ylabel="share of the energy")
    ax.set_xticks(list(ks), [str(k) for k in ks])
    ax.set_ylim(bottom=max(ax.get_ylim()[0], 7e-4))  # what is explained in full would stretch the axis
    ticks = [t for t in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if ax.get_ylim()[0] < t]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    alt = f"Unexplained energy for k = {', '.join(map(str, ks))}: " + "; ".join(told) + "."
    return figures.still(fig, alt)


@figures.styled
def rows_figure(kinds: Mapping[str, Any], *, columns: int = 12) -> Still:
    """A row of pictures of each kind.

    Args:
        kinds: Name to flat square pictures, shape (n, pixels), n at least `columns`.
        columns: Pictures in a row.
    """
    fig, axes = figures.figure(8, 0.56 * len(kinds) + 0.35, nrows=len(kinds), squeeze=False)
    for ax, (name, pictures) in zip(axes[:, 0], kinds.items(), strict=True):
        size = round(np.shape(pictures)[1] ** 0.5)
        row = figures.strip(np.asarray(pictures)[:columns].reshape(-1, size, size))
        ax.imshow(row, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for side in ax.spines.values():
            side.set_visible(False)
    fig.suptitle("Pictures of each kind, raw pixels", x=0.01, ha="left", fontsize=11)
    return figures.still(fig, "Rows of 8 by 8 pictures, raw pixels: " + ", ".join(kinds) + ".")
