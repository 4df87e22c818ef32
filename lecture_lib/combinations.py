"""What a picture is made of: the best non-negative combination of a few pictures of a database.

The k pictures are found greedily, one after the other, since there are too many sets of k to try them all:
orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993) whose weights may not be negative
(Bruckstein, Elad and Zibulevsky 2008). For k = 2 all pairs can be tried; see `best_pairs`.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Real
from scipy import optimize

from lecture_lib import checks

_PARALLEL = 1e-9
"""Two pictures whose squared sine is below this count as one."""


class Combination(NamedTuple):
    """Some pictures of a database, with weights."""

    chosen: Int[np.ndarray, " k"]
    """Their rows in the database."""
    weights: Float[np.ndarray, " k"]
    """At least 0."""
    explained: float
    """Share of the energy that the combination explains, from 0 to 1; see `explained_energy`."""

    def picture(self, database: Real[ArrayLike, "n pixels"]) -> Float[np.ndarray, " pixels"]:
        """The combination itself: sum_j weights_j * database[chosen_j]."""
        return self.weights @ np.asarray(database, np.float64)[self.chosen]


def explained_energy(
    x: Real[ArrayLike, "*batch pixels"], combination: Real[ArrayLike, "*batch pixels"]
) -> Float[np.ndarray, "*batch"]:
    """1 - |x - combination|^2 / |x|^2: 1 if they are the same, 0 for a black picture.

    Args:
        x: What is to be explained, shape (..., pixels).
        combination: Same shape.

    Raises:
        ValueError: The shapes differ, a value is not finite, or x is black all over.
    """
    x, combination = checks.real("x", x), checks.real("combination", combination)
    checks.same_shape(x=x, combination=combination)
    for name, value in (("x", x), ("combination", combination)):
        checks.finite(name, value)
    energy = (x**2).sum(axis=-1)
    if not np.all(energy > 0):
        raise ValueError("x has a picture that is black all over; there is nothing to be explained")
    return np.asarray(1 - ((x - combination) ** 2).sum(axis=-1) / energy)


def pursue(database: Real[ArrayLike, "n pixels"], x: Real[ArrayLike, " pixels"], k: int) -> list[Combination]:
    """Combinations of 1, 2, ..., k pictures, each found by adding one to those before.

    Added is the picture most like what is still unexplained (the largest cosine with the residual); then all
    weights are fitted anew by non-negative least squares (SciPy's `nnls`). Greedy: for k of 2 and more there
    may be better ones.

    Args:
        database: Shape (n, pixels), none of them black all over.
        x: The picture to be explained, shape (pixels,).
        k: Pictures in the largest combination, at least 1.

    Returns:
        k combinations, or fewer if no other picture of the database helps. Those of weight 0 are kept.

    Raises:
        TypeError: k is no whole number.
        ValueError: Shapes that do not fit, values that are not finite, a black picture, or k below 1.
    """
    database, x = _checked(database, x)
    lengths = np.sqrt((database**2).sum(axis=1))
    chosen: list[int] = []
    found: list[Combination] = []
    rest = x
    for _ in range(checks.whole("k", k, low=1)):
        cosine = database @ rest / lengths
        cosine[chosen] = -np.inf
        best = int(cosine.argmax())
        if not cosine[best] > 1e-9 * np.sqrt((x**2).sum()):
            break
        chosen.append(best)
        weights, _ = optimize.nnls(database[chosen].T, x)
        rest = x - weights @ database[chosen]
        found.append(Combination(np.array(chosen), weights, float(explained_energy(x, x - rest))))
    return found


def best_pairs(
    database: Real[ArrayLike, "n pixels"], pictures: Real[ArrayLike, "m pixels"]
) -> list[Combination]:
    """The best non-negative combination of at most two pictures, for each of some: all pairs are tried.

    In closed form: with u_i the cosine of x and picture i, times |x|, and c that of both pictures, they
    explain the energy (u_i^2 + u_j^2 - 2 c u_i u_j) / (1 - c^2), if u_i > c u_j and u_j > c u_i; else one of
    its weights would be negative, and the other picture does as well alone.

    Args:
        database: Shape (n, pixels), none of them black all over; time and memory grow with n^2.
        pictures: What is to be explained, shape (m, pixels).

    Raises:
        ValueError: As for `pursue`; or no picture of the database has any light where one of `pictures` has.
    """
    pictures = checks.real("pictures", pictures)
    found: list[Combination] = []
    if not len(pictures):
        return found
    database, _ = _checked(database, pictures[0])
    unit = database / np.sqrt((database**2).sum(axis=1, keepdims=True))
    cosine = unit @ unit.T
    apart = 1 - cosine**2
    usable = apart > _PARALLEL
    apart[~usable] = np.inf
    for picture in pictures:
        _, x = _checked(database, picture)
        u = unit @ x
        both = u[:, None] - cosine * u > 0
        gained = np.where(both & both.T, (u[:, None] ** 2 + u**2 - 2 * cosine * np.outer(u, u)) / apart, 0)
        i, j = divmod(int(gained.argmax()), len(u))
        alone = int(u.argmax())
        if u[alone] <= 0:
            raise ValueError("pictures has one with no light where the database has some")
        chosen = [i, j] if gained[i, j] > u[alone] ** 2 else [alone]
        weights, _ = optimize.nnls(database[chosen].T, x)
        explained = float(explained_energy(x, weights @ database[chosen]))
        found.append(Combination(np.array(chosen), weights, explained))
    return found


def curve(
    database: Real[ArrayLike, "n pixels"],
    pictures: Real[ArrayLike, "m pixels"],
    ks: tuple[int, ...],
) -> Float[np.ndarray, "m ks"]:
    """Explained energy of each picture by its combinations of each size, by `pursue`.

    Args:
        database: Shape (n, pixels).
        pictures: Shape (m, pixels).
        ks: Sizes, each at least 1.

    Returns:
        Shape (m, len(ks)). Where the pursuit ended early its last combination counts, or 0 if there is none.

    Raises:
        TypeError, ValueError: As for `pursue`; and no size.
    """
    if not ks:
        raise ValueError("ks is empty; expected at least one size")
    sizes = [checks.whole("ks", k, low=1) for k in ks]
    rows = []
    for x in checks.real("pictures", pictures):
        path = [0.0, *(c.explained for c in pursue(database, x, max(sizes)))]
        rows.append([path[min(k, len(path) - 1)] for k in sizes])
    return np.array(rows).reshape(-1, len(sizes))


def _checked(database: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    database, x = checks.real("database", database), checks.real("x", x)
    if database.ndim != 2 or not len(database):
        raise ValueError(f"database has shape {database.shape}; expected (n, pixels), at least one picture")
    if x.shape != database.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; expected {database.shape[1:]}, as the database has")
    for name, value in (("database", database), ("x", x)):
        checks.finite(name, value)
    black = ~(database != 0).any(axis=1)
    if black.any():
        raise ValueError(f"database[{int(black.argmax())}] is black all over; it explains nothing")
    if not (x != 0).any():
        raise ValueError("x is black all over; there is nothing to be explained")
    return database, x
