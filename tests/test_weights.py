"""Trained weights in a file: what comes back, what is refused, and what is shipped."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lecture_lib import style_trials, weights
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.layers import mlp
from lecture_lib.weights import Shipped
from tools import train_style

WIDTHS = {"pixels": 9, "latent": 2, "hidden": [5, 4], "reader": [9, 3, 10]}
ABOUT = {"widths": WIDTHS, "figures": {"fidelity": 0.5}, "data": "none, ≤ 9 pixels"}


def leaves(model: nnx.Module) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def untrained() -> Shipped:
    """All weights drawn anew, so that none is 0, and not rounded."""
    rng = np.random.default_rng(0)
    vae = ConditionalVAE(9, 2, (5, 4), likelihood="bernoulli", rngs=nnx.Rngs(0))
    reader = mlp([9, 3, 10], nnx.relu, nnx.Rngs(0))
    for model in (vae, reader):
        state = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape), v.dtype), state))
    return Shipped(vae, reader, ABOUT)


@pytest.fixture
def small() -> Shipped:
    made = untrained()
    weights.half(made.vae)
    weights.half(made.reader)
    return made


@pytest.fixture
def path(tmp_path: Path, small: Shipped) -> Path:
    weights.save(tmp_path / "small.npz", small)
    return tmp_path / "small.npz"


def spoil(path: Path, **changes: Any) -> None:
    """The file again with some of its arrays replaced, or left out (None)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= changes
    with open(path, "wb") as file:
        kept: Any = {k: v for k, v in arrays.items() if v is not None}
        np.savez(file, **kept)


BIAS = "reader['layers'][0]['bias']"


# --- what comes back ------------------------------------------------------------------------


def test_weights_come_back(path: Path, small: Shipped) -> None:
    again = weights.load(path)
    assert again.about == ABOUT
    for ours, theirs in ((again.vae, small.vae), (again.reader, small.reader)):
        for a, b in zip(leaves(ours), leaves(theirs), strict=True):
            assert a.dtype == np.float32
            np.testing.assert_array_equal(a, b)
    x, z = jnp.linspace(0, 1, 18).reshape(2, 9), jnp.array([[0.5, -1], [2, 0]])
    labels = jnp.array([3, 8])
    np.testing.assert_array_equal(again.vae.encoder(x, labels).mean, small.vae.encoder(x, labels).mean)
    np.testing.assert_array_equal(again.vae.write(z, labels), small.vae.write(z, labels))
    np.testing.assert_array_equal(again.reader(x), small.reader(x))


def test_a_file_is_plain_numpy(path: Path, small: Shipped) -> None:
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(str(file["about"])) == ABOUT
        others = {name: file[name] for name in file.files if name != "about"}
    assert all(value.dtype == np.float16 for value in others.values())
    assert sum(v.size for v in others.values()) == sum(
        leaf.size for model in (small.vae, small.reader) for leaf in leaves(model)
    )
    np.testing.assert_array_equal(others[BIAS], small.reader.layers[0].bias[...])


def test_half_rounds_to_the_nearest() -> None:
    exact = untrained()
    rounded = [leaf.astype(np.float16) for leaf in leaves(exact.vae)]
    weights.half(exact.vae)
    for ours, theirs in zip(leaves(exact.vae), rounded, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


# --- saving ---------------------------------------------------------------------------------


def test_what_halves_cannot_hold_is_not_saved(tmp_path: Path, small: Shipped) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(
        ValueError, match=r"^vae\S+ is not exact in half precision; round the model with half"
    ):
        weights.save(path, untrained())
    bias = small.reader.layers[0].bias
    for bad, message in (
        (1e6, "is not exact in half precision"),
        (np.inf, r"has 1 of 3 values that are not finite \(first at index \(1,\)\)"),
        (np.nan, "has 1 of 3 values that are not finite"),
    ):
        bias[...] = jnp.array([0.5, bad, 1])
        with pytest.raises(ValueError, match="^" + re.escape(BIAS) + " " + message):
            weights.save(path, small)
    assert list(tmp_path.iterdir()) == []


def test_saving_goes_through_or_leaves_the_old_file(
    path: Path, small: Shipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(file: io.BufferedWriter, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez_compressed", full)
        with pytest.raises(OSError, match="No space left"):
            weights.save(path, small)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    weights.save(path, small._replace(about={**ABOUT, "data": "others"}))
    assert weights.load(path).about["data"] == "others" and os.listdir(path.parent) == [path.name]


# --- loading --------------------------------------------------------------------------------


def damaged(path: Path, message: str = "") -> None:
    told = "^" + re.escape(str(path)) + " is damaged or is no file of weights: "
    with pytest.raises(ValueError, match=told + message):
        weights.load(path)


def test_missing(tmp_path: Path) -> None:
    told = "a.npz is missing; it comes with a clone of the repository"
    with pytest.raises(FileNotFoundError, match=told):
        weights.load(tmp_path / "a.npz")
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(FileNotFoundError, match=told):
        weights.load(tmp_path / "a.npz")


def test_truncated(path: Path) -> None:
    whole = path.read_bytes()
    for n in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        damaged(path, "File is not a zip file")


def test_a_changed_byte_is_found(path: Path) -> None:
    """Wherever it is, it is told in the same words, or it changes nothing (a date, say)."""
    whole, found = path.read_bytes(), 0
    intact = weights.load(path)
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 60, replace=False):
        spoilt = bytearray(whole)
        spoilt[at] ^= int(rng.integers(1, 256))
        path.write_bytes(spoilt)
        try:
            again = weights.load(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            found += 1
        else:
            assert again.about == intact.about
            for a, b in zip(leaves(again.vae), leaves(intact.vae), strict=True):
                np.testing.assert_array_equal(a, b)
    assert found > 40


def test_wrong_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"no weights at all")
    damaged(path, "File is not a zip file")
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    damaged(path, "File is not a zip file")
    with open(path, "wb") as file:
        np.savez(file, x=np.zeros(3))
    damaged(path, "it has no entry 'about'$")


class Armed:
    """Unpickling it would leave a trace."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", [BIAS, "about", "more"])
def test_pickles_are_refused_unopened(path: Path, name: str) -> None:
    trace = path.with_name("opened")
    spoil(path, **{name: np.array([Armed(trace)], object)})
    damaged(path, "Object arrays cannot be loaded when allow_pickle=False")
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as file:
        file[name]
    assert trace.exists()  # it was armed


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, "it has no entry 'about'$"),
        ("{", "Expecting property name"),
        ("[1]", "list indices must be integers"),
        ("{}", "no 'widths'$"),
        (json.dumps({"widths": {**WIDTHS, "hidden": [0]}}), "sizes is 0; expected at least 1"),
        (json.dumps({"widths": {**WIDTHS, "pixels": "many"}}), "."),
        (json.dumps({"widths": {k: v for k, v in WIDTHS.items() if k != "latent"}}), "no 'latent'$"),
    ],
)
def test_what_is_said_about_them_is_needed(path: Path, about: Any, message: str) -> None:
    spoil(path, about=None if about is None else np.array(about))
    damaged(path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({BIAS: None}, f"{BIAS[6:]}: it has None, expected (3,)"),
        ({BIAS: np.zeros(4, np.float16)}, f"{BIAS[6:]}: it has (4,), expected (3,)"),
        ({"vae['more']": np.zeros(4, np.float16)}, "['more']: it has (4,), expected None"),
    ],
)
def test_other_shapes(path: Path, changes: dict[str, Any], message: str) -> None:
    spoil(path, **changes)
    with pytest.raises(ValueError, match=re.escape(f"{path} does not fit the model at {message}") + "$"):
        weights.load(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([0, np.nan, 0], np.float16), "has 1 of 3 values that are not finite"),
        (np.array([0, np.inf, 0], np.float16), "has 1 of 3 values that are not finite"),
        (np.zeros(3, np.float32), "has dtype float32; expected float16"),
        (np.array(["a", "b", "c"]), "has dtype <U1; expected float16"),
    ],
)
def test_other_numbers(path: Path, value: np.ndarray, message: str) -> None:
    spoil(path, **{BIAS: value})
    with pytest.raises(ValueError, match=re.escape(f"{path}: {BIAS[6:]} {message}")):
        weights.load(path)


# --- what is shipped ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return weights.load()


def test_the_shipped_file_is_the_one_that_is_described() -> None:
    data = weights.STYLE.read_bytes()
    text = (weights.DATA / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(data).hexdigest() in text
    (told,) = re.findall(r"([\d\s,]+?) bytes", text)
    assert int(re.sub(r"\D", "", told)) == len(data)


def test_the_shipped_file_is_small_and_no_pickle() -> None:
    assert weights.STYLE.stat().st_size < 2e6
    with np.load(weights.STYLE, allow_pickle=False) as file:
        kinds = {file[name].dtype for name in file.files if name != "about"}
    assert kinds == {np.dtype(np.float16)}


def test_the_shipped_models_fit_their_description(shipped: Shipped) -> None:
    assert (shipped.vae.pixels, shipped.vae.latent, shipped.vae.classes) == (784, style_trials.LATENT, 10)
    assert shipped.vae.likelihood == "bernoulli" and shipped.vae.decoder.condition == "film"
    recipe = style_trials.MNIST._asdict()
    assert shipped.about["recipe"] == json.loads(json.dumps(recipe))  # lists for tuples
    assert shipped.about["seed"] == train_style.SEED
    for model in (shipped.vae, shipped.reader):
        for leaf in leaves(model):
            np.testing.assert_array_equal(leaf.astype(np.float16).astype(np.float32), leaf)


PROMISED = {"fidelity": 0.97, "slant, written": 0.80, "thickness, written": 0.70}


def test_the_shipped_figures_keep_the_promise(shipped: Shipped) -> None:
    for name, least in PROMISED.items():
        assert shipped.about["figures"][name] >= least, name


def test_the_shipped_figures_are_those_that_are_told(shipped: Shipped) -> None:
    """Each figure stands in data/README.md, those of a property in the order of `Transfer`."""
    text = (weights.DATA / "README.md").read_text(encoding="utf-8")
    lines = [re.findall(r"-?\d\.\d{4}", line) for line in text.splitlines() if line.startswith("|")]
    told = [list(map(float, line)) for line in lines if line]
    figures = dict(shipped.about["figures"])
    assert f"{100 * figures.pop('accuracy of the judge'):.1f} %" in text
    for name in ("slant", "thickness", "ink"):
        assert [figures.pop(f"{name}, {kind}") for kind in style_trials.Transfer._fields] in told
    assert sorted([value] for value in figures.values()) == sorted(line for line in told if len(line) == 1)


def test_the_shipped_models_have_their_figures(shipped: Shipped, mnist_folder: Path) -> None:
    """Measured anew on every eighth of the held-out digits, 250, with a judge taught by every other digit.

    A correlation of .8 from 250 pairs has a standard error of .023; four of them are allowed.
    """
    seen, new = style_trials.mnist(mnist_folder, full=False)
    some = style_trials.Digits(new.x[::8], new.labels[::8])
    half = style_trials.Digits(seen.x[::2], seen.labels[::2])
    found, told = train_style.measure(*shipped[:2], half, some), shipped.about["figures"]
    assert found.keys() == told.keys()
    for name, least in PROMISED.items():
        assert found[name] == pytest.approx(told[name], abs=0.015 if name == "fidelity" else 0.09), name
        assert found[name] >= least - (0 if name == "fidelity" else 0.03), name
    for name in ("slant", "thickness", "ink"):
        # the same random styles for all ten digits: 250 pairs, standard error .063
        assert abs(found[f"{name}, random"]) < 0.25
        assert found[f"{name}, worst"] < found[f"{name}, written"] < found[f"{name}, reconstruction"]
    read = np.asarray(shipped.reader(jnp.asarray(new.x))).argmax(axis=1)
    # all 2000; a digit or two on the edge may be rounded over it
    assert (read == new.labels).mean() == pytest.approx(told["accuracy of the reader"], abs=0.0011)


TOLERANCE = {
    "fidelity": 0.01,
    "slant, written": 0.15,
    "thickness, written": 0.06,
    "ink, written": 0.08,
    "accuracy of the judge": 0.005,
    "accuracy of the reader": 0.015,
}
"""On a quarter of the digits three seeds lie up to .004, .12, .01, .045, 0 and .002 apart.

The same seed gives the same on the same machine. Another processor rounds otherwise, and after 6000 steps
that may be as much as another seed.
"""


@pytest.mark.proof
def test_training_again_reaches_the_shipped_figures(shipped: Shipped, mnist_folder: Path) -> None:
    """As tools/train_style.py does, measured on every fourth of the held-out digits."""
    seen, new = style_trials.mnist(mnist_folder, full=False)
    quarter = style_trials.Digits(new.x[::4], new.labels[::4])
    again = train_style.train(seen, quarter)
    found, told = again.about["figures"], shipped.about["figures"]
    assert [again.about[name] for name in ("widths", "seed")] == [
        shipped.about[name] for name in ("widths", "seed")
    ]
    for name, away in TOLERANCE.items():
        assert found[name] == pytest.approx(told[name], abs=away), name
    for name, least in PROMISED.items():
        assert found[name] >= least, name
    assert found.keys() == told.keys()


@pytest.mark.proof
def test_what_was_trained_can_be_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mnist_folder: Path
) -> None:
    """All of tools/train_style.py, with few steps."""
    few = style_trials.MNIST._replace(steps=20)
    reader = style_trials.train_reader
    monkeypatch.setattr(train_style, "MNIST", few)
    monkeypatch.setattr(style_trials, "train_reader", lambda *a, **k: reader(*a, **k, steps=20))
    monkeypatch.setattr(train_style, "measure", lambda *a: {"fidelity": 0.1})
    monkeypatch.setattr(weights, "STYLE", tmp_path / "style.npz")
    assert train_style.main([str(mnist_folder), "--seed", "3"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["seed"] == 3 and not weights.STYLE.exists()
    assert train_style.main([str(mnist_folder), "--seed", "3", "--save"]) == 0
    digest = hashlib.sha256(weights.STYLE.read_bytes()).hexdigest()
    size = weights.STYLE.stat().st_size
    assert capsys.readouterr().out.endswith(f"style.npz: {size} bytes, sha256 {digest}\n")
    assert weights.load(weights.STYLE).about == about
