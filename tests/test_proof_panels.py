"""Two thousand moves of panels of every kind of drawing leave nothing behind in the kernel."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from lecture_lib import elbo_panels, mixture_panels, moon_panels, problem_panels, style_trials
from lecture_lib.panels import Panel, slider
from lecture_lib.toy_widgets import FilmPlayer
from tests.test_toy_widgets import made_up

pytestmark = pytest.mark.proof

MEGABYTES = 5
"""What 2000 moves may add: a picture of 30 kB that was kept at each of them would be 60."""


def sevens() -> Panel:
    class Machine:
        classes_ = np.arange(10)
        n_features_in_ = 64

        def predict_proba(self, x: Any) -> np.ndarray:
            return np.full((len(x), 10), 0.1)

    new = style_trials.embedded("new writers")
    pictures = new.x[new.labels == 7][:3]
    return problem_panels.seven_panel({"ink": lambda x: -x.sum(axis=1)}, Machine(), pictures)


def film() -> Panel:
    films = [made_up(11, kind=kind) for kind in ("one bump", "skewed")]
    return Panel(
        lambda a: films[round(a * 1000) % 2], FilmPlayer(films[0]), {"a": slider("a", 0, -3, 3, 0.001)}
    )


KINDS: dict[str, tuple[Callable[[], Panel], str]] = {
    "lines": (moon_panels.penalty_panel, "s"),
    "a histogram and dots": (mixture_panels.draw_panel, "m0"),
    "ellipses": (mixture_panels.plane_panel, "s0"),
    "bars": (elbo_panels.bar_panel, "mean"),
    "rasters": (sevens, "row"),
    "a film": (film, "a"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_moves_leave_nothing_behind(kind: str, record_property: Any) -> None:
    make, name = KINDS[kind]
    panel = make()
    control: Any = panel.controls[name]
    values = [control.min + (control.max - control.min) * (37 * k % 101) / 101 for k in range(101)]
    if isinstance(control.value, int):
        values = [round(value) for value in values]

    def moves(n: int) -> None:
        for k in range(n):
            control.value = values[k % len(values)]
            assert panel.message.value == ""

    def held() -> tuple[int, int]:
        figure = getattr(panel.drawing, "figure", None)
        listeners = [*panel.controls.values(), panel.picture, panel.reset]
        observers = sum(len(v) for w in listeners for n in w._trait_notifiers.values() for v in n.values())
        return (len(figure.findobj()) if figure else 0), observers

    def memory() -> float:
        gc.collect()
        return psutil.Process().memory_info().rss / 1e6

    moves(200)
    before, first = held(), memory()
    moves(2000)
    grown = memory() - first
    record_property("grown, MB", round(grown, 2))
    print(f"GROWN {kind}: {grown:.2f} MB, {before} artists and observers")
    assert held() == before
    assert grown < MEGABYTES
