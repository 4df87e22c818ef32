"""How sharp and how grey pictures are, and how much blur lies between two sets of them."""

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real, Shaped
from scipy import ndimage, optimize

from lecture_lib.measures import checked_pictures


def sharpness(images: Real[ArrayLike, "*batch height width"]) -> Float[np.ndarray, "*batch"]:
    """How sharp each picture is: the root mean square of its spatial frequency, in radians a pixel.

    The root of sum |gradient|^2 / sum brightness^2, with black beyond the edge, and differences of neighbours
    for the gradient. By Parseval's theorem that is the mean square frequency, each weighted by its energy.
    Making a picture brighter by a factor, or moving it, changes nothing. A line whose profile is a Gaussian
    of standard deviation s pixels has sharpness 1 / (sqrt(2) s), and blur by sigma makes its s into
    sqrt(s^2 + sigma^2) (for s of about 1 and more; differences of neighbours miss part of finer lines). A
    wide stroke is not as sharp as a narrow one, so compare pictures with strokes of one width.

    Args:
        images: Brightness at least 0, shape (..., height, width).

    Returns:
        Shape (...), above 0 and at most sqrt(8).

    Raises:
        ValueError: A picture is black all over, or has negative or non-finite values.
    """
    ink = checked_pictures(images)
    around = np.pad(ink, [(0, 0)] * (ink.ndim - 2) + [(1, 1), (1, 1)])
    energy = (ink**2).sum(axis=(-2, -1))
    if not (energy > 0).all():
        raise ValueError("images has a picture that is black all over; it has no sharpness")
    slopes = sum((np.diff(around, axis=axis) ** 2).sum(axis=(-2, -1)) for axis in (-2, -1))
    return np.asarray(np.sqrt(slopes / energy))


def greyness(images: Shaped[ArrayLike, "*batch height width"]) -> Float[np.ndarray, "*batch"]:
    """How much of each picture is neither black nor white: sum 4 x (1 - x) / sum x over its pixels.

    0 for a picture of black and white only. Laying two such pictures over each other, half and half, raises
    it, as blur does; unlike `sharpness` it does change with the brightness.

    Args:
        images: Brightness in [0, 1], shape (..., height, width).

    Returns:
        Shape (...), at least 0 and below 4.

    Raises:
        ValueError: A picture is black all over, or has values outside [0, 1].
    """
    ink = checked_pictures(images)
    if (ink > 1).any():
        raise ValueError(f"images has values up to {ink.max():.3g}; expected brightness in [0, 1]")
    total = ink.sum(axis=(-2, -1))
    if not (total > 0).all():
        raise ValueError("images has a picture that is black all over; it has no greyness")
    return np.asarray((4 * ink * (1 - ink)).sum(axis=(-2, -1)) / total)


def blurred(
    images: Real[ArrayLike, "*batch height width"], sigma: float
) -> Float[np.ndarray, "*batch height width"]:
    """Pictures after a Gaussian blur, black beyond the edge.

    Args:
        images: Brightness at least 0, shape (..., height, width).
        sigma: Standard deviation of the blur, pixels, at least 0.

    Raises:
        ValueError: Negative or non-finite values.
    """
    ink = checked_pictures(images)
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; expected a number of at least 0")
    return ndimage.gaussian_filter(ink, sigma, mode="constant", axes=(-2, -1))


def blur_between(
    sharp: Real[ArrayLike, "n height width"],
    soft: Real[ArrayLike, "m soft_height soft_width"],
    *,
    most: float = 4.0,
) -> float:
    """How far pictures have to be blurred to be, in the mean, as sharp as others.

    Args:
        sharp: Pictures to be blurred, shape (n, height, width).
        soft: Pictures to be like, shape (m, height, width).
        most: The largest blur that is tried, pixels.

    Returns:
        The standard deviation of the blur in pixels; 0 if `sharp` is no sharper than `soft`.

    Raises:
        ValueError: Even a blur of `most` leaves them sharper; or as for `sharpness`.
    """
    goal = float(sharpness(soft).mean())

    def gap(sigma: float) -> float:
        return float(sharpness(blurred(sharp, sigma)).mean()) - goal

    if gap(0.0) <= 0:
        return 0.0
    if gap(most) > 0:
        raise ValueError(f"most is {most}: blurred that far, `sharp` is still sharper than `soft`")
    return float(optimize.brentq(gap, 0.0, most, xtol=1e-4))
