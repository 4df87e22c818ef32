"""The digits: what they are, that their split is fair, and that nobody can spoil them for others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
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


def test_arrays_are_shared_and_read_only() -> None:
    first, again = datasets.digits("train"), datasets.digits("train")
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
    with pytest.raises(ValueError, match="split is 'valid'; expected 'all', 'train' or 'test'"):
        datasets.digits("valid")  # type: ignore[arg-type]
