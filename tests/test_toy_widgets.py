"""The player of films: what the page is sent, what is kept when another film comes, and what stands alone."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from scipy import special

from lecture_lib import browser, toy_trials, toy_widgets
from lecture_lib.toy_films import ARROWS, CELLS, EDGES, HIGH, LOW, Film
from lecture_lib.toy_widgets import NAMES, FilmPlayer
from tests.frames import decoded
from tests.test_page import read_floats
from tests.test_style_widgets import check_live

START = 3


def made_up(frames: int = 8, *, seed: int = 0, kind: str = "one bump", prior: str = "uniform") -> Film:
    """A film of no game, in which every number is another one."""
    rng = np.random.default_rng(seed)

    def numbers() -> np.ndarray:
        return rng.uniform(0.1, 1, frames)

    densities = rng.dirichlet(np.ones(CELLS), frames) / np.diff(EDGES)
    d = special.expit(rng.normal(0, 1, (frames, 1)) * EDGES + rng.normal(size=(frames, 1)))
    z, x = np.linspace(-0.95, 0.95, ARROWS), np.sort(rng.uniform(-4, 3, (frames, ARROWS)))
    return Film(kind, prior, 10 * np.arange(frames), d, densities, z, x, *(numbers() for _ in range(14)))


@pytest.fixture
def film() -> Film:
    return made_up()


@pytest.fixture
def player(film: Film) -> FilmPlayer:
    return FilmPlayer(film, start=START)


def parts_of(weights: bytes, frames: int) -> dict[str, np.ndarray]:
    """The numbers as readFilm of film.js takes them apart; none may be left over."""
    floats, at = read_floats(weights), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return floats[at - int(np.prod(shape)) : at].reshape(shape)

    parts = {"z": take(ARROWS), "curve": take(CELLS + 1), "masses": take(CELLS)}
    parts |= {"d": take(frames, CELLS + 1), "density": take(frames, CELLS), "x": take(frames, ARROWS)}
    parts |= {name: take(frames) for name in NAMES}
    assert at == len(floats)
    return parts


def check_sent(weights: bytes, film: Film) -> None:
    """Each part to single precision."""
    parts, curve = parts_of(weights, len(film.step)), toy_trials.DATA[film.kind]
    of_data = {
        "curve": curve.density(EDGES),
        "masses": (curve.cdf(EDGES[1:]) - curve.cdf(EDGES[:-1])) / ((HIGH - LOW) / CELLS),
    }
    for name, part in parts.items():
        expected = of_data[name] if name in of_data else getattr(film, name)
        np.testing.assert_allclose(part, expected, rtol=1e-6, atol=1e-9, err_msg=name)


# --- what the page is sent ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prior", "told"),
    [
        ("one bump", "uniform", "z, uniform on [−1, 1]"),
        ("two bumps", "normal", "z, standard normal"),
        ("skewed", "uniform", "z, uniform on [−1, 1]"),
    ],
)
def test_the_page_is_sent_the_whole_film(kind: str, prior: str, told: str) -> None:
    film = made_up(5, kind=kind, prior=prior)
    player = FilmPlayer(film, start=2)
    assert player.film == {"steps": [0, 10, 20, 30, 40], "kind": kind, "prior": told}
    check_sent(player.weights, film)
    assert player.place == 2
    assert json.loads(json.dumps(player.data)) == {
        **{"low": -5, "high": 4, "cells": 180, "arrows": 21, "start": 2, "steps": False},
        "names": list(NAMES),
    }


def test_all_numbers_of_a_frame_that_the_page_names_are_those_of_the_film() -> None:
    asked = set(re.findall(r"\bt\.(\w+)|\bframe\.told\.(\w+)", browser.script("film.js")))
    charted = set(re.findall(r'\["(\w+)", "\w+", "', browser.script("film.js")))
    names = {a or b for a, b in asked} | charted
    assert names == set(NAMES) <= set(Film._fields)
    still = {name for _, rows, *_ in toy_widgets._CHARTS for name, *_ in rows}
    assert still == charted - {"data", "g", "d", "best"}


@pytest.mark.parametrize("name", ["d", "density", "x", "w1", "reach"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(player: FilmPlayer, name: str, value: float) -> None:
    film = made_up()
    getattr(film, name)[-1] = value
    before = player.film, player.weights, player.branch
    for show in (FilmPlayer, player.show, lambda film: player.show_branch(film, "1 × D")):
        with pytest.raises(ValueError, match=r"^floats has \d+ of \d+ values that are not finite"):
            show(film)
    assert (player.film, player.weights, player.branch) == before


# --- another film ---------------------------------------------------------------------------


def test_show_replaces_the_film_and_keeps_the_place(player: FilmPlayer) -> None:
    other = made_up(12, seed=1, kind="skewed", prior="normal")
    player.place = 6
    player.show(other)
    assert player.place == 6 and len(player.film["steps"]) == 12 and player.film["kind"] == "skewed"
    check_sent(player.weights, other)
    player.show(made_up(5, seed=2))
    assert player.place == 4  # the last frame of a shorter film
    player.show(other)
    assert player.place == 4


def test_show_sends_all_in_one_message(player: FilmPlayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film beside the numbers of another would be drawn wrong."""
    sent: list[set[str]] = []
    monkeypatch.setattr(player, "send_state", lambda key=None: sent.append(set(key)))
    player.asked = [6, "D"]
    player.show_branch(made_up(1, seed=5), "1 × D")
    player.place = 7
    sent.clear()
    player.show(made_up(5, seed=1))
    assert sent == [{"film", "weights", "place", "branch", "asked"}]
    sent.clear()
    player.show_branch(made_up(1, seed=6), "1 × D")
    assert sent == [{"branch", "branch_weights"}]


def test_back_goes_to_the_start(player: FilmPlayer) -> None:
    player.place = 7
    player.back()
    assert player.place == START
    player.show(made_up(2))
    player.back()
    assert player.place == 1  # as far as a shorter film goes
    player.show(made_up(8))
    player.back()
    assert player.place == START


def test_back_tells_a_page_that_has_gone_on_by_itself(
    player: FilmPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it plays the kernel does not know where the page is."""
    sent: list[Any] = []
    monkeypatch.setattr(player, "send", sent.append)
    player.back()
    assert sent == [{"back": True}]


def test_start_beyond_the_film() -> None:
    assert FilmPlayer(made_up(4), start=15).place == 3
    assert FilmPlayer(made_up(4)).place == 0


# --- single steps ---------------------------------------------------------------------------


def test_a_branch_is_one_frame_with_its_own_numbers(player: FilmPlayer, film: Film) -> None:
    frame = made_up(1, seed=4)
    before = player.film, player.weights, player.place
    assert player.branch == {"log": ""} and len(read_floats(player.branch_weights)) == 0
    player.show_branch(frame, "10 × D")
    assert player.branch == {"steps": [0], "kind": "one bump", "prior": player.film["prior"], "log": "10 × D"}
    check_sent(player.branch_weights, frame)
    assert (player.film, player.weights, player.place) == before


def test_another_film_drops_the_branch(player: FilmPlayer) -> None:
    player.asked = [2, "DDG"]
    player.show_branch(made_up(1, seed=4), "2 × D 1 × G")
    player.show(made_up(seed=1))
    assert player.branch == {"log": ""} and player.asked == [0, ""]


# --- without a kernel -----------------------------------------------------------------------


def test_still_is_the_present_frame(player: FilmPlayer, film: Film) -> None:
    seen = set()
    for place in (0, 5):
        player.place = place
        still = player.still()
        assert still.alt == (
            "Densities of the data (one bump) and of what G makes, D and the best possible D after "
            f"{10 * place} steps; losses, D's decisions, exact Jensen-Shannon divergence and Wasserstein-1 "
            f"distance over 70 steps. JS is {film.js[place]:.3f} nats here, W1 {film.w1[place]:.3f}."
        )
        assert still.width == 768 and decoded(still.png).std() > 10
        seen.add(still.png)
    assert len(seen) == 2
    player.show(made_up(4, seed=1, kind="two bumps"))
    assert player.still().alt.startswith("Densities of the data (two bumps)")
    assert "after 30 steps" in player.still().alt and "over 30 steps" in player.still().alt


def test_still_of_one_frame() -> None:
    assert "after 0 steps" in FilmPlayer(made_up(1)).still().alt


def test_the_film_lives_in_a_page_of_its_own(player: FilmPlayer) -> None:
    player.place = 5
    check_live(player, {"film": player.film, "place": 5})
    assert "http" not in player.live_html().replace("data:image/png", "")


def test_a_branch_is_not_left_over_in_a_page_without_a_kernel(player: FilmPlayer) -> None:
    """Its numbers would be missing there."""
    before = player.live_html()
    player.asked = [3, "DG"]
    player.show_branch(made_up(1, seed=4), "1 × D 1 × G")
    assert player.live_html() == before


def test_a_film_of_usual_length_is_a_page_of_moderate_size() -> None:
    player = FilmPlayer(made_up(201))
    # 201 frames of 181 + 180 + 21 + 13 numbers of 4 bytes, in base64
    assert len(player.weights) == 4 + 4 * (201 * (181 + 180 + 21 + 13) + 21 + 181 + 180)
    assert len(player.live_html()) < 1e6
