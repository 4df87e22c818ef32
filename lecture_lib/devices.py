"""Where arrays lie: on one device, on every device, or parted over them (`jax.sharding`).

Nothing here decides what is computed. XLA takes from where the batch lies which device does what, and adds
up what they found, so that a training step reads the same for one device and for many.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lecture_lib import checks

T = TypeVar("T")


def mesh(size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """As many devices as part `size` things evenly, in a row named "batch".

    Args:
        size: Examples in a batch, or runs side by side; at least 1.
        devices: Those to choose from; None takes all of `jax.devices()`, those of other processes of a
            `jax.distributed` program included, of which none may be left out.

    Raises:
        ValueError: There are no devices; or other processes have some, and `size` cannot be parted evenly.
    """
    checks.whole("size", size, low=1)
    among = list(jax.devices() if devices is None else devices)
    if not among:
        raise ValueError("devices is empty; expected at least one")
    count = next(n for n in range(min(size, len(among)), 0, -1) if size % n == 0)
    if count < len(among) and len({device.process_index for device in among}) > 1:
        raise ValueError(
            f"size is {size}, which {len(among)} devices of several processes cannot share evenly; "
            f"expected a multiple of {len(among)}"
        )
    return Mesh(np.asarray(among[:count]), ("batch",))


def whole(devices: Mesh) -> NamedSharding:
    """Every device has all of an array."""
    return NamedSharding(devices, PartitionSpec())


def parted(devices: Mesh) -> NamedSharding:
    """Each device has its share of an array's first axis."""
    return NamedSharding(devices, PartitionSpec("batch"))


def place(tree: T, lies: NamedSharding) -> T:
    """A tree of arrays or numbers, laid where `whole` or `parted` says; keys of `jax.random.key` as well."""

    def one(leaf: Any) -> Any:
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)):
            return jax.device_put(leaf, lies)
        # device_put hands keys on to this process's devices only
        words = jax.device_put(jax.random.key_data(leaf), lies)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))

    return jax.tree.map(one, tree)


def home(tree: T, over: Mesh | None) -> T:
    """A copy of a tree of arrays that lies on one device of this process: the rest need not know of many.

    Args:
        tree: Arrays that lie on the devices of `over`, as `whole` or `parted` says.
        over: None for arrays that lie where JAX has put them, and stay there.
    """
    if over is None:
        return jax.tree.map(lambda array: array, tree)
    gathered = jax.jit(lambda same: same, out_shardings=whole(over))(tree)
    return jax.tree.map(lambda array: array.addressable_data(0), gathered)
