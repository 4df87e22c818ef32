"""The losses against SciPy, against sums and integrals over all of x, and against log p(x) by quadrature."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, special, stats

from lecture_lib import objectives, training
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import VAE, Autoencoder, GaussianDecoder
from lecture_lib.priors import NORMAL, Prior, Uniform
from tests.laws import law

PIXELS = 4
Kind = Literal["gaussian", "bernoulli"]


def vectors(low: float, high: float) -> Any:
    return hnp.arrays(np.float64, (3, PIXELS), elements=st.floats(low, high))


# --- likelihoods ----------------------------------------------------------------------------


@law(60)
@given(vectors(-20, 20), vectors(-20, 20), vectors(-10, 10))
def test_gaussian_log_likelihood_is_that_of_scipy(x: Any, mean: Any, log_var: Any) -> None:
    with jax.enable_x64(True):
        each = np.asarray(objectives.gaussian_log_likelihood(x, mean, log_var))
        one = np.asarray(objectives.gaussian_log_likelihood(x, mean, float(log_var[0, 0])))
    assert each.shape == one.shape == (3,)
    # sums of 4 float64 terms, of which each is good to a few rounding errors
    expected = stats.norm.logpdf(x, mean, np.exp(log_var / 2)).sum(-1)
    np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-12)
    expected = stats.norm.logpdf(x, mean, np.exp(log_var[0, 0] / 2)).sum(-1)
    np.testing.assert_allclose(one, expected, rtol=1e-12, atol=1e-12)


def test_gaussian_likelihood_is_that_of_the_joint_density() -> None:
    rng = np.random.default_rng(0)
    x, mean = rng.normal(size=(2, 5, PIXELS))
    with jax.enable_x64(True):
        ours = objectives.gaussian_log_likelihood(x, mean, np.log(0.3))
    joint = [
        stats.multivariate_normal(m, 0.3 * np.eye(PIXELS)).logpdf(v) for v, m in zip(x, mean, strict=True)
    ]
    np.testing.assert_allclose(ours, joint, rtol=1e-12)


@law(60)
@given(hnp.arrays(np.float64, (3, PIXELS), elements=st.sampled_from([0.0, 1.0])), vectors(-30, 30))
def test_bernoulli_log_likelihood_is_that_of_scipy(x: Any, logits: Any) -> None:
    with jax.enable_x64(True):
        ours = np.asarray(objectives.bernoulli_log_likelihood(x, logits))
    # SciPy takes p, and 1 - p has lost its digits for p near 1: ask it for the smaller of the two sides
    flip = logits > 0
    p = special.expit(-np.abs(logits))
    expected = stats.bernoulli.logpmf(np.where(flip, 1 - x, x), p).sum(-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


@law(60)
@given(vectors(0, 1), vectors(-30, 30))
def test_cross_entropy_of_grey_pixels(x: Any, logits: Any) -> None:
    """x l - log(1 + exp(l)), another way to write it."""
    with jax.enable_x64(True):
        ours = np.asarray(objectives.bernoulli_log_likelihood(x, logits))
    expected = (x * logits - np.logaddexp(0, logits)).sum(-1)
    # x l and log(1 + exp l) cancel, with terms up to 30: rounding errors of 30 times 2e-16
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_bernoulli_is_a_distribution_over_all_images() -> None:
    """Also tells a second sigmoid, or a mean in place of the sum: neither would sum to 1."""
    k = 6
    every = np.array(list(product([0.0, 1.0], repeat=k)))
    logits = np.random.default_rng(0).normal(0, 3, size=k)
    with jax.enable_x64(True):
        log_p = objectives.bernoulli_log_likelihood(every, np.broadcast_to(logits, every.shape))
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-13)  # 64 terms below 1


EVERY = np.array(list(product([0.0, 1.0], repeat=PIXELS)))


@law(60)
@given(hnp.arrays(np.float64, PIXELS, elements=st.floats(-200, 200)))
def test_bernoulli_is_a_distribution_whatever_the_logits(logits: Any) -> None:
    """All images together have probability 1, and a pixel is 1 as often as the sigmoid says."""
    with jax.enable_x64(True):
        p = np.exp(objectives.bernoulli_log_likelihood(EVERY, np.broadcast_to(logits, EVERY.shape)))
    # exp multiplies the rounding of a logarithm of size 800 where p is tiny: none of it is seen in the sum
    assert p.sum() == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(p @ EVERY, special.expit(logits), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("pixels", [1, 2])
def test_gaussian_integrates_to_one(pixels: int) -> None:
    mean, log_var = np.array([0.3, -1.0])[:pixels], np.array([-0.7, 0.9])[:pixels]
    axes = [m + np.exp(s / 2) * np.linspace(-12, 12, 241) for m, s in zip(mean, log_var, strict=True)]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=-1)
    with jax.enable_x64(True):
        log_p = objectives.gaussian_log_likelihood(
            grid, np.broadcast_to(mean, grid.shape), np.broadcast_to(log_var, grid.shape)
        )
    total = np.exp(log_p).reshape([241] * pixels)
    for axis in axes[::-1]:
        total = integrate.trapezoid(total, axis, axis=-1)
    # the trapezoid rule is exact to rounding for a Gaussian at this step; 5.8e4 terms
    assert float(total) == pytest.approx(1, abs=1e-12)


def test_extreme_logits_stay_finite_with_their_gradients() -> None:
    logits = jnp.array([[-200.0, -30.0, 0.0, 30.0, 200.0]])
    for x in (jnp.zeros_like(logits), jnp.ones_like(logits), jnp.full_like(logits, 0.5)):

        def total(logits: Any, x: Any = x) -> Any:
            return objectives.bernoulli_log_likelihood(x, logits).sum()

        value, gradient = jax.value_and_grad(total)(logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        # d/dl = x - sigmoid(l), in float32
        np.testing.assert_allclose(gradient, x - special.expit(np.asarray(logits)), atol=1e-6)


def test_bad_arguments_of_the_likelihoods() -> None:
    x, y = jnp.zeros((3, 4)), jnp.zeros((4,))
    with pytest.raises(ValueError, match=r"x \(3, 4\), mean \(4,\)"):
        objectives.gaussian_log_likelihood(x, y, 0.0)
    with pytest.raises(ValueError, match=r"x \(3, 4\), log_var \(4,\)"):
        objectives.gaussian_log_likelihood(x, x, y)
    with pytest.raises(TypeError, match="x has dtype"):
        objectives.gaussian_log_likelihood(jnp.zeros((3, 4), jnp.int32), x, 0.0)
    with pytest.raises(ValueError, match=r"x \(3, 4\), logits \(4,\)"):
        objectives.bernoulli_log_likelihood(x, y)
    with pytest.raises(TypeError, match="x has dtype uint8"):
        objectives.bernoulli_log_likelihood(np.zeros((3, 4), np.uint8), x)
    with pytest.raises(TypeError, match="logits has dtype"):
        objectives.bernoulli_log_likelihood(x, jnp.zeros((3, 4), jnp.int32))
    for outside in (-0.01, 1.01, 16.0):
        with pytest.raises(ValueError, match=r"x has values outside \[0, 1\]"):
            objectives.bernoulli_log_likelihood(x + outside, x)
        with pytest.raises(ValueError, match=r"x has values outside \[0, 1\]"):
            objectives.bernoulli_log_likelihood(x.at[2, 3].set(outside), x)


# --- the bound ------------------------------------------------------------------------------


class Exact:
    """All integrals of a VAE with a 1-D code, by quadrature in NumPy, from its weights alone."""

    def __init__(self, vae: VAE, x: np.ndarray):
        self.vae, self.x = vae, x
        both = self.forward(vae.encoder.layers, x[None])[0]
        self.mean, self.log_var = float(both[0]), float(both[1])
        reach = max(14, abs(self.mean) + 12 * np.exp(self.log_var / 2))  # beyond it weights are below 1e-31
        self.z = np.linspace(-reach, reach, 20_001)
        self.log_q = stats.norm.logpdf(self.z, self.mean, np.exp(self.log_var / 2))
        self.log_prior = stats.norm.logpdf(self.z)
        self.log_x_given_z = self.likelihood(self.z)

    @staticmethod
    def forward(layers: nnx.Sequential, x: np.ndarray) -> np.ndarray:
        linear: list[Any] = [layer for layer in layers.layers if isinstance(layer, nnx.Linear)]
        for i, layer in enumerate(linear):
            x = x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)
            x = np.tanh(x) if i < len(linear) - 1 else x
        return x

    def likelihood(self, z: np.ndarray) -> np.ndarray:
        decoded = self.forward(self.vae.decoder.layers, z[:, None])
        if self.vae.likelihood == "bernoulli":
            return np.asarray((self.x * decoded - np.logaddexp(0, decoded)).sum(-1))
        sd = np.exp(float(self.vae.noise_log_var[...]) / 2)
        return np.asarray(stats.norm.logpdf(self.x, decoded, sd).sum(-1))

    def integral(self, values: np.ndarray) -> float:
        return float(integrate.trapezoid(values, self.z))

    @property
    def log_p(self) -> float:
        joint = self.log_x_given_z + self.log_prior
        top = joint.max()
        return float(top + np.log(self.integral(np.exp(joint - top))))

    @property
    def reconstruction(self) -> float:
        return self.integral(np.exp(self.log_q) * self.log_x_given_z)

    @property
    def gap(self) -> float:
        """KL(q || posterior)."""
        posterior = self.log_x_given_z + self.log_prior - self.log_p
        return self.integral(np.exp(self.log_q) * (self.log_q - posterior))


def model(seed: int, likelihood: Kind) -> VAE:
    """A VAE with random weights in float64, whatever its quality."""
    vae = VAE(PIXELS, 1, (6,), likelihood=likelihood, noise_sd=0.6, rngs=nnx.Rngs(seed))
    state = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), nnx.state(vae))
    nnx.update(vae, state)
    for layers in (vae.encoder.layers, vae.decoder.layers):
        for layer in layers.layers:
            if isinstance(layer, nnx.Linear):  # Flax passes on param_dtype as it was: compute in float64
                layer.dtype = layer.param_dtype = jnp.float64
    return vae


def picture(seed: int, likelihood: Kind) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, PIXELS).astype(float) if likelihood == "bernoulli" else rng.normal(0, 1, PIXELS)


def exact_elbo(vae: VAE, x: np.ndarray) -> tuple[float, float]:
    """The package's own log p(x|z) and KL, with the expectation over eps by the trapezoid rule."""
    eps = np.linspace(-12, 12, 4001)
    weights = stats.norm.pdf(eps)
    batch = jnp.asarray(np.broadcast_to(x, (len(eps), PIXELS)))
    q = vae.encoder(batch)
    z = q.mean + jnp.exp(q.log_var / 2) * eps[:, None]
    values = np.asarray(objectives.log_likelihood_given_z(vae, batch, z))
    kl = objectives.elbo(vae, batch[:1], key=jax.random.key(0)).kl[0]
    return float(weights @ values / weights.sum()), float(kl)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("seed", range(6))
def test_bound_and_gap_make_up_log_p(seed: int, likelihood: Kind) -> None:
    """elbo + KL(q || posterior) = log p(x), and so elbo <= log p(x), in float64.

    1e-9 is asked for. The trapezoid rule on a function that is analytic in a strip of half-width d about the
    line and decays errs by exp(-2 pi d / step): the weights here keep tanh's poles at d > 0.1, and steps are
    below 0.02, so quadrature is exact to rounding: 1e-16 times 1e4 terms of size 1 to 100.
    """
    with jax.enable_x64(True):
        vae, x = model(seed, likelihood), picture(seed, likelihood)
        reconstruction, kl = exact_elbo(vae, x)
    exact = Exact(vae, x)
    assert reconstruction == pytest.approx(exact.reconstruction, abs=1e-9)
    bound = objectives.ELBO(jnp.float32(reconstruction), jnp.float32(kl)).value
    assert float(bound) == pytest.approx(reconstruction - kl, rel=1e-5)  # float32
    assert reconstruction - kl + exact.gap == pytest.approx(exact.log_p, abs=1e-9)
    assert exact.gap > 0
    assert reconstruction - kl < exact.log_p


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_p_of_x_given_z_is_normalised_through_the_model(likelihood: Kind) -> None:
    """The sum or integral over x of exp(log p(x|z)) for a decoder with two pixels."""
    vae = VAE(2, 1, (3,), likelihood=likelihood, noise_sd=0.5, rngs=nnx.Rngs(0))
    axis = np.array([0.0, 1.0]) if likelihood == "bernoulli" else np.linspace(-8, 8, 161)
    x = np.stack([g.ravel() for g in np.meshgrid(axis, axis)], axis=-1).astype(np.float32)
    log_p = np.asarray(objectives.log_likelihood_given_z(vae, jnp.asarray(x), jnp.full((len(x), 1), 0.7)))
    cell = 1.0 if likelihood == "bernoulli" else (axis[1] - axis[0]) ** 2
    # float32 log-densities near the peak are of size 1, good to 1e-6
    assert np.exp(log_p.astype(np.float64)).sum() * cell == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_reconstruction_is_unbiased(likelihood: Kind) -> None:
    """The mean over 20000 keys within 5 standard errors of the quadrature: false alarm 6e-7, over seeds."""
    n = 20_000
    with jax.enable_x64(True):
        vae, x = model(3, likelihood), picture(3, likelihood)
        batch = jnp.asarray(np.broadcast_to(x, (n, PIXELS)))
        terms = objectives.elbo(vae, batch, key=jax.random.key(2))
        draws = np.asarray(terms.reconstruction)
    assert draws.shape == terms.kl.shape == (n,)
    assert np.unique(draws).size > n * 0.99  # every example has a draw of its own
    assert abs(draws.mean() - Exact(vae, x).reconstruction) < 5 * draws.std() / n**0.5


def test_kl_of_the_bound_is_the_integral() -> None:
    with jax.enable_x64(True):
        vae, x = model(1, "gaussian"), picture(1, "gaussian")
        kl = float(objectives.elbo(vae, jnp.asarray(x[None]), key=jax.random.key(0)).kl[0])
    exact = Exact(vae, x)
    assert kl == pytest.approx(
        exact.integral(np.exp(exact.log_q) * (exact.log_q - exact.log_prior)), abs=1e-10
    )


def test_gradient_of_the_bound_is_that_of_finite_differences() -> None:
    """For a fixed key the loss is a smooth function of the weights; central differences at h = 1e-5.

    Their error is h^2 times a third derivative, 1e-10, plus rounding 1e-16 * |loss| / h, 1e-10.
    """
    with jax.enable_x64(True):
        vae, x = model(0, "gaussian"), jnp.asarray(picture(0, "gaussian")[None])
        split: Any = nnx.split(vae, nnx.Param, ...)
        graphdef, params, rest = split
        flat, back = jax.flatten_util.ravel_pytree(params)

        def loss(flat: Any) -> Any:
            return objectives.negative_elbo(nnx.merge(graphdef, back(flat), rest), x, jax.random.key(0))[0]

        gradient = np.asarray(jax.jit(jax.grad(loss))(flat))
        h = 1e-5
        steps = jnp.eye(len(flat)) * h
        slope = jax.jit(jax.vmap(lambda e: (loss(flat + e) - loss(flat - e)) / (2 * h)))
        numeric = np.asarray(slope(steps))
    np.testing.assert_allclose(gradient, numeric, atol=1e-7, rtol=1e-7)


# --- the losses -----------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_negative_elbo_weighs_the_kl(beta: float) -> None:
    vae = VAE(PIXELS, 2, (6,), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, PIXELS)).astype(np.float32))
    key = jax.random.key(4)
    terms = objectives.elbo(vae, x, key=key)
    loss, metrics = objectives.negative_elbo(vae, x, key, beta=beta)
    r, kl = np.asarray(terms.reconstruction, np.float64), np.asarray(terms.kl, np.float64)
    assert float(loss) == pytest.approx(-(r.mean() - beta * kl.mean()), rel=1e-5)  # float32
    assert set(metrics) == {"reconstruction", "kl", "sd"}
    assert float(metrics["reconstruction"]) == pytest.approx(r.mean(), rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(kl.mean(), rel=1e-5)
    sd = np.exp(np.asarray(vae.encoder(x).log_var) / 2).mean()
    assert float(metrics["sd"]) == pytest.approx(sd, rel=1e-5)
    np.testing.assert_array_equal(terms.value, terms.reconstruction - terms.kl)
    if beta == 1:
        assert float(objectives.negative_elbo(vae, x, key)[0]) == float(loss)


def test_squared_error_is_that_of_numpy() -> None:
    ae = Autoencoder(PIXELS, 2, (6,), rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(7, PIXELS)).astype(np.float32)
    loss, metrics = objectives.squared_error(ae, jnp.asarray(x), jax.random.key(0))
    decoded = Exact.forward(ae.decoder.layers, Exact.forward(ae.encoder, x.astype(np.float64)))
    assert float(loss) == pytest.approx(((x - decoded) ** 2).sum() / 7, rel=1e-5)  # float32
    assert metrics == {}


def test_squared_error_is_a_gaussian_likelihood_of_variance_a_half() -> None:
    """-log N(x; decoded, I/2) less its constant, (pixels / 2) log(pi)."""
    ae = Autoencoder(PIXELS, 2, (6,), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, PIXELS)).astype(np.float32))
    nll = -objectives.gaussian_log_likelihood(x, ae(x), np.log(0.5)).mean()
    loss = objectives.squared_error(ae, x, jax.random.key(0))[0]
    assert float(nll - loss) == pytest.approx(PIXELS / 2 * np.log(np.pi), rel=1e-5)  # float32


def test_inputs_that_do_not_fit_the_model() -> None:
    vae = VAE(PIXELS, 2, rngs=nnx.Rngs(0))
    key = jax.random.key(0)
    for call in (lambda x: objectives.elbo(vae, x, key=key), lambda x: objectives.negative_elbo(vae, x, key)):
        with pytest.raises(ValueError, match="x has shape"):
            call(jnp.ones((3, PIXELS + 1)))
        with pytest.raises(TypeError, match="x has dtype uint8"):
            call(np.ones((3, PIXELS), np.uint8))
    with pytest.raises(ValueError, match="outside"):
        bernoulli = VAE(PIXELS, 2, likelihood="bernoulli", rngs=nnx.Rngs(0))
        objectives.elbo(bernoulli, jnp.full((3, PIXELS), 16.0), key=key)


# --- given the label ------------------------------------------------------------------------

LABELS = np.array([0, 2, 1, 1, 0])


def conditional(likelihood: Kind, condition: Literal["film", "concat"]) -> ConditionalVAE:
    """A conditional VAE with random weights in float64; no scale or shift is 0."""
    vae = ConditionalVAE(
        *(PIXELS, 2, (6,)),
        classes=3,
        condition=condition,
        activation=nnx.tanh,
        likelihood=likelihood,
        noise_sd=0.6,
        rngs=nnx.Rngs(0),
    )
    rng = np.random.default_rng(1)

    def draw(leaf: Any) -> Any:  # the one number is the noise
        return jnp.asarray(rng.normal(0, 0.6, leaf.shape) if leaf.ndim else np.float64(2 * np.log(0.6)))

    nnx.update(vae, jax.tree.map(draw, nnx.state(vae)))
    for _, layer in nnx.iter_graph(vae):
        if isinstance(layer, nnx.Linear):
            layer.dtype = layer.param_dtype = jnp.float64
    return vae


def decoded_by_hand(vae: ConditionalVAE, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One label after the other: the scales and shifts taken into plain layers of that label."""
    decoder: Any = vae.decoder
    if decoder.condition == "concat":
        return Exact.forward(decoder.layers, np.concatenate([z, np.eye(3)[labels]], axis=1))
    rows = []
    for row, label in zip(z, labels, strict=True):
        h = row
        for i, layer in enumerate(decoder.layers):
            scale = np.diag(1 + np.asarray(layer.scale[...])[label])
            kernel, bias = np.asarray(layer.linear.kernel[...]), np.asarray(layer.linear.bias[...])
            h = h @ (kernel @ scale) + bias @ scale + np.asarray(layer.shift[...])[label]
            h = np.tanh(h) if i < len(decoder.layers) - 1 else h
        rows.append(h)
    return np.array(rows)


@pytest.mark.parametrize(
    ("likelihood", "condition"), [("gaussian", "film"), ("bernoulli", "film"), ("bernoulli", "concat")]
)
def test_conditional_bound_is_that_of_scipy(likelihood: Kind, condition: Literal["film", "concat"]) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (5, PIXELS)) * 1.0 if likelihood == "bernoulli" else rng.normal(size=(5, PIXELS))
    key = jax.random.key(7)
    with jax.enable_x64(True):
        vae = conditional(likelihood, condition)
        terms = objectives.elbo(vae, jnp.asarray(x), jnp.asarray(LABELS), key=key)
        eps = np.asarray(jax.random.normal(key, (5, 2), jnp.float64))
        other = objectives.elbo(vae, jnp.asarray(x), jnp.asarray((LABELS + 1) % 3), key=key)
        both = Exact.forward(vae.encoder.layers, np.concatenate([x, np.eye(3)[LABELS]], axis=1))
        mean, log_var = both[:, :2], both[:, 2:]
        z = mean + np.exp(log_var / 2) * eps
        decoded = decoded_by_hand(vae, z, LABELS)
        alone = objectives.log_likelihood_given_z(vae, jnp.asarray(x), jnp.asarray(z), jnp.asarray(LABELS))
    if likelihood == "bernoulli":
        expected = stats.bernoulli.logpmf(x, special.expit(decoded)).sum(-1)
    else:
        expected = stats.norm.logpdf(x, decoded, 0.6).sum(-1)
    assert terms.reconstruction.dtype == np.float64
    # float64 sums of a few dozen terms; logits below 10 leave SciPy's 1 - p its digits
    np.testing.assert_allclose(terms.reconstruction, expected, rtol=1e-10)
    np.testing.assert_allclose(alone, expected, rtol=1e-10)
    # KL(N(m, s^2) || N(0, 1)) = -log s + (s^2 + m^2 - 1) / 2 (Kingma and Welling 2014, appendix B)
    s = np.exp(log_var / 2)
    np.testing.assert_allclose(terms.kl, (-np.log(s) + (s**2 + mean**2 - 1) / 2).sum(-1), rtol=1e-10)
    for part in ("reconstruction", "kl"):  # a wrong label is another model
        assert np.abs(getattr(other, part) - getattr(terms, part)).min() > 1e-4


@pytest.fixture(scope="module")
def told() -> ConditionalVAE:
    return ConditionalVAE(PIXELS, 1, (6,), classes=2, noise_sd=0.5, rngs=nnx.Rngs(0))


def two_classes() -> tuple[jax.Array, jax.Array]:
    """Pictures that the label tells apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 32)
    x = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1]])[labels] + 0.1 * rng.normal(size=(32, PIXELS))
    return jnp.asarray(x, jnp.float32), jnp.asarray(labels)


@pytest.mark.parametrize("beta", [None, 0.0, 4.0])
def test_conditional_negative_elbo_weighs_the_kl(told: ConditionalVAE, beta: float | None) -> None:
    x, labels = two_classes()
    key = jax.random.key(4)
    terms = objectives.elbo(told, x, labels, key=key)
    hyper = {} if beta is None else {"beta": beta}
    loss, metrics = objectives.conditional_negative_elbo(told, (x, labels), key, **hyper)
    r, kl = np.asarray(terms.reconstruction, np.float64).mean(), np.asarray(terms.kl, np.float64).mean()
    assert terms.kl.shape == terms.reconstruction.shape == (32,)
    assert float(loss) == pytest.approx(-(r - (1 if beta is None else beta) * kl), rel=1e-5)  # float32
    assert set(metrics) == {"reconstruction", "kl"}
    assert float(metrics["reconstruction"]) == pytest.approx(r, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(kl, rel=1e-5)


def test_training_on_pictures_with_labels(told: ConditionalVAE) -> None:
    """The label tells the two pictures apart, and what is left is noise of sd 0.1 under a decoder with 0.5.

    The best loss without z: for each pixel (log(2 pi 0.25) + 0.01 / 0.25) / 2, by N(x; mean, 0.5^2).
    """
    x, labels = two_classes()
    fitted = training.fit(
        told,
        objectives.conditional_negative_elbo,
        (x, labels),
        key=jax.random.key(0),
        steps=600,
        learning_rate=0.02,
        progress=None,
    )
    best = 4 * (np.log(2 * np.pi * 0.25) + 0.04) / 2
    first, last = np.asarray(fitted.history.loss)[[0, -1]]
    assert first > best + 1  # a decoder at 0 pays 0.5 / 0.25 for two pixels in four
    assert last < best + 0.1
    wrong, _ = objectives.conditional_negative_elbo(fitted.model, (x, 1 - labels), jax.random.key(0))
    assert float(wrong) > last + 4  # each pixel is off by 1: 1 / (2 * 0.25) for each of 4, less what z can do
    for layer, before in zip(fitted.model.decoder.layers, told.decoder.layers, strict=True):
        for name in ("scale", "shift"):
            moved = np.asarray(getattr(layer, name)[...]) - np.asarray(getattr(before, name)[...])
            assert (np.abs(moved).max(axis=1) > 0).all()


def test_conditional_losses_refuse(told: ConditionalVAE) -> None:
    x, labels = two_classes()
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"^labels has \[2\]; expected classes from 0 to 1"):
        objectives.conditional_negative_elbo(told, (x, labels + labels), key)
    with pytest.raises(TypeError, match=r"^labels has dtype float32"):
        objectives.conditional_negative_elbo(told, (x, labels * 1.0), key)
    with pytest.raises(ValueError, match=r"^labels has shape \(1,\); expected \(32,\), one for each x"):
        objectives.elbo(told, x, labels[:1], key=key)
    with pytest.raises(TypeError, match="labels"):
        objectives.elbo(told, x, key=key)  # a conditional VAE without labels
    with pytest.raises(ValueError, match=r"^x has shape \(32, 3\); expected \(\.\.\., 4\)"):
        objectives.elbo(told, x[:, :3], labels, key=key)


# --- exact likelihood -----------------------------------------------------------------------


def test_negative_log_likelihood_of_a_linear_network_is_closed() -> None:
    """-log N(x; b, a^2 + s^2), the mean of the batch; the 201 points stand 0.1 apart, the posterior's sd is
    0.45: exp(-2 pi^2 * 20) is nothing."""
    a, b, var = 1.0, 0.5, 0.25
    x = np.random.default_rng(0).normal(b, 1.1, 50)
    with jax.enable_x64(True):
        model = InfiniteMixture(lambda z: (a * z[:, 0] + b, jnp.full(len(z), jnp.log(var))))
        loss, metrics = objectives.negative_log_likelihood(model, x, jax.random.key(0))
        again, _ = objectives.negative_log_likelihood(model, x, jax.random.key(1))
    assert metrics == {} and loss.shape == () and float(loss) == float(again)
    assert float(loss) == pytest.approx(-stats.norm.logpdf(x, b, (a**2 + var) ** 0.5).mean(), rel=1e-12)


@pytest.mark.parametrize("dim", [None, 2])
@pytest.mark.parametrize("prior", [NORMAL, Uniform(-2, 2)])
def test_negative_log_likelihood_and_gradient_are_those_of_a_fine_rule(dim: int | None, prior: Prior) -> None:
    """In float32, as in training: a fresh network bends little, so that 201 points leave rounding only."""
    model = InfiniteMixture(GaussianDecoder(1, dim, (8,), rngs=nnx.Rngs(0)), prior)
    x = np.random.default_rng(0).normal(size=(30,) if dim is None else (30, dim)).astype(np.float32)

    def fine(model: InfiniteMixture) -> Any:
        return -model.log_prob(x, rule=prior.rule(401)).mean()

    def loss(model: InfiniteMixture) -> Any:
        return objectives.negative_log_likelihood(model, x, jax.random.key(0))[0]

    ours, wanted = (nnx.jit(nnx.value_and_grad(f))(model) for f in (loss, fine))
    assert float(ours[0]) == pytest.approx(float(wanted[0]), rel=1e-5)  # float32 sums of 201 and 401 terms
    for one, two in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(wanted[1]), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)  # and of 30 x, whose terms cancel


def test_negative_log_likelihood_is_below_every_bound_of_it() -> None:
    """-log P(x) <= -E_q[log P(x, z) - log q(z)] for any q: here the prior, by quadrature."""
    model = InfiniteMixture(GaussianDecoder(1, None, (8,), rngs=nnx.Rngs(3)))
    x = np.linspace(-1, 1, 7)
    with jax.enable_x64(True):
        loss = float(objectives.negative_log_likelihood(model, x, jax.random.key(0))[0])
        rule = model.rule()
        prior = np.exp(NORMAL.log_prob(rule.nodes) + rule.log_weights)
        bound = np.asarray(model.conditional_log_prob(x, rule.nodes)) @ prior
    assert loss < -bound.mean()


def test_negative_log_likelihood_refuses() -> None:
    model = InfiniteMixture(GaussianDecoder(1, 2, (4,), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"^x has shape \(5, 3\); expected \(\.\.\., 2\)"):
        objectives.negative_log_likelihood(model, jnp.ones((5, 3)), jax.random.key(0))
    with pytest.raises(TypeError, match=r"^x has dtype int32"):
        objectives.negative_log_likelihood(model, jnp.ones((5, 2), jnp.int32), jax.random.key(0))
