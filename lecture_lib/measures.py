"""What a claim is judged by: distances, orders, divergences; NumPy and SciPy, apart from the models."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int, Real, Shaped
from scipy import integrate, ndimage, special, stats

from lecture_lib import checks, moon

_FINER = 4
"""How much finer the grid of `thickness` is than the picture's."""


CDF = Callable[[Float[np.ndarray, " m"]], Float[np.ndarray, " m"]]
"""A cumulative distribution function."""


class NearestMoon(NamedTuple):
    """The true moon that looks most like each picture."""

    phase: Int[np.ndarray, " n"]
    """Its phase angle, degrees, shape (n,)."""
    distance: Float[np.ndarray, " n"]
    """Root mean square difference per pixel, in units of brightness, shape (n,)."""


@functools.lru_cache(maxsize=4)
def true_moons(size: int, step: int = 1) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n pixels"]]:
    """Waxing moons every `step` degrees: phases (n,), from 0 up to 179, and pictures (n, size * size)."""
    phases = np.arange(0, 180, step)
    pictures = np.asarray(moon.render_many(phases, size)).reshape(len(phases), -1)
    pictures.flags.writeable = False
    return phases, pictures


def nearest_moon(images: Real[ArrayLike, "n pixels"], *, step: int = 1) -> NearestMoon:
    """Compare pictures with the true waxing moons of every `step` degrees from 0 up to 179.

    Args:
        images: Shape (n, size * size), brightness.
        step: Whole degrees between two true moons, at least 1.

    Raises:
        ValueError: The shape is not that of square pictures, or a value is not finite.
    """
    images = checks.real("images", images)
    size = round(images.shape[-1] ** 0.5) if images.ndim == 2 else 0
    if images.ndim != 2 or size < 8 or size**2 != images.shape[1]:
        raise ValueError(f"images has shape {images.shape}; expected (n, size * size) with size at least 8")
    checks.finite("images", images)
    phases, true = true_moons(size, checks.whole("step", step, low=1))
    distances = np.stack([rms(image, true) for image in images])
    best = distances.argmin(axis=1)
    return NearestMoon(phases[best], distances[np.arange(len(images)), best])


def rms(a: Real[ArrayLike, "*#batch n"], b: Real[ArrayLike, "*#batch n"]) -> Float[np.ndarray, "*batch"]:
    """Root mean square difference over the last axis, in float64."""
    return np.asarray(np.sqrt(np.mean((checks.real("a", a) - checks.real("b", b)) ** 2, axis=-1)))


def in_order(codes: Real[ArrayLike, "*batch n"]) -> Bool[np.ndarray, "*batch"]:
    """Whether codes rise or fall strictly along the last axis, shape (..., n) -> (...).

    Raises:
        ValueError: There are fewer than two codes, or one is not finite.
    """
    codes = checks.real("codes", codes)
    if codes.ndim == 0 or codes.shape[-1] < 2:
        raise ValueError(f"codes has shape {codes.shape}; expected (..., n) with n at least 2")
    checks.finite("codes", codes)
    steps = np.diff(codes, axis=-1)
    return np.asarray((steps > 0).all(axis=-1) | (steps < 0).all(axis=-1))


def kl_by_quadrature(mean: float, sd: float) -> float:
    """KL(N(mean, sd^2) || N(0, 1)) in nats: the integral of q (log q - log p) by the trapezoid rule.

    It knows nothing of the closed form, so it can be held against it. The rule runs over 12 standard
    deviations of q each way, where it is exact to about 1e-12.

    Args:
        mean: Mean of q.
        sd: Standard deviation of q, above 0.
    """
    checks.finite("mean", np.float64(mean))
    checks.positive("sd", float(sd))
    z = mean + sd * np.linspace(-12, 12, 2001)
    log_q, log_p = stats.norm.logpdf(z, mean, sd), stats.norm.logpdf(z)
    return float(integrate.trapezoid(np.exp(log_q) * (log_q - log_p), z))


def kl(
    log_p: Float[ArrayLike, " n"],
    log_q: Float[ArrayLike, " n"],
    log_weights: Float[ArrayLike, " n"],
) -> float:
    """KL(p || q) in nats of two densities known at the nodes of a quadrature rule.

    Args:
        log_p: log p at each node, shape (n,); -inf where p is 0.
        log_q: log q there.
        log_weights: Those of the rule, which must cover the support of p.

    Returns:
        The divergence; infinite if q is 0 at a node where p is not.

    Raises:
        ValueError: The shapes differ.
    """
    log_p, log_q, log_weights = _at_nodes(log_p, log_q, log_weights)
    inside = log_p != -np.inf
    if np.any(log_q[inside] == -np.inf):  # also where p underflows, which leaves 0 times infinity
        return math.inf
    gap = log_p[inside] - log_q[inside]
    return float(np.sum(np.exp(log_p[inside] + log_weights[inside]) * gap))


def l1(
    log_p: Float[ArrayLike, " n"],
    log_q: Float[ArrayLike, " n"],
    log_weights: Float[ArrayLike, " n"],
) -> float:
    """The area between two densities, from 0 (equal) to 2 (apart).

    As 2 * integral of max(p - q, 0), which is the integral of |p - q| for densities that both integrate to 1
    and needs a rule for the support of p only.

    Args:
        log_p, log_q, log_weights: As for `kl`.

    Raises:
        ValueError: The shapes differ.
    """
    log_p, log_q, log_weights = _at_nodes(log_p, log_q, log_weights)
    return float(2 * np.sum(np.exp(log_weights) * np.maximum(np.exp(log_p) - np.exp(log_q), 0)))


def jensen_shannon(
    log_p: Float[ArrayLike, " n"],
    log_q: Float[ArrayLike, " n"],
    log_weights: Float[ArrayLike, " n"],
) -> float:
    """JS(p, q) in nats: the mean KL of p and of q from their half-and-half mixture, from 0 to log 2.

    It is what the best possible discriminator knows: at D* the two players' value is -2 log 2 + 2 JS
    (Goodfellow and others 2014, theorem 1). log 2 where p and q do not overlap, however far apart they are.

    Args:
        log_p, log_q: Log-densities at the nodes of a quadrature rule, shape (n,); -inf where they are 0.
        log_weights: Those of the rule, which must cover both supports.

    Raises:
        ValueError: The shapes differ.
    """
    log_p, log_q, log_weights = _at_nodes(log_p, log_q, log_weights)
    # log of the mixture over p is log(1 + q / p) - log 2: no density is divided by one that underflows
    some_p, some_q = log_p != -np.inf, log_q != -np.inf
    gap = np.where(some_p & some_q, log_q - np.where(some_p, log_p, 0), 0)
    with np.errstate(invalid="ignore"):  # NaN comes out as NaN
        of_p = np.where(some_q, np.logaddexp(0, gap), 0) - math.log(2)
        of_q = np.where(some_p, np.logaddexp(0, -gap), 0) - math.log(2)
    told = np.exp(log_p + log_weights) * of_p + np.exp(log_q + log_weights) * of_q
    return float(-np.sum(told) / 2)


def optimal_discriminator(
    p_data: Real[ArrayLike, "*shape"], p_g: Real[ArrayLike, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """D*(x) = p_data(x) / (p_data(x) + p_G(x)): the best answer to "is x real?" against a fixed G.

    Goodfellow and others 2014, proposition 1. Nothing is asked where neither has any probability: NaN there.

    Args:
        p_data, p_g: Densities at the same x, at least 0, of one shape.

    Raises:
        ValueError: The shapes differ, or a density is below 0 or not finite.
    """
    p_data, p_g = checks.real("p_data", p_data), checks.real("p_g", p_g)
    checks.same_shape(p_data=p_data, p_g=p_g)
    checks.at_least_zero("p_data", p_data)
    checks.at_least_zero("p_g", p_g)
    both = p_data + p_g
    return np.divide(p_data, both, out=np.full(both.shape, np.nan), where=both > 0)


def wasserstein_1d(
    a: Real[ArrayLike, " n"] | CDF,
    b: Real[ArrayLike, " k"] | CDF,
    *,
    edges: Real[ArrayLike, " m"] | None = None,
) -> float:
    """W1, the earth mover's distance of two distributions of numbers, in units of x.

    The least mean distance that their probability has to be carried: the area between their cumulative
    distributions. Unlike JS it tells how far apart two distributions are that do not overlap.

    Args:
        a, b: Each either draws, shape (n,), or a cumulative distribution function: x (m,), rising, to (m,).
        edges: Rising, shape (m,): where a function is asked, between the ends of practically all probability
            of both; needed unless a and b are draws. The area is found by the trapezoid rule.

    Raises:
        ValueError: Draws that are not finite or not of shape (n,), or edges that are missing or do not rise.
    """
    if not callable(a) and not callable(b):
        return float(stats.wasserstein_distance(_draws("a", a), _draws("b", b)))
    if edges is None:
        raise ValueError("edges is None; expected where to compare the cumulative distributions")
    edges = checks.real("edges", edges)
    checks.finite("edges", edges)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges has shape {edges.shape}; expected at least two rising numbers")
    below = [
        given(edges) if callable(given) else _share(name, given, edges)
        for name, given in (("a", a), ("b", b))
    ]
    return float(integrate.trapezoid(np.abs(below[0] - below[1]), edges))


def _share(name: str, draws: Any, edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(_draws(name, draws)), edges, side="right") / len(draws)


def _draws(name: str, draws: Any) -> np.ndarray:
    array = checks.real(name, draws)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; expected draws of shape (n,), n at least 1")
    checks.finite(name, array)
    return array


def _at_nodes(*values: Any) -> list[np.ndarray]:
    named = dict(zip(("log_p", "log_q", "log_weights"), values, strict=True))
    arrays = {name: checks.real(name, value) for name, value in named.items()}
    checks.same_shape(**arrays)
    return list(arrays.values())


def slant(images: Real[ArrayLike, "*batch height width"]) -> Float[np.ndarray, "*batch"]:
    """How far each digit leans, in degrees: 0 upright, positive to the right at the top.

    The angle whose tangent is -mu_11 / mu_02, from central moments of the brightness with the rows counted
    downwards: the shear that makes the digit's axis upright (Castro et al. 2019, Morpho-MNIST).

    Args:
        images: Brightness at least 0, shape (..., height, width).

    Returns:
        Shape (...), in (-90, 90).

    Raises:
        ValueError: A picture is black all over, flat (all its ink in one row), or has negative or non-finite
            values.
    """
    ink = checked_pictures(images)
    flat = (ink > 0).any(axis=-1).sum(axis=-1) < 2
    if flat.any():
        first = tuple(int(i) for i in np.argwhere(flat)[0])
        where = f" (first at index {first})" if first else ""
        raise ValueError(f"images has a picture with ink in fewer than two rows{where}; it has no slant")
    total = ink.sum(axis=(-2, -1))
    rows, columns = np.arange(ink.shape[-2])[:, None], np.arange(ink.shape[-1])
    down = rows - ((ink * rows).sum(axis=(-2, -1)) / total)[..., None, None]
    right = columns - ((ink * columns).sum(axis=(-2, -1)) / total)[..., None, None]
    tangent = -(ink * down * right).sum(axis=(-2, -1)) / (ink * down**2).sum(axis=(-2, -1))
    return np.asarray(np.degrees(np.arctan(tangent)))


def thickness(images: Real[ArrayLike, "*batch height width"]) -> Float[np.ndarray, "*batch"]:
    """Mean width of each digit's strokes, in pixels.

    Four times the mean distance to the edge, over what is brighter than half of the brightest pixel, on a
    grid four times as fine (cubic): across a stroke of width w that mean is w / 4. For strokes of 2 to 5
    pixels it is good to a quarter of a pixel, mostly too low; ends lower the mean, corners and holes that a
    wide pen fills raise it. Strokes of 8x8 digits are too narrow.

    Args:
        images: Brightness at least 0, shape (..., height, width).

    Returns:
        Shape (...).

    Raises:
        ValueError: A picture is black all over, or has negative or non-finite values.
    """
    ink = checked_pictures(images)
    flat = ink.reshape(-1, *ink.shape[-2:])
    if not (flat.max(axis=(1, 2)) > 0).all():
        raise ValueError("images has a picture that is black all over; it has no thickness")
    # the zoom is linear and the same along both axes, so it is a matrix from the left and from the right
    side = [cubic_zoom(n + 2, _FINER) for n in flat.shape[1:]]
    # half of the picture's own maximum: of the finer one, which overshoots, it would be more
    both = zip(np.pad(flat, ((0, 0), (1, 1), (1, 1))), flat.max(axis=(1, 2)) / 2, strict=True)
    widths = [_thickness(side[0] @ picture @ side[1].T, level) for picture, level in both]
    return np.array(widths, np.float64).reshape(ink.shape[:-2])


@functools.cache
def cubic_zoom(n: int, factor: int) -> Float[np.ndarray, "finer n"]:
    """Cubic interpolation of n values, 0 beyond them, onto a grid `factor` times as fine: (factor * n, n).

    SciPy's zoom is linear and goes one axis at a time: a picture is made finer by this matrix from the left
    and from the right, which is many times as fast.
    """
    matrix = ndimage.zoom(np.eye(n), (factor, 1), order=3, mode="grid-constant", grid_mode=True)
    matrix.flags.writeable = False  # it is cached
    return matrix


def _thickness(fine: np.ndarray, level: float) -> float:
    inside = fine > level
    return float(4 * (ndimage.distance_transform_edt(inside)[inside].mean() - 0.5) / _FINER)


def ink(images: Real[ArrayLike, "*batch height width"]) -> Float[np.ndarray, "*batch"]:
    """Mean brightness of each picture, from 0 to 1: how much was written.

    Args:
        images: Brightness at least 0, shape (..., height, width).

    Raises:
        ValueError: Negative or non-finite values.
    """
    return np.asarray(checked_pictures(images).mean(axis=(-2, -1)))


def within_class_correlation(
    a: Real[ArrayLike, " n"],
    b: Real[ArrayLike, " n"],
    labels: Shaped[ArrayLike, " n"],
) -> float:
    """Pearson's correlation of a and b once both have lost the mean of each class.

    What differs between classes alone, say that a 7 leans more than an 8, counts for nothing.

    Args:
        a, b: Shape (n,).
        labels: The class of each, shape (n,).

    Returns:
        From -1 to 1.

    Raises:
        ValueError: The shapes differ, or a or b is constant within every class.
    """
    a, b = _centred(labels, a=a, b=b)
    return float(np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)))


def within_class_slope(
    a: Real[ArrayLike, " n"],
    b: Real[ArrayLike, " n"],
    labels: Shaped[ArrayLike, " n"],
) -> float:
    """How much b grows with a, by least squares, once both have lost the mean of each class.

    Args:
        a, b: Shape (n,).
        labels: The class of each, shape (n,).

    Raises:
        ValueError: As for `within_class_correlation`.
    """
    a, b = _centred(labels, a=a, b=b)
    return float(np.sum(a * b) / np.sum(a**2))


def _centred(labels: Any, **values: Any) -> list[np.ndarray]:
    """Values without the mean of their class."""
    checks.same_shape(**values, labels=labels)
    _, which = np.unique(labels, return_inverse=True)
    count = np.bincount(which)
    found = []
    for name, value in values.items():
        value = checks.real(name, value)
        checks.finite(name, value)
        left = value - (np.bincount(which, value) / count)[which]
        if np.sqrt(np.sum(left**2)) <= 1e-12 * max(1.0, float(np.abs(value).max())):
            raise ValueError(f"{name} is constant within each class; nothing goes with it")
        found.append(left)
    return found


def checked_pictures(
    images: Shaped[ArrayLike, "*batch height width"],
) -> Float[np.ndarray, "*batch height width"]:
    """Give images of shape (..., height, width) in float64; ValueError unless finite and at least 0."""
    pictures = checks.real("images", images)
    if pictures.ndim < 2 or min(pictures.shape[-2:]) < 2:
        raise ValueError(f"images has shape {pictures.shape}; expected (..., height, width)")
    checks.finite("images", pictures)
    if (pictures < 0).any():
        raise ValueError(f"images has values down to {pictures.min():.3g}; expected brightness of at least 0")
    return pictures


def inception_score(probabilities: Real[ArrayLike, "samples classes"]) -> float:
    """How sure a classifier is of each sample, and how evenly it spreads them: from 1 to K, the classes.

    exp of the mean of KL(p(y|x) || p(y)), with p(y) the mean over the samples (Salimans and others 2016). 1:
    it says the same of all. K: it is sure of each, and all classes are equally frequent. Each sample of a
    class may be the same picture: it does not look at the variety within a class.

    Args:
        probabilities: Shape (samples, classes); rows sum to 1.

    Raises:
        ValueError: The shape differs, a number is below 0, or a row does not sum to 1 within 1e-4.
    """
    p = checks.real("probabilities", probabilities)
    if p.ndim != 2 or not p.size:
        raise ValueError(f"probabilities has shape {p.shape}; expected (samples, classes), both at least 1")
    checks.finite("probabilities", p)
    off = np.abs(p.sum(axis=1) - 1).max()
    if (p < 0).any() or off > 1e-4:
        raise ValueError(
            f"probabilities has values down to {p.min():.3g} and sums of rows off 1 by {off:.3g}; "
            "expected probabilities of classes, row by row"
        )
    # the mean KL is what the entropy of the mean exceeds the mean entropy by: no number is divided by another
    return float(np.exp(special.entr(p.mean(axis=0)).sum() - special.entr(p).sum(axis=1).mean()))
