"""Training over several devices: eight simulated ones in a process of their own, then two processes.

Eight devices on two cores wait for each other, so that most of this is for `make proof`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lecture_lib import devices

ROOT = Path(__file__).resolve().parent.parent

EIGHT = """
import json
from functools import partial
import jax, numpy as np
from flax import nnx
from jax.sharding import Mesh
from lecture_lib import datasets, devices, objectives, training
from lecture_lib.networks import VAE

jax.config.update("jax_enable_x64", True)
digits = datasets.digits("train").images.reshape(-1, 64).astype(np.float64)[:240]

def build(rngs):
    graph, state = nnx.split(VAE(64, 2, rngs=rngs))
    return nnx.merge(graph, jax.tree.map(lambda a: a.astype(np.float64), state))

seen = []
def loss(model, batch, key):
    jax.debug.inspect_array_sharding(batch, callback=lambda lies: seen.append(lies.shard_shape(batch.shape)))
    return objectives.negative_elbo(model, batch, key)

one = Mesh(np.asarray(jax.devices()[:1]), ("batch",))
three = Mesh(np.asarray(jax.devices()[5:]), ("mine",))
told = {"devices": len(jax.devices()), "fit": {}}
run = partial(training.fit, build(nnx.Rngs(0)), loss, digits, key=jax.random.key(0), steps=20, progress=None)
for name, batch_size, mesh in [
    ("64 on one", 64, one), ("64", 64, None), ("60", 60, None), ("60 on one", 60, one),
    ("60 on three", 60, three), ("all", None, None), ("all on one", None, one),
]:
    fitted = run(batch_size=batch_size, mesh=mesh)
    home = {device.id for leaf in jax.tree.leaves(nnx.state(fitted.model)) for device in leaf.devices()}
    decoded = float(fitted.model.decoder(np.zeros((1, 2))).sum())  # with an array that lies elsewhere
    told["fit"][name] = dict(losses=fitted.history.loss.tolist(), shape=seen[-1], home=sorted(home))
    told["fit"][name] |= dict(decoded=decoded, elbo=fitted.history.metrics["kl"].tolist())

many = partial(training.fit_many, build, objectives.negative_elbo, digits, steps=10, batch_size=16)
for name, runs, mesh in [("16", 16, None), ("16 on one", 16, one)]:
    fitted = many(keys=jax.random.split(jax.random.key(1), runs), mesh=mesh, progress=None)
    leaf = jax.tree.leaves(nnx.state(fitted.model))[0]
    told["many " + name] = dict(losses=fitted.history.loss.tolist(), shape=leaf.shape)

def interrupt(progress):
    if progress.step >= 10:
        raise KeyboardInterrupt
stopped = run(batch_size=64, on_chunk=interrupt, chunk=5)
told["stopped"] = [stopped.interrupted, stopped.history.loss.tolist()]
told["meshes"] = [devices.mesh(size).size for size in (1, 2, 6, 7, 8, 9, 11, 12, 64, 100)]
print("told", json.dumps(told))
"""

TOGETHER = """
import json, sys
import jax
if len(sys.argv) > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from flax import nnx
from lecture_lib import datasets, objectives, training
from lecture_lib.networks import VAE

digits = datasets.digits("train").images.reshape(-1, 64)
arguments = dict(key=jax.random.key(0), steps=10, batch_size=64)
fitted = training.fit(VAE(64, 2, rngs=nnx.Rngs(0)), objectives.negative_elbo, digits, **arguments)
keys = jax.random.split(jax.random.key(1), 4)
arguments |= dict(keys=keys, progress=None)
del arguments["key"]
many = training.fit_many(lambda rngs: VAE(64, 2, rngs=rngs), objectives.negative_elbo, digits, **arguments)
refused = None
try:
    training.fit(fitted.model, objectives.negative_elbo, digits[:33], key=keys[0], steps=1)
except ValueError as error:
    refused = str(error)
decoded = fitted.model.decoder(digits[:1, :2])
told = dict(devices=len(jax.devices()), losses=fitted.history.loss.tolist(), many=many.history.loss.tolist())
print("told", json.dumps(told | dict(refused=refused, decoded=float(decoded.sum()))))
"""


def start(code: str, *arguments: str, simulated: int = 1) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={simulated}"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def told_by(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """What a process told, and all else that it wrote on standard output."""
    try:
        out, problems = process.communicate(timeout=500)
    finally:
        process.kill()
    assert process.returncode == 0, problems[-3000:]
    before, _, told = out.rpartition("told ")
    return json.loads(told), before


@pytest.fixture(scope="module")
def eight() -> dict[str, Any]:
    """What a process with eight devices tells."""
    return told_by(start(EIGHT, simulated=8))[0]


@pytest.mark.proof
@pytest.mark.parametrize("name", ["64", "60", "all"])
def test_losses_on_eight_devices_are_those_of_one(eight: dict[str, Any], name: str) -> None:
    assert eight["devices"] == 8
    many, one = eight["fit"][name], eight["fit"][f"{name} on one"]
    assert len(many["losses"]) == 20 and many["losses"][-1] < many["losses"][0]
    for what in ("losses", "elbo", "decoded"):  # in float64 only the order of the sums differs
        np.testing.assert_allclose(many[what], one[what], rtol=1e-11)


@pytest.mark.proof
def test_each_device_has_its_share_of_a_batch(eight: dict[str, Any]) -> None:
    shapes = {name: found["shape"] for name, found in eight["fit"].items()}
    assert shapes == {
        "64 on one": [64, 64],
        "64": [8, 64],
        "60 on one": [60, 64],
        "60": [10, 64],  # six devices share sixty evenly, and eight do not
        "60 on three": [20, 64],
        "all on one": [240, 64],
        "all": [30, 64],
    }


@pytest.mark.proof
def test_the_model_comes_home_to_one_device(eight: dict[str, Any]) -> None:
    homes = {name: found["home"] for name, found in eight["fit"].items()}
    assert homes == {name: [5 if "three" in name else 0] for name in homes}


@pytest.mark.proof
def test_runs_side_by_side_are_shared_among_devices(eight: dict[str, Any]) -> None:
    many, one = eight["many 16"], eight["many 16 on one"]
    assert many["shape"][0] == 16 and np.shape(many["losses"]) == (16, 10)
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-11)


@pytest.mark.proof
def test_interrupted_on_eight_devices_it_keeps_what_it_has_learned(eight: dict[str, Any]) -> None:
    interrupted, losses = eight["stopped"]
    assert interrupted and len(losses) == 10
    assert losses == eight["fit"]["64"]["losses"][:10]


@pytest.mark.proof
def test_as_many_devices_as_part_it_evenly(eight: dict[str, Any]) -> None:
    assert eight["meshes"] == [1, 2, 6, 7, 8, 3, 1, 6, 8, 5]


def test_bad_meshes_are_named() -> None:
    with pytest.raises(ValueError, match=r"size is 0; expected at least 1"):
        devices.mesh(0)
    with pytest.raises(ValueError, match="devices is empty"):
        devices.mesh(4, [])


def test_keys_and_numbers_are_placed_with_the_arrays() -> None:
    everywhere = devices.whole(devices.mesh(1))
    tree = {"key": jax.random.key(3), "x": np.arange(3.0, dtype=np.float32), "rate": 0.5}
    placed = devices.place(tree, everywhere)
    assert jax.random.key_data(placed["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()
    assert placed["x"].tolist() == [0, 1, 2] and float(placed["rate"]) == 0.5
    back = devices.home({"x": placed["x"]}, devices.mesh(1))
    assert back["x"].devices() == {jax.devices()[0]}


@pytest.mark.proof
def test_two_processes_train_one_model(eight: dict[str, Any]) -> None:
    """As on two machines, by `jax.distributed`: both end with the same losses, which are those of one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    both = [start(TOGETHER, address, str(i), simulated=2) for i in range(2)]
    try:
        (first, shown), (second, silent) = map(told_by, both)
    finally:
        for process in both:
            process.kill()
    assert first == second and first["devices"] == 4
    assert "10/10 steps" in shown and "steps" not in silent  # one bar of progress is enough
    assert "33, which 4 devices of several processes cannot share evenly" in first["refused"]
    (alone, _) = told_by(start(TOGETHER))
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-4)  # float32
    np.testing.assert_allclose(first["many"], alone["many"], rtol=1e-4)
