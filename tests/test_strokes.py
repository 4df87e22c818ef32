"""Strokes: against brute force, closed-form areas, and what MNIST asks of a digit."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lecture_lib import measures, strokes
from tests.laws import law

points = st.tuples(st.floats(-5, 32), st.floats(-5, 32))
drawings = st.lists(st.lists(points, min_size=1, max_size=4), min_size=1, max_size=3)


def brute(lines: list[Any], width: float, size: int) -> np.ndarray:
    """Pixel by pixel and piece by piece, by the angles at a piece's ends."""
    image = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            pixel, nearest = np.array([j, i], float), np.inf
            for stroke in lines:
                for a, b in pairwise(stroke if len(stroke) > 1 else [stroke[0]] * 2):
                    a, b = np.array(a, float), np.array(b, float)
                    if (pixel - a) @ (b - a) <= 0:
                        gap = np.hypot(*(pixel - a))
                    elif (pixel - b) @ (a - b) <= 0:
                        gap = np.hypot(*(pixel - b))
                    else:
                        (ax, ay), (bx, by) = pixel - a, b - a
                        gap = abs(ax * by - ay * bx) / np.hypot(bx, by)
                    nearest = min(nearest, gap)
            image[i, j] = min(1, max(0, width / 2 + 0.5 - nearest))
    return image


# --- render ---------------------------------------------------------------------------------


@law(25)
@given(drawings, st.floats(0.1, 12))
def test_render_is_brute_force(lines: list[Any], width: float) -> None:
    # pieces shorter than 1e-6 count as dots; everything else is rounding of numbers below 40
    np.testing.assert_allclose(
        strokes.render(lines, width=width, size=9), brute(lines, width, 9), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("width", [1, 2, 3.5, 6])
def test_a_dot_is_a_round_spot(width: float) -> None:
    image = strokes.render([[(9, 14)]], width=width)
    rows, columns = np.indices((28, 28))
    distance = np.hypot(rows - 14, columns - 9)  # x is to the right, y is down
    np.testing.assert_allclose(image, np.clip(width / 2 + 0.5 - distance, 0, 1), atol=1e-15)
    assert image[14, 9] == 1
    twice = strokes.render([[(9, 14), (9, 14), (9, 14)]], width=width)
    np.testing.assert_allclose(twice, image, atol=1e-15)


@pytest.mark.parametrize("width", [1, 1.5, 3, 5])
@pytest.mark.parametrize("degrees", [0, 17, 31, 45, 71, 90])
def test_a_pen_covers_its_width_times_the_length(width: float, degrees: float) -> None:
    """width * length, and the two ends: brightness is the mean over radii r from width / 2 - 1/2 to
    width / 2 + 1/2 of discs' pictures, so that together they cover pi (width^2 / 4 + 1 / 12).

    Pixels sample the brightness across the line. Along an axis, whose kinks are a pixel apart, that is exact;
    at 45 degrees it is a rule of step h = sqrt(1/2), off by at most h^2 / 4 per pixel of length (four kinks
    of slope 1; Euler and Maclaurin); at other angles all offsets occur and cancel, to a hundredth of a pixel.
    """
    half = 100 * np.array([np.sin(np.radians(degrees)), -np.cos(np.radians(degrees))])
    middle = np.array([120.3, 119.6])
    image = strokes.render([[middle - half, middle + half]], width=width, size=240)
    area = 200 * width + np.pi * (width**2 / 4 + 1 / 12)
    assert image.sum() == pytest.approx(area, abs=200 * (1 / 8 if degrees == 45 else 1 / 100))


def test_strokes_lie_over_each_other_without_adding() -> None:
    one, two = [(3.0, 4.0), (20.0, 21.0)], [(20.0, 5.0), (6.0, 20.0)]
    both = strokes.render([one, two], width=3)
    apart = [strokes.render([s], width=3) for s in (one, two)]
    np.testing.assert_array_equal(both, np.maximum(*apart))
    assert both.max() == 1 and both.shape == (28, 28)


@law(60)
@given(drawings, st.integers(-6, 6), st.integers(-6, 6))
def test_render_moves_with_its_strokes(lines: list[Any], right: int, down: int) -> None:
    moved = [[(x + right, y + down) for x, y in s] for s in lines]
    still = strokes.render(lines, width=2.5)
    inner = slice(6, 22)
    shifted = strokes.render(moved, width=2.5)[6 + down : 22 + down, 6 + right : 22 + right]
    np.testing.assert_allclose(shifted, still[inner, inner], atol=2e-6)  # pieces shorter than 1e-6


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "^strokes is empty; expected at least one stroke"),
        ([[]], r"^a stroke has shape \(0,\); expected \(points, 2\)"),
        ([np.zeros((0, 2))], r"^a stroke has shape \(0, 2\)"),
        ([(1.0, 2.0)], r"^a stroke has shape \(2,\)"),
        ([[(1, 2, 3)]], r"^a stroke has shape \(1, 3\)"),
        ([[(1, 2), (np.nan, 0)]], "^strokes has 1 of 4 values that are not finite"),
    ],
)
def test_strokes_that_do_not_fit(lines: Any, told: str) -> None:
    for draw in (strokes.render, strokes.as_mnist):
        with pytest.raises(ValueError, match=told):
            draw(lines, width=2)


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_pens_that_do_not_fit(width: float) -> None:
    for draw in (strokes.render, strokes.as_mnist):
        with pytest.raises(ValueError, match=r"^width "):
            draw([[(1, 2)]], width=width)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^size is 0; expected at least 1"):
        strokes.render([[(1, 2)]], width=1, size=0)
    with pytest.raises(TypeError, match=r"^size is 2\.5"):
        strokes.render([[(1, 2)]], width=1, size=2.5)  # type: ignore[arg-type]


# --- as MNIST -------------------------------------------------------------------------------


def examples() -> list[list[Any]]:
    return [strokes.shear(strokes.example(d), s) for d in range(10) for s in (-25, 0, 25)]


@pytest.mark.parametrize("width", [1.5, 2.5, 4])
def test_ink_fits_the_box_and_its_centre_is_in_the_middle(width: float) -> None:
    for lines in examples():
        image = strokes.as_mnist(lines, width=width)
        assert image.shape == (28, 28) and image.min() >= 0 and image.max() <= 1
        # brighter than 1/2 is what lies less than half a pen from the line: in an open box of 20
        extents = [np.ptp(np.flatnonzero((image > 0.5).any(axis))) + 1 for axis in (0, 1)]
        assert max(extents) <= 20
        assert max(extents) >= 18  # and it fills the box, but for a pixel on either side
        rows, columns = np.indices((28, 28))
        centre = [(image * at).sum() / image.sum() for at in (rows, columns)]
        # shifted by a part of a pixel, the edge is sampled elsewhere: MNIST's own are good to half a pixel
        np.testing.assert_allclose(centre, 14, atol=0.1)


@law(25)
@given(
    st.integers(0, 9),
    st.floats(-1e3, 1e3),
    st.floats(-1e3, 1e3),
    st.floats(-4, 4),
)
def test_place_and_scale_of_the_strokes_do_not_count(
    digit: int, right: float, down: float, log_scale: float
) -> None:
    lines = strokes.example(digit)
    moved = [10**log_scale * (s + np.array([right, down])) for s in lines]
    # places of 1e3 leave 1e-13 of the shape's size, and the picture is 20 times as large
    np.testing.assert_allclose(
        strokes.as_mnist(moved, width=2.5), strokes.as_mnist(lines, width=2.5), atol=1e-10
    )


def test_a_dot_stands_in_the_middle() -> None:
    dot = strokes.as_mnist([[(1e3, -7.0)]], width=3)
    np.testing.assert_allclose(dot, strokes.render([[(14, 14)]], width=3), atol=1e-13)


@pytest.mark.parametrize("width", [20, 35.0])
def test_a_pen_too_wide_for_the_box(width: float) -> None:
    with pytest.raises(ValueError, match=rf"^width is {width}; expected less than 20, the box of the digit"):
        strokes.as_mnist(strokes.example(3), width=width)
    assert strokes.as_mnist(strokes.example(3), width=19.9).max() == 1


# --- examples -------------------------------------------------------------------------------


def test_examples_are_upright_and_all_distinct() -> None:
    images = [strokes.as_mnist(strokes.example(d), width=2.5) for d in range(10)]
    for one, other in combinations(images, 2):
        assert np.abs(one - other).sum() > 20  # pixels, of the 60 or so that a digit has
    for d in range(10):
        every = np.concatenate(strokes.example(d))
        assert 0.2 < np.ptp(every[:, 0]) <= 1.2 and 1.9 < np.ptp(every[:, 1]) <= 2.1
        np.testing.assert_allclose((every.min(0) + every.max(0)) / 2, 0, atol=0.1)


def test_examples_are_copies() -> None:
    strokes.example(4)[0][:] = 9
    assert np.abs(strokes.example(4)[0]).max() <= 1


@pytest.mark.parametrize("digit", [-1, 10])
def test_examples_that_are_not_there(digit: int) -> None:
    with pytest.raises(ValueError, match=f"^digit is {digit}; expected from 0 to 9"):
        strokes.example(digit)


@law(60)
@given(st.floats(-80, 80), st.floats(-3, 3), st.floats(-3, 3))
def test_shear_moves_each_point_along_its_row(degrees: float, x: float, y: float) -> None:
    ((moved,),) = strokes.shear([[(x, y)]], degrees)
    assert moved[1] == y
    # above, at negative y, to the right; rounding of numbers below 20
    assert moved[0] == pytest.approx(
        x - y * np.sin(np.radians(degrees)) / np.cos(np.radians(degrees)), abs=1e-13
    )
    ((back,),) = strokes.shear([[moved]], -degrees)
    np.testing.assert_allclose(back, [x, y], atol=1e-13)


@pytest.mark.parametrize("digit", range(10))
def test_a_positive_shear_leans_to_the_right(digit: int) -> None:
    slants = [
        float(measures.slant(strokes.as_mnist(strokes.shear(strokes.example(digit), s), width=2.5)))
        for s in (-30, -10, 0, 10, 30)
    ]
    assert (np.diff(slants) > 0).all()


@pytest.mark.parametrize("degrees", [-90, 90, 120, float("nan")])
def test_shears_that_do_not_fit(degrees: float) -> None:
    with pytest.raises(ValueError, match=r"^degrees is .*; expected an angle in \(-90, 90\)"):
        strokes.shear(strokes.example(1), degrees)
