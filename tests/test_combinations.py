"""Sparse combinations: laws, brute force over all sets, and where the greedy pursuit is not the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize

from lecture_lib import combinations
from tests.laws import law

ROWS = hnp.arrays(np.float64, (7, 5), elements=st.floats(0, 1, width=16)).filter(
    lambda d: (d.max(axis=1) > 0.05).all()
)


def brute(database: np.ndarray, x: np.ndarray, k: int) -> float:
    """The most that k pictures explain, over all sets of k."""
    left = min(
        optimize.nnls(database[list(rows)].T, x)[1] ** 2
        for rows in itertools.combinations(range(len(database)), k)
    )
    return 1 - left / float(x @ x)


@law(60)
@given(ROWS)
def test_one_picture_is_the_best_one(rows: np.ndarray) -> None:
    found = combinations.pursue(rows[1:], rows[0], 1)
    assert sum(c.explained for c in found) == pytest.approx(brute(rows[1:], rows[0], 1), abs=1e-9)


@law(30)
@given(ROWS)
def test_more_pictures_explain_more_but_no_more_than_the_best_set(rows: np.ndarray) -> None:
    database, x = rows[1:], rows[0]
    path = combinations.pursue(database, x, 4)
    explained = [c.explained for c in path]
    assert np.all(np.diff(explained) >= -1e-9)
    for k, c in enumerate(path, 1):
        assert len(set(c.chosen.tolist())) == k and (c.weights >= 0).all()
        assert c.explained <= brute(database, x, k) + 1e-9
        rest = x - c.picture(database)
        assert c.explained == pytest.approx(1 - float(rest @ rest) / float(x @ x), abs=1e-9)
        # what is left is at right angles to all that is used: no other weights of these would do better
        assert np.abs(database[c.chosen[c.weights > 0]] @ rest).max(initial=0) < 1e-6


@law(60)
@given(ROWS, st.floats(0.01, 100), st.floats(0.01, 100))
def test_brightness_changes_weights_only(rows: np.ndarray, of_x: float, of_database: float) -> None:
    before = combinations.pursue(rows[1:], rows[0], 2)
    after = combinations.pursue(of_database * rows[1:], of_x * rows[0], 2)
    for one, two in zip(before, after, strict=False):
        assert one.explained == pytest.approx(two.explained, abs=1e-7)


@law(60)
@given(ROWS)
def test_pairs_are_the_best_of_all_pairs(rows: np.ndarray) -> None:
    (found,) = combinations.best_pairs(rows[1:], rows[:1]) if (rows[1:] @ rows[0]).any() else (None,)
    if found is not None:
        assert found.explained == pytest.approx(brute(rows[1:], rows[0], 2), abs=1e-6)
        assert (found.weights >= 0).all() and len(found.chosen) <= 2


def test_a_picture_of_the_database_is_explained_by_itself() -> None:
    database = np.random.default_rng(0).uniform(size=(20, 9))
    first = combinations.pursue(database, 0.3 * database[7], 3)
    assert first[0].chosen.tolist() == [7] and first[0].weights == pytest.approx([0.3])
    assert first[0].explained == pytest.approx(1) and len(first) == 1  # nothing is left to be explained
    (pair,) = combinations.best_pairs(database, database[7:8])
    assert 7 in pair.chosen and pair.explained == pytest.approx(1)


def test_greedy_is_not_always_best() -> None:
    """The sum of two pictures may be most like a third one, which then stays in the set."""
    database = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0.2]])
    x = np.array([1.0, 1, 0])
    assert combinations.pursue(database, x, 2)[-1].chosen.tolist()[0] == 2
    assert combinations.pursue(database, x, 2)[-1].explained < 1 - 1e-3
    (best,) = combinations.best_pairs(database, x[None])
    assert sorted(best.chosen.tolist()) == [0, 1] and best.explained == pytest.approx(1)


def test_curve_is_the_pursuit_of_each() -> None:
    rng = np.random.default_rng(1)
    database, pictures = rng.uniform(size=(30, 9)), rng.uniform(size=(4, 9))
    found = combinations.curve(database, pictures, (1, 3, 8))
    assert found.shape == (4, 3)
    for row, x in zip(found, pictures, strict=True):
        path = combinations.pursue(database, x, 8)
        np.testing.assert_allclose(row, [path[min(k, len(path)) - 1].explained for k in (1, 3, 8)])
    assert combinations.curve(database, database[:2], (1, 5)).tolist() == pytest.approx(np.ones((2, 2)))
    # no light where x has some: nothing is found, nothing explained
    assert combinations.curve([[1.0, 0]], [[0.0, 1]], (1, 2)).tolist() == [[0, 0]]


def test_what_is_refused() -> None:
    database, x = np.eye(3), np.ones(3)
    for bad, picture, told in (
        (database, np.ones(2), r"^x has shape \(2,\); expected \(3,\)"),
        (x, x, r"^database has shape \(3,\)"),
        (np.zeros((0, 3)), x, r"^database has shape \(0, 3\)"),
        (np.diag([1.0, 0, 1]), x, r"^database\[1\] is black all over"),
        (database, np.zeros(3), r"^x is black all over"),
        (np.full((2, 3), np.nan), x, r"^database has 6 of 6 values that are not finite"),
    ):
        with pytest.raises(ValueError, match=told):
            combinations.pursue(bad, picture, 1)
        with pytest.raises(ValueError, match=told):
            combinations.best_pairs(bad, [picture])
    with pytest.raises(ValueError, match=r"^k is 0"):
        combinations.pursue(database, x, 0)
    with pytest.raises(ValueError, match=r"^ks is empty"):
        combinations.curve(database, [x], ())
    with pytest.raises(ValueError, match=r"^pictures has one with no light"):
        combinations.best_pairs([[1.0, 0]], [[0.0, 1]])
    with pytest.raises(ValueError, match=r"^x has a picture that is black"):
        combinations.explained_energy(np.zeros(3), x)
    with pytest.raises(ValueError, match=r"^shapes differ"):
        combinations.explained_energy(x, np.ones(4))
    assert combinations.best_pairs(database, np.zeros((0, 3))) == []
