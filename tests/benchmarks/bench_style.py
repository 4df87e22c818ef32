"""The figures of notebook 04 over several seeds: how faithfully digits are written, how far a style carries.

Markdown tables with mean, minimum and maximum: of the embedded 8x8 digits, and, where the original files
are there (data/mnist, LECTURE_MNIST, or ../shared/mnist), of the recipe of the shipped 28x28 weights.

python tests/benchmarks/bench_style.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from about import ROOT, machine  # first: it puts the repository on the path

from lecture_lib import datasets, style_trials
from lecture_lib.style_trials import Digits
from tools import train_style

EVERY = 4
"""Of the 2000 MNIST digits held out, which are tried: all would take four times as long."""


def mnist_folder() -> Path | None:
    """A folder with MNIST's test split."""
    told = os.environ.get("LECTURE_MNIST")
    places = [ROOT / "data" / "mnist", *([Path(told)] if told else []), ROOT.parent / "shared" / "mnist"]
    return next((place for place in places if "test" in datasets.mnist_splits(place)), None)


def embedded(seed: int) -> dict[str, float]:
    """The 8x8 digits: trained on eleven forms, tried on three by other hands."""
    seen, new = style_trials.embedded("writers"), style_trials.embedded("new writers")
    key_training, key_verdict = jax.random.split(jax.random.key(seed))
    model = style_trials.train(seen, key=key_training).model
    classifier = style_trials.judge(seen)
    verdict = style_trials.assess(model, seen, new, classifier, key=key_verdict)
    accuracy = float(classifier.score(new.x, new.labels))
    return {**train_style.figures_of(verdict), "accuracy of the judge": accuracy}


def table(rows: Sequence[dict[str, float]]) -> str:
    """Markdown: each figure with mean, minimum and maximum."""
    lines = ["| figure | mean | min | max |", "| --- | ---: | ---: | ---: |"]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        told = " | ".join(f"{value:.3f}" for value in (values.mean(), values.min(), values.max()))
        lines.append(f"| {name} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print(machine("jax", "flax", "optax", "scikit-learn"))
    began = time.perf_counter()
    rows = [embedded(seed) for seed in seeds]
    print(f"\nEmbedded 8x8 digits, seeds 0 to {seeds[-1]} ({time.perf_counter() - began:.0f} s)\n")
    print(table(rows), flush=True)
    folder = mnist_folder()
    if folder is None:
        print("\nNo MNIST: data/mnist, or the folder that LECTURE_MNIST names, would have to hold it.")
        return
    seen, new = style_trials.mnist(folder, full=False)
    tried = Digits(new.x[::EVERY], new.labels[::EVERY])
    began = time.perf_counter()
    rows = [train_style.train(seen, tried, seed=seed).about["figures"] for seed in seeds]
    print(
        f"\nMNIST 28x28, {len(seen.x)} to learn from, every {EVERY}th of {len(new.x)} held out tried, "
        f"seeds 0 to {seeds[-1]} ({time.perf_counter() - began:.0f} s)\n"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
