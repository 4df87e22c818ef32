"""What numerical functions make of lists, NumPy, JAX, half and double precision, and of nonsense."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lecture_lib import (
    blur,
    bounds,
    code_trials,
    combinations,
    elbo_trials,
    gan_trials,
    gaussians,
    gradients,
    judging,
    measures,
    mixture_trials,
    moon,
    objectives,
    priors,
    problem_trials,
    quadrature,
    style_trials,
    variational,
)
from lecture_lib.networks import Posterior

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X, M, S = RNG.uniform(0.1, 0.9, (6, 5)), RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5)) / 2
PICTURES, FLAT = (pictures := RNG.uniform(0.05, 1, (3, 8, 8))), pictures.reshape(3, 64)
SEVEN = np.triu(np.ones((8, 8)))
BOTH = RNG.normal(size=6) * 3, RNG.normal(size=6) * 3
LOG_P, LOG_Q = np.log(RNG.dirichlet(np.ones(9), 2))
ANGLES = np.arange(12.0) * 30
LABELS = np.array([0, 0, 0, 1, 1, 1])
WEIGHTS, MEANS, VARIANCES = np.array([0.25, 0.5, 0.25]), np.array([-1, 0.5, 2]), np.array([0.5, 1, 2])
AT, Z = np.array([1.5, -0.5]), np.array([[0.25], [1.0]])
Q = np.array([[0.5], [1.0]]), np.array([[-0.5], [-1.0]])
CODES = code_trials.Codes(np.eye(3)[np.arange(12) % 3], np.ones((12, 3)) / 3, np.arange(12.0)[:, None])
DARK = np.full((2, 784), 20.0)
"""As many pixels as MNIST has: sums over them overflow in float16, whose largest number is 65504."""


class Case(NamedTuple):
    function: Callable[..., Any]
    given: tuple[Any, ...]


def of_bound(f: Callable[..., Any]) -> Case:
    return Case(lambda x, mean, log_var: f(elbo_trials.example(), x, Posterior(mean, log_var)), (AT, *Q))


def of_mixture(name: str) -> Case:
    return Case(
        lambda w, m, v, x: getattr(gaussians.Mixture(w, m, v), name)(x), (WEIGHTS, MEANS, VARIANCES, AT)
    )


CASES = {
    "normal_log_prob": Case(gaussians.normal_log_prob, (X, M, S)),
    "kl_standard_normal": Case(gaussians.kl_standard_normal, (M, S)),
    "kl_standard_normal, 784": Case(gaussians.kl_standard_normal, (DARK, DARK * 0)),
    "kl_normal": Case(gaussians.kl_normal, (M, S, M[::-1], S[::-1])),
    "reparameterise": Case(lambda m, s: gaussians.reparameterise(KEY, m, s), (M, S)),
    **{f"Mixture.{name}": of_mixture(name) for name in ("log_prob", "responsibilities", "cdf")},
    "PPCA": Case(lambda x: gaussians.PPCA.fit(x, 2).log_prob(x), (RNG.normal(size=(40, 5)),)),
    "InfiniteMixture.log_prob": Case(lambda x: elbo_trials.example().log_prob(x), (AT,)),
    "InfiniteMixture.cdf": Case(lambda x: elbo_trials.example().cdf(x), (AT,)),
    "InfiniteMixture.log_joint": Case(lambda x, z: elbo_trials.example().log_joint(x, z), (AT, Z)),
    "InfiniteMixture.log_posterior": Case(lambda x, z: elbo_trials.example().log_posterior(x, z), (AT, Z)),
    "gaussian_log_likelihood": Case(objectives.gaussian_log_likelihood, (X, M, S)),
    "gaussian_log_likelihood, 784": Case(objectives.gaussian_log_likelihood, (DARK * 0, DARK, DARK * 0)),
    "bernoulli_log_likelihood": Case(objectives.bernoulli_log_likelihood, (X, M)),
    "bernoulli_log_likelihood, 784": Case(objectives.bernoulli_log_likelihood, (DARK / 40, DARK * 10)),
    "cross_entropy": Case(objectives.cross_entropy, BOTH),
    "non_saturating": Case(objectives.non_saturating, BOTH[:1]),
    "minimax": Case(objectives.minimax, BOTH[:1]),
    "least_squares_discriminator": Case(objectives.least_squares_discriminator, BOTH),
    "least_squares_generator": Case(objectives.least_squares_generator, (BOTH[0] * 100,)),
    "nearest_moon": Case(lambda x: measures.nearest_moon(x, step=30).distance, (FLAT,)),
    "rms": Case(measures.rms, (DARK * 30, DARK)),
    "in_order": Case(measures.in_order, (np.array([1.0, 2, 4]),)),
    **{f.__name__: Case(f, (LOG_P, LOG_Q, LOG_P * 0)) for f in (measures.kl, measures.l1)},
    "jensen_shannon": Case(measures.jensen_shannon, (LOG_P, LOG_Q, LOG_P * 0)),
    "optimal_discriminator": Case(measures.optimal_discriminator, (X, X[::-1])),
    "wasserstein_1d": Case(measures.wasserstein_1d, BOTH),
    "slant": Case(measures.slant, (PICTURES,)),
    "thickness": Case(measures.thickness, (np.kron(np.eye(4), np.ones((5, 5)))[None],)),
    "ink": Case(measures.ink, (PICTURES,)),
    "within_class_correlation": Case(lambda a, b: measures.within_class_correlation(a, b, LABELS), BOTH),
    "within_class_slope": Case(lambda a, b: measures.within_class_slope(a, b, LABELS), BOTH),
    "inception_score": Case(measures.inception_score, (np.array([[0.25, 0.75], [0.5, 0.5]]),)),
    "elbo_joint": of_bound(bounds.elbo_joint),
    "elbo_split": of_bound(bounds.elbo_split),
    "elbo_monte_carlo": of_bound(lambda *a: bounds.elbo_monte_carlo(*a, key=KEY, n=50)),
    "importance_weighted_bound": of_bound(lambda *a: bounds.importance_weighted_bound(*a, key=KEY, k=50)),
    "kl_to_posterior": of_bound(bounds.kl_to_posterior),
    "exact_gradient": of_bound(gradients.exact_gradient),
    "reparameterised_gradient": of_bound(lambda *a: gradients.reparameterised_gradient(*a, key=KEY, n=9)),
    "score_function_gradient": of_bound(lambda *a: gradients.score_function_gradient(*a, key=KEY, n=9)),
    "ascend_q": of_bound(variational.ascend_q),
    "posterior_moments": Case(lambda x: variational.posterior_moments(elbo_trials.example(), x), (AT,)),
    "best_gaussian": Case(lambda x: variational.best_gaussian(elbo_trials.example(), x), (AT,)),
    "linear_posterior": Case(lambda x: elbo_trials.linear_posterior(x), (AT,)),
    "warning": Case(elbo_trials.warning, (AT,)),
    "render": Case(lambda angle: moon.render(angle, 16), (np.array(37.5),)),
    "render_many": Case(lambda angles: moon.render_many(angles, 16), (np.array([0, 37.5, 90]),)),
    "sharpness": Case(blur.sharpness, (PICTURES,)),
    "greyness": Case(blur.greyness, (PICTURES,)),
    "blurred": Case(lambda x: blur.blurred(x, 1.0), (PICTURES,)),
    "log_integral": Case(quadrature.log_integral, (LOG_P, LOG_Q)),
    "StandardNormal.log_prob": Case(priors.NORMAL.log_prob, (Z,)),
    "StandardNormal.quantile": Case(priors.NORMAL.quantile, (np.array([0.25, 0.75]),)),
    "Uniform.log_prob": Case(priors.Uniform(-2, 2).log_prob, (Z,)),
    "Uniform.quantile": Case(priors.Uniform(-2, 2).quantile, (np.array([0.25, 0.75]),)),
    "explained_energy": Case(combinations.explained_energy, (X, X[::-1])),
    "pursue": Case(lambda d, x: [c.explained for c in combinations.pursue(d, x, 2)], (X, X[0] + X[1])),
    "best_pairs": Case(lambda d, x: [c.explained for c in combinations.best_pairs(d, x)], (X, X[:2] + 0.1)),
    "edited": Case(problem_trials.edited, (np.where(FLAT < 0.5, 0.0, 1.0),)),
    "tail_pixel": Case(problem_trials.tail_pixel, (SEVEN,)),
    "stray_pixel": Case(problem_trials.stray_pixel, (SEVEN,)),
    "averages": Case(lambda x: problem_trials.averages(x, KEY, 3), (FLAT,)),
    "mean_with_interval": Case(problem_trials.mean_with_interval, BOTH[:1]),
    "augment": Case(lambda x: style_trials.augment(x, KEY), (FLAT,)),
    "prefers": Case(judging.prefers, BOTH),
    "nearest": Case(lambda x, data: gan_trials.nearest(x, data)[1], (X, M)),
    "em": Case(
        lambda *a: mixture_trials.em(*a, rounds=5),
        (RNG.normal(size=64), np.full(64, 1 / 64), WEIGHTS, MEANS, VARIANCES),
    ),
    "held_out": Case(lambda x: mixture_trials.held_out({"": mixture_trials.target()}, x)[""], (AT,)),
    "position_errors": Case(lambda a: code_trials.position_errors(CODES, a, CODES, a), (ANGLES,)),
}

KINDS: dict[str, tuple[Callable[[np.ndarray], Any], float]] = {
    "list": (lambda a: a.tolist(), 1e-6),
    "NumPy float16": (lambda a: a.astype(np.float16), 2.0**-10),
    "NumPy float32": (lambda a: a.astype(np.float32), 1e-6),
    "JAX float16": (lambda a: jnp.asarray(a, jnp.float16), 2.0**-10),
    "JAX bfloat16": (lambda a: jnp.asarray(a, jnp.bfloat16), 2.0**-7),
    "JAX float32": (lambda a: jnp.asarray(a, jnp.float32), 1e-6),
}
"""Each with the relative size of its rounding."""

each_case = pytest.mark.parametrize("name", CASES)


def numbers(result: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(result)])


def widths(result: Any) -> set[int]:
    """How many bytes the floating-point numbers of a result have."""
    return {
        leaf.dtype.itemsize for leaf in jax.tree.leaves(result) if jnp.issubdtype(_dtype(leaf), jnp.floating)
    }


def _dtype(leaf: Any) -> Any:
    return getattr(leaf, "dtype", np.dtype(object))


def call(case: Case, cast: Callable[[np.ndarray], Any]) -> Any:
    return case.function(*(cast(np.array(given)) for given in case.given))


def ours(error: Exception) -> bool:
    """Whether a message is one of this package: what it is about, what came, what was expected."""
    return re.match(r"^[\w.\[\]]+ (has|is) ", str(error)) is not None


@each_case
def test_every_kind_of_input_gives_the_same_numbers(name: str) -> None:
    """Or a refusal that names the argument; 40 roundings of the input are allowed for."""
    case = CASES[name]
    expected = numbers(call(case, np.asarray))
    assert np.isfinite(expected).all()
    size = 1 + np.abs(expected).max()
    for kind, (cast, rounding) in KINDS.items():
        try:
            result = call(case, cast)
        except (TypeError, ValueError) as error:
            assert ours(error), (kind, error)
            assert "16" in kind or (name, kind) == ("edited", "list"), (kind, error)
            continue
        found = numbers(result)
        assert found.shape == expected.shape, kind
        assert np.abs(found - expected).max() <= 40 * rounding * size, kind
        assert not {2} & widths(result) or name in ("edited", "augment"), kind


@pytest.mark.proof
@each_case
def test_double_precision_is_kept(name: str) -> None:
    case = CASES[name]
    single = numbers(call(case, lambda a: a.astype(np.float32)))
    with jax.enable_x64(True):
        double, listed = (numbers(call(case, cast)) for cast in (np.asarray, KINDS["list"][0]))
        np.testing.assert_allclose(listed, double, rtol=1e-12, atol=1e-12)
    if not re.search(
        "repar|monte|weighted|score|augment|averages", name
    ):  # draws of another width are others
        assert np.abs(single - double).max() <= 1e-4 * (1 + np.abs(double).max())


NONSENSE: dict[str, Callable[[np.ndarray], Any]] = {
    "text": lambda a: a.astype(str),
    "complex": lambda a: a + 1j,
    "objects": lambda a: np.full(a.shape, None),
}


@each_case
def test_nonsense_is_refused_by_name(name: str) -> None:
    for kind, cast in NONSENSE.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            call(CASES[name], cast)
        assert ours(caught.value), (kind, caught.value)


@each_case
def test_nan_is_refused_or_comes_out_again(name: str) -> None:
    """Never a number that looks right."""
    try:
        found = numbers(call(CASES[name], lambda a: np.full(a.shape, np.nan)))
    except ValueError as error:
        assert ours(error) or "outside [0, 1]" in str(error), error
    else:
        assert np.isnan(found).any()
