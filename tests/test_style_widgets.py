"""The style pad and the drawing board: what the page is sent, its networks redone in NumPy, JAX beside it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traitlets
from flax import nnx

from lecture_lib import browser, measures, strokes, style_trials, style_widgets, weights
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.panels import PageWidget
from lecture_lib.style_trials import Effects
from lecture_lib.style_widgets import HANDS, REACH, DrawingBoard, StylePad
from lecture_lib.weights import Shipped
from tests.frames import decoded
from tests.test_page import Reader, read_floats, run, stirred

KEY = jax.random.key(0)


def effects(latent: int) -> Effects:
    rng = np.random.default_rng(1)
    return Effects(*rng.normal(size=(2, latent)), np.ones(latent), (0.9, 0.9))


def conditional(likelihood: Any) -> ConditionalVAE:
    """Untrained, but with weights that make strong pictures."""
    model = ConditionalVAE(64, 5, (12, 8), likelihood=likelihood, rngs=nnx.Rngs(0))
    return stirred(model)


@pytest.fixture(scope="module", params=["gaussian", "bernoulli"])
def model(request: Any) -> ConditionalVAE:
    return conditional(request.param)


@pytest.fixture
def pad(model: ConditionalVAE) -> StylePad:
    return StylePad(model, effects(5), key=KEY)


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return weights.load()


@pytest.fixture(scope="module")
def made_board(shipped: Shipped) -> DrawingBoard:
    return DrawingBoard(shipped)


@pytest.fixture
def board(made_board: DrawingBoard) -> DrawingBoard:
    made_board.set_trait("strokes", made_board.data["examples"][made_board.data["first"]])
    made_board.label, made_board.own, made_board.width = -1, False, made_board.data["width"]
    return made_board


def net(widget: PageWidget, name: str, at: int = 0) -> browser.Packed:
    """One of the networks as the page reads it: from the bytes, beginning at a number."""
    spec = json.loads(json.dumps(widget.data))[name]
    return browser.Packed(spec, read_floats(widget.weights)[at : at + spec["count"]])


# --- the pad --------------------------------------------------------------------------------


def test_the_page_of_the_pad_writes_as_jax_does(pad: StylePad) -> None:
    packed = net(pad, "net")
    assert len(packed.weights) == len(read_floats(pad.weights))  # nothing is left over
    for place in ([1.0, -0.5, 0], [-2.5, 2.5, 3], [0.0, 0.0, HANDS - 1]):
        pad.place = place
        digits = pad.digits()
        assert digits.shape == (10, 8, 8) and digits.min() >= 0 and digits.max() <= 1
        for label in range(10):
            written = np.clip(run(packed, pad.style(), label), 0, 1)
            np.testing.assert_allclose(digits[label].ravel(), written, atol=1e-5, rtol=0)
        assert digits.std(axis=0).max() > 0.05  # the ten do differ


def test_style_of_the_pad(pad: StylePad) -> None:
    """As styleAt of style_pad.js, of the data that the page has."""
    data = json.loads(json.dumps(pad.data))
    for across, up, hand in ([1.0, -0.5, 0], [-2.5, 2.5, 3], [0.3, 0.0, 5]):
        pad.place = [across, up, hand]
        expected = [
            rest + across * a + up * b
            for rest, a, b in zip(data["hands"][hand], *data["directions"], strict=True)
        ]
        np.testing.assert_allclose(pad.style(), expected, atol=1e-14)


def test_hands_are_at_right_angles_to_the_directions(pad: StylePad) -> None:
    directions, hands = np.array(pad.data["directions"]), np.array(pad.data["hands"])
    np.testing.assert_array_equal(directions, effects(5).directions())
    assert hands.shape == (HANDS, 5) and (hands[0] == 0).all()
    np.testing.assert_allclose(hands @ directions.T, 0, atol=1e-14)
    # what the pad does not move is a draw from P(z)
    draws = np.asarray(jax.random.normal(KEY, (HANDS, 5)))
    rest = np.linalg.svd(directions)[2][2:]
    np.testing.assert_allclose(hands[1:] @ rest.T, draws[1:] @ rest.T, atol=1e-6)
    assert (StylePad(pad._model, effects(5), key=jax.random.key(1)).data["hands"] != hands)[1:].any()


def test_so_the_place_on_the_pad_is_what_z_has_along_the_directions(pad: StylePad) -> None:
    for hand in range(HANDS):
        pad.place = [-1.2, 0.7, hand]
        np.testing.assert_allclose(np.array(pad.data["directions"]) @ pad.style(), [-1.2, 0.7], atol=1e-12)


def test_places_of_the_pad(model: ConditionalVAE) -> None:
    pad = StylePad(model, effects(5), key=KEY, place=(REACH, -REACH))
    assert pad.place == pad.data["start"] == [REACH, -REACH, 0] and pad.data["reach"] == REACH
    for place in ((2.6, 0.0), (0.0, -2.51), (np.nan, 0.0), (1.0,), (1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match=r"^place is \(.*\); expected two numbers from -2.5 to 2.5"):
            StylePad(model, effects(5), key=KEY, place=place)  # type: ignore[arg-type]


def test_still_of_the_pad(pad: StylePad) -> None:
    pad.place = [0.5, -1.25, 2]
    still, digits = pad.still(), pad.digits()
    assert still.alt == (
        "Ten digits in one style. +0.50 sd across, -1.25 sd up, hand 3: mean slant "
        f"{np.mean([measures.slant(d) for d in digits]):+.1f}°, mean ink {digits.mean():.3f}."
    )
    assert decoded(still.png).std() > 10
    pad.place = [0.5, 1.25, 2]
    assert pad.still().png != still.png


# --- the page -------------------------------------------------------------------------------


def check_live(widget: PageWidget, state: dict[str, Any]) -> None:
    text = widget.live_html()
    page = Reader(text)
    (script,) = page.scripts
    (told,) = re.findall(r"^const state = (.*);$", script, re.MULTILINE)
    assert json.loads(told) == {"data": json.loads(json.dumps(widget.data)), **state}
    (data,) = re.findall(r'atob\("([^"]*)"\)', script)
    assert base64.b64decode(data) == widget.weights
    (code,) = re.findall(r'import\("data:text/javascript;base64,([A-Za-z0-9+/=]+)"\)', script)
    module = base64.b64decode(code).decode()
    assert module == widget._esm and "export default { render }" in module
    (image,) = [attributes for tag, attributes in page.seen if tag == "img"]
    assert image["alt"] == widget.still().alt and str(image["src"]).startswith("data:image/png;base64,")
    for loader in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "@import", "url(", "eval(", "src="):
        assert loader not in text.replace('src="data:', "") + module, loader
    assert set(re.findall(r"https?://[^\"'\s]*", text + module)) <= {"http://www.w3.org/2000/svg"}
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["text/html"] == text and "application/vnd.jupyter.widget-view+json" in bundle


def test_the_pad_lives_in_a_page_of_its_own(pad: StylePad) -> None:
    pad.place = [0.5, -1.25, 2]
    check_live(pad, {"place": [0.5, -1.25, 2]})


def test_the_board_lives_in_a_page_of_its_own(board: DrawingBoard) -> None:
    board.width, board.label = 3.0, 4
    check_live(board, {"strokes": board.strokes, "width": 3.0, "label": 4, "own": False})
    assert len(board.live_html()) < 2e6  # half precision


# --- the board ------------------------------------------------------------------------------


def test_the_page_of_the_board_computes_as_jax_does(board: DrawingBoard) -> None:
    encoder = net(board, "encoder")
    decoder = net(board, "decoder", len(encoder.weights))
    reader = net(board, "reader", len(encoder.weights) + len(decoder.weights))
    assert sum(len(part.weights) for part in (encoder, decoder, reader)) == len(read_floats(board.weights))
    assert board.weights[0] == 2  # halves, as in the file
    for digit in (2, 7):
        board.strokes = board.data["examples"][digit]
        image = board.picture().ravel()
        logits = run(reader, image)
        label = int(logits.argmax())
        assert label == board.proposed()
        z = run(encoder, image, label)[: board.data["latent"]]
        np.testing.assert_allclose(board.style(), z, atol=1e-5, rtol=0)
        digits = board.digits().reshape(10, -1)
        for k in range(10):
            np.testing.assert_allclose(digits[k], run(decoder, z, k), atol=1e-5, rtol=0)


def test_examples_stay_on_the_board_and_are_read(board: DrawingBoard) -> None:
    examples = board.data["examples"]
    assert len(examples) == 10
    for digit, example in enumerate(examples):
        points = np.concatenate([np.array(stroke) for stroke in example])
        assert points.min() >= 0 and points.max() <= 1
        board.strokes = example
        assert board.proposed() == digit
    assert board.data["first"] == style_widgets.FIRST and board.data["width"] == style_widgets.PEN


def test_examples_lean_as_they_are_told(board: DrawingBoard) -> None:
    for digit, lean in enumerate(style_widgets._LEAN):
        board.strokes = board.data["examples"][digit]
        upright = np.tan(np.radians(measures.slant(strokes.as_mnist(strokes.example(digit), width=2.2))))
        now = np.tan(np.radians(measures.slant(board.picture())))
        # the pen stays round, and a wide flat digit is not sheared in the box alone but made to fit it
        assert np.degrees(np.arctan(now - upright)) == pytest.approx(lean, abs=3)


def test_the_ten_lean_as_the_drawing_does(board: DrawingBoard) -> None:
    """The point of it all: the same 7, leaning left and right, makes all ten lean left or right."""
    slants = []
    for lean in (-20.0, 20.0):
        sevens = strokes.shear(strokes.example(7), lean)
        board.strokes = [(0.5 + 0.34 * s).tolist() for s in sevens]
        slants.append(measures.slant(board.digits()))
    assert (slants[1] - slants[0] > 5).all() and (slants[1] - slants[0]).mean() > 15


def test_what_the_user_says_counts_more(board: DrawingBoard, shipped: Shipped) -> None:
    proposed, own = board.style(), board.proposed()
    board.label = own
    np.testing.assert_array_equal(board.style(), proposed)
    board.label = (own + 1) % 10
    assert board.proposed() == own and np.abs(board.style() - proposed).max() > 0.05
    x = jnp.asarray(board.picture().astype(np.float32).reshape(1, -1))
    told = shipped.vae.encoder(x, jnp.array([board.label])).mean[0]
    np.testing.assert_allclose(board.style(), told, atol=1e-5)
    for label in (-2, 10):
        with pytest.raises(traitlets.TraitError, match="label"):
            board.label = label


def test_picture_is_that_of_strokes(board: DrawingBoard) -> None:
    np.testing.assert_array_equal(board.picture(), strokes.as_mnist(board.strokes, width=board.width))
    thin = measures.ink(board.picture())
    board.width = 4.0
    assert measures.ink(board.picture()) > 1.3 * thin
    # where and how large it is drawn is all the same
    before = board.picture()
    board.strokes = [(0.1 + 0.5 * np.array(stroke)).tolist() for stroke in board.strokes]
    np.testing.assert_allclose(board.picture(), before, atol=1e-9)


def test_empty_board(board: DrawingBoard) -> None:
    board.strokes = []
    still = board.still()
    assert still.alt == "An empty drawing board." and decoded(still.png).std() > 0
    for ask in (board.picture, board.proposed, board.style, board.digits):
        with pytest.raises(ValueError, match=r"^strokes is empty; expected at least one stroke"):
            ask()
    assert "An empty drawing board." in board.live_html()


def test_still_of_the_board(board: DrawingBoard) -> None:
    still = board.still()
    lean = float(measures.slant(board.picture()))
    told = f"a {style_widgets.FIRST} leaning {lean:+.1f}°, and all ten digits in its style"
    assert still.alt == f"Drawing board: {told}." and decoded(still.png).std() > 10
    board.label = 1
    assert board.still().alt.startswith("Drawing board: a 1 leaning") and board.still().png != still.png


def test_board_needs_ten_digits_of_28_pixels(shipped: Shipped) -> None:
    for pixels, classes in ((64, 10), (784, 9)):
        other = ConditionalVAE(pixels, 2, (3,), classes=classes, rngs=nnx.Rngs(0))
        told = rf"^shipped.vae has {pixels} pixels and {classes} classes; expected 784 and 10"
        with pytest.raises(ValueError, match=told):
            DrawingBoard(shipped._replace(vae=other))


def test_shipped_directions_do_what_the_pad_says(shipped: Shipped) -> None:
    """Across: to the right; up: heavier. With the networks and effects that the notebook shows."""
    effects = style_trials.effects(shipped.vae, key=KEY, n=40)
    pad = StylePad(shipped.vae, effects, key=KEY)
    seen = {}
    for place in ([-2, 0, 0], [2, 0, 0], [0, -2, 0], [0, 2, 0]):
        pad.place = place
        digits = pad.digits()
        seen[tuple(place)] = measures.slant(digits).mean(), measures.thickness(digits).mean()
    assert seen[2, 0, 0][0] - seen[-2, 0, 0][0] > 20  # degrees
    assert seen[0, 2, 0][1] - seen[0, -2, 0][1] > 0.8  # pixels
    # the directions are those of a linear fit; what bends is left
    across, up = (seen[p][0] - seen[q][0] for p, q in (((2, 0, 0), (-2, 0, 0)), ((0, 2, 0), (0, -2, 0))))
    assert abs(up) < 0.4 * across
