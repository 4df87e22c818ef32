"""The panels of notebook 05 with a 7: what is drawn, pressed and told, with judges known by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lecture_lib import problem_panels, problem_trials, style_trials
from lecture_lib.panels import Panel
from lecture_lib.problem_panels import AS_WRITTEN, STRAY, TAIL
from tests.frames import check_controls, check_frame, numbers, shares

NEW = style_trials.embedded("new writers")
SEVENS = NEW.x[NEW.labels == 7][:9]
PLACES = np.linspace(-3, -1, 64)
JUDGES: dict[str, Any] = {
    "place": lambda x: np.asarray(x, np.float64) @ PLACES,  # each pixel costs 1 to 3 nats, less and less
    "ink": lambda x: -10 * np.asarray(x, np.float64).sum(axis=1),
}


class Machine:
    """Says "a 7" the more surely the darker the last column is."""

    classes_ = np.arange(10)
    n_features_in_ = 64

    def predict_proba(self, x: Any) -> np.ndarray:
        probability = np.exp(-np.asarray(x).reshape(-1, 8, 8)[:, :, 7].sum(axis=1) - 0.1)
        return np.repeat(probability[:, None], 10, axis=1)


# --- a 7 to break ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> Panel:
    return problem_panels.seven_panel(JUDGES, Machine(), SEVENS, start=3)


@pytest.fixture
def panel(made: Panel) -> Panel:
    made.reset.click()
    return made


@pytest.fixture
def plain(panel: Panel) -> Panel:
    panel.actions["Undo all"].click()
    return panel


def picture(panel: Panel) -> np.ndarray:
    return panel.compute(**panel.values()).picture


def test_a_seven_as_written_is_no_change(plain: Panel) -> None:
    what = plain.compute(**plain.values())
    np.testing.assert_array_equal(what.picture, SEVENS[3].reshape(8, 8))
    assert (what.changed, what.error) == ((), 0) and what.nats == pytest.approx((0, 0), abs=1e-9)
    assert numbers(plain)[:3] == ["MSE 0.0000", "place +0.0 nats", "ink +0.0 nats"]
    assert "Changed pixels: none. Cursor at row 3, column 3." in plain.picture.alt


@pytest.mark.parametrize(("edit", "edited"), [(TAIL, "tails"), (STRAY, "strays")])
def test_presets_are_the_edits_of_each_seven(panel: Panel, edit: str, edited: str) -> None:
    expected = getattr(problem_trials.edited(SEVENS), edited)
    panel.controls["edit"].value = edit
    for which in (3, 0, 8):
        panel.controls["which"].value = which
        what = panel.compute(**panel.values())
        np.testing.assert_array_equal(what.picture.ravel(), expected[which])
        assert len(what.changed) == 1 and what.error == 1 / 64
        nats = PLACES @ (expected[which] - SEVENS[which]).astype(float)
        np.testing.assert_allclose(what.nats, [nats, -10], atol=1e-5)
        row, column = what.changed[0]
        assert f"Changed pixels: row {row} column {column}." in panel.picture.alt
        assert numbers(panel)[0] == "MSE 0.0156" and numbers(panel)[2] == "ink -10.0 nats"


def test_button_toggles_the_pixel_at_the_cursor(plain: Panel) -> None:
    original = SEVENS[3].reshape(8, 8)
    for row, column in (
        (0, 0),
        tuple(np.argwhere(original > 0.9)[0]),
        tuple(np.argwhere((original > 0) & (original < 0.5))[0]),
    ):
        plain.controls["row"].value, plain.controls["column"].value = int(row), int(column)
        plain.actions["Toggle this pixel"].click()
        expected = original.copy()
        expected[row, column] = 0 if original[row, column] >= 0.5 else 1
        np.testing.assert_array_equal(picture(plain), expected)
        plain.actions["Toggle this pixel"].click()
        np.testing.assert_array_equal(picture(plain), original)


def press(panel: Panel, row: float, column: float, stroke: int) -> None:
    panel.picture.press = [*shares(panel, panel.drawing.figure.axes[-1], column, row), stroke]


def test_press_toggles_one_pixel_a_stroke(plain: Panel) -> None:
    (left,) = [axes for axes in plain.drawing.figure.axes if axes.get_title(loc="left").startswith("Press")]
    assert left is plain.drawing.figure.axes[-1]
    press(plain, 6.3, 0.7, 1)
    assert plain.controls["changed"].value == {(6, 1)}
    press(plain, 5.8, 1.2, 1)  # the same pixel, the same stroke
    assert plain.controls["changed"].value == {(6, 1)}
    assert (plain.controls["row"].value, plain.controls["column"].value) == (6, 1)
    press(plain, 5.8, 1.2, 2)
    assert plain.controls["changed"].value == set()
    assert plain.message.value == ""


def test_a_drawn_line_has_no_gaps_and_an_erased_one_neither(plain: Panel) -> None:
    press(plain, 0, 0, 1)
    press(plain, 7, 0, 1)
    assert plain.controls["changed"].value == {(row, 0) for row in range(8)}
    assert (picture(plain)[:, 0] == 1).all()
    press(plain, 2, 0, 2)  # begins on a changed pixel: takes back
    press(plain, 5, 0, 2)
    assert plain.controls["changed"].value == {(row, 0) for row in (0, 1, 6, 7)}
    press(plain, 30, -4, 3)  # beyond the picture: the nearest pixel
    assert plain.controls["changed"].value == {(row, 0) for row in (0, 1, 6)}


def test_undo_all(panel: Panel) -> None:
    assert panel.values()["edit"] == TAIL
    press(panel, 1, 7, 1)
    panel.controls["which"].value = 5
    panel.actions["Undo all"].click()
    assert panel.values() == {
        "edit": AS_WRITTEN, "which": 5, "row": 1, "column": 7, "changed": frozenset()
    }  # fmt: skip
    np.testing.assert_array_equal(picture(panel), SEVENS[5].reshape(8, 8))


def test_each_control_of_the_seven_changes_the_picture(panel: Panel) -> None:
    check_controls(panel)


def test_the_seven_is_drawn_as_computed(panel: Panel) -> None:
    values = {**panel.values(), "edit": STRAY, "changed": frozenset({(7, 7), (2, 3)})}
    what = panel.compute(**values)
    check_frame(panel, what)
    artists: list[Any] = panel.drawing.moving
    raster, outlines, cursor, mse, place, ink, probability, *rest = artists
    np.testing.assert_array_equal(raster.get_array(), what.picture)
    corners = np.array(outlines.get_data()).T.reshape(-1, 6, 2)[:, :5]
    centres = [(round(float(y)), round(float(x))) for x, y in corners[:, :4].mean(axis=1)]
    assert tuple(centres) == what.changed and len(what.changed) == 3
    assert np.nanmean(cursor.get_xdata()) == pytest.approx(3, abs=0.2)
    lengths = [bar.get_width() for bar in (mse, place, ink, probability)]
    np.testing.assert_allclose(lengths, [what.error, *what.nats, what.probability])
    dots, texts = rest[:6], rest[6:]
    edits = problem_trials.edited(SEVENS)
    for dot, x in zip(dots[2:4], (edits.tails, edits.strays), strict=True):
        expected = [float((judge(x) - judge(SEVENS))[3]) for judge in JUDGES.values()]
        np.testing.assert_allclose(dot.get_xdata(), expected, atol=1e-5)
    assert [text.get_text() for text in texts][:2] == [f"{what.error:.4f}", f"{what.nats[0]:+.1f}"]
    # the numbers to the right of the bars stand inside the figure
    widths = [text.get_window_extent().x1 for text in texts]
    assert max(widths) <= panel.drawing.figure.bbox.x1


# --- maps -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maps() -> Panel:
    return problem_panels.maps_panel(JUDGES, SEVENS, start=2)


def test_maps_show_each_judge_from_worst_to_best(maps: Panel) -> None:
    maps.reset.click()
    what = maps.compute(which=4)
    check_frame(maps, what)
    original = SEVENS[4].reshape(8, 8)
    assert (what.tail, what.stray) == (
        problem_trials.tail_pixel(original),
        problem_trials.stray_pixel(original),
    )
    seven, place, ink, *dots = maps.drawing.moving
    np.testing.assert_array_equal(seven.get_array(), original)  # type: ignore[attr-defined]
    shown = place.get_array()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), original > 0)
    expected = PLACES.reshape(8, 8)[original == 0]
    scaled = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(shown.compressed(), scaled, atol=1e-5)
    flat = ink.get_array().compressed()  # type: ignore[attr-defined]
    assert flat.min() >= 0 and flat.max() <= 1
    for i, (row, column) in enumerate((what.tail, what.stray)):
        for dot in dots[i::2]:
            assert (dot.get_xdata(), dot.get_ydata()) == ([column], [row])  # type: ignore[attr-defined]


def test_maps_tell_their_ranges_and_the_rank_of_the_tail(maps: Panel) -> None:
    maps.reset.click()
    check_controls(maps)
    blank = PLACES.reshape(8, 8)[SEVENS[2].reshape(8, 8) == 0]
    tail = PLACES.reshape(8, 8)[problem_trials.tail_pixel(SEVENS[2].reshape(8, 8))]
    above = np.sum(blank < tail) / (len(blank) - 1)
    assert numbers(maps)[0] == f"place: {blank.min():+.3g} to {blank.max():+.3g}, tail above {above:.0%}"
    assert " | ".join(numbers(maps)) in maps.picture.alt


def test_rank_counts_ties_half() -> None:
    values = np.array([[1.0, 2.0, 2.0], [3.0, np.nan, 0.0]])
    assert problem_panels.rank(values, (0, 0)) == 1 / 4
    assert problem_panels.rank(values, (0, 1)) == (2 + 0.5) / 4
    assert problem_panels.rank(values, (1, 0)) == 1
    assert problem_panels.rank(np.ones((2, 2)), (0, 0)) == 0.5


def test_what_is_refused() -> None:
    machine: Any = Machine()
    with pytest.raises(ValueError, match=r"^sevens has shape \(3, 784\); expected \(n, 64\)"):
        problem_panels.seven_panel(JUDGES, machine, np.zeros((3, 784)))
    with pytest.raises(ValueError, match=r"^sevens has shape \(0, 64\)"):
        problem_panels.maps_panel(JUDGES, np.zeros((0, 64)))
    many = {str(i): JUDGES["ink"] for i in range(5)}
    for judges in ({}, many):
        with pytest.raises(ValueError, match=r"^judges has . entries; expected 1 to 4"):
            problem_panels.seven_panel(judges, machine, SEVENS)
        with pytest.raises(ValueError, match=r"^judges has . entries; expected 1 to 4"):
            problem_panels.maps_panel(judges, SEVENS)
    with pytest.raises(ValueError, match=r"^start is 9, low 0, high 8"):
        problem_panels.maps_panel(JUDGES, SEVENS, start=9)
