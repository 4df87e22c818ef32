"""The panel of sparse combinations and its figures, with a database small enough to know by heart."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lecture_lib import combination_panels, combinations
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers

RNG = np.random.default_rng(0)
DATABASE = RNG.uniform(size=(40, 16)) ** 4
KINDS = {
    "new": RNG.uniform(size=(3, 16)) ** 4,
    "of two": (DATABASE[:3] + DATABASE[3:6]) / 2,
}


@pytest.fixture(scope="module")
def made() -> Panel:
    return combination_panels.combination_panel(DATABASE, KINDS, k=2)


@pytest.fixture
def panel(made: Panel) -> Panel:
    made.reset.click()
    return made


def test_it_shows_the_pursuit(panel: Panel) -> None:
    for kind, which, k in (("of two", 0, 2), ("new", 2, 5)):
        what = panel.compute(kind=kind, which=which, k=k)
        path = combinations.pursue(DATABASE, KINDS[kind][which], 10)
        assert [c.explained for c in what.path] == [c.explained for c in path]
        np.testing.assert_array_equal(what.picture, KINDS[kind][which])
        assert what.k == min(k, len(path))


def test_it_is_drawn_as_computed(panel: Panel) -> None:
    what = panel.compute(kind="new", which=1, k=3)
    check_frame(panel, what)
    artists: list[Any] = panel.drawing.moving
    picture, together, residual, heading, line, here, *rest = artists
    shown = what.path[2]
    sum_ = sum(w * DATABASE[j] for w, j in zip(shown.weights, shown.chosen, strict=True))
    np.testing.assert_array_equal(picture.get_array().ravel(), KINDS["new"][1])
    np.testing.assert_allclose(together.get_array().ravel(), sum_)
    np.testing.assert_allclose(residual.get_array().ravel(), KINDS["new"][1] - sum_)
    assert heading.get_text() == "new"
    np.testing.assert_allclose(line.get_ydata(), [c.explained for c in what.path])
    assert (here.get_xdata(), here.get_ydata()) == ([3], [shown.explained])
    small, weights = rest[:10], rest[10:]
    assert [artist.get_visible() for artist in small] == [True] * 3 + [False] * 7
    for artist, j in zip(small[:3], shown.chosen, strict=True):
        np.testing.assert_array_equal(artist.get_array().ravel(), DATABASE[j])
    assert [text.get_text() for text in weights] == [f"{w:.2f}" for w in shown.weights] + [""] * 7


def test_it_tells_its_numbers(panel: Panel) -> None:
    panel.controls["k"].value = 4
    shown = combinations.pursue(DATABASE, KINDS["new"][0], 4)[-1]
    assert numbers(panel) == ["new, number 0", "k = 4", f"explained {shown.explained:.3f}"]
    told = ", ".join(f"{w:.2f} times picture {j}" for w, j in zip(shown.weights, shown.chosen, strict=True))
    assert told in panel.picture.alt
    panel.controls["kind"].value = "of two"
    path = combinations.pursue(DATABASE, KINDS["of two"][0], 10)
    assert len(path) < 4  # the pursuit has found both
    assert numbers(panel)[1:] == [f"k = 4 ({len(path)} explain all that can be)", "explained 1.000"]


def test_each_control_changes_the_picture(panel: Panel) -> None:
    check_controls(panel)


def test_what_the_panel_refuses() -> None:
    for kinds in (
        {"a": np.ones((3, 9))},
        {"a": np.ones((3, 16)), "b": np.ones((4, 16))},
        {"a": np.ones((1, 16))},
        {},
    ):
        with pytest.raises(ValueError, match=r"^kinds has shapes .*; expected the same for all, \(m, 16\)"):
            combination_panels.combination_panel(DATABASE, kinds)


def test_databases_and_pictures_that_cannot_be_combined() -> None:
    for database in (DATABASE[0], DATABASE[:, :15]):
        with pytest.raises(ValueError, match=r"^database has shape .*; expected \(n, size \* size\)"):
            combination_panels.combination_panel(database, {"a": np.ones((3, 16))})
    with pytest.raises(ValueError, match=r"^kinds\['a'\]\[0\] has no light where"):
        combination_panels.combination_panel(np.abs(DATABASE), {"a": -np.ones((3, 16))})


def test_curves_are_told_with_their_means() -> None:
    curves = {name: combinations.curve(DATABASE, of, (1, 2, 5)) for name, of in KINDS.items()}
    found = combination_panels.explained_figure(curves, (1, 2, 5))
    for name, values in curves.items():
        told = ", ".join(f"{value:.3f}" for value in (1 - values).mean(axis=0))
        assert f"{name} {told}" in found.alt
    with pytest.raises(ValueError, match=r"^curves\['new'\] has shape \(3, 3\); expected \(n, 2\)"):
        combination_panels.explained_figure(curves, (1, 2))
    for many in ({}, {str(i): np.zeros((2, 1)) for i in range(8)}):
        with pytest.raises(ValueError, match=r"^curves has . kinds; expected 1 to 7"):
            combination_panels.explained_figure(many, (1,))


def test_rows_hold_a_picture_of_each() -> None:
    found = combination_panels.rows_figure(KINDS, columns=3)
    assert "new, of two" in found.alt
    dark = combination_panels.rows_figure({name: 0 * of for name, of in KINDS.items()}, columns=3)
    shown, black = (np.asarray(Image.open(io.BytesIO(still.png)).convert("L")) for still in (found, dark))
    assert shown.shape == black.shape and (shown != black).mean() > 0.05
