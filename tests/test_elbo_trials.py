"""The experiments of notebook 03: the models, the lecture's warning, and the gaps of a trained VAE."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from lecture_lib import bounds, elbo_trials, objectives, quadrature, variational
from lecture_lib.networks import VAE, Posterior

SLOPES = np.linspace(-1, 3, 17)


# --- the models -----------------------------------------------------------------------------


def test_example_is_the_formula_of_its_docstring() -> None:
    z = np.linspace(-4, 4, 33)
    with jax.enable_x64(True):
        mean, log_var = map(np.asarray, elbo_trials.example().network(jnp.asarray(z[:, None])))
    expected = 2.6 + 1.5 * np.tanh(2 * (z - 1)) - 1.5 * np.tanh(z + 1)
    np.testing.assert_allclose(mean, expected, atol=1e-14)  # rounding
    np.testing.assert_allclose(np.exp(log_var / 2), 0.3, atol=1e-14)


def test_posteriors_of_the_example_are_what_is_said_of_them() -> None:
    model = elbo_trials.example()
    rule = model.rule()
    density = np.exp(model.log_posterior(np.array(elbo_trials.EXAMPLE_X), rule.nodes))
    tops = (density[:, 1:-1] > density[:, :-2]) & (density[:, 1:-1] > density[:, 2:])
    heights = [np.sort(row[1:-1][top])[::-1] for row, top in zip(density, tops, strict=True)]
    assert len(heights[0]) == 1
    assert len(heights[1]) == 2 and heights[1][1] > 0.8 * heights[1][0]
    assert len(heights[2]) == 2 and heights[2][1] < 0.3 * heights[2][0]


@pytest.mark.parametrize("slope", [-2.0, 0.0, 1.0])
def test_linear_model_is_a_gaussian(slope: float) -> None:
    x = np.linspace(-3, 3, 7)
    with jax.enable_x64(True):
        model = elbo_trials.linear(slope, intercept=0.3, noise_sd=0.7)
        log_p = model.log_prob(x)
        q = elbo_trials.linear_posterior(x, slope, intercept=0.3, noise_sd=0.7)
        z = model.rule().nodes
        ours, exact = model.log_posterior(x, z), stats.norm.logpdf(z[:, 0], q.mean, np.exp(q.log_var / 2))
    np.testing.assert_allclose(log_p, stats.norm.logpdf(x, 0.3, np.hypot(slope, 0.7)), atol=1e-11)
    np.testing.assert_allclose(ours, exact, atol=1e-11, rtol=1e-12)


def test_bad_models_are_refused_by_name() -> None:
    for bad, message in (
        ({"slope": np.nan}, "^slope has 1 of 1"),
        ({"intercept": np.inf}, "^intercept has 1 of 1"),
        ({"noise_sd": 0.0}, "^noise_sd is 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            elbo_trials.linear(**bad)


def test_a_step_of_the_model_raises_the_bound_and_leaves_the_old_one() -> None:
    x = np.array(elbo_trials.EXAMPLE_X)
    with jax.enable_x64(True):
        model = elbo_trials.example()
        q = variational.best_gaussian(model, x)
        before, log_p = bounds.elbo_joint(model, x, q), np.asarray(model.log_prob(x))
        moved = elbo_trials.ascend_model(model, x, q, rate=0.003)
        after = bounds.elbo_joint(moved, x, q)
        assert float(after.mean()) > float(before.mean())
        np.testing.assert_array_equal(model.log_prob(x), log_p)
        assert (np.asarray(moved.log_prob(x)) != log_p).all()
        one, other = (jax.tree.leaves(nnx.state(m, nnx.Param)) for m in (model, moved))
        assert len(one) == 4 and all((a != b).any() for a, b in zip(one, other, strict=True))
        with pytest.raises(ValueError, match=r"^rate is -1"):
            elbo_trials.ascend_model(model, x, q, rate=-1)


# --- the lecture's warning ----------------------------------------------------------------------


def test_the_warning_has_the_numbers_of_the_lecture() -> None:
    with jax.enable_x64(True):
        levels = elbo_trials.warning(np.array(elbo_trials.WARNING_SLOPES))
    np.testing.assert_allclose(levels.elbo, [-11.427, -3.015], atol=5e-4)
    np.testing.assert_allclose(levels.log_prob, [-2.112, -2.744], atol=5e-4)


def test_the_warning_in_closed_form_and_by_quadrature() -> None:
    with jax.enable_x64(True):
        closed, model = elbo_trials.warning(SLOPES), elbo_trials.warning_by_quadrature(SLOPES)
        for a, b in zip(closed, model, strict=True):
            assert a.shape == SLOPES.shape
            # the narrowest posterior has sd .16, 6.6 steps of the grid
            np.testing.assert_allclose(a, b, atol=1e-11)
        assert (np.asarray(closed.elbo) <= np.asarray(closed.log_prob)).all()
        np.testing.assert_allclose(
            closed.log_prob, stats.norm.logpdf(2, 0, np.hypot(SLOPES, 0.5)), atol=1e-12
        )


def test_the_slopes_of_the_warning_are_the_two_best() -> None:
    """The first is the best for log P(x), a^2 + .25 = x^2; the second for L_b, a = x m / (m^2 + .25)."""
    best, raised = elbo_trials.WARNING_SLOPES
    assert best == pytest.approx(3.75**0.5, abs=5e-4)
    assert raised == pytest.approx(4 / 4.25, abs=5e-4)
    a = np.linspace(0.5, 2.5, 2001)
    with jax.enable_x64(True):
        levels = elbo_trials.warning(a)
        assert a[np.argmax(levels.log_prob)] == pytest.approx(best, abs=1e-3)
        assert a[np.argmax(levels.elbo)] == pytest.approx(raised, abs=1e-3)


# --- the VAE ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae() -> VAE:
    return elbo_trials.train_vae(jax.random.key(0)).model


@pytest.fixture(scope="module")
def gaps(vae: VAE) -> elbo_trials.Gaps:
    """Of the 288 training pictures and then of the 72 others: together, so that they are compiled once."""
    return elbo_trials.gaps(
        vae, np.concatenate([elbo_trials.pictures(split).images for split in ("train", "test")])
    )


def test_pictures_are_zeros_and_ones() -> None:
    train, test = elbo_trials.pictures("train"), elbo_trials.pictures("test")
    assert train.images.shape == (len(train.labels), 64) and train.images.dtype == np.float32
    assert set(train.labels) == set(test.labels) == set(elbo_trials.DIGITS)
    assert (len(train.labels), len(test.labels)) == (288, 72)


def test_bound_and_gap_make_up_log_p_of_the_trained_vae(gaps: elbo_trials.Gaps) -> None:
    """1e-9 is asked for; three kinds of quadrature, each exact to rounding here: 1e-12 is found."""
    assert all(a.dtype == np.float64 and a.shape == (360,) for a in gaps)
    np.testing.assert_allclose(gaps.elbo + gaps.kl, gaps.log_prob, atol=1e-9, rtol=0)
    np.testing.assert_allclose(gaps.best_elbo + gaps.best_kl, gaps.log_prob, atol=1e-9, rtol=0)


def test_both_gaps_are_open(gaps: elbo_trials.Gaps) -> None:
    np.testing.assert_allclose(gaps.amortisation + gaps.family, gaps.log_prob - gaps.elbo, atol=1e-12, rtol=0)
    assert (gaps.amortisation > -1e-9).all() and (gaps.family > 0).all()
    assert gaps.amortisation[:288].mean() > 0.01 and gaps.family.mean() > 0.003


def test_unseen_pictures_have_a_wider_amortisation_gap(gaps: elbo_trials.Gaps) -> None:
    assert gaps.amortisation[288:].mean() > 1.5 * gaps.amortisation[:288].mean()


def test_log_p_of_the_vae_is_that_of_numpy(vae: VAE, gaps: elbo_trials.Gaps) -> None:
    """The decoder written out once more, and the trapezoid rule on another grid."""
    z = np.linspace(-9.7, 9.9, 3001)
    h = z[:, None]
    layers = [layer for layer in vae.decoder.layers.layers if isinstance(layer, nnx.Linear)]
    for i, layer in enumerate(layers):
        h = h @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)  # type: ignore[index]
        h = np.tanh(h) if i < len(layers) - 1 else h
    var = np.exp(float(vae.noise_log_var[...]))
    x = elbo_trials.pictures("train").images[:9].astype(np.float64)
    square = ((x[:, None] - h) ** 2).sum(axis=-1)
    joint = -square / 2 / var - 32 * np.log(2 * np.pi * var) + stats.norm.logpdf(z)
    top = joint.max(axis=1)
    log_p = top + np.log(np.exp(joint - top[:, None]).sum(axis=1) * (z[1] - z[0]))
    np.testing.assert_allclose(gaps.log_prob[:9], log_p, atol=1e-9, rtol=0)


def test_rule_of_the_gaps_is_fine_enough(vae: VAE) -> None:
    x = np.asarray(elbo_trials.pictures("train").images[:20], np.float64)
    with jax.enable_x64(True):
        model = elbo_trials.mixture_of(vae)
        sd = np.exp(np.asarray(variational.posterior_moments(model, x).log_var) / 2)
        assert sd.min() > 0.025  # the default step; at one step per sd the rule errs by 5e-9, at 1.5 by 1e-19
        log_prob = jax.jit(lambda rule: model.log_prob(x, rule=rule))
        coarse, fine = (log_prob(model.prior.rule(n)) for n in (1001, 4001))
        np.testing.assert_allclose(coarse, fine, atol=1e-9, rtol=0)
        # Gauss-Hermite nodes stand where the prior is, too far apart for such narrow posteriors
        hermite = log_prob(quadrature.gauss_hermite(80))
        assert np.abs(np.asarray(hermite - fine)).max() > 1e-3


def test_mixture_of_a_vae_needs_a_gaussian_likelihood() -> None:
    with pytest.raises(ValueError, match=r"^vae.likelihood is 'bernoulli'; expected 'gaussian'"):
        elbo_trials.mixture_of(VAE(4, 1, likelihood="bernoulli", rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"^latent is 3"):
        elbo_trials.mixture_of(VAE(4, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"^points is 5"):
        elbo_trials.gaps(VAE(4, 1, rngs=nnx.Rngs(0)), np.zeros((1, 4)), points=5)


def test_mixture_of_a_vae_has_its_bound() -> None:
    """The package's one-draw ELBO, averaged over 4000 draws, within 5 standard errors: 6e-7 over seeds."""
    model: Any = VAE(4, 1, (6,), noise_sd=0.6, rngs=nnx.Rngs(1))
    x = jnp.array([[0.3, -0.2, 0.8, 0.1]])
    many = objectives.elbo(model, jnp.tile(x, (4000, 1)), key=jax.random.key(0))
    q = Posterior(*model.encoder(x))
    ours = bounds.elbo_split(elbo_trials.mixture_of(model), x, q)
    draws = np.asarray(many.reconstruction, np.float64)
    assert abs(draws.mean() - float(ours.reconstruction[0])) < 5 * draws.std() / 4000**0.5
    assert float(ours.kl[0]) == pytest.approx(float(many.kl[0]), rel=1e-5)  # float32
