"""Panels: sliders bound to a picture.

A `Panel` is a pure function of its control values that says what to draw, and a drawing that draws it. The
work is done inside the callback itself: the front end then keeps only the latest value of a slider while the
kernel is busy, so nothing queues up and the last value wins. (`interact` and Output widgets flicker, and
queueing the work elsewhere builds up a backlog of seconds.)
"""

import html
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import anywidget
import ipywidgets as widgets
import traitlets

from lecture_lib import browser, checks
from lecture_lib.figures import ONE_AT_A_TIME, Drawing, Still

P = ParamSpec("P")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_WIDE = {"description_width": "17em"}
_SHORT = {"description_width": "8em"}
_BUTTONS = {**_WIDE, "button_width": "auto"}
_ROW = widgets.Layout(width="auto", max_width="46em", height="auto", flex_flow="row wrap")
_TWO_COLUMNS = widgets.Layout(
    grid_template_columns="repeat(auto-fit, minmax(min(25em, 100%), 1fr))", max_width="60em", grid_gap="0 1em"
)
_GRID = widgets.Layout(grid_template_columns="repeat(auto-fit, minmax(21em, 1fr))", max_width="66em")


class Picture(anywidget.AnyWidget):
    """A PNG with alternative text (`ipywidgets.Image` has none) that reports where it is grabbed."""

    _esm = browser.script("busy.js", "picture.js")
    busy = traitlets.Bool(False).tag(sync=True)
    """Whether the kernel works on what comes next; the page says so if it takes long."""
    png = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    region: Any = traitlets.List([]).tag(sync=True)
    """Where it can be grabbed: left, top, width and height as shares of the picture; empty for nowhere."""
    both = traitlets.Bool(False).tag(sync=True)
    """Whether it follows the pointer up and down, too."""
    pointer: Any = traitlets.List([]).tag(sync=True)
    """Where it was last grabbed: shares of the width and the height, from the top left."""
    brush = traitlets.Bool(False).tag(sync=True)
    """Whether a press acts on the place itself instead of dragging something there."""
    press: Any = traitlets.List([]).tag(sync=True)
    """As `pointer`, and a number that is the same from pressing down to letting go: one stroke."""

    def show(self, still: Still) -> None:
        """Replace the picture and its text in one message."""
        with self.hold_sync():
            self.png, self.alt, self.width = still.png, still.alt, still.width


def _check_span(start: float, low: float, high: float) -> None:
    if not low < high or not low <= start <= high:
        raise ValueError(
            f"start is {start}, low {low}, high {high}; expected low <= start <= high, low < high"
        )


def slider(
    label: str, start: float, low: float, high: float, step: float, *, digits: int | None = None
) -> widgets.FloatSlider:
    """A slider of real numbers.

    Args:
        label: What a student reads beside it, with the unit.
        start: Value at the beginning and after a reset.
        low, high: The ends, both included.
        step: Distance between two values, above 0.
        digits: Digits shown after the point; by default as many as `step` needs.
    """
    _check_span(start, low, high)
    checks.positive("step", float(step))
    if digits is None:
        digits = next(d for d in itertools.count() if math.isclose(round(step, d), step, rel_tol=1e-6))
    return widgets.FloatSlider(
        start,
        min=low,
        max=high,
        step=step,
        description=label,
        readout_format=f".{digits}f",
        style=_WIDE,
        layout=_ROW,
    )


def whole_slider(label: str, start: int, low: int, high: int) -> widgets.IntSlider:
    """A slider of whole numbers.

    Args:
        label: What a student reads beside it, with the unit.
        start: Value at the beginning and after a reset.
        low, high: The ends, both included.
    """
    _check_span(start, low, high)
    return widgets.IntSlider(start, min=low, max=high, description=label, style=_WIDE, layout=_ROW)


def choice_slider(label: str, start: Any, options: list[Any]) -> widgets.SelectionSlider:
    """A slider over a few given values, each shown as itself or as (text, value)."""
    return widgets.SelectionSlider(options=options, value=start, description=label, style=_WIDE, layout=_ROW)


def choice(label: str, start: Any, options: list[Any]) -> widgets.ToggleButtons:
    """Buttons of which one is pressed."""
    wide = widgets.Layout(width="auto", height="auto", flex_flow="row wrap")
    return widgets.ToggleButtons(options=options, value=start, description=label, style=_BUTTONS, layout=wide)


class Kept(traitlets.HasTraits):
    """A control that no slider shows, say a model that buttons change: it is part of the control values."""

    value: Any = traitlets.Any()


def _alone(act: Callable[P, None]) -> Callable[P, None]:
    """Let no two of what it decorates run at once, in whichever thread; see `figures.ONE_AT_A_TIME`."""

    @wraps(act)
    def inside(*args: P.args, **kwargs: P.kwargs) -> None:
        with ONE_AT_A_TIME:
            act(*args, **kwargs)

    return inside


class Grab(NamedTuple):
    """Lets the pointer drag a control in the picture itself."""

    control: str
    """Name of the control that follows the pointer from left to right."""
    axes: Any
    """The Matplotlib axes whose x axis the control moves along."""
    vertical: str | None = None
    """Name of the control that follows the pointer along the y axis, if any."""


class Place(NamedTuple):
    """Where the pointer is, in data coordinates of the axes."""

    x: float
    y: float


class Press(NamedTuple):
    """Lets the pointer press on places of the picture, or draw over them."""

    axes: Any
    """The Matplotlib axes that are pressed on."""
    act: Callable[[dict[str, Any], Place, Place | None], dict[str, Any]]
    """From the control values, the place, and the last place of the same stroke (None as a stroke begins) to
    those control values that change. A quick pointer is told at a few places only: the way from the last one
    is for `act` to fill in."""


class Panel(widgets.VBox):
    """Controls over a picture that follows them.

    Args:
        compute: A pure function of the control values, by name, that returns what to draw.
        drawing: Draws it; called with what `compute` returns. Or a widget of the page that shows it.
        controls: Name to control, in the order from top to bottom.
        grab: Which controls the pointer drags in the picture, if any.
        press: What a press of the pointer in the picture does, if anything; not together with `grab`.
        actions: Label to a function from the control values to those control values that a press of its
            button changes, say a step of an algorithm. The picture stays a function of the controls alone.
        side_by_side: Whether the sliders of real numbers (or the controls of these names) stand in columns
            above the other controls, where there is room; their labels should be short.
        describe: Turns what was drawn into the numbers under the picture, parted by " | ", if wanted.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        drawing: "Drawing[Any] | PageWidget",
        controls: Mapping[str, widgets.ValueWidget | Kept],
        *,
        grab: Grab | None = None,
        press: Press | None = None,
        actions: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
        side_by_side: bool | Collection[str] = False,
        describe: Callable[[Any], str] | None = None,
    ):
        self.compute, self.controls = compute, dict(controls)
        self._describe = describe
        self._start = {name: control.value for name, control in self.controls.items()}
        what = compute(**self._start)
        if grab and press:
            raise ValueError("grab and press are both given; expected one: the pointer can do one thing")
        self.first: Still
        """The picture at the start, also stored for readers without a kernel."""
        if isinstance(drawing, PageWidget):
            if grab or press:
                raise ValueError("grab or press is given, but drawing is a widget, which has its own pointer")
            self.picture: Any = drawing
            drawing.show(what)
            self.first = drawing.still()
        else:
            self.picture = Picture()
            self.first = drawing(what)
            self.picture.show(self.first)
        self.drawing: Any = drawing
        if grab:
            self.picture.region, self.picture.both = self.drawing.region(grab.axes), grab.vertical is not None
        if press:
            self.picture.region, self.picture.brush = self.drawing.region(press.axes), True
        self._last: tuple[int, Place] | None = None
        self._below: PageWidget | None = None
        self.numbers = widgets.HTML(self._line(what))
        self.message = widgets.HTML()
        self.reset = widgets.Button(description="Reset", tooltip="Back to the start", icon="undo")
        self.reset.on_click(lambda _: self._reset())
        self.picture.on_msg(lambda _, told, __: self._heard(told))
        self.actions = {label: self._button(label, act) for label, act in (actions or {}).items()}
        self._paused = False
        for control in self.controls.values():
            control.observe(lambda _: self._redraw(), "value")
        if grab:
            self.picture.observe(lambda change: self._grabbed(grab, change["new"]), "pointer")
        if press:
            self.picture.observe(lambda change: self._pressed(press, change["new"]), "press")
        rows = [control for control in self.controls.values() if not isinstance(control, Kept)]
        if side_by_side:
            named = [] if side_by_side is True else [self.controls[name] for name in side_by_side]
            beside: Any = named or [row for row in rows if isinstance(row, widgets.FloatSlider)]
            for control in beside:
                buttons = isinstance(control, widgets.ToggleButtons)
                control.style = {**_SHORT, "button_width": "auto"} if buttons else _SHORT
            layout = _TWO_COLUMNS if named else _GRID
            rows = [widgets.GridBox(beside, layout=layout), *(row for row in rows if row not in beside)]
        buttons = widgets.HBox(
            [*self.actions.values(), self.reset], layout=widgets.Layout(flex_flow="row wrap")
        )
        super().__init__([*rows, buttons, self.picture, self.numbers, self.message])

    def put_below(self, widget: "PageWidget") -> None:
        """Show a widget of the page under the panel; in an exported page it goes on, under the picture."""
        self._below = widget
        self.set_trait("children", (*self.children, widget))

    def values(self) -> dict[str, Any]:
        """The control values as they are now."""
        return {name: control.value for name, control in self.controls.items()}

    def _line(self, what: Any) -> str:
        if self._describe is None:
            return ""
        facts = (html.escape(fact) for fact in self._describe(what).split(" | "))
        return "".join(
            f"<samp style='display: inline-block; margin-right: 2em'>{fact}</samp>" for fact in facts
        )

    @_alone
    def _redraw(self) -> None:
        if self._paused:
            return
        with self.working():
            try:
                what = self.compute(**self.values())
                self.picture.show(what if isinstance(self.drawing, PageWidget) else self.drawing(what))
                self.numbers.value = self._line(what)
                self.message.value = ""
            except Exception as error:  # whatever it is, the student must see it here, not in a hidden log
                self.tell(error)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let the page say that the kernel works, if it takes long."""
        self.picture.busy = True
        try:
            yield
        finally:
            self.picture.busy = False

    def tell(self, error: Exception) -> None:
        """Show under the picture what went wrong; the next picture clears it."""
        told = html.escape(f"{type(error).__name__}: {error}")
        self.message.value = f'<b role="alert">This picture could not be drawn.</b> <samp>{told}</samp>'

    @_alone
    def _set(self, values: Mapping[str, Any]) -> None:
        """Move several controls and draw once."""
        self._paused = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
        finally:
            self._paused = False
        self._redraw()

    def _reset(self) -> None:
        # While the kernel is busy the page holds the last value of a slider back, and a press of this button
        # overtakes it. The page's answer comes behind that value, so that the reset can be done again.
        self.picture.send({"ask": "reset"})
        self._back()

    def _heard(self, told: Any) -> None:
        if told == {"answer": "reset"} and any(
            now.value is not start if isinstance(now, Kept) else now.value != start
            for now, start in zip(self.controls.values(), self._start.values(), strict=True)
        ):
            self._back()

    @_alone
    def _back(self) -> None:
        if isinstance(self.drawing, PageWidget):
            self.drawing.back()
        else:
            self.picture.pointer = []  # else the same place, grabbed again, would be no change
            self.picture.press, self._last = [], None
        self._set(self._start)

    def _button(self, label: str, act: Callable[[dict[str, Any]], dict[str, Any]]) -> widgets.Button:
        @_alone
        def press(_: Any) -> None:
            try:
                with self.working():
                    values = act(self.values())
                self._set(values)
            except Exception as error:
                self.tell(error)

        button = widgets.Button(description=label, layout=widgets.Layout(width="auto"))
        button.on_click(press)
        return button

    def _grabbed(self, grab: Grab, where: list[float]) -> None:
        if not where:
            return
        places = zip((grab.control, grab.vertical), self.drawing.data_at(grab.axes, *where), strict=True)
        inside = {}
        for name, place in places:
            if name is not None:
                control: Any = self.controls[name]
                inside[name] = min(max(place, control.min), control.max)
        self._set(inside)

    @_alone
    def _pressed(self, press: Press, told: list[float]) -> None:
        if not told:
            return
        *where, stroke = told
        place = Place(*self.drawing.data_at(press.axes, *where))
        before = self._last[1] if self._last and self._last[0] == stroke else None
        self._last = int(stroke), place
        try:
            self._set(press.act(self.values(), place, before))
        except Exception as error:
            self.tell(error)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        live = self.drawing.live_html() if isinstance(self.drawing, PageWidget) else None
        if self._below is not None:
            live = (live or self.first.as_html()) + self._below.live_html()
        return _with_still(super()._repr_mimebundle_(**kwargs), self.first, live)


class PageWidget(anywidget.AnyWidget):
    """A widget whose networks run in the page, with no call to the kernel; it goes on in an exported page."""

    data = traitlets.Dict().tag(sync=True)
    """What stays as it is: sizes, texts, how the weights are laid out."""
    weights = traitlets.Bytes().tag(sync=True)
    """All numbers, sent once; see `browser.as_bytes`."""
    busy = traitlets.Bool(False).tag(sync=True)
    """Whether the kernel works on what comes next; the page says so if it takes long."""
    moving: tuple[str, ...] = ()
    """Names of the traits that the user moves."""

    def show(self, what: Any) -> None:
        """Show something else, for those that stand in a panel."""
        raise NotImplementedError

    def back(self) -> None:
        """To the start with what the user moves, for those that stand in a panel."""
        raise NotImplementedError

    def still(self) -> Still:
        """The present picture by JAX and Matplotlib, for readers without a kernel."""
        raise NotImplementedError

    def live_html(self) -> str:
        """The widget as a piece of HTML that needs no kernel and loads nothing."""
        state = {name: getattr(self, name) for name in ("data", *self.moving)}
        name = f"{type(self).__name__}-{self.model_id}"
        return browser.page(name, self._esm, self._css, state, self.weights, self.still().as_html())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return _with_still(super()._repr_mimebundle_(**kwargs), self.still(), self.live_html())


def _with_still(
    bundle: Any, still: Still, live_html: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A widget's MIME bundle and, for readers without a kernel, its first picture."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    plain, plain_metadata = still._repr_mimebundle_()
    if live_html is not None:
        plain["text/html"] = live_html
    return {**plain, WIDGET_VIEW: data[WIDGET_VIEW]}, {**metadata, **plain_metadata}
