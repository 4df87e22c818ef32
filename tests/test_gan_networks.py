"""Generator, discriminator and the pair of them: a VAE's decoder, logits, and what does not fit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

from lecture_lib.networks import GAN, VAE, Discriminator, Generator
from lecture_lib.priors import NORMAL, Uniform
from tests.gans import numpy_d, numpy_mlp, tiny

RNG = np.random.default_rng(0)


def tree(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Where each parameter stands, and its shape."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_generator_has_the_architecture_of_a_decoder(hidden: tuple[int, ...]) -> None:
    """The lecture: "just the decoder of the VAE"; a VAE is told the widths of its encoder."""

    def check() -> None:
        generator = Generator(2, 9, hidden, rngs=nnx.Rngs(0))
        vae = VAE(9, 2, hidden[::-1], rngs=nnx.Rngs(1))
        assert tree(generator.decoder) == tree(vae.decoder)
        assert len(tree(generator)) == len(tree(vae.decoder)) == 2 * (len(hidden) + 1)
        assert type(generator.decoder) is type(vae.decoder)

    jax.eval_shape(check)  # nothing is compiled


def test_with_the_weights_of_a_decoder_it_draws_the_same() -> None:
    key, z = jax.random.key(3), jnp.asarray(RNG.normal(size=(6, 2)), jnp.float32)

    @jax.jit
    def outputs() -> Any:
        vae = VAE(9, 2, (5, 4), likelihood="bernoulli", rngs=nnx.Rngs(1))
        drawn = []
        for squash in (nnx.sigmoid, None):
            generator = Generator(2, 9, (4, 5), activation=nnx.tanh, squash=squash, rngs=nnx.Rngs(0))
            nnx.update(generator.decoder, nnx.state(vae.decoder))
            drawn += [generator(z), generator.sample(key, 6)]
        return vae.decoder(z), vae.sample(key, 6), drawn

    decoded, sampled, (squashed, ours, plain, _) = outputs()
    # the same operations on the same numbers, but for SciPy's float64 sigmoid: float32
    np.testing.assert_allclose(squashed, special.expit(decoded), atol=1e-6)
    np.testing.assert_allclose(plain, decoded, atol=1e-6)
    np.testing.assert_allclose(ours, sampled, atol=1e-6)


def test_generator_is_a_leaky_network_and_a_sigmoid() -> None:
    generator = tiny().generator
    z = RNG.normal(size=(50, 2))
    x = np.asarray(generator(jnp.asarray(z, jnp.float32)))
    np.testing.assert_allclose(x, special.expit(numpy_mlp(generator.decoder.layers, z)), atol=1e-6)
    assert x.shape == (50, 4) and (x > 0).all() and (x < 1).all()


def test_samples_are_pictures_of_normal_codes() -> None:
    generator, key = tiny().generator, jax.random.key(5)
    z = jax.random.normal(key, (7, 2))
    np.testing.assert_array_equal(generator.sample(key, 7), generator(z))


def test_codes_are_draws_from_the_prior_and_samples_are_made_of_them() -> None:
    """Kolmogorov's test of 4000 numbers; false alarm, over keys: 1e-6 each."""
    key = jax.random.key(4)
    for prior, known in (
        (NORMAL, stats.norm()),
        (Uniform(-1.0, 1.0), stats.uniform(-1, 2)),
        (None, stats.norm()),
    ):
        told: Any = {} if prior is None else {"prior": prior}
        generator = Generator(2, 4, (8,), **told, rngs=nnx.Rngs(0))
        assert generator.prior == (prior or NORMAL)
        z = generator.codes(key, 2000)
        assert z.shape == (2000, 2)
        assert stats.kstest(np.asarray(z).ravel(), known.cdf).pvalue > 1e-6
        assert abs(np.corrcoef(np.asarray(z).T)[0, 1]) < 5 / 2000**0.5  # 5 standard deviations: 6e-7
        np.testing.assert_array_equal(generator.sample(key, 2000), generator(z))
        np.testing.assert_array_equal(z, generator.prior.sample(key, 2000, latent=2))
    # it is a constant of the graph, not a parameter
    assert len(jax.tree.leaves(nnx.state(generator))) == 4


def test_discriminator_sees_x_in_standard_units() -> None:
    plain, moved = (
        Discriminator(4, (8,), rngs=nnx.Rngs(1), **told) for told in ({}, {"centre": 2, "spread": 0.5})
    )
    x = jnp.asarray(RNG.normal(size=(20, 4)), jnp.float32)
    np.testing.assert_allclose(moved(2 + 0.5 * x), plain(x), atol=1e-5)  # float32
    np.testing.assert_allclose(moved(x), numpy_d(moved, (np.asarray(x, np.float64) - 2) / 0.5), atol=1e-5)
    assert (plain.centre, plain.spread, moved.centre, moved.spread) == (0.0, 1.0, 2.0, 0.5)
    # its slope by x is the chain rule's, which R1 sees
    slope, scaled = (jax.grad(lambda x, d=d: d(x).sum())(at) for d, at in ((plain, x), (moved, 2 + 0.5 * x)))
    np.testing.assert_allclose(scaled, 2 * slope, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"centre": np.nan}, r"^centre has 1 of 1 values that are not finite"),
        ({"spread": 0.0}, r"^spread is 0\.0; expected a number above 0"),
        ({"spread": -1}, r"^spread is -1\.0; expected a number above 0"),
        ({"spread": np.inf}, r"^spread has 1 of 1 values that are not finite"),
    ],
)
def test_units_that_are_none(told: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Discriminator(4, (8,), rngs=nnx.Rngs(0), **told)


def test_discriminator_gives_one_logit_a_picture() -> None:
    d = tiny().discriminator
    x = RNG.normal(0, 3, size=(50, 4))
    logits = np.asarray(d(jnp.asarray(x, jnp.float32)))
    assert logits.shape == (50,)
    np.testing.assert_allclose(logits, numpy_d(d, x), atol=1e-5)  # float32, sums of numbers up to 10
    assert logits.min() < 0 and np.abs(logits).max() > 1  # no sigmoid
    np.testing.assert_array_equal(d.layers.layers[1](jnp.array([-1.0, 3.0])), jnp.array([-0.2, 3.0]))


def test_widths() -> None:
    """64 where nothing is said; nothing is compiled."""

    def outputs() -> list[Any]:
        g, d = Generator(2, 9, rngs=nnx.Rngs(0)), Discriminator(9, rngs=nnx.Rngs(0))
        assert list(tree(g).values()) == [(64,), (2, 64), (9,), (64, 9)]
        assert list(tree(d).values()) == [(64,), (9, 64), (1,), (64, 1)]
        deep = Discriminator(9, (6, 5), rngs=nnx.Rngs(0))
        assert list(tree(deep).values()) == [(6,), (9, 6), (5,), (6, 5), (1,), (5, 1)]
        return [g(jnp.ones((6, 2))), d(jnp.ones((6, 9))), d(jnp.ones(9)), g.sample(jax.random.key(0), 3)]

    assert [out.shape for out in jax.eval_shape(outputs)] == [(6, 9), (6,), (), (3, 9)]


def test_seeds() -> None:
    def leaves(seed: int) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(tiny(seed)))]

    assert all(np.array_equal(a, b) for a, b in zip(leaves(3), leaves(3), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(leaves(3), leaves(4), strict=True))


def test_a_gan_is_its_two_players() -> None:
    g, d = tiny().generator, tiny().discriminator
    gan = GAN(g, d)
    assert gan.generator is g and gan.discriminator is d


def test_players_that_do_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"^generator makes x of length 9, discriminator takes 8; expected the same"
    ):
        GAN(Generator(2, 9, (), rngs=nnx.Rngs(0)), Discriminator(8, (), rngs=nnx.Rngs(0)))


def test_inputs_that_do_not_fit() -> None:
    gan = tiny()
    with pytest.raises(ValueError, match=r"^z has shape \(3, 4\); expected \(\.\.\., 2\)"):
        gan.generator(jnp.ones((3, 4)))
    with pytest.raises(ValueError, match=r"^x has shape \(3, 2\); expected \(\.\.\., 4\)"):
        gan.discriminator(jnp.ones((3, 2)))
    with pytest.raises(TypeError, match=r"^x has dtype int32; expected floating-point numbers"):
        gan.discriminator(jnp.ones((3, 4), int))
    with pytest.raises(TypeError, match=r"^z has dtype int32"):
        gan.generator(jnp.ones((3, 2), int))
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        gan.generator.sample(jax.random.key(0), 0)
    with pytest.raises(TypeError, match=r"^n is 2\.0"):
        gan.generator.sample(jax.random.key(0), 2.0)  # type: ignore[arg-type]
    for build in (
        lambda: Generator(0, 4, rngs=nnx.Rngs(0)),
        lambda: Discriminator(4, (0,), rngs=nnx.Rngs(0)),
    ):
        with pytest.raises(ValueError, match=r"^sizes is 0"):
            build()
