"""Train what data/style_28x28.npz holds, from the original MNIST files: see data/README.md.

python tools/train_style.py FOLDER [--save]   prints the figures, and keeps the weights only if told to
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from flax import nnx

from lecture_lib import style_trials, weights
from lecture_lib.conditional import ConditionalVAE
from lecture_lib.style_trials import MNIST, Digits, Verdict
from lecture_lib.weights import Shipped

SEED = 1


def figures_of(verdict: Verdict) -> dict[str, float]:
    """A verdict as figures with names."""
    found = {
        "fidelity": verdict.fidelity,
        "fidelity of random styles": verdict.fidelity_prior,
        "linear probe": verdict.linear_probe,
        "neighbour probe": verdict.neighbour_probe,
    }
    for name, transfer in verdict.transfer.items():
        found |= {f"{name}, {kind}": value for kind, value in transfer._asdict().items()}
    return found


def measure(vae: ConditionalVAE, reader: nnx.Sequential, seen: Digits, new: Digits) -> dict[str, float]:
    """The figures that are written beside the weights, on digits that neither network has seen."""
    classifier = style_trials.judge(seen)
    properties = ("slant", "thickness", "ink")
    verdict = style_trials.assess(vae, seen, new, classifier, key=jax.random.key(SEED), properties=properties)
    found = {
        **figures_of(verdict),
        "accuracy of the judge": classifier.score(new.x, new.labels),
        "accuracy of the reader": float((reader(new.x).argmax(axis=1) == new.labels).mean()),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def train(seen: Digits, new: Digits, *, seed: int = SEED) -> Shipped:
    """Both networks, rounded to half precision, and the figures measured after the rounding."""
    key_vae, key_reader, _ = jax.random.split(jax.random.key(seed), 3)
    vae = style_trials.train(seen, key=key_vae, recipe=MNIST).model
    reader = style_trials.train_reader(seen, key=key_reader)
    weights.half(vae)
    weights.half(reader)
    widths = {"pixels": 784, "latent": vae.latent, "hidden": list(MNIST.hidden), "reader": [784, 64, 10]}
    data = f"MNIST's test images in order: {len(seen.x)} for training, the last {len(new.x)} for the figures"
    about = {"widths": widths, "recipe": MNIST._asdict(), "seed": seed, "data": data}
    return Shipped(vae, reader, {**about, "figures": measure(vae, reader, seen, new)})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the shipped 28x28 model from the MNIST test files.")
    parser.add_argument("folder", type=Path, help="holds t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--save", action="store_true", help=f"write {weights.STYLE.name}")
    chosen = parser.parse_args(arguments)
    shipped = train(*style_trials.mnist(chosen.folder, full=False), seed=chosen.seed)
    print(json.dumps(shipped.about, indent=1))
    if chosen.save:
        weights.save(weights.STYLE, shipped)
        digest = hashlib.sha256(weights.STYLE.read_bytes()).hexdigest()
        print(f"{weights.STYLE.name}: {weights.STYLE.stat().st_size} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
