"""The experiments of notebook 03: small models whose log P(x) is known, the best q, and a VAE's gaps.

Values are computed in the precision of what comes in, except where a function says that it uses float64.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import bounds, checks, datasets, objectives, quadrature, training, variational
from lecture_lib.gaussians import InfiniteMixture, kl_standard_normal, normal_log_prob
from lecture_lib.networks import VAE, GaussianDecoder, Posterior

EXAMPLE_X = (0.0, 1.5, 3.0)
"""Three x for `example`: a posterior of one hump, one of two, and a skewed one with a small second hump."""
WARNING_X, WARNING_SLOPES = 2.0, (1.936, 0.941)
"""The lecture's warning: x, and the slope a before and after L_b has been raised through P(x|z) alone."""
NOISE_SD = 0.5
"""Standard deviation of x given z of the linear models."""
DIGITS = (0, 1)
HIDDEN, STEPS, BATCH = (32, 32), 2000, 64

# --- two models -----------------------------------------------------------------------------


def example() -> InfiniteMixture:
    """A model of numbers x with a decoder of two tanh units, whose posterior may have two humps.

    mean(z) = 2.6 + 1.5 tanh(2 (z - 1)) - 1.5 tanh(z + 1), a valley between two plateaus, and a standard
    deviation of .3 for every z.
    """
    return InfiniteMixture(
        _decoder(
            ([[2.0, 1.0]], [-2.0, 1.0]),
            ([[1.5, 0.0], [-1.5, 0.0]], [2.6, 2 * math.log(0.3)]),
        )
    )


def linear(
    slope: Float[ArrayLike, ""] = 1.0, *, intercept: float = 0.0, noise_sd: float = NOISE_SD
) -> InfiniteMixture:
    """A model with P(x|z) = N(slope z + intercept, noise_sd^2): its posterior is Gaussian.

    Args:
        slope: a of the lecture's warning; it may be traced.
        intercept: The mean of x.
        noise_sd: Standard deviation of x given z, above 0.
    """
    checks.finite("slope", slope)
    checks.finite("intercept", intercept)
    checks.positive("noise_sd", noise_sd)
    return InfiniteMixture(_decoder((jnp.array([[slope, 0.0]]), [intercept, 2 * math.log(noise_sd)])))


def linear_posterior(
    x: Float[ArrayLike, " batch"],
    slope: Float[ArrayLike, ""] = 1.0,
    *,
    intercept: float = 0.0,
    noise_sd: float = NOISE_SD,
) -> Posterior:
    """P(z|x) of the linear model in closed form: precision 1 + slope^2 / noise_sd^2."""
    checks.positive("noise_sd", noise_sd)
    x, a = jnp.asarray(checks.real("x", x), float)[:, None], jnp.asarray(slope, float)
    precision = 1 + a**2 / noise_sd**2
    mean = a * (x - intercept) / noise_sd**2 / precision
    return Posterior(mean, jnp.full_like(x, -jnp.log(precision)))


def _decoder(*layers: tuple[Any, Any]) -> GaussianDecoder:
    """A decoder from a 1-D z to numbers, with the kernel and bias of each layer as given."""
    widths = tuple(len(bias) for _, bias in layers[:-1])
    decoder = GaussianDecoder(1, None, widths, rngs=nnx.Rngs(0))
    linear = [layer for layer in decoder.layers.layers if isinstance(layer, nnx.Linear)]
    for layer, (kernel, bias) in zip(linear, layers, strict=True):
        # in the precision in force: a slope in float32 would show in the tenth digit
        layer.kernel, layer.bias = nnx.Param(jnp.asarray(kernel, float)), nnx.Param(jnp.asarray(bias, float))
    return decoder


def ascend_model(
    model: InfiniteMixture,
    x: Float[ArrayLike, "batch *dim"],
    q: Posterior,
    *,
    rate: Float[ArrayLike, ""] = 0.01,
) -> InfiniteMixture:
    """One step up the gradient of the mean L_b in the parameters of P(x|z); now log P(x) moves, too.

    Args:
        model, x, q: As for `bounds.elbo_joint`. The model handed in is not changed.
        rate: Length of the step, above 0.
    """
    checks.positive("rate", rate)
    split: Any = nnx.split(model, nnx.Param, ...)
    graphdef, params, rest = split

    def bound(params: Any) -> Array:
        return bounds.elbo_joint(nnx.merge(graphdef, params, rest), x, q).mean()

    gradient = jax.grad(bound)(params)
    moved = jax.tree.map(lambda p, g: p + jnp.asarray(rate, p.dtype) * g, params, gradient)
    return nnx.merge(graphdef, moved, rest)


# --- the lecture's warning ----------------------------------------------------------------------


def warning_q() -> Posterior:
    """Its q, which stays as it is: N(2, .5^2)."""
    return Posterior(jnp.array([[2.0]]), jnp.array([[2 * math.log(0.5)]]))


class Levels(NamedTuple):
    """The bound and what it bounds, in nats."""

    elbo: Float[Array, "..."]
    """L_b."""
    log_prob: Float[Array, "..."]
    """log P(x)."""


def warning(slopes: Float[ArrayLike, " n"]) -> Levels:
    """L_b and log P(x) of the lecture's warning for each slope a, in closed form.

    P(x|z) = N(a z, .5^2), x = 2, and q = N(2, .5^2) whatever a is. Raising L_b through P(x|z) alone takes a
    from 1.936 to .941: L_b rises from -11.43 to -3.01, while log P(x) *falls* from -2.11 to -2.74.
    """
    a = jnp.asarray(checks.real("slopes", slopes), float)
    q = warning_q()
    mean, var, noise = q.mean[0, 0], jnp.exp(q.log_var[0, 0]), NOISE_SD**2
    residual = (WARNING_X - a * mean) ** 2 + a**2 * var  # E_q[(x - a z)^2]
    reconstruction = -0.5 * (jnp.log(2 * jnp.pi * noise) + residual / noise)
    return Levels(
        reconstruction - kl_standard_normal(*q)[0],
        normal_log_prob(WARNING_X, 0.0, jnp.log(a**2 + noise)),
    )


def warning_by_quadrature(slopes: Float[ArrayLike, " n"]) -> Levels:
    """The same from the model itself: L_b and log P(x) of `linear(a)`, by quadrature."""
    x, q = jnp.array([WARNING_X]), warning_q()

    def one(slope: Array) -> Levels:
        model = linear(slope)
        return Levels(bounds.elbo_joint(model, x, q)[0], model.log_prob(x)[0])

    return jax.lax.map(one, jnp.asarray(slopes, float))


# --- a VAE's gaps -----------------------------------------------------------------------------


def pictures(split: Literal["all", "train", "test"] = "train") -> datasets.Images:
    """The digits 0 and 1 of a split of `datasets.digits`; each picture flat, 64 pixels."""
    images, labels = datasets.digits(split)
    chosen = np.isin(labels, DIGITS)
    return datasets.Images(images[chosen].reshape(-1, 64), labels[chosen])


def train_vae(key: PRNGKeyArray, *, progress: str | None = None) -> training.Fitted[VAE]:
    """Train a VAE with a 1-D latent and learned pixel noise on the training split of `pictures`.

    Args:
        key: Seeds the weights and the training.
        progress: Label of the progress bar; None shows none.
    """
    key_weights, key_training = jax.random.split(key)
    vae = VAE(64, 1, HIDDEN, noise_sd="learned", rngs=nnx.Rngs(key_weights))
    return training.fit(
        vae,
        objectives.negative_elbo,
        pictures("train").images,
        key=key_training,
        steps=STEPS,
        batch_size=BATCH,
        progress=progress,
    )


class Gaps(NamedTuple):
    """How a VAE's bound falls short of log P(x), for each x, in nats; float64 arrays of shape (batch,)."""

    log_prob: Float[np.ndarray, " batch"]
    """log P(x), by Gauss-Legendre quadrature over z."""
    elbo: Float[np.ndarray, " batch"]
    """L_b of the encoder's q, by quadrature over eps."""
    kl: Float[np.ndarray, " batch"]
    """KL(q || P(z|x)) of the encoder's q, by the trapezoid rule over z."""
    best_elbo: Float[np.ndarray, " batch"]
    """L_b of the best Gaussian q."""
    best_kl: Float[np.ndarray, " batch"]
    """KL(q || P(z|x)) of the best Gaussian q."""

    @property
    def amortisation(self) -> Float[np.ndarray, " batch"]:
        """What the encoder's q loses against the best Gaussian one."""
        return self.best_elbo - self.elbo

    @property
    def family(self) -> Float[np.ndarray, " batch"]:
        """What the best Gaussian q loses against the exact posterior."""
        return self.log_prob - self.best_elbo


class _Noisy(nnx.Module):
    """A VAE's decoder with its noise, as the network of an infinite mixture."""

    def __init__(self, vae: VAE):
        self.decoder, self.noise_log_var = vae.decoder, vae.noise_log_var

    def __call__(self, z: Float[Array, "n latent"]) -> tuple[Array, Array]:
        mean = self.decoder(z)
        return mean, jnp.broadcast_to(self.noise_log_var[...], mean.shape)


def mixture_of(vae: VAE) -> InfiniteMixture:
    """A VAE's decoder and prior as an infinite mixture, so that log P(x) can be computed.

    Args:
        vae: With a Gaussian likelihood and a latent of 1 or 2 dimensions. Its parameters are shared.

    Raises:
        ValueError: Another likelihood, or a longer latent.
    """
    if vae.likelihood != "gaussian":
        raise ValueError(f"vae.likelihood is {vae.likelihood!r}; expected 'gaussian'")
    return InfiniteMixture(_Noisy(vae), latent=vae.latent)


def gaps(vae: VAE, x: Float[ArrayLike, "batch pixels"], *, points: int = variational.POINTS) -> Gaps:
    """Exact log P(x), the bound, and both gaps for each x, in float64, by three kinds of quadrature.

    With the decoder of `train_vae` (pixel noise .24, posteriors of sd .04 and more) the 2001 nodes on
    [-10, 10] are exact to rounding, and so are 801; 1500 Gauss-Legendre nodes to 1e-13, 1000 of them to 3e-9,
    500 to 3e-3. 80 Gauss-Hermite nodes placed for the prior miss such posteriors: they are wrong by nats.

    Args:
        vae: With a 1-D latent and a Gaussian likelihood.
        x: Shape (batch, pixels).
        points: Nodes of the trapezoid rule over z, at least 100; three quarters as many for Gauss-Legendre.

    Raises:
        ValueError: The model does not fit, or the nodes are too few for q.
    """
    checks.whole("points", points, low=100)
    with jax.enable_x64(True):
        return Gaps(*(np.asarray(a) for a in _gaps(vae, jnp.asarray(np.asarray(x, np.float64)), points)))


_log_prob = jax.jit(lambda model, x, rule: model.log_prob(x, rule=rule))


def _gaps(vae: VAE, x: Array, points: int) -> tuple[Array, ...]:
    model = mixture_of(vae)
    rule = model.prior.rule(points)
    q, best = vae.encoder(x), variational.best_gaussian(model, x, rule=rule)
    return (
        _log_prob(model, x, quadrature.gauss_legendre(-10.0, 10.0, 3 * points // 4)),
        *(bounds.elbo_joint(model, x, q), bounds.kl_to_posterior(model, x, q, rule=rule)),
        *(bounds.elbo_joint(model, x, best), bounds.kl_to_posterior(model, x, best, rule=rule)),
    )
