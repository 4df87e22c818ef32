"""The panels of notebook 07: a GAN that is trained by its sliders, single steps, and the map of rates."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np
import pytest

from lecture_lib import toy_films, toy_panels, toy_trials, toy_worlds
from lecture_lib.gan_training import FittedGANs
from lecture_lib.panels import WIDGET_VIEW, Panel
from lecture_lib.toy_trials import RECIPE, Settings
from lecture_lib.toy_widgets import NAMES, FilmPlayer, packed
from lecture_lib.toy_worlds import WORLDS, Balance
from tests.frames import check_controls, check_frame, elsewhere, leaves, numbers
from tests.test_toy_widgets import parts_of

STEPS, EVERY = 40, 2
FRAMES = STEPS // EVERY + 1
TRAIN = toy_trials.train


class Played(list[tuple[Settings, Any]]):
    """The games that were trained: what with, and what came of it."""

    def __call__(self, settings: Settings, *, keys: Any) -> FittedGANs:
        fitted = TRAIN(settings, keys=keys, steps=STEPS, every=EVERY)
        self.append((settings, fitted))
        return fitted


@pytest.fixture(scope="module")
def trained() -> Iterator[Played]:
    """For this module a game has 40 steps."""
    with pytest.MonkeyPatch.context() as patch:
        played = Played()
        patch.setattr(toy_trials, "train", played)
        yield played


@pytest.fixture(scope="module")
def made(trained: Played) -> Panel:
    return toy_panels.film_panel()


@pytest.fixture
def panel(made: Panel) -> Panel:
    made.reset.click()
    assert made.message.value == ""
    return made


def film_of(settings: Settings, seed: int = 0) -> tuple[FittedGANs, toy_films.Film]:
    fitted = TRAIN(settings, keys=jax.random.split(jax.random.key(seed), 1), steps=STEPS, every=EVERY)
    return fitted, toy_films.film(fitted, settings.data)


def parts(player: FilmPlayer) -> dict[str, np.ndarray]:
    return parts_of(player.weights, len(player.film["steps"]))


def shown(panel: Panel) -> tuple[Any, ...]:
    player = panel.picture
    return player.film["kind"], player.film["prior"], player.weights, player.place, player.branch["log"]


# --- the film ---------------------------------------------------------------------------------


def test_it_starts_with_the_recipe(panel: Panel) -> None:
    assert panel.values() == {**RECIPE._asdict(), "seed": 0}
    assert isinstance(panel.picture, FilmPlayer)
    _, film = film_of(RECIPE)
    assert (panel.picture.film, panel.picture.weights) == packed(film)
    assert panel.picture.place == panel.picture.data["start"] == toy_panels.START
    assert panel.picture.film["steps"] == list(range(0, STEPS + 1, EVERY))
    (grid,) = (child for child in panel.children if isinstance(child, widgets.GridBox))
    assert grid.children == tuple(panel.controls.values())  # in two columns, where there is room
    buttons = [*panel.actions.values(), panel.reset]
    assert leaves(panel) == [*grid.children, *buttons, panel.picture, panel.numbers, panel.message]


def test_another_start(trained: Played) -> None:
    settings = Settings("skewed", 1e-2, 2e-2, d_steps=2, momentum=0.5, shift=-1.0)
    panel = toy_panels.film_panel(settings, seed=3, start=4)
    assert trained[-1][0] == settings and panel.values() == {**settings._asdict(), "seed": 3}
    assert (panel.picture.film, panel.picture.weights) == packed(film_of(settings, 3)[1])
    panel.controls["seed"].value = 4
    panel.picture.place = 9
    panel.reset.click()
    assert panel.picture.place == 4 and panel.values()["seed"] == 3


@pytest.mark.proof
def test_each_control_reaches_the_game(panel: Panel, trained: Played) -> None:
    first, seen = shown(panel), {}
    seen[first[2]] = "the start"
    for name, control in panel.controls.items():
        for value in elsewhere(control)[:: max(1, len(elsewhere(control)) - 1)]:
            control.value = value
            assert panel.message.value == "", (name, value)
            if name != "seed":
                assert trained[-1][0] == RECIPE._replace(**{name: value})
            assert panel.picture.weights not in seen, f"{name} = {value}: as {seen[panel.picture.weights]}"
            seen[panel.picture.weights] = f"{name} = {value}"
            panel.reset.click()
            assert shown(panel) == first


@pytest.mark.parametrize("name", [name for name in WORLDS if name != "D is fooled"])
def test_a_world_sets_exactly_its_settings(panel: Panel, trained: Played, name: str) -> None:
    seed = 1 + list(WORLDS).index(name)  # of no game that is remembered
    panel.controls["prior"].value = "normal"
    panel.controls["seed"].value = seed
    trained.clear()
    panel.actions[name].click()
    assert panel.message.value == ""
    assert panel.values() == {**WORLDS[name].settings._asdict(), "seed": seed}
    assert [settings for settings, _ in trained] == [
        WORLDS[name].settings
    ]  # trained once, not once a control
    assert panel.picture.film["kind"] == WORLDS[name].settings.data
    film = toy_films.film(trained[-1][1], WORLDS[name].settings.data)
    assert (panel.picture.film, panel.picture.weights) == packed(film)


@pytest.mark.parametrize("name", ["the recipe", "D too weak", "overshoot"])
def test_a_world_tells_its_sign_and_whether_it_is_met(panel: Panel, name: str) -> None:
    panel.actions[name].click()
    film, world = film_of(WORLDS[name].settings)[1], WORLDS[name]
    told = html.unescape(panel.numbers.value)
    met = "yes" if world.holds(film) else "no, not with this seed"
    assert f"{world.tells} Sign: {world.sign}. Met: {met}" in told
    failed = [other for other in toy_worlds.FAILURES if WORLDS[other].holds(film)]
    assert f"signs of failure in this game: {', '.join(failed) or 'none'}<" in told
    panel.controls["penalty"].value = 3.0  # no world
    assert world.tells not in html.unescape(panel.numbers.value)


def test_every_world_has_a_button_or_is_one_of_another(panel: Panel) -> None:
    """The world in which D is fooled is an overshoot."""
    assert list(panel.actions) == [name for name in WORLDS if name != "D is fooled"]
    assert WORLDS["D is fooled"].settings == WORLDS["overshoot"].settings


def test_reset_brings_all_back(panel: Panel) -> None:
    first, values = shown(panel), panel.values()
    panel.actions["overshoot"].click()
    panel.controls["seed"].value = 1
    panel.picture.place = FRAMES - 1
    panel.picture.asked = [FRAMES - 1, "D"]
    assert panel.picture.branch["log"] and shown(panel) != first
    panel.reset.click()
    assert shown(panel) == first and panel.values() == values
    assert panel.picture.asked == [0, ""]


@pytest.mark.parametrize(
    ("rate", "held", "moved"), [("discriminator_rate", "d", "x"), ("generator_rate", "x", "d")]
)
def test_a_rate_of_zero_leaves_a_player_as_it_is(panel: Panel, rate: str, held: str, moved: str) -> None:
    panel.controls[rate].value = 0.0
    assert panel.message.value == ""
    film = parts(panel.picture)
    assert np.ptp(film[held], axis=0).max() == 0 and np.ptp(film[moved], axis=0).max() > 0.02
    assert (np.ptp(film["w1"]) == 0) == (held == "x")


def test_games_are_remembered(panel: Panel, trained: Played) -> None:
    first = shown(panel)
    panel.controls["d_steps"].value = 7
    other = shown(panel)
    trained.clear()
    panel.controls["d_steps"].value = 1
    assert shown(panel) == first
    panel.controls["d_steps"].value = 7
    assert shown(panel) == other
    panel.controls["seed"].value = 8  # the same settings, another game
    assert shown(panel) not in (first, other)
    assert len(trained) == 1


def test_the_frame_is_kept_from_game_to_game(panel: Panel) -> None:
    panel.picture.place = 7
    panel.controls["shift"].value = 2.0
    assert panel.picture.place == 7 and "after 14 steps" in panel.picture.still().alt


def test_a_game_that_diverges_is_told_and_the_last_film_goes_on(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shown(panel)

    def lose(settings: Settings, *, keys: Any) -> FittedGANs:
        fitted = film_of(settings)[0]
        lost = jax.tree.map(
            lambda leaf: np.concatenate([leaf[:-1], leaf[-1:] * np.nan]), fitted.kept.generator
        )
        return fitted._replace(kept=fitted.kept._replace(generator=lost))

    with monkeypatch.context() as patch:
        patch.setattr(toy_trials, "train", lose)
        panel.controls["penalty"].value = 30.0
        told = "FloatingPointError: training diverged: a weight is not finite at step "
        assert told in panel.message.value and 'role="alert"' in panel.message.value
        assert shown(panel) == first
        # what is seen is still the game before, and that is stepped on from
        panel.picture.asked = [5, "D"]
        assert panel.picture.branch["log"] == "1 × D"
        assert panel.picture.branch_weights == stepped(RECIPE, 5, "D")
    panel.controls["penalty"].value = 10.0
    assert panel.message.value == "" and shown(panel) != first


def test_a_readers_notebook_has_a_picture_and_a_film_that_plays(panel: Panel) -> None:
    data, metadata = panel._repr_mimebundle_()
    assert data[WIDGET_VIEW]["model_id"] == panel.model_id
    assert data["text/plain"] == panel.first.alt == metadata["image/png"]["alt"]
    assert "after 30 steps" in panel.first.alt
    assert data["text/html"] == panel.picture.live_html()


# --- single steps -----------------------------------------------------------------------------


def by_hand(settings: Settings, place: int, log: str) -> Any:
    """The state after single steps, one call of the rules after the other."""
    fitted, _ = film_of(settings)
    state, game = jax.tree.map(lambda leaf: leaf[place, 0], fitted.kept), fitted.game
    done = place / (FRAMES - 1)
    falls = 1.0 if done < 0.5 else 1 - 0.98 * (2 * done - 1)  # to 2 % in the second half
    x = toy_trials.examples(settings.data)
    for i, who in enumerate(log):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), place), i)
        if who == "D":
            key_rows, key_z = jax.random.split(key)
            batch = x[jax.random.randint(key_rows, (64,), 0, 4096)]
            rate = falls * settings.discriminator_rate
            state, _ = game.discriminator_step(state, batch, key_z, rate=rate, penalty=settings.penalty)
        else:
            state, _ = game.generator_step(state, 64, key, rate=falls * settings.generator_rate)
    return state


def walked(settings: Settings, place: int, log: str) -> Any:
    state = toy_panels.walk(film_of(settings)[0], settings, place, log)
    return jax.tree.map(lambda leaf: leaf[0], state)


def stepped(settings: Settings, place: int, log: str) -> bytes:
    """What the page is sent of it."""
    fitted, _ = film_of(settings)
    state = toy_panels.walk(fitted, settings, place, log)
    film = toy_films.look(fitted.game, toy_films.players(state), settings.data, [fitted.steps[place]])
    return packed(film)[1]


SLOW_TO_FORGET = RECIPE._replace(momentum=0.5, d_steps=5, data="two bumps")
"""A step of D is one step, whatever k is."""


@pytest.mark.parametrize(
    ("settings", "place", "log"),
    [(RECIPE, 15, "DDG"), (RECIPE, FRAMES - 1, "GD"), (SLOW_TO_FORGET, 3, "DGG"), (RECIPE, 0, "")],
)
def test_walking_is_the_rules_step_by_step(settings: Settings, place: int, log: str) -> None:
    expected, found = by_hand(settings, place, log), walked(settings, place, log)
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        # compiled otherwise, in single precision; Adam divides by the root of a second moment
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("log", "moved", "held"), [("D", 1, 0), ("G", 0, 1)])
def test_a_step_moves_one_player(log: str, moved: int, held: int) -> None:
    before, after = walked(RECIPE, 15, ""), walked(RECIPE, 15, log)

    def moves(which: int) -> float:
        pairs = zip(jax.tree.leaves(before[which]), jax.tree.leaves(after[which]), strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    rate = (RECIPE.generator_rate, RECIPE.discriminator_rate)[moved]
    assert moves(held) == 0
    assert 0.1 * rate < moves(moved) < 11 * rate  # Adam's steps are about as long as the rate


def test_steps_by_hand_do_what_the_players_want(panel: Panel) -> None:
    at = 0
    before = {name: part[at] for name, part in parts(panel.picture).items() if len(part) == FRAMES}
    seen = {}
    for log in ("D" * 10, "G" * 50):
        panel.picture.asked = [at, log]
        seen[log[0]] = parts_of(panel.picture.branch_weights, 1)
    assert seen["D"]["loss_d"][0] < before["loss_d"]
    np.testing.assert_array_equal(seen["D"]["x"][0], before["x"])
    assert seen["G"]["fake"][0] > before["fake"]
    np.testing.assert_allclose(seen["G"]["d"][0], before["d"], atol=1e-6)


def test_steps_that_are_asked_for_are_answered(panel: Panel) -> None:
    first = shown(panel)
    for log, told in (
        ("D", "1 × D"),
        ("DDG", "2 × D, 1 × G"),
        ("DDGD", "2 × D, 1 × G, 1 × D"),
        ("G" * 50, "50 × G"),
    ):
        panel.picture.asked = [15, log]
        assert panel.picture.branch == {**panel.picture.film, "steps": [30], "log": told}
        assert panel.picture.branch_weights == stepped(RECIPE, 15, log)
    assert shown(panel)[:-1] == first[:-1] and panel.message.value == ""
    panel.picture.asked = [3, ""]  # nothing is asked for
    assert panel.picture.branch["log"] == "50 × G"


def test_steps_go_on_from_the_game_that_is_shown(panel: Panel) -> None:
    panel.actions["strong, but −log D"].click()
    panel.picture.asked = [4, "DG"]
    settings = WORLDS["strong, but −log D"].settings
    assert panel.picture.branch_weights == stepped(settings, 4, "DG") != stepped(RECIPE, 4, "DG")


@pytest.mark.parametrize("name", ["generator_rate", "data", "seed"])
def test_another_setting_drops_the_branch(panel: Panel, name: str) -> None:
    panel.picture.asked = [15, "D"]
    assert panel.picture.branch["log"] == "1 × D"
    panel.controls[name].value = elsewhere(panel.controls[name])[-1]
    assert panel.picture.branch == {"log": ""} and panel.picture.asked == [0, ""]
    panel.picture.asked = [15, "D"]  # and the same steps again are asked for anew
    assert panel.picture.branch["log"] == "1 × D"


@pytest.mark.parametrize("log", ["DXG", "d", "D G"])
def test_steps_of_nobody_raise(panel: Panel, log: str) -> None:
    with pytest.raises(ValueError, match=rf"^log is '{log}'; expected letters D and G"):
        toy_panels.walk(film_of(RECIPE)[0], RECIPE, 0, log)
    panel.picture.asked = [2, log]
    assert "expected letters D and G" in panel.message.value
    assert panel.picture.asked == [0, ""] and panel.picture.branch == {"log": ""}  # the page may ask again
    panel.picture.asked = [2, "D"]
    assert panel.picture.branch["log"] == "1 × D"


# --- the map of learning rates ----------------------------------------------------------------

ROWS, COLUMNS = 3, 5


@pytest.fixture(scope="module")
def balance() -> Balance:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_trials, "train", TRAIN)
        return toy_worlds.balance(
            key=jax.random.key(3),
            generator_rates=(1e-3, 1e-2, 5e-2),
            discriminator_rates=(1e-3, 3e-3, 1e-2, 2e-2, 5e-2),
            steps=60,
            every=10,
        )


@pytest.fixture(scope="module")
def made_map(balance: Balance) -> Panel:
    return toy_panels.balance_panel(balance, row=1, column=2)


@pytest.fixture
def chart(made_map: Panel) -> Panel:
    made_map.reset.click()
    return made_map


def player_of(panel: Panel) -> FilmPlayer:
    (player,) = (child for child in panel.children if isinstance(child, FilmPlayer))
    return player


def check_cell(panel: Panel, balance: Balance, row: int, column: int) -> None:
    """The cursor stands there, and that cell's game plays."""
    assert panel.message.value == "" and panel.values() == {"row": row, "column": column}
    for artist in panel.drawing.moving:
        np.testing.assert_array_equal(artist.get_data(), [[column], [row]])
    player = player_of(panel)
    assert (player.film, player.weights) == packed(balance.film(row, column))
    last = {name: parts(player)[name][-1] for name in NAMES}
    for name in ("w1", "loss_g", "loss_d", "js"):
        assert last[name] == pytest.approx(balance.map(name)[row, column], rel=1e-4)


def test_the_map_starts_where_it_is_told(chart: Panel, balance: Balance) -> None:
    check_cell(chart, balance, 1, 2)
    assert chart.children[-1] is player_of(chart)  # below the map
    assert player_of(chart).place == balance.last == 6
    picture = chart.drawing.figure.axes[0].images[0]
    np.testing.assert_array_equal(picture.get_array(), balance.map("w1"))
    assert picture.origin == "lower"


def test_the_sliders_choose_a_cell(chart: Panel, balance: Balance) -> None:
    player_of(chart).place = 4
    chart.controls["row"].value = 0
    check_cell(chart, balance, 0, 2)
    chart.controls["column"].value = COLUMNS - 1
    check_cell(chart, balance, 0, COLUMNS - 1)
    assert player_of(chart).place == 4  # the frame is kept
    shown: Any = chart.controls["row"].options  # type: ignore[union-attr]
    assert shown == (("0.001", 0), ("0.01", 1), ("0.05", 2))


def test_a_press_picks_the_cell_under_the_pointer(chart: Panel, balance: Balance) -> None:
    """Row 0, the slowest G, is the lowest one."""
    left, top, width, height = chart.picture.region
    for stroke, (row, column) in enumerate(((0, 0), (2, 4), (0, 4), (1, 3))):
        across, down = (column + 0.5) / COLUMNS, 1 - (row + 0.5) / ROWS
        chart.picture.press = [left + across * width, top + down * height, stroke]
        check_cell(chart, balance, row, column)
    for across, down in ((0.001, 0.999), (-0.2, 1.3), (0.999, 0.001), (1.4, -0.1)):  # the edges, and beyond
        chart.picture.press = [left + across * width, top + down * height, 9]
        corner = (0, 0) if across < 0.5 else (ROWS - 1, COLUMNS - 1)
        check_cell(chart, balance, *corner)
    chart.reset.click()
    check_cell(chart, balance, 1, 2)


def test_the_map_tells_numbers_and_ranks(chart: Panel, balance: Balance) -> None:
    for row, column in ((1, 2), (2, 0)):
        chart.controls["row"].value, chart.controls["column"].value = row, column
        expected = [
            f"rate of D {(1e-3, 3e-3, 1e-2, 2e-2, 5e-2)[column]:.2g}, of G {(1e-3, 1e-2, 5e-2)[row]:.2g}"
        ]
        for name, label in (("w1", "final W1"), ("loss_g", "G's loss"), ("loss_d", "D's loss")):
            here = balance.map(name)[row, column]
            rank = 1 + int((balance.map(name) < here).sum())
            expected.append(f"{label} {here:.3f} (rank {rank} of 15)")
        assert numbers(chart) == expected
        below = int((balance.map("w1") < 0.05).sum())
        assert chart.picture.alt == (
            "Map of the final W1 of 15 GANs by the learning rates of D and of G; "
            f"{below} are below 0.05. The cursor: {' | '.join(expected)}."
        )


def test_equals_share_a_rank() -> None:
    ranks = toy_panels._ranks(np.array([[3.0, 1.0], [1.0, 2.0]]))
    assert ranks.tolist() == [[4, 1], [1, 3]]


def test_the_map_is_drawn_as_it_is_computed(chart: Panel) -> None:
    check_controls(chart)
    check_frame(chart, chart.compute(row=2, column=4))


@pytest.mark.parametrize(("row", "column"), [(3, 0), (0, 5), (-1, 0), (0, -1)])
def test_a_start_beyond_the_map(balance: Balance, row: int, column: int) -> None:
    told = rf"^row is {row}, column {column}; expected a place on a map of 3 x 5"
    with pytest.raises(ValueError, match=told):
        toy_panels.balance_panel(balance, row=row, column=column)
