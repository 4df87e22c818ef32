"""Data that ships with the packages: no network, ever."""

import functools
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

_TEST = 360
_SEED = 0


class Images(NamedTuple):
    """Pictures and their classes, as read-only NumPy arrays."""

    images: Float32[np.ndarray, "n height width"]
    """Brightness in [0, 1]."""
    labels: Int32[np.ndarray, " n"]
    """The class of each, from 0."""


@functools.cache
def digits(split: Literal["all", "train", "test"] = "all") -> Images:
    """Handwritten digits of 43 people, 8x8 pixels (Alpaydin and Kaynak 1998), from scikit-learn's package.

    Args:
        split: "all" 1797 digits in the order of the file; "train" 1437 and "test" 360 of them: always the
            same ones, with the classes in proportion.

    Returns:
        Images of shape (n, 8, 8), float32 in [0, 1] (the 17 grey levels divided by 16), and labels 0 to 9.

    Raises:
        ValueError: An unknown split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if split not in ("all", "train", "test"):
        raise ValueError(f"split is {split!r}; expected 'all', 'train' or 'test'")
    raw = load_digits()
    images = (raw.images / 16).astype(np.float32)
    labels = raw.target.astype(np.int32)
    if split != "all":
        rows = np.arange(len(labels))
        train, test = train_test_split(rows, test_size=_TEST, stratify=labels, random_state=_SEED)
        chosen = np.sort(train if split == "train" else test)
        images, labels = images[chosen], labels[chosen]
    images.flags.writeable = False  # the arrays are cached: a change would reach every later caller
    labels.flags.writeable = False
    return Images(images, labels)
