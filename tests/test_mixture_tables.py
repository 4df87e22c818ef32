"""The numbers that notebook 02 puts into tables: convergence, held-out likelihoods, the match by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from lecture_lib import mixture_trials
from lecture_lib.gaussians import InfiniteMixture, Mixture
from lecture_lib.priors import NORMAL, Uniform

LOW, HIGH, SLOPE, SHIFT, SD = -2.0, 2.0, 1.2, 0.3, 0.5
GRID = np.linspace(-6, 6, 201)
RANDOM, EQUAL, NODES = "random z", "equal shares", "quadrature nodes"


def line(z: Any) -> tuple[Any, Any]:
    """mu(z) = 1.2 z + 0.3 with a standard deviation of 0.5."""
    return SLOPE * z[:, 0] + SHIFT, jnp.full(z.shape[0], 2 * np.log(SD))


# --- convergence ----------------------------------------------------------------------------

KS = [4, 8, 12, 16, 20, 40, 80, 160, 320, 640]


@pytest.fixture(scope="module")
def uniform() -> dict[str, np.ndarray]:
    model = InfiniteMixture(line, Uniform(LOW, HIGH))
    return mixture_trials.convergence(model, KS, key=jax.random.key(0))


@pytest.fixture(scope="module")
def normal() -> dict[str, np.ndarray]:
    return mixture_trials.convergence(InfiniteMixture(line, NORMAL), KS, key=jax.random.key(1))


def exact(x: np.ndarray) -> np.ndarray:
    """A uniform prior through a straight line: the difference of two normal distribution functions."""
    ends = [(x - SLOPE * end - SHIFT) / SD for end in (LOW, HIGH)]
    return (stats.norm.cdf(ends[0]) - stats.norm.cdf(ends[1])) / (SLOPE * (HIGH - LOW))


def test_equal_shares_are_the_midpoint_rule(uniform: dict[str, np.ndarray]) -> None:
    for k, found in zip(KS, uniform[EQUAL], strict=True):
        z = LOW + (HIGH - LOW) * (np.arange(k) + 0.5) / k
        density = stats.norm.pdf(GRID[:, None], SLOPE * z + SHIFT, SD).mean(axis=1)
        # SciPy's normal distribution function is good to 1e-15
        assert found == pytest.approx(np.abs(density - exact(GRID)).max(), rel=1e-6, abs=1e-13)


def test_equal_shares_of_a_uniform_prior_come_with_the_square_of_k(uniform: dict[str, np.ndarray]) -> None:
    """Euler and Maclaurin: the midpoint rule is off by the jump of the slope over 24 k^2, then by 1 / k^4."""

    def slope(u: float) -> np.ndarray:
        away = (GRID - SLOPE * (LOW + (HIGH - LOW) * u) - SHIFT) / SD
        return away * stats.norm.pdf(away) / SD**2 * SLOPE * (HIGH - LOW)

    jump = np.abs(slope(1.0) - slope(0.0)).max()
    for k, found in zip(KS, uniform[EQUAL], strict=True):
        if (
            k >= 80
        ):  # a step of z moves the mean by a share 0.12 of SD; the next term is about its square / 10
            assert found == pytest.approx(jump / 24 / k**2, rel=0.01)
    orders = np.diff(np.log(uniform[EQUAL][-4:])) / np.diff(np.log(KS[-4:]))
    np.testing.assert_allclose(orders, -2, atol=0.01)


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_random_gaussians_come_with_the_root_of_k(prior: str, request: pytest.FixtureRequest) -> None:
    """Central limit theorem: the difference, times sqrt(k), has the same distribution for all large k."""
    found = request.getfixturevalue(prior)[RANDOM]
    many = slice(KS.index(40), None)
    order = np.polyfit(np.log(KS[many]), np.log(found[many]), 1)[0]
    # a mean of ten largest differences scatters by about a third / sqrt(10) = 0.1 of itself; over these k the
    # fitted slope by 0.1 / (sqrt(5) * 1) = 0.045: right orders fail once in 10 000 keys at 0.18
    assert order == pytest.approx(-0.5, abs=0.18)


def test_size_of_the_random_differences(uniform: dict[str, np.ndarray]) -> None:
    """The largest over x is at least the size at one x: sqrt(variance / k) times the mean of |N(0, 1)|."""
    z = np.linspace(LOW, HIGH, 4001)
    heights = stats.norm.pdf(GRID[:, None], SLOPE * z + SHIFT, SD)
    spread = heights.std(axis=1).max()
    scaled = uniform[RANDOM] * np.sqrt(KS) / spread
    # between one |N(0, 1)|, of mean 0.8, and the largest of ten such, of mean 1.8; ten sets each
    assert scaled.min() > 0.6 and scaled.max() < 2.5


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_quadrature_comes_exponentially(prior: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(prior)[NODES]
    logs = np.log(found)
    at = [KS.index(k) for k in ((8, 12, 16, 20) if prior == "uniform" else (20, 40, 80))]
    steps = np.diff(logs[at]) / np.diff(np.array(KS)[at])
    assert (steps < -0.1).all()
    # falling at least as fast with each further node, while a power of k would fall ever more slowly
    assert (np.diff(steps) < 0.1 * np.abs(steps[:-1])).all()
    assert found[KS.index(160)] < 1e-12  # float64 is reached
    assert found[KS.index(40)] < request.getfixturevalue(prior)[EQUAL][KS.index(40)]


def test_quadrature_nodes_are_gauss_legendre(uniform: dict[str, np.ndarray]) -> None:
    for k in (4, 8, 12):
        t, w = np.polynomial.legendre.leggauss(k)
        means = SLOPE * (LOW + (HIGH - LOW) * (t + 1) / 2) + SHIFT
        density = stats.norm.pdf(GRID[:, None], means, SD) @ (w / 2)
        expected = np.abs(density - exact(GRID)).max()
        assert uniform[NODES][KS.index(k)] == pytest.approx(expected, rel=1e-6)


def test_convergence_tells_each_way_for_each_k(uniform: dict[str, np.ndarray]) -> None:
    assert list(uniform) == [RANDOM, EQUAL, NODES]
    for errors in uniform.values():
        assert errors.shape == (len(KS),) and errors.dtype == np.float64 and np.isfinite(errors).all()


# --- tables ---------------------------------------------------------------------------------


def test_held_out_is_the_mean_log_likelihood() -> None:
    x = np.linspace(-2.2, 2.9, 173)
    finite = Mixture(np.array([0.3, 0.7]), np.array([-1.0, 1.0]), np.array([0.25, 4.0]))
    found = mixture_trials.held_out({"two": finite, "any": InfiniteMixture(line, Uniform(LOW, HIGH))}, x)
    two = 0.3 * stats.norm.pdf(x, -1, 0.5) + 0.7 * stats.norm.pdf(x, 1, 2)
    assert list(found) == ["two", "any"]
    # float32 log-densities of a few nats, the mean of 173
    assert found["two"] == pytest.approx(np.log(two).mean(), abs=2e-6)
    assert found["any"] == pytest.approx(np.log(exact(x)).mean(), abs=5e-6)


def test_held_out_of_points_in_the_plane() -> None:
    x = np.random.default_rng(0).normal(size=(50, 2))
    one = Mixture(np.ones(1), np.array([[0.5, -0.5]]), np.array([[[1.0, 0.3], [0.3, 2.0]]]))
    expected = stats.multivariate_normal([0.5, -0.5], [[1, 0.3], [0.3, 2]]).logpdf(x).mean()
    assert mixture_trials.held_out({"one": one}, x)["one"] == pytest.approx(expected, abs=2e-6)


def test_table() -> None:
    rows = {"short": {"a": 1.0, "a long name": -12.3456}, "a longer one": {"a": 1234.5, "a long name": 0.0}}
    assert mixture_trials.table(rows, "model").splitlines() == [
        "model                a  a long name",
        "short            1.000      -12.346",
        "a longer one  1234.500        0.000",
    ]


def test_columns_of_a_table_end_together() -> None:
    rows = {"x": {"z": 123.456, "zz": -1.0, "K": float("nan")}, "y": {"z": 1.0, "zz": 1e6, "K": 2.0}}
    lines = mixture_trials.table(rows, "a wide heading").splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-3:] for line in lines] == [
        ["z", "zz", "K"],
        ["123.456", "-1.000", "nan"],
        ["1.000", "1000000.000", "2.000"],
    ]


# --- the match by hand ----------------------------------------------------------------------


def target_density(x: Any) -> Any:
    return 0.35 * stats.norm.pdf(x, 1, 0.35) + 0.65 * stats.norm.pdf(x, -0.5, 2)


def test_target() -> None:
    x = np.linspace(-7, 7, 141)
    ours = np.exp(np.asarray(mixture_trials.target().log_prob(x.astype(np.float32))))
    np.testing.assert_allclose(ours, target_density(x), rtol=1e-5)  # float32


@pytest.mark.parametrize(
    ("weights", "means", "sds"),
    [([1.0], [0.0], [1.0]), ([0.5, 0.5], [1.0, -0.5], [0.35, 2.0]), ([0.35, 0.65], [1.0, -0.5], [0.4, 2.0])],
)
def test_area_to_the_target(weights: list[float], means: list[float], sds: list[float]) -> None:
    def gap(x: float) -> float:
        return abs(float(np.dot(weights, stats.norm.pdf(x, means, sds))) - float(target_density(x)))

    area = integrate.quad(gap, -14, 14, limit=500, points=np.linspace(-5, 5, 41), epsabs=1e-7)[0]
    found = mixture_trials.to_target(Mixture(*map(np.array, (weights, means, np.square(sds)))))
    # steps of 0.01: 1e-5 at each kink, where the curves cross; and 1e-5 of float32
    assert found == pytest.approx(area, abs=5e-5)


def test_ends_of_the_area() -> None:
    assert mixture_trials.to_target(mixture_trials.target()) < 1e-6
    far = Mixture(np.ones(1), np.array([50.0]), np.ones(1))
    assert mixture_trials.to_target(far) == pytest.approx(2, abs=1e-5)
