"""Panels: the first frame, what a moved control does, errors, reset and grabbing; no kernel needed."""

from __future__ import annotations

import base64
import io
import re
import threading
import time
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
import traitlets
from PIL import Image

from lecture_lib import browser, figures, panels
from lecture_lib.figures import Drawing, Still
from lecture_lib.panels import Grab, PageWidget, Panel
from tests.frames import leaves


@figures.styled
def drawing() -> Drawing[dict[str, float]]:
    fig, ax = figures.figure(4, 2)
    (dot,) = ax.plot([], [], "o", color=figures.INK)
    ax.set(xlim=(-1, 11), ylim=(-1, 11))

    def update(what: dict[str, float]) -> None:
        dot.set_data([what["x"]], [what["y"]])

    return Drawing(fig, [dot], update, lambda what: f"a dot at {what['x']:.2f}, {what['y']:.2f}")


class Made:
    """A panel with what it was made of, and a record of what was computed."""

    def __init__(self, **options: Any):
        self.calls: list[tuple[float, float]] = []
        self.drawing = drawing()
        self.x = panels.slider("x, the place", 5, 0, 10, 0.1)
        self.y = panels.slider("y", 2, 0, 10, 1)
        if options.pop("grabbable", False):
            options["grab"] = Grab("x", self.drawing.figure.axes[0])
        if options.pop("grabbable_both_ways", False):
            options["grab"] = Grab("x", self.drawing.figure.axes[0], "y")
        self.panel = Panel(self.compute, self.drawing, {"x": self.x, "y": self.y}, **options)

    def compute(self, x: float, y: float) -> dict[str, float]:
        self.calls.append((x, y))
        if y == 7:
            raise ZeroDivisionError("a <b>bad</b> place & time")
        return {"x": x, "y": y}

    def expected(self, x: float, y: float) -> Still:
        return drawing()({"x": x, "y": y})

    def shown(self) -> Still:
        return Still(self.panel.picture.png, self.panel.picture.alt)


@pytest.fixture
def made() -> Made:
    return Made()


def test_first_frame_is_the_drawing_of_the_start(made: Made) -> None:
    assert made.panel.first == made.expected(5, 2) == made.shown()
    assert made.calls == [(5, 2)]
    assert made.panel.picture.width == made.panel.first.width == 384
    pixels = np.asarray(Image.open(io.BytesIO(made.panel.first.png)))
    assert pixels.shape == (288, 576, 3) and pixels.std() > 5
    assert made.panel.message.value == made.panel.numbers.value == ""
    assert made.panel.values() == {"x": 5, "y": 2}


def test_sliders_then_buttons_then_the_picture_with_its_texts() -> None:
    for options in ({}, {"side_by_side": True}):
        made = Made(actions={"one step": lambda now: {}, "ten steps": lambda now: {}}, **options)
        panel = made.panel
        buttons = [*panel.actions.values(), panel.reset]
        assert [button.description for button in buttons] == ["one step", "ten steps", "Reset"]
        below = [panel.picture, panel.numbers, panel.message]
        assert leaves(panel) == [made.x, made.y, *buttons, *below]
        (row,) = (child for child in panel.children if panel.reset in getattr(child, "children", ()))
        assert isinstance(row, widgets.HBox) and list(row.children) == buttons


def test_side_by_side_changes_where_the_sliders_stand_and_not_the_picture(made: Made) -> None:
    other = Made(side_by_side=True)
    (grid,) = (child for child in other.panel.children if isinstance(child, widgets.GridBox))
    assert grid.children == (other.x, other.y) and "auto-fit" in grid.layout.grid_template_columns
    assert made.x in made.panel.children  # one below the other without it
    room = [float(m.x.style.description_width.removesuffix("em")) for m in (made, other)]
    assert room[1] < room[0]  # of the label
    assert other.panel.first == made.panel.first
    other.x.value = 8
    assert other.shown() == made.expected(8, 2)


def test_side_by_side_by_names() -> None:
    """Controls of any kind, in the order of the names; the others stay below one another."""
    controls: dict[str, Any] = {
        "a": panels.slider("a", 1, 0, 2, 1),
        "b": panels.choice("b", 1, [1, 2]),
        "c": panels.choice_slider("c", 1, [1, 2]),
        "d": panels.whole_slider("d", 1, 0, 2),
    }
    panel = Panel(lambda **v: {"x": v["a"], "y": v["b"]}, drawing(), controls, side_by_side=["c", "b", "d"])
    (grid,) = (child for child in panel.children if isinstance(child, widgets.GridBox))
    assert grid.children == tuple(controls[name] for name in "cbd")
    assert leaves(panel)[:4] == [*grid.children, controls["a"]]
    widths = {name: control.style.description_width for name, control in controls.items()}
    assert widths["a"] == "17em" and {widths[name] for name in "bcd"} == {"8em"}
    assert controls["b"].style.button_width == "auto"
    assert "auto-fit" in grid.layout.grid_template_columns and "100%" in grid.layout.grid_template_columns
    with pytest.raises(KeyError, match="'e'"):
        Panel(lambda **v: {"x": v["a"], "y": v["b"]}, drawing(), controls, side_by_side=["a", "e"])


def test_moving_a_control_changes_the_picture(made: Made) -> None:
    made.x.value = 8
    assert made.shown() == made.expected(8, 2) != made.panel.first
    made.y.value = 3
    assert made.shown() == made.expected(8, 3)
    assert made.calls == [(5, 2), (8, 2), (8, 3)]
    assert made.panel.first == made.expected(5, 2)  # the stored picture stays


def test_the_same_value_again_draws_nothing(made: Made) -> None:
    made.x.value = 5
    assert made.calls == [(5, 2)]


def test_a_hundred_fast_changes_end_with_the_last(made: Made) -> None:
    for x in np.random.default_rng(0).permutation(100) / 10:
        made.x.value = float(x)
    made.x.value = 1.5
    assert made.shown() == made.expected(1.5, 2)
    assert made.calls[-1] == (1.5, 2)


def test_error_is_told_in_the_panel_and_goes_away(made: Made) -> None:
    made.y.value = 7
    message = made.panel.message.value
    assert "ZeroDivisionError: a &lt;b&gt;bad&lt;/b&gt; place &amp; time" in message
    assert "<b>bad" not in message and 'role="alert"' in message
    assert made.shown() == made.panel.first  # the last good picture stays
    made.y.value = 3
    assert made.panel.message.value == ""
    assert made.shown() == made.expected(5, 3)


def test_error_while_drawing_is_told_too(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(what: Any) -> Any:
        raise ValueError("no ink")

    with monkeypatch.context() as patched:
        patched.setattr(made.drawing, "update", fail)
        made.x.value = 1
        assert "ValueError: no ink" in made.panel.message.value
    made.x.value = 2
    assert made.panel.message.value == "" and made.shown() == made.expected(2, 2)


def test_error_at_the_start_is_the_makers() -> None:
    def fail(x: float) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Panel(fail, drawing(), {"x": panels.slider("x", 0, 0, 1, 1)})


def test_reset_brings_back_values_and_picture(made: Made) -> None:
    made.x.value, made.y.value = 8, 7
    assert made.panel.message.value
    before = len(made.calls)
    made.panel.reset.click()
    assert made.panel.values() == {"x": 5, "y": 2}
    assert made.shown() == made.panel.first and made.panel.message.value == ""
    assert len(made.calls) == before + 1  # drawn once, not once a control
    made.x.value = 3
    assert made.shown() == made.expected(3, 2)


def test_a_value_that_comes_late_does_not_undo_a_reset(made: Made) -> None:
    """The page holds a slider's last value back while the kernel is busy; its answer comes behind that."""
    asked: list[Any] = []
    made.panel.picture.send = lambda content, buffers=None: asked.append(content)  # type: ignore[method-assign]
    made.x.value = 8
    made.panel.reset.click()
    assert asked == [{"ask": "reset"}] and made.shown() == made.panel.first
    made.x.value = 9  # on its way when the button was pressed
    made.panel.picture._handle_custom_msg({"answer": "reset"}, [])
    assert made.panel.values() == {"x": 5, "y": 2} and made.shown() == made.panel.first
    calls = len(made.calls)
    made.panel.picture._handle_custom_msg({"answer": "reset"}, [])
    assert len(made.calls) == calls  # at the start already: nothing is drawn
    made.x.value = 9
    made.panel.picture._handle_custom_msg({"something": "else"}, [])
    assert made.x.value == 9


def test_the_page_is_told_that_the_kernel_works(made: Made) -> None:
    told: list[tuple[bool, int]] = []
    made.panel.picture.observe(lambda change: told.append((change["new"], len(made.calls))), "busy")
    made.x.value = 8
    assert told == [(True, 1), (False, 2)]
    made.y.value = 7  # it fails
    assert told[2:] == [(True, 2), (False, 3)] and not made.panel.picture.busy


def test_numbers_follow_and_are_escaped() -> None:
    made = Made(describe=lambda what: f"x = {what['x']:g} <& done")

    def told() -> str:
        return re.sub(r"</?samp[^>]*>", "", made.panel.numbers.value)

    assert told() == "x = 5 &lt;&amp; done"
    made.x.value = 8
    assert told() == "x = 8 &lt;&amp; done"
    made.panel.reset.click()
    assert told() == "x = 5 &lt;&amp; done"


# --- buttons --------------------------------------------------------------------------------


def test_a_button_moves_several_controls_and_draws_once() -> None:
    seen: list[dict[str, Any]] = []

    def step(now: dict[str, Any]) -> dict[str, Any]:
        seen.append(now)
        return {"x": now["x"] + 1, "y": now["y"] + 3}

    made = Made(actions={"step": step})
    assert seen == []  # only when it is pressed
    for x, y in ((6, 5), (7, 8)):
        made.panel.actions["step"].click()
        assert made.panel.values() == {"x": x, "y": y} and made.shown() == made.expected(x, y)
    assert made.calls == [(5, 2), (6, 5), (7, 8)]
    assert seen == [{"x": 5, "y": 2}, {"x": 6, "y": 5}]
    made.panel.reset.click()
    assert made.shown() == made.panel.first


def test_a_button_may_move_one_control_of_several() -> None:
    made = Made(actions={"up": lambda now: {"y": 9}})
    made.panel.actions["up"].click()
    assert made.panel.values() == {"x": 5, "y": 9} and made.shown() == made.expected(5, 9)


def refuse(now: dict[str, Any]) -> dict[str, Any]:
    raise ArithmeticError("no <next> step")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (refuse, "ArithmeticError: no &lt;next&gt; step"),
        (lambda now: {"z": 1}, "KeyError: &#x27;z&#x27;"),  # a control that is not there
        (lambda now: {"x": "far"}, "TraitError"),
        (lambda now: None, "AttributeError"),
    ],
)
def test_a_failing_button_tells_why_in_the_panel(act: Any, message: str) -> None:
    made = Made(actions={"step": act})
    made.panel.actions["step"].click()
    assert message in made.panel.message.value and 'role="alert"' in made.panel.message.value
    assert made.shown() == made.panel.first and made.panel.values() == {"x": 5, "y": 2}
    made.x.value = 8  # and the panel goes on
    assert made.panel.message.value == "" and made.shown() == made.expected(8, 2)


def test_a_picture_that_fails_after_a_button_is_told_too() -> None:
    made = Made(actions={"step": lambda now: {"y": 7}})
    made.panel.actions["step"].click()
    assert "ZeroDivisionError" in made.panel.message.value and made.shown() == made.panel.first
    made.panel.reset.click()
    assert made.panel.message.value == ""


# --- grabbing -------------------------------------------------------------------------------


def share_of(made: Made, x: float, y: float = 5) -> list[float]:
    """Where a data point is in the picture: shares of its width and height, from the top left."""
    figure = made.drawing.figure
    point = figure.axes[0].transData.transform((x, y))
    width, height = figure.bbox.size
    return [float(point[0] / width), float(1 - point[1] / height)]


def test_grab_moves_the_control_to_the_pointer() -> None:
    made = Made(grabbable=True)
    assert made.panel.picture.region == made.drawing.region(made.drawing.figure.axes[0])
    left, top, width, height = made.panel.picture.region
    corners = [*share_of(made, -1, 11), *share_of(made, 11, -1)]  # the ends of both axes
    assert corners == pytest.approx([left, top, left + width, top + height], abs=1e-9)
    for x in (2.5, 9.9, 0.0):
        made.panel.picture.pointer = share_of(made, x)
        assert made.x.value == pytest.approx(x, abs=1e-9)
        assert made.y.value == 2
        assert made.shown() == made.expected(made.x.value, 2)


def test_grab_stops_at_the_ends() -> None:
    made = Made(grabbable=True)
    made.panel.picture.pointer = share_of(made, 10.9)
    assert made.x.value == 10
    made.panel.picture.pointer = share_of(made, -0.9)
    assert made.x.value == 0
    for beyond in ([-5.0, 0.5], [7.0, -3.0]):
        made.panel.picture.pointer = beyond
        assert made.x.value in (0, 10)


def test_the_same_place_can_be_grabbed_again_after_a_reset() -> None:
    made = Made(grabbable=True)
    place = share_of(made, 8)
    made.panel.picture.pointer = place
    assert made.x.value == pytest.approx(8, abs=1e-9)
    before = len(made.calls)
    made.panel.reset.click()
    assert made.panel.picture.pointer == [] and made.panel.values() == {"x": 5, "y": 2}
    assert len(made.calls) == before + 1 and made.shown() == made.panel.first
    made.panel.picture.pointer = place
    assert made.x.value == pytest.approx(8, abs=1e-9)
    assert made.shown() == made.expected(made.x.value, 2) != made.panel.first


def test_an_empty_pointer_moves_nothing() -> None:
    made = Made(grabbable=True)
    made.panel.picture.pointer = share_of(made, 8)
    before, shown = list(made.calls), made.shown()
    made.panel.picture.pointer = []
    assert made.calls == before and made.shown() == shown and made.panel.message.value == ""


def test_grab_both_ways_moves_two_controls_and_draws_once() -> None:
    made = Made(grabbable_both_ways=True)
    assert made.panel.picture.both
    for x, y in ((2.5, 8.0), (9.9, 0.25)):
        before = len(made.calls)
        made.panel.picture.pointer = share_of(made, x, y)
        assert made.x.value == pytest.approx(x, abs=1e-9) and made.y.value == pytest.approx(y, abs=1e-9)
        assert len(made.calls) == before + 1
        assert made.shown() == made.expected(made.x.value, made.y.value)


@pytest.mark.parametrize(
    ("pointed", "ends"),
    [((10.9, 5), (10, 5)), ((-0.9, 5), (0, 5)), ((5, 10.9), (5, 10)), ((40, -30), (10, 0))],
)
def test_grab_both_ways_stops_at_the_ends(pointed: tuple[float, float], ends: tuple[float, float]) -> None:
    made = Made(grabbable_both_ways=True)
    made.panel.picture.pointer = share_of(made, *pointed)
    assert (made.x.value, made.y.value) == pytest.approx(ends, abs=1e-9)


def test_grab_along_one_axis_leaves_the_other_alone() -> None:
    made = Made(grabbable=True)
    assert not made.panel.picture.both and not Made().panel.picture.both
    made.panel.picture.pointer = share_of(made, 8, 9)
    assert made.panel.values() == {"x": pytest.approx(8, abs=1e-9), "y": 2}


def test_without_grab_the_picture_is_still() -> None:
    made = Made()
    assert made.panel.picture.region == []
    made.panel.picture.pointer = [0.1, 0.1]
    assert made.calls == [(5, 2)]


# --- pressing on places ---------------------------------------------------------------------


class Pressed(Made):
    """A panel that notes what is told of the pointer, and moves its dot there."""

    def __init__(self, **options: Any):
        self.told: list[tuple[float, ...]] = []
        super().__init__(**options)

    def act(self, values: dict[str, Any], place: panels.Place, last: panels.Place | None) -> dict[str, Any]:
        self.told.append((*place, *(last or ())))
        if place.y > 9:
            raise ZeroDivisionError("too high")
        return {"x": place.x, "y": round(place.y)}


def pressed() -> Pressed:
    made = Pressed()
    press = panels.Press(made.drawing.figure.axes[0], made.act)
    made.panel = Panel(made.compute, made.drawing, {"x": made.x, "y": made.y}, press=press)
    return made


def test_press_tells_the_place_and_where_the_stroke_was() -> None:
    made = pressed()
    picture = made.panel.picture
    assert picture.brush and not picture.both
    assert picture.region == made.drawing.region(made.drawing.figure.axes[0])
    for x, y, stroke in ((2.5, 3, 1), (4.0, 5, 1), (8.0, 1, 2)):
        picture.press = [*share_of(made, x, y), stroke]
        assert made.panel.values() == {"x": pytest.approx(x), "y": y}
        assert made.shown() == made.expected(made.x.value, y)
    np.testing.assert_allclose(made.told[0], [2.5, 3], atol=1e-9)
    np.testing.assert_allclose(made.told[1], [4, 5, 2.5, 3], atol=1e-9)
    np.testing.assert_allclose(made.told[2], [8, 1], atol=1e-9)


def test_reset_ends_the_stroke() -> None:
    made = pressed()
    place = [*share_of(made, 2.5, 3), 1]
    made.panel.picture.press = place
    made.panel.reset.click()
    assert made.panel.picture.press == [] and made.shown() == made.panel.first
    made.panel.picture.press = place
    assert [len(told) for told in made.told] == [2, 2]  # no last place


def test_what_fails_in_a_press_is_told() -> None:
    made = pressed()
    made.panel.picture.press = [*share_of(made, 2, 9.5), 1]
    assert "too high" in made.panel.message.value and made.shown() == made.panel.first
    made.panel.picture.press = [*share_of(made, 2, 3), 2]
    assert made.panel.message.value == ""


def test_the_pointer_does_one_thing() -> None:
    made = Made()
    axes = made.drawing.figure.axes[0]
    with pytest.raises(ValueError, match=r"^grab and press are both given"):
        Panel(
            made.compute,
            made.drawing,
            {"x": made.x, "y": made.y},
            grab=Grab("x", axes),
            press=panels.Press(axes, lambda values, place, last: {}),
        )
    assert not made.panel.picture.brush
    made.panel.picture.press = [0.5, 0.5, 1]
    assert made.shown() == made.panel.first


# --- a widget of the page in place of a drawing ---------------------------------------------


class Page(PageWidget):
    """Shows the two numbers; the page moves `turned`."""

    _esm = "export default { render() {} };"
    _css = ""
    shown: Any = traitlets.List().tag(sync=True)
    turned = traitlets.Int(0).tag(sync=True)
    moving = ("shown", "turned")

    def show(self, what: dict[str, float]) -> None:
        self.shown = [round(what["x"]), round(what["y"])]

    def back(self) -> None:
        self.turned = 0

    def still(self) -> Still:
        return Still(base64.b64decode(PIXEL), f"{self.shown} turned by {self.turned}")


class OnPage(Made):
    """The same panel with a widget of the page."""

    def __init__(self, **options: Any):
        super().__init__()
        self.page = Page()
        self.panel = Panel(self.compute, self.page, {"x": self.x, "y": self.y}, **options)


def test_a_widget_of_the_page_follows_the_controls() -> None:
    made = OnPage(describe=lambda what: f"y = {what['y']:g}")
    panel, page = made.panel, made.page
    assert panel.picture is page and page.shown == [5, 2] and panel.first.alt == "[5, 2] turned by 0"
    assert leaves(panel) == [made.x, made.y, panel.reset, page, panel.numbers, panel.message]
    made.x.value = 8
    assert page.shown == [8, 2] and "y = 2" in panel.numbers.value
    made.y.value = 7
    assert "ZeroDivisionError" in panel.message.value and page.shown == [8, 2]
    page.turned = 3
    panel.reset.click()  # the controls, and what the user has moved in the page
    assert (page.shown, page.turned, panel.values(), panel.message.value) == ([5, 2], 0, {"x": 5, "y": 2}, "")


def test_a_widget_of_the_page_has_its_own_pointer() -> None:
    axes = drawing().figure.axes[0]
    press = panels.Press(axes, lambda values, place, last: {})
    for options in ({"grab": Grab("x", axes)}, {"press": press}):
        with pytest.raises(ValueError, match=r"^grab or press is given, but drawing is a widget"):
            OnPage(**options)


def test_mimebundle_of_a_widget_of_the_page_is_alive() -> None:
    made = OnPage()
    data, metadata = made.panel._repr_mimebundle_()
    assert data[panels.WIDGET_VIEW]["model_id"] == made.panel.model_id
    assert base64.b64decode(data["image/png"]) == made.panel.first.png
    assert data["text/plain"] == metadata["image/png"]["alt"] == "[5, 2] turned by 0"
    assert data["text/html"] == made.page.live_html()
    assert '"shown": [5' in data["text/html"] and made.panel.first.as_html() in data["text/html"]


def test_a_widget_of_the_page_says_what_it_has_to_do() -> None:
    for act in (PageWidget().still, PageWidget().back, lambda: PageWidget().show(1)):
        with pytest.raises(NotImplementedError):
            act()


def test_what_failed_can_be_told_from_outside(made: Made) -> None:
    made.panel.tell(ValueError("a <b> c"))
    assert (
        "ValueError: a &lt;b&gt; c" in made.panel.message.value and 'role="alert"' in made.panel.message.value
    )
    made.x.value = 8
    assert made.panel.message.value == ""


# --- what a notebook stores -----------------------------------------------------------------


def test_mimebundle_has_the_widget_and_the_first_picture(made: Made) -> None:
    made.x.value = 9
    data, metadata = made.panel._repr_mimebundle_()
    assert data[panels.WIDGET_VIEW]["model_id"] == made.panel.model_id
    assert base64.b64decode(data["image/png"]) == made.panel.first.png
    assert data["text/plain"] == made.panel.first.alt
    assert made.panel.first.alt in data["text/html"]
    assert metadata["image/png"]["alt"] == made.panel.first.alt


def test_picture_sends_image_and_text_together() -> None:
    picture = panels.Picture()
    sent: list[Any] = []
    picture.send_state = lambda key=None: sent.append(key)  # type: ignore[method-assign,assignment]
    picture.show(Still(base64.b64decode(PIXEL), "one pixel"))
    assert (picture.alt, picture.width) == ("one pixel", 1)
    assert len(sent) <= 1
    names = set(picture.keys)
    assert {"png", "alt", "width", "region", "both", "pointer", "_esm"} <= names


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def test_static_files_are_there() -> None:
    for name in ("busy.js", "picture.js", "nets.js", "moon_slider.js", "moon_slider.css"):
        assert (browser.STATIC / name).stat().st_size > 0
    assert panels.Picture._esm == browser.script("busy.js", "picture.js")


# --- controls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "digits", "shown"),
    [
        (0.05, None, ".2f"),
        (0.1, None, ".1f"),
        (0.001, None, ".3f"),
        (1, None, ".0f"),
        (5, None, ".0f"),
        (0.25, None, ".2f"),
        (0.125, None, ".3f"),
        (1e-7, None, ".7f"),
        (0.1 + 0.2, None, ".1f"),
        (1 / 3, None, ".6f"),
        (1, 3, ".3f"),
    ],
)
def test_slider(step: float, digits: int | None, shown: str) -> None:
    slider = panels.slider("phase, degrees", 2, 0, 10, step, digits=digits)
    assert (slider.value, slider.min, slider.max, slider.step) == (2, 0, 10, step)
    assert slider.description == "phase, degrees"
    assert slider.readout_format == shown


@pytest.mark.parametrize(("start", "low", "high"), [(11, 0, 10), (-1, 0, 10), (0, 0, 0), (5, 10, 0)])
def test_slider_refuses_ends(start: float, low: float, high: float) -> None:
    with pytest.raises(ValueError, match=rf"start is {start}, low {low}, high {high}; expected low <= start"):
        panels.slider("x", start, low, high, 1)


@pytest.mark.parametrize("step", [0, -0.1, float("nan")])
def test_slider_refuses_steps(step: float) -> None:
    with pytest.raises(ValueError, match="step"):
        panels.slider("x", 0, 0, 1, step)


def test_whole_slider() -> None:
    made = panels.whole_slider("n, draws", 3, 0, 20_000)
    assert isinstance(made, widgets.IntSlider)
    assert (made.value, made.min, made.max, made.step) == (3, 0, 20_000, 1)
    assert made.description == "n, draws"
    for end in (0, 20_000):
        assert panels.whole_slider("n", end, 0, 20_000).value == end


@pytest.mark.parametrize(("start", "low", "high"), [(11, 0, 10), (-1, 0, 10), (0, 0, 0), (5, 10, 0)])
def test_whole_slider_refuses_ends(start: int, low: int, high: int) -> None:
    with pytest.raises(ValueError, match=rf"start is {start}, low {low}, high {high}; expected low <= start"):
        panels.whole_slider("n", start, low, high)


def test_choices() -> None:
    one = panels.choice_slider("noise", 2.0, [0.5, 2.0, 5.0])
    assert isinstance(one, widgets.SelectionSlider) and one.value == 2.0 and one.description == "noise"
    two = panels.choice("kind", "b", [("first", "a"), ("second", "b")])
    assert isinstance(two, widgets.ToggleButtons) and two.value == "b"
    for make in (panels.choice_slider, panels.choice):
        with pytest.raises(traitlets.TraitError):
            make("x", 3, [1, 2])


def test_choices_drive_a_panel() -> None:
    slider, buttons = panels.choice_slider("x", 1, [1, 2, 3]), panels.choice("y", "low", ["low", "high"])
    panel = Panel(
        lambda x, y: {"x": float(x), "y": {"low": 1.0, "high": 9.0}[y]},
        drawing(),
        {"x": slider, "y": buttons},
    )
    slider.value, buttons.value = 3, "high"
    assert panel.picture.alt == "a dot at 3.00, 9.00"
    panel.reset.click()
    assert panel.picture.alt == "a dot at 1.00, 1.00"


def test_two_threads_draw_one_after_the_other() -> None:
    """JupyterLab hands messages to a second thread while the kernel is busy: a frame must not be torn."""
    inside, most = 0, 0

    def compute(a: float, b: float) -> float:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return a + b

    fig, ax = figures.figure(3, 2)
    (line,) = ax.plot([0, 1], [0, 1])
    drawing = figures.Drawing(fig, [line], lambda y: line.set_ydata([y, y]), lambda y: f"A line at {y:.1f}.")
    controls = {name: panels.slider(name, 0.2, 0, 1, 0.1) for name in "ab"}
    panel = Panel(compute, drawing, controls)

    def move(name: str) -> None:
        for step in range(10):
            controls[name].value = step / 10

    threads = [threading.Thread(target=move, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert panel.picture.png == drawing(1.8).png and panel.picture.alt == "A line at 1.8."
    panel.reset.click()
    assert (panel.picture.png, panel.picture.alt) == (panel.first.png, panel.first.alt)
