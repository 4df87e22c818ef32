"""What tests of panels share: pictures as pixels, full redraws, and what a user sees and can move."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from PIL import Image

from lecture_lib import figures
from lecture_lib.figures import Drawing
from lecture_lib.panels import Kept, Panel


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def redrawn(drawing: Drawing[Any], what: Any, *, on_top: bool = True) -> np.ndarray:
    """The same state by an ordinary full draw, with the moving artists on top or where they belong."""
    drawing.update(what)
    before = [artist.get_zorder() for artist in drawing.moving]
    for i, artist in enumerate(drawing.moving):
        artist.set_animated(False)
        if on_top:
            artist.set_zorder(100 + i)
    with mpl.rc_context(figures.STYLE):
        drawing.figure.canvas.draw()
    pixels = np.asarray(drawing.figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    for artist, zorder in zip(drawing.moving, before, strict=True):
        artist.set_animated(True)
        artist.set_zorder(zorder)
    return pixels


def check_frame(panel: Panel, what: Any) -> None:
    frame = decoded(panel.drawing(what).png)
    np.testing.assert_array_equal(frame, redrawn(panel.drawing, what, on_top=True))
    # where a moving line crosses an axis or a legend, blitting puts it on top: lines one pixel wide
    other = (frame != redrawn(panel.drawing, what, on_top=False)).any(-1)
    assert other.mean() < 0.005


def numbers(panel: Panel) -> list[str]:
    """The facts under the picture."""
    return [html.unescape(fact) for fact in re.findall(r"<samp[^>]*>(.*?)</samp>", panel.numbers.value)]


def leaves(box: widgets.Widget) -> list[widgets.Widget]:
    """What stands in a box, from top left to bottom right."""
    if not isinstance(box, widgets.Box):
        return [box]
    return [leaf for child in box.children for leaf in leaves(child)]


def shares(panel: Panel, axes: Any, x: float, y: float) -> list[float]:
    """Where a data point is in the picture: shares of its width and height, from the top left."""
    size = panel.drawing.figure.bbox.size
    across, up = axes.transData.transform((x, y)) / size
    return [float(across), float(1 - up)]


def elsewhere(control: Any) -> list[Any]:
    """The other values of a choice, or those ends of a slider where it does not stand."""
    if hasattr(control, "options"):
        values = [option[1] if isinstance(option, tuple) else option for option in control.options]
    else:
        values = [control.min, control.max]
    return [value for value in values if value != control.value]


def check_controls(panel: Panel) -> None:
    """Each control alone makes another picture and another text at each of its ends; reset undoes it.

    What no slider shows has no ends: the buttons that change it are tested by themselves.
    """
    for name, control in panel.controls.items():
        if isinstance(control, Kept):
            continue
        values = elsewhere(control)
        assert values
        seen = {panel.first.png: "the start"}
        for value in values:
            control.value = value
            assert panel.message.value == "", (name, value)
            assert panel.picture.png not in seen, f"{name} = {value}: as {seen[panel.picture.png]}"
            assert panel.picture.alt.strip() != panel.first.alt, (name, value)
            seen[panel.picture.png] = str(value)
            panel.reset.click()
            assert (panel.picture.png, panel.picture.alt) == (panel.first.png, panel.first.alt)
