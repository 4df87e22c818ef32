"""A renderer of the lit Moon by its phase angle.

The Moon is a sphere seen from far away; the Sun stands at the *phase angle* from the viewer as seen
from the Moon. A surface point with normal n is lit if n points to the Sun; how bright it looks follows
the Lommel-Seeliger law of dark, dusty bodies, mu0 / (mu0 + mu), with mu0 the cosine towards the Sun and
mu the cosine towards the viewer (Seeliger 1887; Fairbairn, J. Roy. Astron. Soc. Can. 99 (2005) 92). That
law gives a full moon without the shaded rim of a billiard ball, as the real one has none.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lecture_lib import checks

RADIUS = 0.94
"""The disc's radius as a share of half the picture's width."""

GAMMA = 2.2
"""Pixels are (linear intensity) ** (1 / GAMMA), the usual encoding of pictures for a screen."""

_SUPERSAMPLING = 4

# Selenographic longitude and latitude and angular radius of the large maria, degrees; rounded from the
# IAU Gazetteer of Planetary Nomenclature. Procellarum is wide and stands as two circles.
_MARIA = np.array(
    [
        (-15.6, 32.8, 19.0),  # Imbrium
        (17.5, 28.0, 11.0),  # Serenitatis
        (31.4, 8.5, 14.0),  # Tranquillitatis
        (59.1, 17.0, 9.0),  # Crisium
        (51.3, -7.8, 12.5),  # Fecunditatis
        (34.6, -15.2, 5.6),  # Nectaris
        (-16.6, -21.3, 11.5),  # Nubium
        (-38.6, -24.4, 7.0),  # Humorum
        (-22.3, -10.5, 6.0),  # Cognitum
        (-50.0, 12.0, 16.0),  # Procellarum, south
        (-55.0, 32.0, 14.0),  # Procellarum, north
    ]
)
_MARE_DEPTH = 0.42  # maria reflect about 0.07 of the light, highlands about 0.12


@functools.lru_cache(maxsize=8)
def _sphere(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normals (n, n, 3) of the sub-pixel grid, what share of each sub-pixel is Moon, and how much mare."""
    n = size * _SUPERSAMPLING
    centre = (np.arange(n) + 0.5) / n * 2 - 1
    x, y = np.meshgrid(centre / RADIUS, -centre / RADIUS)
    r = np.hypot(x, y)
    inside = r < 1
    normals = np.stack([x, y, np.sqrt(np.clip(1 - r**2, 0, None))], axis=-1)
    lon, lat, radius = np.radians(_MARIA).T
    centres = np.stack([np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)])
    away = np.arccos(np.clip(normals @ centres, -1, 1))
    soft = 1 / (1 + np.exp((away - radius) / np.radians(2.0)))
    mare = 1 - np.prod(1 - soft, axis=-1)
    return normals.astype(np.float32), inside.astype(np.float32), mare.astype(np.float32)


def render(
    phase_angle: Real[ArrayLike, ""], size: int = 32, *, maria: float = 1.0
) -> Float[Array, "size size"]:
    """Render the Moon as it looks at a phase angle.

    Args:
        phase_angle: Degrees, a scalar: 0 is the full moon, 90 a half moon, 180 the new moon. Positive
            is waxing (lit on the right, as seen from the northern hemisphere), negative waning.
            Periodic with 360. May be traced: the function can be jitted and vmapped. It is not meant to be
            differentiated (the shadow has an edge, and x ** (1 / GAMMA) is infinitely steep at 0).
        size: Height and width of the picture in pixels, at least 8.
        maria: How visible the dark plains are, from 0 (a plain white ball) to 1.

    Returns:
        Brightness in [0, 1], float32, row 0 on top. The sky and the night side are exactly 0. Each pixel
        is the mean over 4 x 4 points, which smooths the limb, and then encoded with `GAMMA`.

    Raises:
        TypeError: `size` is not a whole number, or `phase_angle` is not a number.
        ValueError: `size` is below 8, `phase_angle` not finite or not a scalar, `maria` not in [0, 1].
    """
    checks.whole("size", size, low=8)
    if np.shape(phase_angle) != ():
        raise ValueError(
            f"phase_angle has shape {np.shape(phase_angle)}; expected one number (for many: render_many)"
        )
    if not checks.is_traced(phase_angle):
        checks.finite("phase_angle", np.float64(_number("phase_angle", phase_angle)))
    if not 0 <= maria <= 1:
        raise ValueError(f"maria is {maria}; expected a number in [0, 1]")
    normals, inside, mare = _sphere(size)
    angle = jnp.deg2rad(jnp.asarray(phase_angle, jnp.float32))
    mu = normals[..., 2]
    mu0 = normals[..., 0] * jnp.sin(angle) + normals[..., 2] * jnp.cos(angle)
    lit = (mu0 > 0) & (inside > 0)
    intensity = jnp.where(lit, mu0 / jnp.where(lit, mu0 + mu, 1.0), 0.0) * (1 - _MARE_DEPTH * maria * mare)
    s = _SUPERSAMPLING
    mean = intensity.reshape(size, s, size, s).mean(axis=(1, 3))
    return mean ** (1 / GAMMA)


@functools.partial(jax.jit, static_argnames=("size", "maria"))
def _render_all(phase_angles: Float[Array, " n"], size: int, maria: float) -> Float[Array, "n size size"]:
    return jax.lax.map(lambda angle: render(angle, size, maria=maria), phase_angles)


def render_many(
    phase_angles: Real[ArrayLike, " n"] | Sequence[float], size: int = 32, *, maria: float = 1.0
) -> Float[Array, "n size size"]:
    """Render one Moon for each phase angle, shape (n,), degrees; see `render`.

    Raises:
        ValueError: `phase_angles` is empty, not one-dimensional, or not finite.
    """
    angles = checks.real("phase_angles", phase_angles).astype(np.float32)
    if angles.ndim != 1 or not len(angles):
        raise ValueError(f"phase_angles has shape {angles.shape}; expected (n,) with n at least 1")
    checks.finite("phase_angles", angles)
    checks.whole("size", size, low=8)
    return _render_all(jnp.asarray(angles), size, maria)


def _number(name: str, value: Any) -> float:
    try:
        return float(checks.real(name, value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is {value!r}; expected a number of degrees") from error
