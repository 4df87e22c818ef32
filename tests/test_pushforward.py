"""The law of G(z): against closed forms, hand-made folds and flats, quadrature, and G on fine grids."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lecture_lib import pushforward
from lecture_lib.networks import Discriminator, Generator
from lecture_lib.priors import NORMAL, Uniform
from lecture_lib.pushforward import Law
from tests.laws import law

UNIFORM = Uniform(-1.0, 1.0)
PRIORS = {UNIFORM: stats.uniform(-1, 2), Uniform(0.5, 3.0): stats.uniform(0.5, 2.5), NORMAL: stats.norm()}
priors = st.sampled_from(list(PRIORS))


def leaky(slope: float) -> Any:
    return lambda x: np.where(x > 0, x, slope * x)


def matrices(*layers: tuple[Any, Any]) -> Any:
    return [(np.array(kernel, np.float64), np.array(bias, np.float64)) for kernel, bias in layers]


def line(a: float, b: float) -> Any:
    return matrices(([[b]], [a]))


def forward(layers: Any, slope: float, z: Any) -> np.ndarray:
    """The network once more, unit by unit."""
    h = [np.asarray(z, np.float64)]
    for depth, (kernel, bias) in enumerate(layers):
        h = [np.where(v > 0, v, slope * v) for v in h] if depth else h
        h = [
            sum(w * v for w, v in zip(column, h, strict=True)) + b
            for column, b in zip(kernel.T, bias, strict=True)
        ]
    return h[0]


class Net:
    """A random network, a third of its weights 0: units that are dead, doubled or never change sign."""

    def __init__(self, seed: int, hidden: list[int], slope: float, prior: Any) -> None:
        rng = np.random.default_rng(seed)
        sizes = [1, *hidden, 1]
        self.layers = [
            (
                rng.normal(0, 1.5 / np.sqrt(m), (m, n)) * (rng.uniform(size=(m, n)) > 1 / 3),
                rng.normal(size=n) * (rng.uniform(size=n) > 1 / 3),
            )
            for m, n in pairwise(sizes)
        ]
        self.slope, self.prior, self.scipy = slope, prior, PRIORS[prior]
        self.law = pushforward.law_of(self.layers, leaky(slope), prior)

    def __call__(self, z: Any) -> np.ndarray:
        return forward(self.layers, self.slope, z)


nets = st.builds(
    Net,
    st.integers(0, 10**6),
    st.lists(st.integers(1, 6), max_size=3),
    st.sampled_from([0.0, 0.2, 0.5]),
    priors,
)
seeds = st.integers(0, 10**6)


def gaps(law: Law) -> list[tuple[float, float]]:
    """Between which neighbours in x there is no kink."""
    x = np.unique(law.x)
    return [(a, b) for a, b in pairwise(x) if b - a > 1e-3]


# --- closed forms ---------------------------------------------------------------------------


@law(60)
@given(st.floats(-5, 5), st.floats(0.01, 10), st.sampled_from([-1, 1]), priors)
def test_a_line_moves_and_stretches_the_prior(a: float, b: float, sign: int, prior: Any) -> None:
    """Also where it falls: a - b z."""
    law, z = pushforward.law_of(line(a, sign * b), leaky(0.2), prior), PRIORS[prior]
    u = np.linspace(0.001, 0.999, 41)
    x = a + b * (z.ppf(u) if sign > 0 else -z.ppf(1 - u))
    # sums and quotients of numbers up to 100, by slopes from .01
    np.testing.assert_allclose(law.cdf(x), u, atol=1e-11)
    np.testing.assert_allclose(law.density(x), z.pdf((x - a) / b * sign) / b, rtol=1e-9)
    far = np.sort(a + sign * b * z.ppf([1e-12, 1 - 1e-12]) + [-100 * b, 100 * b])
    np.testing.assert_array_equal(law.density(far), 0)
    np.testing.assert_allclose(law.cdf(far), [0, 1], atol=1e-15)
    assert len(law.z) == 2


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_fold(slope: float, sign: int) -> None:
    """leaky(z) + leaky(-z) is (1 - slope) |z|: uniform on [0, 1], or half a normal."""
    w = sign / (1 - slope)
    layers = matrices(([[1, -1]], [0, 0]), ([[w], [w]], [0]))
    u = np.array([0.1, 0.25, 0.5, 0.9, 0.999])
    for prior, size in ((UNIFORM, stats.uniform()), (NORMAL, stats.halfnorm())):
        law = pushforward.law_of(layers, leaky(slope), prior)
        np.testing.assert_array_equal(law.z[1:-1], [0])
        x = np.sort(sign * size.ppf(u))
        below = size.cdf(x) if sign > 0 else 1 - size.cdf(-x)
        np.testing.assert_allclose(law.cdf(x), below, atol=1e-14)
        np.testing.assert_allclose(law.density(x), size.pdf(sign * x), rtol=1e-13)
        np.testing.assert_array_equal(law.density(np.sort([-0.01 * sign, 20 * sign])), 0)


@pytest.mark.parametrize("prior", [UNIFORM, NORMAL])
def test_folds_of_folds(prior: Any) -> None:
    """Three hidden layers: |z|, then |2 |z| - 1|, then |2 |2 |z| - 1| - 1|; eight pieces with |slope| 4."""
    up = [[1], [1]]
    layers = matrices(
        ([[1, -1]], [0, 0]),
        (np.array(up) @ [[2, -2]], [-1, 1]),
        (np.array(up) @ [[2, -2]], [-1, 1]),
        (up, [0]),
    )
    law, z = pushforward.law_of(layers, leaky(0), prior), PRIORS[prior]
    inside = np.abs(law.z) < 1
    np.testing.assert_allclose(law.z[inside], np.arange(-3, 4) / 4, atol=1e-15)
    x = np.array([0.1, 0.5, 0.9])
    roots = [s * (1 + t * (1 + v * x) / 2) / 2 for s in (1, -1) for t in (1, -1) for v in (1, -1)]
    expected = sum(z.pdf(root) / 4 for root in roots)
    if prior is NORMAL:  # beyond the last kink x = 4 |z| - 3 rises on, which the roots with t = v = 1 are in
        np.testing.assert_allclose(forward(layers, 0, np.array([1.5, -2])), [3, 5], atol=1e-14)
    np.testing.assert_allclose(law.density(x), expected, rtol=1e-12)
    if prior is UNIFORM:
        np.testing.assert_allclose(law.cdf(np.array([-0.1, *x, 1.0])), [0, *x, 1], atol=1e-14)


@pytest.mark.parametrize("prior", [UNIFORM, NORMAL])
def test_a_flat_piece_is_an_atom(prior: Any) -> None:
    """relu(z): half of all z become 0; the density sees the other half alone."""
    layers = matrices(([[1]], [0]), ([[1]], [0]))
    law, z = pushforward.law_of(layers, leaky(0), prior), PRIORS[prior]
    np.testing.assert_allclose(law.cdf([-1e-12, 0.0, 0.3]), [0, 0.5, z.cdf(0.3)], atol=1e-15)
    np.testing.assert_allclose(law.density([-0.1, 0.2, 0.5]), [0, *z.pdf([0.2, 0.5])], rtol=1e-14)
    # and one in the middle: relu(z - .2) - relu(-z - .2)
    both = matrices(([[1, -1]], [-0.2, -0.2]), ([[1], [-1]], [3]))
    law = pushforward.law_of(both, leaky(0), prior)
    below = [z.cdf(-0.2) - 1e-7 * z.pdf(0.2), z.cdf(0.2), z.cdf(0.4)]
    np.testing.assert_allclose(law.cdf([3 - 1e-7, 3.0, 3.2]), below, atol=1e-12)


def test_a_constant_is_one_atom() -> None:
    for prior in PRIORS:
        law = pushforward.law_of(line(2.0, 0.0), leaky(0.2), prior)
        np.testing.assert_allclose(law.cdf([1.9, 2.0, 2.1]), [0, 1, 1], atol=1e-15)
        np.testing.assert_array_equal(law.density([1.9, 2.0, 2.1]), 0)
        np.testing.assert_array_equal(law.quantiles(3), [2, 2, 2])


# --- laws of random networks ----------------------------------------------------------------


@law(60)
@given(nets, seeds)
def test_no_kink_is_missed(net: Net, seed: int) -> None:
    z = net.scipy.ppf(np.random.default_rng(seed).uniform(size=200))
    # float64, numbers up to 100
    np.testing.assert_allclose(np.interp(z, net.law.z, net.law.x), net(z), atol=1e-10)
    assert (np.diff(net.law.z) > 0).all()
    assert (np.diff(net.law.below) >= 0).all()
    np.testing.assert_allclose(net.law.below[[0, -1]], [0, 1], atol=1e-15)


@law(40)
@given(nets, seeds)
def test_cdf_is_the_share_of_a_fine_grid_of_z(net: Net, seed: int) -> None:
    """Of n equally likely z each run on one side of x is miscounted by one at most; so many there are."""
    n = 2000
    made = net(net.scipy.ppf((np.arange(n) + 0.5) / n))
    x = np.sort(np.random.default_rng(seed).uniform(made.min() - 0.1, made.max() + 0.1, 30))
    share = (made[:, None] <= x).mean(0)
    np.testing.assert_allclose(net.law.cdf(x), share, atol=len(net.law.z) / n)
    end = net.law.x.max() + 1e-9
    np.testing.assert_allclose(net.law.cdf([net.law.x.min() - 1e-9, end]), [0, 1], atol=1e-13)
    assert (np.diff(net.law.cdf(x)) >= -1e-13).all()
    # one by one as all together
    np.testing.assert_allclose([net.law.cdf(x[[i]])[0] for i in range(30)], net.law.cdf(x), atol=1e-14)


@law(40)
@given(nets, seeds)
def test_density_is_the_derivative_of_the_cdf(net: Net, seed: int) -> None:
    """Where there is no kink, its integral by quadrature is the rise of the cdf."""
    rng = np.random.default_rng(seed)
    t, w = np.polynomial.legendre.leggauss(80)
    for low, high in gaps(net.law)[:6]:
        a, b = np.sort(rng.uniform(low, high, 2))
        integral = (b - a) / 2 * w @ net.law.density(a + (b - a) * (t + 1) / 2)
        # 80 nodes on a normal density over 18 standard deviations at most: 1e-9
        assert integral == pytest.approx(np.diff(net.law.cdf([a, b]))[0], abs=1e-8)


@law(40)
@given(nets)
def test_density_and_atoms_are_all_there_is(net: Net) -> None:
    """Between kinks by quadrature, at flat pieces by their mass: 1 together."""
    t, w = np.polynomial.legendre.leggauss(80)
    x = np.unique(net.law.x)
    x = x[np.diff(x, prepend=-np.inf) > 1e-12]
    a, wide = x[:-1], np.diff(x)
    nodes = a[:, None] + wide[:, None] * (t + 1) / 2
    spread = float(np.sum(wide[:, None] / 2 * w * net.law.density(nodes.ravel()).reshape(nodes.shape)))
    # a flat piece's two ends may differ by rounding; nodes between them are no numbers of their own
    atoms = float(np.diff(net.law.below)[np.abs(np.diff(net.law.x)) < 1e-12].sum())
    assert spread + atoms == pytest.approx(1, abs=1e-7)


@law(60)
@given(nets, st.integers(1, 50))
def test_quantiles_are_g_at_equal_shares(net: Net, n: int) -> None:
    u = (2 * np.arange(n) + 1) / (2 * n)
    np.testing.assert_allclose(net.law.quantiles(n), np.sort(net(net.scipy.ppf(u))), atol=1e-10)


# --- a generator ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "prior"), [((), NORMAL), ((5,), Uniform(0.5, 3.0)), ((16, 16), UNIFORM), ((6, 6, 6), NORMAL)]
)
def test_law_of_a_generator(hidden: tuple[int, ...], prior: Any) -> None:
    generator = Generator(1, 1, hidden, squash=None, prior=prior, rngs=nnx.Rngs(3))
    rng = np.random.default_rng(0)
    for layer in generator.decoder.layers.layers:
        if isinstance(layer, nnx.Linear):  # Flax starts with no bias, and all first kinks at 0
            layer.bias[...] = jnp.asarray(rng.normal(size=layer.bias.shape), jnp.float32)
    law = pushforward.law(generator)
    assert len(law.z) > 2 or not hidden
    z = generator.codes(jax.random.key(1), 5000)
    made = np.asarray(generator(z), np.float64)[:, 0]
    np.testing.assert_allclose(np.interp(np.asarray(z)[:, 0], law.z, law.x), made, atol=1e-5)  # float32
    # Kolmogorov's test; false alarm, over keys: 1e-6
    drawn = np.sort(made)
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-6


def test_layers_and_activation_of_networks() -> None:
    d = Discriminator(1, (3, 2), rngs=nnx.Rngs(0))
    layers = pushforward.layers_of(d)
    assert [(w.shape, b.shape) for w, b in layers] == [((1, 3), (3,)), ((3, 2), (2,)), ((2, 1), (1,))]
    assert all(w.dtype == b.dtype == np.float64 for w, b in layers)
    np.testing.assert_array_equal(layers[1][0], np.asarray(d.layers.layers[2].kernel[...], np.float64))
    x = np.array([-500.0, -2.0, 0.0, 3.0, 700.0])
    for activation, expected in (
        (nnx.relu, np.maximum(x, 0)),
        (lambda x: nnx.leaky_relu(x, 0.3), np.where(x > 0, x, 0.3 * x)),
        (jnp.abs, np.abs(x)),
        (lambda x: x, x),
    ):
        net = Generator(1, 1, (2,), activation=activation, squash=None, rngs=nnx.Rngs(0))
        np.testing.assert_allclose(pushforward.activation_of(net.decoder)(x), expected, rtol=1e-6)
    np.testing.assert_allclose(pushforward.activation_of(d)(x), np.where(x > 0, x, 0.2 * x))


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "activation", [nnx.tanh, nnx.elu, nnx.gelu, nnx.softplus, nnx.sigmoid, jax.nn.relu6, jax.nn.hard_tanh]
)
def test_a_bent_activation_is_refused(activation: Any) -> None:
    """Also one that is straight around 0 and cut off far from it."""
    g = Generator(1, 1, (4,), activation=activation, squash=None, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"^activation \w+ is bent; expected one that is straight on either"):
        pushforward.law(g)


def test_generators_without_a_law() -> None:
    for latent, pixels in ((2, 1), (1, 2)):
        with pytest.raises(
            ValueError, match=f"^generator goes from {latent} to {pixels} numbers; expected 1 to 1"
        ):
            pushforward.law(Generator(latent, pixels, (), squash=None, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"^generator has an activation after its last layer; expected squ"):
        pushforward.law(Generator(1, 1, (), rngs=nnx.Rngs(0)))
    mixed = Generator(1, 1, (2, 2), squash=None, rngs=nnx.Rngs(0))
    mixed.decoder.layers.layers[1] = nnx.relu  # type: ignore[index]
    with pytest.raises(ValueError, match=r"^network has activations with slopes \[.*0\.2\]; expected one"):
        pushforward.law(mixed)


def test_weights_and_priors_without_a_law() -> None:
    for bad in (line(np.nan, 1), line(1, np.inf)):
        with pytest.raises(ValueError, match=r"^layers has 1 of 1 values that are not finite"):
            pushforward.law_of(bad, leaky(0), UNIFORM)
    with pytest.raises(TypeError, match=r"^prior is a str; expected Uniform or StandardNormal"):
        pushforward.law_of(line(0, 1), leaky(0), "uniform")  # type: ignore[arg-type]
    law = pushforward.law_of(line(0, 1), leaky(0), UNIFORM)
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        law.quantiles(0)
    with pytest.raises(TypeError, match=r"^n is 2\.5"):
        law.quantiles(2.5)  # type: ignore[arg-type]
