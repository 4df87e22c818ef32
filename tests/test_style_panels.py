"""The panels of notebook 04: sliders of style, two writers, and the weight of the KL."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import figures, measures, style_panels, style_trials
from lecture_lib.digit_pictures import INK_LOOK, RAW
from lecture_lib.networks import ConditionalVAE
from lecture_lib.panels import Panel
from lecture_lib.style_trials import Digits, Effects, Transfer, Verdict
from tests.frames import check_controls, check_frame, numbers

NEW = Digits(*(part[:40] for part in style_trials.embedded("new writers")))


def model(seed: int = 0) -> ConditionalVAE:
    """Untrained, but it writes the mean digit of each class, and z changes it by the first weights."""
    seen = style_trials.embedded("writers")
    recipe = style_trials.DIGITS._replace(hidden=(16,))
    made = style_trials.build(recipe, nnx.Rngs(seed))
    means = np.stack([seen.x[seen.labels == digit].mean(axis=0) for digit in range(10)])
    made.decoder.layers[-1].shift[...] = jnp.asarray(means)
    return made


MODEL = model()
# z1 and z2 slant, z3 weight, z8 idle
EFFECTS = Effects(
    np.array([4.2, -3.0, 0.4, 0.1, 0, 0, 0.3, 0]),
    np.array([0.001, 0.002, -0.034, 0.01, 0, 0, 0.012, 0]),
    np.array([1, 0.9, 0.8, 0.5, 0.4, 0.3, 0.6, 0.1]),
    (0.9, 0.9),
)
NAMES = ["slant", "slant", "weight", "shape", "shape", "shape", "shape", "idle"]


def style_of(which: int, of: ConditionalVAE = MODEL) -> np.ndarray:
    return np.asarray(of.encoder(jnp.asarray(NEW.x[[which]]), jnp.asarray(NEW.labels[[which]])).mean)[0]


def ten(z: Any, of: ConditionalVAE = MODEL) -> np.ndarray:
    """All digits in a style, written one class at a time."""
    z = jnp.asarray(z, jnp.float32)[None]
    written = [np.asarray(of.write(z, jnp.array([digit])))[0] for digit in range(10)]
    return np.clip(np.array(written), 0, 1).reshape(10, 8, 8)


def shown(image: Any, look: str) -> np.ndarray:
    """What the eye is to see, written out once more."""
    if look == INK_LOOK:
        return figures.as_ink(image)
    framed = np.zeros((10, 10))
    framed[1:-1, 1:-1] = image
    return framed.repeat(12, axis=0).repeat(12, axis=1)


def lean(image: Any) -> float:
    return float(measures.slant(image))


# --- the style board ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_board() -> Panel:
    return style_panels.board_panel(MODEL, EFFECTS, NEW, start=3)


@pytest.fixture
def board(made_board: Panel) -> Panel:
    made_board.reset.click()
    return made_board


def test_board_starts_with_the_style_of_a_digit(board: Panel) -> None:
    values = board.values()
    assert values == {**{f"z{i}": 0 for i in range(1, 9)}, "which": 3, "look": INK_LOOK}
    what = board.compute(**values)
    np.testing.assert_array_equal(what.source, NEW.x[3].reshape(8, 8))
    assert what.label == NEW.labels[3] and (what.moved == 0).all()
    np.testing.assert_allclose(what.z, style_of(3), atol=1e-5)
    np.testing.assert_allclose(what.written, ten(what.z), atol=1e-5)
    assert np.abs(what.z).max() > 0.1


def test_board_adds_the_sliders_to_the_style(board: Panel) -> None:
    moves = {f"z{i}": 0.3 * i - 1.1 for i in range(1, 9)}
    what = board.compute(which=7, look=RAW, **moves)
    np.testing.assert_allclose(what.moved, list(moves.values()))
    np.testing.assert_allclose(what.z, style_of(7) + what.moved, atol=1e-5)
    np.testing.assert_allclose(what.written, ten(what.z), atol=1e-5)


def test_board_tells_its_numbers(board: Panel) -> None:
    for which, z1 in ((3, 0.0), (10, 1.5)):
        board.controls["which"].value = which
        board.controls["z1"].value = z1
        source, written = NEW.x[which].reshape(8, 8), ten(style_of(which) + z1 * np.eye(8)[0])
        assert numbers(board) == [
            f"a {NEW.labels[which]}: slant {lean(source):+.1f}°, ink {source.mean():.3f}",
            f"the ten: slant {np.mean([lean(w) for w in written]):+.1f}°, ink {written.mean():.3f}",
        ]
        assert " | ".join(numbers(board)) in board.picture.alt
    z = ", ".join(f"{value:+.2f}" for value in style_of(10) + 1.5 * np.eye(8)[0])
    assert board.picture.alt.startswith(
        f"A digit, its style z = ({z}) as bars, and all ten digits in it, as ink"
    )


def test_sliders_of_the_board_are_named_by_their_effects(board: Panel) -> None:
    assert EFFECTS.names() == NAMES
    labels = [board.controls[f"z{i}"].description for i in range(1, 9)]
    assert labels == [
        *("z1: slant +4°", "z2: slant -3°", "z3: ink -0.03"),
        *(f"z{i}: shape" for i in (4, 5, 6, 7)),
        "z8: idle",
    ]
    ticks = [text.get_text() for text in board.drawing.figure.axes[1].get_xticklabels()]
    told = ["slant", "slant", "ink", "shape", "shape", "shape", "shape", "idle"]
    assert ticks == [f"z{i + 1}\n{name}" for i, name in enumerate(told)]


def test_each_control_of_the_board_changes_the_picture(board: Panel) -> None:
    check_controls(board)


@pytest.mark.parametrize("look", [INK_LOOK, RAW])
def test_board_shows_what_was_computed(board: Panel, look: str) -> None:
    what = board.compute(which=5, look=look, **{f"z{i}": 0.4 for i in range(1, 9)})
    check_frame(board, what)
    source, *rest = board.drawing.moving
    bars, marks, pictures = rest[:8], rest[8], rest[9:]
    assert len(pictures) == 10
    for artist, image in zip([source, *pictures], [NEW.x[5].reshape(8, 8), *ten(what.z)], strict=True):
        np.testing.assert_allclose(
            artist.get_array(), shown(image, look), atol=1e-4
        )  # ink is 2.5 times as steep
        assert artist.get_clim() == (0, 1)
    np.testing.assert_allclose([bar.get_height() for bar in bars], style_of(5), atol=1e-5)  # type: ignore[attr-defined]
    np.testing.assert_allclose(marks.get_ydata(), style_of(5) + 0.4, atol=1e-5)  # type: ignore[attr-defined]
    captions = [picture.axes.get_xlabel() for picture in pictures]
    assert captions == [str(digit) for digit in range(10)]


# --- two writers ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_morph() -> Panel:
    return style_panels.morph_panel(MODEL, NEW, start=(3, 8))


@pytest.fixture
def morph(made_morph: Panel) -> Panel:
    made_morph.reset.click()
    return made_morph


def test_between_two_writers(morph: Panel) -> None:
    assert morph.values() == {"share": 0.5, "digit": 4, "a": 3, "b": 8, "look": INK_LOOK}
    for share, digit in ((0.0, 4), (0.36, 9), (1.0, 0)):
        what = morph.compute(a=3, b=8, share=share, digit=digit, look=RAW)
        np.testing.assert_array_equal(what.ends, NEW.x[[3, 8]].reshape(2, 8, 8))
        assert what.labels == (NEW.labels[3], NEW.labels[8])
        z = (1 - share) * style_of(3) + share * style_of(8)
        np.testing.assert_allclose(what.here, ten(z)[digit], atol=1e-5)
        assert what.row.shape == (9, 8, 8)
        for k in range(9):
            z = (8 - k) / 8 * style_of(3) + k / 8 * style_of(8)
            np.testing.assert_allclose(what.row[k], ten(z)[digit], atol=1e-5)


def test_morph_tells_its_numbers(morph: Panel) -> None:
    first, second = (lean(NEW.x[k].reshape(8, 8)) for k in (3, 8))
    between = lean(ten((style_of(3) + style_of(8)) / 2)[4])
    assert numbers(morph) == [
        f"first: a {NEW.labels[3]} of slant {first:+.1f}°",
        f"between: a 4 of slant {between:+.1f}°",
        f"second: a {NEW.labels[8]} of slant {second:+.1f}°",
    ]
    assert morph.picture.alt == (
        "Two digits by two writers, a 4 in the style between them at 0.50, and a row of nine on the way, "
        f"as ink. {' | '.join(numbers(morph))}."
    )


def test_each_control_of_the_morph_changes_the_picture(morph: Panel) -> None:
    check_controls(morph)


@pytest.mark.parametrize("look", [INK_LOOK, RAW])
def test_morph_shows_what_was_computed(morph: Panel, look: str) -> None:
    what = morph.compute(a=1, b=6, share=0.25, digit=7, look=look)
    check_frame(morph, what)
    artists: list[Any] = morph.drawing.moving
    first, between, second, *row, marker = artists
    for artist, image in zip(
        [first, between, second, *row], [what.ends[0], what.here, what.ends[1], *what.row], strict=True
    ):
        np.testing.assert_allclose(artist.get_array(), shown(image, look), atol=1e-12)
    # the marker stands under the third of nine pictures, where 0.25 is
    across = marker.axes.transData.transform((0.25, 0.5))[0]
    box = row[2].axes.get_window_extent()
    assert across == pytest.approx((box.x0 + box.x1) / 2, abs=1)
    assert marker.get_xdata() == [0.25]
    assert [picture.axes.get_xlabel() for picture in row] == [f"{k / 8:g}" for k in range(9)]


# --- the weight of the KL -------------------------------------------------------------------

BETAS = (0.5, 2.0, 10.0)
MODELS = {beta: model(seed) for seed, beta in enumerate(BETAS)}


def verdict(beta: float) -> Verdict:
    """Made up; all figures differ."""
    at = BETAS.index(beta)
    slant, ink = (Transfer(base - 0.1 * at, 0.1, 0.0, 0.9, 0.8) for base in (0.8, 0.7))
    return Verdict(0.95 + 0.013 * at, 0.9, {"slant": slant, "ink": ink}, 0.31 - 0.04 * at, 0.62 - 0.03 * at)


VERDICTS = {beta: verdict(beta) for beta in BETAS}


@pytest.fixture(scope="module")
def made_traded() -> Panel:
    return style_panels.beta_panel(MODELS, VERDICTS, NEW, start=2)


@pytest.fixture
def traded(made_traded: Panel) -> Panel:
    made_traded.reset.click()
    return made_traded


def test_beta_panel_writes_with_the_model_of_that_weight(traded: Panel) -> None:
    assert traded.values() == {"beta": 2.0, "which": 2, "look": INK_LOOK}
    for beta in BETAS:
        what = traded.compute(beta=beta, which=9, look=RAW)
        np.testing.assert_allclose(what.written, ten(style_of(9, MODELS[beta]), MODELS[beta]), atol=1e-5)
        assert what.verdict is VERDICTS[beta] and what.label == NEW.labels[9]


def test_beta_panel_tells_its_numbers(traded: Panel) -> None:
    assert numbers(traded) == [
        "β = 2: fidelity 0.963",
        "slant 0.700",
        "ink 0.600",
        "label read from z: 0.590 (nearest), 0.270 (linear)",
    ]
    assert f"ten digits in the style of a {NEW.labels[2]}, as ink." in traded.picture.alt
    assert " | ".join(numbers(traded)) in traded.picture.alt
    traded.controls["beta"].value = 0.5
    assert numbers(traded)[:2] == ["β = 0.5: fidelity 0.950", "slant 0.800"]


def test_each_control_of_the_beta_panel_changes_the_picture(traded: Panel) -> None:
    check_controls(traded)


@pytest.mark.parametrize("look", [INK_LOOK, RAW])
def test_beta_panel_shows_what_was_computed(traded: Panel, look: str) -> None:
    what = traded.compute(beta=10.0, which=4, look=look)
    check_frame(traded, what)
    artists: list[Any] = traded.drawing.moving
    line, dot, *pictures = artists
    assert line.get_xdata() == [10, 10]
    np.testing.assert_allclose(dot.get_data(), [[0.55], [0.976]])
    for picture, image in zip(pictures, what.written, strict=True):
        np.testing.assert_allclose(picture.get_array(), shown(image, look), atol=1e-12)
    left, right = traded.drawing.figure.axes[:2]
    curves = {curve.get_label(): curve for curve in left.lines}
    for label, values in (
        ("label fidelity", [0.95, 0.963, 0.976]),
        ("slant carried over", [0.8, 0.7, 0.6]),
        ("ink carried over", [0.7, 0.6, 0.5]),
        ("label read from z (nearest)", [0.62, 0.59, 0.56]),
    ):
        np.testing.assert_allclose(curves[label].get_data(), [BETAS, values])
    np.testing.assert_allclose(right.lines[0].get_data(), [[0.75, 0.65, 0.55], [0.95, 0.963, 0.976]])
    # each line has its own look, without colour
    looks = [(c.get_linestyle(), c.get_marker()) for name, c in curves.items() if not name.startswith("_")]
    assert len(set(looks)) == 4


# --- what is refused ------------------------------------------------------------------------


def test_panels_are_of_8x8_digits() -> None:
    large = Digits(np.zeros((3, 784), np.float32), np.zeros(3, np.int32))
    told = r"^new has pictures of 28 x 28; expected 8 x 8"
    with pytest.raises(ValueError, match=told):
        style_panels.board_panel(MODEL, EFFECTS, large)
    with pytest.raises(ValueError, match=told):
        style_panels.morph_panel(MODEL, large)
    with pytest.raises(ValueError, match=told):
        style_panels.beta_panel(MODELS, VERDICTS, large)


def test_models_and_verdicts_belong_together() -> None:
    told = r"^models has weights \[0.5, 2.0, 10.0\], verdicts \[0.5, 2.0\]; expected the same, at least one"
    with pytest.raises(ValueError, match=told):
        style_panels.beta_panel(MODELS, {beta: VERDICTS[beta] for beta in BETAS[:2]}, NEW)
    with pytest.raises(ValueError, match=r"^models has weights \[\], verdicts \[\]"):
        style_panels.beta_panel({}, {}, NEW)


def test_start_has_to_be_among_the_digits() -> None:
    with pytest.raises(ValueError, match=r"^start is 40, low 0, high 39"):
        style_panels.morph_panel(MODEL, NEW, start=(0, 40))
