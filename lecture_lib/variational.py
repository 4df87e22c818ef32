"""Choosing q for each x by itself, without an encoder: one step up the bound, moments, and the best Gaussian.

Model and x are as in `bounds`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lecture_lib import bounds, checks, gradients
from lecture_lib.gaussians import InfiniteMixture, normal_log_prob
from lecture_lib.networks import Posterior
from lecture_lib.quadrature import Rule

POINTS = 2001
"""Nodes on [-10, 10] in the search for the best q: a step of .01 in z."""

_TRIED_MEANS, _TRIED_SDS, _CLIMBERS, _CLIMB = 33, 10, 4, 50


def ascend_q(
    model: InfiniteMixture,
    x: Float[ArrayLike, "batch *dim"],
    q: Posterior,
    *,
    rate: Float[ArrayLike, ""] = 0.05,
) -> Posterior:
    """One step up the exact gradient of L_b in q's mean and log-variance; log P(x) stays where it is.

    Args:
        model, x, q: As for `bounds.elbo_joint`.
        rate: Length of the step, above 0. A step longer than twice the inverse of the sharpest curvature
            of L_b climbs no more: at the best q of `elbo_trials.example` .05 is short enough, .1 swings to
            and fro; on the narrow hump of x = 1.5 .05 swings, too.
    """
    checks.positive("rate", rate)
    x, q = bounds.checked(model, x, q)
    gradient = gradients.exact_gradient(model, x, q)
    return Posterior(q.mean + rate * gradient.mean, q.log_var + rate * gradient.log_var)


def posterior_moments(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], *, rule: Rule | None = None
) -> Posterior:
    """The Gaussian with the mean and variance of P(z|x), by quadrature; dimensions taken one by one.

    It minimises KL(P(z|x) || q), the other way round than the ELBO does.

    Args:
        model: As for `bounds.elbo_joint`.
        x: Shape (batch,) or (batch, dim).
        rule: In z; by default the model's.
    """
    (x,) = checks.floats(x=x)
    return _moments(model, x, model.rule() if rule is None else rule)


@jax.jit
def _moments(model: InfiniteMixture, x: Array, rule: Rule) -> Posterior:
    share = jnp.exp(model.log_posterior(x, rule.nodes, rule=rule) + rule.log_weights)
    mean = share @ rule.nodes
    var = jnp.einsum("bn,bnl->bl", share, (rule.nodes - mean[:, None]) ** 2)
    return Posterior(mean, jnp.log(var))


def best_gaussian(
    model: InfiniteMixture, x: Float[ArrayLike, "batch *dim"], *, rule: Rule | None = None
) -> Posterior:
    """The Gaussian q with the highest ELBO for each x: the nearest to P(z|x) in KL(q || P(z|x)).

    log P(x, z) is computed once at the nodes. L_b is then a sum over them for any q, tried for means all over
    the posterior and many widths; from the best of these, Newton's method climbs to the top. Several humps
    are several local maxima: the highest one found is returned.

    Args:
        model: With a 1-D z.
        x: Shape (batch,) or (batch, dim).
        rule: In z; by default the prior's with POINTS nodes, which serves a q down to a standard deviation of
            .01. Narrower ones are not looked for.

    Returns:
        Mean and log-variance, each of shape (batch, 1).

    Raises:
        ValueError: z has two dimensions, x is not finite, or the rule resolves no q near the posterior.
    """
    if model.latent != 1:
        raise ValueError(f"model.latent is {model.latent}; expected 1: the search is for a 1-D z only")
    rule = model.prior.rule(POINTS) if rule is None else rule
    checks.finite("x", x)
    (x,) = checks.floats(x=x)
    mean, log_var, value = _best(_log_joint(model, x, rule), rule)
    if not checks.is_traced(value) and not np.isfinite(value).all():
        i = int(np.argmin(np.isfinite(value)))
        raise ValueError(f"rule is too coarse, or its range too short, for the posterior of x[{i}]")
    return Posterior(mean[:, None], log_var[:, None])


_log_joint = jax.jit(lambda model, x, rule: model.log_joint(x, rule.nodes))


@jax.jit
def _best(log_joint: Float[Array, "batch n"], rule: Rule) -> tuple[Array, Array, Array]:
    z = rule.nodes[:, 0]
    # below it the nodes no longer resolve q; above it they no longer hold it
    tolerance = 1e-9 if z.dtype == jnp.float64 else 1e-4

    def of_one(log_joint: Array) -> tuple[Array, Array]:
        def bound(at: Float[Array, " 2"]) -> Array:
            mean, log_var = at
            weights = jnp.exp(normal_log_prob(z, mean, log_var) + rule.log_weights)
            value = weights @ log_joint + (log_var + math.log(2 * math.pi * math.e)) / 2
            return jnp.where(jnp.abs(weights.sum() - 1) < tolerance, value, -jnp.inf)

        share = jax.nn.softmax(log_joint + rule.log_weights)
        below = jnp.cumsum(share) - share / 2
        ranks = (jnp.arange(_TRIED_MEANS) + 0.5) / _TRIED_MEANS
        sd = jnp.sqrt(share @ (z - share @ z) ** 2)
        widths = 2 * jnp.log(sd * jnp.logspace(-1.7, 0.1, _TRIED_SDS))
        grid = jnp.stack(jnp.meshgrid(jnp.interp(ranks, below, z), widths, indexing="ij"), axis=-1)
        values = jax.lax.map(jax.vmap(bound), grid)
        each_best = grid[jnp.arange(_TRIED_MEANS), values.argmax(axis=1)]
        # the best of each stretch of means, so that no hump is left out
        stretch = jnp.array_split(jnp.arange(_TRIED_MEANS), _CLIMBERS)
        tops = values.max(axis=1)
        starts = jnp.stack([each_best[rows[tops[rows].argmax()]] for rows in stretch])
        ends = jax.lax.map(lambda at: _climb(bound, at), starts)
        reached = jax.vmap(bound)(ends)
        return ends[reached.argmax()], reached.max()

    found, value = jax.lax.map(of_one, log_joint)
    return found[:, 0], found[:, 1], value


def _climb(bound: Callable[[Array], Array], at: Float[Array, " 2"]) -> Float[Array, " 2"]:
    """Newton's method uphill: curvatures taken by their size, and a step only if it raises the bound."""
    lengths = 0.25 ** jnp.arange(6.0)

    def step(now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        steps, at, value, _ = now
        gradient, hessian = jax.grad(bound)(at), jax.hessian(bound)(at)
        size, axes = jnp.linalg.eigh(hessian)
        tried = at + lengths[:, None] * (axes @ ((axes.T @ gradient) / jnp.maximum(jnp.abs(size), 1e-6)))
        values = jax.vmap(bound)(tried)
        best = values.argmax()
        higher = values[best] > value
        return (
            steps + 1,
            jnp.where(higher, tried[best], at),
            jnp.where(higher, values[best], value),
            higher,
        )

    start = (jnp.array(0), at, bound(at), jnp.array(True))
    return jax.lax.while_loop(lambda now: now[3] & (now[0] < _CLIMB), step, start)[1]
