"""Digits for the eye: as ink and as pixels, one by one and on a wall."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import ndimage, special

from lecture_lib import digit_pictures, figures
from lecture_lib.digit_pictures import INK_LOOK, LOOKS, RAW, SIDE

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(6, 8, 8))


def by_scipy(image: np.ndarray, zoom: int = 12) -> np.ndarray:
    """The whole picture at once: a black pixel around, cubic zoom, a steep sigmoid."""
    fine = ndimage.zoom(np.pad(image, 1), zoom, order=3, mode="grid-constant", grid_mode=True)
    return special.expit(10 * (fine - 0.45))


def test_ink_is_scipys_zoom() -> None:
    for image, ours in zip(IMAGES, digit_pictures.shown(IMAGES, INK_LOOK), strict=True):
        np.testing.assert_allclose(ours, by_scipy(image), atol=1e-11)  # sums of 100 numbers below 2, times 10
    for shape, zoom in (((8, 8), 1), ((8, 8), 5), ((3, 7), 4)):
        image = RNG.uniform(size=shape)
        np.testing.assert_allclose(figures.as_ink(image, zoom=zoom), by_scipy(image, zoom), atol=1e-11)


def test_raw_pixels_are_squares_in_a_black_frame() -> None:
    for image, ours in zip(IMAGES, digit_pictures.shown(IMAGES, RAW), strict=True):
        framed = np.zeros((10, 10))
        framed[1:-1, 1:-1] = image
        np.testing.assert_array_equal(ours, framed.repeat(12, axis=0).repeat(12, axis=1))


@pytest.mark.parametrize("look", LOOKS)
def test_flat_pictures_and_single_ones(look: str) -> None:
    both = digit_pictures.shown(IMAGES, look)
    assert both.shape == (6, SIDE, SIDE)
    np.testing.assert_array_equal(digit_pictures.shown(IMAGES.reshape(6, 64), look), both)
    one = digit_pictures.shown(IMAGES[2].ravel(), look)
    assert one.shape == (1, SIDE, SIDE)
    np.testing.assert_allclose(one[0], both[2], atol=1e-12)
    assert LOOKS == [INK_LOOK, RAW]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("columns", "below"), [(3, 0), (2, 34), (6, 5), (1, 0)])
def test_wall(look: str, columns: int, below: int) -> None:
    """Row by row from the top left, with two dots of paper on either side and room under each."""
    wall = digit_pictures.wall(IMAGES, look, columns=columns, below=below)
    rows, height, width = 6 // columns, SIDE + below, SIDE + 4
    assert wall.shape == (rows * height, columns * width)
    paper = np.ones(wall.shape, bool)
    tiles = digit_pictures.shown(IMAGES, look)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width + 2
        np.testing.assert_array_equal(wall[top : top + SIDE, left : left + SIDE], tile)
        paper[top : top + SIDE, left : left + SIDE] = False
    np.testing.assert_array_equal(np.isnan(wall), paper)


def test_walls_that_do_not_fill() -> None:
    told = r"^images has 6 pictures; expected a multiple of columns, 4"
    with pytest.raises(ValueError, match=told):
        digit_pictures.wall(IMAGES, RAW, columns=4)
    with pytest.raises(ValueError, match=r"^images has 0 pictures; expected a multiple"):
        digit_pictures.wall(IMAGES[:0], RAW, columns=2)
    with pytest.raises(ValueError, match=r"^columns is 0; expected at least 1"):
        digit_pictures.wall(IMAGES, RAW, columns=0)


def test_blank() -> None:
    fig, axes = plt.subplots()
    artist: Any = digit_pictures.blank(axes, "a title", shape=(4, 6))
    assert axes.get_title() == "a title" and axes.get_images() == [artist]
    assert artist.get_array().shape == (4, 6) and not artist.get_array().any()
    assert artist.get_clim() == (0, 1) and artist.get_cmap().name == "gray"
    assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
    assert not any(side.get_visible() for side in axes.spines.values())
    plain: Any = digit_pictures.blank(fig.add_subplot())
    assert plain.get_array().shape == (SIDE, SIDE) and plain.axes.get_title() == ""
    plt.close(fig)


def test_other_looks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^look is 'oil'; expected one of 'as ink', 'raw pixels'$"):
        digit_pictures.shown(IMAGES, "oil")
