"""The experiments of notebook 02: EM against scikit-learn and its laws, and small runs of each experiment."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from lecture_lib import datasets, mixture_trials, objectives, training
from lecture_lib.datasets import CURVES, Curve
from lecture_lib.gaussians import InfiniteMixture, Mixture
from lecture_lib.mixture_trials import LEAST_SD, MOST, PRIORS, Fit
from lecture_lib.networks import GaussianDecoder
from lecture_lib.priors import NORMAL, Uniform
from tests.laws import law

SMOOTH = ["skewed", "three bumps", "heavy tails"]
Parameters = tuple[np.ndarray, np.ndarray, np.ndarray]


def em(x: Any, masses: Any, start: Any, rounds: int) -> Parameters:
    """In float64."""
    with jax.enable_x64(True):
        a, b, c = mixture_trials.em(*(jnp.asarray(v) for v in (x, masses, *start)), rounds=rounds)
        return np.asarray(a), np.asarray(b), np.asarray(c)


def log_joint(x: np.ndarray, parameters: Any) -> np.ndarray:
    weights, means, variances = parameters
    with np.errstate(divide="ignore"):
        return np.log(weights) + stats.norm.logpdf(x[:, None], means, np.sqrt(variances))


# --- where EM begins ------------------------------------------------------------------------


def test_starts_are_gaussians_over_equal_shares() -> None:
    """Of evenly spread points: means in the middle, sds of 0.34 = (0.84 - 0.16) / 2 shares."""
    x = (np.arange(1000) + 0.5) / 1000
    weights, means, variances = mixture_trials.starts(x, np.full(1000, 1e-3), 6)
    assert weights.shape == means.shape == variances.shape == (6, 6)
    for k in range(1, 7):
        np.testing.assert_allclose(weights[k - 1, :k], 1 / k)
        np.testing.assert_array_equal(weights[k - 1, k:], 0)
        np.testing.assert_allclose(means[k - 1, :k], (np.arange(k) + 0.5) / k, rtol=1e-11)
        # np.interp is linear here: rounding of 1000 sums of the masses only
        np.testing.assert_allclose(variances[k - 1, :k], (0.34 / k) ** 2, rtol=1e-9)
        assert (variances > 0).all() and np.isfinite(means).all()


def test_starts_weigh_the_points() -> None:
    """Points of a standard normal density, by quadrature: quantiles of it."""
    x = np.linspace(-8, 8, 3201)
    masses = stats.norm.pdf(x) * 0.005
    _, means, variances = mixture_trials.starts(x, masses, 4)
    # the cdf by the midpoint rule and linear interpolation: off by h^2 = 2.5e-5, in units of x
    np.testing.assert_allclose(means[3], stats.norm.ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8]), atol=2.5e-5)
    sd = (stats.norm.ppf(0.84) - stats.norm.ppf(0.16)) / 2
    assert variances[0, 0] == pytest.approx(sd**2, abs=1e-4)


def test_starts_on_equal_points_have_the_least_width() -> None:
    _, means, variances = mixture_trials.starts(np.full(10, 3.0), np.full(10, 0.1), 3)
    for k in range(1, 4):
        np.testing.assert_array_equal(means[k - 1, :k], 3)
        np.testing.assert_array_equal(variances[k - 1, :k], LEAST_SD**2)


# --- EM -------------------------------------------------------------------------------------

COMPONENTS, POINTS = 4, 30
starting = st.tuples(
    st.lists(st.floats(0.01, 1), min_size=COMPONENTS, max_size=COMPONENTS),
    st.lists(st.floats(-5, 5), min_size=COMPONENTS, max_size=COMPONENTS),
    st.lists(st.floats(1e-2, 9), min_size=COMPONENTS, max_size=COMPONENTS),
)


@law(40)
@given(st.integers(0, 10**6), starting)
def test_no_round_lowers_the_log_likelihood(seed: int, start: Any) -> None:
    """Dempster, Laird and Rubin's law, for weighted points, and with the least sd, too: a variance that is
    clipped is the best of those that are allowed. Means and second moments are those of the points."""
    rng = np.random.default_rng(seed)
    x, masses = np.sort(rng.normal(0, 2, POINTS)), rng.dirichlet(np.ones(POINTS))
    now = tuple(np.asarray(a) for a in start)
    now = (now[0] / now[0].sum(), *now[1:])
    before = None
    for _ in range(6):
        each = special.logsumexp(log_joint(x, now), axis=-1)
        value = np.sum(masses * each)
        if before is not None:
            # 30 terms; and 1e-12, below which the weight of a component is set to 0
            assert value >= before - 1e-13 * np.sum(masses * np.abs(each)) - 2e-12
        before = value
        now = em(x, masses, now, 1)
        assert now[0].sum() == pytest.approx(1, abs=5e-12)  # 1e-12 for each component set to 0
        assert np.sum(now[0] * now[1]) == pytest.approx(np.sum(masses * x), abs=5e-11)  # and x is 10 at most
        if (now[2] > LEAST_SD**2).all() and (now[0] > 0).all():
            second = np.sum(now[0] * (now[1] ** 2 + now[2]))
            assert second == pytest.approx(np.sum(masses * x**2), rel=1e-12)
        assert (now[2] >= LEAST_SD**2 * (1 - 1e-15)).all()


@pytest.mark.parametrize("rounds", [1, 25])
def test_em_is_that_of_scikit_learn(rounds: int) -> None:
    x = np.sort(
        np.concatenate([np.random.default_rng(0).normal(m, s, 100) for m, s in ((-2, 1), (1, 0.5), (3, 1))])
    )
    start = np.array([0.2, 0.3, 0.5]), np.array([-3.0, 0.0, 2.0]), np.array([1.0, 0.5, 2.0])
    theirs = GaussianMixture(
        3,
        covariance_type="full",
        weights_init=start[0],
        means_init=start[1][:, None],
        precisions_init=1 / start[2][:, None, None],
        reg_covar=0,
        tol=0,
        max_iter=rounds,
    )
    with pytest.warns(ConvergenceWarning):
        theirs.fit(x[:, None])
    ours = em(x, np.full(300, 1 / 300), start, rounds)
    # a round of sums over 300 points is off by 300 * 2e-16 = 7e-14 at most, 25 rounds by 2e-12, since EM's
    # map draws points together near its goal; scikit-learn adds 2e-15 to each sum of shares. 50 times that.
    for one, two in zip(ours, (theirs.weights_, theirs.means_, theirs.covariances_), strict=True):
        np.testing.assert_allclose(one, two.ravel(), rtol=1e-10)
    # what it does is no trifle: the tolerance could not pass the start off as the end
    assert np.abs(ours[1] - start[1]).max() > 0.1


def test_weighted_points_are_repeated_points() -> None:
    x, times = np.array([-2.0, -1.0, 0.5, 3.0]), np.array([3, 1, 4, 2])
    start = np.array([0.5, 0.5]), np.array([-1.0, 1.0]), np.array([1.0, 1.0])
    weighted = em(x, times / 10, start, 7)
    repeated = em(np.repeat(x, times), np.full(10, 0.1), start, 7)
    for one, two in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11)  # rounding of ten terms, seven times


def test_a_component_of_weight_zero_stays_away() -> None:
    x = np.sort(np.random.default_rng(0).normal(0, 2, 50))
    masses = np.full(50, 0.02)
    start = np.array([0.6, 0.0, 0.4]), np.array([-1.0, 0.0, 1.0]), np.array([1.0, 2.0, 1.0])
    rest = [0, 2]
    ours, without = em(x, masses, start, 20), em(x, masses, [a[rest] for a in start], 20)
    assert (ours[0][1], ours[1][1], ours[2][1]) == (0, 0, 2)
    for one, two in zip(ours, without, strict=True):
        np.testing.assert_allclose(one[rest], two, rtol=1e-11)  # rounding of 50 terms, 20 times


def test_a_component_far_from_all_points_dies_without_a_nan() -> None:
    x = np.linspace(-1, 1, 20)
    start = np.array([0.5, 0.5]), np.array([0.0, 1e4]), np.array([1.0, 1.0])
    weights, means, variances = em(x, np.full(20, 0.05), start, 3)
    np.testing.assert_array_equal(weights[1], 0)
    assert weights[0] == pytest.approx(1) and np.isfinite(means).all() and np.isfinite(variances).all()
    assert means[0] == pytest.approx(0, abs=1e-15) and variances[0] == pytest.approx(np.mean(x**2))


def test_no_width_falls_below_the_least() -> None:
    x = np.repeat([0.0, 1.0], 5)
    start = np.array([0.5, 0.5]), np.array([0.1, 0.9]), np.array([0.1, 0.1])
    weights, means, variances = em(x, np.full(10, 0.1), start, 100)
    np.testing.assert_allclose(weights, 0.5)
    np.testing.assert_allclose(means, [0, 1], atol=1e-12)
    np.testing.assert_allclose(variances, LEAST_SD**2)


# --- judging --------------------------------------------------------------------------------


def test_errors_of_a_gaussian_against_a_gaussian_are_closed() -> None:
    """KL of N(0, 1) to N(m, v); L1 of equal widths, 2 (2 Phi(m / 2) - 1)."""
    curve = Curve((stats.norm(),), (1.0,), (-9.0, 9.0))
    for m, v in ((0.0, 1.0), (0.5, 1.0), (1.0, 4.0)):  # numbers that float32 holds
        one = mixture_trials.errors(curve, Mixture([1.0], [m], [v]))
        model = InfiniteMixture(lambda z, m=m, v=v: (0 * z[:, 0] + m, jnp.full(len(z), np.log(v))))
        two = mixture_trials.errors(curve, model)
        closed = 0.5 * ((1 + m**2) / v - 1 + np.log(v))
        for found in (one, two):
            # log 4 in float32 is off by 6e-8, 9 standard deviations leave 2e-19
            assert found.kl == pytest.approx(closed, abs=3e-7)
            if v == 1:
                # a kink: 1601 Legendre nodes at most 0.018 apart, as in the test of l1
                assert found.l1 == pytest.approx(2 * (2 * stats.norm.cdf(m / 2) - 1), abs=5e-5)


# --- fits to a curve ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    return {name: mixture_trials.fit_curve(curve) for name, curve in CURVES.items()}


def test_fit_has_every_size(fits: dict[str, Fit]) -> None:
    for fit in fits.values():
        assert [m.components for m in fit.mixtures] == list(range(1, MOST + 1))
        assert len(fit.errors) == MOST
        for mixture, (kl, l1) in zip(fit.mixtures, fit.errors, strict=True):
            assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-6)  # float32
            # 1e-8: the curve's share beyond its reach, 1e-9, and the log of that
            assert kl > -2e-8 and 0 <= l1 <= 2
            assert kl >= l1**2 / 2 - 2e-8  # Pinsker


def test_one_gaussian_has_the_moments_of_the_curve(fits: dict[str, Fit]) -> None:
    """Maximum likelihood, and KL = log(2 pi e v) / 2 - entropy, with SciPy's variances and entropies."""
    for name, fit in fits.items():
        curve = CURVES[name]
        if len(curve.parts) > 1:
            continue
        part = curve.parts[0]
        mean, variance = part.stats("mv")
        # float32 sums of 801 terms; of the variance of t with 3 degrees 6.6e-6 lie beyond 10^6
        assert float(fit.mixtures[0].means[0]) == pytest.approx(float(mean), abs=1e-5)
        assert float(fit.mixtures[0].covariances[0]) == pytest.approx(float(variance), rel=2e-5)
        # KL is flat at the best variance: the tail enters with 6.6e-6 / (2 * 3), rounding with its square
        closed = 0.5 * np.log(2 * np.pi * np.e * variance) - part.entropy()
        assert fit.errors[0].kl == pytest.approx(float(closed), abs=2e-6)


def test_kl_falls_with_the_number_of_gaussians(fits: dict[str, Fit]) -> None:
    """EM ends in the nearest optimum, so that no law says so of every step. Pinned: the first five, where
    each Gaussian more still matters, on all curves; the gamma density to the end; and from 1 to 30 a factor
    of half of what was found at least (77 for the edges, 900 and more for the others)."""
    for name, fit in fits.items():
        kl = np.array([e.kl for e in fit.errors])
        assert (np.diff(kl[:5]) < 0).all(), name
        assert kl[-1] < kl[0] / (450 if name in SMOOTH else 38), name
    kl = np.array([e.kl for e in fits["skewed"].errors])
    assert (np.diff(kl) < 0).all()
    assert fits["sharp edges"].errors[-1].kl > 5 * fits["skewed"].errors[-1].kl  # edges are what is hard


@pytest.mark.parametrize("components", [1, 3, 10, 30])
@pytest.mark.parametrize("name", ["skewed", "heavy tails"])
def test_errors_of_a_fit_are_those_of_its_mixtures(fits: dict[str, Fit], name: str, components: int) -> None:
    """All at once in float64, or one by one with the float32 numbers of the mixture."""
    fit, curve = fits[name], CURVES[name]
    mixture, told = fit.mixtures[components - 1], fit.errors[components - 1]
    found = mixture_trials.errors(curve, mixture)
    w, m, v = (np.asarray(a, np.float64) for a in (mixture.weights, mixture.means, mixture.covariances))
    with jax.enable_x64(True):
        rule = curve.rule(1601)
        x, dx = np.asarray(rule.nodes[:, 0]), np.exp(np.asarray(rule.log_weights))
    joint = log_joint(x, (w, m, v))
    shares, q, p = (
        special.softmax(joint, axis=-1),
        np.exp(special.logsumexp(joint, axis=-1)),
        curve.density(x),
    )
    # What half a unit in the last place of w, m, v and of the float32 logs of w and v does to log w +
    # log N(x; m, v), weighted by the responsibilities; twice that for products that are rounded in between.
    t = np.abs(x[:, None] - m) / np.sqrt(v)
    log_w = np.abs(np.log(np.maximum(w, 1e-300)))
    gap = 6e-8 * (1 + log_w + t * np.abs(m) / np.sqrt(v) + (1 + np.abs(np.log(v))) * (1 + t**2) / 2)
    gap = 2 * np.sum(shares * gap, axis=-1)
    assert found.kl == pytest.approx(told.kl, rel=0, abs=np.sum(dx * p * gap))
    assert found.l1 == pytest.approx(told.l1, rel=0, abs=2 * np.sum(dx * q * gap))
    assert np.sum(dx * p * gap) < 1e-5  # small enough to tell the fits apart


# --- fits to draws --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def draws_fit() -> Fit:
    return mixture_trials.fit_draws(CURVES["skewed"], jax.random.key(0), 100)


def test_many_gaussians_overfit_a_few_draws(draws_fit: Fit) -> None:
    """They come ever nearer to the 100 draws and ever further from the curve that these are from.

    A Gaussian on each third draw: keys 0 and 1 have given a KL that is 27 and 14 times that of 3 Gaussians.
    """
    x = np.asarray(CURVES["skewed"].sample(jax.random.key(0), 100))
    likelihood = [float(draws_fit.mixtures[k - 1].log_prob(x).mean()) for k in (1, 3, 30)]
    assert likelihood[0] < likelihood[1] < likelihood[2]
    kl = [e.kl for e in draws_fit.errors]
    assert kl[29] > 5 * kl[2] and kl[2] < kl[0]


def test_more_draws_overfit_less(draws_fit: Fit) -> None:
    """Over 16 times the draws, excess KL falls as 1 / n: 16-fold in the mean; half would be far off."""
    more = mixture_trials.fit_draws(CURVES["skewed"], jax.random.key(0), 1600)
    assert more.errors[29].kl < draws_fit.errors[29].kl / 2


def test_one_gaussian_has_the_moments_of_the_draws(draws_fit: Fit) -> None:
    x = np.asarray(CURVES["skewed"].sample(jax.random.key(0), 100), np.float64)
    # float32 sums of 100 terms of size 10
    assert float(draws_fit.mixtures[0].means[0]) == pytest.approx(x.mean(), abs=1e-5)
    assert float(draws_fit.mixtures[0].covariances[0]) == pytest.approx(x.var(), rel=1e-5)


def test_fit_draws_refuses() -> None:
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"^n is {n}; expected at least 2"):
            mixture_trials.fit_draws(CURVES["skewed"], jax.random.key(0), n)
    with pytest.raises(TypeError, match=r"^n is 5\.0"):
        mixture_trials.fit_draws(CURVES["skewed"], jax.random.key(0), 5.0)  # type: ignore[arg-type]


# --- training -------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_trials, "EVERY", 20)


def leaves(model: InfiniteMixture) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


@pytest.mark.parametrize("dim", [None, 2])
def test_training_keeps_snapshots_of_a_falling_loss(short: None, dim: int | None) -> None:
    if dim is None:
        data, prior = CURVES["skewed"].sample(jax.random.key(0), 500), NORMAL
    else:
        data, prior = datasets.arc(jax.random.key(0), 500).x, Uniform(-2.0, 2.0)
    key = jax.random.key(7)
    run = mixture_trials.train(data, prior, key=key, dim=dim, steps=50)
    # and the last, if EVERY does not divide the steps
    assert run.steps == (0, 20, 40, 50) and len(run.models) == 4
    loss = [float(objectives.negative_log_likelihood(m, data, key)[0]) for m in run.models]
    # the loss on all 500, which the noise of single batches (1 / 16 of an sd of about 1 nat) is not in
    assert loss[3] < loss[1] < loss[0] and loss[0] - loss[3] > 0.1
    for model in run.models:
        assert model.prior is prior and model.latent == 1
    # it is `fit` with the keys and the loss told, bit for bit, and the first is as it was made
    key_weights, key_training = jax.random.split(key)
    fresh = InfiniteMixture(GaussianDecoder(1, dim, mixture_trials.HIDDEN, rngs=nnx.Rngs(key_weights)), prior)
    fitted = training.fit(
        fresh,
        objectives.negative_log_likelihood,
        data,
        key=key_training,
        steps=50,
        batch_size=mixture_trials.BATCH,
        progress=None,
    )
    for told, found in ((fresh, run.models[0]), (fitted.model, run.models[-1])):
        for one, two in zip(leaves(told), leaves(found), strict=True):
            np.testing.assert_array_equal(one, two)
    assert any((a != b).any() for a, b in zip(leaves(run.models[1]), leaves(run.models[2]), strict=True))


def test_training_shows_progress_only_when_told(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    data = CURVES["skewed"].sample(jax.random.key(0), 500)
    mixture_trials.train(data, NORMAL, key=jax.random.key(0), steps=50)
    assert capsys.readouterr().out == ""
    mixture_trials.train(data, NORMAL, key=jax.random.key(0), steps=50, progress="infinite mixture")
    assert "infinite mixture" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "dim", "told"),
    [
        ((300, 2), None, r"^data has shape \(300, 2\); expected \('n',\), to fit dim None"),
        ((300, 1), None, r"^data has shape \(300, 1\)"),
        ((300,), 2, r"^data has shape \(300,\); expected \('n', 2\), to fit dim 2"),
        ((300, 3), 2, r"^data has shape \(300, 3\)"),
        ((), None, r"^data has shape \(\)"),
        ((100,), None, r"^batch_size is 128, larger than the data \(100 examples\)"),
    ],
)
def test_training_refuses_data_that_do_not_fit(shape: tuple[int, ...], dim: int | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mixture_trials.train(np.zeros(shape, np.float32), NORMAL, key=jax.random.key(0), dim=dim)


def test_priors_of_the_experiment() -> None:
    assert list(PRIORS.values()) == [NORMAL, Uniform(-2.0, 2.0)]
