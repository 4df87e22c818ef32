"""The panel of single steps: a press moves one player, and the picture is a function of the steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from lecture_lib import gan_step_panels, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, wall
from lecture_lib.panels import Kept, Panel
from tests.frames import check_controls, check_frame, numbers
from tests.gans import digits, numpy_d, numpy_mlp, short_game

SEEN, NEW = digits("writers", 200), digits("new writers", 70)
PLACE, RATE = 2, gan_trials.RATE
KEY_CODES, KEY_STEPS = jax.random.split(jax.random.key(60))
BUTTONS = {
    "one step of D": "D",
    "one step of G": "G",
    "ten steps of each": "DG" * 10,
    "ten steps of D alone": "D" * 10,
    "ten steps of G alone": "G" * 10,
}


@pytest.fixture(scope="module")
def made_steps() -> Panel:
    return gan_step_panels.step_panel(short_game(), SEEN, NEW, start=PLACE)


@pytest.fixture
def steps(made_steps: Panel) -> Panel:
    made_steps.reset.click()
    return made_steps


@jax.jit
def of_d(state: Any, i: Any, rate: Any) -> Any:
    key_rows, key_z = jax.random.split(jax.random.fold_in(KEY_STEPS, i))
    batch = jnp.asarray(SEEN.x)[jax.random.randint(key_rows, (64,), 0, 200)]
    return short_game().game.discriminator_step(state, batch, key_z, rate=rate, penalty=0.1)[0]


@jax.jit
def of_g(state: Any, i: Any, rate: Any) -> Any:
    return short_game().game.generator_step(state, 64, jax.random.fold_in(KEY_STEPS, i), rate=rate)[0]


def replayed(place: int, log: Any) -> list[Any]:
    """The states before the first step and after each."""
    states = [short_game().snapshots[place].state]
    for i, (who, rate) in enumerate(log):
        states.append((of_d if who == "D" else of_g)(states[-1], i, rate))
    return states


def seen(state: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sixty samples from the weights alone, what D says of them, and what it says of sixty real digits."""
    gan = short_game().game.model(state)
    x = special.expit(
        numpy_mlp(gan.generator.decoder.layers, jax.random.normal(KEY_CODES, (60, gan.generator.latent)))
    )
    return x, *(special.expit(numpy_d(gan.discriminator, a)) for a in (x, NEW.x[:60]))


def check(what: Any, place: int, log: Any) -> None:
    states = replayed(place, log)
    (x, fake, real), (_, *first) = seen(states[-1]), seen(states[0])
    close: dict[str, Any] = {"atol": 1e-4}  # float32, up to 25 steps
    np.testing.assert_allclose(what.images, x[:8], **close)
    np.testing.assert_allclose(what.said, fake[:8], **close)
    np.testing.assert_allclose(what.fake, fake, **close)
    np.testing.assert_allclose(what.real, real, **close)
    np.testing.assert_allclose(what.first, first, **close)
    course = [[a.mean() for a in seen(state)[1:]] for state in states]
    np.testing.assert_allclose(what.course, course, **close)
    assert what.log == log and what.step == short_game().snapshots[place].step


def test_it_starts_where_a_generation_stands(steps: Panel) -> None:
    assert steps.values() == {"place": PLACE, "times": 1.0, "log": ()}
    assert list(steps.actions) == list(BUTTONS)
    for place in range(4):
        check(steps.compute(place=place, times=1.0, log=()), place, ())


@pytest.mark.parametrize("label", BUTTONS)
def test_a_press_is_its_steps(steps: Panel, label: str) -> None:
    """Those of `adversarial`, at the rate chosen, from where the last press has led."""
    before = steps.compute(**steps.values())
    for times in (1.0, 20.0):
        steps.controls["times"].value = times
        steps.actions[label].click()
        assert steps.message.value == ""
    log = tuple((who, times * RATE) for times in (1.0, 20.0) for who in BUTTONS[label])
    assert steps.values() == {"place": PLACE, "times": 20.0, "log": log}
    what = steps.compute(**steps.values())
    check(what, PLACE, log)
    if (
        "G" not in BUTTONS[label]
    ):  # the pictures stand still; what is said of real and generated ones does not
        np.testing.assert_array_equal(what.images, before.images)
        assert (what.real != before.real).all() and (what.fake != before.fake).all()
    if "D" not in BUTTONS[label]:
        np.testing.assert_array_equal(what.real, before.real)
        assert np.abs(what.images - before.images).max() > 1e-3


def test_picture_is_a_function_of_the_log(steps: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was played before, and whatever of it is still remembered."""
    log = tuple((who, RATE) for who in "DGGDG")
    whole = steps.compute(place=0, times=1.0, log=log)
    for remembered in (50, 1, 0):
        monkeypatch.setattr(gan_step_panels, "_REMEMBERED", remembered)
        for k in (2, 5, 3, 5):
            what = steps.compute(place=0, times=5.0, log=log[:k])
        for a, b in zip(jax.tree.leaves(what[2:]), jax.tree.leaves(whole[2:]), strict=True):
            np.testing.assert_array_equal(a, b)
    check(whole, 0, log)


def test_learning_rate_is_of_the_steps_to_come(steps: Panel) -> None:
    steps.actions["one step of G"].click()
    picture = steps.picture.png
    steps.controls["times"].value = 20.0
    assert steps.picture.png == picture
    steps.actions["one step of G"].click()
    assert steps.picture.png != picture
    assert steps.values()["log"] == (("G", RATE), ("G", 20 * RATE))


def test_reset_forgets_the_steps(steps: Panel) -> None:
    steps.controls["place"].value = 0
    for label in BUTTONS:
        before = steps.picture.png, steps.picture.alt
        steps.actions[label].click()
        assert steps.picture.png != before[0] and steps.picture.alt != before[1]
    steps.reset.click()
    assert (steps.picture.png, steps.picture.alt) == (steps.first.png, steps.first.alt)
    assert steps.values()["log"] == ()


def test_steps_go_on_from_another_generation(steps: Panel) -> None:
    steps.actions["one step of D"].click()
    steps.controls["place"].value = 1
    assert numbers(steps)[0] == "from generation 10: 1 steps of D, 0 of G"
    check(steps.compute(**steps.values()), 1, (("D", RATE),))


def test_it_tells_its_numbers(steps: Panel) -> None:
    def told(counted: str) -> list[str]:
        _, fake, real = seen(replayed(PLACE, steps.values()["log"])[-1])
        right = np.concatenate([fake < 0.5, real > 0.5]).mean()
        return [
            f"from generation 20: {counted}",
            f"D's mean on G's: {fake.mean():.3f}, on real: {real.mean():.3f}",
            f"D is right on {right:.0%}",
        ]

    assert numbers(steps) == told("no step yet")
    steps.actions["one step of D"].click()
    steps.actions["ten steps of each"].click()
    assert numbers(steps) == told("11 steps of D, 10 of G")
    assert steps.picture.alt.endswith(f"{' | '.join(numbers(steps))}.")


def test_each_control_changes_the_picture(steps: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the learning rate, which is told to the next press."""
    monkeypatch.setitem(steps.controls, "times", Kept(value=1.0))
    check_controls(steps)


@pytest.mark.parametrize("count", [0, 3, 45])
def test_it_shows_what_was_computed(steps: Panel, count: int) -> None:
    log = tuple(("DGG"[i % 3], RATE) for i in range(count))
    what = steps.compute(place=1, times=1.0, log=log)
    check_frame(steps, what)
    artists: list[Any] = steps.drawing.moving
    picture, said, points, curves, letters = (
        artists[0],
        artists[2:10],
        artists[10:14],
        artists[14:16],
        artists[16:],
    )
    np.testing.assert_array_equal(
        picture.get_array().filled(np.nan), wall(what.images, INK_LOOK, columns=8, below=34)
    )
    assert [text.get_text() for text in said] == [f"{p:.2f}" for p in what.said]
    for artist, p, row in zip(points, (*what.first, what.fake, what.real), (1, 0, 1, 0), strict=True):
        np.testing.assert_array_equal(artist.get_xdata(), p)
        assert (np.abs(artist.get_ydata() - row) < 0.3).all()
    # generated ones lie above, where the axis says so
    ticks = {t.get_text(): t.get_position()[1] for t in points[0].axes.get_yticklabels()}
    assert ticks == {"real": 0, "G's": 1}
    # the last 30 steps, each letter under the point that it led to
    shown = min(count, 30)
    for curve, column in zip(curves, what.course.T, strict=True):
        xs, ys = curve.get_data()
        np.testing.assert_array_equal(xs, np.arange(shown + 1))
        np.testing.assert_array_equal(ys, column[-shown - 1 :])
    texts = [letter.get_text() for letter in letters]
    assert texts == [who for who, _ in log[count - shown :]] + [""] * (30 - shown)
    assert [letter.get_position()[0] for letter in letters] == list(range(1, 31))


def test_games_that_do_not_fit() -> None:
    game = short_game()
    with pytest.raises(ValueError, match=r"^fitted has 4 snapshots; expected at least 5 generations"):
        gan_step_panels.step_panel(game, SEEN, NEW)
