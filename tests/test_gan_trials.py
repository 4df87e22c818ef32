"""The trials of notebook 06: samples before a judge, what reaches G, and a D that is not frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from lecture_lib import adversarial, gan_training, gan_trials, measures, objectives
from lecture_lib.gan_trials import Drift
from lecture_lib.style_trials import Digits
from tests.gans import digits, numpy_d, numpy_mlp, pictures, tiny
from tests.test_training import same

KEY = jax.random.key(0)
X = pictures(40)


@pytest.fixture(scope="module")
def trained() -> gan_training.FittedGAN:
    """D has begun to tell real from generated."""
    return gan_training.fit_gan(
        tiny(),
        X,
        key=KEY,
        steps=40,
        batch_size=8,
        generator_rate=0.0,
        discriminator_rate=1e-2,
        progress=None,
    )


# --- training -------------------------------------------------------------------------------


def test_train_plays_by_the_rates_of_the_notebook(
    trained: gan_training.FittedGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to `fit_gan`; labels are not. It is played in tests/gans.py."""
    told: list[Any] = []
    monkeypatch.setattr(gan_trials, "HIDDEN", (8,))
    monkeypatch.setattr(
        gan_training, "fit_gan", lambda *given, **named: told.append((given, named)) or trained
    )
    data = digits("writers", 70)
    gan_trials.train(data, key=KEY, steps=30, losses=objectives.MINIMAX, penalty=0.5, progress="digits")
    gan_trials.train(data, key=KEY)
    (((gan, x), named), (_, rest)) = told
    key_weights, key_training = jax.random.split(KEY)
    expected = gan_trials.build(nnx.Rngs(key_weights), pixels=64)
    assert same(nnx.state(gan), nnx.state(expected)) and x is data.x
    rates = {"generator_rate": 5e-4, "discriminator_rate": 5e-4}
    assert named.pop("key") == rest.pop("key") == key_training
    assert named == {
        **{"steps": 30, "snapshots": [0, 10, 20], "losses": objectives.MINIMAX},
        **{"penalty": 0.5, "progress": "digits"},
        **rates,
    }
    assert rest == {
        **{"steps": 5000, "snapshots": list(gan_trials.GENERATIONS), "losses": objectives.NON_SATURATING},
        **{"penalty": 0.1, "progress": None},
        **rates,
    }


def test_players_of_the_notebook() -> None:
    def check() -> None:
        gan = gan_trials.build(nnx.Rngs(0))
        layers: list[Any] = [*gan.generator.decoder.layers.layers, *gan.discriminator.layers.layers]
        shapes = [layer.kernel.shape for layer in layers if isinstance(layer, nnx.Linear)]
        assert shapes == [(16, 256), (256, 256), (256, 64), (64, 256), (256, 256), (256, 1)]

    jax.eval_shape(check)
    steps = gan_trials.GENERATIONS
    assert steps[0] == 0 and steps[-1] == gan_trials.STEPS and list(steps) == sorted(set(steps))


def test_draw_and_probability() -> None:
    gan, other = tiny(), tiny(1)
    x = gan_trials.draw(gan.generator, KEY, 9)
    z = jax.random.normal(KEY, (9, 2))
    for generator, drawn in ((gan.generator, x), (other.generator, gan_trials.draw(other.generator, KEY, 9))):
        made = special.expit(numpy_mlp(generator.decoder.layers, z))
        np.testing.assert_allclose(drawn, made, atol=1e-6)
    said = gan_trials.probability(gan.discriminator, x)
    assert said.shape == (9,)
    np.testing.assert_allclose(said, special.expit(numpy_d(gan.discriminator, x)), atol=1e-6)


# --- what samples are worth -----------------------------------------------------------------


def test_nearest_is_that_of_brute_force() -> None:
    x, data = pictures(9, seed=1), pictures(20, seed=2)
    data[7] = x[3]
    row, distance = gan_trials.nearest(x, data)
    each = [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5 for q in data] for p in x.tolist()]
    np.testing.assert_array_equal(row, np.argmin(each, axis=1))
    np.testing.assert_allclose(distance, np.min(each, axis=1), atol=1e-6)  # each: differences in float32
    assert row[3] == 7 and distance[3] == 0


@pytest.fixture(scope="module")
def judge() -> Any:
    return gan_trials.judge(digits("writers", 600))


def test_worth_of_real_digits(judge: Any) -> None:
    """By other hands: the judge knows most of them, is sure, and finds all ten."""
    new = digits("new writers", 300)
    worth = gan_trials.worth(judge, new.x)
    p = judge.predict_proba(new.x)
    read = judge.predict(new.x)
    assert (read == new.labels).mean() > 0.9
    assert worth.confidence == pytest.approx(np.mean([max(row) for row in p]))
    assert worth.score == pytest.approx(measures.inception_score(p))
    np.testing.assert_allclose(worth.shares, [(read == digit).mean() for digit in range(10)])
    assert worth.shares.sum() == pytest.approx(1)
    assert worth.confidence > 0.85 and 5 < worth.score <= 10


def test_worth_of_poor_samples(judge: Any) -> None:
    one = digits("new writers", 1).x
    copies = gan_trials.worth(judge, np.repeat(one, 20, axis=0))
    assert copies.score == pytest.approx(1, abs=1e-6) and copies.shares.max() == 1
    noise = gan_trials.worth(judge, pictures(200, 64))
    assert noise.score < 2


def test_judge_of_few_classes() -> None:
    """Its columns are its classes, whatever digits it has seen."""
    some = digits("writers", 600)
    odd = some.labels % 2 == 1
    few = gan_trials.judge(Digits(some.x[odd], some.labels[odd]))
    sevens = some.x[some.labels == 7][:20]
    assert gan_trials.worth(few, sevens).shares[7] > 0.9


# --- what reaches the generator -------------------------------------------------------------


def test_pull_by_finite_differences() -> None:
    """Of log D by each pixel, in float64: the network is straight between its bends, log D is smooth."""
    d, x, h = tiny().discriminator, pictures(6), 1e-5
    pull = gan_trials.pull(d, x)
    wide = x.astype(np.float64)

    def log_d(x: Any) -> np.ndarray:
        return special.log_expit(numpy_d(d, x))

    slopes = [(log_d(wide + h * e) - log_d(wide - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(pull, np.transpose(slopes), atol=1e-6)  # float32
    assert np.abs(pull).max() > 0.05
    # a step in its direction makes D say "real" louder
    assert (log_d(wide + 0.01 * np.asarray(pull)) > log_d(wide)).all()


# --- a D that is not frozen -----------------------------------------------------------------


@pytest.fixture(scope="module")
def drift(trained: gan_training.FittedGAN) -> Callable[[str], Drift]:
    def of(freed: Any) -> Drift:
        return gan_trials.drift(
            trained.game, trained.last.state, X, freed=freed, steps=1000, key=jax.random.key(1), samples=6
        )

    found = {freed: of(freed) for freed in get_args(gan_trials.Freed)}
    return found.__getitem__


def noise() -> np.ndarray:
    return np.asarray(jax.random.uniform(jax.random.split(jax.random.key(1), 3)[1], (200, 4)))


def test_drift_starts_from_the_state(trained: gan_training.FittedGAN, drift: Callable[[str], Drift]) -> None:
    """Row 0 is of before the first step, whatever is free."""
    gan = trained.last.gan
    z = jax.random.normal(jax.random.split(jax.random.key(1), 3)[0], (6, 2))
    for freed in get_args(gan_trials.Freed):
        run = drift(freed)
        assert [part.shape for part in run] == [(1001, 6, 4), (1001, 6), (1001,), (1001,), (1001,)]
        assert all(isinstance(part, np.ndarray) for part in run)
        made = special.expit(numpy_mlp(gan.generator.decoder.layers, z))
        np.testing.assert_allclose(run.made[0], made, atol=1e-6)
        for told, x in ((run.fake[0], run.made[0]), (run.real[0], X), (run.noise[0], noise())):
            said = special.expit(numpy_d(gan.discriminator, x))
            np.testing.assert_allclose(told, said if np.ndim(told) else said.mean(), atol=1e-6)


def test_frozen_d_says_the_same_of_the_same(
    trained: gan_training.FittedGAN, drift: Callable[[str], Drift]
) -> None:
    run = drift("nothing")
    assert len(set(run.real.tolist())) == len(set(run.noise.tolist())) == 1
    said = special.expit(numpy_d(trained.last.gan.discriminator, run.made))
    np.testing.assert_allclose(run.fake, said, atol=1e-5)
    # but G moves, and what it draws is said to be more real
    assert np.abs(run.made[-1] - run.made[0]).max() > 0.01
    assert run.fake[-1].mean() > run.fake[0].mean()


def test_free_last_bias_adds_one_constant_to_all_logits(
    trained: gan_training.FittedGAN, drift: Callable[[str], Drift]
) -> None:
    run, d = drift("last bias"), trained.last.gan.discriminator
    shift = special.logit(run.fake.astype(np.float64)) - numpy_d(d, run.made)
    np.testing.assert_allclose(shift, shift.mean(axis=1, keepdims=True) * np.ones(6), atol=1e-4)  # float32
    constant = shift.mean(axis=1)
    assert abs(constant[0]) < 1e-4 and (np.diff(constant) > 0).all() and constant[-1] > 0.1
    for told, x in ((run.real, X), (run.noise, noise())):
        expected = special.expit(numpy_d(d, x) + constant[:, None]).mean(axis=1)
        np.testing.assert_allclose(told, expected, atol=1e-4)


def test_d_that_is_all_free_calls_noise_real(drift: Callable[[str], Drift]) -> None:
    """1000 steps of 5e-4 with Adam move each of its parameters by 0.5: enough to say so of everything."""
    free, bias, frozen = drift("everything"), drift("last bias"), drift("nothing")
    assert free.noise[-1] > 0.9 and free.real[-1] > 0.9 and free.fake[-1].min() > 0.9
    assert free.noise[-1] > bias.noise[-1] > frozen.noise[-1]


def test_gradient_by_the_last_bias(trained: gan_training.FittedGAN, drift: Callable[[str], Drift]) -> None:
    """-(1 - mean D), and what JAX finds at the start."""
    for freed in get_args(gan_trials.Freed):
        run = drift(freed)
        np.testing.assert_allclose(run.bias, -(1 - run.fake.mean(axis=1)), atol=1e-6)
    game, state = trained.game, trained.last.state
    made = jnp.asarray(run.made[0])
    by_jax = jax.jit(jax.grad(lambda d: objectives.non_saturating(game.discriminator_of(d)(made))))
    gradient = by_jax(state.discriminator)
    d: Any = game.discriminator_of(gradient)
    assert float(run.bias[0]) == pytest.approx(float(d.layers.layers[-1].bias[0]), abs=1e-6)


def test_drift_is_that_of_adam_with_the_rate_of_the_notebook(
    trained: gan_training.FittedGAN, drift: Callable[[str], Drift]
) -> None:
    """With D frozen a step of G is one of `adversarial`, on the same codes."""
    game, state = trained.game, trained.last.state
    key_z, _, key_steps = jax.random.split(jax.random.key(1), 3)
    z = jax.random.normal(key_z, (6, 2))
    step = jax.jit(lambda state, key: game.generator_step(state, 64, key, rate=gan_trials.RATE)[0])
    for i, key in enumerate(jax.random.split(key_steps, 1000)[:3]):
        state = step(state, key)
        made = special.expit(numpy_mlp(game.generator_of(state.generator).decoder.layers, z))
        np.testing.assert_allclose(drift("nothing").made[i + 1], made, atol=1e-6)


def test_bad_drifts(trained: gan_training.FittedGAN) -> None:
    for options, error, told in (
        (
            {"freed": "bias"},
            ValueError,
            r"^freed is 'bias'; expected one of 'nothing', 'last bias', 'everything'",
        ),
        ({"steps": 0}, ValueError, r"^steps is 0; expected at least 1"),
        ({"steps": 1.5}, TypeError, r"^steps is 1\.5"),
        ({"samples": 0}, ValueError, r"^samples is 0; expected at least 1"),
    ):
        given: dict[str, Any] = {"freed": "nothing", "steps": 1, "key": KEY}
        with pytest.raises(error, match=told):
            gan_trials.drift(trained.game, trained.last.state, X, **{**given, **options})


# --- whose step it is -----------------------------------------------------------------------


def test_shares_by_a_small_step(trained: gan_training.FittedGAN) -> None:
    """A plain gradient step of 1e-4 in each part alone, in NumPy; to first order the rises add up."""
    game, gan = trained.game, trained.last.gan
    shares = gan_trials.shares(game, trained.last.state, key=KEY, n=32)
    z = np.asarray(jax.random.normal(KEY, (32, 2)), np.float64)
    start = [
        [np.asarray(part[...], np.float64) for part in (layer.kernel, layer.bias)]
        for layers in (gan.generator.decoder.layers.layers, gan.discriminator.layers.layers)
        for layer in (layers[0], layers[2])
    ]

    def logits(weights: list[list[np.ndarray]]) -> np.ndarray:
        x = z
        for i, (kernel, bias) in enumerate(weights):
            x = x @ kernel + bias
            x = special.expit(x) if i == 1 else np.where(x > 0, x, 0.2 * x) if i != 3 else x
        return x[:, 0]

    def loss(weights: list[list[np.ndarray]]) -> float:
        return -special.log_expit(logits(weights)).mean()

    def stepped(which: list[tuple[int, int]]) -> float:
        """The rise of the mean logit by a step in these parts, with the gradient by central differences."""
        after = [[part.copy() for part in layer] for layer in start]
        for layer, part in which:
            for at in np.ndindex(start[layer][part].shape):
                ends = []
                for h in (1e-5, -1e-5):
                    moved = [[each.copy() for each in both] for both in start]
                    moved[layer][part][at] += h
                    ends.append(loss(moved))
                after[layer][part][at] -= 1e-4 * (ends[0] - ends[1]) / 2e-5
        return float(logits(after).mean() - logits(start).mean())

    of_g, of_first = [(0, 0), (0, 1), (1, 0), (1, 1)], [(2, 0), (2, 1)]
    rises = np.array([stepped(which) for which in (of_g, [(3, 1)], [(3, 0)], of_first)])
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    # second order: steps of 1e-4 with gradients of about 1
    np.testing.assert_allclose(shares, rises / rises.sum(), atol=2e-3)
    assert shares.last_bias > 0 and (rises > 0).all()
    with pytest.raises(ValueError, match=r"^n is 0; expected at least 1"):
        gan_trials.shares(game, trained.last.state, key=KEY, n=0)


def test_share_of_the_last_bias_of_a_d_that_hears_nothing() -> None:
    """D says sigmoid(b) to everything: only its last layer can change that, and G cannot."""
    gan = tiny()
    last: Any = gan.discriminator.layers.layers[-1]
    last.kernel[...] = jnp.zeros_like(last.kernel[...])
    shares = gan_trials.shares(*adversarial.start(gan), key=KEY, n=32)
    assert shares.generator == 0 and abs(shares.other_layers) < 1e-6  # a difference of float32 sums near 1
    z = jax.random.normal(KEY, (32, 2))
    first: Any = gan.discriminator.layers.layers[0]
    made = special.expit(numpy_mlp(gan.generator.decoder.layers, z))
    h = made @ np.asarray(first.kernel[...], np.float64)
    h = np.where(h > 0, h, 0.2 * h).mean(axis=0)
    # d/db = c and d/dw = c mean(h), for both the loss and the mean logit
    np.testing.assert_allclose([shares.last_bias, shares.last_weights], [1, h @ h] / (1 + h @ h), atol=1e-5)
