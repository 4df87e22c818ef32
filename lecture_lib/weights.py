"""Trained weights in a file: NumPy's .npz without pickle, in half precision, beside what they are."""

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lecture_lib import checks
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.layers import Fixed, mlp

DATA = pathlib.Path(__file__).parent.parent / "data"
STYLE = DATA / "style_28x28.npz"
"""The conditional VAE of 28x28 digits and a small classifier; see data/README.md."""

_ABOUT = "about"
_MODELS = ("vae", "reader")
_DAMAGE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError),
    *(ValueError, LookupError, TypeError, RuntimeError),
)
"""What zipfile, NumPy and the models raise when bytes have changed; one that claims to be encrypted, say."""


class Shipped(NamedTuple):
    """What a file of weights holds."""

    vae: ConditionalVAE
    """A conditional VAE of 28x28 digits."""
    reader: nnx.Sequential
    """A classifier: flat pictures to ten logits."""
    about: dict[str, Any]
    """The widths, the recipe, the data, and the figures that were measured."""


def half(model: nnx.Module) -> None:
    """Round all parameters, in place, to numbers of half precision, as a file keeps them."""
    state = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda leaf: leaf.astype(jnp.float16).astype(leaf.dtype), state))


def save(path: str | os.PathLike[str], shipped: Shipped) -> None:
    """Write weights and what is known about them.

    Args:
        path: Ends with .npz; written whole or not at all.
        shipped: Models whose parameters are exact in half precision; see `half`.

    Raises:
        ValueError: A parameter is not finite, or would change in half precision.
        OSError: It cannot be written, say to a full disk; the message names the file, and an old one stays.
    """
    arrays = {_ABOUT: np.array(json.dumps(shipped.about, indent=1))}
    for name in _MODELS:
        for part, value in _parameters(getattr(shipped, name)).items():
            checks.finite(name + part, value)
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is not the same
                rounded = value.astype(np.float16)
            if not np.array_equal(rounded.astype(value.dtype), value):
                raise ValueError(
                    f"{name}{part} is not exact in half precision; round the model with half() first"
                )
            arrays[name + part] = rounded
    path = pathlib.Path(path)
    new = path.with_name(path.name + ".new")
    try:
        with open(new, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(new, path)
    except OSError as error:  # a write that fails does not say to which file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        new.unlink(missing_ok=True)


def load(path: str | os.PathLike[str] = STYLE) -> Shipped:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or holds something else; the message names the file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; it comes with a clone of the repository (pip install alone leaves data/ out)"
        )
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if _ABOUT not in arrays:
            raise ValueError(f"it has no entry {_ABOUT!r}")
        about = json.loads(str(arrays.pop(_ABOUT)))
        widths = about["widths"]
        # Shapes only: weights that are drawn, and a program compiled for each, would be thrown away.
        vae = nnx.eval_shape(
            lambda: ConditionalVAE(
                widths["pixels"],
                widths["latent"],
                widths["hidden"],
                condition="film",
                likelihood="bernoulli",
                rngs=nnx.Rngs(0),
            )
        )
        vae.noise_log_var = Fixed(jnp.zeros(()))  # no parameter; as it is made, and of no use to a Bernoulli
        reader = nnx.eval_shape(lambda: mlp(widths["reader"], nnx.relu, nnx.Rngs(0)))
    except _DAMAGE as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged or is no file of weights: {told}") from error
    for name, model in (("vae", vae), ("reader", reader)):
        mine = {part[len(name) :]: value for part, value in arrays.items() if part.startswith(name)}
        _fill(path, model, mine)
    return Shipped(vae, reader, about)


def _leaves(model: nnx.Module) -> dict[str, Any]:
    """The parameters, or their shapes, by their place in the model."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return {jax.tree_util.keystr(place): value for place, value in leaves}


def _parameters(model: nnx.Module) -> dict[str, np.ndarray]:
    return {place: np.asarray(value) for place, value in _leaves(model).items()}


def _fill(path: pathlib.Path, model: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    pure = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    expected = {place: value.shape for place, value in _leaves(model).items()}
    found = {place: value.shape for place, value in arrays.items()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise ValueError(
            f"{path} does not fit the model at {odd}: it has {found.get(odd)}, expected {expected.get(odd)}"
        )
    for place, value in arrays.items():
        if value.dtype != np.float16:
            raise ValueError(f"{path}: {place} has dtype {value.dtype}; expected float16")
        checks.finite(f"{path}: {place}", value)
    new = jax.tree_util.tree_map_with_path(
        lambda place, _: jnp.asarray(arrays[jax.tree_util.keystr(place)], jnp.float32), pure
    )
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, new)
    nnx.update(model, state)
