"""Panels in which Gaussians are to make a given curve: many of them by a fit, two by hand."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.collections import LineCollection

from lecture_lib import figures, mixture_trials
from lecture_lib.datasets import CURVES
from lecture_lib.figures import BLUE, INK, ORANGE, PURPLE, Drawing
from lecture_lib.gaussians import Mixture
from lecture_lib.mixture_panels import COLOURS, LETTERS, POINTS, STYLES, log_joint, mixture_of
from lecture_lib.mixture_trials import MOST, Fit
from lecture_lib.panels import Panel, choice, slider, whole_slider


class Imitation(NamedTuple):
    """What the panel of many Gaussians draws."""

    curve: str
    """Its name in CURVES."""
    source: str
    """What the mixtures were fitted to."""
    fit: Fit
    components: int


_VIEW = (-6.0, 6.0)


@figures.styled
def imitation_panel(fits: Mapping[str, Mapping[str, Fit]]) -> Panel:
    """A black curve, the mixture of K Gaussians that imitates it, and its errors for all K.

    Args:
        fits: What was fitted, such as "the curve itself", to curve name to mixtures.

    Raises:
        ValueError: There is nothing to show, or a curve is not in CURVES.
    """
    names = list(next(iter(fits.values()), {}))
    if not names or any(set(of) != set(names) for of in fits.values()) or not set(names) <= set(CURVES):
        told = {source: list(of) for source, of in fits.items()}
        raise ValueError(f"fits has {told}; expected mixtures for the same curves of {list(CURVES)} in each")
    fig, (left, right) = figures.figure(8, 3.3, ncols=2, width_ratios=[1.5, 1])
    grid = np.linspace(*_VIEW, POINTS, dtype=np.float32)
    parts = LineCollection([], colors=BLUE, linewidths=0.9, alpha=0.75)
    left.add_collection(parts)
    (black,) = left.plot(grid, 0 * grid, color=INK, lw=2.5, label="black curve P(x)")
    (mixed,) = left.plot(grid, 0 * grid, "--", color=ORANGE, label="sum of K Gaussians (thin)")
    left.set(title="Curve and mixture", xlabel="x", ylabel="density", xlim=_VIEW, ylim=(0, 0.52))
    left.legend(loc="upper right")
    ks = np.arange(1, MOST + 1)
    (kl_line,) = right.plot(ks, ks, "-", color=BLUE, label="KL, nats")
    (l1_line,) = right.plot(ks, ks, "--", color=ORANGE, label="L1, area between")
    (here,) = right.plot([1, 1], [1, 1], "o", color=INK, ms=7)
    right.set(
        title="Errors against K", xlabel="K, number of Gaussians (log scale)", ylabel="error (log scale)"
    )
    right.set(xscale="log", yscale="log", ylim=(1e-5, 4), xlim=(0.9, 34))
    right.set_xticks([1, 2, 3, 5, 10, 20, 30], ["1", "2", "3", "5", "10", "20", "30"])
    right.minorticks_off()
    right.legend(loc="lower left")

    def compute(curve: str, source: str, components: int) -> Imitation:
        return Imitation(curve, source, fits[source][curve], components)

    def update(what: Imitation) -> None:
        mixture = what.fit.mixtures[what.components - 1]
        each = np.exp(log_joint(_filled_up(mixture), grid))[:, : what.components]
        parts.set_segments([np.column_stack([grid, column]) for column in each.T])
        mixed.set_ydata(each.sum(axis=1))
        black.set_ydata(CURVES[what.curve].density(grid))
        kls, l1s = np.array(what.fit.errors).T
        kl_line.set_ydata(kls)
        l1_line.set_ydata(l1s)
        k = what.components
        here.set_data([k, k], [kls[k - 1], l1s[k - 1]])

    def say(what: Imitation) -> str:
        error, mixture = what.fit.errors[what.components - 1], what.fit.mixtures[what.components - 1]
        sds = np.sqrt(np.asarray(mixture.covariances))
        return (
            f"K = {what.components} | KL(curve || mixture) {error.kl:.5f} nats | "
            f"L1 {error.l1:.4f} of at most 2 | "
            f"narrowest Gaussian sd {sds.min():.3f}, widest {sds.max():.3g}"
        )

    def alt(what: Imitation) -> str:
        return (
            f"The curve '{what.curve}' and a sum of {what.components} Gaussians fitted to {what.source}; "
            f"beside it both errors against the number of Gaussians. {say(what)}."
        )

    controls = {
        "curve": choice("black curve", names[0], names),
        "source": choice("fitted to", next(iter(fits)), list(fits)),
        "components": whole_slider("K, number of Gaussians", 3, 1, MOST),
    }
    moving = [parts, black, mixed, kl_line, l1_line, here]
    return Panel(compute, Drawing(fig, moving, update, alt), controls, describe=say)


def _filled_up(mixture: Mixture) -> Mixture:
    """The same density with MOST components, so that one compiled program serves every K."""
    more = MOST - mixture.components
    fill = ((mixture.weights, 0.0), (mixture.means, 0.0), (mixture.covariances, 1.0))
    return Mixture(*(jnp.pad(array, (0, more), constant_values=value) for array, value in fill))


@figures.styled
def match_panel() -> Panel:
    """Make two Gaussians add up to the black curve of the exercise."""
    fig, ax = figures.figure(8, 2.9)
    grid = np.linspace(-7, 7, POINTS, dtype=np.float32)
    ax.plot(grid, np.exp(mixture_trials.target().log_prob(grid)), color=INK, lw=2.5, label="make this curve")
    looks = zip(COLOURS[:2], STYLES[:2], strict=True)
    lines = [
        ax.plot(grid, 0 * grid, ls=style, color=colour, lw=1.2, label=letter)[0]
        for letter, (colour, style) in zip(LETTERS, looks, strict=False)
    ]
    (density,) = ax.plot(grid, 0 * grid, ":", color=PURPLE, label="your mixture")
    ax.set(
        title="Which two Gaussians? (B has the weight that A leaves)",
        xlabel="x",
        ylabel="density",
        xlim=(-7, 7),
        ylim=(0, 0.65),
    )
    ax.legend(loc="upper left")

    def compute(share: float, **sliders: float) -> Mixture:
        means, sds = ([sliders[f"{kind}{i}"] for i in range(2)] for kind in ("m", "s"))
        return mixture_of([share, 1 - share], means, sds)

    def update(what: Mixture) -> None:
        each = np.exp(log_joint(what, grid))
        for line, column in zip(lines, each.T, strict=True):
            line.set_ydata(column)
        density.set_ydata(each.sum(axis=1))

    def say(what: Mixture) -> str:
        return f"area between the two curves {mixture_trials.to_target(what):.3f} of at most 2"

    def alt(what: Mixture) -> str:
        return f"A black curve, a narrow peak on a broad hill, and a mixture of two Gaussians. {say(what)}."

    controls = {
        "share": slider("weight A", 0.5, 0.05, 0.95, 0.01),
        "m0": slider("mean A", -2, -4, 4, 0.05),
        "s0": slider("spread (sd) A", 1, 0.1, 3, 0.05),
        "m1": slider("mean B", 2, -4, 4, 0.05),
        "s1": slider("spread (sd) B", 1, 0.1, 3, 0.05),
    }
    drawing = Drawing(fig, [*lines, density], update, alt)
    return Panel(compute, drawing, controls, side_by_side=True, describe=say)
