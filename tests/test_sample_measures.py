"""The inception score: against SciPy's entropy, its two ends, and what is no distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lecture_lib import measures
from tests.laws import law


def rows(n: int = 6, k: int = 4) -> Any:
    """Distributions, some of them with zeros or with numbers at the edge of float64."""
    element = st.one_of(st.just(0.0), st.floats(0, 1))
    positive = hnp.arrays(np.float64, (n, k), elements=element).filter(
        lambda a: bool((a.sum(axis=1) > 1e-3).all())
    )
    return positive.map(lambda a: a / a.sum(axis=1, keepdims=True))


@law(60)
@given(rows())
def test_it_is_the_mean_divergence_from_the_mean(p: np.ndarray) -> None:
    mean = p.mean(axis=0)
    p, mean = p[:, mean > 1e-300], mean[mean > 1e-300]  # SciPy's would be infinite where the mean is rounded
    expected = np.exp(np.mean([stats.entropy(row, mean) for row in p]))
    # a sum of a few float64 entropies below log 4
    assert measures.inception_score(p) == pytest.approx(expected, abs=1e-12)


@law(60)
@given(rows(), st.randoms(use_true_random=False))
def test_it_lies_between_one_and_the_number_of_classes(p: np.ndarray, random: Any) -> None:
    score = measures.inception_score(p)
    assert 1 - 1e-12 <= score <= min(p.shape) + 1e-12  # nor can n samples show more than n classes
    # the order of samples or of classes does not count, nor does a second copy of everything
    order = random.sample(range(6), 6)
    for same in (p[order], p[:, [2, 0, 3, 1]], np.concatenate([p, p])):
        assert measures.inception_score(same) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 10])
def test_ends(k: int) -> None:
    """Balanced and sure: K. The same of all, sure or not: 1. One class left out: K - 1."""
    sure = np.tile(np.eye(k), (7, 1))
    assert measures.inception_score(sure) == pytest.approx(k, abs=1e-12)
    for row in (np.full(k, 1 / k), np.eye(k)[0], np.random.default_rng(0).dirichlet(np.ones(k))):
        assert measures.inception_score(np.tile(row, (5, 1))) == pytest.approx(1, abs=1e-12)
        assert measures.inception_score(row[None]) == pytest.approx(1, abs=1e-12)
    if k > 1:
        assert measures.inception_score(np.eye(k)[:-1]) == pytest.approx(k - 1, abs=1e-12)


def test_probabilities_whose_mean_is_rounded_to_zero() -> None:
    """5e-324 is the smallest number above 0, and half of it is 0."""
    p = [[5e-324, 1.0], [0.0, 1.0]]
    assert np.mean(p, axis=0)[0] == 0
    assert measures.inception_score(p) == 1


def test_rows_off_one_by_less_than_told_are_taken() -> None:
    assert measures.inception_score([[0.5, 0.50005], [0.5, 0.5]]) == pytest.approx(1, abs=1e-4)


def test_rows_of_float32_are_taken() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=500)
    # rows off 1 by rounding, 1e-7
    assert measures.inception_score(p.astype(np.float32)) == pytest.approx(
        measures.inception_score(p), rel=1e-5
    )


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            np.array([0.5, 0.5]),
            r"^probabilities has shape \(2,\); expected \(samples, classes\), both at least 1",
        ),
        (np.zeros((0, 3)), r"^probabilities has shape \(0, 3\)"),
        (np.zeros((3, 0)), r"^probabilities has shape \(3, 0\)"),
        (np.array([[0.5, np.nan]]), r"^probabilities has 1 of 2 values that are not finite"),
        (np.array([[1.5, -0.5]]), r"^probabilities has values down to -0\.5 and sums of rows off 1 by 0;"),
        (
            np.array([[0.5, 0.5], [0.5, 0.4]]),
            r"sums of rows off 1 by 0\.1; expected probabilities of classes",
        ),
        (np.full((2, 3), 1.0), r"sums of rows off 1 by 2"),
        (np.array([[0.5, 0.50015], [0.5, 0.5]]), r"sums of rows off 1 by 0\.00015"),
    ],
)
def test_what_is_no_distribution(bad: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measures.inception_score(bad)
