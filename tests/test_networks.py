"""The networks: shapes, initial weights, what is trained, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

from lecture_lib import objectives, training
from lecture_lib.layers import FiLM, Fixed
from lecture_lib.networks import (
    VAE,
    Autoencoder,
    ConditionalDecoder,
    ConditionalEncoder,
    ConditionalVAE,
    Decoder,
    Encoder,
    GaussianDecoder,
)

BUILDERS: list[Callable[[nnx.Rngs], Any]] = [
    lambda rngs: Encoder(9, 2, (5,), rngs=rngs),
    lambda rngs: Decoder(2, 9, (5,), steepness=3.0, rngs=rngs),
    lambda rngs: Autoencoder(9, 2, (5, 4), rngs=rngs),
    lambda rngs: VAE(9, 2, (5, 4), steepness=10.0, rngs=rngs),
    lambda rngs: VAE(9, 2, (5, 4), noise_sd="learned", rngs=rngs),
    lambda rngs: ConditionalVAE(9, 2, (5, 4), classes=3, rngs=rngs),
    lambda rngs: ConditionalVAE(9, 2, (5, 4), classes=3, condition="concat", rngs=rngs),
]


def leaves(model: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param, Fixed))]


def numpy_mlp(layers: nnx.Sequential, x: np.ndarray) -> np.ndarray:
    """Linear, tanh, ..., linear in float64, from the weights alone."""
    linear: list[Any] = [layer for layer in layers.layers if isinstance(layer, nnx.Linear)]
    for i, layer in enumerate(linear):
        x = x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)
        x = np.tanh(x) if i < len(linear) - 1 else x
    return x


def test_shapes() -> None:
    widths = []

    def outputs() -> list[Any]:
        x, z = jnp.ones((6, 9)), jnp.ones((6, 2))
        ae = Autoencoder(9, 2, (5, 4), rngs=nnx.Rngs(0))
        vae = VAE(9, 2, (5, 4), rngs=nnx.Rngs(0))
        for model in (ae, vae):
            layers = model.decoder.layers.layers
            widths.append([layer.out_features for layer in layers if isinstance(layer, nnx.Linear)])
        drawn = [vae(x, key=jax.random.key(0)), vae.sample(jax.random.key(0), 3)]
        q = Encoder(9, 2, rngs=nnx.Rngs(0))(x)
        return [*q, Decoder(2, 9, rngs=nnx.Rngs(0))(z), ae.encode(x), ae(x), *drawn]

    shapes = [out.shape for out in jax.eval_shape(outputs)]  # nothing is compiled
    assert shapes == [(6, 2), (6, 2), (6, 9), (6, 2), (6, 9), (6, 9), (3, 9)]
    assert widths == [[4, 5, 9]] * 2  # the decoder has the encoder's widths in reverse


def test_encoder_splits_mean_before_log_variance() -> None:
    encoder = Encoder(9, 2, (5,), rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    both = numpy_mlp(encoder.layers, x)
    q = encoder(jnp.asarray(x))
    np.testing.assert_allclose(q.mean, both[:, :2], atol=1e-5)  # float32
    np.testing.assert_allclose(q.log_var, both[:, 2:], atol=1e-5)


@pytest.mark.parametrize("build", BUILDERS)
def test_same_seed_same_weights(build: Callable[[nnx.Rngs], Any]) -> None:
    one, two, other = leaves(build(nnx.Rngs(3))), leaves(build(nnx.Rngs(3))), leaves(build(nnx.Rngs(4)))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_encoder_and_decoder_start_from_different_draws() -> None:
    vae = VAE(6, 6, (), rngs=nnx.Rngs(0))
    encoder: Any = vae.encoder.layers.layers[0]
    decoder: Any = vae.decoder.layers.layers[0]
    assert not np.array_equal(encoder.kernel[..., :6], decoder.kernel[...])


# --- steepness ------------------------------------------------------------------------------


@pytest.mark.parametrize("steepness", [0.5, 30.0])
def test_steepness_scales_the_first_layer(steepness: float) -> None:
    """Kernel and bias from N(0, s^2), independent; false alarms 1e-6 each, over seeds."""
    first: Any = Decoder(2, 3, (4000, 5), steepness=steepness, rngs=nnx.Rngs(0)).layers.layers[0]
    kernel, bias = np.asarray(first.kernel[...]), np.asarray(first.bias[...])
    assert kernel.shape == (2, 4000) and bias.shape == (4000,)
    for draws in (kernel.ravel(), bias):
        assert stats.kstest(draws / steepness, stats.norm.cdf).pvalue > 1e-6
    assert stats.pearsonr(kernel[0], bias).pvalue > 1e-6


def test_steepness_leaves_the_other_layers_to_flax() -> None:
    plain: Any = Decoder(1, 3, (8, 8), rngs=nnx.Rngs(0)).layers.layers
    steep: Any = Decoder(1, 3, (8, 8), steepness=30.0, rngs=nnx.Rngs(0)).layers.layers
    assert (plain[0].bias[...] == 0).all() and (steep[0].bias[...] != 0).all()
    for i in (2, 4):
        np.testing.assert_array_equal(plain[i].kernel[...], steep[i].kernel[...])


def test_a_steep_decoder_bends_more() -> None:
    """Root mean square slope at z = 0 over the pixels, of a wide decoder.

    Flax starts with kernels of variance 1 / inputs and no biases: slope 1. With weights and biases from
    N(0, s^2) a unit has slope k sech^2(b), whose mean square is s^2 (4 / 3) / (s sqrt(2 pi)) = 0.53 s: 4.0
    squared for s = 30. About 70 of the 4000 units bend at 0, so the ratio is good to some 15 per cent.
    """
    slopes = []
    for steepness in (None, 30.0):
        decoder = Decoder(1, 500, (4000,), steepness=steepness, rngs=nnx.Rngs(0))
        _, slope = jax.jvp(decoder, (jnp.zeros((1, 1)),), (jnp.ones((1, 1)),))
        slopes.append(float(jnp.sqrt((slope**2).mean())))
    assert slopes[0] == pytest.approx(1, rel=0.2)
    assert slopes[1] == pytest.approx((0.532 * 30) ** 0.5, rel=0.45)  # three of those 15 per cent


@pytest.mark.parametrize("steepness", [0, -1.0, float("nan"), float("inf")])
def test_bad_steepness(steepness: float) -> None:
    with pytest.raises(ValueError, match="steepness"):
        Decoder(1, 9, steepness=steepness, rngs=nnx.Rngs(0))


# --- the noise of the Gaussian decoder ------------------------------------------------------


def test_noise_is_a_standard_deviation() -> None:
    assert float(VAE(9, 1, noise_sd=2.0, rngs=nnx.Rngs(0)).noise_log_var[...]) == pytest.approx(
        np.log(4), rel=1e-6
    )
    assert float(VAE(9, 1, noise_sd="learned", rngs=nnx.Rngs(0)).noise_log_var[...]) == 0


def test_fixed_noise_is_not_trained_and_learned_noise_is() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 9)).astype(np.float32))
    results = {}
    for noise in (0.5, "learned"):
        vae = VAE(9, 1, (4,), noise_sd=noise, rngs=nnx.Rngs(0))  # type: ignore[arg-type]
        trained = training.fit(
            vae, objectives.negative_elbo, x, key=jax.random.key(0), steps=50, progress=None
        ).model
        results[noise] = float(vae.noise_log_var[...]), float(trained.noise_log_var[...])
        assert isinstance(trained.noise_log_var, nnx.Param if noise == "learned" else Fixed)
    assert results[0.5][0] == results[0.5][1]
    assert results["learned"][0] != results["learned"][1]


def test_learned_noise_goes_to_the_residual() -> None:
    """The likelihood's maximum over log_var at fixed means: the mean square residual."""
    target = jnp.asarray(np.random.default_rng(1).normal(0, 0.2, size=(64, 5)).astype(np.float32))
    vae = VAE(5, 1, (), noise_sd="learned", rngs=nnx.Rngs(0))

    def loss(model: VAE, x: Any, key: Any) -> Any:
        still = jnp.zeros_like(x)
        return -objectives.gaussian_log_likelihood(x, still, model.noise_log_var[...]).mean(), {}

    fitted = training.fit(
        vae, loss, target, key=jax.random.key(0), steps=1500, learning_rate=0.02, progress=None
    )
    # Newton-like convergence of a one-dimensional convex problem; cosine schedule ends at rate 0
    assert float(jnp.exp(fitted.model.noise_log_var[...])) == pytest.approx(
        float((target**2).mean()), rel=1e-3
    )


def test_changing_fixed_noise_compiles_nothing_new() -> None:
    traces = []

    def loss(model: VAE, x: Any, key: Any) -> Any:
        traces.append(1)
        return objectives.negative_elbo(model, x, key)

    x = jnp.ones((2, 9))
    for noise in (0.5, 1.0, 2.0):
        vae = VAE(9, 1, (4,), noise_sd=noise, rngs=nnx.Rngs(int(noise * 2)))
        training.fit(vae, loss, x, key=jax.random.key(0), steps=2, progress=None)
        if noise == 0.5:
            first = len(traces)
    assert len(traces) == first > 0


@pytest.mark.parametrize("noise", [0, -1.0, float("nan"), float("inf"), "yes"])
def test_bad_noise(noise: Any) -> None:
    with pytest.raises(ValueError, match="noise_sd"):
        VAE(9, 1, noise_sd=noise, rngs=nnx.Rngs(0))


# --- drawing --------------------------------------------------------------------------------


def test_a_call_decodes_a_draw_of_the_posterior() -> None:
    vae = VAE(9, 2, (5,), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32))
    key = jax.random.key(5)
    q = vae.encoder(x)
    z = np.asarray(q.mean) + np.exp(np.asarray(q.log_var) / 2) * np.asarray(jax.random.normal(key, (3, 2)))
    np.testing.assert_allclose(vae(x, key=key), numpy_mlp(vae.decoder.layers, z), atol=1e-5)  # float32


def test_samples_decode_the_prior() -> None:
    key = jax.random.key(5)
    z = np.asarray(jax.random.normal(key, (40, 2)), np.float64)
    gaussian = VAE(9, 2, (5,), rngs=nnx.Rngs(0))
    decoded = numpy_mlp(gaussian.decoder.layers, z)
    np.testing.assert_allclose(gaussian.sample(key, 40), decoded, atol=1e-5)  # float32
    bernoulli = VAE(9, 2, (5,), likelihood="bernoulli", rngs=nnx.Rngs(0))
    probabilities = np.asarray(bernoulli.sample(key, 40))
    np.testing.assert_allclose(probabilities, special.expit(decoded), atol=1e-5)
    assert (probabilities > 0).all() and (probabilities < 1).all()


# --- what they refuse -----------------------------------------------------------------------


def test_inputs_that_do_not_fit() -> None:
    vae, ae = VAE(9, 2, rngs=nnx.Rngs(0)), Autoencoder(9, 2, rngs=nnx.Rngs(0))
    calls: list[Callable[[Any], Any]] = [vae.encoder, ae.encode, ae, lambda x: vae(x, key=jax.random.key(0))]
    for call in calls:
        with pytest.raises(ValueError, match=r"x has shape \(4, 8\); expected \(\.\.\., 9\)"):
            call(jnp.ones((4, 8)))
        with pytest.raises(TypeError, match="x has dtype uint8"):
            call(np.ones((4, 9), np.uint8))
    with pytest.raises(ValueError, match=r"z has shape \(4, 3\); expected \(\.\.\., 2\)"):
        vae.decoder(jnp.ones((4, 3)))
    with pytest.raises(TypeError, match="z has dtype int32"):
        vae.decoder(jnp.ones((4, 2), jnp.int32))


def test_checks_hold_inside_jit() -> None:
    vae = VAE(9, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="x has shape"):
        jax.jit(lambda x: vae.encoder(x).mean)(jnp.ones((4, 8)))


@pytest.mark.parametrize("n", [0, -1])
def test_sample_of_none(n: int) -> None:
    with pytest.raises(ValueError, match=f"n is {n}; expected at least 1"):
        VAE(9, 2, rngs=nnx.Rngs(0)).sample(jax.random.key(0), n)
    with pytest.raises(TypeError, match=r"n is 2\.0"):
        VAE(9, 2, rngs=nnx.Rngs(0)).sample(jax.random.key(0), 2.0)  # type: ignore[arg-type]


def test_bad_sizes_and_likelihood() -> None:
    with pytest.raises(ValueError, match="sizes is 0"):
        VAE(9, 0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="likelihood is 'poisson'; expected 'gaussian' or 'bernoulli'"):
        VAE(9, 2, likelihood="poisson", rngs=nnx.Rngs(0))  # type: ignore[arg-type]


# --- Gaussian decoder -----------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 1, 3])
def test_gaussian_decoder_splits_mean_before_log_variance(dim: int | None) -> None:
    decoder = GaussianDecoder(2, dim, (5,), rngs=nnx.Rngs(0))
    z = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    mean, log_var = decoder(jnp.asarray(z))
    assert mean.shape == log_var.shape == ((4,) if dim is None else (4, dim))
    both = numpy_mlp(decoder.layers, z)
    width = dim or 1
    np.testing.assert_allclose(np.reshape(mean, (4, width)), both[:, :width], atol=1e-5)  # float32
    np.testing.assert_allclose(np.reshape(log_var, (4, width)), both[:, width:], atol=1e-5)


def test_gaussian_decoder_has_the_widths_told() -> None:
    decoder = GaussianDecoder(1, 3, (5, 4), activation=nnx.relu, rngs=nnx.Rngs(0))
    widths = [layer.kernel.shape for layer in decoder.layers.layers if isinstance(layer, nnx.Linear)]
    assert widths == [(1, 5), (5, 4), (4, 6)]
    assert decoder.layers.layers[1] is nnx.relu
    default = GaussianDecoder(1, rngs=nnx.Rngs(0))
    assert len(leaves(default)) == 4 and default(jnp.ones((3, 1)))[0].shape == (3,)


def test_gaussian_decoder_is_seeded() -> None:
    one, two, other = (GaussianDecoder(1, rngs=nnx.Rngs(seed)) for seed in (0, 0, 1))
    for a, b in zip(leaves(one), leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(leaves(one), leaves(other), strict=True))


def test_gaussian_decoder_refuses() -> None:
    decoder = GaussianDecoder(2, 3, rngs=nnx.Rngs(0))
    for z in (jnp.ones((4, 3)), jnp.ones(()), jnp.ones((2, 1))):
        with pytest.raises(ValueError, match=r"^z has shape .*; expected \(\.\.\., 2\)"):
            decoder(z)
    with pytest.raises(TypeError, match=r"^z has dtype int32"):
        decoder(jnp.ones((4, 2), jnp.int32))
    for dim in (0, -1):
        with pytest.raises(ValueError, match=f"^dim is {dim}; expected at least 1"):
            GaussianDecoder(2, dim, rngs=nnx.Rngs(0))
    for bad in (1.5, True):
        with pytest.raises(TypeError, match=f"^dim is {bad}"):
            GaussianDecoder(2, bad, rngs=nnx.Rngs(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^sizes is 0"):
        GaussianDecoder(0, rngs=nnx.Rngs(0))


# --- told the label -------------------------------------------------------------------------

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
