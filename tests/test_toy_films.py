"""Films of a game of numbers: against the networks in NumPy, fine grids of z, and sums done by hand."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from scipy import integrate, special, stats

from lecture_lib import pushforward, toy_films
from lecture_lib.priors import NORMAL, Uniform
from lecture_lib.toy_films import CELLS, EDGES, HIGH, LOW, Film
from lecture_lib.toy_trials import DATA, MEAN, SD, Settings
from tests.gans import numpy_mlp
from tests.test_pushforward import leaky, line
from tests.toys import EVERY, KEYS, filmed, played, train

FRAMES = 41
N = 1024


class Seen(NamedTuple):
    """A film and the networks it is of, in NumPy and float64."""

    film: Film
    prior: Any
    generators: Any
    discriminators: Any
    averaged: Any


def networks(fitted: Any, players: Any, frames: int) -> list[Any]:
    """G, D and the averaged G of each frame, as functions of numbers."""
    found = []
    for part, of in (("generator", "g"), ("discriminator", "d"), ("averaged", "g")):
        params = getattr(players, part)
        row = []
        for i in range(frames):
            one = jax.tree.map(lambda a, i=i: np.asarray(a)[i], params)
            if of == "g":
                layers = fitted.game.generator_of(one).decoder.layers
                row.append(lambda z, layers=layers: numpy_mlp(layers, np.ravel(z)[:, None])[:, 0])
            else:
                layers = fitted.game.discriminator_of(one).layers
                row.append(
                    lambda x, layers=layers: numpy_mlp(layers, ((np.ravel(x) - MEAN) / SD)[:, None])[:, 0]
                )
        found.append(row)
    return found


@functools.cache
def seen(which: str) -> Seen:
    """A game along training; or, for each kind of data, eight untrained games with rough weights."""
    if which == "game":
        fitted, film = played(), filmed()[0]
        kept = jax.tree.map(lambda a: np.asarray(a)[:, 0], toy_films.players(fitted.kept))
        return Seen(film, stats.uniform(-1, 2), *networks(fitted, kept, FRAMES))
    kind, prior = which.split(", ")
    fitted = train(Settings(data=kind, prior=prior), steps=0)  # type: ignore[arg-type]
    rng = np.random.default_rng(len(kind))

    def rough(a: Any) -> np.ndarray:
        """Flax starts with all kinks at 0."""
        return (np.asarray(a) + 0.4 * rng.normal(size=np.shape(a))).astype(np.float32)

    players = toy_films.Players(*(jax.tree.map(rough, part) for part in toy_films.players(fitted.last)))
    film = toy_films.look(fitted.game, players, kind, np.arange(8) * EVERY)
    known = {"uniform": stats.uniform(-1, 2), "normal": stats.norm()}[prior]
    return Seen(film, known, *networks(fitted, players, 8))


ALL = ["game", "one bump, normal", "two bumps, uniform", "two bumps, normal", "skewed, uniform"]
some = pytest.mark.parametrize("which", ALL)


def frames_of(which: str) -> list[int]:
    return [0, 3, 20, 40] if which == "game" else [0, 3, 7]


def dense(seen: Seen, n: int = 20001) -> np.ndarray:
    """z from end to end of (practically) all probability."""
    if np.isfinite(seen.prior.support()).all():
        return np.linspace(*seen.prior.support(), n)
    return np.linspace(-9, 9, n)


def variation(values: np.ndarray) -> float:
    return float(np.abs(np.diff(values)).sum())


# --- what is told of a frame ----------------------------------------------------------------


@some
def test_shapes_and_names(which: str) -> None:
    film = seen(which).film
    n = FRAMES if which == "game" else 8
    kind, prior = ("one bump", "uniform") if which == "game" else which.split(", ")
    assert (film.kind, film.prior) == (kind, prior)
    np.testing.assert_array_equal(film.step, np.arange(n) * EVERY)
    assert film.d.shape == (n, CELLS + 1) and film.density.shape == (n, CELLS) and film.x.shape == (n, 21)
    for name in Film._fields[7:]:
        assert getattr(film, name).shape == (n,) and np.isfinite(getattr(film, name)).all()
    assert (EDGES[0], EDGES[-1]) == (LOW, HIGH) and len(EDGES) == CELLS + 1


@some
def test_d_and_arrows_are_the_networks(which: str) -> None:
    s = seen(which)
    # equally likely z, to half of a 1024th
    np.testing.assert_allclose(s.prior.cdf(s.film.z), (np.arange(21) + 0.5) / 21, atol=1.01 / N)
    for i in frames_of(which):
        np.testing.assert_allclose(s.film.d[i], special.expit(s.discriminators[i](EDGES)), atol=2e-5)
        np.testing.assert_allclose(s.film.x[i], s.generators[i](s.film.z), atol=2e-5)


@some
def test_density_is_the_share_of_each_cell(which: str) -> None:
    """Against a grid of 40001 equally likely z; each run of z inside a cell is miscounted by 2 at most."""
    s, n = seen(which), 40001
    u = (np.arange(n) + 0.5) / n
    for i in frames_of(which):
        x = s.generators[i](s.prior.ppf(u))
        share = np.histogram(x, EDGES)[0] / n
        # 32 units: 200 pieces would be many
        np.testing.assert_allclose(s.film.density[i] * np.diff(EDGES), share, atol=200 / n)
        assert np.abs(s.film.density[i] * np.diff(EDGES) - share).mean() < 4 / n
        outside = ((x < LOW) | (x > HIGH)).mean()
        assert s.film.outside[i] == pytest.approx(outside, abs=20 / n)
        side = (x <= MEAN).mean()
        assert s.film.largest[i] == pytest.approx(max(side, 1 - side), abs=40 / n)
    cells = (s.film.density * np.diff(EDGES)).sum(axis=1)
    np.testing.assert_allclose(cells, 1 - s.film.outside, atol=1e-12)


def means(s: Seen, i: int) -> dict[str, tuple[float, float]]:
    """Each mean by the integral over z or x, and how far the mean over 1024 quantiles may be from it.

    A mean with one point in each of n equally likely cells is off by the variation of what is averaged, over
    n, at most.
    """
    curve = DATA[s.film.kind]
    x = np.linspace(*curve.reach, 20001)
    z = dense(s)
    weight_x = curve.density(x)
    weight_z = s.prior.pdf(z)
    g = s.generators[i](z)
    real, fake = s.discriminators[i](x), s.discriminators[i](g)
    step = 1e-3
    slope = np.abs(s.discriminators[i](g + step) - s.discriminators[i](g - step)) / (2 * step)

    def over(values: np.ndarray, at: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
        total = integrate.trapezoid(weight, at)
        return float(integrate.trapezoid(values * weight, at) / total), variation(values) / N

    def of_x(values: np.ndarray) -> tuple[float, float]:
        return over(values, x, weight_x)

    def of_z(values: np.ndarray) -> tuple[float, float]:
        return over(values, z, weight_z)

    def plus(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        return one[0] + other[0], one[1] + other[1]

    right = plus(of_x((real > 0).astype(float)), of_z((fake < 0).astype(float)))
    return {
        "loss_d": plus(of_x(np.logaddexp(0, -real)), of_z(np.logaddexp(0, fake))),
        "loss_g": of_z(np.logaddexp(0, -fake)),
        "real": of_x(special.expit(real)),
        "fake": of_z(special.expit(fake)),
        "right": (right[0] / 2, right[1] / 2),
        "mean": of_z(g),
        "reach": of_z(special.expit(-fake) * slope),
        "reach_minimax": of_z(special.expit(fake) * slope),
    }


@some
def test_means_are_the_integrals(which: str) -> None:
    s = seen(which)
    for i in frames_of(which):
        for name, (expected, off) in means(s, i).items():
            # and a grid of 20001 points by itself, across kinks and, for the share, steps
            assert getattr(s.film, name)[i] == pytest.approx(expected, abs=off + 2e-3), name
            assert off < 0.05 or s.film.prior == "normal", name  # a bound that says something
        g = s.generators[i](s.prior.ppf((np.arange(N) + 0.5) / N))
        assert s.film.sd[i] == pytest.approx(g.std(), abs=1e-4)
        assert s.film.mean[i] == pytest.approx(g.mean(), abs=1e-4)


def test_d_that_knows_nothing() -> None:
    """All of its weights 0: the constants of the docstrings, exactly."""
    fitted = train(Settings(), steps=0)
    players = toy_films.players(fitted.last)
    players = players._replace(discriminator=jax.tree.map(np.zeros_like, players.discriminator))
    film = toy_films.look(fitted.game, players, "one bump", np.arange(8))
    for name, value in (
        ("loss_d", 2 * np.log(2)),
        *(("loss_g", np.log(2)), ("real", 0.5), ("fake", 0.5), ("reach", 0.0), ("reach_minimax", 0.0)),
    ):
        np.testing.assert_allclose(getattr(film, name), value, atol=1e-12)
    np.testing.assert_array_equal(film.d, 0.5)


# --- distances ------------------------------------------------------------------------------


def reference(s: Seen, g: Any) -> tuple[list[float], float]:
    """JS of the shares of 4000 cells and of 16000, and W1, by a fine grid of z that knows of no kink."""
    n = 100001
    u = np.linspace(0, 1, n)
    u = u if np.isfinite(s.prior.support()).all() else np.clip(u, 1e-12, 1 - 1e-12)
    made, curve = g(s.prior.ppf(u)), DATA[s.film.kind]
    # between two neighbours the shares are even: four points there
    parts = np.arange(1, 8, 2) / 8
    between = (made[:-1, None] * parts + made[1:, None] * (1 - parts)).ravel()
    x = np.linspace(min(made.min(), curve.reach[0]), max(made.max(), curve.reach[1]), 16001)
    of_g = np.concatenate([[0], np.cumsum(np.histogram(between, x)[0])]) / len(between)
    of_data = curve.cdf(x)
    js = []
    for every in (4, 1):
        p, q = np.diff(of_data[::every]), np.diff(of_g[::every])
        js.append(float(special.rel_entr(p, (p + q) / 2).sum() + special.rel_entr(q, (p + q) / 2).sum()) / 2)
    return js, float(integrate.trapezoid(np.abs(of_g - of_data), x))


@some
def test_distances_are_those_of_fine_grids(which: str) -> None:
    """Joined cells know less, so JS comes from below; each time the cells are quartered, by half of the rest
    at least: what is missing at jumps of a density goes with the cells' width.

    W1 is off by a cell's width, 1e-3, times the share in which steps of G's cdf fall: measured, 1e-4.
    """
    s = seen(which)
    for i in frames_of(which):
        (coarse, fine), w1 = reference(s, s.generators[i])
        # 25 points in a cell, of which one is on the wrong side: (1 / 25)^2 / 16 of JS at least
        assert coarse <= fine <= s.film.js[i] + 2e-4
        assert s.film.js[i] <= fine + (fine - coarse) + 5e-5
        assert fine - coarse < 5e-3
        assert s.film.w1[i] == pytest.approx(w1, abs=3e-4)
        _, averaged = reference(s, s.averaged[i])
        assert s.film.w1_averaged[i] == pytest.approx(averaged, abs=3e-4)


@pytest.mark.parametrize("kind", list(DATA))
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.5), (-3.0, 2.0), (20.0, 0.01)])
def test_distances_of_a_line(kind: str, a: float, b: float) -> None:
    """x = a + b z: the densities are known, and quadrature of SciPy's does the rest."""
    curve = DATA[kind]
    for prior, known in ((NORMAL, stats.norm(a, b)), (Uniform(-1.0, 1.0), stats.uniform(a - b, 2 * b))):
        law = pushforward.law_of(line(a, b), leaky(0.2), prior)
        js, w1 = toy_films.distances([law, law], curve)
        assert js.shape == w1.shape == (2,) and js[0] == js[1] and w1[0] == w1[1]

        low, high = known.support()
        low, high = (low, high) if np.isfinite(low) else (a - 9 * b, a + 9 * b)
        ends = sorted([low, high, *curve.reach])
        x = np.unique(np.concatenate([*(np.linspace(*pair, 20001) for pair in pairwise(ends))]))
        middle, wide = (x[:-1] + x[1:]) / 2, np.diff(x)
        p, q = curve.density(middle), known.pdf(middle)
        expected = wide @ (special.rel_entr(p, (p + q) / 2) + special.rel_entr(q, (p + q) / 2)) / 2
        assert js[0] == pytest.approx(expected, abs=1e-4)
        expected = wide @ np.abs(curve.cdf(middle) - known.cdf(middle))
        assert w1[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", list(DATA))
def test_nodes_are_a_rule_for_both(kind: str) -> None:
    """Both densities integrate to 1: the data's to what its edge leaves, G's by its pieces."""
    rng = np.random.default_rng(1)
    curve = DATA[kind]
    for prior, tolerance in ((Uniform(-1.0, 1.0), 1e-9), (NORMAL, 1e-3)):
        for hidden in (4, 16):
            layers = [
                (rng.normal(size=(1, hidden)), rng.normal(size=hidden)),
                (rng.normal(size=(hidden, hidden)) / hidden**0.5, rng.normal(size=hidden)),
                (rng.normal(size=(hidden, 1)) / hidden**0.5, rng.normal(size=1)),
            ]
            law = pushforward.law_of(layers, leaky(0.2), prior)
            x, log_weights = toy_films.nodes(law, curve)
            assert (np.diff(x) > 0).all() and x.shape == log_weights.shape
            weights = np.exp(log_weights)
            assert weights @ law.density(x) == pytest.approx(1, abs=tolerance)
            assert weights @ curve.density(x) == pytest.approx(1, abs=1e-6)
            mean = np.interp(prior.quantile((np.arange(20000) + 0.5) / 20000), law.z, law.x).mean()
            assert weights @ (x * law.density(x)) == pytest.approx(mean, abs=5e-3)


def test_no_discriminator_is_better_than_the_best() -> None:
    """loss_d >= 2 log 2 - 2 JS in each frame, up to what the mean over 1024 quantiles may be off by."""
    s = seen("game")
    for i in range(0, FRAMES, 2):
        off = means(s, i)["loss_d"][1]
        assert s.film.loss_d[i] >= 2 * np.log(2) - 2 * s.film.js[i] - off
        assert off < 0.05


# --- films ----------------------------------------------------------------------------------


def test_a_frame_alone() -> None:
    film = filmed()[0]
    for i in (0, 7, FRAMES - 1, -1):
        one = film.at(i)
        assert (one.kind, one.prior) == (film.kind, film.prior)
        np.testing.assert_array_equal(one.z, film.z)
        for name in set(Film._fields) - {"kind", "prior", "z"}:
            np.testing.assert_array_equal(getattr(one, name), getattr(film, name)[i][None])
    with pytest.raises(IndexError):
        film.at(FRAMES)


def test_a_film_is_of_one_of_the_games() -> None:
    films = filmed()
    assert len({float(film.w1[0]) for film in films}) == len(KEYS)
    fitted = played()
    last = toy_films.look(fitted.game, toy_films.players(fitted.last), "one bump", np.full(8, 2000))
    for run, film in enumerate(films):
        for name in ("d", "density", "x", "loss_d", "js", "w1", "w1_averaged", "reach"):
            # the same numbers, in a program for another number of frames
            np.testing.assert_allclose(getattr(last, name)[run], getattr(film, name)[-1], atol=1e-5)


def test_kinds_of_data_change_what_is_compared() -> None:
    fitted = train(Settings(), steps=0)
    players = toy_films.players(fitted.last)
    films = {kind: toy_films.look(fitted.game, players, kind, np.zeros(8, int)) for kind in DATA}
    for name in ("d", "density", "x", "fake", "mean", "sd", "outside", "reach", "loss_g"):
        for film in films.values():
            np.testing.assert_array_equal(getattr(film, name), getattr(films["one bump"], name))
    for name in ("js", "w1", "real", "loss_d"):
        values = [getattr(film, name) for film in films.values()]
        assert not np.allclose(values[0], values[1], atol=1e-4) and not np.allclose(
            values[1], values[2], atol=1e-4
        )
