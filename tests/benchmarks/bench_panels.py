"""How long a slider takes in a real browser: from the key press to changed pixels, in turns.

`ipywidgets.interact` with `plt.show` against three panels that the kernel draws (curves of the penalty; a
histogram of draws; the style board) and against two widgets that compute in the page (`MoonSlider`;
`StylePad`): the same content each. The clock is the page's: from the
trusted keydown event to the first animation frame with another, fully loaded picture. Frames come every
17 ms, so that is about the least that can be measured.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
from about import head, machine, row  # first: it puts the repository on the path
from nbformat.v4 import new_code_cell, new_notebook

from tests.lab import Notebook, browser, jupyterlab

PRESSES = 14
PAIRS = {
    "panel of the penalty": (1, 2, 0.3),
    "moon slider": (3, 4, 0.1),
    "panel of draws": (5, 6, 0.3),
    "style pad": (7, 8, 0.1),
    "style board": (9, 10, 0.3),
}
"""What is compared: the cell of interact, our cell, and the share of the time that ours may take."""

SETUP = """
import jax, jax.numpy as jnp, matplotlib.pyplot as plt, numpy as np
from flax import nnx
from ipywidgets import FloatSlider, IntSlider, interact
from lecture_lib import measures, mixture_panels, moon_panels, moon_trials, training
from lecture_lib import figures, style_panels, style_trials, style_widgets, weights

plt.rcParams["figure.dpi"] = 144  # as ours
phases = moon_trials.FIVE_PHASES
x = moon_trials.moons(phases)
models = {}
for kind in ("auto-encoder", "VAE"):
    model = moon_trials.build(kind, nnx.Rngs(1), steepness=30.0)
    loss = moon_trials.loss_of(kind)
    models[kind] = training.fit(model, loss, x, key=jax.random.key(0), steps=400, progress=None).model
slider = moon_panels.MoonSlider(models, phases, x, place=0.35)

vae = weights.load().vae
pad = style_widgets.StylePad(
    vae, style_trials.effects(vae, key=jax.random.key(0)), key=jax.random.key(1), place=(0.0, 0.0)
)
seen, new = style_trials.embedded("writers"), style_trials.embedded("new writers")
recipe = style_trials.DIGITS._replace(steps=200)
small = style_trials.train(seen, key=jax.random.key(0), recipe=recipe).model
effects = style_trials.effects(small, key=jax.random.key(1))
"""
INTERACT_PENALTY = """
@interact(s=FloatSlider(-1.5, min=-3, max=2, step=0.05), m=FloatSlider(1.0, min=-3, max=3, step=0.05))
def show(s, m):
    what = moon_panels.penalty(s, m)
    fig, (left, middle, right) = plt.subplots(
        ncols=3, figsize=(8, 3.1), width_ratios=[1.25, 0.9, 1.1], layout="constrained"
    )
    t = np.linspace(-3, 2, 201)
    left.plot(t, np.exp(t), "-", label="exp(s)")
    left.plot(t, 1 + t, "--", label="1 + s")
    left.plot(t, np.exp(t) - (1 + t), "-.", label="difference")
    left.axvline(s, ls=":", lw=1)
    left.plot([s] * 3, [np.exp(s), 1 + s, np.exp(s) - (1 + s)], "o")
    left.set(title="Blue, red and green curve", xlabel="s = log-variance", ylabel="value", ylim=(-2.2, 5))
    left.legend(loc="upper left")
    u = np.linspace(-3, 3, 121)
    middle.plot(u, u**2)
    middle.plot([m], [m**2], "o")
    middle.set(title="m²", xlabel="m = mean")
    z = np.linspace(-6, 6, 401)
    right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), "--", label="prior N(0, 1)")
    right.plot(z, np.exp(-((z - m) ** 2) / np.exp(s) / 2 - s / 2) / np.sqrt(2 * np.pi), label="q(z|x)")
    right.set(title="What is penalised", xlabel="z", ylabel="density", ylim=(0, 1.15))
    right.legend(loc="upper left")
    plt.show()
    print(f"slide: {what.slide:.4f} | exact KL {what.kl:.4f} nats | as drawn: {what.kl_drawn:.4f} nats")
"""
INTERACT_MOONS = """
true_phases, true = measures.true_moons(moon_trials.SIZE, 5)

@interact(place=FloatSlider(0.35, min=0, max=1, step=0.002))
def show(place):
    rows = [["drawn 0", "true 0", "drawn 1", "true 1"], ["codes 0", "codes 0", "codes 1", "codes 1"]]
    fig, axes = plt.subplot_mosaic(rows, figsize=(8, 3), height_ratios=[3, 1], layout="constrained")
    for k, line in enumerate(slider.data["models"]):
        code = line["low"] + place * (line["high"] - line["low"])
        image = np.asarray(models[line["name"]].decoder(jnp.full((1, 1), code)))[0]
        distances = measures.rms(image, true)
        best = distances.argmin()
        drawn, truth, below = axes[f"drawn {k}"], axes[f"true {k}"], axes[f"codes {k}"]
        drawn.imshow(image.reshape(24, 24), cmap="gray", vmin=0, vmax=1)
        drawn.set_title(f"{line['name']}: z = {code:.2f}")
        truth.imshow(true[best].reshape(24, 24), cmap="gray", vmin=0, vmax=1)
        truth.set_title(f"{true_phases[best]}°, {distances[best]:.3f} away")
        for spread, mean in zip(line["sds"] or [0] * len(phases), line["codes"]):
            below.axvline(mean, ls="--")
            if spread:
                t = np.linspace(-3, 3, 25)
                below.fill(mean + t * spread, np.exp(-(t**2) / 2), alpha=0.35)
        below.plot([code], [0], "^")
        below.set_xlim(line["low"], line["high"])
    for axis in axes.values():
        axis.axis("off")
    plt.show()
"""
INTERACT_DRAWS = """
START = {"w": (0.5, 0.2, 0.3), "m": (-3.0, 0.0, 3.0), "s": (1.0, 0.5, 1.4)}
ENDS = {"w": (0, 1, 0.05), "m": (-6, 6, 0.1), "s": (0.2, 3, 0.05)}
bounds = {kind: dict(zip(("min", "max", "step"), ends)) for kind, ends in ENDS.items()}
names = [(kind, i) for kind in "wms" for i in range(3)]

sliders = {f"{kind}{i}": FloatSlider(START[kind][i], **bounds[kind]) for kind, i in names}

@interact(**sliders, n=IntSlider(100, min=0, max=20_000))
def show(**values):
    n = values.pop("n")
    mixture = mixture_panels.mixture_of(*([values[f"{kind}{i}"] for i in range(3)] for kind in "wms"))
    what = mixture_panels.draw(mixture, n)
    fig, (left, right) = plt.subplots(
        ncols=2, figsize=(8, 3.3), width_ratios=[1, 2.6], layout="constrained"
    )
    left.bar(range(3), np.asarray(mixture.weights), color=["C0", "C1", "C2"], alpha=0.45)
    left.plot(range(3), np.bincount(what.component, minlength=3) / n, "D", label="share of draws")
    left.bar(what.component[-1], mixture.weights[what.component[-1]], color="none", edgecolor="k", lw=3)
    left.set(title="1. choose m from P(m)", ylabel="P(m), probability", ylim=(0, 1.02))
    left.set_xticks(range(3), "ABC")
    left.legend(loc="upper right")
    t = np.linspace(-8, 8, 400, dtype=np.float32)
    each = np.exp(mixture_panels.log_joint(mixture, t))
    right.hist(what.x, 80, (-8, 8), density=True, histtype="stepfilled", label="draws")
    right.plot(t, each)
    right.plot(t, each.sum(axis=1), label="P(x), exact")
    right.plot(what.x[-1], 0.02, "v", label="last draw")
    right.set(title="2. draw x from that Gaussian", xlabel="x", ylabel="density", ylim=(0, 0.62))
    right.legend(loc="upper left")
    plt.show()
    print(f"chi-square p = {what.component_p:.3f} | KS {what.distance:.4f}, p = {what.x_p:.3f}")
"""
INTERACT_PAD = """
directions = np.asarray(pad.data["directions"])

@interact(
    across=FloatSlider(0.0, min=-2.5, max=2.5, step=0.05), up=FloatSlider(0.0, min=-2.5, max=2.5, step=0.05)
)
def show(across, up):
    z = jnp.asarray(across * directions[0] + up * directions[1], jnp.float32)[None]
    digits = np.asarray(style_trials.all_ten(vae, z)).reshape(10, 28, 28)
    fig, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
    for k, (axis, digit) in enumerate(zip(axes.flat, digits)):
        axis.imshow(digit, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[], xlabel=str(k))
    slant, ink = measures.slant(digits).mean(), measures.ink(digits).mean()
    fig.suptitle(f"mean slant {slant:+.1f}°, mean ink {ink:.3f}")
    plt.show()
"""
INTERACT_BOARD = """
styles = np.asarray(style_trials.styles(small, new.x, new.labels))
moves = {f"z{i + 1}": FloatSlider(0.0, min=-3, max=3, step=0.1) for i in range(small.latent)}

@interact(**moves, which=IntSlider(0, min=0, max=len(new.x) - 1))
def show(which, **moves):
    moved = np.array(list(moves.values()))
    z = styles[which] + moved
    digits = np.asarray(style_trials.all_ten(small, jnp.asarray(z, jnp.float32)[None])).reshape(10, 8, 8)
    source = new.x[which].reshape(8, 8)
    rows = [["source"] + ["bars"] * 4, [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    fig, axes = plt.subplot_mosaic(rows, figsize=(8, 6), height_ratios=[1.4, 1, 1], layout="constrained")
    shown = figures.as_ink(np.concatenate([source[None], digits]))
    for name, picture in zip(["source", *range(10)], shown):
        axes[name].imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes[name].set(xticks=[], yticks=[], xlabel=str(name))
    k = np.arange(small.latent)
    bars = axes["bars"]
    for height in (-2, 0, 2):
        bars.axhline(height, lw=1)
    bars.bar(k, styles[which], label="style of this digit")
    bars.plot(k, z, "D", label="with the sliders added")
    bars.set(title="Its style z", ylabel="z", ylim=(-4, 4))
    bars.set_xticks(k, [f"z{i + 1}\\n{name}" for i, name in enumerate(effects.names())], fontsize=8)
    bars.legend(loc="upper right", ncols=2, fontsize=8)
    plt.show()
    one = f"slant {measures.slant(source):+.1f}°, ink {measures.ink(source):.3f}"
    slant, ink = measures.slant(digits).mean(), measures.ink(digits).mean()
    print(f"{one} | the ten: slant {slant:+.1f}°, ink {ink:.3f}")
"""
CELLS = [SETUP, INTERACT_PENALTY, "moon_panels.penalty_panel()", INTERACT_MOONS, "slider"]
CELLS += [INTERACT_DRAWS, "mixture_panels.draw_panel()", INTERACT_PAD, "pad"]
CELLS += [INTERACT_BOARD, "style_panels.board_panel(small, effects, new)"]

WATCH = """cell => {
    const looks = () => {
        const nodes = [...lab.cells()[cell].querySelectorAll(".jp-OutputArea :is(img, canvas)")];
        const loaded = (node) => node.tagName === "CANVAS" || (node.complete && node.naturalWidth);
        if (!nodes.length || !nodes.every(loaded)) return null;
        return nodes.map((node) => node.tagName === "CANVAS" ? lab.hash(node) : node.src).join();
    };
    const first = looks();
    let pressed = null;
    const onKey = (event) => { if (event.isTrusted) pressed ??= event.timeStamp; };
    window.addEventListener("keydown", onKey, { capture: true, once: true });
    window.waited = new Promise((done) => {
        const began = performance.now();
        const look = () => {
            const now = performance.now(), seen = looks();
            if (pressed !== null && seen !== null && seen !== first) done(now - pressed);
            else if (now - began > 20000) done(null);
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    });
}"""


def press(notebook: Notebook, cell: int, key: str) -> float:
    """Milliseconds from the key to the changed picture."""
    handle = notebook.page.evaluate_handle(
        "i => lab.cells()[i].querySelector('.noUi-handle, input[type=range]')", cell
    ).as_element()
    assert handle is not None
    handle.scroll_into_view_if_needed()
    handle.focus()
    before = notebook.pictures(cell)
    notebook.page.evaluate(WATCH, cell)
    notebook.page.keyboard.press(key)
    milliseconds = notebook.page.evaluate("() => window.waited")
    notebook.page.wait_for_timeout(250)
    notebook.wait_idle()
    if milliseconds is None or notebook.pictures(cell) == before:
        raise RuntimeError(f"cell {cell}: no other picture after {key}")
    return milliseconds


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no chromium on PATH.", file=sys.stderr)
        return 1
    print(machine("jupyterlab", "ipywidgets", "anywidget", "matplotlib", "playwright"))
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = new_notebook(
        cells=[new_code_cell(c.strip()) for c in CELLS], metadata={"kernelspec": kernelspec}
    )
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        root = work / "root"
        root.mkdir()
        nbformat.write(notebook, root / "panels.ipynb")
        with jupyterlab(root, work) as lab, browser(chromium) as running:
            print(f"Chromium {running.version}; medians of {PRESSES} key presses, in turns")
            opened = Notebook(running, lab, "panels.ipynb")
            opened.run_all()
            if opened.problems():
                raise RuntimeError("; ".join(opened.problems()))
            cells = [cell for theirs, ours, _ in PAIRS.values() for cell in (theirs, ours)]
            took: dict[int, list[float]] = {cell: [] for cell in cells}
            for turn in range(PRESSES + 1):
                for cell in cells:
                    milliseconds = press(opened, cell, "ArrowRight" if turn <= PRESSES // 2 else "ArrowLeft")
                    if turn:  # the first press warms up
                        took[cell].append(milliseconds)
            opened.close()
    head("key press to changed pixels", "ours, ms", "interact, ms", "ours / interact", "target")
    for name, (theirs, ours, target) in PAIRS.items():
        a, b = statistics.median(took[theirs]), statistics.median(took[ours])
        row(name, f"{b:.0f}", f"{a:.0f}", f"{b / a:.2f}", f"at most {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
