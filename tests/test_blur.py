"""Sharpness, greyness and blur: invariances, known widths, and blur that is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from lecture_lib import blur, datasets, strokes
from tests.laws import law

PICTURES = hnp.arrays(np.float64, (5, 6), elements=st.floats(0, 1)).filter(lambda x: x.max() > 1e-3)


def line(sd: float) -> np.ndarray:
    """An upright line whose profile is a Gaussian, so long that its ends count for little."""
    across = np.exp(-((np.arange(41) - 20) ** 2) / (2 * sd**2))
    return np.repeat(across[None], 400, axis=0)


# --- sharpness ------------------------------------------------------------------------------


def spectrum(picture: np.ndarray) -> float:
    """The root mean square frequency from the Fourier transform, with the frequencies of differences."""
    padded = np.pad(picture, 20)
    energy = np.abs(np.fft.fft2(padded)) ** 2
    squares = [2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in padded.shape]
    return float(np.sqrt((energy * (squares[0][:, None] + squares[1])).sum() / energy.sum()))


@law(60)
@given(PICTURES)
def test_sharpness_is_the_mean_frequency(picture: np.ndarray) -> None:
    assert float(blur.sharpness(picture)) == pytest.approx(spectrum(picture), rel=1e-9)


@law(60)
@given(PICTURES, st.floats(1e-3, 1e3))
def test_brightness_place_and_turns_do_not_matter(picture: np.ndarray, factor: float) -> None:
    expected = float(blur.sharpness(picture))
    assert 0 < expected <= np.sqrt(8)
    for same in (picture * factor, np.pad(picture, ((3, 1), (0, 2))), picture.T, picture[::-1]):
        assert float(blur.sharpness(same)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sd", [1.5, 2.0, 3.0])
def test_a_line_tells_its_width(sd: float) -> None:
    """1 / (sqrt(2) sd); differences of neighbours take off 1 / (16 sd^2) of it, the two ends add a little."""
    assert float(blur.sharpness(line(sd))) == pytest.approx(1 / (np.sqrt(2) * sd), rel=0.04)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_blur_adds_to_the_square_of_the_width(sigma: float) -> None:
    before, after = (1 / (2 * blur.sharpness(x) ** 2) for x in (line(1.5), blur.blurred(line(1.5), sigma)))
    assert after - before == pytest.approx(sigma**2, rel=0.05)


@pytest.mark.parametrize("digit", [1, 2, 7])
def test_strokes_lose_sharpness_with_every_blur(digit: int) -> None:
    picture = strokes.as_mnist(strokes.example(digit), width=2.0)
    found = [float(blur.sharpness(blur.blurred(picture, sigma))) for sigma in (0, 0.5, 1, 1.5, 2)]
    assert np.all(np.diff(found) < 0)
    # from a blur of one pixel on, what is added to the square of the width is that of the blur, to 20 %
    widths = [1 / (2 * s**2) for s in found]
    for sigma, width in ((1, widths[2]), (1.5, widths[3])):
        assert width - widths[0] == pytest.approx(sigma**2, rel=0.2)


def test_each_picture_has_its_own() -> None:
    images = datasets.digits("test").images[:6]
    for of in (blur.sharpness, blur.greyness):
        found = of(images.reshape(2, 3, 8, 8))
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found.ravel(), [float(of(image)) for image in images])


# --- greyness -------------------------------------------------------------------------------


def test_greyness_by_hand() -> None:
    one, two = np.zeros((4, 4)), np.zeros((4, 4))
    one[0], two[:, 0] = 1, 1
    assert blur.greyness(one) == 0
    # six pixels of .5 count 1 each and one of 1 nothing, over an ink of 4
    assert blur.greyness((one + two) / 2) == pytest.approx(6 / 4)
    assert blur.greyness(one / 4) == pytest.approx(4 * 0.75)


@law(60)
@given(PICTURES, PICTURES, st.floats(0, 10))
def test_laws_of_greyness_and_blur(one: np.ndarray, two: np.ndarray, factor: float) -> None:
    assert 0 <= blur.greyness(one) < 4
    assert blur.greyness((one > 0.5) | (one == one.max())) == 0
    # blur is linear, keeps all light where there is room, and brightens nothing above the brightest
    wide = [np.pad(x, 8) for x in (one, two)]
    soft = [blur.blurred(x, 1.5) for x in wide]  # SciPy's ends at four standard deviations
    np.testing.assert_allclose(
        blur.blurred(wide[0] + factor * wide[1], 1.5), soft[0] + factor * soft[1], atol=1e-13
    )
    assert soft[0].sum() == pytest.approx(one.sum(), rel=1e-13) and soft[0].max() <= one.max() * (1 + 1e-12)


# --- blur between two sets ------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.4, 0.9])
def test_a_known_blur_is_found_again(sigma: float) -> None:
    images = datasets.digits("test").images[:20].astype(float)
    assert blur.blur_between(images, blur.blurred(images, sigma)) == pytest.approx(sigma, abs=2e-4)


def test_blur_is_scipys_and_stays_in_its_picture() -> None:
    images = datasets.digits("test").images[:3].astype(float)
    for image, soft in zip(images, blur.blurred(images, 0.7), strict=True):
        np.testing.assert_allclose(soft, ndimage.gaussian_filter(image, 0.7, mode="constant"))
    np.testing.assert_array_equal(blur.blurred(images, 0), images)


def test_what_is_softer_already_needs_no_blur() -> None:
    images = datasets.digits("test").images[:5].astype(float)
    assert blur.blur_between(blur.blurred(images, 1), images) == 0


def test_what_is_refused() -> None:
    images = datasets.digits("test").images[:2].astype(float)
    for of in (blur.sharpness, blur.greyness):
        with pytest.raises(ValueError, match=r"^images has a picture that is black all over"):
            of(np.stack([images[0], np.zeros((8, 8))]))
        with pytest.raises(ValueError, match=r"^images has values down to -1"):
            of(-np.eye(3))
        with pytest.raises(ValueError, match=r"^images has shape \(8,\)"):
            of(images[0, 0])
    with pytest.raises(ValueError, match=r"^images has values up to 2"):
        blur.greyness(2 * np.eye(3))
    for sigma in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^sigma is .*; expected a number of at least 0"):
            blur.blurred(images, sigma)
    with pytest.raises(ValueError, match=r"^most is 0.1: blurred that far"):
        blur.blur_between(images, blur.blurred(images, 1), most=0.1)
