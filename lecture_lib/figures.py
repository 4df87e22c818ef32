"""The look: palette, stills with alternative text, and drawings whose artists are updated in place."""

import base64
import html
import io
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy import special

from lecture_lib import checks, measures

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's colours, told apart under protanopia and deuteranopia, the purple darkened to stand out
# from the paper; a line style goes with each, so that a picture can be read in grey, too.
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#B65E92", "#56B4E9"
INK, FAINT, PAPER = "#222222", "#8a8a8a", "#fdfcf9"
LINES: dict[str, Any] = {BLUE: "-", ORANGE: "--", GREEN: "-.", PURPLE: ":", INK: (0, (1, 1))}

_DPI = 144
_FAST, _SMALL = 1, 9  # PNG compression: of a frame that is waited for, and of one that is stored
_SHOWN_DPI = 96  # a figure of 8 inches is 768 CSS pixels wide, and sharp on a dense screen

STYLE: Any = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

ONE_AT_A_TIME = threading.RLock()
"""Held by all that draws. JupyterLab hands messages of widgets to a second thread while the kernel is busy,
and two threads in one canvas leave a picture that is neither's; Matplotlib's settings are shared, too."""


def styled(build: Callable[P, R]) -> Callable[P, R]:
    """Decorator of functions that build a figure: the look holds inside, and Matplotlib's own outside."""

    @wraps(build)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with ONE_AT_A_TIME, mpl.rc_context(STYLE):
            return build(*args, **kwargs)

    return inside


@dataclass(frozen=True)
class Still:
    """A finished picture: PNG bytes and the text that stands for it. A notebook shows it by itself."""

    # No NamedTuple: IPython would print the bytes beside the picture, as it prints every tuple.

    png: bytes
    alt: str

    @property
    def width(self) -> int:
        """Width on the page, CSS pixels."""
        return round(int.from_bytes(self.png[16:20], "big") * _SHOWN_DPI / _DPI)

    def as_html(self) -> str:
        """An <img> with the alternative text, which JupyterLab leaves out of a bare PNG output."""
        data = base64.b64encode(self.png).decode()
        return (
            f'<img alt="{html.escape(self.alt)}" width="{self.width}" '
            f'style="max-width: 100%" src="data:image/png;base64,{data}">'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {
            "text/html": self.as_html(),
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": self.alt,
        }
        return data, {"image/png": {"alt": self.alt, "width": self.width}}


def figure(width: float = 8.0, height: float = 3.0, **subplots: Any) -> tuple[Figure, Any]:
    """A Matplotlib figure in the collection's style, and its axes.

    It is not known to pyplot, so nothing is shown or kept behind the caller's back. Call it, and all that
    adds to the figure, in a function decorated with `styled`.

    Args:
        width: Inches; 8 is the width of a notebook cell.
        height: Inches.
        **subplots: For `Figure.subplots`, say `ncols=2`.
    """
    fig = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(**subplots)


@styled
def still(fig: Figure, alt: str) -> Still:
    """Render a figure once."""
    if not alt.strip():
        raise ValueError("alt is empty; expected a sentence that tells what the picture shows")
    canvas = fig.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return Still(_png(np.asarray(canvas.buffer_rgba()), _SMALL), alt)


class Drawing(Generic[T]):
    """One figure that is drawn again and again, only the moving artists each time (blitting).

    Args:
        fig: The figure with everything that stands still.
        moving: The artists that `update` changes; they are taken out of the background.
        update: Sets the artists to what is to be shown.
        describe: The alternative text of what is shown.
    """

    def __init__(
        self,
        fig: Figure,
        moving: Iterable[Artist],
        update: Callable[[T], None],
        describe: Callable[[T], str],
    ):
        self.figure, self.update, self.describe = fig, update, describe
        self.moving = list(moving)
        for artist in self.moving:
            artist.set_animated(True)
        canvas = fig.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        self._canvas = canvas
        self._background: Any = None

    @styled
    def __call__(self, what: T) -> Still:
        """Draw `what` and return the picture."""
        if self._background is None:
            self._canvas.draw()
            self.figure.set_layout_engine("none")
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._background)
        self.update(what)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        return Still(_png(np.asarray(self._canvas.buffer_rgba()), _FAST), self.describe(what))

    def region(self, axes: Any) -> list[float]:
        """Where `axes` lies in the picture: left, top, width, height, as shares of the whole."""
        width, height = self.figure.bbox.size
        box = axes.get_window_extent()
        return [box.x0 / width, 1 - box.y1 / height, box.width / width, box.height / height]

    def data_at(self, axes: Any, x: float, y: float) -> tuple[float, float]:
        """Data coordinates in `axes` of a point of the picture, given as shares of its width and height."""
        size = self.figure.bbox.size
        there = axes.transData.inverted().transform((x * size[0], (1 - y) * size[1]))
        return float(there[0]), float(there[1])


def pixels(image: Real[ArrayLike, "height width"], alt: str, *, scale: int = 6) -> Still:
    """A grey picture, encoded directly: no axes, no Matplotlib.

    Args:
        image: Brightness, shape (height, width); shown from 0 (black) to 1 (white).
        alt: The alternative text.
        scale: Screen dots per pixel, at least 1.

    Raises:
        ValueError: `image` is not two-dimensional or not finite.
    """
    grey = np.asarray(image, np.float32)
    if grey.ndim != 2 or not np.isfinite(grey).all():
        raise ValueError(f"image has shape {grey.shape}; expected a finite picture of shape (height, width)")
    shown = Image.fromarray((np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8))
    size = (shown.width * scale, shown.height * scale)
    return Still(_encode(shown.resize(size, Image.Resampling.BICUBIC), _SMALL), alt)


def strip(images: Real[ArrayLike, "n height width"], *, gap: int = 1) -> Real[np.ndarray, "height wide"]:
    """Pictures side by side.

    Args:
        images: Shape (n, height, width), brightness from 0 to 1.
        gap: Pixels of white between two.

    Returns:
        Shape (height, n * (width + gap) - gap).
    """
    images = np.asarray(images)
    if images.ndim != 3 or not len(images):
        raise ValueError(f"images has shape {images.shape}; expected (n, height, width) with n at least 1")
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap)), constant_values=1.0)
    joined = np.concatenate(list(padded), axis=1)
    return joined[:, : joined.shape[1] - gap]


@styled
def moon_row(
    images: Real[ArrayLike, "n height width"], titles: Sequence[str], heading: str, alt: str
) -> Still:
    """Moons side by side, each with a title under it.

    Args:
        images: Shape (n, height, width).
        titles: n short texts; a line break is welcome.
        heading: What the row shows.
        alt: The alternative text.
    """
    images = np.asarray(images)
    if len(images) != len(titles):
        raise ValueError(f"titles has {len(titles)} entries; expected one for each of {len(images)} images")
    lines = 1 + max(title.count("\n") for title in titles)
    height = 1.75 + 0.22 * lines
    fig, axes = figure(min(8.0, 1.55 * len(images) + 0.2), height, ncols=len(images), squeeze=False)
    for axis, image, title in zip(axes[0], images, titles, strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
        axis.set_xlabel(title, fontsize=9)
    fig.suptitle(heading, x=0.01, ha="left", fontsize=11)
    return still(fig, alt)


@styled
def ten_digits(
    images: Real[ArrayLike, "10 height width"], heading: str, alt: str, *, own: int | None = None
) -> Still:
    """Digits 0 to 9 in two rows of five.

    Args:
        images: Shape (10, height, width), brightness from 0 to 1.
        heading: What they have in common.
        alt: The alternative text.
        own: The digit that is framed, if any: the one whose style all have.
    """
    images = np.asarray(images)
    if images.ndim != 3 or len(images) != 10:
        raise ValueError(f"images has shape {images.shape}; expected (10, height, width)")
    fig, axes = figure(6.4, 3.1, nrows=2, ncols=5)
    for digit, (axis, image) in enumerate(zip(axes.flat, images, strict=True)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
        axis.set(xticks=[], yticks=[], xlabel=f"{digit} (yours)" if digit == own else str(digit))
        for side in axis.spines.values():
            side.set(visible=digit == own, color=ORANGE, linewidth=3)
    fig.suptitle(heading, x=0.01, ha="left", fontsize=11)
    return still(fig, alt)


def as_ink(
    images: Real[ArrayLike, "*batch height width"], *, zoom: int = 12
) -> Float[np.ndarray, "*batch tall wide"]:
    """8x8 digits as ink on paper would look: for the eye only, nothing is measured on it.

    One black pixel around, cubic interpolation, and sigmoid((u - 0.45) * 10), which sharpens the edges.

    Args:
        images: Brightness in [0, 1], shape (..., height, width).
        zoom: How much finer the picture becomes, at least 1.

    Returns:
        Shape (..., (height + 2) * zoom, (width + 2) * zoom), in (0, 1).
    """
    zoom = checks.whole("zoom", zoom, low=1)
    images = np.asarray(images, np.float64)
    if images.ndim < 2:
        raise ValueError(f"images has shape {images.shape}; expected (..., height, width)")
    around = [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)]
    padded = np.pad(images, around)
    down, across = (measures.cubic_zoom(n, zoom) for n in padded.shape[-2:])
    fine = down @ padded @ across.T
    return special.expit((fine - 0.45) * 10)


@styled
def curves(
    x: Real[ArrayLike, " n"],
    ys: dict[str, Real[ArrayLike, " n"]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    alt: str,
    log: str = "",
) -> Still:
    """Lines over a common x, each with its own colour and line style, and a legend.

    Args:
        x: Shape (n,).
        ys: Label to values, each of shape (n,); at most five.
        title, xlabel, ylabel: What the picture says and what its axes are, with units.
        alt: The alternative text.
        log: "x", "y" or "xy" for logarithmic axes.
    """
    if not 1 <= len(ys) <= len(LINES):
        raise ValueError(f"ys has {len(ys)} lines; expected 1 to {len(LINES)}, so that each has its own look")
    fig, ax = figure(8, 3)
    for (label, y), (colour, line) in zip(ys.items(), LINES.items(), strict=False):
        ax.plot(x, y, ls=line, color=colour, label=label)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return still(fig, alt)


def _png(rgba: np.ndarray, level: int) -> bytes:
    return _encode(Image.fromarray(rgba[..., :3]), level)


def _encode(picture: Image.Image, level: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=level)
    return out.getvalue()
