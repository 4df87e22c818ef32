"""8x8 digits as pictures for the eye: as ink on paper or as pixels, one by one or many on a wall."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from lecture_lib import checks, figures

INK_LOOK, RAW = "as ink", "raw pixels"
LOOKS = [INK_LOOK, RAW]
SIDE = 120
"""Height and width of a digit that is shown, dots."""


def shown(images: Real[ArrayLike, "..."], look: str) -> Float[np.ndarray, "n 120 120"]:
    """8x8 pictures for the eye: as ink (see `figures.as_ink`), or blown up with every pixel to be seen.

    Args:
        images: Brightness, shape (n, 8, 8) or (n, 64).
        look: One of LOOKS.

    Raises:
        ValueError: Another look.
    """
    if look not in LOOKS:
        raise ValueError(f"look is {look!r}; expected one of {', '.join(map(repr, LOOKS))}")
    images = np.asarray(images).reshape(-1, 8, 8)
    if look == INK_LOOK:
        return figures.as_ink(images)
    around = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return np.kron(around, np.ones((1, 12, 12)))


def wall(
    images: Real[ArrayLike, "n *pixels"], look: str, *, columns: int, below: int = 0
) -> Float[np.ndarray, "height width"]:
    """Digits in rows, as one picture.

    Args:
        images: Brightness, shape (n, 8, 8) or (n, 64); n fills the rows.
        look: One of LOOKS.
        columns: Digits in a row, at least 1.
        below: Dots of paper under each row, for what is written there.

    Raises:
        ValueError: n is no multiple of `columns`.
    """
    tiles = shown(images, look)
    if len(tiles) % checks.whole("columns", columns, low=1) or not len(tiles):
        raise ValueError(f"images has {len(tiles)} pictures; expected a multiple of columns, {columns}")
    tiles = np.pad(tiles, ((0, 0), (0, below), (2, 2)), constant_values=np.nan)
    height, width = tiles.shape[1:]
    rows = tiles.reshape(-1, columns, height, width)
    return rows.transpose(0, 2, 1, 3).reshape(-1, columns * width)


def blank(axes: Any, title: str = "", *, shape: tuple[int, int] = (SIDE, SIDE)) -> Any:
    """An empty grey picture in axes without ticks; the artist, whose data are then set."""
    axes.set(xticks=[], yticks=[], title=title)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes.imshow(np.zeros(shape), cmap="gray", vmin=0, vmax=1)
