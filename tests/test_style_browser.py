"""The style pad and the drawing board in Chromium: against JAX and NumPy, in JupyterLab, and exported."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Browser, Locator, Page

from lecture_lib import browser as packing
from lecture_lib import measures, strokes, style_trials, weights
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.style_trials import Effects
from lecture_lib.style_widgets import DrawingBoard, StylePad
from lecture_lib.weights import Shipped
from tests.lab import Lab, Notebook, complaints, contrasts, cut_off, settled, watched_page, write

pytestmark = pytest.mark.browser

SETUP = """
import jax
from lecture_lib import style_trials, style_widgets, weights
shipped = weights.load()
effects = style_trials.effects(shipped.vae, key=jax.random.key(0))
pad = style_widgets.StylePad(shipped.vae, effects, key=jax.random.key(1))
board = style_widgets.DrawingBoard(shipped)
"""
PAD, BOARD = 1, 2
"""Their cells."""

EIGHT_BITS = 0.5 / 255 + 1e-5
"""A canvas has 8 bits: half a level of rounding, and 1e-5 for the arithmetic."""

ONE = [(0.5, 0.15 + 0.7 * t) for t in np.linspace(0, 1, 25)]
ZERO = [(0.5 + 0.22 * np.sin(t), 0.5 - 0.36 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 60)]


# ---------------------------------------------------------------- the arithmetic of the page


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return weights.load()


@pytest.fixture(scope="module")
def effects(shipped: Shipped) -> Effects:
    return style_trials.effects(shipped.vae, key=jax.random.key(0))


@pytest.fixture(scope="module")
def scripts(chrome: Browser) -> Iterator[Page]:
    """A page where `pad` and `board` hold what the scripts export, and bytes go as base64."""
    page = watched_page(chrome).page
    page.evaluate(
        """async (scripts) => {
        const load = (script) => import(`data:text/javascript;base64,${script}`);
        [window.pad, window.board] = await Promise.all(scripts.map(load));
        window.bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        window.floats = (text) => pad.readFloats(new DataView(bytes(text).buffer));
    }""",
        [
            as_base64(packing.script("nets.js", "style.js", name).encode())
            for name in ("style_pad.js", "drawing_board.js")
        ],
    )
    yield page
    page.context.close()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read_by(page: Page, data: bytes, offset: int = 0) -> np.ndarray:
    """What readFloats makes of bytes that begin somewhere in a buffer, bit by bit."""
    answer = page.evaluate(
        """([text, offset]) => {
        const found = pad.readFloats(new DataView(bytes(text).buffer, offset));
        const left = new Uint8Array(found.buffer);
        let said = "";
        for (let i = 0; i < left.length; i += 4096) said += String.fromCharCode(...left.slice(i, i + 4096));
        return btoa(said);
    }""",
        [as_base64(bytes(offset) + data), offset],
    )
    return np.frombuffer(base64.b64decode(answer), "<f4")


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.astype("<f4").view("<u4"), b.astype("<f4").view("<u4"))


def test_every_half_is_read_as_numpy_reads_it(scripts: Page) -> None:
    halves = np.arange(2**16, dtype="<u2").view("<f2")
    halves = halves[np.isfinite(halves)]
    assert len(halves) == 2**16 - 2 * 1024
    data = packing.as_bytes(halves.astype(np.float32))
    assert data[0] == 2
    assert same_bits(read_by(scripts, data), halves)
    assert same_bits(read_by(scripts, data, 5), halves)


def test_floats_are_read_as_numpy_reads_them(scripts: Page) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint64).astype("<u4")
    floats = bits.view("<f4")
    floats = np.concatenate([floats[np.isfinite(floats)], np.array([0, -0.0, 1e-45, 3.4e38], "<f4")])
    data = packing.as_bytes(floats)
    assert data[0] == 4
    assert same_bits(read_by(scripts, data), floats)
    assert same_bits(read_by(scripts, data, 3), floats)


@pytest.mark.parametrize("name", ["linear", "tanh", "relu", "gelu", "sigmoid"])
def test_activations_equal_jax(scripts: Page, name: str) -> None:
    x = np.concatenate([np.linspace(-8, 8, 161), [-80, 80]]).astype(np.float32)
    found = scripts.evaluate(
        """([name, x]) => {
        const layers = [{ inputs: 1, outputs: 1, activation: name, film: false }];
        const net = pad.readNet({ condition: null, classes: 0, layers, count: 2 }, Float32Array.of(1, 0));
        return x.map((v) => pad.run(net, [v])[0]);
    }""",
        [name, x.tolist()],
    )
    expected = x if name == "linear" else getattr(nnx, name)(jnp.asarray(x))
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


def stirred_pad() -> StylePad:
    """A pad of 8x8 digits, told the label beside z, all weights drawn anew, nothing squashed at the end."""
    model = ConditionalVAE(64, 5, (12, 7), condition="concat", noise_sd="learned", rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    state = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda v: jnp.asarray(rng.normal(0, 0.4, v.shape), v.dtype), state))
    found = Effects(rng.normal(size=5), rng.normal(size=5), np.ones(5), (1.0, 1.0))
    return StylePad(model, found, key=jax.random.key(3))


@pytest.mark.proof
@pytest.mark.parametrize("which", ["shipped", "8x8"])
def test_pad_equals_jax(scripts: Page, shipped: Shipped, effects: Effects, which: str) -> None:
    pad = StylePad(shipped.vae, effects, key=jax.random.key(1)) if which == "shipped" else stirred_pad()
    places = [[0.0, 0.0, 0], [1.0, -0.5, 0], [2.5, 2.5, 3], [-2.5, 1.2, 5], [0.3, -2.5, 1], [-0.7, 0.1, 2]]
    answers = scripts.evaluate(
        """([data, weights, places]) => {
        const net = pad.readNet(data.net, floats(weights)), ten = [...Array(10).keys()];
        return places.map((place) => {
            const z = pad.styleAt(data, place);
            return { z, digits: ten.map((digit) => [...pad.run(net, z, digit)]) };
        });
    }""",
        [pad.data, as_base64(pad.weights), places],
    )
    for place, found in zip(places, answers, strict=True):
        pad.place = place
        np.testing.assert_allclose(found["z"], pad.style(), atol=1e-12)
        written = np.clip(found["digits"], 0, 1)
        np.testing.assert_allclose(written, pad.digits().reshape(10, -1), atol=1e-5)
    assert np.ptp(answers[2]["digits"], axis=0).max() > 0.1


def drawings() -> list[tuple[list[list[list[float]]], float]]:
    """Strokes and a pen width: the examples, and random ones with dots, points twice, beyond the board."""
    found = [([s.tolist() for s in strokes.example(k)], 1.5 + 0.35 * k) for k in range(10)]
    rng = np.random.default_rng(1)
    for k in range(30):
        some = [rng.uniform(-0.2, 1.2, (int(n), 2)) for n in rng.integers(1, 9, rng.integers(1, 4))]
        if k % 3 == 0:
            some[0] = np.repeat(some[0], 2, axis=0)
        found.append(([s.tolist() for s in some], float(rng.uniform(1.5, 5))))
    dot, across, down = [[[0.3, 0.8]]], [[[0.1, 0.5], [0.9, 0.5]]], [[[0.5, 0.1], [0.5, 0.9]]]
    return [*found, (dot, 2.2), (across, 1.5), (down, 5.0)]


def test_strokes_become_the_same_pictures(scripts: Page) -> None:
    found = scripts.evaluate("all => all.map(([s, width]) => [...board.asMnist(s, width)])", drawings())
    for (drawn, width), picture in zip(drawings(), found, strict=True):
        np.testing.assert_allclose(picture, strokes.as_mnist(drawn, width=width).ravel(), atol=1e-9)


def test_render_is_the_same_also_beyond_the_edge(scripts: Page) -> None:
    large = [([[[28 * x, 28 * y] for x, y in s] for s in drawn], width) for drawn, width in drawings()]
    found = scripts.evaluate("all => all.map(([s, width]) => [...board.render28(s, width)])", large)
    for (drawn, width), picture in zip(large, found, strict=True):
        np.testing.assert_allclose(picture, strokes.render(drawn, width=width).ravel(), atol=1e-9)


def test_slant_and_ink_equal_the_measures(scripts: Page) -> None:
    drawn = np.stack([strokes.as_mnist(s, width=width) for s, width in drawings()])
    rng = np.random.default_rng(2)
    for images in (drawn, rng.uniform(size=(20, 8, 8)), rng.uniform(size=(20, 28, 28)) ** 8):
        found = scripts.evaluate(
            "([all, size]) => all.map((image) => [pad.slant(image, size), pad.ink(image)])",
            [images.reshape(len(images), -1).tolist(), images.shape[-1]],
        )
        slant, ink = np.transpose(found)
        np.testing.assert_allclose(slant, measures.slant(images), atol=1e-9)
        np.testing.assert_allclose(ink, measures.ink(images), atol=1e-12)


@pytest.mark.proof
def test_networks_of_the_board_equal_jax(scripts: Page, shipped: Shipped) -> None:
    board = DrawingBoard(shipped)
    images = np.array([strokes.as_mnist(s, width=width).ravel() for s, width in drawings()], np.float32)
    labels = np.arange(len(images)) % 10
    found = scripts.evaluate(
        """([data, weights, images, labels]) => {
        const all = floats(weights);
        const encoder = board.readNet(data.encoder, all);
        const decoder = board.readNet(data.decoder, all, data.encoder.count);
        const reader = board.readNet(data.reader, all, data.encoder.count + data.decoder.count);
        const left = all.length - data.encoder.count - data.decoder.count - data.reader.count;
        return images.map((image, i) => {
            const coded = [...board.run(encoder, image, labels[i])];
            const z = coded.slice(0, data.latent);
            const written = labels.slice(0, 10).map((digit) => [...board.run(decoder, z, digit)]);
            return { coded, written, left, shares: board.softmax(board.run(reader, image)) };
        });
    }""",
        [board.data, as_base64(board.weights), images.tolist(), labels.tolist()],
    )
    assert found[0]["left"] == 0
    mean, log_var = shipped.vae.encoder(images, labels)
    coded = np.concatenate([mean, log_var], axis=1)
    # sums of 784 products in float32, for codes of size up to 5
    np.testing.assert_allclose([f["coded"] for f in found], coded, atol=1e-5, rtol=1e-5)
    shares = jax.nn.softmax(shipped.reader(images))
    np.testing.assert_allclose([f["shares"] for f in found], shares, atol=1e-5)
    written = style_trials.all_ten(shipped.vae, mean)
    np.testing.assert_allclose([f["written"] for f in found], written, atol=1e-5)


# ---------------------------------------------------------------- in JupyterLab


@pytest.fixture(scope="module")
def style(root: Path, lab: Lab, chrome: Browser) -> Iterator[Notebook]:
    """A notebook with the style pad in cell 1 and the drawing board in 2."""
    write(root / "style.ipynb", [SETUP, "pad", "board"])
    notebook = Notebook(chrome, lab, "style.ipynb", height=1100)
    notebook.run_all()
    yield notebook
    notebook.close()


@pytest.fixture
def fresh(style: Notebook) -> Notebook:
    """The same, with both widgets as at the start."""
    for reset in style.page.get_by_role("button", name="Reset", exact=True).all():
        reset.click()
    settled(style, PAD)
    settled(style, BOARD)
    return style


def greys(canvases: Locator) -> np.ndarray:
    """Brightness from 0 to 1 of the pictures of some canvases."""
    found = canvases.evaluate_all(
        """(all) => all.map((c) =>
        [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0))"""
    )
    return np.array(found).reshape(len(found), 28, 28) / 255


def ten(page: Page, cell: int | None = None) -> np.ndarray:
    """The ten digits of a cell, or in a page of one widget."""
    part = page.locator(".jp-Cell").nth(cell) if cell is not None else page.locator("body")
    return greys(part.locator(".style-ten canvas"))


def seen(page: Page) -> np.ndarray:
    return greys(page.locator(".style-seen canvas"))[0]


def box_of(locator: Locator) -> tuple[float, float, float]:
    """Left, top and side of a square on the page."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    assert box is not None and box["width"] == pytest.approx(box["height"], abs=1)
    return box["x"], box["y"], box["width"]


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """A stroke on the board by mouse."""
    x, y, side = box_of(page.locator(".style-board"))
    page.mouse.move(x + side * points[0][0], y + side * points[0][1])
    page.mouse.down()
    for across, down in points[1:]:
        page.mouse.move(x + side * across, y + side * down)
    page.mouse.up()


def proposal(page: Page) -> str:
    return page.locator(".style-choose [aria-live]").inner_text()


def press_button(notebook: Notebook, name: str) -> None:
    notebook.page.locator(".jp-Cell").nth(BOARD).get_by_role("button", name=name, exact=True).click()
    settled(notebook, BOARD)


def test_pad_shows_what_jax_writes(fresh: Notebook) -> None:
    assert fresh.ask("pad.place") == [1.0, -0.5, 0]
    assert np.abs(ten(fresh.page, PAD) - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS
    assert complaints(fresh) == []


def test_pad_follows_the_pointer_and_tells_the_kernel(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, PAD)
    x, y, side = box_of(page.locator(".style-pad"))

    def place(across: float, up: float) -> tuple[float, float]:
        """Of a style on the page: the pad reaches 2.5 sd, on 140 of 300 units each way."""
        return x + side * (150 + 56 * across) / 300, y + side * (150 - 56 * up) / 300

    page.mouse.move(*place(0, 0))  # only with a button down
    assert settled(fresh, PAD) == first
    page.mouse.down()
    assert fresh.differs(PAD, first, 5)
    page.mouse.move(*place(-1.4, 1.8), steps=6)
    page.wait_for_function("() => document.querySelector('.style-pad').ariaLabel.includes('mean slant −')")
    page.mouse.up()
    settled(fresh, PAD)
    assert fresh.ask("pad.place") == pytest.approx([-1.4, 1.8, 0], abs=0.02)
    assert np.abs(ten(page, PAD) - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS
    dragged = settled(fresh, PAD)
    page.mouse.move(*place(1, 1))  # let go: it stays
    assert settled(fresh, PAD) == dragged
    page.mouse.move(*place(1, 1))
    page.mouse.down()
    page.mouse.move(x + side + 60, y - 20, steps=4)  # beyond the pad
    page.mouse.up()
    settled(fresh, PAD)
    assert fresh.ask("pad.place") == [2.5, 2.5, 0]
    page.get_by_role("button", name="Reset").first.click()
    assert fresh.at_rest(PAD, 10, like=first) is not None
    assert fresh.ask("pad.place") == [1.0, -0.5, 0]
    assert complaints(fresh) == []


def test_pad_follows_its_sliders_and_arrow_keys(fresh: Notebook) -> None:
    page = fresh.page
    across = page.get_by_role("slider", name="across: slant (sd of z)", exact=True)
    up = page.get_by_role("slider", name="up: how heavy (sd of z)", exact=True)
    across.press("Home")
    up.press("End")
    settled(fresh, PAD)
    assert fresh.ask("pad.place") == [-2.5, 2.5, 0]
    left_heavy = ten(page, PAD)
    assert np.abs(left_heavy - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS
    across.press("End")
    up.press("Home")
    settled(fresh, PAD)
    right_light = ten(page, PAD)
    assert across.get_attribute("aria-valuetext") == "+2.50 sd"
    # what the axes promise
    assert measures.slant(left_heavy).mean() < -10 < 10 < measures.slant(right_light).mean()
    assert measures.thickness(left_heavy).mean() > measures.thickness(right_light).mean() + 0.5
    page.locator(".style-pad").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    settled(fresh, PAD)
    assert fresh.ask("pad.place") == pytest.approx([2.3, -2.4, 0])
    assert np.abs(ten(page, PAD) - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS
    assert complaints(fresh) == []


@pytest.mark.proof
def test_another_hand_and_a_place_set_by_the_kernel(fresh: Notebook) -> None:
    page, looks = fresh.page, []
    for hand in (1, 2, 3, 4, 5, 0):
        page.get_by_role("button", name="Another hand").click()
        looks.append(tuple(settled(fresh, PAD)))
        assert fresh.ask("pad.place") == [1.0, -0.5, hand]
        assert np.abs(ten(page, PAD) - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS
    assert len(set(looks)) == 6
    fresh.ask("setattr(pad, 'place', [0.5, 0.5, 2])")
    fresh.wait_for(lambda: "(hand 3 of 6)" in page.locator(".style-told").first.inner_text(), 5)
    settled(fresh, PAD)
    assert np.abs(ten(page, PAD) - fresh.ask("pad.digits().tolist()")).max() <= EIGHT_BITS


def check_board(notebook: Notebook) -> None:
    """What the page shows of a drawing against NumPy and JAX."""
    settled(notebook, BOARD)
    drawn, width = notebook.ask("board.strokes"), notebook.ask("board.width")
    assert np.abs(seen(notebook.page) - strokes.as_mnist(drawn, width=width)).max() <= EIGHT_BITS
    assert np.abs(ten(notebook.page, BOARD) - notebook.ask("board.digits().tolist()")).max() <= EIGHT_BITS
    assert f"proposed: {notebook.ask('board.proposed()')} " in proposal(notebook.page)


@pytest.mark.parametrize(("points", "digit"), [(ONE, 1), (ZERO, 0)], ids=["one", "zero"])
def test_a_drawn_digit_is_read_and_all_ten_follow(
    fresh: Notebook, points: list[tuple[float, float]], digit: int
) -> None:
    page, before = fresh.page, ten(fresh.page, BOARD)
    draw(page, points)
    check_board(fresh)
    assert np.abs(ten(page, BOARD) - before).max(axis=(1, 2)).min() > 0.1
    assert proposal(page).startswith(f"proposed: {digit} (")
    assert page.get_by_role("radio", checked=True).inner_text() == str(digit)
    drawn = fresh.ask("board.strokes")
    assert fresh.ask("[board.own, board.label]") == [True, -1]
    assert len(drawn) == 1 and len(drawn[0]) > 15
    ends = np.array([drawn[0][0], drawn[0][-1]]) - np.array([points[0], points[-1]])
    assert np.abs(ends).max() < 0.012  # a point is left out that is nearer than 0.008 to the last
    assert complaints(fresh) == []


@pytest.mark.proof
def test_a_digit_follows_while_it_is_drawn(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, BOARD)
    x, y, side = box_of(page.locator(".style-board"))
    page.mouse.move(x + 0.5 * side, y + 0.2 * side)
    page.mouse.down()
    assert fresh.differs(BOARD, first, 5)
    dot = fresh.pictures(BOARD)
    page.mouse.move(x + 0.5 * side, y + 0.8 * side, steps=10)
    assert fresh.differs(BOARD, dot, 5)
    page.mouse.up()
    check_board(fresh)


@pytest.mark.proof
def test_another_label_changes_the_digits(fresh: Notebook) -> None:
    page = fresh.page
    draw(page, ONE)
    check_board(fresh)
    as_one = ten(page, BOARD)
    page.get_by_role("radio", name="7", exact=True).click()
    check_board(fresh)
    assert np.abs(ten(page, BOARD) - as_one).max() > 0.1
    assert "you say: 7" in proposal(page)
    assert page.get_by_role("radio", checked=True).inner_text() == "7"
    assert fresh.ask("board.label") == 7
    draw(page, [(0.3, 0.5), (0.7, 0.5)])  # a second stroke of the same digit: the label holds
    check_board(fresh)
    assert fresh.ask("[len(board.strokes), board.label]") == [2, 7]


@pytest.mark.proof
def test_a_wider_pen_makes_the_ten_heavier(fresh: Notebook) -> None:
    pen = fresh.page.get_by_role("slider", name="pen width (pixels of 28)", exact=True)
    ink = []
    for key, width in (("Home", 1.5), ("End", 5.0)):
        pen.press(key)
        check_board(fresh)
        assert fresh.ask("board.width") == width
        ink.append(measures.ink(ten(fresh.page, BOARD)).mean())
    assert ink[1] > 1.3 * ink[0]


@pytest.mark.proof
def test_undo_clear_example_and_reset(fresh: Notebook) -> None:
    page, first = fresh.page, settled(fresh, BOARD)
    draw(page, ONE)
    check_board(fresh)
    one = settled(fresh, BOARD)
    draw(page, ZERO)
    check_board(fresh)
    press_button(fresh, "Undo")
    assert settled(fresh, BOARD) == one
    press_button(fresh, "Undo")  # nothing is left
    told = page.locator(".style-told").last
    assert told.inner_text().startswith("Draw a digit")
    assert ten(page, BOARD).max() == 0 and seen(page).max() == 0
    assert page.get_by_role("radio", checked=True).count() == 0
    assert fresh.ask("board.strokes") == []
    press_button(fresh, "Undo")  # and nothing happens
    press_button(fresh, "Clear")
    assert told.inner_text().startswith("Draw a digit") and proposal(page) == ""
    for digit in (8, 9, 0):
        press_button(fresh, "Write an example")
        check_board(fresh)
        assert proposal(page).startswith(f"proposed: {digit} (")
        assert fresh.ask("board.own") is False
    press_button(fresh, "Clear")
    assert told.inner_text().startswith("Draw a digit")
    page.get_by_role("slider", name="pen width (pixels of 28)", exact=True).press("End")
    press_button(fresh, "Reset")
    assert fresh.at_rest(BOARD, 10, like=first) is not None
    assert fresh.ask("[board.width, board.label, board.own]") == [2.2, -1, False]
    draw(page, ZERO)  # the example gives way
    check_board(fresh)
    assert fresh.ask("len(board.strokes)") == 1
    assert complaints(fresh) == []


@pytest.mark.proof
def test_keyboard_alone_reaches_everything(fresh: Notebook) -> None:
    page = fresh.page
    focused = """() => {
        const node = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(node);
        const ring = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        return [node.getAttribute("aria-label")?.split(",")[0] ?? node.textContent, ring];
    }"""
    on_pad = ["Pad of styles", "across: slant (sd of z)", "up: how heavy (sd of z)", "Another hand", "Reset"]
    on_board = ["pen width (pixels of 28)", "Undo", "Clear", "Write an example", "Reset", "7"]
    for first, names in ((".style-pad", on_pad), ("input[aria-label^=pen]", on_board)):
        page.locator(first).focus()
        for name in names[1:]:
            page.keyboard.press("Tab")
            assert page.evaluate(focused) == [name, True]
        for name in names[-2::-1]:
            page.keyboard.press("Shift+Tab")
            assert page.evaluate(focused) == [name, True]
    page.get_by_role("radio", checked=True).focus()
    # among the labels arrow keys choose, round the end, and none of these keys is JupyterLab's
    active = page.evaluate("() => lab.panel().content.activeCellIndex")
    steps = [("ArrowRight", 8), ("ArrowDown", 9), ("ArrowRight", 0), ("ArrowLeft", 9), ("ArrowUp", 8)]
    for key, label in steps:
        page.keyboard.press(key)
        check_board(fresh)
        assert page.evaluate(focused) == [str(label), True]
        assert fresh.ask("board.label") == label
    page.keyboard.press("Shift+Tab")  # back to Reset
    page.keyboard.press("Enter")
    check_board(fresh)
    assert fresh.ask("board.label") == -1
    page.locator(".jp-Cell").nth(BOARD).get_by_role("button", name="Clear").focus()
    page.keyboard.press("Space")
    settled(fresh, BOARD)
    assert fresh.ask("board.strokes") == []
    assert page.evaluate("() => lab.panel().content.activeCellIndex") == active
    assert page.evaluate("() => lab.panel().content.mode") == "command"


@pytest.mark.proof
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_both_are_readable_in_both_themes(fresh: Notebook, theme: str) -> None:
    fresh.theme(theme)
    told = contrasts(
        fresh.page, ".style-widget :is(span, p, output, figcaption, button)", ".style-widget svg text"
    )
    fresh.theme("Light")
    assert len(told) > 40
    assert [(text, contrast) for text, contrast in told if contrast < 4.5] == []


@pytest.mark.proof
def test_narrow_window_cuts_nothing_off(fresh: Notebook) -> None:
    page = fresh.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        page.wait_for_timeout(700)
        assert cut_off(page) == []
        draw(page, ZERO)  # and the board, which is smaller now, is still drawn on where the pen is
        check_board(fresh)
        drawn = np.array(fresh.ask("board.strokes")[0])
        assert np.ptp(drawn, axis=0) == pytest.approx([0.44, 0.72], abs=0.02)
    finally:
        page.set_viewport_size({"width": 1280, "height": 1100})


# ---------------------------------------------------------------- without a kernel


def test_exported_page_works_alone(chrome: Browser, shipped: Shipped, effects: Effects) -> None:
    pad = StylePad(shipped.vae, effects, key=jax.random.key(1))
    board = DrawingBoard(shipped)
    watched = watched_page(chrome)
    page, asked = watched.page, list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(f"<!doctype html><body>{pad.live_html()}{board.live_html()}</body>")
    page.wait_for_selector(".style-board")

    def frame() -> None:
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def both() -> tuple[np.ndarray, np.ndarray]:
        frame()
        written = greys(page.locator(".style-ten canvas"))
        return written[:10], written[10:]

    digits, written = both()
    assert np.abs(digits - pad.digits()).max() <= EIGHT_BITS
    assert np.abs(written - board.digits()).max() <= EIGHT_BITS
    page.locator(".style-pad").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="Another hand").click()
    pad.place = [1.0, -0.4, 1]
    assert np.abs(both()[0] - pad.digits()).max() <= EIGHT_BITS
    draw(page, ONE)
    frame()
    assert proposal(page).startswith("proposed: 1 (")
    board.strokes = [[list(point) for point in ONE]]
    assert np.abs(both()[1] - board.digits()).max() <= 0.02  # to a pixel, not to a bit
    page.get_by_role("button", name="Clear").click()
    touch(page, ZERO)
    frame()
    assert proposal(page).startswith("proposed: 0 (")
    assert page.evaluate("() => scrollY") == 0  # the finger drew and did not scroll
    for reset in page.get_by_role("button", name="Reset").all():
        reset.click()
    again = both()
    np.testing.assert_array_equal(again[0], digits)
    np.testing.assert_array_equal(again[1], written)
    assert [url[:80] for url in asked if not url.startswith("data:")] == []
    assert watched.console == [] and watched.outside == []
    page.context.close()


def touch(page: Page, points: list[tuple[float, float]]) -> None:
    """A stroke on the board by a finger."""
    x, y, side = box_of(page.locator(".style-board"))
    session: Any = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for k, (across, down) in enumerate(points):
        at = {"x": x + side * across, "y": y + side * down}
        kind = "touchMove" if k else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
