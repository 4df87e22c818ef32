"""The moon renderer against the geometry of a sphere and the closed form of its total brightness."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lecture_lib import moon
from tests.laws import law

EVERY_FIVE = np.arange(0, 181, 5)
SIZE = 256


@pytest.fixture(scope="module")
def waxing() -> np.ndarray:
    """Plain white balls every five degrees."""
    return np.asarray(moon.render_many(EVERY_FIVE, SIZE, maria=0.0), np.float64)


@pytest.fixture(scope="module")
def waning() -> np.ndarray:
    return np.asarray(moon.render_many(-EVERY_FIVE, SIZE, maria=0.0), np.float64)


def expected_share(degrees: Any) -> Any:
    """Lit share of the disc: it ends at half an ellipse with the semi-axis |cos(phase)|."""
    return (1 + np.cos(np.radians(degrees))) / 2


@pytest.mark.parametrize("maria", [0.0, 1.0])
def test_lit_share_of_the_disc(maria: float) -> None:
    """Counting pixels; 0.01 of the area is asked for.

    A pixel that is lit in part counts whole: about half a pixel too much for each row that the terminator
    crosses, 2 R of them. With R = 120 pixels that is R / (pi R^2) = 0.0027 of the disc where the terminator
    is steep, and more where it runs flat, near the poles.
    """
    pictures = np.asarray(moon.render_many(EVERY_FIVE, SIZE, maria=maria))
    lit = (pictures > 0).sum((1, 2))
    np.testing.assert_allclose(lit / lit[0], expected_share(EVERY_FIVE), atol=0.01, rtol=0)


def test_lit_share_weighted_by_area() -> None:
    """Each 2 x 2 block of a picture twice as large stands for a pixel with its share of area.

    So the error of counting, at most 0.01, halves.
    """
    phases = np.arange(0, 181, 15)
    for sign in (1, -1):
        fine = np.asarray(moon.render_many(sign * phases, 2 * SIZE, maria=0.0)) > 0
        area = fine.reshape(-1, SIZE, 2, SIZE, 2).mean((2, 4)).sum((1, 2))
        np.testing.assert_allclose(area / area[0], expected_share(phases), atol=0.005, rtol=0)


def test_disc_has_its_radius() -> None:
    """Lit columns of the middle rows span the radius to within a pixel at each end."""
    lit = np.asarray(moon.render(0.0, SIZE)) > 0
    for line in (lit[SIZE // 2], lit[:, SIZE // 2]):
        assert abs(line.sum() - moon.RADIUS * SIZE) <= 2


def test_right_side_is_lit_when_waxing(waxing: np.ndarray, waning: np.ndarray) -> None:
    half = SIZE // 2
    first_quarter = waxing[list(EVERY_FIVE).index(90)]
    assert (first_quarter[:, :half] == 0).all() and (first_quarter[:, half:] > 0).any()
    last_quarter = waning[list(EVERY_FIVE).index(90)]
    assert (last_quarter[:, half:] == 0).all() and (last_quarter[:, :half] > 0).any()


def test_waning_mirrors_waxing(waxing: np.ndarray, waning: np.ndarray) -> None:
    np.testing.assert_array_equal(waning, waxing[:, :, ::-1])
    with_maria = np.asarray(moon.render_many(EVERY_FIVE, SIZE)) > 0
    mirrored = np.asarray(moon.render_many(-EVERY_FIVE, SIZE)) > 0
    np.testing.assert_array_equal(mirrored, with_maria[:, :, ::-1])


def test_plain_ball_is_the_same_upside_down(waxing: np.ndarray) -> None:
    # the mean over a pixel adds its points in the other order: an ulp or two, 6e-8 each
    np.testing.assert_allclose(waxing, waxing[:, ::-1], atol=2.5e-7, rtol=0)


def test_maria_are_darker_and_nothing_else(waxing: np.ndarray) -> None:
    marked = np.asarray(moon.render_many(EVERY_FIVE, SIZE))
    assert (marked <= waxing).all()
    np.testing.assert_array_equal(marked > 0, waxing > 0)
    # East and west on the disc: Crisium (59 E, 17 N) is a dark spot on the right, upper half.
    lon, lat = np.radians([59.1, 17.0])
    x = np.cos(lat) * np.sin(lon) * moon.RADIUS
    y = np.sin(lat) * moon.RADIUS
    row, column = int((1 - y) / 2 * SIZE), int((1 + x) / 2 * SIZE)
    ratio = (marked[0, row, column] / waxing[0, row, column]) ** moon.GAMMA
    # albedo of mare to highland about 0.07 / 0.12 = 0.58; the rim of the model is soft
    assert 0.5 < ratio < 0.7


def test_total_brightness_follows_lommel_and_seeliger(waxing: np.ndarray) -> None:
    """Integrated over the disc: 1 - sin(a/2) tan(a/2) ln cot(a/4) (Lester, McCall and Tatum 1979).

    The midpoint rule over about 8e5 sub-pixels is good to 1e-4; 1e-3 is asked for.
    """
    light = (waxing**moon.GAMMA).sum((1, 2))
    a = np.radians(EVERY_FIVE[1:-1])
    closed = 1 - np.sin(a / 2) * np.tan(a / 2) * np.log(1 / np.tan(a / 4))
    np.testing.assert_allclose(light[1:-1] / light[0], closed, atol=1e-3, rtol=0)
    # at 0 degrees mu0 = mu, so the whole disc has linear intensity 1/2
    assert light[0] == pytest.approx(np.pi * (moon.RADIUS * SIZE / 2) ** 2 / 2, rel=1e-3)
    assert light[-1] == 0


@pytest.mark.parametrize("maria", [0.0, 1.0])
def test_brightness_falls_with_the_phase(maria: float) -> None:
    for sign in (1, -1):
        pictures = np.asarray(moon.render_many(sign * np.arange(0, 176, 1), 64, maria=maria), np.float64)
        light = (pictures**moon.GAMMA).sum((1, 2))
        assert (np.diff(light) < 0).all()


def test_pixel_values_match_the_law_at_the_centre() -> None:
    """In the middle of the disc mu = 1 and mu0 = cos(phase): mu0 / (mu0 + mu), encoded."""
    for degrees in (0.0, 30.0, 60.0, 80.0):
        picture = np.asarray(moon.render(degrees, 255, maria=0.0))
        mu0 = np.cos(np.radians(degrees))
        # the mean over one pixel differs from the value at its centre by O((1/120)^2)
        expected = (mu0 / (mu0 + 1)) ** (1 / moon.GAMMA)
        assert picture[127, 127] == pytest.approx(expected, abs=2e-4)


@law(60)
@given(st.floats(-1000, 1000), st.sampled_from([8, 9, 32]), st.sampled_from([0.0, 0.5, 1.0]))
def test_range_sky_and_period(phase: float, size: int, maria: float) -> None:
    picture = np.asarray(moon.render_many([phase, phase + 360], size, maria=maria))
    assert picture.dtype == np.float32 and picture.shape == (2, size, size)
    assert picture.min() >= 0 and picture.max() <= 1
    centre = (np.arange(size) + 0.5) / size * 2 - 1
    sky = np.hypot(*np.meshgrid(centre, centre)) > moon.RADIUS + 2**0.5 / size
    assert (picture[:, sky] == 0).all()
    # float32 holds 1360 degrees to 6e-5 degrees, 1e-6 radian of the Sun's place. Linear intensity
    # changes by at most 1/mu0-ish of that near the terminator, and its 1 / 2.2th power by more: compare it
    # linear, where a sub-pixel that flips between lit and dark has intensity of the same order.
    linear = picture.astype(np.float64) ** moon.GAMMA
    assert abs(linear[0].mean() - linear[1].mean()) < 1e-5


@law(40)
@given(st.floats(-179.9, 179.9).filter(lambda phase: abs(phase) > 1e-3), st.sampled_from([0.25, 1.0]))
def test_energy_at_any_phase(phase: float, maria: float) -> None:
    """Lommel and Seeliger's closed form, the mirror, and what maria swallow."""
    white, mirrored = np.asarray(moon.render_many([phase, -phase], maria=0.0), np.float64) ** moon.GAMMA
    a = np.radians(abs(np.float32(phase)))
    closed = 1 - np.sin(a / 2) * np.tan(a / 2) * np.log(1 / np.tan(a / 4))
    # Points of a grid in a circle of radius 60 are pi r^2 up to about r^(2/3) (van der Corput): 1.4e-3 of it.
    assert white.sum() / (np.pi * (moon.RADIUS * 16) ** 2 / 2) == pytest.approx(closed, abs=2e-3)
    # float32: sin of an angle and its negative agree, and sums of 16 points in another order
    np.testing.assert_allclose(mirrored, white[:, ::-1], atol=1e-6)
    dark = np.asarray(moon.render(phase, maria=maria), np.float64) ** moon.GAMMA
    # maria reflect 7 / 12 of what highlands do (0.42 less)
    assert (dark <= white + 1e-6).all() and (dark >= (1 - 0.42 * maria) * white - 1e-6).all()


def test_new_moon_is_black() -> None:
    for degrees in (180, -180, 540):
        assert (np.asarray(moon.render(degrees)) == 0).all()


def test_jit_and_vmap_give_the_same() -> None:
    """The compiler may fuse and reorder: 1e-6 is eight units in the last place at 1."""
    eager = np.stack([np.asarray(moon.render(float(p), 64)) for p in EVERY_FIVE])
    compiled = jax.jit(moon.render, static_argnums=1)
    np.testing.assert_allclose(np.stack([compiled(float(p), 64) for p in EVERY_FIVE]), eager, atol=1e-6)
    angles = jnp.asarray(EVERY_FIVE, jnp.float32)
    np.testing.assert_allclose(jax.vmap(lambda p: moon.render(p, 64))(angles), eager, atol=1e-6)
    np.testing.assert_allclose(moon.render_many(EVERY_FIVE, 64), eager, atol=1e-6)


@pytest.mark.parametrize("angle", [45, 45.0, np.float64(45), np.int64(45), np.array(45.0), jnp.array(45)])
def test_kinds_of_angle(angle: Any) -> None:
    np.testing.assert_array_equal(moon.render(angle), moon.render(45.0))


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ((0.0, 7), ValueError, "size is 7; expected at least 8"),
        ((0.0, 8.5), TypeError, "size is 8.5"),
        ((0.0, True), TypeError, "size is True"),
        ((0.0, "8"), TypeError, "size is '8'"),
        ((float("nan"),), ValueError, "phase_angle has 1 of 1 values that are not finite"),
        ((float("-inf"),), ValueError, "phase_angle"),
        ((np.array([0.0, 90.0]),), ValueError, r"phase_angle has shape \(2,\).+render_many"),
        (([],), ValueError, r"phase_angle has shape \(0,\)"),
        (("full",), TypeError, "phase_angle is 'full'; expected a number"),
        ((None,), TypeError, "phase_angle is None"),
        ((1j,), TypeError, "phase_angle is 1j"),
    ],
)
def test_bad_arguments_of_render(arguments: tuple[Any, ...], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        moon.render(*arguments)


@pytest.mark.parametrize("maria", [-0.1, 1.1, float("nan")])
def test_maria_out_of_range(maria: float) -> None:
    for f in (lambda: moon.render(0.0, maria=maria), lambda: moon.render_many([0.0], maria=maria)):
        with pytest.raises(ValueError, match=r"maria is .+; expected a number in"):
            f()


@pytest.mark.parametrize(
    ("phases", "size", "error", "told"),
    [
        ([], 32, ValueError, r"phase_angles has shape \(0,\); expected \(n,\)"),
        (45.0, 32, ValueError, r"phase_angles has shape \(\)"),
        ([[45.0]], 32, ValueError, r"phase_angles has shape \(1, 1\)"),
        ([0.0, np.nan], 32, ValueError, r"phase_angles has 1 of 2 .+index \(1,\)"),
        ([0.0], 7, ValueError, "size is 7"),
        ([0.0], 8.5, TypeError, "size is 8.5"),
    ],
)
def test_bad_arguments_of_render_many(phases: Any, size: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        moon.render_many(phases, size)
