"""What a page is sent: networks as nets.js runs them, redone in NumPy; numbers as bytes; the HTML."""

from __future__ import annotations

import base64
import html.parser
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lecture_lib import browser
from lecture_lib.conditional import ConditionalDecoder, ConditionalEncoder
from lecture_lib.layers import FiLM
from lecture_lib.networks import Autoencoder, Decoder, Encoder, GaussianDecoder
from tests.laws import law

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(0, x),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def run(packed: browser.Packed, inputs: np.ndarray, label: int = 0) -> np.ndarray:
    """What readNet and run of nets.js do, for one input; every weight has to be used."""
    spec = json.loads(json.dumps(packed.spec))  # it goes over the wire
    weights, at = packed.weights.astype(np.float64), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        assert at <= len(weights)
        return weights[at - int(np.prod(shape)) : at].reshape(shape)

    x = inputs.astype(np.float64)
    if spec["condition"] == "concat":
        x = np.concatenate([x, np.eye(spec["classes"])[label]])
    for layer in spec["layers"]:
        width = layer["outputs"]
        assert len(x) == layer["inputs"]
        x = x @ take(layer["inputs"], width) + take(width)
        if layer["film"]:
            scale, shift = take(spec["classes"], width), take(spec["classes"], width)
            x = (1 + scale[label]) * x + shift[label]
        x = ACTIVATIONS[layer["activation"]](x)
    assert at == len(weights) == spec["count"]
    return x


def stirred(network: Any) -> Any:
    """All weights drawn anew, so that no bias, scale or shift is 0."""
    rng = np.random.default_rng(0)
    state = nnx.state(network, nnx.Param)
    nnx.update(network, jax.tree.map(lambda v: jnp.asarray(rng.normal(0, 0.7, v.shape), v.dtype), state))
    return network


def check(
    network: Any, packed: browser.Packed, inputs: int, after: Callable[[Any], Any] = np.asarray
) -> None:
    """Float32 sums of at most 8 products of size 1."""
    assert packed.weights.dtype == np.float32 and packed.spec["condition"] is None
    for x in np.random.default_rng(1).normal(size=(3, inputs)).astype(np.float32):
        np.testing.assert_allclose(run(packed, x), after(network(jnp.asarray(x[None])))[0], atol=2e-5)


# --- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sigmoid"])
def test_every_activation(name: str) -> None:
    decoder = stirred(Decoder(2, 5, (4, 3), activation=getattr(nnx, name), rngs=nnx.Rngs(0)))
    packed = browser.pack(decoder)
    assert [layer["activation"] for layer in packed.spec["layers"]] == [name, name, "linear"]
    assert set(packed.spec) == {"condition", "classes", "layers", "count"}
    check(decoder, packed, 2)
    squeezed = browser.pack(decoder, last="sigmoid")
    np.testing.assert_array_equal(squeezed.weights, packed.weights)
    check(decoder, squeezed, 2, lambda out: ACTIVATIONS["sigmoid"](np.asarray(out, np.float64)))


def test_the_activations_are_those_of_nets_js() -> None:
    text = browser.script("nets.js")
    (body,) = re.findall(r"const ACTIVATIONS = \{(.*?)\};", text, re.DOTALL)
    assert re.findall(r"^\s*(\w+):", body, re.MULTILINE) == list(ACTIVATIONS)
    assert sorted(browser._NAMES.values()) == sorted(set(ACTIVATIONS) - {"linear"})


def test_encoders_and_plain_layers() -> None:
    auto_encoder = stirred(Autoencoder(5, 2, (4,), rngs=nnx.Rngs(0)))
    check(auto_encoder.encoder, browser.pack(auto_encoder.encoder), 5)
    encoder = stirred(Encoder(5, 2, (4,), rngs=nnx.Rngs(0)))
    check(encoder, browser.pack(encoder), 5, lambda q: np.concatenate(q, axis=1))
    linear = stirred(nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0))))
    check(linear, browser.pack(linear), 3)


def test_an_activation_at_the_end_is_kept() -> None:
    ending = stirred(nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.relu))
    assert browser.pack(ending).spec["layers"][0]["activation"] == "relu"
    check(ending, browser.pack(ending), 3)
    with pytest.raises(ValueError, match=r"^last is 'sigmoid', but network ends with relu already"):
        browser.pack(ending, last="sigmoid")


@pytest.mark.parametrize("condition", ["film", "concat"])
def test_conditional_decoders(condition: Any) -> None:
    decoder = stirred(ConditionalDecoder(2, 5, (4, 3), classes=3, condition=condition, rngs=nnx.Rngs(0)))
    packed = browser.pack(decoder, last="sigmoid")
    assert (packed.spec["condition"], packed.spec["classes"]) == (condition, 3)
    assert [layer["film"] for layer in packed.spec["layers"]] == [condition == "film"] * 3
    assert [layer["activation"] for layer in packed.spec["layers"]] == ["gelu", "gelu", "sigmoid"]
    z = np.random.default_rng(1).normal(size=2).astype(np.float32)
    out = decoder(jnp.asarray([z, z, z]), jnp.arange(3))
    for label in range(3):
        expected = ACTIVATIONS["sigmoid"](np.asarray(out[label], np.float64))
        np.testing.assert_allclose(run(packed, z, label), expected, atol=1e-5)  # float32


def test_conditional_encoder() -> None:
    encoder = stirred(ConditionalEncoder(5, 2, (4,), classes=3, rngs=nnx.Rngs(0)))
    packed = browser.pack(encoder)
    assert packed.spec["condition"] == "concat" and packed.spec["layers"][0]["inputs"] == 8
    x = np.random.default_rng(1).normal(size=5).astype(np.float32)
    q = encoder(jnp.asarray([x, x, x]), jnp.arange(3))
    for label in range(3):
        np.testing.assert_allclose(
            run(packed, x, label), np.concatenate([q.mean[label], q.log_var[label]]), atol=1e-5
        )


def test_weights_stand_in_the_order_of_the_layers() -> None:
    """Kernel row by row, bias, scales, shifts: told apart by their values."""
    decoder = ConditionalDecoder(2, 3, (), classes=2, rngs=nnx.Rngs(0))
    layer: FiLM = decoder.layers[0]
    assert layer.linear.bias is not None
    parts = [layer.linear.kernel, layer.linear.bias, layer.scale, layer.shift]
    count = 0
    for part in parts:
        part[...] = jnp.arange(count, count + part.size, dtype=jnp.float32).reshape(part.shape)
        count += part.size
    np.testing.assert_array_equal(browser.pack(decoder).weights, np.arange(6 + 3 + 6 + 6))


@pytest.fixture(scope="module")
def linear() -> nnx.Linear:
    return nnx.Linear(3, 3, rngs=nnx.Rngs(0))


def test_networks_that_the_page_cannot_run(linear: nnx.Linear) -> None:
    with pytest.raises(
        ValueError, match=r"^activation elu is not known in the browser; expected \['tanh', 'r"
    ):
        browser.pack(nnx.Sequential(linear, nnx.elu, linear))
    for layers in ((nnx.relu, linear), (linear, nnx.relu, nnx.tanh, linear)):
        with pytest.raises(ValueError, match=r"^network has \w+ with no linear layer before it"):
            browser.pack(nnx.Sequential(*layers))
    with pytest.raises(TypeError, match=r"^network has a layer without bias"):
        browser.pack(nnx.Sequential(nnx.Linear(3, 3, use_bias=False, rngs=nnx.Rngs(0))))
    for network in (linear, GaussianDecoder(1, rngs=nnx.Rngs(0))):
        with pytest.raises(
            TypeError, match=rf"^network is a {type(network).__name__}; expected a decoder, an"
        ):
            browser.pack(network)
    with pytest.raises(ValueError, match=r"^last is 'softmax'; expected 'linear' or one of \['tanh'"):
        browser.pack(nnx.Sequential(linear), last="softmax")


# --- numbers as bytes -----------------------------------------------------------------------


def read_floats(data: bytes) -> np.ndarray:
    """What readFloats of nets.js does, half by half."""
    kind, body = data[0], data[4:]
    if kind == 4:
        return np.frombuffer(body, "<f4")
    assert kind == 2
    numbers = []
    for half in np.frombuffer(body, "<u2").tolist():
        exponent, fraction = (half >> 10) & 31, half & 1023
        size = (1 + fraction / 1024) * 2 ** (exponent - 15) if exponent else (fraction / 1024) * 2**-14
        numbers.append(-size if half >> 15 else size)
    return np.array(numbers, np.float32)


def same(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(one.astype("<f4").view("<u4"), other.astype("<f4").view("<u4"))


def test_every_half_comes_back() -> None:
    """Subnormals and negative zero, too; bit for bit."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    data = browser.as_bytes(halves.astype(np.float32))
    assert data[:4] == bytes([2, 0, 0, 0]) and len(data) == 4 + 2 * len(halves)
    same(read_floats(data), halves)
    assert (halves == 0).sum() == 2 and (np.abs(halves[halves != 0]) < 2**-14).sum() == 2 * 1023


@law(60)
@given(hnp.arrays(np.float32, st.integers(1, 6), elements=st.floats(width=32, allow_nan=False)))
def test_floats_come_back(floats: Any) -> None:
    if not np.isfinite(floats).all():
        with pytest.raises(ValueError, match=r"^floats has \d of \d values that are not finite"):
            browser.as_bytes(floats)
        return
    data = browser.as_bytes(floats)
    same(read_floats(data), floats)
    assert len(data) == 4 + data[0] * len(floats)


@pytest.mark.parametrize("value", [0.1, 1e6, -65520.0, 2049.0, 2.0**-25, 1.5 * 2.0**-24, 3e38, 1e-45])
def test_one_number_that_fits_no_half_makes_all_long(value: float) -> None:
    floats = np.array([1.0, value, -0.0], np.float32)
    data = browser.as_bytes(floats)
    assert data[0] == 4
    same(read_floats(data), floats)


def test_parts_follow_one_another() -> None:
    data = browser.as_bytes(np.arange(6.0).reshape(2, 3), np.array([7], np.int64), np.zeros(0))
    np.testing.assert_array_equal(read_floats(data), [0, 1, 2, 3, 4, 5, 7])


# --- the page -------------------------------------------------------------------------------


def test_scripts_follow_one_another() -> None:
    one, two = ((browser.STATIC / name).read_text(encoding="utf-8") for name in ("nets.js", "picture.js"))
    assert browser.script("nets.js") == one
    assert browser.script("nets.js", "picture.js") == f"{one}\n{two}"


class Reader(html.parser.HTMLParser):
    """The elements of a page with what stands in each script."""

    def __init__(self, text: str):
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts.append(data)


AWKWARD = ["plain", '</script><b id="x">', "<!-- <script>", "a & b \"c\" 'd' \\ `${e}`", "é≤漢 \u2028"]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_page_holds_its_parts_whatever_their_names(name: str) -> None:
    module, weights = "export default { render() {} };  // é≤", browser.as_bytes(np.array([1.5]))
    text = browser.page(name, module, ".a { color: red }", {"data": {"name": name}}, weights, "<p>wait</p>")
    page = Reader(text)
    assert [tag for tag, _ in page.seen] == ["div", "p", "style", "script"]
    assert page.seen[0][1] == {"id": name} and page.seen[3][1] == {"type": "module"}
    (script,) = page.scripts
    assert text.count("</script") == 1 and text.endswith("</script>")
    assert "<" not in re.sub(r"</?script[^>]*>", "", text[text.index("<script") :])  # no "<!--" either
    (state,) = re.findall(r"^const state = (.*);$", script, re.MULTILINE)
    assert json.loads(state) == {"data": {"name": name}}
    (home,) = re.findall(r"getElementById\((.*)\);$", script, re.MULTILINE)
    assert json.loads(home) == name
    (code,) = re.findall(r'import\("data:text/javascript;base64,([A-Za-z0-9+/=]+)"\)', script)
    assert base64.b64decode(code).decode() == module
    (data,) = re.findall(r'atob\("([^"]*)"\)', script)
    assert base64.b64decode(data) == weights
    for loader in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "@import", "url(", "eval(", "http"):
        assert loader not in text


def test_static_scripts_load_nothing() -> None:
    for path in (path for path in browser.STATIC.iterdir() if path.suffix in (".js", ".css")):
        text = path.read_text(encoding="utf-8")
        for loader in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "@import", "url(", "eval("):
            assert loader not in text, path.name
        assert set(re.findall(r"https?://[^\"'\s]*", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"^\s*import\b", text, re.MULTILINE) and "import(" not in text
