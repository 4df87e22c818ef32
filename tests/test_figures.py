"""The look: stills with alternative text, blitted drawings that equal full ones, colours told apart."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lecture_lib import figures
from lecture_lib.figures import Drawing, Still
from tests.frames import redrawn


def decoded(png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png))
    picture.verify()
    return np.asarray(Image.open(io.BytesIO(png)))


class Images(HTMLParser):
    """The attributes of the <img> elements in a piece of HTML."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "img", tag
        self.found.append(dict(attrs))


@pytest.fixture(autouse=True)
def nothing_leaks() -> Any:
    """No figure is left with pyplot, and Matplotlib's settings are as they were."""
    assert mpl.rcParams["backend"]  # asking settles which one it is
    before = mpl.rcParams.copy()
    yield
    assert plt.get_fignums() == []
    assert mpl.rcParams == before


# --- stills ---------------------------------------------------------------------------------


@figures.styled
def bars() -> Still:
    fig, ax = figures.figure(4, 2)
    ax.bar([0, 1], [1, 2])
    return figures.still(fig, 'Bars: 1 < 2 & "two" is higher')


def test_still_is_a_png_with_its_text() -> None:
    still = bars()
    pixels = decoded(still.png)
    assert pixels.shape == (288, 576, 3)  # 4 x 2 inches at 144 dots
    assert pixels.std() > 10  # something is on it
    paper = tuple(int(figures.PAPER[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(pixels[0, 0]) == paper
    assert still.width == 384  # at 96 CSS pixels an inch
    assert bars().png == still.png


def test_html_of_a_still_carries_the_escaped_text() -> None:
    still = bars()
    (image,) = Images(still.as_html()).found
    assert image["alt"] == still.alt  # the parser undoes the escape
    assert "1 &lt; 2 &amp; &quot;two&quot;" in still.as_html()
    assert image["width"] == "384"
    head, data = (image["src"] or "").split(",")
    assert head == "data:image/png;base64" and base64.b64decode(data) == still.png


def test_mimebundle_of_a_still() -> None:
    still = bars()
    data, metadata = still._repr_mimebundle_(include=None, exclude=None)
    assert set(data) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(data["image/png"]) == still.png
    assert data["text/plain"] == still.alt and data["text/html"] == still.as_html()
    assert metadata == {"image/png": {"alt": still.alt, "width": 384}}


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_still_without_text_is_refused(alt: str) -> None:
    fig, _ = figures.figure(2, 1)
    with pytest.raises(ValueError, match="alt is empty; expected a sentence"):
        figures.still(fig, alt)


# --- drawings -------------------------------------------------------------------------------


def sine() -> Drawing[float]:
    """A marker and a curve that move inside the axes, over a grid and a legend's worth of still lines."""
    fig, ax = figures.figure(5, 3)
    x = np.linspace(0, 6, 200)
    ax.plot(x, np.cos(x), "--", color=figures.ORANGE)
    (curve,) = ax.plot(x, np.sin(x), color=figures.BLUE)
    (dot,) = ax.plot([], [], "o", color=figures.INK)
    ax.set(ylim=(-2, 2), xlim=(-0.5, 6.5), title="sine")

    def update(shift: float) -> None:
        curve.set_ydata(np.sin(x + shift))
        dot.set_data([3], [np.sin(3 + shift)])

    return Drawing(fig, [curve, dot], update, lambda shift: f"sine, shifted by {shift}")


def test_blitted_frame_is_the_full_one() -> None:
    drawing = figures.styled(sine)()
    for shift in (0.0, 1.0, -2.5, 0.3):
        np.testing.assert_array_equal(decoded(drawing(shift).png), redrawn(drawing, shift))


def test_frames_leave_no_trace_of_earlier_ones() -> None:
    drawing = figures.styled(sine)()
    first = drawing(0.0)
    other = drawing(2.0)
    assert first.png != other.png
    assert drawing(0.0) == first
    assert first.alt == "sine, shifted by 0.0"
    fresh = figures.styled(sine)()
    assert fresh(2.0) == other


def test_data_at_is_the_inverse_of_where_things_are_drawn() -> None:
    drawing = figures.styled(sine)()
    drawing(0.0)
    (axes,) = drawing.figure.axes
    width, height = drawing.figure.bbox.size
    for point in ((0.0, 0.0), (6.0, -1.5), (2.5, 1.9)):
        x, y = axes.transData.transform(point)
        seen = drawing.data_at(axes, x / width, 1 - y / height)
        assert seen == pytest.approx(point, abs=1e-9)
    # and the marker really is there: its pixels are centred on the point
    pixels = decoded(drawing(0.0).png)
    ink = np.argwhere(np.abs(pixels.astype(int) - 0x22).max(-1) < 8)
    x, y = axes.transData.transform((3, np.sin(3)))
    near = ink[(np.abs(ink - [height - y, x]) < 9).all(1)]
    assert len(near) > 20
    np.testing.assert_allclose(near.mean(0) + 0.5, [height - y, x], atol=1)


def test_region_is_where_the_axes_are_in_the_picture() -> None:
    fig, (one, other) = figures.figure(6, 2, ncols=2, width_ratios=[1, 2])
    for axes, colour in ((one, "#ff0000"), (other, "#0000ff")):
        axes.set(title="A title", ylabel="height", facecolor=colour)
        axes.spines[:].set_visible(False)
    (line,) = one.plot([0, 1], [0, 1], color="#ff0000")
    drawing = figures.Drawing(fig, [line], lambda y: line.set_ydata([y, y]), lambda y: f"A line at {y}.")
    pixels = decoded(drawing(0.5).png).astype(int)
    height, width = pixels.shape[:2]
    for axes, colour in ((one, (255, 0, 0)), (other, (0, 0, 255))):
        rows, columns = np.nonzero((pixels == colour).all(-1))
        left, top, wide, high = drawing.region(axes)
        seen = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        # to the pixel, where the edge is smoothed
        shares = (left * width, (left + wide) * width, top * height, (top + high) * height)
        np.testing.assert_allclose(seen, shares, atol=1.01)
        x, y = drawing.data_at(axes, left, top + high)  # bottom left
        assert (x, y) == pytest.approx((axes.get_xlim()[0], axes.get_ylim()[0]), abs=1e-9)
        x, y = drawing.data_at(axes, left + wide, top)
        assert (x, y) == pytest.approx((axes.get_xlim()[1], axes.get_ylim()[1]), abs=1e-9)


# --- pixels and strip -----------------------------------------------------------------------


def test_pixels_are_shown_from_black_to_white() -> None:
    image = np.array([[0.0, 1.0], [0.5, 2.0], [-1.0, 1.0]])
    seen = decoded(figures.pixels(image, "squares", scale=1).png)
    np.testing.assert_array_equal(seen, [[0, 255], [128, 255], [0, 255]])
    still = figures.pixels(np.full((3, 2), 0.5), "grey", scale=6)
    assert decoded(still.png).shape == (18, 12) and (decoded(still.png) == 128).all()
    assert still.alt == "grey" and still.width == 8  # 12 dots at 144 an inch


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 2, 3)), np.array([[0.0, np.nan]])])
def test_pixels_refuse(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"image has shape .+; expected a finite picture"):
        figures.pixels(bad, "x")


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_strip_puts_pictures_side_by_side(gap: int) -> None:
    pictures = np.random.default_rng(0).uniform(0, 0.9, size=(3, 4, 5))
    row = figures.strip(pictures, gap=gap)
    assert row.shape == (4, 3 * (5 + gap) - gap)
    white = np.ones(row.shape[1], bool)
    for i, picture in enumerate(pictures):
        start = i * (5 + gap)
        np.testing.assert_array_equal(row[:, start : start + 5], picture)
        white[start : start + 5] = False
    assert (row[:, white] == 1).all()


@pytest.mark.parametrize("bad", [np.zeros((4, 5)), np.zeros((0, 4, 5))])
def test_strip_refuses(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"images has shape .+; expected \(n, height, width\)"):
        figures.strip(bad)


def test_moon_row() -> None:
    images = np.random.default_rng(0).uniform(size=(3, 8, 8))
    still = figures.moon_row(images, ["one", "two\nlines", "three"], "Three moons", "Three moons in a row.")
    pixels = decoded(still.png)
    assert pixels.ndim == 3 and still.alt == "Three moons in a row." and pixels.std() > 10
    single = figures.moon_row(images[:1], ["one"], "One", "One moon.")
    assert single.width < still.width
    with pytest.raises(ValueError, match="titles has 2 entries; expected one for each of 3 images"):
        figures.moon_row(images, ["one", "two"], "Three", "Three moons.")


# --- digits ---------------------------------------------------------------------------------


def test_ten_digits_each_in_its_place() -> None:
    """Ten grey squares of as many shades, in two rows of five, the first on the top left."""
    shades = np.arange(10) / 10 + 0.05
    still = figures.ten_digits(np.ones((10, 8, 8)) * shades[:, None, None], "Shades", "Ten shades.")
    grey = decoded(still.png)
    assert still.alt == "Ten shades." and grey.shape[1] == int(6.4 * 144)
    places = []
    for shade in shades:
        level = round(shade * 255)
        rows, columns = np.nonzero((np.abs(grey.astype(int) - level) <= 1).all(-1))
        places.append((np.median(rows), np.median(columns), len(rows)))
    rows, columns, sizes = np.array(places).T
    assert min(sizes) > 10_000  # dots: more than 100 x 100
    assert np.ptp(rows[:5]) < 2 and np.ptp(rows[5:]) < 2 and rows[5] > rows[0] + 100
    np.testing.assert_allclose(columns[:5], columns[5:], atol=2)
    assert (np.diff(columns[:5]) > 100).all()


def test_ones_own_of_the_ten_digits_is_framed() -> None:
    pictures = np.random.default_rng(0).uniform(size=(10, 28, 28))
    plain, framed, other = (
        figures.ten_digits(pictures, "Ten", "Ten digits.", own=own) for own in (None, 0, 9)
    )
    orange = np.array([int(figures.ORANGE[i : i + 2], 16) for i in (1, 3, 5)])
    frames = [np.argwhere((decoded(s.png) == orange).all(-1)) for s in (plain, framed, other)]
    assert len(frames[0]) == 0
    (top, left), (bottom, right) = (np.median(found, axis=0) for found in frames[1:])
    assert bottom > top + 100 and right > left + 300


@pytest.mark.parametrize("bad", [np.zeros((9, 8, 8)), np.zeros((10, 64)), np.zeros((10, 8, 8, 1))])
def test_ten_digits_refuse(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^images has shape .+; expected \(10, height, width\)"):
        figures.ten_digits(bad, "Ten", "Ten digits.")


def spline(image: np.ndarray, zoom: int) -> np.ndarray:
    """Cubic interpolation at the middles of the finer pixels, by coordinates instead of by zoom."""
    around = np.pad(image, 1)
    at = [(np.arange(n * zoom) + 0.5) / zoom - 0.5 for n in around.shape]
    where = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(around, where, order=3, mode="grid-constant")


@pytest.mark.parametrize("zoom", [1, 5, 12])
def test_ink_is_a_sharpened_spline(zoom: int) -> None:
    images = np.random.default_rng(0).uniform(size=(3, 8, 7))
    fine = figures.as_ink(images, zoom=zoom)
    assert fine.shape == (3, 10 * zoom, 9 * zoom)
    for image, ours in zip(images, fine, strict=True):
        expected = 1 / (1 + np.exp(-10 * (spline(image, zoom) - 0.45)))
        np.testing.assert_allclose(ours, expected, atol=1e-9)
        np.testing.assert_allclose(figures.as_ink(image, zoom=zoom), ours, atol=1e-12)


def test_ink_of_black_and_of_white() -> None:
    black = figures.as_ink(np.zeros((8, 8)))
    assert black.shape == (120, 120)
    np.testing.assert_allclose(black, 1 / (1 + np.exp(4.5)), atol=1e-12)
    white = figures.as_ink(np.ones((8, 8)))
    assert white[40:80, 40:80].min() > 0.99 and white[0, 0] < 0.02
    assert (figures.as_ink(np.eye(8, dtype=int)) > 0).all()
    np.testing.assert_allclose(white, white[::-1], atol=1e-12)
    np.testing.assert_allclose(white, white.T, atol=1e-12)


def test_as_ink_refuses() -> None:
    with pytest.raises(ValueError, match=r"^images has shape \(8,\); expected \(..., height, width\)"):
        figures.as_ink(np.zeros(8))
    with pytest.raises(ValueError, match=r"^zoom is 0; expected at least 1"):
        figures.as_ink(np.zeros((8, 8)), zoom=0)
    with pytest.raises(TypeError, match=r"^zoom is 1.5 of type float"):
        figures.as_ink(np.zeros((8, 8)), zoom=1.5)  # type: ignore[arg-type]


# --- curves ---------------------------------------------------------------------------------


def test_curves_draw_each_line_in_its_own_way() -> None:
    x = np.linspace(1, 10, 50)
    words = {"title": "t", "xlabel": "x", "ylabel": "y", "alt": "Lines."}
    five = figures.curves(x, {str(k): x**k for k in range(5)}, log="xy", **words)
    seen = decoded(five.png).reshape(-1, 3)
    for colour in figures.LINES:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(seen.astype(int) - rgb).max(-1) <= 2).sum() > 50, colour
    assert len({figures.curves(x, {"a": x}, log=log, **words).png for log in ("", "x", "y", "xy")}) == 4


@pytest.mark.parametrize("n", [0, 6])
def test_curves_refuse_too_many_or_none(n: int) -> None:
    ys = {str(k): [0.0, 1.0] for k in range(n)}
    with pytest.raises(ValueError, match=f"ys has {n} lines; expected 1 to 5"):
        figures.curves([0, 1], ys, title="t", xlabel="x", ylabel="y", alt="Lines.")


def test_curves_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="must have same first dimension"):
        figures.curves([0, 1], {"a": [0, 1, 2]}, title="t", xlabel="x", ylabel="y", alt="Lines.")


# --- colours --------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB.
SEEN = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb (IEC 61966-2-1)."""
    assert re.fullmatch("#[0-9a-fA-F]{6}", colour)
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB, white D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    t = xyz / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    a, b = (float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other))
    return max(a, b) / min(a, b)


def look() -> dict[str, Any]:
    """The line style of each colour; one dotted line looks like another."""
    dotted = (":", (0, (1, 1)))
    return {colour: ":" if style in dotted else style for colour, style in figures.LINES.items()}


@pytest.mark.parametrize("eyes", SEEN)
def test_line_colours_are_told_apart(eyes: str) -> None:
    """A difference of 2.3 in L*a*b* is just noticeable and one of 10 is seen at a glance.

    Lines with less than that between them have another line style, and still twice the noticeable.
    """
    lines = look()
    seen = {c: lab(np.clip(SEEN[eyes] @ linear(c), 0, 1)) for c in (*figures.LINES, figures.SKY)}
    for one, other in combinations(seen, 2):
        difference = np.linalg.norm(seen[one] - seen[other])
        styles = lines.get(one), lines.get(other)
        assert difference > (10 if None in styles or styles[0] == styles[1] else 5), (one, other)


def test_lines_differ_without_colour_too() -> None:
    """In grey: another style, or (purple and ink, both dotted) another lightness."""
    for (one, style), (other, its_style) in combinations(look().items(), 2):
        if style == its_style:
            assert abs(lab(linear(one))[0] - lab(linear(other))[0]) > 10, (one, other)


def test_text_and_lines_stand_out_from_the_paper() -> None:
    """WCAG 2.1: 4.5 to 1 for text, 3 to 1 for graphics."""
    assert contrast(figures.INK, figures.PAPER) > 4.5
    for colour in figures.LINES:
        assert contrast(colour, figures.PAPER) > 3, colour
    assert contrast(figures.FAINT, figures.PAPER) > 3
