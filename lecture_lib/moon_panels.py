"""The panels of notebooks 00 and 01: the moon slider in the browser, retraining, and the curves of the KL."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jax.typing import ArrayLike
from jaxtyping import Float

from lecture_lib import browser, checks, figures, measures, moon_trials
from lecture_lib.figures import BLUE, GREEN, INK, ORANGE, Drawing, Still
from lecture_lib.moon_trials import SIZE
from lecture_lib.networks import VAE, Autoencoder
from lecture_lib.panels import Grab, PageWidget, Panel, choice_slider, slider

_TRUE_STEP = 5


class MoonSlider(PageWidget):
    """One slider along the code line of each model; the decoders run in the browser.

    Weights are sent once. The page computes each moon, finds the nearest true moon (of one every 5 degrees)
    and paints both, with no call to the kernel; it goes on working in an exported page.

    Args:
        models: Name to trained model with a 1-D code, on square pictures.
        phases: Phase angle of each training moon, degrees.
        images: The training moons, shape (n, pixels).
        place: Where on the code line the slider starts, from 0 to 1.

    Raises:
        ValueError: No model, a code that is not 1-D, an activation that `browser.pack` does not
            know, or shapes that do not fit.
    """

    _esm = browser.script("nets.js", "moon_slider.js")
    _css = browser.script("moon_slider.css")
    place = traitlets.Float(0.0).tag(sync=True)
    moving = ("place",)

    def __init__(
        self,
        models: Mapping[str, Autoencoder | VAE],
        phases: Sequence[float],
        images: Float[ArrayLike, "n pixels"],
        *,
        place: float = 0.0,
    ):
        if not models:
            raise ValueError("models is empty; expected at least one trained model")
        if not 0 <= place <= 1:
            raise ValueError(f"place is {place}; expected a number in [0, 1]")
        images = np.asarray(images, np.float32)
        size = round(images.shape[-1] ** 0.5)
        if images.ndim != 2 or len(images) != len(phases) or size**2 != images.shape[1]:
            raise ValueError(
                f"images has shape {images.shape}; expected ({len(phases)}, size * size), one for each phase"
            )
        true_phases, true = measures.true_moons(size, _TRUE_STEP)
        floats, lines = [true], []
        for name, model in models.items():
            decoder = model.decoder
            if (decoder.latent, decoder.pixels) != (1, size**2):
                raise ValueError(
                    f"{name}: its decoder goes from {decoder.latent} to {decoder.pixels}; "
                    f"expected 1 to {size**2}"
                )
            net = browser.pack(decoder)
            codes = moon_trials.codes_of(model, jnp.asarray(images))
            low, high = code_line(codes)
            lines.append(
                {
                    "name": name,
                    "net": net.spec,
                    "phases": [round(float(phase)) for phase in phases],
                    "codes": codes.mean.tolist(),
                    "sds": None if codes.sd is None else codes.sd.tolist(),
                    "low": low,
                    "high": high,
                }
            )
            floats.append(net.weights)
        data = {
            "size": size,
            "phases": true_phases.tolist(),
            "models": lines,
            "label": "place on the code line (left end to right end)",
            "symbol": "z",
            "start": place,
        }
        super().__init__(data=data, weights=browser.as_bytes(*floats), place=place)
        self._models = dict(models)

    def codes(self) -> dict[str, float]:
        """The code that each model decodes at the slider's present place."""
        return {m["name"]: m["low"] + self.place * (m["high"] - m["low"]) for m in self.data["models"]}

    def still(self) -> Still:
        """The present picture by JAX and Matplotlib, for readers without a kernel."""
        pictures, titles, told = [], [], []
        for name, code in self.codes().items():
            image = np.asarray(self._models[name].decoder(jnp.full((1, 1), code)))
            near = measures.nearest_moon(image, step=_TRUE_STEP)
            truth = measures.true_moons(self.data["size"], _TRUE_STEP)[1][near.phase[0] // _TRUE_STEP]
            pictures += [image[0], truth]
            phase, distance = near.phase[0], near.distance[0]
            titles += [f"{name}\nz = {code:.2f}", f"nearest true moon\n{phase}°, {distance:.3f} away"]
            told.append(f"{name}: code {code:.2f}, nearest true moon {phase} degrees")
        shape = (-1, self.data["size"], self.data["size"])
        heading = "Run the notebook to move along the code line"
        alt = "Moons decoded from one place on the code line. " + "; ".join(told) + "."
        return figures.moon_row(np.reshape(pictures, shape), titles, heading, alt)


def code_line(codes: moon_trials.Codes) -> tuple[float, float]:
    """The two ends of the code line, so that the first training moon stands left of the last one."""
    spread = 0.0 if codes.sd is None else codes.sd
    low, high = float(np.min(codes.mean - spread)), float(np.max(codes.mean + spread))
    margin = 0.06 * max(high - low, 1e-3)
    low, high = low - margin, high + margin
    return (low, high) if codes.mean[0] <= codes.mean[-1] else (high, low)


class Retrained(NamedTuple):
    """What the retraining panel draws."""

    codes: moon_trials.Codes
    ends: tuple[float, float]
    strip: Float[np.ndarray, "size width"]
    """Moons decoded at evenly spaced codes, side by side, shape (size, k * size)."""
    trial: moon_trials.Trial
    """The verdicts, as of a trial with one run."""


def retrain(noise_sd: float, kl_weight: float, steepness: float, seed: int) -> Retrained:
    """Train a VAE on five moons from scratch and look along its code line.

    Args:
        noise_sd: The decoder's noise: standard deviation of a pixel given the code, above 0.
        kl_weight: Weight beta of the KL term; 1 is the VAE, 0 drops the constraint.
        steepness: Of the decoder at the start; see `networks.Decoder`.
        seed: Of the weights and of the training.

    Raises:
        RuntimeError: The training was interrupted; the panel says so.
    """
    x = moon_trials.moons(moon_trials.FIVE_PHASES)
    fitted = moon_trials.train(
        "VAE",
        moon_trials.FIVE_PHASES,
        key=jax.random.key(seed),
        steepness=steepness,
        noise_sd=noise_sd,
        hyper={"beta": kl_weight},
    )
    if fitted.interrupted:
        raise RuntimeError(
            "the training was interrupted, and a half-trained VAE is not judged; move a slider"
        )
    codes = moon_trials.codes_of(fitted.model, x)
    low, high = code_line(codes)
    grid = np.linspace(low, high, 14, dtype=np.float32)[:-1] + (high - low) / 26
    seen = np.asarray(fitted.model.decoder(grid[:, None]))
    decoded = fitted.model.decoder(jnp.asarray(codes.mean)[:, None])
    between = moon_trials.between(fitted.model, x, moon_trials.FIVE_PHASES)
    trial = moon_trials.judge(codes.mean[None], decoded[None], between[None], x, moon_trials.FIVE_PHASES)
    return Retrained(codes, (low, high), figures.strip(seen.reshape(-1, SIZE, SIZE), gap=0), trial)


@figures.styled
def retrain_panel() -> Panel:
    """Sliders for the decoder's noise, the KL's weight, the steepness, the seed; each trains a VAE anew."""
    phases = moon_trials.FIVE_PHASES
    fig, (top, bottom) = figures.figure(8, 3.2, nrows=2, sharex=True, height_ratios=[2.7, 1])
    colours = [BLUE, ORANGE, GREEN, figures.PURPLE, figures.SKY]
    bands = [top.fill([0, 0], [0, 0], color=c, alpha=0.3)[0] for c in colours]
    marks = [
        top.plot([0, 0], [0, 1], color=c, ls=s)[0]
        for c, s in zip(colours, ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))], strict=True)
    ]
    names = [top.text(0, 1.05, f"{phase}°", ha="center") for phase in phases]
    top.set(
        title="Codes of the five training moons, with their noise (one bell a moon)",
        ylim=(0, 1.36),
        yticks=[],
    )
    top.tick_params(bottom=False, labelbottom=False)
    top.spines["left"].set_visible(False)
    picture = bottom.imshow(np.zeros((SIZE, 13 * SIZE)), cmap="gray", vmin=0, vmax=1, aspect="auto")
    bottom.set(xlabel="code z, left to right; below each place the moon decoded there", yticks=[])
    bottom.set_xlim(-0.025, 1.025)
    bottom.spines["left"].set_visible(False)

    def update(what: Retrained) -> None:
        low, high = what.ends
        places = (what.codes.mean - low) / (high - low)
        assert what.codes.sd is not None
        for i, place in enumerate(places):
            sd = what.codes.sd[i] / abs(high - low)
            t = np.linspace(-3, 3, 41)
            bands[i].set_xy(np.column_stack([place + t * sd, np.exp(-(t**2) / 2)]))
            marks[i].set_xdata([place, place])
            names[i].set_position((place, 1.05 + 0.16 * (i % 2)))
        picture.set_data(what.strip)
        picture.set_extent((0, 1, 0, 1))
        bottom.set_xticks(np.linspace(0, 1, 5), [f"{c:.2f}" for c in np.linspace(low, high, 5)])

    def alt(what: Retrained) -> str:
        codes = ", ".join(f"{p} degrees at {c:.2f}" for p, c in zip(phases, what.codes.mean, strict=True))
        return f"Codes of the training moons with noise bells ({codes}) above decoded moons. {say(what)}"

    def say(what: Retrained) -> str:
        trial = what.trial
        assert what.codes.sd is not None
        return (
            f"codes in phase order: {'yes' if trial.in_order[0] else 'NO'} | "
            f"half-way between neighbours: a moon in {trial.neighbours[0]} of {trial.pairs} pairs | "
            f"mean sd of the noise {what.codes.sd.mean():.3f} | reconstruction error {trial.error[0]:.3f}"
        )

    moving = [*bands, *marks, *names, picture, bottom.xaxis]
    controls = {
        "noise_sd": choice_slider(
            "decoder's noise (sd of a pixel)", 2.0, [0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0]
        ),
        "kl_weight": choice_slider(
            "weight of the KL term (1 = VAE)", 1.0, [0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0]
        ),
        "steepness": choice_slider("decoder's steepness at the start", 30.0, [1.0, 3.0, 10.0, 30.0, 100.0]),
        "seed": choice_slider("seed", 0, list(range(10))),
    }
    return Panel(retrain, Drawing(fig, moving, update, alt), controls, describe=say)


class Penalty(NamedTuple):
    """The slide's penalty for one latent dimension, and the KL that it should be."""

    s: float
    m: float
    slide: float
    """exp(s) - (1 + s) + m^2."""
    kl: float
    """KL(N(m, exp(s)) || N(0, 1)) by quadrature, nats: the variance is exp(s)."""
    kl_drawn: float
    """KL(N(m, exp(2 s)) || N(0, 1)) by quadrature: the noise e is multiplied by exp(s), as in the drawing."""


def penalty(s: float, m: float) -> Penalty:
    """The slide's formula beside the exact KL of both readings of sigma.

    Args:
        s: sigma of the slides.
        m: m of the slides.
    """
    checks.finite("s", np.float64(s))
    checks.finite("m", np.float64(m))
    slide = float(np.exp(s) - (1 + s) + m**2)
    exact = measures.kl_by_quadrature
    return Penalty(s, m, slide, exact(m, np.exp(s / 2)), exact(m, np.exp(s)))


@figures.styled
def penalty_panel() -> Panel:
    """The curves exp(s), 1 + s, their difference, and m^2, with moving markers; the densities beside them."""
    fig, (left, middle, right) = figures.figure(8, 3.1, ncols=3, width_ratios=[1.25, 0.9, 1.1])
    s = np.linspace(-3, 2, 201)
    left.plot(s, np.exp(s), "-", color=BLUE, label="exp(s)")
    left.plot(s, 1 + s, "--", color=ORANGE, label="1 + s")
    left.plot(s, np.exp(s) - (1 + s), "-.", color=GREEN, label="difference")
    left.set(
        title="Blue, red and green curve",
        xlabel="s = log-variance",
        ylabel="value",
        ylim=(-2.2, 5),
        xlim=(-3, 2),
    )
    left.legend(loc="upper left")
    m = np.linspace(-3, 3, 121)
    middle.plot(m, m**2, color=figures.PURPLE)
    middle.set(title="m²", xlabel="m = mean", ylabel="value", ylim=(-0.4, 9.4))
    z = np.linspace(-6, 6, 401)
    right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), "--", color=INK, label="prior N(0, 1)")
    (density,) = right.plot(z, z, "-", color=BLUE, label="q(z|x) = N(m, exp(s))")
    right.set(
        title="What is penalised",
        xlabel="z",
        ylabel="density",
        ylim=(0, 1.15),
        xlim=(-6, 6),
        xticks=range(-6, 7, 3),
    )
    right.legend(loc="upper left", handlelength=1.5)
    (line,) = left.plot([0, 0], [-2.2, 5], ":", color=figures.FAINT, lw=1)
    (dots,) = left.plot([], [], "o", color=INK, ms=6)
    (dot,) = middle.plot([], [], "o", color=INK, ms=6)

    def update(what: Penalty) -> None:
        s, m = what.s, what.m
        line.set_xdata([s, s])
        dots.set_data([s] * 3, [np.exp(s), 1 + s, np.exp(s) - (1 + s)])
        dot.set_data([m], [m**2])
        density.set_ydata(np.exp(-((z - m) ** 2) / np.exp(s) / 2 - s / 2) / np.sqrt(2 * np.pi))

    def say(what: Penalty) -> str:
        return (
            f"slide: exp(s) - (1 + s) + m² = {what.slide:.4f}, half of it {what.slide / 2:.4f} | exact KL of "
            f"N(m, exp(s)): {what.kl:.4f} nats | if e is multiplied by exp(s), "
            f"as drawn: {what.kl_drawn:.4f} nats"
        )

    def alt(what: Penalty) -> str:
        return (
            f"Curves exp(s), 1 + s and their difference, lowest at s = 0, with markers at s = {what.s:.2f}; "
            f"m squared with a marker at m = {what.m:.2f}; the density of q beside the prior. {say(what)}"
        )

    controls = {
        "s": slider("s, the log-variance", -1.5, -3, 2, 0.05),
        "m": slider("m, the mean", 1.0, -3, 3, 0.05),
    }
    drawing = Drawing(fig, [line, dots, dot, density], update, alt)
    return Panel(penalty, drawing, controls, grab=Grab("s", left), describe=say)
