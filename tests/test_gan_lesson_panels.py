"""The panels on what reaches G through D, and on a D that is not frozen."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from scipy import special

from lecture_lib import gan_lesson_panels, gan_training, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, RAW, shown, wall
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers
from tests.gans import digits, numpy_d, numpy_mlp, pictures, short_game, tiny

SEEN, NEW = digits("writers", 200), digits("new writers", 60)

# --- what reaches G ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_reach() -> Panel:
    return gan_lesson_panels.reach_panel(short_game(), SEEN, NEW)


@pytest.fixture
def reach(made_reach: Panel) -> Panel:
    made_reach.reset.click()
    return made_reach


def sample(place: int, codes: int) -> np.ndarray:
    z = jax.random.normal(jax.random.key(61), (24, 16))
    generator = short_game().snapshots[place].gan.generator
    return special.expit(numpy_mlp(generator.decoder.layers, z))[codes]


def log_d(place: int, x: Any) -> np.ndarray:
    return special.log_expit(numpy_d(short_game().snapshots[place].gan.discriminator, x))


def slope(place: int, x: np.ndarray) -> np.ndarray:
    """Of log D by each pixel, by central differences."""
    h = 1e-5 * np.eye(64)
    return (log_d(place, x + h) - log_d(place, x - h)) / 2e-5


def apart(x: Any, data: Any) -> np.ndarray:
    return np.sqrt(((np.asarray(x, np.float64)[:, None] - data[None]) ** 2).sum(axis=-1))


@pytest.mark.parametrize(("place", "codes"), [(2, 0), (0, 23), (3, 7)])
def test_what_reaches_g(reach: Panel, place: int, codes: int) -> None:
    x = sample(place, codes)
    what = reach.compute(place=place, codes=codes, look=RAW)
    np.testing.assert_allclose(what.image, x, atol=1e-5)  # float32
    assert what.said == pytest.approx(np.exp(log_d(place, x)), abs=1e-5)
    np.testing.assert_allclose(what.pull, slope(place, x), atol=1e-5)
    distances = apart(x[None], SEEN.x)[0]
    assert what.row == distances.argmin()
    assert what.distance == pytest.approx(distances.min(), abs=1e-5)
    assert what.step == (0, 10, 20, 50)[place]


def test_reach_tells_its_numbers(reach: Panel) -> None:
    assert reach.values() == {"place": 2, "codes": 0, "look": INK_LOOK}
    edge = np.quantile(apart(NEW.x, SEEN.x).min(axis=1), 0.01)
    for codes in (0, 23):
        reach.controls["codes"].value = codes
        x = sample(2, codes)
        distances = apart(x[None], SEEN.x)[0]
        label = SEEN.labels[distances.argmin()]
        assert numbers(reach) == [
            "after 20 steps",
            f"D: {np.exp(log_d(2, x)):.2f}",
            f"length of the gradient: {np.linalg.norm(slope(2, x)):.3f}",
            f"nearest of 200 real digits: {'an' if label == 8 else 'a'} {label} at {distances.min():.2f} "
            f"(nearest 1 % of real: {edge:.2f})",
        ]
        assert reach.picture.alt.endswith(f"Shown as ink. {' | '.join(numbers(reach))}.")


def test_each_control_of_the_reach_changes_the_picture(reach: Panel) -> None:
    check_controls(reach)


@pytest.mark.parametrize("look", [INK_LOOK, RAW])
def test_reach_shows_what_was_computed(reach: Panel, look: str) -> None:
    what = reach.compute(place=3, codes=5, look=look)
    check_frame(reach, what)
    artists: list[Any] = reach.drawing.moving
    picture, asked, near, mark = artists
    np.testing.assert_array_equal(picture.get_array(), shown(what.image, look)[0])
    np.testing.assert_array_equal(near.get_array(), shown(SEEN.x[what.row], look)[0])
    assert asked.get_clim() == (-1, 1) and np.abs(asked.get_array()).max() == pytest.approx(1)
    np.testing.assert_allclose(
        asked.get_array().ravel() * np.abs(what.pull).max(), what.pull, rtol=1e-5, atol=1e-9
    )
    assert mark.get_xdata() == [pytest.approx(min(what.distance, 3))]


def test_a_gradient_of_zero_can_be_drawn(reach: Panel) -> None:
    what = reach.compute(place=3, codes=5, look=RAW)._replace(pull=np.zeros(64), distance=5.0)
    check_frame(reach, what)
    artists: list[Any] = reach.drawing.moving
    assert not artists[1].get_array().any() and artists[3].get_xdata() == [3.5]  # at the edge, not outside


# --- D that is not frozen ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_drift() -> Panel:
    return gan_lesson_panels.drift_panel(short_game(), NEW, start=1)


@pytest.fixture
def drift(made_drift: Panel) -> Panel:
    made_drift.reset.click()
    return made_drift


def course(place: int, freed: Any) -> gan_trials.Drift:
    game = short_game()
    return gan_trials.drift(
        game.game,
        game.snapshots[place].state,
        NEW.x,
        freed=freed,
        steps=200,
        key=jax.random.key(62),
        samples=16,
    )


def test_drift_is_that_of_the_trials(drift: Panel) -> None:
    assert drift.values() == {"at": 5, "freed": "everything", "place": 1}
    for place, freed, at in ((1, "everything", 0), (3, "nothing", 200), (1, "last bias", 77)):
        what = drift.compute(place=place, freed=freed, at=at)
        for ours, theirs in zip(what.course, course(place, freed), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert (what.step, what.at) == ((0, 10, 20, 50)[place], at)


def test_drift_tells_its_numbers(drift: Panel) -> None:
    names = {
        "everything": "all of D free",
        "nothing": "D frozen",
        "last bias": "only D's last bias free",
    }
    for freed, at in (("everything", 20), ("last bias", 200), ("nothing", 0)):
        drift.controls["freed"].value = freed
        drift.controls["at"].value = at
        run = course(1, freed)
        assert numbers(drift) == [
            f"from generation 10, {names[freed]}, after {at} steps",
            f"D on G's: {run.fake[at].mean():.3f}, on real: {run.real[at]:.3f}, "
            f"on noise: {run.noise[at]:.3f}",
            f"gradient by the last bias: {run.bias[at]:+.3f}",
        ]
        assert " | ".join(numbers(drift)) in drift.picture.alt


def test_each_control_of_the_drift_changes_the_picture(drift: Panel) -> None:
    check_controls(drift)


def test_drift_shows_what_was_computed(drift: Panel) -> None:
    what = drift.compute(place=2, freed="last bias", at=150)
    check_frame(drift, what)
    run, artists = what.course, list[Any](drift.drawing.moving)
    picture, said, lines, here, bias, there = artists[0], artists[2:18], artists[18:21], *artists[21:]
    np.testing.assert_array_equal(
        picture.get_array().filled(np.nan), wall(run.made[150], INK_LOOK, columns=4, below=34)
    )
    assert [text.get_text() for text in said] == [f"{p:.2f}" for p in run.fake[150]]
    for line, ys, name in zip(
        lines,
        (run.fake.mean(axis=1), run.real, run.noise),
        ("G's pictures", "real digits", "uniform noise"),
        strict=True,
    ):
        np.testing.assert_array_equal(line.get_ydata(), ys)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(201))
        assert line.get_label() == name
    np.testing.assert_array_equal(bias.get_ydata(), run.bias)
    assert here.get_xdata() == there.get_xdata() == [150, 150]
    assert len({line.get_linestyle() for line in lines}) == 3


# --- what is refused ------------------------------------------------------------------------


def test_games_that_do_not_fit() -> None:
    game = short_game()
    with pytest.raises(ValueError, match=r"^fitted has 4 snapshots; expected at least 7 generations"):
        gan_lesson_panels.drift_panel(game, NEW)
    one = game._replace(snapshots=game.snapshots[:1])
    with pytest.raises(ValueError, match=r"^fitted has 1 snapshots; expected at least 2 generations"):
        gan_lesson_panels.reach_panel(one, SEEN, NEW)
    small = gan_training.fit_gan(
        tiny(), pictures(), key=jax.random.key(0), steps=0, batch_size=4, snapshots=[0], progress=None
    )
    with pytest.raises(ValueError, match=r"^fitted is of 4 pixels; expected 8 x 8 = 64"):
        gan_lesson_panels.reach_panel(small._replace(snapshots=small.snapshots * 2), SEEN, NEW)
    with pytest.raises(ValueError, match=r"^fitted is of 4 pixels"):
        gan_lesson_panels.drift_panel(small, NEW, start=0)
