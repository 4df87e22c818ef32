"""The networks that are told the label: against NumPy, what the label does, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from lecture_lib.conditional import ConditionalDecoder, ConditionalEncoder, ConditionalVAE
from lecture_lib.layers import FiLM, Fixed
from lecture_lib.networks import VAE

N, PIXELS, LATENT, CLASSES = 6, 9, 2, 3
LABELS = np.array([0, 2, 1, 1, 0, 2])


def gelu(x: np.ndarray) -> np.ndarray:
    """The usual approximation by tanh (Hendrycks and Gimpel 2016), which the page computes, too."""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def numpy_conditional(decoder: ConditionalDecoder, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The conditional decoder in float64, from its weights alone."""
    film = decoder.condition == "film"
    h = z.astype(np.float64) if film else np.concatenate([z, np.eye(decoder.classes)[labels]], axis=1)
    parts = decoder.layers if film else [p for p in decoder.layers.layers if isinstance(p, nnx.Linear)]
    for i, part in enumerate(parts):
        linear: Any = part.linear if film else part
        h = h @ np.asarray(linear.kernel[...], np.float64) + np.asarray(linear.bias[...], np.float64)
        if film:
            scale, shift = (np.asarray(v[...], np.float64)[labels] for v in (part.scale, part.shift))
            h = (1 + scale) * h + shift
        h = gelu(h) if i < len(parts) - 1 else h
    return h


def stirred(model: Any) -> Any:
    """All weights drawn anew: no scale or shift is 0."""
    rng = np.random.default_rng(0)
    state = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda v: jnp.asarray(rng.normal(0, 0.5, v.shape), v.dtype), state))
    return model


@pytest.fixture(scope="module")
def film_vae() -> ConditionalVAE:
    return stirred(ConditionalVAE(PIXELS, LATENT, (5, 4), classes=CLASSES, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def concat_vae() -> ConditionalVAE:
    return stirred(
        ConditionalVAE(
            *(PIXELS, LATENT, (5, 4)),
            classes=CLASSES,
            condition="concat",
            likelihood="bernoulli",
            rngs=nnx.Rngs(0),
        )
    )


def pictures() -> np.ndarray:
    return np.random.default_rng(5).uniform(size=(N, PIXELS)).astype(np.float32)


def styles() -> np.ndarray:
    return np.random.default_rng(6).normal(size=(N, LATENT)).astype(np.float32)


def test_conditional_encoder_reads_the_label_beside_the_picture(film_vae: ConditionalVAE) -> None:
    layers = [p for p in film_vae.encoder.layers.layers if isinstance(p, nnx.Linear)]
    assert [p.kernel.shape for p in layers] == [(PIXELS + CLASSES, 5), (5, 4), (4, 2 * LATENT)]
    x = pictures()
    h = np.concatenate([x, np.eye(CLASSES)[LABELS]], axis=1)
    for i, layer in enumerate(layers):
        assert layer.bias is not None
        h = h @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)
        h = gelu(h) if i < 2 else h
    q = film_vae.encoder(jnp.asarray(x), jnp.asarray(LABELS))
    np.testing.assert_allclose(q.mean, h[:, :LATENT], atol=1e-5)  # float32
    np.testing.assert_allclose(q.log_var, h[:, LATENT:], atol=1e-5)
    told_otherwise = film_vae.encoder(jnp.asarray(x), jnp.asarray((LABELS + 1) % CLASSES))
    assert np.abs(np.asarray(told_otherwise.mean - q.mean)).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("name", ["film_vae", "concat_vae"])
def test_conditional_decoder_is_what_numpy_makes_of_its_weights(
    name: str, request: pytest.FixtureRequest
) -> None:
    decoder = request.getfixturevalue(name).decoder
    z = styles()
    ours = decoder(jnp.asarray(z), jnp.asarray(LABELS))
    np.testing.assert_allclose(ours, numpy_conditional(decoder, z, LABELS), atol=1e-5)  # float32
    for shift in (1, 2):
        other = decoder(jnp.asarray(z), jnp.asarray((LABELS + shift) % CLASSES))
        assert np.abs(np.asarray(other - ours)).max(axis=1).min() > 1e-3  # every label has its own picture


def test_film_starts_blind_to_the_label_and_concat_does_not() -> None:
    z = jnp.asarray(styles())
    for condition in ("film", "concat"):
        decoder = ConditionalDecoder(
            LATENT, PIXELS, (4, 5), classes=CLASSES, condition=condition, rngs=nnx.Rngs(0)
        )
        one, other = (np.asarray(decoder(z, jnp.full(N, label))) for label in (0, 2))
        assert np.array_equal(one, other) is (condition == "film")


def test_film_is_at_every_layer_and_concat_at_the_input_only(
    film_vae: ConditionalVAE, concat_vae: ConditionalVAE
) -> None:
    """Both told the label; of concat's labels a unit sees a shift, as a FiLM layer without scales gives."""
    assert [type(layer) for layer in film_vae.decoder.layers] == [FiLM] * 3
    assert [layer.scale.shape for layer in film_vae.decoder.layers] == [
        (CLASSES, width) for width in (4, 5, PIXELS)
    ]
    concat: Any = concat_vae.decoder
    first = concat.layers.layers[0]
    assert first.kernel.shape == (LATENT + CLASSES, 4)
    film = nnx.clone(film_vae.decoder)
    nnx.update(film, jax.tree.map(jnp.zeros_like, nnx.state(film, nnx.Param)))
    linear = [p for p in concat.layers.layers if isinstance(p, nnx.Linear)]
    for layer, source in zip(film.layers, linear, strict=True):
        assert source.bias is not None
        layer.linear.bias[...] = source.bias[...]
        layer.linear.kernel[...] = source.kernel[...][:LATENT] if source is first else source.kernel[...]
    film.layers[0].shift[...] = first.kernel[...][LATENT:]
    args = jnp.asarray(styles()), jnp.asarray(LABELS)
    np.testing.assert_allclose(film(*args), concat(*args), atol=1e-5)  # float32


def test_gradients_reach_every_scale_and_shift(film_vae: ConditionalVAE) -> None:
    z = jnp.asarray(styles())

    def total(decoder: ConditionalDecoder, labels: Any) -> Any:
        return jnp.sum(decoder(z, labels) ** 2)

    gradient: Any = nnx.jit(nnx.grad(total))(film_vae.decoder, jnp.asarray(LABELS))
    for i in range(3):
        for leaf in (gradient.layers[i].scale, gradient.layers[i].shift):
            assert (np.abs(np.asarray(leaf[...])).max(axis=1) > 0).all()


@pytest.mark.parametrize("name", ["film_vae", "concat_vae"])
def test_all_classes_are_those_written_one_by_one(name: str, request: pytest.FixtureRequest) -> None:
    vae = request.getfixturevalue(name)
    z = styles()
    every = np.asarray(vae.all_classes(jnp.asarray(z)))
    assert every.shape == (N, CLASSES, PIXELS)
    for i in range(N):
        for label in range(CLASSES):
            decoded = numpy_conditional(vae.decoder, z[i : i + 1], np.array([label]))[0]
            expected = special.expit(decoded) if vae.likelihood == "bernoulli" else decoded
            np.testing.assert_allclose(every[i, label], expected, atol=1e-5)  # float32
    np.testing.assert_allclose(
        vae.write(jnp.asarray(z), jnp.asarray(LABELS)), every[np.arange(N), LABELS], atol=1e-6
    )
    np.testing.assert_allclose(jax.jit(vae.all_classes)(jnp.asarray(z)), every, atol=1e-6)


@pytest.mark.parametrize("kind", [partial(VAE, 3, 1, ()), partial(ConditionalVAE, 3, 1, (), classes=2)])
def test_noise_of_a_vae(kind: Any) -> None:
    def noise(**options: Any) -> Any:
        return kind(rngs=nnx.Rngs(0), **options).noise_log_var

    learned = noise(noise_sd="learned", noise_start=0.2)
    assert isinstance(learned, nnx.Param) and float(learned[...]) == pytest.approx(2 * np.log(0.2), rel=1e-6)
    assert float(noise(noise_sd="learned")[...]) == 0
    fixed = noise(noise_sd=0.5)
    assert isinstance(fixed, Fixed) and float(fixed[...]) == pytest.approx(2 * np.log(0.5), rel=1e-6)
    for start in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="noise_start"):
            noise(noise_sd="learned", noise_start=start)
    with pytest.raises(ValueError, match="noise_sd is 'yes'"):
        noise(noise_sd="yes")


def test_labels_that_do_not_fit(film_vae: ConditionalVAE, concat_vae: ConditionalVAE) -> None:
    x, z = jnp.asarray(pictures()), jnp.asarray(styles())
    calls: list[Callable[[Any], Any]] = [
        lambda labels: film_vae.encoder(x, labels),
        lambda labels: film_vae.decoder(z, labels),
        lambda labels: concat_vae.decoder(z, labels),
        lambda labels: film_vae.write(z, labels),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"^labels has dtype float32; expected whole numbers"):
            call(jnp.asarray(LABELS, jnp.float32))
        for bad in (-1, CLASSES):
            with pytest.raises(ValueError, match=rf"^labels has \[{bad}\]; expected classes from 0 to 2"):
                call(jnp.asarray(LABELS).at[3].set(bad))
        for labels in (LABELS[:1], LABELS[:5], LABELS[:, None], np.int32(1)):  # none is broadcast silently
            with pytest.raises(
                ValueError, match=r"^labels has shape \(.*\); expected \(6,\), one for each [xz]"
            ):
                call(jnp.asarray(labels))
    with pytest.raises(ValueError, match=r"^labels has shape \(6,\); expected \(1,\), one for each z"):
        film_vae.decoder(z[:1], jnp.asarray(LABELS))


def test_pictures_and_styles_that_do_not_fit(film_vae: ConditionalVAE) -> None:
    labels = jnp.asarray(LABELS)
    with pytest.raises(ValueError, match=r"^x has shape \(6, 8\); expected \(\.\.\., 9\)"):
        film_vae.encoder(jnp.ones((N, PIXELS - 1)), labels)
    with pytest.raises(TypeError, match=r"^x has dtype uint8"):
        film_vae.encoder(np.ones((N, PIXELS), np.uint8), labels)  # type: ignore[arg-type]
    for call in (lambda z: film_vae.decoder(z, labels), film_vae.all_classes):
        with pytest.raises(ValueError, match=r"^z has shape .*; expected \(\.\.\., 2\)"):
            call(jnp.ones((N, LATENT + 1)))
        with pytest.raises(TypeError, match=r"^z has dtype int32"):
            call(jnp.ones((N, LATENT), jnp.int32))


def test_conditional_networks_refuse() -> None:
    builders: list[Callable[..., Any]] = [ConditionalVAE, ConditionalEncoder, ConditionalDecoder]
    for build in builders:
        with pytest.raises(ValueError, match=r"^classes is 0; expected at least 1"):
            build(4, 2, classes=0, rngs=nnx.Rngs(0))
    for build in (ConditionalVAE, ConditionalDecoder):
        with pytest.raises(ValueError, match=r"^condition is 'add'; expected 'film' or 'concat'"):
            build(4, 2, condition="add", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="likelihood is 'poisson'"):
        ConditionalVAE(4, 2, likelihood="poisson", rngs=nnx.Rngs(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^inputs is 0"):
        ConditionalDecoder(0, 4, rngs=nnx.Rngs(0))
