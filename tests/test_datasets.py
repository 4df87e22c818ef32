"""The digits, their split, and that nobody can spoil them; the curves against quadrature; the arc."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.datasets import load_digits

from lecture_lib import datasets

SIZES = {"all": 1797, "train": 1437, "test": 360}


@pytest.mark.parametrize(("split", "n"), SIZES.items())
def test_shape_type_and_range(split: str, n: int) -> None:
    images, labels = datasets.digits(split)  # type: ignore[arg-type]
    assert images.shape == (n, 8, 8) and images.dtype == np.float32
    assert labels.shape == (n,) and labels.dtype == np.int32
    np.testing.assert_array_equal(np.unique(labels), np.arange(10))
    # 17 grey levels, k / 16 exactly
    np.testing.assert_array_equal(np.unique(images), np.arange(17) / 16)


def test_all_is_the_file_in_its_order() -> None:
    raw = load_digits()
    images, labels = datasets.digits()
    np.testing.assert_array_equal(images * 16, raw.images)
    np.testing.assert_array_equal(labels, raw.target)


def test_train_and_test_are_apart_and_make_up_all() -> None:
    def rows(split: str) -> list[bytes]:
        images, labels = datasets.digits(split)  # type: ignore[arg-type]
        return [image.tobytes() + label.tobytes() for image, label in zip(images, labels, strict=True)]

    every, train, test = (rows(split) for split in SIZES)
    assert len(set(every)) == len(every)  # no digit stands twice, so equal means the same
    assert not set(train) & set(test)
    assert set(train) | set(test) == set(every)
    order = {row: i for i, row in enumerate(every)}
    for part in (train, test):
        places = [order[row] for row in part]
        assert places == sorted(places)


def test_classes_are_in_proportion() -> None:
    """A stratified part has each class's share to within one digit."""
    counts = {split: np.bincount(datasets.digits(split).labels) for split in SIZES}  # type: ignore[arg-type]
    for split in ("train", "test"):
        wanted = counts["all"] * SIZES[split] / SIZES["all"]
        assert np.abs(counts[split] - wanted).max() <= 1


def test_new_writers_come_last() -> None:
    every, writers, new = (datasets.digits(split) for split in ("all", "writers", "new writers"))  # type: ignore[arg-type]
    assert (len(writers.labels), len(new.labels)) == (1415, 382)
    for whole, *parts in zip(every, writers, new, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert {part.dtype for part in parts} == {whole.dtype}


def test_each_part_is_whole_forms() -> None:
    """The labels go through one sequence again and again; a label is missing here and there."""
    labels = datasets.digits().labels
    form = labels[:30]
    starts = [at for at in range(len(labels) - 30) if (labels[at : at + 30] == form).mean() > 0.9]
    assert starts[11] == len(datasets.digits("writers").labels)
    assert all(122 <= b - a <= 130 for a, b in pairwise(starts[:12]))
    # the last but one begins otherwise, so that two forms are between the last two
    assert (
        len(starts) == 13 and 244 <= starts[12] - starts[11] <= 260 and 122 <= len(labels) - starts[12] <= 130
    )


@pytest.mark.parametrize("split", ["all", "train", "writers", "new writers"])
def test_arrays_are_shared_and_read_only(split: Any) -> None:
    first, again = datasets.digits(split), datasets.digits(split)
    assert first.images is again.images
    for array in first:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_same_in_another_process_whatever_the_hash_seed() -> None:
    code = (
        "import hashlib; from lecture_lib import datasets; d = datasets.digits('test');"
        "print(hashlib.sha256(d.images.tobytes() + d.labels.tobytes()).hexdigest())"
    )
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    import hashlib

    images, labels = datasets.digits("test")
    assert done.stdout.strip() == hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def test_unknown_split() -> None:
    told = r"^split is 'valid'; expected one of 'all', 'train', 'test', 'writers', 'new writers'$"
    with pytest.raises(ValueError, match=told):
        datasets.digits("valid")  # type: ignore[arg-type]


# --- curves ---------------------------------------------------------------------------------

CURVES = datasets.CURVES
each = pytest.mark.parametrize("name", CURVES)
# where quad has to be told that the density bends
POINTS = {"skewed": [-2, 0, 5], "three bumps": [-3, -0.4, 1.5, 3], "sharp edges": [0], "heavy tails": [0]}


def test_names_of_the_curves() -> None:
    assert set(CURVES) == set(POINTS)
    with pytest.raises(TypeError, match="does not support item assignment"):
        CURVES["mine"] = CURVES["skewed"]  # type: ignore[index]


@each
def test_curve_is_a_density(name: str) -> None:
    """By adaptive quadrature between its ends and from there to infinity."""
    curve = CURVES[name]
    inner = [-30.0, 30.0] if curve.heavy else list(curve.reach)
    ends = np.array([inner[0], *POINTS[name], inner[1]])
    assert float(curve.cdf(-np.inf)) == 0 and float(curve.cdf(np.inf)) == pytest.approx(1, abs=1e-15)
    total = sum(
        integrate.quad(curve.density, a, b, epsabs=1e-12, epsrel=1e-12)[0]
        for a, b in [(-np.inf, ends[0]), *pairwise(ends), (ends[-1], np.inf)]
    )
    assert total == pytest.approx(1, abs=1e-11)  # quad is asked for 1e-12 of each of seven pieces at most


@each
def test_cdf_is_the_integral_of_the_density(name: str) -> None:
    curve = CURVES[name]
    low, high = (-30.0, 30.0) if curve.heavy else curve.reach
    stops = np.union1d(np.linspace(low, high, 30), POINTS[name])
    for a, b in pairwise(stops):
        area, _ = integrate.quad(curve.density, a, b, epsabs=1e-12, epsrel=1e-12)
        assert float(curve.cdf(b) - curve.cdf(a)) == pytest.approx(area, abs=3e-12)  # as asked of quad
    assert curve.cdf(stops.reshape(2, -1) if len(stops) % 2 == 0 else stops[1:].reshape(2, -1)).ndim == 2
    assert curve.density(stops).dtype == curve.cdf(stops).dtype == np.float64


@each
def test_curve_is_negligible_beyond_its_reach(name: str) -> None:
    low, high = CURVES[name].reach
    outside = float(CURVES[name].cdf(low)) + 1 - float(CURVES[name].cdf(high))
    assert outside < 1e-9


@each
def test_rule_covers_the_curve(name: str, points: int = 401) -> None:
    """What its density sums to falls short of 1 by the share beyond its reach, and by rounding only."""
    curve = CURVES[name]
    with jax.enable_x64(True):
        rule = curve.rule(points)
        x, w = np.asarray(rule.nodes[:, 0]), np.exp(np.asarray(rule.log_weights))
    outside = float(curve.cdf(curve.reach[0])) + 1 - float(curve.cdf(curve.reach[1]))
    assert x.shape == (points,)
    assert curve.reach[0] * (1 + 1e-14) <= x[0] < x[-1] <= curve.reach[1] * (1 + 1e-14)
    # NumPy's Legendre weights have absolute errors of 1e-15 or so each, 401 of them; SciPy's densities are
    # good to some 1e-14
    assert np.sum(w * curve.density(x)) == pytest.approx(1 - outside, abs=1e-12)
    # at any x, too, but for the node next to it, whose weight may be a step's too much or too little
    step = (w * curve.density(x)).max()
    np.testing.assert_allclose(np.cumsum(w * curve.density(x)), curve.cdf(x), rtol=0, atol=step)


def test_the_curves_have_the_moments_of_their_distributions() -> None:
    """Gamma: mean 3 and variance 3, moved by 3; uniform: 4^2 / 12; bumps: by parts."""
    moments = {"skewed": (0.0, 3.0), "sharp edges": (0.0, 4 / 3)}
    delta = 4 / 17**0.5  # skewness 4: Azzalini (1985)
    places = [-3, -0.4, 1.5 + 1.2 * delta * (2 / np.pi) ** 0.5]
    spreads = [(np.pi * 0.25) ** 2 / 3, 0.16, 1.44 * (1 - 2 * delta**2 / np.pi)]
    shares = [0.35, 0.25, 0.4]
    mean = np.dot(shares, places)
    moments["three bumps"] = (mean, np.dot(shares, np.add(spreads, np.square(places))) - mean**2)
    for name, (mean, variance) in moments.items():
        curve = CURVES[name]
        with jax.enable_x64(True):
            rule = curve.rule(401)
            x = np.asarray(rule.nodes[:, 0])
            w = np.exp(np.asarray(rule.log_weights)) * curve.density(x)
        # beyond the reach lie 9e-10 at most, at a distance of 28 at most; squared, and a little further
        assert np.sum(w * x) == pytest.approx(mean, abs=28 * 1e-9)
        assert np.sum(w * (x - mean) ** 2) == pytest.approx(variance, abs=30**2 * 1e-9)


@each
def test_draws_of_a_curve_have_its_distribution(name: str) -> None:
    """False alarms, over seeds: 1e-6."""
    x = CURVES[name].sample(jax.random.key(2), 5000)
    assert x.shape == (5000,) and x.dtype == np.float32
    # quantiles are drawn at steps of 1.2e-7: far below the 0.014 of a KS statistic of 5000
    assert stats.kstest(np.asarray(x, np.float64), CURVES[name].cdf).pvalue > 1e-6
    one, two, other = (CURVES[name].sample(jax.random.key(k), 50) for k in (2, 2, 3))
    np.testing.assert_array_equal(one, two)
    assert (one != other).all()


@each
@pytest.mark.parametrize("wide", [False, True])
def test_draws_are_finite_at_the_ends_of_the_uniform_numbers(
    name: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """jax.random.uniform gives k * eps with k = 0, 1, ..., 1 / eps - 1: of 0 the quantile is -inf."""

    def extremes(key: Any, shape: tuple[int, ...], **kw: Any) -> Any:
        eps = jnp.finfo(jnp.zeros(()).dtype).eps
        return jnp.where(jnp.arange(shape[0]) % 2 == 0, 0.0, 1 - eps)

    with jax.enable_x64(wide):
        eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)
        real = np.asarray(jax.random.uniform(jax.random.key(0), (1000,)), np.float64)
        np.testing.assert_array_equal(real / eps, np.round(real / eps))  # the grid is as told
        monkeypatch.setattr(jax.random, "uniform", extremes)
        x = np.asarray(CURVES[name].sample(jax.random.key(0), 200), np.float64)
        assert np.isfinite(x).all()
        low, high = x[::2], x[1::2]
        if len(CURVES[name].parts) > 1:  # the ends of one part are in the midst of the others
            return
        # symmetric: as far from 0 as from 1; x in float32 has a density of eps or more left to be rounded by
        assert CURVES[name].cdf(low).max() < 50 * eps and (1 - CURVES[name].cdf(high)).max() < 50 * eps


def test_parts_come_in_their_shares() -> None:
    """False alarms, over seeds: 6e-7 (5 standard errors)."""
    x = np.asarray(CURVES["three bumps"].sample(jax.random.key(4), 5000))
    share = float(CURVES["three bumps"].cdf(-1.9))
    assert abs(np.mean(x < -1.9) - share) < 5 * (share * (1 - share) / 5000) ** 0.5
    assert share == pytest.approx(
        0.35, abs=0.005
    )  # the first bump: all but 1.2 % of it, and 1e-4 of the next


def test_curves_refuse_counts() -> None:
    curve = CURVES["skewed"]
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        curve.sample(jax.random.key(0), 0)
    with pytest.raises(TypeError, match=r"^n is 2\.5"):
        curve.sample(jax.random.key(0), 2.5)  # type: ignore[arg-type]
    for name in CURVES:
        with pytest.raises(ValueError, match=r"^points is 0"):
            CURVES[name].rule(0)


# --- the arc --------------------------------------------------------------------------------


def test_arc_is_a_noisy_arc() -> None:
    """False alarms, over seeds: 1e-6 for each of three KS tests, 6e-7 for a correlation (5 sigma)."""
    n, sd = 20_000, 0.2
    x, angle = (np.asarray(v, np.float64) for v in datasets.arc(jax.random.key(0), n, noise_sd=sd))
    assert x.shape == (n, 2) and angle.shape == (n,)
    assert stats.kstest(angle, stats.uniform(-30, 240).cdf).pvalue > 1e-6
    noise = x - np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], axis=1)
    for column in noise.T:
        assert stats.kstest(column, stats.norm(0, sd).cdf).pvalue > 1e-6
    assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / n**0.5
    assert datasets.arc(jax.random.key(0), 3).x.dtype == np.float32
    near = datasets.arc(jax.random.key(0), 1000)
    # 0.08 unless told otherwise: 5 standard errors of a standard deviation, 6e-7
    spread = (np.linalg.norm(near.x, axis=1) - 1).std()
    assert (
        abs(spread / 0.08 - 1) < 5 / (2 * 1000) ** 0.5 + 0.08**2
    )  # and curvature, of the order of its square


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_arc_refuses(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^noise_sd (is|has)"):
        datasets.arc(jax.random.key(0), 5, noise_sd=bad)
    with pytest.raises(ValueError, match=r"^n is 0"):
        datasets.arc(jax.random.key(0), 0)
