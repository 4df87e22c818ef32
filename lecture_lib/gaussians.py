"""Normal densities, their KL divergences, and the reparameterisation trick.

A normal distribution is given by its mean and its *log-variance* `log_var`: the variance is
exp(log_var), the standard deviation exp(log_var / 2). On the lecture's slides log_var is called sigma.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import checks

LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(
    x: Float[ArrayLike, "..."], mean: Float[ArrayLike, "..."], log_var: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Log-density of N(mean, exp(log_var)) at x, elementwise, in nats.

    Args:
        x: Where; shape (...).
        mean: Mean; same shape, or one that broadcasts with x as in NumPy.
        log_var: Log-variance; likewise.

    Returns:
        log N(x; mean, exp(log_var)) = -(log 2 pi + log_var + (x - mean)^2 / exp(log_var)) / 2, the
        constants included, so that exp of it integrates to 1. Sum over the last axis for a diagonal
        Gaussian.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
    """
    x, mean, log_var = _floats(x=x, mean=mean, log_var=log_var)
    return -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 * jnp.exp(-log_var))


def kl_standard_normal(
    mean: Float[ArrayLike, "*batch latent"], log_var: Float[ArrayLike, "*batch latent"]
) -> Float[Array, "*batch"]:
    """KL(N(mean, exp(log_var)) || N(0, I)), in nats, summed over the last axis.

    sum_i (exp(s_i) - (1 + s_i) + m_i^2) / 2 with s the log-variance: half of the sum on the lecture's
    slide "Why VAE?"; Kingma and Welling (2014), appendix B.

    Args:
        mean: Shape (..., latent).
        log_var: Log-variance, same shape.

    Returns:
        Shape (...); never negative, and 0 only for mean 0 and log-variance 0.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: The shapes differ, or there is no axis to sum over.
    """
    mean, log_var = _vectors(mean=mean, log_var=log_var)
    # expm1 keeps the digits that exp(s) - 1 loses for a log-variance near 0
    return 0.5 * jnp.sum(jnp.expm1(log_var) - log_var + mean**2, axis=-1)


def kl_normal(
    mean_q: Float[ArrayLike, "*batch latent"],
    log_var_q: Float[ArrayLike, "*batch latent"],
    mean_p: Float[ArrayLike, "*batch latent"],
    log_var_p: Float[ArrayLike, "*batch latent"],
) -> Float[Array, "*batch"]:
    """KL(q || p) between two diagonal Gaussians, in nats, summed over the last axis.

    Args:
        mean_q: Mean of q, shape (..., latent).
        log_var_q: Log-variance of q, same shape.
        mean_p: Mean of p, same shape.
        log_var_p: Log-variance of p, same shape.

    Returns:
        Shape (...); never negative.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: The shapes differ, or there is no axis to sum over.
    """
    mean_q, log_var_q, mean_p, log_var_p = _vectors(
        mean_q=mean_q, log_var_q=log_var_q, mean_p=mean_p, log_var_p=log_var_p
    )
    s = log_var_q - log_var_p
    return 0.5 * jnp.sum(jnp.expm1(s) - s + (mean_q - mean_p) ** 2 * jnp.exp(-log_var_p), axis=-1)


def reparameterise(
    key: PRNGKeyArray, mean: Float[ArrayLike, "*shape"], log_var: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """Draw z = mean + exp(log_var / 2) * eps with eps ~ N(0, I) (lecture: c = exp(sigma) e + m).

    Args:
        key: A key of `jax.random.key`.
        mean: Shape (...).
        log_var: Log-variance, same shape.

    Returns:
        A draw from N(mean, exp(log_var)), shape (...), differentiable in mean and log_var.

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: The shapes differ.
    """
    mean, log_var = _floats(mean=mean, log_var=log_var)
    checks.same_shape(mean=mean, log_var=log_var)
    return mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, mean.dtype)


def _floats(**values: Any) -> list[Array]:
    for name, value in values.items():
        if not isinstance(value, (int, float)):
            checks.floating(name, value)
    # jnp.result_type takes no lists
    dtype = jnp.result_type(
        float, *(np.asarray(v) if isinstance(v, (list, tuple)) else v for v in values.values())
    )
    if dtype in (jnp.float16, jnp.bfloat16):  # exp of a log-variance above 11 is infinite in float16
        dtype = jnp.dtype(jnp.float32)
    return [jnp.asarray(value, dtype) for value in values.values()]


def _vectors(**values: Any) -> list[Array]:
    arrays = _floats(**values)
    checks.same_shape(**values)
    if arrays[0].ndim == 0:
        raise ValueError(f"{next(iter(values))} is a single number; expected shape (..., latent)")
    return arrays
