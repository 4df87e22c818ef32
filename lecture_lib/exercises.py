"""The checks behind the exercises: they print what is right or what to look at, never a traceback.

An answer of `...` stands for "not tried yet", so that an untouched notebook runs from top to bottom.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from lecture_lib import bounds, elbo_trials, gaussians, measures, mixture_trials, moon_trials
from lecture_lib.answers import NotYetError, as_array, as_number, exercise
from lecture_lib.gaussians import Mixture
from lecture_lib.networks import Posterior


@exercise
def check_lit_quarter(phase_angle: Any) -> str:
    """At which phase angle, in degrees, is a quarter of the disc lit?"""
    angle = abs(as_number("The phase angle", phase_angle))
    if angle > 180:
        raise NotYetError("Answer with an angle from 0 (full moon) to 180 (new moon).")
    lit = (1 + math.cos(math.radians(angle))) / 2
    if abs(lit - 0.25) > 0.005:
        raise NotYetError(
            f"At {angle:g} degrees {lit:.1%} of the disc is lit. 0 is the full moon, 90 a half moon."
        )
    return "The lit fraction is (1 + cos(phase angle)) / 2."


@exercise
def check_reparameterise(function: Any) -> str:
    """function(e, m, s): the noisy code, with s the log-variance."""
    e, m, s = jnp.array([-1.0, 0.5, 2.0]), jnp.array([0.3, -2.0, 1.0]), jnp.array([-2.0, 0.0, 1.5])
    z = as_array(function(e, m, s), (3,))
    if np.allclose(z, m + jnp.exp(s) * e, atol=1e-5):
        raise NotYetError(
            "That is the drawing's exp(s) * e: its *variance* is exp(2 s). Here s is the log-variance."
        )
    if not np.allclose(z, m + jnp.exp(s / 2) * e, atol=1e-5):
        raise NotYetError("For e = 0 it must return m, and e must be multiplied by the standard deviation.")
    return "The noise e is drawn outside, so the gradient flows through m and s."


@exercise
def check_penalty_minimum(s: Any, value: Any) -> str:
    """Where exp(s) - (1 + s) is least, and how small it is there."""
    s, value = as_number("s", s), as_number("The value", value)
    if abs(s) > 1e-6:
        slope = math.exp(min(s, 50.0)) - 1
        raise NotYetError(f"At s = {s:g} the slope exp(s) - 1 is {slope:.3g}, so it goes further down.")
    if abs(value) > 1e-6:
        raise NotYetError("s is right; put it into exp(s) - (1 + s).")
    return "At s = 0 the variance exp(s) is 1: the penalty pulls the noise towards a standard deviation of 1."


@exercise
def check_kl(function: Any) -> str:
    """function(m, s): KL(N(m, exp(s)) || N(0, I)) in nats, summed over the last axis."""
    key_m, key_s = jax.random.split(jax.random.key(7))
    m = jax.random.normal(key_m, (4, 3))
    s = jax.random.uniform(key_s, (4, 3), minval=-4.0, maxval=2.0)
    value = function(m, s)
    if value is not ... and value is not None and np.shape(value) == ():
        raise NotYetError("It returns one number for all rows: sum over the last axis only.")
    value = as_array(value, (4,))
    each = np.vectorize(measures.kl_by_quadrature)
    exact = each(m, np.exp(s / 2)).sum(axis=1)
    if np.allclose(value, 2 * exact, rtol=1e-4):
        raise NotYetError("That is twice the KL: the sum of the slide lacks the factor 1/2.")
    if np.allclose(value, each(m, np.exp(s)).sum(axis=1), rtol=1e-4):
        raise NotYetError("That is the KL for a variance of exp(2 s). Here s is the log-variance.")
    if np.allclose(value, exact / 3, rtol=1e-4):
        raise NotYetError("Sum over the last axis instead of taking the mean.")
    if not np.allclose(value, exact, rtol=1e-4):
        raise NotYetError(f"For the first row it gives {value[0]:.4f}; quadrature gives {exact[0]:.4f} nats.")
    return "It agrees with quadrature on 12 pairs (m, s)."


@exercise
def check_noise(noise_sd: Any) -> str:
    """A decoder noise that orders the codes of nearly every seed and still keeps the moons sharp."""
    sd = as_number("The noise", noise_sd)
    if not 0.01 <= sd <= 100:
        raise NotYetError(f"The noise is {sd:g}; try something between 0.01 and 100.")
    keys = jax.random.split(jax.random.key(11), 20)
    trial = moon_trials.run(
        "VAE", moon_trials.FIVE_PHASES, keys=keys, steepness=moon_trials.STEEP, noise_sd=sd
    )
    ordered, error = int(trial.in_order.sum()), float(np.median(trial.error))
    told = (
        f"{ordered} of 20 seeds have their codes in order, and the median reconstruction error is {error:.3f}"
    )
    if error > 0.025:
        raise NotYetError(f"{told}: the moons are blurred; less noise keeps them sharper.")
    if ordered < 19:
        raise NotYetError(f"{told}: the moons are sharp; more noise makes more overlap.")
    return f"{told}."


@exercise
def check_two_steps(function: Any) -> str:
    """function(key, n, weights, means, sds): n draws from a mixture of numbers."""
    weights, means, sds = jnp.array([0.7, 0.1, 0.2]), jnp.array([-2.0, 1.0, 4.0]), jnp.array([0.5, 1.0, 0.8])
    n = 4000
    x = as_array(function(jax.random.key(5), n, weights, means, sds), (n,))
    mixture = Mixture(weights, means, sds**2)
    readings = {
        "": mixture,
        "equal": Mixture(jnp.full(3, 1 / 3), means, sds**2),
        "variance": Mixture(weights, means, sds**4),
    }
    off = {
        name: stats.ks_1samp(x, lambda t, m=m: np.asarray(m.cdf(t))).statistic for name, m in readings.items()
    }
    sum_sd = float(jnp.sqrt(jnp.sum(weights**2 * sds**2)))
    off["sum"] = stats.ks_1samp(x, stats.norm(float(weights @ means), sum_sd).cdf).statistic
    limit = stats.kstwo.isf(1e-4, n)  # a right answer fails once in 10 000 keys
    if off[""] <= limit:
        return f"Kolmogorov-Smirnov distance {off['']:.4f} over {n} draws; up to {limit:.4f} may be chance."
    if off["equal"] <= limit:
        raise NotYetError("Every Gaussian is chosen equally often: choose m with probabilities `weights`.")
    if off["sum"] <= limit:
        raise NotYetError("These are weighted sums of all Gaussians: choose *one* of them for each draw.")
    if off["variance"] <= limit:
        raise NotYetError("The spread is sds ** 2: multiply the noise by the standard deviation.")
    raise NotYetError(
        f"The Kolmogorov-Smirnov distance to P(x) is {off['']:.3f}; by chance it is at most {limit:.3f}. "
        "Choose m for each draw, then draw from the Gaussian with that m."
    )


@exercise
def check_equal_responsibility(x: Any) -> str:
    """Where 0.8 N(-1, 1) and 0.2 N(1, 1) are equally responsible."""
    x = as_number("x", x)
    share = float(special.expit(math.log(4) - 2 * x))  # far out, densities would vanish or look equal
    if abs(share - 0.5) > 0.005:
        side = "the first" if share > 0.5 else "the second"
        raise NotYetError(f"At x = {x:g} {side} is responsible with {max(share, 1 - share):.3f}.")
    return "It is half of log 4: right of the middle, because the first Gaussian has the larger weight."


@exercise
def check_picture(weights: Any, means: Any, sds: Any) -> str:
    """The mixture whose density is the target picture."""
    parts = []
    for name, value in (("weights", weights), ("means", means), ("sds", sds)):
        try:
            parts.append(np.asarray(value, np.float64))
        except (TypeError, ValueError):
            raise NotYetError(f"{name} should be a list of numbers; it is {value!r}.") from None
    if len({part.shape for part in parts}) > 1 or parts[0].ndim != 1:
        raise NotYetError(
            f"Give as many means and sds as weights; the shapes are {[p.shape for p in parts]}."
        )
    if not (parts[2] > 0).all():
        raise NotYetError("A standard deviation must be above 0.")
    area = mixture_trials.to_target(Mixture(parts[0], parts[1], parts[2] ** 2))
    if area > 0.03:
        raise NotYetError(f"The area between the two curves is {area:.3f}; get it to 0.03 or below.")
    return f"The area between the two curves is {area:.3f} of at most 2."


@exercise
def check_linear_network(mean: Any, variance: Any) -> str:
    """Z ~ N(0, 1) and x|z ~ N(2 z + 1, 0.5^2): mean and variance of P(x)."""
    mean, variance = as_number("The mean", mean), as_number("The variance", variance)
    if abs(mean - 1) > 1e-6:
        raise NotYetError(f"The mean is not {mean:g}: it is the mean of 2 z + 1.")
    if abs(variance - math.sqrt(4.25)) < 0.01:
        raise NotYetError("That is the standard deviation; its square is asked for.")
    if abs(variance - 4.25) > 1e-6:
        raise NotYetError(
            f"The variance is not {variance:g}: the variance of 2 z + 1 and that of the noise add up."
        )
    return "A straight network adds variances, and P(x) = N(1, 4.25): one Gaussian. The bends do the work."


@exercise
def check_push_forward(function: Any) -> str:
    """function(z): turns z ~ N(0, 1) into x with the density exp(-x), x > 0."""
    u = (np.arange(2000) + 0.5) / 2000
    x = np.sort(as_array(function(jnp.asarray(stats.norm.ppf(u), jnp.float32)), (2000,)))
    if not np.isfinite(x).all():
        raise NotYetError("Some x are not finite.")
    worst = float(np.abs(stats.expon.cdf(x) - u).max())
    if worst > 0.005:
        at = int(np.abs(stats.expon.cdf(x) - u).argmax())
        due = stats.expon.cdf(x[at])
        raise NotYetError(
            f"A share of {u[at]:.3f} of your x lies below {x[at]:.3f}; it should be {due:.3f}."
            " Which function makes z uniform on (0, 1)? And which turns a uniform u into x?"
        )
    return "With a narrow sigma(z) this network makes an infinite mixture with the density exp(-x)."


@exercise
def check_elbo(function: Any) -> str:
    """function(x, m, s): L_b for z ~ N(0, 1), x|z ~ N(z, 0.5^2) and q = N(m, exp(s))."""
    x, m, s = jnp.array([2.0, -0.5, 1.0]), jnp.array([0.3, -1.0, 0.8]), jnp.array([-1.0, 0.5, math.log(0.2)])
    value = as_array(function(x, m, s), (3,))
    q = Posterior(m[:, None], s[:, None])
    exact = np.asarray(bounds.elbo_joint(elbo_trials.linear(), x, q))
    kl = np.asarray(gaussians.kl_standard_normal(*q))
    noise = elbo_trials.NOISE_SD**2
    if np.allclose(value, exact, atol=1e-4):
        return "It agrees with quadrature for three pairs of x and q."
    if np.allclose(value, exact + np.exp(s) / (2 * noise), atol=1e-4):
        raise NotYetError("z is not always m: E_q (x - z)^2 is (x - m)^2 plus the variance of q.")
    if np.allclose(value, exact + kl, atol=1e-4):
        raise NotYetError("That is E_q log P(x|z) alone: subtract KL(q || P(z)).")
    if np.allclose(value, exact - kl, atol=1e-4):
        raise NotYetError("The KL is twice what it should be: do not forget its factor 1/2.")
    if np.allclose(value, exact + math.log(2 * math.pi * noise) / 2, atol=1e-4):
        raise NotYetError("The constant of the Gaussian is missing: -log(2 pi 0.25) / 2.")
    raise NotYetError(f"For x = 2, q = N(0.3, e^-1) it gives {value[0]:.4f}, quadrature {exact[0]:.4f}.")


@exercise
def check_posterior(mean: Any, variance: Any) -> str:
    """The q that closes the gap for z ~ N(0, 1), x|z ~ N(z, 0.5^2) and x = 1."""
    mean, variance = as_number("The mean", mean), as_number("The variance", variance)
    if variance <= 0:
        raise NotYetError(f"The variance is {variance:g}; it must be above 0.")
    away, ratio = mean - 0.8, variance / 0.2  # in closed form: no rule of quadrature fits every answer
    kl = (ratio - 1 - math.log(ratio) + away * away / 0.2) / 2
    if kl > 1e-4:
        raise NotYetError(f"KL(q || P(z|x)) is still {kl:.4f} nats. Precisions (1 / variance) add up.")
    return "q is the posterior N(0.8, 0.2): the gap is 0, and L_b = log P(x)."


@exercise
def check_best_slope(slope: Any) -> str:
    """The a > 0 that makes log P(x = 2) largest for x|z ~ N(a z, 0.5^2)."""
    a = as_number("a", slope)
    if a <= 0:
        raise NotYetError(f"a is {a:g}; answer with the one above 0.")
    if abs(a - math.sqrt(3.75)) > 0.002:
        level = float(elbo_trials.warning(np.array([a])).log_prob[0])
        raise NotYetError(
            f"At a = {a:g} log P(x) is {level:.4f}; it can be higher. P(x) = N(0, a^2 + 0.25): which "
            "variance makes a Gaussian highest at x = 2?"
        )
    return "The variance a^2 + 0.25 must be x^2 = 4."


@exercise
def check_log_mean_exp(function: Any) -> str:
    """function(log_w): log of the mean of exp(log_w) over the last axis, also for huge numbers."""
    log_w = jnp.array([[0.0, 1.0, 2.0], [-1.0, -5.0, 3.0]])
    right = np.log(np.exp(np.asarray(log_w, np.float64)).mean(axis=1))
    value = as_array(function(log_w), (2,))
    if np.allclose(value, right + math.log(3), atol=1e-4):
        raise NotYetError("That is the log of the *sum*: divide by the number of weights.")
    if np.allclose(value, np.asarray(log_w).mean(axis=1), atol=1e-4):
        raise NotYetError("That is the mean of the logs, the ELBO: take the mean first, then the log.")
    if not np.allclose(value, right, atol=1e-4):
        raise NotYetError(f"For log-weights 0, 1, 2 it gives {value[0]:.4f} instead of {right[0]:.4f}.")
    if not np.allclose(as_array(function(log_w - 1000.0), (2,)), right - 1000, atol=1e-2):
        raise NotYetError("For log-weights near -1000 it fails: subtract the largest before taking exp.")
    return "With k draws of z it is the importance-weighted bound."


@exercise
def check_constant(value: Any) -> str:
    """The constant c in log N(x; mean, I) = c - |x - mean|^2 / 2 for 64 pixels."""
    number, right = as_number("c", value), -32 * math.log(2 * math.pi)
    if abs(number + right) < 0.01:
        raise NotYetError("The sign: densities of many pixels are small, so their log is negative.")
    if abs(number - right / 64) < 0.01:
        raise NotYetError("That is the constant of one pixel.")
    if abs(number - right) > 0.01:
        raise NotYetError("Each of 64 pixels brings -log(2 pi) / 2.")
    return "It does not depend on the networks: with a fixed variance it moves no gradient."
