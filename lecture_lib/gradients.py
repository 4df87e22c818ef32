"""The gradient of the ELBO with respect to q, exactly and from single draws of z.

The two estimators are those of the same integrand, log P(x, z) - log q(z|x), so that their spreads can be
compared. Model, x and q are as in `bounds`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import checks
from lecture_lib.bounds import at, checked, draws, elbo_joint
from lecture_lib.gaussians import InfiniteMixture
from lecture_lib.networks import Posterior
from lecture_lib.quadrature import Rule


def exact_gradient(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, rule: Rule | None = None
) -> Posterior:
    """The gradient of the ELBO of each x with respect to q's mean and log-variance, by quadrature.

    Args:
        model, x, q, rule: As for `elbo_joint`.

    Returns:
        Derivatives by the mean and by the log-variance, each of shape (batch, latent).
    """
    x, q = checked(model, x, q)
    # each x has a q of its own: the gradient of the sum is that of each
    return jax.grad(lambda q: elbo_joint(model, x, q, rule=rule).sum())(q)


def reparameterised_gradient(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, key: PRNGKeyArray, n: int
) -> Posterior:
    """Estimate the ELBO's gradient n times, each time from one draw z = mean + exp(log_var / 2) eps.

    The derivative of log P(x, z) - log q(z|x) with eps held fixed, so that it goes *through* z (lecture slide
    "Auto-encoder -> VAE"; Kingma and Welling 2014, section 2.4). Unbiased.

    Args:
        model: With a prior that reaches everywhere.
        x, q: As for `elbo_joint`.
        key: A key of `jax.random.key`; the same key gives `score_function_gradient` the same draws.
        n: Estimates, at least 1.

    Returns:
        Derivatives by the mean and by the log-variance, each of shape (n, batch, latent).
    """
    x, q = checked(model, x, q)

    return _through_z(model, x, q, draws(key, q, "n", n))


def score_function_gradient(
    model: InfiniteMixture,
    x: Float[ArrayLike, "batch *dim"],
    q: Posterior,
    *,
    key: PRNGKeyArray,
    n: int,
    baseline: Float[ArrayLike, "*batch"] = 0.0,
) -> Posterior:
    """Estimate the ELBO's gradient n times, each time from one draw of z, without a derivative of the model.

    (log P(x, z) - log q(z|x) - baseline) * d log q(z|x), the score function estimator or REINFORCE (Williams
    1992; Ranganath, Gerrish and Blei 2014). With z = mean + sd eps, d log q is eps / sd for the mean and
    (eps^2 - 1) / 2 for the log-variance. Unbiased, with any constant baseline, since E_q[d log q] = 0.

    Args:
        model: With a prior that reaches everywhere.
        x, q: As for `elbo_joint`.
        key: A key of `jax.random.key`.
        n: Estimates, at least 1.
        baseline: One number, or one for each x, shape (batch,); L_b itself is a good one.

    Returns:
        Derivatives by the mean and by the log-variance, each of shape (n, batch, latent).
    """
    x, q = checked(model, x, q)
    checks.finite("baseline", baseline)
    if np.ndim(baseline):
        checks.same_shape(baseline=baseline, **{"q.mean[:, 0]": q.mean[:, 0]})
    baseline = jnp.broadcast_to(jnp.asarray(baseline, q.mean.dtype), q.mean.shape[:1])

    return _by_score(model, x, q, baseline, draws(key, q, "n", n))


@jax.jit
def _through_z(model: InfiniteMixture, x: Array, q: Posterior, eps: Array) -> Posterior:
    def gap(mean: Array, log_var: Array, x: Array, eps: Array) -> Array:
        z, log_q = at(eps[None], mean, log_var)
        return (model.log_joint(x, z) - log_q)[0]

    of_one = jax.vmap(jax.grad(gap, (0, 1)), in_axes=(None, None, None, 0))
    return Posterior(*jax.vmap(of_one, in_axes=(0, 0, 0, 0), out_axes=1)(*q, x, eps))


@jax.jit
def _by_score(model: InfiniteMixture, x: Array, q: Posterior, baseline: Array, eps: Array) -> Posterior:
    def one(x: Array, mean: Array, log_var: Array, baseline: Array, eps: Array) -> Posterior:
        z, log_q = at(eps, mean, log_var)
        signal = (model.log_joint(x, z) - log_q - baseline)[:, None]
        return Posterior(signal * eps * jnp.exp(-log_var / 2), signal * (eps**2 - 1) / 2)

    return jax.vmap(one, out_axes=1)(x, *q, baseline, eps)
