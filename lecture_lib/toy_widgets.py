"""The widget of notebook 07: a film of a GAN of numbers that plays in the page."""

from typing import Any

import numpy as np
import traitlets

from lecture_lib import browser, figures, measures, toy_trials
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, PURPLE, Still
from lecture_lib.panels import PageWidget
from lecture_lib.toy_films import ARROWS, CELLS, EDGES, HIGH, LOW, Film

NAMES = (
    *("outside", "loss_d", "loss_g", "real", "fake", "right", "js", "w1", "w1_averaged"),
    *("reach", "reach_minimax", "mean", "sd"),
)
"""The numbers of a frame, in the order in which the page gets them."""
_DENSITY_TOP = 1.6
_PRIORS = {"uniform": "z, uniform on [−1, 1]", "normal": "z, standard normal"}

_ON_REAL, _ON_FAKE = ("real", "D on real x", ORANGE, "-."), ("fake", "D on G's x", GREEN, "-")
_W1_BOTH = ("w1", "G", BLUE, "-"), ("w1_averaged", "averaged G", PURPLE, ":")
_CHARTS: Any = (
    ("Losses", (("loss_d", "D's", BLUE, "--"), ("loss_g", "G's, −log D", GREEN, "-")), "nats", None),
    ("D's decisions", (("right", "share right", BLUE, "--"), _ON_REAL, _ON_FAKE), "from 0 to 1", (0, 1.3)),
    ("Exact Jensen-Shannon divergence", (("js", "JS", BLUE, "-"),), "nats", (0, 1)),
    ("Exact Wasserstein-1 distance", _W1_BOTH, "units of x", (0, 1)),
)
"""Title, lines, unit and span of the small charts; film.js has the same."""


class FilmPlayer(PageWidget):
    """Plays a film: curves and arrows of a frame, and all frames' numbers below.

    The page has all frames and needs no kernel to move through them; it goes on in an exported page.

    Args:
        film: What to play; `show` replaces it.
        start: Which frame to begin with.
        steps: Whether there are buttons for single steps, which somebody in the kernel has to answer.

    Attributes:
        place: The frame that is shown.
        asked: A frame and a log such as "DDG" of single steps to be made from it; the kernel answers by
            `show_branch`.
    """

    _esm = browser.script("nets.js", "busy.js", "film.js")
    _css = browser.script("film.css")
    film = traitlets.Dict().tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)
    asked: Any = traitlets.List([0, ""]).tag(sync=True)
    branch = traitlets.Dict({"log": ""}).tag(sync=True)
    branch_weights = traitlets.Bytes(b"\4\0\0\0").tag(sync=True)
    moving = ("film", "place")

    def __init__(self, film: Film, *, start: int = 0, steps: bool = False):
        data = {
            "low": LOW,
            "high": HIGH,
            "cells": CELLS,
            "arrows": ARROWS,
            "names": list(NAMES),
            "start": start,
            "steps": steps,
        }
        info, weights = packed(film)
        super().__init__(data=data, film=info, weights=weights, place=min(start, len(film.step) - 1))
        self._shown = film

    def show(self, what: Film) -> None:
        """Play another film, from the same frame on."""
        self._shown, film = what, what
        info, weights = packed(film)
        with self.hold_sync():
            self.branch, self.asked = {"log": ""}, [0, ""]
            self.place = min(self.place, len(film.step) - 1)
            self.film, self.weights = info, weights

    def back(self) -> None:
        """To the frame at the start."""
        self.place = min(self.data["start"], len(self._shown.step) - 1)
        self.send({"back": True})  # a page that plays has moved on without telling, and may be told late

    def show_branch(self, film: Film, log: str) -> None:
        """Show where single steps have led, over the frame they began at.

        Args:
            film: One frame.
            log: Whose steps they were, say "10 × D".
        """
        info, weights = packed(film)
        with self.hold_sync():
            self.branch, self.branch_weights = {**info, "log": log}, weights

    def still(self) -> Still:
        """The present frame by Matplotlib, for readers without a kernel."""
        return _still(self._shown, self.place)


def packed(film: Film) -> tuple[dict[str, Any], bytes]:
    """A film as the page wants it: what it is, and its numbers."""
    curve = toy_trials.DATA[film.kind]
    parts = [film.z, curve.density(EDGES), np.diff(curve.cdf(EDGES)) / np.diff(EDGES)]
    parts += [film.d, film.density, film.x, *(getattr(film, name) for name in NAMES)]
    info = {"steps": film.step.tolist(), "kind": film.kind, "prior": _PRIORS[film.prior]}
    return info, browser.as_bytes(*parts)


@figures.styled
def _still(film: Film, place: int) -> Still:
    fig, axes = figures.figure(8, 6.4, nrows=3, ncols=2, height_ratios=[2.2, 1, 1])
    for a in axes[0]:
        a.remove()
    top = fig.add_subplot(axes[0, 0].get_gridspec()[0, :])
    curve = toy_trials.DATA[film.kind]
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    masses = np.diff(curve.cdf(EDGES)) / np.diff(EDGES)
    top.plot(EDGES, curve.density(EDGES), ":", color=INK, lw=3, label="P_data(x)")
    top.stairs(film.density[place], EDGES, color=GREEN, lw=2, label="P_G(x), exact")
    top.stairs(film.density[place], EDGES, color=GREEN, fill=True, alpha=0.2)
    top.set(xlabel="x", ylabel="density", ylim=(0, _DENSITY_TOP))
    top.set_title(f"After {film.step[place]} steps", loc="right")
    right = top.twinx()
    right.plot(EDGES, film.d[place], "--", color=BLUE, lw=2.5, label="D(x)")
    best = measures.optimal_discriminator(masses, film.density[place])
    right.plot(centres, best, "-.", color=ORANGE, label="D*(x), the best possible D")
    right.set(ylim=(0, 1), ylabel="D: probability of “real”", yticks=[0, 0.5, 1])
    right.spines["right"].set_visible(True)
    lines = [line for a in (top, right) for line in a.get_legend_handles_labels()[0]]
    top.legend(handles=lines, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, borderaxespad=0.2)
    for axis, (title, rows, unit, span) in zip(axes[1:].ravel(), _CHARTS, strict=True):
        for name, label, colour, style in rows:
            axis.plot(film.step, getattr(film, name), style, color=colour, lw=1.5, label=label)
        axis.axvline(film.step[place], color=INK, lw=1)
        axis.set(title=title, xlabel="step", ylabel=unit, ylim=span or (0, 1.3 * axis.get_ylim()[1]))
        axis.legend(fontsize=7, loc="upper right", ncols=len(rows), columnspacing=1.0)
    decades = int(np.ceil(np.log10(max(1.0, *film.w1, *film.w1_averaged))))
    axes[2, 1].set_yscale("log")
    axes[2, 1].set_ylim(0.01, 10 ** (decades + 0.5))
    axes[2, 1].set_yticks(
        [10.0**e for e in range(-2, decades + 1)], [f"{10.0**e:g}" for e in range(-2, decades + 1)]
    )
    axes[2, 1].minorticks_off()
    alt = (
        f"Densities of the data ({film.kind}) and of what G makes, D and the best possible D after "
        f"{film.step[place]} steps; losses, D's decisions, exact Jensen-Shannon divergence and Wasserstein-1 "
        f"distance over {film.step[-1]} steps. JS is {film.js[place]:.3f} nats here, W1 {film.w1[place]:.3f}."
    )
    return figures.still(fig, alt)
