"""The evidence lower bound where log P(x) is known: three forms of it, and the gap.

The model is an `InfiniteMixture` with a z of one or two dimensions, so that every expectation can be
computed by quadrature as well as estimated by sampling. q(z|x) is a `Posterior`: a Gaussian N(mean,
exp(log_var)) with independent dimensions for each x; it need not come from an encoder. Everything is in nats.

A rule for an expectation over q is a rule in eps, with z = mean + exp(log_var / 2) eps: the nodes go where q
is. The integrand is a *logarithm*, so that a narrow P(x|z) only scales it; what matters is how sharply the
network bends within q. See `eps_rule`.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import checks, gaussians, priors, quadrature
from lecture_lib.gaussians import InfiniteMixture, normal_log_prob
from lecture_lib.networks import Posterior
from lecture_lib.objectives import ELBO
from lecture_lib.quadrature import Rule

T = TypeVar("T")

MOST_MISSED = 1e-6
"""Of the probability: a rule that misses more of it is warned about."""
_AT_ONCE = 50


def elbo_joint(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, rule: Rule | None = None
) -> Float[Array, " batch"]:
    """The ELBO as E_q[log P(x, z) - log q(z|x)], by quadrature (lecture slide "Maximizing Likelihood").

    Args:
        model: With a prior that reaches everywhere.
        x: Shape (batch,) if x are numbers, (batch, dim) if they are vectors.
        q: Mean and log-variance, each of shape (batch, latent).
        rule: In eps; by default `eps_rule`. Any other for N(0, I) will do, such as `gauss_hermite(80)`.

    Returns:
        L_b in nats, shape (batch,).

    Raises:
        TypeError: An argument does not hold floating-point numbers.
        ValueError: The shapes do not fit, q is not finite, the prior is bounded (the bound is then -inf), or
            the rule misses more than a hundredth of q.
    """
    x, q = checked(model, x, q)
    return _joint(model, x, q, _eps_rule(model, rule))


def elbo_split(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, rule: Rule | None = None
) -> ELBO:
    """The ELBO as E_q[log P(x|z)], by quadrature, and KL(q || P(z)), in closed form.

    L_b = -KL(q(z|x) || P(z)) + E_q[log P(x|z)] (lecture slide "Maximizing Likelihood"; Kingma and Welling
    2014, eq. 3 and appendix B).

    Args:
        model: Its prior must be the standard normal one, for which the KL has a closed form.
        x, q, rule: As for `elbo_joint`.

    Returns:
        ELBO(reconstruction, kl), each of shape (batch,), in nats.

    Raises:
        TypeError, ValueError: As for `elbo_joint`; and another prior.
    """
    if not isinstance(model.prior, priors.StandardNormal):
        raise ValueError(
            f"model.prior is {model.prior}; expected StandardNormal(), for which KL(q || P(z)) is known in "
            "closed form (elbo_joint takes others)"
        )
    x, q = checked(model, x, q)
    return _split(model, x, q, _eps_rule(model, rule))


def elbo_monte_carlo(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, key: PRNGKeyArray, n: int
) -> ELBO:
    """The ELBO with both of its terms estimated from n draws of z for each x; unbiased for every n.

    Args:
        model: With a prior that reaches everywhere.
        x, q: As for `elbo_joint`.
        key: A key of `jax.random.key`; see `repeated` for many estimates.
        n: Draws z = mean + exp(log_var / 2) eps for each x, at least 1.

    Returns:
        ELBO(reconstruction, kl), each the mean over the draws, shape (batch,), in nats. The same draws serve
        both. The estimate of the KL, log q(z|x) - log P(z), may be negative.

    Raises:
        TypeError, ValueError: As for `elbo_joint`; and n < 1.
    """
    x, q = checked(model, x, q)

    return _sampled(model, x, q, draws(key, q, "n", n))


def importance_weighted_bound(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, key: PRNGKeyArray, k: int
) -> Float[Array, " batch"]:
    """One draw of the importance-weighted bound: log of the mean of k weights P(x, z) / q(z|x), z ~ q.

    Its *expectation* is a lower bound of log P(x): the ELBO for k = 1, it rises with k, and reaches
    log P(x) in the limit (Burda, Grosse and Salakhutdinov 2016, theorem 1). A q that is narrower than the
    posterior, or sits on one hump of two, gives weights whose spread is so large (even infinite) that no
    affordable k gets there.

    Args:
        model: With a prior that reaches everywhere.
        x, q: As for `elbo_joint`.
        key: A key of `jax.random.key`; see `repeated` for the mean over many.
        k: Weights in each mean, at least 1.

    Returns:
        Shape (batch,), in nats.

    Raises:
        TypeError, ValueError: As for `elbo_joint`; and k < 1.
    """
    x, q = checked(model, x, q)

    return _weighted(model, x, q, draws(key, q, "k", k))


def repeated(estimate: Callable[[PRNGKeyArray], T], *, key: PRNGKeyArray, times: int) -> T:
    """The same estimate many times over, with a key of its own each time.

    Args:
        estimate: From a key to an array, or a NamedTuple of arrays: say
            `lambda key: importance_weighted_bound(model, x, q, key=key, k=64)`.
        key: A key of `jax.random.key`.
        times: How often, at least 1.

    Returns:
        As `estimate`, with an axis of length `times` in front of each array.
    """
    keys = jax.random.split(key, checks.whole("times", times, low=1))
    return jax.lax.map(estimate, keys, batch_size=min(_AT_ONCE, times))


def kl_to_posterior(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior, *, rule: Rule | None = None
) -> Float[Array, " batch"]:
    """The gap KL(q(z|x) || P(z|x)): the integral of q (log q - log P(z|x)) dz over the prior's range.

    P(z|x) = P(x, z) / P(x) with P(x) by the same rule. No node and no weight is shared with `elbo_joint`, so
    that log P(x) = L_b + KL is a check that can fail.

    Args:
        model: With a prior that reaches everywhere.
        x, q: As for `elbo_joint`.
        rule: A rule in z; by default the model's. It must be fine enough for q and for the posterior: a step
            of at most .6 of the smaller standard deviation for an error of 1e-9.

    Returns:
        In nats, shape (batch,).

    Raises:
        TypeError, ValueError: As for `elbo_joint`; and where the rule misses more than a hundredth of q, or
            a posterior has its peak at the end of the rule's range. (Values are not looked at while traced.)

    Warns:
        UserWarning: The rule misses more than MOST_MISSED of q, or the outermost hundredth of its range holds
            more than that of a posterior.
    """
    x, q = checked(model, x, q)
    rule = model.rule() if rule is None else rule
    gap, share, log_posterior = _gap(model, x, q, rule)
    _check_posterior(log_posterior, rule)
    _check_share("q", share)
    return gap


def eps_rule(points: int | None = None, *, latent: int = 1) -> Rule:
    """The rule for expectations over q: the trapezoid rule in eps, on [-10, 10] standard deviations of q.

    Its error falls as exp(-2 pi d / h), with h the step and d the distance of the integrand's nearest pole
    from the real line, both in units of q's standard deviation. For tanh(w z) d is pi / (2 w sd): the default
    of 401 points is exact to 1e-9 in float64 up to w sd = 7, that of 101 points each way for a 2-D z up to
    w sd = 1.5. Gauss-Hermite quadrature needs far more nodes where a network bends within q: with 80 of them
    it is good to 1e-9 only up to w sd = 1, and to 1e-2 at w sd = 5.

    Args:
        points: Nodes along each dimension, at least 2; None stands for 401, or 101 for a 2-D z.
        latent: Dimensions, 1 or 2.
    """
    if points is None:
        points = 401 if latent == 1 else 101
    return quadrature.trapezoid(-10.0, 10.0, points, latent=latent)


def checked(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], q: Posterior
) -> tuple[Float[Array, "batch *dim"], Posterior]:
    """Give x and q as arrays, or raise TypeError or ValueError unless they fit each other and the model."""
    if isinstance(model.prior, priors.Uniform):
        raise ValueError(
            f"model.prior is {model.prior}; expected one that reaches everywhere: a Gaussian q has mass "
            "where this P(z) is 0, so that its bound is -inf"
        )
    mean, log_var = q
    for name, value in (("x", x), ("q.mean", mean), ("q.log_var", log_var)):
        checks.floating(name, value)
        checks.finite(name, value)
    checks.same_shape(**{"q.mean": mean, "q.log_var": log_var})
    shape = np.shape(mean)
    if len(shape) != 2 or shape[0] == 0 or shape[1] != model.latent:
        raise ValueError(
            f"q.mean has shape {shape}; expected (batch, {model.latent}), a batch of at least one"
        )
    x, mean, log_var = checks.floats(**{"x": x, "q.mean": mean, "q.log_var": log_var})
    dim = jax.eval_shape(model.network, mean)[0].shape[1:]
    if np.shape(x) != (shape[0], *dim):
        raise ValueError(
            f"x has shape {np.shape(x)}; expected {(shape[0], *dim)}, to fit q and the network of the model"
        )
    return x, Posterior(mean, log_var)


def _eps_rule(model: InfiniteMixture, rule: Rule | None) -> Rule:
    if rule is None:
        return eps_rule(latent=model.latent)
    checks.last_axis("rule.nodes", rule.nodes, model.latent)
    _check_share("q", jnp.exp(_log_weights(rule)).sum(keepdims=True))
    return rule


def _log_normal(
    z: Float[Array, "n latent"], mean: Float[Array, " latent"], log_var: Float[Array, " latent"]
) -> Float[Array, " n"]:
    return normal_log_prob(z, mean, log_var).sum(axis=-1)


def _log_weights(rule: Rule) -> Float[Array, " n"]:
    """Log of the weights of an expectation over eps ~ N(0, I)."""
    return rule.log_weights + normal_log_prob(rule.nodes, 0.0, 0.0).sum(axis=-1)


def _mean(rule: Rule, f: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.sum(jnp.exp(_log_weights(rule)) * f)


def at(
    eps: Float[Array, "n latent"], mean: Float[Array, " latent"], log_var: Float[Array, " latent"]
) -> tuple[Float[Array, "n latent"], Float[Array, " n"]]:
    """Give z = mean + exp(log_var / 2) eps and log q(z|x) there, from eps: z - mean would lose digits."""
    z = mean + jnp.exp(log_var / 2) * eps
    return z, normal_log_prob(eps, 0.0, 0.0).sum(axis=-1) - log_var.sum() / 2


def draws(key: PRNGKeyArray, q: Posterior, name: str, n: int) -> Float[Array, "batch n latent"]:
    """Draw n times eps ~ N(0, I) for each q; `name` is what the caller calls n."""
    batch, latent = q.mean.shape
    return jax.random.normal(key, (batch, checks.whole(name, n, low=1), latent), q.mean.dtype)


def _check_share(what: str, share: Float[Array, " batch"]) -> None:
    """Raise or warn where a rule finds a total probability that is not 1."""
    if checks.is_traced(share):
        return
    missed = np.abs(1 - np.asarray(share, np.float64))
    worst = int(missed.argmax())
    told = f"rule finds a total probability of {share[worst]:.6g} for {what}[{worst}]"
    if missed[worst] > 1e-2:
        raise ValueError(f"{told}; expected 1: give it a wider range or more nodes")
    if missed[worst] > max(MOST_MISSED, 100 * float(jnp.finfo(share.dtype).eps)):
        warnings.warn(f"{told}, not 1: its range is too short or its step too wide", stacklevel=3)


def _check_posterior(log_posterior: Float[Array, "batch n"], rule: Rule) -> None:
    """Raise or warn where a posterior is cut off by the ends of the rule's range."""
    if checks.is_traced(log_posterior) or checks.is_traced(rule.nodes):
        return
    nodes = np.asarray(rule.nodes, np.float64)
    low, high = nodes.min(axis=0), nodes.max(axis=0)
    margin = (high - low) / 100
    outer = ((nodes < low + margin) | (nodes > high - margin)).any(axis=1)
    log_p = np.asarray(log_posterior, np.float64)
    span = f"the range from {low.tolist()} to {high.tolist()}"
    at_end = outer[log_p.argmax(axis=1)]
    if at_end.any():
        raise ValueError(f"the posterior of x[{at_end.argmax()}] has its peak at the end of {span}: widen it")
    held = np.exp(log_p + np.asarray(rule.log_weights))[:, outer].sum(axis=1)
    if held.max(initial=0) > MOST_MISSED:
        warnings.warn(
            f"the ends of {span} hold {held.max():.1e} of the posterior of x[{held.argmax()}]: widen it",
            stacklevel=3,
        )


# The arithmetic, compiled, since each of a hundred small operations would else be compiled by itself.


@jax.jit
def _joint(model: InfiniteMixture, x: Array, q: Posterior, rule: Rule) -> Array:
    def one(x: Array, mean: Array, log_var: Array) -> Array:
        z, log_q = at(rule.nodes, mean, log_var)
        return _mean(rule, model.log_joint(x, z) - log_q)

    return jax.vmap(one)(x, *q)


@jax.jit
def _split(model: InfiniteMixture, x: Array, q: Posterior, rule: Rule) -> ELBO:
    def one(x: Array, mean: Array, log_var: Array) -> Array:
        return _mean(rule, model.conditional_log_prob(x, at(rule.nodes, mean, log_var)[0]))

    return ELBO(jax.vmap(one)(x, *q), gaussians.kl_standard_normal(*q))


@jax.jit
def _sampled(model: InfiniteMixture, x: Array, q: Posterior, eps: Array) -> ELBO:
    def one(x: Array, mean: Array, log_var: Array, eps: Array) -> ELBO:
        z, log_q = at(eps, mean, log_var)
        return ELBO(model.conditional_log_prob(x, z).mean(), (log_q - model.prior.log_prob(z)).mean())

    return jax.vmap(one)(x, *q, eps)


@jax.jit
def _weighted(model: InfiniteMixture, x: Array, q: Posterior, eps: Array) -> Array:
    def one(x: Array, mean: Array, log_var: Array, eps: Array) -> Array:
        z, log_q = at(eps, mean, log_var)
        return jax.nn.logsumexp(model.log_joint(x, z) - log_q) - np.log(len(eps))

    return jax.vmap(one)(x, *q, eps)


@jax.jit
def _gap(model: InfiniteMixture, x: Array, q: Posterior, rule: Rule) -> tuple[Array, Array, Array]:
    """The gap, the share of q that the rule finds, and log P(z|x) at its nodes."""
    log_posterior = model.log_posterior(x, rule.nodes, rule=rule)
    log_q = jax.vmap(partial(_log_normal, rule.nodes))(*q)
    # where q is 0 in floating point the integrand is, too, however large the logarithm
    share = jnp.exp(log_q + rule.log_weights)
    return jnp.sum(share * (log_q - log_posterior), axis=-1), share.sum(axis=-1), log_posterior
