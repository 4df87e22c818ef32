"""The losses, one function a formula.

Conventions: likelihoods are normalised densities in nats, their constants included; everything is summed
over pixels and latent dimensions and kept apart for each x; a loss is the mean over the batch. There is
no hidden weight: `beta` is 1 unless the caller says otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lecture_lib import checks, gaussians
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import VAE, Autoencoder, Discriminator


class ELBO(NamedTuple):
    """The two parts of the evidence lower bound, in nats: elbo = reconstruction - kl."""

    reconstruction: Float[Array, "..."]
    """E_q[log p(x|z)]; shape (batch,). `elbo` estimates it with one draw of z."""
    kl: Float[Array, "..."]
    """KL(q(z|x) || p(z)); shape (batch,). `elbo` has it in closed form."""

    @property
    def value(self) -> Float[Array, "..."]:
        """L_b of the slides: reconstruction - kl, a lower bound of log p(x)."""
        return self.reconstruction - self.kl


def gaussian_log_likelihood(
    x: Float[ArrayLike, "batch pixels"],
    mean: Float[ArrayLike, "batch pixels"],
    log_var: Float[ArrayLike, "*pixelwise"],
) -> Float[Array, " batch"]:
    """Log-density log N(x; mean, exp(log_var) I), summed over the last axis.

    Args:
        x: Shape (batch, pixels).
        mean: Same shape.
        log_var: Log-variance: one number, given or learned, or one for each pixel, in the shape of x.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: x and mean differ in shape, or log_var is neither one number nor of that shape.
    """
    checks.same_shape(x=x, mean=mean)
    if np.ndim(log_var):
        checks.same_shape(x=x, log_var=log_var)
    return gaussians.normal_log_prob(x, mean, log_var).sum(axis=-1)


def bernoulli_log_likelihood(
    x: Float[ArrayLike, "batch pixels"], logits: Float[ArrayLike, "batch pixels"]
) -> Float[Array, " batch"]:
    """Sum of x log p + (1 - x) log(1 - p) with p = sigmoid(logits), over the last axis.

    It takes *logits*: the sigmoid is inside, once. It is a normalised density for pixels that are 0 or 1;
    for grey pixels it is the usual cross-entropy but no density (Loaiza-Ganem and Cunningham 2019).

    Args:
        x: Values in [0, 1], shape (batch, pixels).
        logits: Real numbers, same shape.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: The shapes differ, or x is outside [0, 1].
    """
    checks.floating("x", x)
    checks.floating("logits", logits)
    checks.finite("x", x)
    checks.same_shape(x=x, logits=logits)
    if not checks.is_traced(x) and bool(jnp.any((jnp.asarray(x) < 0) | (jnp.asarray(x) > 1))):
        raise ValueError("x has values outside [0, 1]; a Bernoulli likelihood needs pixels in [0, 1]")
    x, logits = checks.floats(x=x, logits=logits)
    return jnp.sum(x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits), axis=-1)


def log_likelihood_given_z(
    vae: VAE | ConditionalVAE,
    x: Float[Array, "batch pixels"],
    z: Float[Array, "batch latent"],
    *labels: Int[Array, " batch"],
) -> Float[Array, " batch"]:
    """Log-density log p(x|z) of the VAE's decoder, in nats; x (batch, pixels), z (batch, latent).

    A conditional VAE needs the labels, too, and gives log p(x|z, y).
    """
    decoded = vae.decoder(z, *labels)
    if vae.likelihood == "bernoulli":
        return bernoulli_log_likelihood(x, decoded)
    return gaussian_log_likelihood(x, decoded, vae.noise_log_var[...])


def elbo(
    vae: VAE | ConditionalVAE,
    x: Float[Array, "batch pixels"],
    *labels: Int[Array, " batch"],
    key: PRNGKeyArray,
) -> ELBO:
    """The evidence lower bound of each x, with one draw of z.

    L_b = E_q[log p(x|z)] - KL(q(z|x) || p(z)) (lecture slide "Maximizing Likelihood"; Kingma and Welling
    2014, eq. 3). The KL is exact; the expectation is estimated with z = mean + exp(log_var / 2) eps.

    Args:
        vae: The model.
        x: Images, shape (batch, pixels).
        labels: Classes, shape (batch,), for a conditional VAE: then all densities are given y.
        key: A key of `jax.random.key` for eps.

    Returns:
        ELBO(reconstruction, kl), each of shape (batch,).

    Raises:
        TypeError, ValueError: x does not fit the model.
    """
    q = vae.encoder(x, *labels)
    z = gaussians.reparameterise(key, *q)
    return ELBO(log_likelihood_given_z(vae, x, z, *labels), gaussians.kl_standard_normal(*q))


def negative_elbo(
    vae: VAE, x: Float[Array, "batch pixels"], key: PRNGKeyArray, *, beta: Float[ArrayLike, ""] = 1.0
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The VAE's loss for `training.fit`: mean over the batch of -(reconstruction - beta * kl).

    Args:
        vae: The model.
        x: Images, shape (batch, pixels).
        key: For eps.
        beta: Weight of the KL term; 1 is the bound, 0 drops the constraint on the variance.

    Returns:
        The loss in nats, and the batch means of `reconstruction` and `kl`, and the mean standard
        deviation `sd` of q(z|x), to be followed through training.
    """
    terms = elbo(vae, x, key=key)
    reconstruction, kl = terms.reconstruction.mean(), terms.kl.mean()
    sd = jnp.exp(vae.encoder(x).log_var / 2).mean()  # the compiler runs the encoder once
    return -(reconstruction - beta * kl), {"reconstruction": reconstruction, "kl": kl, "sd": sd}


def conditional_negative_elbo(
    vae: ConditionalVAE,
    batch: tuple[Float[Array, "batch pixels"], Int[Array, " batch"]],
    key: PRNGKeyArray,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The conditional VAE's loss for `training.fit`: as `negative_elbo`, with everything given the label.

    Args:
        vae: The model.
        batch: Images (batch, pixels) and their classes (batch,).
        key: For eps.
        beta: Weight of the KL term; 1 is the bound. More of it leaves less of the label in z (Higgins et al.
            2017 on beta), at the price of detail.

    Returns:
        The loss in nats, and the batch means of `reconstruction` and `kl`.
    """
    terms = elbo(vae, *batch, key=key)
    reconstruction, kl = terms.reconstruction.mean(), terms.kl.mean()
    return -(reconstruction - beta * kl), {"reconstruction": reconstruction, "kl": kl}


def squared_error(
    model: Autoencoder, x: Float[Array, "batch pixels"], key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The auto-encoder's loss for `training.fit`: squared error, summed over pixels, mean over the batch.

    It is -log N(x; decoded, I/2) without its constant, as the lecture writes it: the one loss here that is no
    log-density. `key` is not used; `fit` hands one to every loss.
    """
    return jnp.sum((x - model(x)) ** 2, axis=-1).mean(), {}


def negative_log_likelihood(
    model: InfiniteMixture, x: Float[Array, "batch *dim"], key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The exact loss for `training.fit`: mean over the batch of -log P(x), by quadrature over z, in nats.

    No bound and no draw of z: `key` is not used; `fit` hands one to every loss. For a 1-D z.
    """
    return -model.log_prob(x, rule=model.prior.training_rule()).mean(), {}


# --- GAN --------------------------------------------------------------------------------------

# All are written on logits: log D = log sigmoid(logit) never meets log(0), which log(sigmoid(...)) does.


def cross_entropy(real: Float[ArrayLike, " reals"], fake: Float[ArrayLike, " fakes"]) -> Float[Array, ""]:
    """D's loss: -mean log D(x) - mean log(1 - D(G(z))), in nats; 2 log 2 where D says 1/2 to all.

    Goodfellow and others 2014, algorithm 1: of a classifier that is to say 1 to real, 0 to generated x.

    Args:
        real: Logits of real x, shape (reals,).
        fake: Logits of generated x, shape (fakes,).
    """
    real, fake = _logits(real=real, fake=fake)
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def non_saturating(fake: Float[ArrayLike, " batch"]) -> Float[Array, ""]:
    """G's loss: -mean log D(G(z)), in nats; log 2 at D = 1/2 (Goodfellow and others 2014, section 3).

    Its derivative by a logit is -(1 - D): strongest where D sees through G.

    Args:
        fake: Logits of generated x, shape (batch,).
    """
    (fake,) = _logits(fake=fake)
    return jnp.mean(jax.nn.softplus(-fake))


def minimax(fake: Float[ArrayLike, " batch"]) -> Float[Array, ""]:
    """G's loss of the zero-sum game: mean log(1 - D(G(z))), in nats; -log 2 at D = 1/2.

    Goodfellow and others 2014, eq. 1. Its derivative by a logit is -D: none where D sees through G.

    Args:
        fake: Logits of generated x, shape (batch,).
    """
    (fake,) = _logits(fake=fake)
    return -jnp.mean(jax.nn.softplus(fake))


def least_squares_discriminator(
    real: Float[ArrayLike, " batch"], fake: Float[ArrayLike, " batch"]
) -> Float[Array, ""]:
    """D's loss: (mean (s(x) - 1)^2 + mean s(G(z))^2) / 2; 1/4 at s = 1/2 (Mao and others 2017, eq. 9).

    The score s is the network's output itself, with no sigmoid: 1 stands for real, 0 for generated.

    Args:
        real: Scores of real x, shape (batch,).
        fake: Scores of generated x, shape (batch,).
    """
    real, fake = _logits(real=real, fake=fake)
    return (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2)) / 2


def least_squares_generator(fake: Float[ArrayLike, " batch"]) -> Float[Array, ""]:
    """G's loss: mean (s(G(z)) - 1)^2 / 2; 1/8 at s = 1/2 (Mao and others 2017, eq. 9).

    Args:
        fake: Scores of generated x, shape (batch,); see `least_squares_discriminator`.
    """
    (fake,) = _logits(fake=fake)
    return jnp.mean((fake - 1) ** 2) / 2


def _logits(**logits: Float[ArrayLike, " batch"]) -> list[Array]:
    for name, value in logits.items():
        checks.floating(name, value)
        checks.finite(name, value)
        if not np.size(value):
            raise ValueError(f"{name} is empty; expected at least one logit")
    return checks.floats(**logits)


def r1_penalty(
    discriminator: Discriminator, x: Float[Array | np.ndarray, "batch pixels"]
) -> Float[Array, ""]:
    """Half the mean squared gradient of D's logit at real x: mean |grad_x D(x)|^2 / 2.

    R1 of Mescheder, Geiger and Nowozin 2018, eq. 9, without its weight gamma. It keeps D from becoming steep
    around the data, where G would otherwise be thrown about.

    Args:
        discriminator: D, by its logits.
        x: Real pictures, shape (batch, pixels).
    """
    slope = jax.grad(lambda x: discriminator(x).sum())(x)
    return jnp.sum(slope**2, axis=-1).mean() / 2


class GANLosses(NamedTuple):
    """What the two players minimise, by D's outputs."""

    discriminator: Callable[[Float[Array, " batch"], Float[Array, " batch"]], Float[Array, ""]]
    """discriminator(real, fake)."""
    generator: Callable[[Float[Array, " batch"]], Float[Array, ""]]
    """generator(fake)."""


NON_SATURATING = GANLosses(cross_entropy, non_saturating)
MINIMAX = GANLosses(cross_entropy, minimax)
LEAST_SQUARES = GANLosses(least_squares_discriminator, least_squares_generator)
