"""The moon panels: what the page is sent, the page's arithmetic redone in NumPy, retraining, the penalty."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from lecture_lib import browser, measures, moon, moon_panels, moon_trials, panels
from lecture_lib.moon_panels import MoonSlider
from lecture_lib.networks import VAE, Autoencoder
from lecture_lib.panels import Panel
from tests.frames import check_frame, decoded
from tests.laws import law

SIZE = moon_trials.SIZE
PHASES = moon_trials.FIVE_PHASES
MOONS = moon_trials.moons(PHASES)


def models() -> dict[str, Autoencoder | VAE]:
    """Untrained, with steep decoders: their pictures change much along the line."""
    return {
        "Auto-encoder": moon_trials.build("auto-encoder", nnx.Rngs(0), steepness=moon_trials.STEEP),
        "VAE": moon_trials.build("VAE", nnx.Rngs(1)),
    }


@pytest.fixture(scope="module")
def slider() -> MoonSlider:
    return MoonSlider(models(), PHASES, MOONS, place=0.3)


# --- what the page is sent ------------------------------------------------------------------


class Page:
    """What nets.js and moon_slider.js do with the payload, in NumPy."""

    def __init__(self, data: dict[str, Any], weights: bytes):
        floats = np.frombuffer(weights[4:], f"<f{weights[0]}")
        pixels = data["size"] ** 2
        count = len(data["phases"]) * pixels
        self.phases = np.array(data["phases"])
        self.moons = floats[:count].reshape(-1, pixels).astype(np.float64)
        self.layers = {}
        for model in data["models"]:
            net = model["net"]
            part, at, layers = floats[count : count + net["count"]], 0, []
            count += net["count"]
            assert len(part) == net["count"] and net["condition"] is None
            for layer in net["layers"]:
                inputs, outputs = layer["inputs"], layer["outputs"]
                kernel = part[at : at + inputs * outputs].reshape(inputs, outputs)
                at += inputs * outputs
                layers.append((kernel, part[at : at + outputs], layer["activation"]))
                at += outputs
                assert not layer["film"]
            assert at == net["count"]
            self.layers[model["name"]] = layers
        assert count == len(floats)  # nothing is left over

    def decode(self, name: str, z: float) -> np.ndarray:
        x = np.array([z])
        for kernel, bias, activation in self.layers[name]:
            x = x @ kernel.astype(np.float64) + bias
            x = {"tanh": np.tanh, "linear": lambda v: v}[activation](x)
        return x

    def nearest(self, image: np.ndarray) -> tuple[int, float]:
        distances = np.sqrt(((self.moons - image) ** 2).mean(1))
        return int(self.phases[distances.argmin()]), float(distances.min())


def test_payload_decodes_as_jax_does(slider: MoonSlider) -> None:
    page = Page(slider.data, slider.weights)
    for line in slider.data["models"]:
        model = models()[line["name"]]
        z = np.linspace(line["low"], line["high"], 41)
        ours = np.stack([page.decode(line["name"], float(np.float32(v))) for v in z])
        jaxs = np.asarray(model.decoder(jnp.asarray(z, jnp.float32)[:, None]))
        # 1e-5 is asked for; JAX sums 32 float32 products, each good to 6e-8
        np.testing.assert_allclose(ours, jaxs, atol=1e-5, rtol=0)
        assert jaxs.std(axis=0).max() > 0.01  # the pictures do differ along the line


def widths(net: dict[str, Any]) -> list[int]:
    return [net["layers"][0]["inputs"], *(layer["outputs"] for layer in net["layers"])]


def test_payload_is_no_larger_than_it_must_be(slider: MoonSlider) -> None:
    decoder = 1 * 32 + 32 + 32 * 32 + 32 + 32 * SIZE**2 + SIZE**2
    nets = [m["net"] for m in slider.data["models"]]
    assert [net["count"] for net in nets] == [decoder, decoder]
    assert [widths(net) for net in nets] == [[1, 32, 32, SIZE**2]] * 2
    assert [[layer["activation"] for layer in net["layers"]] for net in nets] == [
        ["tanh", "tanh", "linear"]
    ] * 2
    assert len(slider.weights) == 4 + 4 * (36 * SIZE**2 + 2 * decoder)
    json.dumps(slider.data)  # it goes over the wire as JSON


def test_true_moons_of_the_payload(slider: MoonSlider) -> None:
    page = Page(slider.data, slider.weights)
    assert slider.data["size"] == SIZE and slider.data["phases"] == list(range(0, 180, 5))
    for phase, picture in zip(page.phases, page.moons, strict=True):
        # compiled and eager rendering
        np.testing.assert_allclose(picture, np.asarray(moon.render(float(phase), SIZE)).ravel(), atol=1e-6)
    assert page.nearest(np.asarray(moon.render(46.0, SIZE)).ravel())[0] == 45
    phase, distance = page.nearest(np.asarray(moon.render(90.0, SIZE)).ravel())
    assert phase == 90 and distance < 1e-6


def test_codes_of_the_payload(slider: MoonSlider) -> None:
    auto_encoder, vae = slider.data["models"]
    for line in (auto_encoder, vae):
        codes = moon_trials.codes_of(models()[line["name"]], MOONS)
        np.testing.assert_allclose(line["codes"], codes.mean, rtol=1e-6)  # float32 written out
        assert line["phases"] == list(PHASES)
        low, high = sorted((line["low"], line["high"]))
        assert low < min(line["codes"]) and high > max(line["codes"])
    assert auto_encoder["sds"] is None
    np.testing.assert_allclose(vae["sds"], moon_trials.codes_of(models()["VAE"], MOONS).sd, rtol=1e-6)


def test_places_run_from_end_to_end(slider: MoonSlider) -> None:
    moved = MoonSlider(models(), PHASES, MOONS)
    for place in (0.0, 0.25, 1.0):
        moved.place = place
        for line in moved.data["models"]:
            expected = (1 - place) * line["low"] + place * line["high"]
            assert moved.codes()[line["name"]] == pytest.approx(expected, abs=1e-12)
    assert moved.data["start"] == 0 and slider.data["start"] == slider.place == 0.3


@law(100)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=8),
    st.none() | st.floats(0, 10, width=32),
)
def test_code_line_holds_all_codes_with_the_first_on_the_left(codes: list[float], sd: float | None) -> None:
    mean = np.array(codes, np.float32)
    spread = None if sd is None else np.full_like(mean, sd)
    left, right = moon_panels.code_line(moon_trials.Codes(mean, spread))
    assert left != right
    for code in mean:
        assert min(left, right) < code < max(left, right)
    place = (mean - left) / (right - left)
    assert place[0] <= place[-1]
    # the spread stands inside, too, to float32 rounding of mean +- sd
    reach = sd or 0.0
    assert min(left, right) <= float(mean.min()) - reach + 1e-4
    assert max(left, right) >= float(mean.max()) + reach - 1e-4


def test_other_sizes_and_several_layers() -> None:
    """A decoder of other widths, on smaller pictures."""
    images = np.asarray(moon.render_many([0.0, 90.0], 16)).reshape(2, -1)
    model = Autoencoder(256, 1, (7, 5, 3), rngs=nnx.Rngs(0))
    slider = MoonSlider({"one": model}, [0, 90], images)
    page = Page(slider.data, slider.weights)
    assert widths(slider.data["models"][0]["net"]) == [1, 3, 5, 7, 256]
    jaxs = np.asarray(model.decoder(jnp.full((1, 1), 0.7)))[0]
    np.testing.assert_allclose(page.decode("one", float(np.float32(0.7))), jaxs, atol=1e-5)


# --- what readers without a kernel get -------------------------------------------------------


def test_still_shows_the_present_place(slider: MoonSlider) -> None:
    still = slider.still()
    assert decoded(still.png).std() > 10
    for name, code in slider.codes().items():
        image = np.asarray(models()[name].decoder(jnp.full((1, 1), code)))
        # as the page does it, among the true moons of every 5 degrees
        phase, _ = Page(slider.data, slider.weights).nearest(image[0])
        assert phase % 5 == 0
        assert f"{name}: code {code:.2f}, nearest true moon {phase} degrees" in still.alt


def test_live_html_loads_nothing(slider: MoonSlider) -> None:
    text = slider.live_html()
    (script,) = re.findall(r'import\("data:text/javascript;base64,([A-Za-z0-9+/=]+)"\)', text)
    code = base64.b64decode(script).decode()
    assert code == browser.script("nets.js", "moon_slider.js")
    style = browser.script("moon_slider.css")
    for part in (text, code, style):
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+[^\s\"'<]*", part)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}
        for loader in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "@import", "url(", "eval("):
            assert loader not in part
    assert "import" not in code.replace("important", "")
    assert not re.findall(r"<(?:link|iframe|object|embed)\b", text)
    assert all(src.startswith("data:") for src in re.findall(r'\bsrc="([^"]*)"', text))


def test_live_html_carries_the_whole_state(slider: MoonSlider) -> None:
    text = slider.live_html()
    (state,) = re.findall(r"^const state = (.*);$", text, re.MULTILINE)
    assert json.loads(state) == {"data": slider.data, "place": 0.3}
    (weights,) = re.findall(r'atob\("([^"]*)"\)', text)
    assert base64.b64decode(weights) == slider.weights
    assert slider.still().as_html() in text  # the picture stands there until the script runs
    # and if the script fails: it draws in a node of its own, which takes the picture's place when done
    steps = [text.index(s) for s in ("createElement('div')", "el: live })", "el.replaceChildren(live)")]
    assert steps == sorted(steps) and text.count("replaceChildren") == 1
    homes = re.findall(r'id="(MoonSlider-[^"]+)"', text)
    assert len(homes) == 1 and f'getElementById("{homes[0]}")' in text
    other = MoonSlider(models(), PHASES, MOONS)
    assert homes[0] not in other.live_html()  # two sliders in one page do not take each other's place


def test_awkward_names_do_not_break_the_page() -> None:
    name = '</script><b id="x">'
    slider = MoonSlider({name: models()["VAE"]}, PHASES, MOONS)
    text = slider.live_html()
    assert text.count("</script>") == 1 and text.endswith("</script>")
    assert '<b id="x">' not in text.split("<script")[0]
    (state,) = re.findall(r"^const state = (.*);$", text, re.MULTILINE)
    assert json.loads(state)["data"]["models"][0]["name"] == name


def test_mimebundle_of_the_slider(slider: MoonSlider) -> None:
    data, metadata = slider._repr_mimebundle_()
    assert data[panels.WIDGET_VIEW]["model_id"] == slider.model_id
    assert data["text/html"] == slider.live_html()
    still = slider.still()
    assert base64.b64decode(data["image/png"]) == still.png and data["text/plain"] == still.alt
    assert metadata["image/png"]["alt"] == still.alt


@pytest.mark.parametrize("place", [-0.1, 1.1, float("nan")])
def test_place_out_of_range(place: float) -> None:
    with pytest.raises(ValueError, match=r"place is .+; expected a number in \[0, 1\]"):
        MoonSlider(models(), PHASES, MOONS, place=place)


def test_models_and_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="models is empty"):
        MoonSlider({}, PHASES, MOONS)
    for images in (MOONS[:4], MOONS[:, :-1], np.asarray(MOONS).reshape(5, SIZE, SIZE)):
        with pytest.raises(ValueError, match=r"images has shape .+; expected \(5, size \* size\)"):
            MoonSlider(models(), PHASES, images)
    wide = VAE(SIZE**2, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=f"wide: its decoder goes from 2 to {SIZE**2}; expected 1 to"):
        MoonSlider({"wide": wide}, PHASES, MOONS)
    small = VAE(256, 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="small: its decoder goes from 1 to 256"):
        MoonSlider({"small": small}, PHASES, MOONS)
    unknown = VAE(SIZE**2, 1, activation=nnx.elu, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"activation elu is not known in the browser; expected \['tanh'"):
        MoonSlider({"elu": unknown}, PHASES, MOONS)


# --- panels: the first frame, and the frames that follow -------------------------------------


@pytest.fixture(scope="module")
def retraining() -> Panel:
    return moon_panels.retrain_panel()


@pytest.fixture(scope="module")
def start(retraining: Panel) -> moon_panels.Retrained:
    return moon_panels.retrain(**retraining._start)


def test_retraining_at_the_start(start: moon_panels.Retrained) -> None:
    assert start.codes.mean.shape == (5,)
    assert start.codes.sd is not None and start.codes.sd.shape == (5,) and (start.codes.sd > 0).all()
    assert start.strip.shape == (SIZE, 13 * SIZE) and np.isfinite(start.strip).all()
    assert start.trial.in_order.tolist() == [bool(measures.in_order(start.codes.mean))]
    assert start.ends == moon_panels.code_line(start.codes)
    for values in start.trial[:5]:
        assert np.shape(values)[-1] == 1
    # the claim of notebook 01, at its default: codes in order, and a moon half-way
    assert start.trial.in_order[0] and start.trial.is_moon[0]
    # and the moons are told apart: a decoder that ignores the code would show their mean
    ignorant = measures.rms(np.asarray(MOONS).mean(0), MOONS).mean()
    assert start.trial.error[0] < ignorant / 4


def test_retraining_is_the_same_each_time(start: moon_panels.Retrained, retraining: Panel) -> None:
    again = moon_panels.retrain(**retraining._start)
    for one, other in zip(jax.tree.leaves(start), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_strip_shows_moons_along_the_line(start: moon_panels.Retrained) -> None:
    """Near the code of a training moon the strip shows about that moon."""
    low, high = start.ends
    for code, truth in zip(start.codes.mean, np.asarray(MOONS), strict=True):
        k = int(np.clip((code - low) / (high - low) * 13, 0, 12))
        shown = start.strip[:, k * SIZE : (k + 1) * SIZE].ravel()
        rivals = [measures.rms(shown, other) for other in np.asarray(MOONS)]
        assert measures.rms(shown, truth) <= sorted(rivals)[1]


def test_retraining_panel_first_frame_and_frames(retraining: Panel, start: moon_panels.Retrained) -> None:
    assert retraining.first == retraining.drawing(start)
    assert retraining.picture.png == retraining.first.png
    assert decoded(retraining.first.png).std() > 10
    for told in (retraining.numbers.value, retraining.picture.alt):
        assert f"codes in phase order: {'yes' if start.trial.in_order[0] else 'NO'}" in told
        assert f"a moon in {start.trial.neighbours[0]} of 4 pairs" in told
    assert start.trial.in_order[0]
    check_frame(retraining, start)


def test_retraining_panel_follows_its_controls(retraining: Panel) -> None:
    control: Any = retraining.controls["noise_sd"]
    control.value = 0.2
    assert retraining.message.value == ""
    assert retraining.picture.png != retraining.first.png
    what = moon_panels.retrain(0.2, 1.0, 30.0, 0)
    assert retraining.drawing(what).png == retraining.picture.png
    check_frame(retraining, what)
    retraining.reset.click()
    assert retraining.picture.png == retraining.first.png


def test_retraining_tells_of_codes_out_of_order(retraining: Panel, start: moon_panels.Retrained) -> None:
    trial = start.trial._replace(in_order=np.array([False]), neighbours=np.array([1]))
    alt = retraining.drawing(start._replace(trial=trial)).alt
    assert "codes in phase order: NO | half-way between neighbours: a moon in 1 of 4 pairs" in alt


@pytest.mark.parametrize(
    ("noise_sd", "kl_weight", "steepness", "seed"), [(0.2, 0.0, 100.0, 9), (10.0, 10.0, 1.0, 3)]
)
def test_retraining_at_the_corners(
    retraining: Panel, noise_sd: float, kl_weight: float, steepness: float, seed: int
) -> None:
    what = moon_panels.retrain(noise_sd, kl_weight, steepness, seed)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(what))
    check_frame(retraining, what)


# --- the penalty ----------------------------------------------------------------------------


@law(100)
@given(st.floats(-6, 3), st.floats(-6, 6))
def test_penalty_of_both_readings(s: float, m: float) -> None:
    """Kingma and Welling's KL, written out for a variance of exp(s) and for one of exp(2 s)."""
    p = moon_panels.penalty(s, m)
    assert (p.s, p.m) == (s, m)
    assert p.slide == pytest.approx(np.exp(s) - 1 - s + m**2, rel=1e-13, abs=1e-13)
    # quadrature promises 1e-12 of what is summed
    assert p.kl == pytest.approx(0.5 * (np.exp(s) - 1 - s + m**2), rel=1e-11, abs=1e-11)
    assert p.kl_drawn == pytest.approx(0.5 * (np.exp(2 * s) - 1 - 2 * s + m**2), rel=1e-11, abs=1e-11)
    assert p.slide / 2 == pytest.approx(p.kl, rel=1e-11, abs=1e-11)  # the slide is twice the KL


def test_penalty_is_least_for_the_prior() -> None:
    p = moon_panels.penalty(0.0, 0.0)
    assert p.slide == 0 and p.kl == 0 and p.kl_drawn == 0
    for s, m in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05)):
        assert min(moon_panels.penalty(s, m)[2:]) > 1e-4


@pytest.mark.parametrize(("s", "m"), [(np.nan, 0.0), (0.0, np.inf)])
def test_penalty_refuses(s: float, m: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        moon_panels.penalty(s, m)


@pytest.fixture
def penalty() -> Panel:
    return moon_panels.penalty_panel()


def test_penalty_panel_first_frame_and_frames(penalty: Panel) -> None:
    assert penalty.first == penalty.drawing(moon_panels.penalty(-1.5, 1.0))
    for s, m in ((-1.5, 1.0), (-3.0, -3.0), (2.0, 3.0), (0.0, 0.0), (-2.5, 0.4)):
        check_frame(penalty, moon_panels.penalty(s, m))


def test_penalty_panel_tells_its_numbers(penalty: Panel) -> None:
    s, m = penalty.controls["s"], penalty.controls["m"]
    s.value, m.value = 0.5, -2.0  # type: ignore[attr-defined]
    slide, drawn = np.exp(0.5) - 1.5 + 4, 0.5 * (np.exp(1) - 2 + 4)
    numbers = penalty.numbers.value
    assert f"= {slide:.4f}, half of it {slide / 2:.4f}" in numbers
    assert f"N(m, exp(s)): {slide / 2:.4f} nats" in numbers and f"drawn: {drawn:.4f} nats" in numbers
    assert "s = 0.50" in penalty.picture.alt and "m = -2.00" in penalty.picture.alt
    penalty.reset.click()
    assert penalty.picture.png == penalty.first.png


def test_penalty_panel_can_be_grabbed(penalty: Panel) -> None:
    figure = penalty.drawing.figure
    x, y = figure.axes[0].transData.transform((0.7, 1.0)) / figure.bbox.size
    penalty.picture.pointer = [float(x), float(1 - y)]
    control: Any = penalty.controls["s"]
    assert control.value == pytest.approx(0.7, abs=1e-9)
    assert "s = 0.70" in penalty.picture.alt
    axes = figure.axes[0]
    assert penalty.picture.region == pytest.approx(penalty.drawing.region(axes))
    left, top, width, height = penalty.picture.region
    assert left < x < left + width < 0.5 and top < 1 - y < top + height  # in the left of the three axes
    penalty.picture.pointer = [1.0, 0.5]
    assert control.value == control.max
    penalty.picture.pointer = [0.0, 0.5]
    assert control.value == control.min
