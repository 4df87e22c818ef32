"""Pen strokes as pictures: drawn, sized and centred as the digits of MNIST are.

A stroke is a line through points (x to the right, y down, in pixels, where pixel (i, j) has its centre at
x = j, y = i). The page of `DrawingBoard` does the same in the browser.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lecture_lib import checks

SIZE, BOX = 28, 20
"""MNIST's pictures, and the box that each digit was scaled into (LeCun et al. 1998, section III)."""

Stroke = Float[np.ndarray, "_ 2"]
"""Points in a row, as many as it takes."""


def render(strokes: Sequence[Any], *, width: float, size: int = SIZE) -> Float[np.ndarray, "size size"]:
    """Draw strokes with a round pen.

    A pixel is as bright as the pen covers it: width / 2 + 1/2 minus its distance to the nearest stroke, cut
    to [0, 1].

    Args:
        strokes: Each of shape (points, 2) with at least one point; a single one makes a dot.
        width: Of the pen, pixels, above 0.
        size: Height and width of the picture, at least 1.

    Raises:
        ValueError: No stroke, one of another shape, points that are not finite, or a width not above 0.
    """
    lines = _lines(strokes)
    checks.positive("width", width)
    checks.whole("size", size, low=1)
    at = np.arange(size, dtype=np.float64)
    pixels = np.stack(np.meshgrid(at, at), axis=-1)[:, :, None]  # (size, size, 1, xy)
    start, along = lines[:, 0], lines[:, 1] - lines[:, 0]
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = np.clip(((pixels - start) * along).sum(-1) / length, 0, 1)
    gap = pixels - start - share[..., None] * along
    distance = np.sqrt((gap**2).sum(-1)).min(-1)
    return np.clip(width / 2 + 0.5 - distance, 0, 1)


def as_mnist(strokes: Sequence[Any], *, width: float) -> Float[np.ndarray, "28 28"]:
    """Draw strokes as MNIST shows digits: the ink fits a box of 20 x 20, its centre of mass is in the middle.

    The centre is good to a tenth of a pixel (MNIST's is to half a one).

    Args:
        strokes: In any unit; only the shape counts.
        width: Of the pen in the finished picture, pixels, above 0 and below 20.

    Raises:
        ValueError: As for `render`; a width that leaves no room.
    """
    lines = _lines(strokes)
    checks.positive("width", width)
    if not width < BOX:
        raise ValueError(f"width is {width}; expected less than {BOX}, the box of the digit")
    low, high = lines.min(axis=(0, 1)), lines.max(axis=(0, 1))
    extent = float((high - low).max())
    scale = (BOX - width) / extent if extent > 0 else 1.0
    middle = SIZE / 2  # where MNIST has its centre of mass: 14.00 in the mean, of pixels 0 to 27
    placed = [middle + scale * (np.asarray(s, np.float64) - (low + high) / 2) for s in strokes]
    seen = render(placed, width=width)
    at = np.arange(SIZE)
    right, down = (seen.sum(axis) @ at / seen.sum() for axis in (0, 1))
    shift = np.array([middle - right, middle - down])
    return render([s + shift for s in placed], width=width)


def shear(strokes: Sequence[Any], degrees: float) -> list[Stroke]:
    """Lean strokes to the right (positive) about the height y = 0.

    Args:
        strokes: Each of shape (points, 2).
        degrees: Angle from the upright, in (-90, 90).
    """
    if not -90 < degrees < 90:
        raise ValueError(f"degrees is {degrees}; expected an angle in (-90, 90)")
    lean = np.tan(np.radians(degrees))
    return [np.asarray(s, np.float64) @ np.array([[1, 0], [-lean, 1]]) for s in strokes]


def example(digit: int) -> list[Stroke]:
    """A plain upright digit from 0 to 9 as strokes in a box about one wide and two high round (0, 0)."""
    return [np.array(s, np.float64) for s in _DIGITS[checks.whole("digit", digit, low=0, high=9)]]


def _lines(strokes: Sequence[Any]) -> np.ndarray:
    """All pieces of all strokes, shape (pieces, 2, 2): each from one point to the next."""
    if not len(strokes):
        raise ValueError("strokes is empty; expected at least one stroke")
    pieces = []
    for stroke in strokes:
        points = np.asarray(stroke, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"a stroke has shape {points.shape}; expected (points, 2)")
        checks.finite("strokes", points)
        ends = points if len(points) > 1 else np.repeat(points, 2, axis=0)
        pieces.append(np.stack([ends[:-1], ends[1:]], axis=1))
    return np.concatenate(pieces)


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> list[tuple[float, float]]:
    """Points on an ellipse from one angle to another, degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 25))
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles]


_DIGITS: tuple[list[list[tuple[float, float]]], ...] = (
    [_arc(0, 0, 0.55, 1, -90, 270)],
    [[(-0.25, -0.7), (0.05, -1), (0.05, 1)]],
    [[*_arc(0, -0.45, 0.5, 0.55, -170, 30), (-0.5, 1), (0.55, 1)]],
    [[*_arc(-0.05, -0.5, 0.48, 0.5, -150, 90), *_arc(-0.05, 0.48, 0.55, 0.52, -90, 150)]],
    [[(0.1, -1), (-0.55, 0.3), (0.6, 0.3)], [(0.3, -0.5), (0.3, 1)]],
    [[(0.5, -1), (-0.4, -1), (-0.45, -0.1), *_arc(-0.05, 0.35, 0.55, 0.62, -120, 140)]],
    [[(0.35, -1), (-0.3, -0.35), *_arc(0, 0.45, 0.5, 0.55, -180, 180)]],
    [[(-0.5, -1), (0.5, -1), (-0.1, 1)]],
    [[*_arc(0, -0.5, 0.42, 0.48, 90, 450)], [*_arc(0, 0.5, 0.5, 0.52, -90, 270)]],
    [[*_arc(0, -0.45, 0.48, 0.53, 0, 360), (0.48, -0.4), (0.35, 1)]],
)
