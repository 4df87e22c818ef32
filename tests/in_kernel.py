"""What tests in the browser ask of the kernel: widgets by their id, and pictures drawn afresh."""

from __future__ import annotations

import hashlib
from typing import Any

from ipywidgets.widgets.widget import _instances

from lecture_lib.figures import ONE_AT_A_TIME
from lecture_lib.panels import Kept, PageWidget, Panel

_remembered: dict[str, Any] = {}


def told(model: str) -> dict[str, Any]:
    """Of a panel: its picture drawn afresh from its controls, as a hash, and the text; else its class."""
    widget = _instances[model]
    if not isinstance(widget, Panel) or isinstance(widget.drawing, PageWidget):
        shown = widget.picture if isinstance(widget, Panel) else widget
        return {"class": type(shown).__name__, "alt": shown.still().alt}
    with ONE_AT_A_TIME:
        still = widget.drawing(widget.compute(**widget.values()))
    return {"class": "Panel", "png": hashlib.sha256(still.png).hexdigest(), "alt": still.alt}


def remember(model: str) -> None:
    """Keep the control values of a panel."""
    _remembered.update(_instances[model].values())  # type: ignore[attr-defined]


def recall(model: str) -> None:
    """Set a panel's controls to the values that were kept, one after the other."""
    for name, control in _instances[model].controls.items():  # type: ignore[attr-defined]
        if not isinstance(control, Kept):
            control.value = _remembered[name]


def numbers(model: str) -> Any:
    """What the still of a widget of the page was drawn from."""
    widget: Any = _instances[model]
    widget = widget.picture if isinstance(widget, Panel) else widget
    if hasattr(widget, "digits"):  # the style pad and the drawing board
        return widget.digits().reshape(10, -1).tolist()
    if hasattr(widget, "codes"):  # the moon slider
        return widget.codes()
    film, place = widget._shown, widget.place
    return [float(film.js[place]), float(film.w1[place])]
