"""Networks and scripts for widgets that compute in the page: packed here, run by static/nets.js."""

import base64
import html
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Float32, Real

from lecture_lib import checks
from lecture_lib.conditional import ConditionalDecoder, ConditionalEncoder
from lecture_lib.layers import FiLM
from lecture_lib.networks import Decoder, Encoder

STATIC = pathlib.Path(__file__).parent / "static"

_NAMES: Mapping[Any, str] = {nnx.tanh: "tanh", nnx.relu: "relu", nnx.gelu: "gelu", nnx.sigmoid: "sigmoid"}


class Packed(NamedTuple):
    """A network as the page wants it."""

    spec: dict[str, Any]
    """The widths, activations and kinds of its layers; how the label comes in; how many weights there are."""
    weights: Float32[np.ndarray, " weights"]
    """Layer after layer: kernel (a row for each input), bias, and the scales and shifts of a FiLM layer."""


def pack(network: nnx.Module, *, last: str = "linear") -> Packed:
    """Take a network apart for the page.

    Args:
        network: One of `networks`: a `Decoder` or `Encoder`, plain or conditional; or an `nnx.Sequential` of
            linear layers, each with at most one activation after it.
        last: Name of an activation after the last layer, say "sigmoid" for a Bernoulli decoder; only for
            networks that end with a linear layer.

    Raises:
        ValueError: An activation that the page does not know, or one where none is expected.
        TypeError: Another network, or a layer without bias.
    """
    condition, classes, between = None, 0, None
    layers: Any = network
    if isinstance(network, Decoder | Encoder):
        layers = network.layers
    elif isinstance(network, ConditionalEncoder):
        condition, classes, layers = "concat", network.classes, network.layers
    elif isinstance(network, ConditionalDecoder):
        condition, classes, layers = network.condition, network.classes, network.layers
        between = network.activation
    parts: list[Any]
    if isinstance(layers, nnx.Sequential):
        parts = list(layers.layers)
    elif condition == "film":
        parts = [part for layer in layers for part in (layer, between)][:-1]
    else:
        raise TypeError(
            f"network is a {type(network).__name__}; expected a decoder, an encoder or linear layers"
        )
    told: list[dict[str, Any]] = []
    floats: list[np.ndarray] = []
    for part in parts:
        if isinstance(part, nnx.Linear | FiLM):
            linear = part.linear if isinstance(part, FiLM) else part
            if linear.bias is None:
                raise TypeError("network has a layer without bias; expected one with")
            told.append(
                {"inputs": linear.in_features, "outputs": linear.out_features, "activation": "linear"}
            )
            told[-1]["film"] = isinstance(part, FiLM)
            variables = [linear.kernel, linear.bias]
            variables += [part.scale, part.shift] if isinstance(part, FiLM) else []
            floats += [np.asarray(value).ravel() for value in jax.tree.leaves(variables)]
        elif not told or told[-1]["activation"] != "linear":
            raise ValueError(f"network has {_name(part)} with no linear layer before it; expected one")
        else:
            told[-1]["activation"] = _name(part)
    if last not in ("linear", *_NAMES.values()):
        raise ValueError(f"last is {last!r}; expected 'linear' or one of {list(_NAMES.values())}")
    if last != "linear":
        if told[-1]["activation"] != "linear":
            raise ValueError(f"last is {last!r}, but network ends with {told[-1]['activation']} already")
        told[-1]["activation"] = last
    weights = np.concatenate(floats).astype("<f4")
    spec = {"condition": condition, "classes": classes, "layers": told, "count": len(weights)}
    return Packed(spec, weights)


def _name(activation: Any) -> str:
    if activation not in _NAMES:
        name = getattr(activation, "__name__", activation)
        raise ValueError(f"activation {name} is not known in the browser; expected {list(_NAMES.values())}")
    return _NAMES[activation]


def as_bytes(*floats: Real[ArrayLike, "..."]) -> bytes:
    """Numbers for the page, behind four bytes of which the first says how long a number is: 2 or 4 bytes.

    Half precision is chosen where it loses nothing, as with weights that are shipped in half precision.

    Raises:
        ValueError: A number that is not finite.
    """
    joined = np.concatenate([np.asarray(part, np.float32).ravel() for part in floats])
    checks.finite("floats", joined)
    with np.errstate(over="ignore"):  # what is too large for a half becomes infinite, and is not the same
        halves = joined.astype("<f2")
    exact = np.array_equal(halves.astype(np.float32), joined)
    return bytes([2 if exact else 4, 0, 0, 0]) + (halves if exact else joined.astype("<f4")).tobytes()


def script(*names: str) -> str:
    """Files of static/ as one JavaScript module."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def page(name: str, module: str, css: str, state: Mapping[str, Any], weights: bytes, instead: str) -> str:
    """A widget as a piece of HTML that needs no kernel and loads nothing.

    Args:
        name: Of the element that it is put into; another one for each widget of a page.
        module: Its JavaScript, as for anywidget.
        css: Its style sheet.
        state: Its other traits.
        weights: The trait `weights`.
        instead: HTML that stands there until the script has run.
    """
    encoded = base64.b64encode(module.encode()).decode()
    # a name with "</script>" or "<!--" in it must not end the script, nor keep it from ending
    told, home = (json.dumps(value).replace("<", "\\u003c") for value in (state, name))
    data = base64.b64encode(weights).decode()
    return (
        f'<div id="{html.escape(name)}">{instead}</div><style>{css}</style>'
        '<script type="module">\nconst { default: widget } = await import('
        f'"data:text/javascript;base64,{encoded}");\n'
        f"const state = {told};\n"
        f'const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));\n'
        "state.weights = new DataView(bytes.buffer);\n"
        "const model = { get: (name) => state[name], set: (name, value) => (state[name] = value), "
        "on: () => {}, off: () => {}, save_changes: () => {} };\n"
        f"const el = document.getElementById({home});\n\n"
        "const live = document.createElement('div');\nwidget.render({ model, el: live });\n"
        "el.replaceChildren(live);\n</script>"
    )
