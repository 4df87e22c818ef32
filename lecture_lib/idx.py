"""IDX files, the format of the original MNIST: a header with the sizes, then one byte for each entry.

The header is two zero bytes, the type of the entries, the number of dimensions, and the size of each
dimension in four bytes, the highest first.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

_START = bytes([0, 0, 0x08])  # 0x08: unsigned bytes
_MOST_DIMENSIONS = 64  # NumPy has no more
_Stream = IO[bytes] | gzip.GzipFile
_GZIP = b"\x1f\x8b"
_CHUNK = 2**20


def header(shape: Sequence[int]) -> bytes:
    """What an IDX file of unsigned bytes of this shape begins with."""
    return _START + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def read(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "..."]:
    """The entries of one IDX file of unsigned bytes.

    Args:
        path: The file, plain or packed by gzip: its first bytes tell, whatever its name.

    Returns:
        A read-only array of the shape that the header tells, every size of it at least 1.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, empty, no IDX file of unsigned bytes, shorter or longer than its header
            says, or damaged gzip. Like the one above, the message names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; check its name, and that its folder is there")
    if not path.is_file():
        raise ValueError(
            f"{path} is {'a folder' if path.is_dir() else 'no regular file'}; expected an IDX file "
            "(some archives unpack into a folder named like the file: take the file out of it)"
        )
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if not packed:
                return _parse(path, file)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(path, unpacked)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: gzip says {str(error)!r}; expected an IDX file in whole gzip: "
            "copy or fetch it again"
        ) from error


def _parse(path: Path, file: _Stream) -> UInt8[np.ndarray, "..."]:
    magic = _take(file, 4)
    if not magic:
        raise ValueError(f"{path} is empty; expected an IDX file")
    if magic[:3] != _START or len(magic) < 4 or not 1 <= magic[3] <= _MOST_DIMENSIONS:
        raise ValueError(
            f"{path} begins with the bytes {magic.hex(' ')}; expected an IDX file of unsigned bytes, which "
            f"begins with {_START.hex(' ')} and the number of dimensions, 01 to {_MOST_DIMENSIONS:x}"
        )
    dimensions = magic[3]
    told = _take(file, 4 * dimensions)
    if len(told) < 4 * dimensions:
        raise ValueError(
            f"{path} ends within its header, after {4 + len(told)} bytes; expected {4 + 4 * dimensions} "
            f"for {dimensions} dimensions: it is truncated"
        )
    sizes = struct.unpack(f">{dimensions}I", told)
    shape = "x".join(map(str, sizes))
    if 0 in sizes:
        raise ValueError(f"{path} has the sizes {shape} in its header; expected each to be at least 1")
    wanted = math.prod(sizes)
    data = _take(file, wanted + 1)  # one more than there should be; in gzip, that has the checksum verified
    if len(data) != wanted:
        found, fault = (len(data), "truncated") if len(data) < wanted else (f"more than {wanted}", "too long")
        raise ValueError(
            f"{path} has {found} bytes after its header; expected {wanted} for the sizes {shape}: "
            f"it is {fault}"
        )
    entries = np.frombuffer(data, np.uint8).reshape(sizes)
    entries.flags.writeable = False
    return entries


def _take(file: _Stream, most: int) -> bytearray:
    """The next bytes of a file, `most` of them where it has as many.

    In pieces: a damaged header may tell any number, and nothing is to be set aside for what is not there.
    """
    taken = bytearray()
    while len(taken) < most and (piece := file.read(min(_CHUNK, most - len(taken)))):
        taken += piece
    return taken
