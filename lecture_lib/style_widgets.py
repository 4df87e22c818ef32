"""The widgets of notebook 04 that compute in the page: the style pad and the drawing board."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Float, PRNGKeyArray

from lecture_lib import browser, figures, measures, strokes, style_trials
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.figures import Still
from lecture_lib.panels import PageWidget
from lecture_lib.style_trials import Effects
from lecture_lib.weights import Shipped

REACH = 2.5
"""How far the pad goes, in standard deviations of P(z)."""
HANDS = 6
PEN = 2.2
"""Width of the pen at the start: the median thickness of MNIST's digits, pixels."""
FIRST = 7
_LEAN = (12, -8, 5, 18, 0, 9, -14, 12, 6, -5)
"""How far the examples lean, degrees."""


def _last(model: ConditionalVAE) -> str:
    return "sigmoid" if model.likelihood == "bernoulli" else "linear"


class StylePad(PageWidget):
    """A pad over the two most telling directions of style; ten digits follow the pointer, in the page.

    Args:
        model: A trained model of square pictures.
        effects: What its latent dimensions do; see `style_trials.effects`.
        key: For the hands: what the style is apart from the two directions. The first is the mean, z = 0.
        place: Where it starts: along both directions, in standard deviations, each within REACH.

    Raises:
        ValueError: `place` is out of reach.
    """

    _esm = browser.script("nets.js", "style.js", "style_pad.js")
    _css = browser.script("style.css")
    place: Any = traitlets.List([0.0, 0.0, 0]).tag(sync=True)
    """Along the first direction, along the second, and which hand."""
    moving = ("place",)

    def __init__(
        self,
        model: ConditionalVAE,
        effects: Effects,
        *,
        key: PRNGKeyArray,
        place: tuple[float, float] = (1.0, -0.5),
    ):
        if len(place) != 2 or not all(abs(value) <= REACH for value in place):  # also NaN
            raise ValueError(f"place is {place}; expected two numbers from {-REACH} to {REACH}")
        directions = effects.directions()
        draws = np.asarray(jax.random.normal(key, (HANDS, model.latent)), np.float64)
        draws[0] = 0
        hands = draws - draws @ directions.T @ directions
        net = browser.pack(model.decoder, last=_last(model))
        start = [*map(float, place), 0]
        data = {
            "size": round(model.pixels**0.5),
            "reach": REACH,
            "directions": directions.tolist(),
            "hands": hands.tolist(),
            "labels": ["across: slant (sd of z)", "up: how heavy (sd of z)"],
            "ends": [["leans left", "leans right"], ["light", "heavy"]],
            "net": net.spec,
            "start": start,
        }
        super().__init__(data=data, weights=browser.as_bytes(net.weights), place=start)
        self._model = model

    def style(self) -> Float[np.ndarray, " latent"]:
        """The z at the pad's present place."""
        across, up, hand = self.place
        directions = np.asarray(self.data["directions"])
        return np.asarray(self.data["hands"][hand]) + np.array([across, up]) @ directions

    def digits(self) -> Float[np.ndarray, "10 size size"]:
        """The ten digits at the present place, by JAX."""
        size = self.data["size"]
        z = jnp.asarray(self.style(), jnp.float32)[None]
        return np.asarray(style_trials.all_ten(self._model, z)).reshape(-1, size, size)

    def still(self) -> Still:
        """The present picture by JAX and Matplotlib, for readers without a kernel."""
        digits, (across, up, hand) = self.digits(), self.place
        told = (
            f"{across:+.2f} sd across, {up:+.2f} sd up, hand {hand + 1}: mean slant "
            f"{measures.slant(digits).mean():+.1f}°, mean ink {measures.ink(digits).mean():.3f}"
        )
        return figures.ten_digits(
            digits, f"Ten digits in one style\n{told}", f"Ten digits in one style. {told}."
        )


class DrawingBoard(PageWidget):
    """Draw a digit; its style is found and all ten digits are written in it, in the page.

    Args:
        shipped: A conditional VAE of 28x28 digits and a classifier; see `weights.load`.

    Attributes:
        strokes: Lists of points [x, y] from 0 to 1, x to the right and y down.
        width: Of the pen, in pixels of the 28x28 picture.
        label: What the user says it is; -1 leaves it to the classifier.

    Raises:
        ValueError: The models are not for 28x28 pictures of ten digits.
    """

    _esm = browser.script("nets.js", "style.js", "drawing_board.js")
    _css = browser.script("style.css")
    strokes: Any = traitlets.List([]).tag(sync=True)
    width = traitlets.Float(PEN).tag(sync=True)
    label = traitlets.Int(-1, min=-1, max=9).tag(sync=True)
    own = traitlets.Bool(False).tag(sync=True)
    """Whether the user has drawn; else an example is shown."""
    moving = ("strokes", "width", "label", "own")

    def __init__(self, shipped: Shipped):
        vae, reader = shipped.vae, shipped.reader
        if (vae.pixels, vae.classes) != (strokes.SIZE**2, 10):
            raise ValueError(
                f"shipped.vae has {vae.pixels} pixels and {vae.classes} classes; "
                f"expected {strokes.SIZE**2} and 10"
            )
        nets = {
            "encoder": browser.pack(vae.encoder),
            "decoder": browser.pack(vae.decoder, last=_last(vae)),
            "reader": browser.pack(reader),
        }
        data: dict[str, Any] = {name: net.spec for name, net in nets.items()}
        examples = [_on_board(digit) for digit in range(10)]
        data |= {"latent": vae.latent, "examples": examples, "first": FIRST, "width": PEN}
        super().__init__(
            data=data,
            weights=browser.as_bytes(*(net.weights for net in nets.values())),
            strokes=examples[FIRST],
        )
        self._vae, self._reader = vae, reader

    def picture(self) -> Float[np.ndarray, "28 28"]:
        """What the network sees: the drawing, sized and centred as MNIST's digits are.

        Raises:
            ValueError: Nothing is drawn.
        """
        return strokes.as_mnist(self.strokes, width=self.width)

    def proposed(self) -> int:
        """What the classifier takes the drawing for."""
        return int(np.argmax(self._reader(self._input())[0]))

    def style(self) -> Float[np.ndarray, " latent"]:
        """The style z of the drawing."""
        label = self.proposed() if self.label < 0 else self.label
        return np.asarray(style_trials.styles(self._vae, self._input(), np.array([label])))[0]

    def digits(self) -> Float[np.ndarray, "10 28 28"]:
        """All ten digits in the drawing's style, by JAX."""
        written = style_trials.all_ten(self._vae, jnp.asarray(self.style())[None])
        return np.asarray(written).reshape(10, strokes.SIZE, strokes.SIZE)

    def still(self) -> Still:
        """The present picture by JAX and Matplotlib, for readers without a kernel."""
        if not self.strokes:
            return figures.ten_digits(np.zeros((10, 28, 28)), "Draw a digit", "An empty drawing board.")
        label = self.proposed() if self.label < 0 else self.label
        heading = "Run the notebook to draw your own digit; here an example\n"
        told = f"a {label} leaning {measures.slant(self.picture()):+.1f}°, and all ten digits in its style"
        return figures.ten_digits(self.digits(), heading + told, f"Drawing board: {told}.", own=label)

    def _input(self) -> Float[np.ndarray, "1 784"]:
        return self.picture().astype(np.float32).reshape(1, -1)


def _on_board(digit: int) -> list[list[list[float]]]:
    """An example's strokes in the middle of the board, with the lean of its turn."""
    leaning = strokes.shear(strokes.example(digit), _LEAN[digit])
    return [(0.5 + 0.34 * s).round(4).tolist() for s in leaning]
