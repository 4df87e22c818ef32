"""IDX files: what is written comes back, and every damage is told by an error that names the file."""

from __future__ import annotations

import gzip
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lecture_lib import idx
from tests.laws import law

PICTURES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
# by hand, so that the header is tested against the description of the format
WHOLE = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "some-file"


def refuse(place: Path, content: bytes, message: str) -> None:
    """Both plain and packed, if it is not packed already."""
    for bytes_ in (content, gzip.compress(content)):
        place.write_bytes(bytes_)
        with pytest.raises(ValueError, match=rf"^{re.escape(str(place))} {message}"):
            idx.read(place)


def test_reads_what_the_format_says(place: Path) -> None:
    for content in (WHOLE, gzip.compress(WHOLE), gzip.compress(WHOLE[:9]) + gzip.compress(WHOLE[9:])):
        place.write_bytes(content)
        for name in (place, str(place)):
            entries = idx.read(name)
            assert entries.dtype == np.uint8
            np.testing.assert_array_equal(entries, PICTURES)
            with pytest.raises(ValueError, match="read-only"):
                entries[0] = 0
    assert idx.header((2, 3, 4)) == WHOLE[:16]
    assert idx.header([60_000]) == bytes([0, 0, 8, 1, 0, 0, 0xEA, 0x60])


@pytest.mark.parametrize("name", ["a.gz", "a"])
def test_gzip_is_told_by_its_bytes_not_by_the_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE if name.endswith(".gz") else gzip.compress(WHOLE))
    np.testing.assert_array_equal(idx.read(tmp_path / name), PICTURES)


@law(60)
@given(
    entries=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=6, max_side=5)), packed=st.booleans()
)
def test_round_trip(place: Path, entries: np.ndarray, packed: bool) -> None:
    content = idx.header(entries.shape) + entries.tobytes()
    place.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(idx.read(place), entries)


def test_more_than_one_piece(place: Path) -> None:
    """Longer than what is read at once, and not a multiple of it."""
    entries = np.resize(np.arange(251, dtype=np.uint8), (5, 2**19 + 1))
    for level in (0, 1):
        place.write_bytes(gzip.compress(idx.header(entries.shape) + entries.tobytes(), level))
        np.testing.assert_array_equal(idx.read(place), entries)


def test_as_many_dimensions_as_numpy_has(place: Path) -> None:
    place.write_bytes(idx.header([1] * 64) + b"\x05")
    assert idx.read(place).shape == (1,) * 64
    refuse(place, idx.header([1] * 65) + b"\x05", r"begins with the bytes 00 00 08 41; expected .* 01 to 40$")


def test_empty(place: Path) -> None:
    refuse(place, b"", r"is empty; expected an IDX file$")


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        (b"\x01\x00\x08\x03", "01 00 08 03"),
        (b"\x00\x01\x08\x03", "00 01 08 03"),
        (b"\x00\x00\x0d\x03", "00 00 0d 03"),  # floats
        (b"\x00\x00\x09\x03", "00 00 09 03"),  # signed bytes
        (b"\x00\x00\x08\x00", "00 00 08 00"),
        (b"\x00\x00\x08\xff", "00 00 08 ff"),
        (b"\x08\x03\x00\x00", "08 03 00 00"),  # the lowest byte first
        (b"\x89PNG", "89 50 4e 47"),
        (b"PK\x03\x04", "50 4b 03 04"),  # still in its zip
        (b"<!DO", "3c 21 44 4f"),  # the page of a mirror that has moved
    ],
)
def test_other_beginnings(place: Path, magic: bytes, told: str) -> None:
    expected = (
        r"expected an IDX file of unsigned bytes, which begins with 00 00 08 and the number of dimensions"
    )
    refuse(place, magic + WHOLE[4:], rf"begins with the bytes {told}; {expected}")


@pytest.mark.parametrize("length", range(1, 40))
def test_truncated_at_every_byte(place: Path, length: int) -> None:
    if length < 4:
        message = r"begins with the bytes 00( 00){0,1}( 08)?; expected an IDX file"
    elif length < 16:
        message = (
            rf"ends within its header, after {length} bytes; expected 16 for 3 dimensions: it is truncated$"
        )
    else:
        message = (
            rf"has {length - 16} bytes after its header; expected 24 for the sizes 2x3x4: it is truncated$"
        )
    refuse(place, WHOLE[:length], message)


@pytest.mark.parametrize("more", [b"\x00", b"\x07" * 5000])
def test_too_long(place: Path, more: bytes) -> None:
    message = r"has more than 24 bytes after its header; expected 24 for the sizes 2x3x4: it is too long$"
    refuse(place, WHOLE + more, message)


def test_a_header_that_promises_what_no_memory_holds(place: Path) -> None:
    most = 2**32 - 1
    refuse(
        place, idx.header([most] * 3) + bytes(10), rf"has 10 bytes after its header; expected {most**3} for"
    )


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0), (0, 2**32 - 1, 2**32 - 1)])
def test_sizes_of_zero(place: Path, shape: tuple[int, ...]) -> None:
    told = "x".join(map(str, shape))
    refuse(place, idx.header(shape), rf"has the sizes {told} in its header; expected each to be at least 1$")


# --- damaged gzip ---------------------------------------------------------------------------


def damaged(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(place))} is damaged: gzip says .*; expected an IDX"
    ):
        idx.read(place)


def test_damaged_gzip(place: Path) -> None:
    packed = gzip.compress(WHOLE)
    for length in range(2, len(packed)):  # its end, too: the checksum and the length
        damaged(place, packed[:length])
    damaged(place, packed[:-8] + bytes(4) + packed[-4:])
    damaged(place, packed + b"more")
    damaged(place, packed[:2] + b"\x00" + packed[3:])  # no method that there is


def test_any_bit_of_gzip(place: Path) -> None:
    """Either it is told, or it did not matter (as the date in the header)."""
    packed, told = gzip.compress(WHOLE), 0
    for bit in range(8 * len(packed)):
        content = bytearray(packed)
        content[bit // 8] ^= 1 << bit % 8
        place.write_bytes(content)
        try:
            np.testing.assert_array_equal(idx.read(place), PICTURES)
        except ValueError as error:
            assert str(error).startswith(str(place))
            told += 1
    assert told >= 8 * (len(packed) - 10)  # all but the header of gzip


@law(100)
@given(
    start=st.sampled_from(
        [b"", b"\x00\x00\x08", b"\x00\x00\x08\x01\x00\x00\x00", b"\x1f\x8b", b"\x1f\x8b\x08"]
    ),
    rest=st.binary(max_size=40),
)
def test_any_bytes(place: Path, start: bytes, rest: bytes) -> None:
    """An array that has the size of the file, or an error that names it."""
    content = start + rest
    place.write_bytes(content)
    try:
        entries = idx.read(place)
    except ValueError as error:
        assert str(error).startswith(str(place))
    else:
        assert idx.header(entries.shape) + entries.tobytes() == content
        assert math.prod(struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])) == entries.size


# --- no file --------------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path / "no" / "folder", tmp_path / "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        with pytest.raises(
            FileNotFoundError, match=rf"^there is no file {re.escape(str(place))}; check its name"
        ):
            idx.read(place)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path))} is a folder; expected an IDX file"):
        idx.read(tmp_path)


def test_no_regular_file() -> None:
    """Not read: a pipe would wait for ever."""
    with pytest.raises(ValueError, match=r"^/dev/null is no regular file; expected an IDX file"):
        idx.read("/dev/null")
