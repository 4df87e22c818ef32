"""Judges of pictures against exact densities, and their opinions against the binomial distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from lecture_lib import gaussians, judging, problem_trials, style_trials
from lecture_lib.judging import Preference
from lecture_lib.networks import VAE
from lecture_lib.style_trials import Digits

NEW = style_trials.embedded("new writers")
SEEN = Digits(*(part[:300] for part in style_trials.embedded("writers")))
SEVENS = NEW.x[NEW.labels == 7][:12]


# --- the ELBO -------------------------------------------------------------------------------


def linear() -> tuple[VAE, gaussians.PPCA]:
    """A VAE with a linear decoder and, as its encoder, the exact posterior, which PPCA has in closed form."""
    x = np.random.default_rng(0).normal(size=(200, 4)) @ np.diag([2.0, 1, 0.4, 0.4])
    ppca = gaussians.PPCA.fit(x.astype(np.float32), 2)
    w = np.asarray(ppca.directions).T * np.sqrt(ppca.variances - ppca.noise_var)
    vae = VAE(4, 2, (), noise_sd=float(jnp.sqrt(ppca.noise_var)), rngs=nnx.Rngs(0))
    (read,), (write,) = (part.layers.layers for part in (vae.encoder, vae.decoder))
    write.kernel[...], write.bias[...] = jnp.asarray(w.T), ppca.mean
    inverse = np.linalg.inv(w.T @ w + float(ppca.noise_var) * np.eye(2))
    to_mean = w @ inverse.T
    read.kernel[...] = jnp.asarray(np.hstack([to_mean, np.zeros((4, 2))]))
    posterior = np.log(float(ppca.noise_var) * np.diag(inverse))
    read.bias[...] = jnp.asarray(np.concatenate([-np.asarray(ppca.mean) @ to_mean, posterior]))
    return vae, ppca


def test_elbo_of_an_exact_posterior_is_the_density() -> None:
    """The mean over 4000 draws, each off by about 1 nat: .08 are five standard errors (alarm: 6e-7)."""
    vae, ppca = linear()
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    found = judging.elbo_judge(vae, key=jax.random.key(0), draws=4000)(x)
    np.testing.assert_allclose(found, ppca.log_prob(x), atol=0.08)


def test_elbo_takes_the_same_draws_for_every_picture() -> None:
    vae = VAE(64, 3, (8,), rngs=nnx.Rngs(1))
    judge = judging.elbo_judge(vae, key=jax.random.key(2), draws=5)
    together = judge(SEVENS)
    np.testing.assert_allclose(together, [judge(seven[None])[0] for seven in SEVENS], rtol=1e-5)
    eps = jax.random.normal(jax.random.key(2), (5, 3))
    terms = judging.elbo(vae, jnp.asarray(SEVENS), eps)
    np.testing.assert_allclose(terms.value, together, rtol=1e-5)
    mean, log_var = (np.asarray(part, np.float64) for part in vae.encoder(jnp.asarray(SEVENS)))
    np.testing.assert_allclose(terms.kl, 0.5 * (np.exp(log_var) - 1 - log_var + mean**2).sum(-1), rtol=1e-4)
    by_hand = []
    for e in np.asarray(eps):
        out = np.asarray(vae.decoder(jnp.asarray(mean + np.exp(log_var / 2) * e, jnp.float32)))
        by_hand.append(stats.norm.logpdf(SEVENS, out).sum(axis=1))
    np.testing.assert_allclose(terms.reconstruction, np.mean(by_hand, axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"^draws is 0"):
        judging.elbo_judge(vae, key=jax.random.key(2), draws=0)


# --- the others -----------------------------------------------------------------------------


def test_ppca_is_near_scikit_learns() -> None:
    """It divides by n - 1 = 299, not by n: a difference of 64 / 600 nats at most in each of both terms."""
    found = judging.ppca_judge(SEEN, 8)(SEVENS)
    np.testing.assert_allclose(found, PCA(8).fit(SEEN.x).score_samples(SEVENS), atol=0.4)


@pytest.mark.parametrize("bandwidth", [0.05, 0.15, 0.4])
def test_kernel_density_is_the_sum_of_all_gaussians(bandwidth: float) -> None:
    """scikit-learn's tree errs by hundreds of nats here unless all pictures are in one leaf."""
    found = judging.kernel_density(SEEN, bandwidth).score_samples(SEVENS)
    each = -cdist(SEVENS, SEEN.x, "sqeuclidean") / (2 * bandwidth**2)
    norm = np.log(len(SEEN.x)) + 32 * np.log(2 * np.pi * bandwidth**2)
    np.testing.assert_allclose(found, special.logsumexp(each, axis=1) - norm, atol=1e-6)


def test_bandwidth_is_the_likeliest_for_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = (0.1, 0.2, 0.4)
    monkeypatch.setattr(judging, "BANDWIDTHS", widths)
    few = Digits(SEEN.x[:100], SEEN.labels[:100])
    scores = []
    for h in widths:
        total = 0.0
        for fold in np.split(np.arange(100), 5):
            rest = np.setdiff1d(np.arange(100), fold)
            each = -cdist(few.x[fold], few.x[rest], "sqeuclidean") / (2 * h**2)
            total += (special.logsumexp(each, axis=1) - 32 * np.log(2 * np.pi * h**2)).sum()
        scores.append(total)
    assert judging.kernel_density(few).bandwidth == widths[int(np.argmax(scores))]
    with pytest.raises(ValueError, match=r"^bandwidth is 0"):
        judging.kernel_density(few, 0.0)


def test_classifier_gives_probabilities_that_go_with_being_right() -> None:
    machine = judging.classifier(SEEN)
    probabilities = machine.predict_proba(NEW.x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert machine.score(NEW.x, NEW.labels) > 0.85
    sure = probabilities.max(axis=1) > 0.9
    right = machine.predict(NEW.x) == NEW.labels
    assert right[sure].mean() > right[~sure].mean()
    noise = np.random.default_rng(0).uniform(size=(200, 64))
    unsure = machine.predict_proba(noise).max(axis=1)
    assert np.median(unsure) < 0.8 < np.median(probabilities.max(axis=1))  # votes give .9 to both
    for label in (0, 7):
        np.testing.assert_allclose(
            judging.class_judge(machine, label)(SEVENS), np.log(machine.predict_proba(SEVENS)[:, label])
        )


# --- opinions -------------------------------------------------------------------------------


def test_opinions_are_counted() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    second = np.array([0.0, 2.0, 3.0 + 1e-7, 5.0, 4.0])
    assert judging.prefers(first, second) == Preference(2, 2, 1)
    p = judging.prefers(first, second)
    assert p.n == 5 and p.share == 0.4


@pytest.mark.parametrize(("first", "second"), [(0, 20), (3, 17), (10, 10), (15, 5), (20, 0), (14, 0)])
def test_intervals_are_those_of_clopper_and_pearson(first: int, second: int) -> None:
    p = Preference(first, 20 - first - second, second)
    low, high = p.interval
    assert low == pytest.approx(stats.beta.ppf(0.025, first, 21 - first) if first else 0)
    assert high == pytest.approx(stats.beta.ppf(0.975, first + 1, 20 - first) if first < 20 else 1)
    swapped = Preference(second, p.ties, first)
    words = {"first": "second", "second": "first", "undecided": "undecided"}
    assert swapped.verdict == words[p.verdict]
    assert (p.verdict == "first") == (low > 0.5)


def test_ties_are_no_preference() -> None:
    assert Preference(0, 30, 0).verdict == Preference(14, 16, 0).verdict == "undecided"
    assert Preference(28, 2, 0).verdict == "first" and Preference(1, 1, 28).verdict == "second"


def test_opinions_of_judges_on_edits() -> None:
    edits = problem_trials.edited(SEVENS)
    weights = np.linspace(1, 0, 64)  # likes light at the top
    judges: dict[str, Any] = {"top": lambda x: x @ weights, "ink": lambda x: x.sum(axis=1)}
    found = judging.opinions(judges, edits)
    higher = [int((t @ weights) > (s @ weights)) for t, s in zip(edits.tails, edits.strays, strict=True)]
    assert found["top"].first == sum(higher)
    assert found["ink"].ties == len(SEVENS)


def test_opinions_that_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match=r"^first is empty"):
        judging.prefers(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match=r"^shapes differ"):
        judging.prefers(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"^second has 1 of 2 values that are not finite"):
        judging.prefers(np.zeros(2), np.array([0, np.nan]))


def test_maps_are_the_change_of_each_blank_pixel() -> None:
    picture = SEVENS[0].reshape(8, 8)
    values = np.arange(64.0)
    calls = []

    def judge(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return 5.0 + x @ values

    found = judging.maps({"place": judge}, picture)["place"]
    np.testing.assert_array_equal(np.isnan(found), picture > 0)
    np.testing.assert_allclose(found[picture == 0], values.reshape(8, 8)[picture == 0], atol=1e-3)
    assert calls == [(65, 64)]


# --- what judges are given ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "told"),
    [
        (SEVENS[0], ValueError, r"^x has shape \(64,\); expected \(n, pixels\), at least one picture$"),
        (SEVENS[:0], ValueError, r"^x has shape \(0, 64\); expected \(n, pixels\), at least one picture$"),
        (SEVENS[:, :60], ValueError, r"^x has shape \(12, 60\); expected \(\.\.\., 64\)$"),
        (np.full((2, 64), np.nan), ValueError, r"^x has 128 of 128 values that are not finite"),
        (np.ones((2, 64), int), TypeError, r"^x has dtype int64; expected floating-point numbers"),
        ("seven", TypeError, r"^x has dtype <U5; expected floating-point numbers"),
    ],
)
def test_class_judge_refuses_by_name(x: Any, error: type[Exception], told: str) -> None:
    judge = judging.class_judge(judging.classifier(SEEN), 7)
    with pytest.raises(error, match=told):
        judge(x)


def test_class_judge_takes_lists_and_half_precision() -> None:
    judge = judging.class_judge(judging.classifier(SEEN), 7)
    for x in (SEVENS.tolist(), SEVENS.astype(np.float16), jnp.asarray(SEVENS, jnp.bfloat16)):
        np.testing.assert_allclose(judge(x), judge(SEVENS), atol=0.05)


def test_class_judge_needs_a_class_that_the_classifier_knows() -> None:
    with pytest.raises(ValueError, match=r"^label is 17; expected one of \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\]$"):
        judging.class_judge(judging.classifier(SEEN), 17)


@pytest.mark.parametrize("judge", [judging.ppca_judge, judging.kernel_density, judging.classifier])
@pytest.mark.parametrize(
    ("seen", "error", "told"),
    [
        (Digits(SEEN.x[0], SEEN.labels), ValueError, r"^seen\.x has shape \(64,\); expected \(n, pixels\)"),
        (Digits(SEEN.x * np.nan, SEEN.labels), ValueError, r"^seen\.x has 19200 of 19200 values"),
        (Digits(SEEN.x.astype(int), SEEN.labels), TypeError, r"^seen\.x has dtype int64; expected floating"),
        (Digits(SEEN.x, SEEN.labels[:9]), ValueError, r"^seen\.labels has shape \(9,\); expected \(300,\)"),
    ],
)
def test_judges_refuse_what_they_cannot_learn_from(
    judge: Any, seen: Digits, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        judge(seen)


def test_a_classifier_needs_five_of_each_of_two_classes() -> None:
    few = Digits(SEEN.x[:7], np.array([3, 3, 3, 3, 3, 5, 5]))
    told = r"^seen has \{3: 5, 5: 2\} pictures by class; expected two classes and 5 of each$"
    with pytest.raises(ValueError, match=told):
        judging.classifier(few)
    with pytest.raises(ValueError, match=r"^seen has \{3: 7\} pictures by class"):
        judging.classifier(few._replace(labels=np.full(7, 3)))


@pytest.mark.parametrize(
    ("picture", "error", "told"),
    [
        (SEVENS[0], ValueError, r"^picture has shape \(64,\); expected \(height, width\)$"),
        (np.full((8, 8), np.nan), ValueError, r"^picture has 64 of 64 values that are not finite"),
        (np.ones((8, 8), int), TypeError, r"^picture has dtype int64"),
    ],
)
def test_maps_refuse_by_name(picture: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        judging.maps({}, picture)
