"""The notebooks and panels as a student meets them: JupyterLab and exported pages in Chromium."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import nbformat
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Browser, Page

from lecture_lib import browser as packing
from lecture_lib import measures, moon_panels, moon_trials, training
from tests.lab import (
    NOTEBOOKS,
    PANEL_TEXTS,
    ROOT,
    Lab,
    Notebook,
    Opened,
    complaints,
    contrasts,
    cut_off,
    opened_notebook,
    reset_of,
    settled,
    watched_page,
    write,
)

pytestmark = pytest.mark.browser

PLACES = np.arange(11) / 10  # PageUp moves a range input by a tenth

MODELS = """
import json
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from lecture_lib import moon_panels, moon_trials, training

phases = moon_trials.FIVE_PHASES
x = moon_trials.moons(phases)
models = {}
for kind in ("auto-encoder", "VAE"):
    model = moon_trials.build(kind, nnx.Rngs(1), steepness=30.0)
    loss = moon_trials.loss_of(kind)
    models[kind] = training.fit(model, loss, x, key=jax.random.key(0), steps=400, progress=None).model
slider = moon_panels.MoonSlider(models, phases, x, place=0.35)

told = {}
for line in slider.data["models"]:
    codes = line["low"] + np.arange(11) / 10 * (line["high"] - line["low"])
    decoded = models[line["name"]].decoder(jnp.asarray(codes, jnp.float32)[:, None])
    told[line["name"]] = {"codes": codes.tolist(), "decoded": np.asarray(decoded).tolist()}
with open("told.json", "w") as file:
    json.dump(told, file)
"""
PENALTY = "from lecture_lib import moon_panels\npanel = moon_panels.penalty_panel()\npanel"
FAILING = """
from lecture_lib import figures, panels

def compute(a):
    if a > 0.5:
        raise ValueError("a is <too> large")
    return a

fig, ax = figures.figure(4, 2)
(line,) = ax.plot([0, 1], [0, 1])
drawing = figures.Drawing(fig, [line], lambda a: line.set_ydata([a, a]), lambda a: f"A line at {a}.")
failing = panels.Panel(compute, drawing, {"a": panels.slider("a, the height", 0.4, 0, 1, 0.1)})
failing
"""
DRAW = "from lecture_lib import mixture_panels\nmixture_panels.draw_panel()"
CODE = """
import jax.numpy as jnp, numpy as np
from lecture_lib import infinite_panels
from lecture_lib.gaussians import InfiniteMixture, Mixture

def parabola(z):
    return jnp.concatenate([z / 2, 1 - z**2 / 4], axis=1), jnp.full((z.shape[0], 2), -3.0)

finite = Mixture(np.ones(3) / 3, np.array([[-1.0, 0], [0, 1], [1, 0]]), np.stack([0.1 * np.eye(2)] * 3))
infinite_panels.code_panel(finite, InfiniteMixture(parabola), finite.means)
"""
SEVEN = """
import numpy as np
from lecture_lib import problem_panels, style_trials
class Machine:
    classes_ = np.arange(10)
    n_features_in_ = 64
    def predict_proba(self, x):
        return np.full((len(x), 10), 0.1)
new = style_trials.embedded("new writers")
problem_panels.seven_panel({"ink": lambda x: -x.sum(axis=1)}, Machine(), new.x[new.labels == 7][:3])
"""


# ---------------------------------------------------------------- the notebooks of the collection


@pytest.fixture(scope="module", params=NOTEBOOKS)
def opened(request: pytest.FixtureRequest, lab: Lab, chrome: Browser) -> Iterator[Opened]:
    with opened_notebook(chrome, lab, request.param) as shown:
        yield shown


def test_notebook_runs_without_complaint(opened: Opened) -> None:
    assert complaints(opened.notebook) == []
    counts = (
        "() => lab.panel().content.widgets.map((c) => c.model.type === 'code' ? c.model.executionCount : 1)"
    )
    assert all(opened.notebook.page.evaluate(counts))


def test_checked_cells_print_what_is_stored(opened: Opened) -> None:
    """As nbval compares them, but in JupyterLab."""
    cells = nbformat.read(ROOT / "notebooks" / opened.name, as_version=4).cells
    checked = {i: cell for i, cell in enumerate(cells) if "# NBVAL_CHECK_OUTPUT" in cell.source}
    assert checked
    for i, cell in checked.items():
        stored = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert stored and opened.notebook.printed(i) == stored, f"cell {i}"


def test_unrun_notebook_shows_a_picture_for_each_panel(opened: Opened) -> None:
    assert opened.unrun_broken is None
    assert [cell for cell in opened.panels if not opened.unrun_pictures[cell]] == []


def test_narrow_window_cuts_nothing_off(opened: Opened) -> None:
    page = opened.notebook.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        page.wait_for_timeout(700)
        assert cut_off(page) == []
    finally:
        page.set_viewport_size({"width": 1280, "height": 900})


# ---------------------------------------------------------------- the moon slider


class Moons(NamedTuple):
    """What the page shows of one model."""

    name: str
    decoded: np.ndarray
    truth: np.ndarray
    captions: list[str]


def moons_on(page: Page) -> list[Moons]:
    cards = page.evaluate(
        """() => [...document.querySelectorAll(".moon-card")].map((card) => ({
        name: card.querySelector("h4").textContent,
        captions: [...card.querySelectorAll("figcaption")].map((c) => c.textContent),
        greys: [...card.querySelectorAll("canvas")].map((c) =>
            [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)),
    }))"""
    )
    return [Moons(c["name"], *map(np.array, c["greys"]), c["captions"]) for c in cards]


def check_moons(page: Page, told: dict[str, Any]) -> None:
    """Go along the code line by keyboard and hold canvases and captions against JAX and NumPy."""
    phases, true = measures.true_moons(moon_trials.SIZE, 5)
    range_input = page.locator(".moon-slider input[type=range]")
    range_input.press("Home")
    seen = []
    for k, place in enumerate(PLACES):
        if k:
            range_input.press("PageUp")
        assert float(range_input.input_value()) == pytest.approx(place, abs=1e-9)
        for moons in moons_on(page):
            image = np.array(told[moons.name]["decoded"][k])
            # A canvas has 8 bits: half a level of rounding, and 1e-5 for the arithmetic.
            assert np.abs(moons.decoded / 255 - np.clip(image, 0, 1)).max() <= 0.5 / 255 + 1e-5
            distances = measures.rms(image, true)
            near, second = np.argsort(distances)[:2]
            code, phase, distance = numbers(moons.captions)
            assert code == pytest.approx(told[moons.name]["codes"][k], abs=0.005001)
            assert distance == pytest.approx(distances[near], abs=0.000501)
            if distances[second] - distances[near] > 1e-5:
                assert phase == phases[near]
                assert np.abs(moons.truth / 255 - true[near]).max() <= 0.5 / 255 + 1e-6
            seen.append((moons.name, phase))
    assert len(set(seen)) > 6  # it does not stand still


def numbers(captions: list[str]) -> tuple[float, float, float]:
    decoded = re.fullmatch(r"decoded from z = (-?[\d.]+)", captions[0])
    near = re.fullmatch(r"nearest true moon: (\d+)°, ([\d.]+) away", captions[1])
    assert decoded and near, captions
    return float(decoded[1]), float(near[1]), float(near[2])


class Shown(NamedTuple):
    notebook: Notebook
    told: dict[str, Any]


@pytest.fixture(scope="module")
def shown(root: Path, lab: Lab, chrome: Browser) -> Iterator[Shown]:
    """A notebook with the moon slider in cell 1, the penalty panel in 2, one that fails in 3, the panel of
    draws in 4, that of codes, with a model by hand, in 5, and a 7 to press on in 6."""
    write(root / "panels.ipynb", [MODELS, "slider", PENALTY, FAILING, DRAW, CODE, SEVEN])
    notebook = Notebook(chrome, lab, "panels.ipynb")
    notebook.run_all()
    yield Shown(notebook, json.loads((root / "told.json").read_text()))
    notebook.close()


@pytest.mark.proof
def test_decoder_of_the_page_equals_jax(chrome: Browser) -> None:
    x = moon_trials.moons(moon_trials.FIVE_PHASES)
    models = {}
    for kind in ("auto-encoder", "VAE"):
        model = moon_trials.build(kind, nnx.Rngs(1), steepness=moon_trials.STEEP)
        loss = moon_trials.loss_of(kind)
        models[kind] = training.fit(model, loss, x, key=jax.random.key(0), steps=400, progress=None).model
    slider = moon_panels.MoonSlider(models, moon_trials.FIVE_PHASES, x)
    codes = {
        m["name"]: (m["low"] + PLACES * (m["high"] - m["low"])).astype(np.float32)
        for m in slider.data["models"]
    }
    page = watched_page(chrome).page
    answers = page.evaluate(
        """async ({ script, data, weights, codes }) => {
        const { readFloats, readNet, run, nearest } = await import(`data:text/javascript;base64,${script}`);
        const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
        const floats = readFloats(new DataView(bytes.buffer));
        const moons = floats.subarray(0, data.phases.length * data.size ** 2);
        let at = moons.length;
        return data.models.map((m) => {
            const net = readNet(m.net, floats, at);
            at += m.net.count;
            return codes[m.name].map((code) => {
                const image = run(net, [code]);
                return { image: [...image], ...nearest(image, moons, data.phases) };
            });
        }).concat(at === floats.length ? [] : [`${floats.length - at} weights were left over`]);
    }""",
        {
            "script": base64.b64encode(packing.script("nets.js", "moon_slider.js").encode()).decode(),
            "data": slider.data,
            "weights": base64.b64encode(slider.weights).decode(),
            "codes": {name: list(map(float, values)) for name, values in codes.items()},
        },
    )
    page.context.close()
    phases, true = measures.true_moons(moon_trials.SIZE, 5)
    assert len(answers) == len(models)
    for (name, model), found in zip(models.items(), answers, strict=True):
        expected = np.asarray(model.decoder(codes[name][:, None]))
        assert np.abs(np.array([f["image"] for f in found]) - expected).max() <= 1e-5
        distances = np.stack([measures.rms(image, true) for image in expected])
        assert [f["distance"] for f in found] == pytest.approx(distances.min(axis=1), abs=1e-5)
        chosen = [int(np.flatnonzero(phases == f["phase"])[0]) for f in found]
        assert distances[np.arange(len(PLACES)), chosen] == pytest.approx(distances.min(axis=1), abs=1e-5)


def test_moon_slider_in_jupyterlab(shown: Shown) -> None:
    check_moons(shown.notebook.page, shown.told)
    assert complaints(shown.notebook) == []


def test_moon_slider_tells_the_kernel_its_place_and_resets(shown: Shown) -> None:
    page = shown.notebook.page
    page.locator(".moon-slider input[type=range]").press("End")
    page.locator(".moon-slider button").click()
    assert page.locator(".moon-slider input[type=range]").input_value() == "0.35"
    # its name is the label's text alone, without the button's
    assert page.get_by_role(
        "slider", name="place on the code line (left end to right end)", exact=True
    ).count()
    assert "nearest true moon" in (
        page.locator(".moon-slider input[type=range]").get_attribute("aria-valuetext") or ""
    )


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_moon_slider_is_readable_in_both_themes(shown: Shown, theme: str) -> None:
    shown.notebook.theme(theme)
    told = contrasts(
        shown.notebook.page, ".moon-slider :is(span, h4, figcaption, button, svg text)", *PANEL_TEXTS
    )
    shown.notebook.theme("Light")
    assert len(told) > 20
    assert [(text, contrast) for text, contrast in told if contrast < 4.5] == []


def test_moon_slider_in_an_exported_page_without_a_kernel(
    shown: Shown, lab: Lab, chrome: Browser, tmp_path: Path
) -> None:
    """As File > Save and Export Notebook As > HTML_offline makes it of the notebook that has been run."""
    shown.notebook.command("docmanager:save")
    address = f"{lab.url}/nbconvert/HTML_offline/panels.ipynb?token={lab.token}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        (tmp_path / "panels.html").write_bytes(answer.read())
    watched = watched_page(chrome)
    watched.page.goto((tmp_path / "panels.html").as_uri(), wait_until="domcontentloaded")
    watched.page.wait_for_selector(".moon-slider input[type=range]")
    check_moons(watched.page, shown.told)
    assert watched.console == [] and watched.outside == []
    watched.page.context.close()


def test_moon_slider_html_loads_nothing(chrome: Browser) -> None:
    phases = moon_trials.FIVE_PHASES
    model = moon_trials.build("VAE", nnx.Rngs(0))
    slider = moon_panels.MoonSlider({"VAE": model}, phases, moon_trials.moons(phases))
    watched = watched_page(chrome)
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.page.set_content(f"<!doctype html><body>{slider.live_html()}</body>")
    watched.page.wait_for_selector(".moon-slider canvas")
    assert [url[:80] for url in asked if not url.startswith("data:")] == []
    assert watched.console == []
    watched.page.context.close()


# ---------------------------------------------------------------- panels that the kernel draws


def alt_of(page: Page, cell: int) -> str:
    return page.evaluate("i => lab.cells()[i].querySelector('.jp-OutputArea img').alt", cell)


def value_of(page: Page, cell: int, which: int) -> float:
    readout = "([i, k]) => lab.cells()[i].querySelectorAll('.widget-readout')[k].textContent"
    return float(page.evaluate(readout, [cell, which]).replace("\u2212", "-"))


def test_panel_follows_the_keyboard(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    first, alt = settled(notebook, 2), alt_of(page, 2)
    assert "s = -1.50" in alt
    handle = page.query_selector_all(".widget-slider .noUi-handle")[0]
    handle.press("ArrowRight")
    notebook.wait_for(lambda: settled(notebook, 2) != first, 10)
    assert value_of(page, 2, 0) == pytest.approx(-1.45)
    notebook.wait_for(lambda: "s = -1.45" in alt_of(page, 2), 10)
    for _ in range(5):
        handle.press("ArrowRight")
    notebook.wait_for(lambda: "s = -1.20" in alt_of(page, 2), 10)  # the last value wins
    reset_of(handle).click()
    notebook.wait_for(lambda: settled(notebook, 2) == first and alt_of(page, 2) == alt, 10)


def test_panel_follows_the_pointer_in_the_picture(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    first = settled(notebook, 2)
    image = page.query_selector_all(".jp-OutputArea img")[0]
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2, steps=5)
    notebook.wait_for(lambda: value_of(page, 2, 0) > 0.5, 10)
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    notebook.wait_for(lambda: -1.2 < value_of(page, 2, 0) < 0.5, 10)
    assert settled(notebook, 2) != first
    s = value_of(page, 2, 0)
    notebook.wait_for(lambda: f"s = {s:.2f}" in alt_of(page, 2), 10)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)  # let go: it stays
    settled(notebook, 2)
    assert value_of(page, 2, 0) == s
    reset = reset_of(page.query_selector_all(".widget-slider .noUi-handle")[0])
    reset.click()
    notebook.wait_for(lambda: settled(notebook, 2) == first, 10)
    for _ in range(2):  # the same place, grabbed again after a reset, counts again
        page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
        notebook.wait_for(lambda: value_of(page, 2, 0) == s, 10)
        reset.click()
        notebook.wait_for(lambda: settled(notebook, 2) == first and value_of(page, 2, 0) == -1.5, 10)
    for x, y in ((0.85, 0.5), (0.5, 0.5), (0.2, 0.02)):  # other axes, and the title: nothing to grab
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        assert settled(notebook, 2) == first and value_of(page, 2, 0) == -1.5


def test_error_of_a_panel_shows_in_it_and_goes_again(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    alert = page.locator(".jp-OutputArea [role=alert]")
    assert alert.count() == 0
    handle = page.query_selector_all(".widget-slider .noUi-handle")[2]
    handle.press("ArrowRight")
    handle.press("ArrowRight")
    alert.wait_for()
    assert "ValueError: a is <too> large" in page.evaluate("() => lab.cells()[3].innerText")
    handle.press("ArrowLeft")
    notebook.wait_for(lambda: alert.count() == 0, 10)
    assert notebook.problems() == []


def test_button_draws_a_hundred_more(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    first = settled(notebook, 4)
    assert "n = 100, " in alt_of(page, 4)
    seen = [first]
    for n in (200, 300):
        page.get_by_role("button", name="draw 100", exact=True).click()
        notebook.wait_for(lambda n=n: f"n = {n}, " in alt_of(page, 4), 10)
        seen.append(settled(notebook, 4))
    assert len({tuple(pictures) for pictures in seen}) == 3
    assert "n = 300, " in page.evaluate("() => lab.cells()[4].innerText")
    page.locator(".jp-Cell").nth(4).get_by_role("button", name="Reset").click()
    notebook.wait_for(lambda: settled(notebook, 4) == first and "n = 100, " in alt_of(page, 4), 10)
    assert complaints(notebook) == []


def test_point_dragged_in_the_picture_moves_both_sliders(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    first = settled(notebook, 5)
    handle = page.evaluate_handle(
        """() => [...lab.cells()[5].querySelectorAll(".jp-OutputArea div")]
            .find((node) => node.style.cursor === "move")"""
    ).as_element()
    assert handle is not None
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None

    def place(x1: float, x2: float) -> tuple[float, float]:
        """Of a point of the plane on the page: the axes go from -1.8 to 1.8 and from -1 up to 2.3."""
        return box["x"] + (x1 + 1.8) / 3.6 * box["width"], box["y"] + (2.3 - x2) / 3.3 * box["height"]

    def stands_at(x1: float, x2: float) -> bool:
        values = value_of(page, 5, 0), value_of(page, 5, 1)
        # a pixel is 0.02 wide, and two digits are shown
        return values == pytest.approx((x1, x2), abs=0.03)

    page.mouse.move(*place(-0.5, 0.5))
    page.mouse.down()
    notebook.wait_for(lambda: stands_at(-0.5, 0.5), 10)
    page.mouse.move(*place(0.4, 1.3), steps=5)
    notebook.wait_for(lambda: stands_at(0.4, 1.3), 10)
    page.mouse.move(*place(-1.75, 2.2), steps=5)  # beyond the ends of both sliders
    notebook.wait_for(lambda: stands_at(-1.6, 1.6), 10)
    page.mouse.move(*place(-1.0, 0.0), steps=5)
    page.mouse.up()
    notebook.wait_for(lambda: stands_at(-1.0, 0.0), 10)
    page.mouse.move(*place(0.5, 0.5))  # let go: it stays
    assert settled(notebook, 5) != first and stands_at(-1.0, 0.0)
    told = f"At x = ({value_of(page, 5, 0):.2f}, {value_of(page, 5, 1):.2f})"
    notebook.wait_for(lambda: told in alt_of(page, 5), 10)
    assert "cluster 1 with responsibility 1.000" in alt_of(page, 5)
    page.locator(".jp-Cell").nth(5).get_by_role("button", name="Reset").click()
    assert notebook.at_rest(5, 20, like=first) is not None
    assert complaints(notebook) == []


def test_pixels_are_toggled_by_a_press_and_drawn_over_by_a_stroke(shown: Shown) -> None:
    notebook, page = shown.notebook, shown.notebook.page
    first = settled(notebook, 6)
    handle = page.evaluate_handle(
        """() => [...lab.cells()[6].querySelectorAll(".jp-OutputArea div")]
            .find((node) => node.style.cursor === "crosshair")"""
    ).as_element()
    assert handle is not None
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None

    def place(row: int, column: int) -> tuple[float, float]:
        return box["x"] + (column + 0.5) / 8 * box["width"], box["y"] + (row + 0.5) / 8 * box["height"]

    def shows(*changed: str) -> bool:
        return f"Changed pixels: {', '.join(changed) or 'none'}." in alt_of(page, 6)

    assert not shows()  # it opens with one pixel more at the tail
    page.get_by_role("button", name="Undo all").click()
    notebook.wait_for(shows, 10)
    for told in (["row 0 column 0"], [], ["row 0 column 0"]):  # the same place, again and again
        page.mouse.click(*place(0, 0))
        notebook.wait_for(lambda told=told: shows(*told), 10)
    page.mouse.move(*place(2, 0))
    page.mouse.down()
    notebook.wait_for(lambda: shows("row 0 column 0", "row 2 column 0"), 10)
    page.mouse.move(*place(6, 0), steps=2)
    page.mouse.up()
    drawn = [f"row {row} column 0" for row in (0, 2, 3, 4, 5, 6)]
    notebook.wait_for(lambda: shows(*drawn), 10)
    page.mouse.move(*place(6, 7))  # let go: it stays
    settled(notebook, 6)
    assert shows(*drawn)
    page.locator(".jp-Cell").nth(6).get_by_role("button", name="Reset").click()
    assert notebook.at_rest(6, 20, like=first) is not None
    assert complaints(notebook) == []


# ---------------------------------------------------------------- the kernel


@pytest.mark.proof
def test_interrupted_training_keeps_the_model_and_the_notebook_goes_on(
    root: Path, lab: Lab, chrome: Browser
) -> None:
    train = """
import jax
from flax import nnx
from lecture_lib import moon_trials, training
x = moon_trials.moons(moon_trials.FIVE_PHASES)
model = moon_trials.build("VAE", nnx.Rngs(0))
fitted = training.fit(model, moon_trials.loss_of("VAE"), x, key=jax.random.key(0), steps=50_000_000)
"""
    after = "print(fitted.interrupted, len(fitted.history.loss) > 0, fitted.model.decoder(x[:1, :1]).shape)"
    write(root / "interrupt.ipynb", [train, after])
    notebook = Notebook(chrome, lab, "interrupt.ipynb")
    notebook.start_all()
    notebook.wait_for(lambda: re.search(r"\b[1-9]\d*/50000000 steps", notebook.printed(0)), 60)
    notebook.page.wait_for_timeout(500)
    notebook.interrupt()
    notebook.wait_until_run(30)
    assert "the model keeps what it has learned so far" in notebook.printed(0)
    assert notebook.printed(1).split() == ["True", "True", "(1,", "576)"]
    assert complaints(notebook) == []

    # A fresh kernel and the second cell first: it says what is missing, and nothing hangs.
    notebook.restart()
    notebook.wait_idle()
    notebook.page.evaluate("() => { lab.panel().content.activeCellIndex = 1; }")
    notebook.command("notebook:run-cell")
    notebook.wait_for(lambda: notebook.problems(), 30)
    assert notebook.problems() == ["NameError: name 'fitted' is not defined"]
    notebook.wait_idle()
    notebook.close()
