"""The panel of the generations: what G draws, what D says of it, and what a judge finds."""

from __future__ import annotations

from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import special, stats

from lecture_lib import gan_panels, gan_training, gan_trials
from lecture_lib.digit_pictures import INK_LOOK, RAW, wall
from lecture_lib.gan_panels import AS_IT_IS, AVERAGED
from lecture_lib.panels import Panel
from tests.frames import check_controls, check_frame, numbers
from tests.gans import digits, numpy_d, numpy_mlp, pictures, short_game, tiny

NEW = digits("new writers", 60)


@pytest.fixture(scope="module")
def judge() -> Any:
    return gan_trials.judge(digits("writers", 300))


@pytest.fixture(scope="module")
def made_evolution(judge: Any) -> Panel:
    return gan_panels.evolution_panel(short_game(), judge, NEW)


@pytest.fixture
def evolution(made_evolution: Panel) -> Panel:
    made_evolution.reset.click()
    return made_evolution


def drawn(place: int, which: str, key: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples in float64 from the weights alone, and what D says of them."""
    s = short_game().snapshots[place]
    generator = s.averaged if which == AVERAGED else s.gan.generator
    z = jax.random.normal(key, (n, 16))
    x = special.expit(numpy_mlp(generator.decoder.layers, z))
    return x, special.expit(numpy_d(s.gan.discriminator, x))


def judged(judge: Any, x: Any) -> tuple[float, float, np.ndarray]:
    """Confidence, inception score by SciPy, shares of the digits."""
    p = judge.predict_proba(np.asarray(x, np.float32))
    score = np.exp(np.mean([stats.entropy(row, p.mean(axis=0)) for row in p]))
    read = judge.predict(np.asarray(x, np.float32))
    return p.max(axis=1).mean(), float(score), np.array([(read == digit).mean() for digit in range(10)])


def test_it_starts_with_the_last_generation(evolution: Panel) -> None:
    assert evolution.values() == {"place": 3, "codes": 0, "which": AS_IT_IS, "look": INK_LOOK}
    options: Any = evolution.controls["place"].options  # type: ignore[union-attr]
    assert options == (("0 steps", 0), ("10 steps", 1), ("20 steps", 2), ("50 steps", 3))


@pytest.mark.parametrize(("place", "which", "codes"), [(0, AS_IT_IS, 0), (2, AS_IT_IS, 4), (3, AVERAGED, 9)])
def test_samples_and_what_is_said_of_them(
    evolution: Panel, judge: Any, place: int, which: str, codes: int
) -> None:
    what = evolution.compute(place=place, which=which, codes=codes, look=RAW)
    x, said = drawn(place, which, jax.random.fold_in(jax.random.key(6), codes), 24)
    np.testing.assert_allclose(what.images, x, atol=1e-5)  # float32
    np.testing.assert_allclose(what.said, said, atol=1e-5)
    assert (what.place, what.step) == (place, (0, 10, 20, 50)[place])
    many, said = drawn(place, which, jax.random.key(6), 1000)
    assert what.fake == pytest.approx(said.mean(), abs=1e-5)
    d = short_game().snapshots[place].gan.discriminator
    assert what.real == pytest.approx(special.expit(numpy_d(d, NEW.x)).mean(), abs=1e-5)
    confidence, score, shares = judged(judge, many)
    assert what.worth.confidence == pytest.approx(confidence, abs=1e-4)
    assert what.worth.score == pytest.approx(score, abs=1e-3)
    np.testing.assert_allclose(what.worth.shares, shares, atol=0.003)  # of two nearly equal, rounding decides


def test_it_tells_its_numbers(evolution: Panel, judge: Any) -> None:
    real_confidence, real_score, _ = judged(judge, NEW.x)
    for place, which in ((3, AS_IT_IS), (1, AVERAGED)):
        evolution.controls["place"].value = place
        evolution.controls["which"].value = which
        x, said = drawn(place, which, jax.random.key(6), 1000)
        s = short_game().snapshots[place]
        real = special.expit(numpy_d(s.gan.discriminator, NEW.x)).mean()
        confidence, score, _ = judged(judge, x)
        assert numbers(evolution) == [
            f"after {s.step} steps",
            f"D on G's: {said.mean():.2f}, on real digits: {real:.2f}",
            f"judge: confidence {confidence:.2f} (real {real_confidence:.2f}), inception score {score:.1f} "
            f"(real {real_score:.1f})",
        ]
        assert " | ".join(numbers(evolution)) in evolution.picture.alt
        assert f"3 rows of 8 samples of G {which}, as ink; D gives the first row 0." in evolution.picture.alt


def test_each_control_changes_the_picture(evolution: Panel) -> None:
    check_controls(evolution)


@pytest.mark.parametrize("look", [INK_LOOK, RAW])
def test_it_shows_what_was_computed(evolution: Panel, look: str) -> None:
    what = evolution.compute(place=1, which=AVERAGED, codes=2, look=look)
    check_frame(evolution, what)
    artists: list[Any] = evolution.drawing.moving
    picture, opinions, said, here, bars, lines = (
        artists[0],
        artists[1],
        artists[2:26],
        artists[26],
        artists[27:37],
        artists[37:],
    )
    np.testing.assert_array_equal(
        picture.get_array().filled(np.nan), wall(what.images, look, columns=8, below=34)
    )
    assert [text.get_text() for text in said] == [f"{p:.2f}" for p in what.said]
    # a bar under each digit is as long as D is sure, of the digit's width
    for i, ((left, y), (right, _)) in enumerate(opinions.get_segments()):
        assert left == i % 8 * 124 + 2 and 120 < y - i // 8 * 154 < 154
        # float32 coordinates up to 1000
        assert right - left == pytest.approx(120 * what.said[i], abs=2e-4)
    assert here.get_xdata() == [1, 1]
    np.testing.assert_allclose([bar.get_height() for bar in bars], what.worth.shares)
    assert len(lines) == 4
    for place in range(4):
        other = evolution.compute(place=place, which=AVERAGED, codes=0, look=look)
        expected = [other.real, other.fake, other.worth.confidence, other.worth.score / 10]
        np.testing.assert_allclose([line.get_ydata()[place] for line in lines], expected)
    looks = {(line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == 4  # told apart without colour
    # nothing is cut off
    left, right = (artist.axes for artist in (lines[0], bars[0]))
    assert left.get_ylim()[1] > 1 and right.get_ylim()[1] > 1
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "10", "20", "50"]


def test_opinions_lie_under_their_pictures() -> None:
    fig, axes = plt.subplots()
    opinions = gan_panels.Opinions(axes, 4, 2)
    opinions.show([0.0, 1.0, 0.5, 0.256])
    assert [text.get_text() for text in opinions.numbers] == ["0.00", "1.00", "0.50", "0.26"]
    xs, ys = zip(*(text.get_position() for text in opinions.numbers), strict=True)
    assert xs[:2] == xs[2:] == (62, 186)  # in the middle of 2 + 120 + 2 dots
    assert ys[0] == ys[1] == ys[2] - 154 and 120 < ys[0] < 154
    lengths = [right[0] - left[0] for left, right in opinions.bars.get_segments()]
    np.testing.assert_allclose(lengths, [0, 120, 60, 30.72])
    assert opinions.artists == [opinions.bars, *opinions.numbers]
    with pytest.raises(ValueError, match="zip"):
        opinions.show([0.5])
    plt.close(fig)


def test_games_that_do_not_fit(judge: Any) -> None:
    game = short_game()
    with pytest.raises(ValueError, match=r"^fitted has 1 snapshots; expected at least 2 generations"):
        gan_panels.evolution_panel(game._replace(snapshots=game.snapshots[:1]), judge, NEW)
    small = gan_training.fit_gan(
        tiny(), pictures(), key=jax.random.key(0), steps=0, batch_size=4, snapshots=[0], progress=None
    )
    with pytest.raises(ValueError, match=r"^fitted is of 4 pixels; expected 8 x 8 = 64"):
        gan_panels.evolution_panel(small._replace(snapshots=small.snapshots * 2), judge, NEW)
    with pytest.raises(ValueError, match=r"^fitted has 4 snapshots; expected at least 5 generations"):
        gan_panels.check_generations(game, least=5)
    gan_panels.check_generations(game, least=4)
