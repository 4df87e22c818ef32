"""The networks: shapes, initial weights, what is trained, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

from lecture_lib import objectives, training
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.layers import Fixed
from lecture_lib.networks import (
    VAE,
    Autoencoder,
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
