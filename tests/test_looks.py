"""The check of all figures finds what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lecture_lib import figures
from tests.looks import missing


def drawn(**texts: Any) -> list[str]:
    fig, ax = figures.figure(4, 2)
    ax.plot([0, 1], [0, 1])
    ax.set(**texts)
    return missing(fig)


def test_a_figure_that_says_all_misses_nothing() -> None:
    assert drawn(title="A line", xlabel="x", ylabel="y") == []
    assert drawn(title="A line", xticks=[], yticks=[]) == []  # a picture
    assert drawn(title="Bars", xticks=[0, 1], xticklabels=["one", "two"], ylabel="share") == []


@pytest.mark.parametrize("what", ["title", "xlabel", "ylabel"])
def test_what_is_missing_is_named(what: str) -> None:
    texts = {"title": "A line", "xlabel": "x", "ylabel": "y"}
    (told,) = drawn(**{**texts, what: ""})
    assert told == "no title" if what == "title" else f"the {what[0]} axis has ticks and no label" in told


def test_axes_that_share_need_their_label_once() -> None:
    fig, axes = figures.figure(4, 2, ncols=2, sharey=True)
    for ax in axes:
        ax.plot(np.arange(3))
        ax.set(title="A line", xlabel="x")
    axes[0].set_ylabel("y")
    assert missing(fig) == []


def test_what_leaves_something_to_guess_cannot_be_drawn() -> None:
    x = np.arange(3.0)
    figures.curves(x, {"y": x}, title="A line", xlabel="x", ylabel="y", alt="A line.")
    with pytest.raises(AssertionError, match="the x axis has ticks and no label"):
        figures.curves(x, {"y": x}, title="A line", xlabel="", ylabel="y", alt="A line.")
