"""The panel of two moons: costs against their closed form, and the best answer is the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lecture_lib import mean_panels, moon
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers

FULL, HALF = (np.asarray(moon.render(phase, 16), np.float64) for phase in (0.0, 90.0))
GAP = float(((FULL - HALF) ** 2).sum())


@pytest.fixture(scope="module")
def made() -> Panel:
    return mean_panels.mean_panel(size=16)


@pytest.fixture
def panel(made: Panel) -> Panel:
    made.reset.click()
    return made


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_costs_are_those_of_the_closed_form(panel: Panel, share: float) -> None:
    for mix in (0.0, 0.25, share, 1.0):
        what = panel.compute(share=share, mix=mix)
        np.testing.assert_allclose(what.answer, (1 - mix) * FULL + mix * HALF)
        assert what.error == pytest.approx((share * (1 - share) + (mix - share) ** 2) * GAP, abs=1e-9)
        assert what.mean_error == pytest.approx(share * (1 - share) * GAP, abs=1e-9)
        assert what.first_error == pytest.approx(share * GAP, abs=1e-9)
        assert what.second_error == pytest.approx((1 - share) * GAP, abs=1e-9)
        assert what.mean_error <= what.error + 1e-9


def test_it_tells_its_numbers(panel: Panel) -> None:
    panel.controls["share"].value, panel.controls["mix"].value = 0.2, 0.6
    assert numbers(panel) == [
        f"your answer {(0.16 + 0.16) * GAP:.1f}",
        f"the mean {0.16 * GAP:.1f}",
        f"the first picture {0.2 * GAP:.1f}",
        f"the second {0.8 * GAP:.1f}",
    ]
    assert "probability 0.80 and 0.20, an answer with 60% of the second" in panel.picture.alt


def test_each_control_changes_the_picture(panel: Panel) -> None:
    check_controls(panel)


def test_it_is_drawn_as_computed(panel: Panel) -> None:
    what = panel.compute(share=0.7, mix=0.1)
    check_frame(panel, what)
    artists: list[Any] = panel.drawing.moving
    answer, *texts, line, ends, best, mine = artists
    np.testing.assert_array_equal(answer.get_array(), what.answer)
    assert [text.get_text() for text in texts] == ["P = 0.30", "P = 0.70", "10% of the second"]
    x, y = line.get_data()
    assert x[np.argmin(y)] == pytest.approx(0.7) and y.min() == pytest.approx(what.mean_error)
    np.testing.assert_allclose(ends.get_data(), [[0, 1], [what.first_error, what.second_error]])
    assert (best.get_xdata(), mine.get_xdata()) == ([0.7], [0.1])
    assert y.max() < line.axes.get_ylim()[1]
