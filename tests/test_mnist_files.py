"""MNIST from its files: the true ones where they are, small ones of the same make, and all that can be wrong.

The downloads come from a server on this computer, never from the internet.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lecture_lib import datasets, idx, mnist_files

COUNTS = {"train": 9, "test": 6}
TRAIN_IMAGES, TRAIN_LABELS = (file.name for file in mnist_files.ORIGINALS["train"])
TEST_IMAGES, TEST_LABELS = (file.name for file in mnist_files.ORIGINALS["test"])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_of(entries: np.ndarray) -> bytes:
    return idx.header(entries.shape) + entries.tobytes()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files that are taken for the originals, by name, unpacked."""
    rng = np.random.default_rng(0)
    contents, originals = {}, {}
    for split, pair in mnist_files.ORIGINALS.items():
        n = COUNTS[split]
        arrays = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        files = []
        for file, entries in zip(pair, arrays, strict=True):
            content = contents[file.name] = file_of(entries)
            packed = sha256(gzip.compress(content, mtime=0))
            files.append(file._replace(shape=entries.shape, sha256=sha256(content), packed_sha256=packed))
        originals[split] = (files[0], files[1])
    monkeypatch.setattr(mnist_files, "ORIGINALS", originals)
    return contents


@pytest.fixture
def small_folder(small: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for name, content in small.items():
        (folder / (name + ".gz")).write_bytes(gzip.compress(content, mtime=0))
    return folder


@pytest.fixture(params=["small", "true"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the test split, packed, to be damaged."""
    if request.param == "small":
        return request.getfixturevalue("small_folder")
    copy = tmp_path / "true"
    copy.mkdir()
    for file in mnist_files.ORIGINALS["test"]:
        content = unpacked(mnist_files._find(request.getfixturevalue("mnist_folder"), file))
        (copy / (file.name + ".gz")).write_bytes(gzip.compress(content, 1))
    return copy


def unpacked(place: Path) -> bytes:
    content = place.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


# --- the true files -------------------------------------------------------------------------


def test_true_test_split(mnist_folder: Path) -> None:
    """Against NumPy on the bytes after the header, and what is known of the data."""
    images, labels = datasets.mnist(mnist_folder, "test")
    assert images.shape == (10_000, 28, 28) and images.dtype == np.float32
    assert labels.shape == (10_000,) and labels.dtype == np.int32
    raw_images, raw_labels = (
        np.frombuffer(unpacked(mnist_files._find(mnist_folder, file)), np.uint8, offset=skip)
        for file, skip in zip(mnist_files.ORIGINALS["test"], (16, 8), strict=True)
    )
    np.testing.assert_array_equal(labels, raw_labels)
    # the float32 next to k / 255
    np.testing.assert_array_equal(images.ravel(), (raw_images / 255).astype(np.float32))
    assert images.min() == 0 and images.max() == 1
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.mean(dtype=np.float64) == pytest.approx(0.1325, abs=5e-5)


def test_true_train_labels(mnist_folder: Path) -> None:
    """Also where the train images are missing."""
    file = mnist_files.ORIGINALS["train"][1]
    if not mnist_files._find(mnist_folder, file).is_file():
        pytest.skip("no train labels")
    labels = mnist_files._checked(mnist_folder, file)
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_true_train_split(mnist_folder: Path) -> None:
    if "train" not in datasets.mnist_splits(mnist_folder):
        pytest.skip("no train images")
    images, labels = datasets.mnist(mnist_folder, "train")
    assert images.shape == (60_000, 28, 28) and labels.shape == (60_000,)
    assert images.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)


def test_sums_of_the_packed_files(mnist_folder: Path) -> None:
    """Of those here that are as the mirrors have them: what fetch will ask for."""
    seen = 0
    for file in (file for pair in mnist_files.ORIGINALS.values() for file in pair):
        place = mnist_folder / (file.name + ".gz")
        if place.is_file():
            assert sha256(place.read_bytes()) == file.packed_sha256
            assert sha256(unpacked(place)) == file.sha256
            seen += 1
    if not seen:
        pytest.skip("no packed files")


# --- small files ----------------------------------------------------------------------------


@pytest.mark.parametrize("split", COUNTS)
def test_small_files(small_folder: Path, small: dict[str, bytes], split: Any) -> None:
    images, labels = datasets.mnist(small_folder, split)
    raw = [small[file.name] for file in mnist_files.ORIGINALS[split]]
    np.testing.assert_array_equal(np.round(images * 255).astype(np.uint8).tobytes(), raw[0][16:])
    assert labels.tolist() == list(raw[1][8:])
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    for array in (images, labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert datasets.mnist(str(small_folder), split).labels.tolist() == labels.tolist()


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_spellings_of_the_names(tmp_path: Path, small: dict[str, bytes], end: str, dotted: bool) -> None:
    for name, content in small.items():
        spelled = name.replace("-idx", ".idx") if dotted else name
        (tmp_path / (spelled + end)).write_bytes(gzip.compress(content) if end else content)
    assert datasets.mnist_splits(tmp_path) == ("train", "test")
    assert len(datasets.mnist(tmp_path, "train").labels) == COUNTS["train"]
    if dotted:
        assert (tmp_path / f"t10k-images.idx3-ubyte{end}").is_file()


def test_a_folder_of_the_same_name_is_passed_over_for_a_file(small_folder: Path) -> None:
    """As unpacked from an archive that has both."""
    (small_folder / TEST_IMAGES).mkdir()
    (small_folder / (TEST_IMAGES + ".gz")).rename(small_folder / "t10k-images.idx3-ubyte.gz")
    assert len(datasets.mnist(small_folder, "test").images) == COUNTS["test"]


def test_splits(small_folder: Path) -> None:
    assert (
        datasets.mnist_splits(small_folder) == datasets.mnist_splits(str(small_folder)) == ("train", "test")
    )
    (small_folder / (TRAIN_IMAGES + ".gz")).unlink()
    assert datasets.mnist_splits(small_folder) == ("test",)
    (small_folder / (TEST_LABELS + ".gz")).unlink()
    (small_folder / TEST_LABELS).mkdir()
    assert datasets.mnist_splits(small_folder) == ()


def test_splits_of_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for none in (tmp_path, tmp_path / "nothing", tmp_path / "file", "no\0name"):
        assert datasets.mnist_splits(none) == ()


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^split is 'all'; expected 'train' or 'test'$"):
        datasets.mnist(tmp_path, "all")  # type: ignore[arg-type]


# --- what can be wrong ----------------------------------------------------------------------


def refuse(folder: Path, name: str, message: str, split: Any = "test") -> None:
    """The message begins with the file that is wrong."""
    with pytest.raises(ValueError, match=rf"^{re.escape(str(folder / name))} {message}"):
        datasets.mnist(folder, split)


def change(place: Path, edit: Callable[[bytearray], object]) -> None:
    content = bytearray(place.read_bytes())
    edit(content)
    place.write_bytes(content)


def unpack(folder: Path, name: str) -> Path:
    packed = folder / (name + ".gz")
    (folder / name).write_bytes(unpacked(packed))
    packed.unlink()
    return folder / name


def flip(content: bytearray, at: int) -> None:
    content[at] ^= 1


@pytest.mark.parametrize("name", [TEST_IMAGES, TEST_LABELS])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / (name + ".gz")).unlink()
    message = rf"^there is no {name} in {re.escape(str(folder))}; expected .*datasets.fetch_mnist"
    with pytest.raises(FileNotFoundError, match=message):
        datasets.mnist(folder, "test")


def test_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "nothing", tmp_path / "file"):
        message = rf"^there is no {TEST_IMAGES} in {re.escape(str(place))}, which is no folder; expected"
        with pytest.raises(FileNotFoundError, match=message):
            datasets.mnist(place, "test")


def test_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / (TEST_LABELS + ".gz")).unlink()
    (folder / TEST_LABELS).mkdir()
    refuse(folder, TEST_LABELS, r"is a folder; expected an IDX file")


@pytest.mark.parametrize("name", [TEST_IMAGES, TEST_LABELS])
def test_truncated(folder: Path, name: str) -> None:
    packed = folder / (name + ".gz")
    whole = packed.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1):
        packed.write_bytes(whole[:length])
        refuse(folder, packed.name, r"is damaged: gzip says")
    packed.write_bytes(whole)
    change(unpack(folder, name), bytearray.pop)
    refuse(folder, name, r"has \d+ bytes after its header; expected \d+ for the sizes .*: it is truncated$")


@pytest.mark.parametrize("name", [TEST_IMAGES, TEST_LABELS])
def test_too_long(folder: Path, name: str) -> None:
    change(unpack(folder, name), lambda content: content.append(0))
    refuse(folder, name, r"has more than \d+ bytes after its header; .* it is too long$")


@pytest.mark.parametrize("name", [TEST_IMAGES, TEST_LABELS])
def test_flipped_bit(folder: Path, name: str) -> None:
    packed = folder / (name + ".gz")
    whole = packed.read_bytes()
    for at in (len(whole) // 2, len(whole) - 5):  # among the data; in the checksum
        change(packed, lambda content, at=at: flip(content, at))  # type: ignore[misc]
        refuse(folder, packed.name, r"is damaged: gzip says")
        packed.write_bytes(whole)
    place = unpack(folder, name)
    if name == TEST_IMAGES:
        change(place, lambda content: flip(content, len(content) // 2))
    else:
        change(place, lambda content: content.__setitem__(-1, (content[-1] + 1) % 10))
    refuse(
        folder, name, r"does not hold the original MNIST digits: .* It is damaged, or from another data set"
    )


def test_images_and_labels_in_each_others_place(folder: Path) -> None:
    images, labels = folder / (TEST_IMAGES + ".gz"), folder / (TEST_LABELS + ".gz")
    n = mnist_files.ORIGINALS["test"][1].shape[0]
    content = images.read_bytes()
    shutil.copy(labels, images)
    wrong = r"is the wrong kind of file: it has"
    refuse(
        folder, images.name, rf"{wrong} labels of shape \({n},\); expected images of shape \({n}, 28, 28\)$"
    )
    labels.write_bytes(content)
    images.write_bytes(content)
    refuse(
        folder, labels.name, rf"{wrong} images of shape \({n}, 28, 28\); expected labels of shape \({n},\)$"
    )


def test_entries_of_other_dimensions(folder: Path) -> None:
    (folder / (TEST_IMAGES + ".gz")).write_bytes(file_of(np.zeros((2, 3), np.uint8)))
    refuse(folder, TEST_IMAGES + ".gz", r"is the wrong kind of file: it has entries of shape \(2, 3\)")


@pytest.mark.parametrize("change_of_shape", [(1, 0, 0), (-1, 0, 0), (0, 4, 4), (0, -1, 0)])
def test_images_of_another_shape(folder: Path, change_of_shape: tuple[int, ...]) -> None:
    wanted = mnist_files.ORIGINALS["test"][0].shape
    shape = tuple(int(n) for n in np.add(wanted, change_of_shape))
    (folder / (TEST_IMAGES + ".gz")).write_bytes(file_of(np.zeros(shape, np.uint8)))
    told = rf"has shape {re.escape(str(shape))}; expected {re.escape(str(wanted))}$"
    refuse(folder, TEST_IMAGES + ".gz", told)


def test_labels_of_the_other_split(small_folder: Path) -> None:
    shutil.copy(small_folder / (TRAIN_LABELS + ".gz"), small_folder / (TEST_LABELS + ".gz"))
    refuse(small_folder, TEST_LABELS + ".gz", r"has shape \(9,\); expected \(6,\)$")


def test_labels_out_of_range(folder: Path) -> None:
    """As those of the letters in EMNIST."""
    place = unpack(folder, TEST_LABELS)
    change(place, lambda content: content.__setitem__(-1, 26))
    refuse(folder, TEST_LABELS, r"has the label 26; expected labels from 0 to 9$")


def test_other_data_of_the_same_shape(folder: Path) -> None:
    """As Fashion-MNIST has it."""
    shape = mnist_files.ORIGINALS["test"][0].shape
    clothes = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    (folder / (TEST_IMAGES + ".gz")).write_bytes(gzip.compress(file_of(clothes), 1))
    found, wanted = sha256(file_of(clothes)), mnist_files.ORIGINALS["test"][0].sha256
    message = (
        rf"does not hold the original MNIST digits: the SHA-256 of its unpacked bytes is {found}; expected "
        rf"{wanted}\. It is damaged, or from another data set of the same shape, such as Fashion-MNIST"
    )
    refuse(folder, TEST_IMAGES + ".gz", message)


# --- fetching -------------------------------------------------------------------------------

Answer = tuple[int, bytes] | str
"""A status and a body; "hang up" in the middle of the body; or "wait", longer than anybody has patience."""


@contextmanager
def server(answers: dict[str, Answer]) -> Iterator[tuple[str, list[str]]]:
    """A mirror on this computer: its address, and the list of the names that it is asked for."""
    asked: list[str] = []
    leave = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/mnist/")
            asked.append(name)
            answer = answers.get(name, (404, b"not here"))
            if answer == "wait":
                leave.wait(20)
                return
            status, body = (200, b"cut off") if isinstance(answer, str) else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + (answer == "hang up")))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}/mnist/", asked
    finally:
        leave.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the mirrors; until then there is one at which nobody listens."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # taken, but not listened at: every connection is refused
        nobody = f"http://127.0.0.1:{deaf.getsockname()[1]}/mnist/"

        def use(*addresses: str | None) -> None:
            monkeypatch.setattr(mnist_files, "MIRRORS", tuple(a or nobody for a in addresses))

        use(None)
        yield use


@pytest.fixture
def packed(small: dict[str, bytes]) -> dict[str, Answer]:
    return {name + ".gz": (200, gzip.compress(content, mtime=0)) for name, content in small.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {place.name: place.read_bytes() for place in folder.iterdir()}


def test_mirrors_are_encrypted() -> None:
    text = Path(mnist_files.__file__).read_text(encoding="utf-8")
    assert "http://" not in text and text.count("https://") == 2


def test_fetches_everything(
    tmp_path: Path,
    packed: dict[str, Any],
    mirrors: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data" / "mnist"
    with server(packed) as (address, asked):
        mirrors(address)
        datasets.fetch_mnist(folder)
        assert asked == list(packed)
        out, err = capfd.readouterr()
        assert out.splitlines() == [f"{name}: fetched" for name in packed]
        assert err == ""  # pooch has much to say
        assert contents(folder) == {name: body for name, (_, body) in packed.items()}
        assert all(place.stat().st_mode & 0o444 == 0o444 for place in folder.iterdir())
        assert datasets.mnist_splits(folder) == ("train", "test")
        assert len(datasets.mnist(folder, "train").labels) == COUNTS["train"]
        datasets.fetch_mnist(folder)
        assert len(asked) == 4
        assert capfd.readouterr().out.splitlines() == [f"{name}: already there" for name in packed]


def test_fetches_the_splits_that_are_asked_for(
    tmp_path: Path, packed: dict[str, Any], mirrors: Callable[..., None]
) -> None:
    with server(packed) as (address, asked):
        mirrors(address)
        datasets.fetch_mnist(tmp_path, ["test"])
        assert asked == [TEST_IMAGES + ".gz", TEST_LABELS + ".gz"]
        datasets.fetch_mnist(tmp_path, [])
        assert len(asked) == 2
    assert datasets.mnist_splits(tmp_path) == ("test",)


def test_fetches_only_what_is_missing_or_damaged(
    small_folder: Path,
    small: dict[str, bytes],
    packed: dict[str, Any],
    mirrors: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A good file is good as it is, plain or packed by somebody else; a damaged plain one is superseded."""
    unpack(small_folder, TRAIN_IMAGES)
    (small_folder / (TRAIN_LABELS + ".gz")).write_bytes(gzip.compress(small[TRAIN_LABELS], mtime=7))
    change(unpack(small_folder, TEST_IMAGES), lambda content: flip(content, 100))
    change(small_folder / (TEST_LABELS + ".gz"), lambda content: flip(content, -5))
    with server(packed) as (address, asked):
        mirrors(address)
        datasets.fetch_mnist(small_folder)
    assert asked == [TEST_IMAGES + ".gz", TEST_LABELS + ".gz"]
    assert capfd.readouterr().out.splitlines() == [
        f"{TRAIN_IMAGES}: already there",
        f"{TRAIN_LABELS}.gz: already there",
        f"{TEST_IMAGES}.gz: fetched",
        f"{TEST_LABELS}.gz: fetched",
    ]
    for split in ("train", "test"):
        datasets.mnist(small_folder, split)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["nobody", "missing", "broken", "wrong", "hang up", "wait"])
def test_second_mirror(
    tmp_path: Path,
    packed: dict[str, Any],
    mirrors: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    monkeypatch.setattr(mnist_files, "_TIMEOUT", 0.2 if first == "wait" else 20)
    wrong = {"missing": (404, b""), "broken": (500, b"sorry"), "wrong": (200, b"please log in")}
    answers: dict[str, Answer] = {name: wrong.get(first, first) for name in packed}
    with server(answers) as (bad, asked), server(packed) as (good, _):
        mirrors(None if first == "nobody" else bad, good)
        datasets.fetch_mnist(tmp_path)
    assert asked == ([] if first == "nobody" else list(packed))
    assert contents(tmp_path) == {name: body for name, (_, body) in packed.items()}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, b""), "HTTP status 404"),
        ((503, b"later"), "HTTP status 503"),
        ((200, b""), "wrong bytes"),
        ((200, b"<html>please log in</html>"), "wrong bytes"),
        ("hang up", "ChunkedEncodingError"),
        ("wait", "ReadTimeout"),
        (None, "ConnectionError"),
    ],
)
def test_no_mirror_has_it(
    small_folder: Path,
    mirrors: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    answer: Answer | None,
    reason: str,
) -> None:
    """One sentence; and what was there is left as it was, with nothing beside it."""
    monkeypatch.setattr(mnist_files, "_TIMEOUT", 0.2 if answer == "wait" else 20)
    name = TEST_IMAGES + ".gz"
    change(small_folder / name, lambda content: flip(content, -5))
    before = contents(small_folder)
    with server({} if answer is None else {name: answer}) as (address, _):
        mirrors(None if answer is None else address, None)
        with pytest.raises(ConnectionError) as caught:
            datasets.fetch_mnist(small_folder, ("test",))
    address, nobody = (re.escape(mirror) for mirror in mnist_files.MIRRORS)
    assert re.fullmatch(
        rf"{name} could not be fetched from {address} \({reason}\) nor from {nobody} \(ConnectionError\); "
        "everything else in the collection works without it",
        str(caught.value),
    )
    assert caught.value.__context__ is None  # no screens full of the libraries below
    assert contents(small_folder) == before
    assert capfd.readouterr() == ("", "")


def test_no_network_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirrors: Callable[..., None]
) -> None:
    """As without a cable: no name can be looked up."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    mirrors("https://mirror.invalid/mnist/")
    message = (
        rf"^{TRAIN_IMAGES}\.gz could not be fetched from https://mirror.invalid/mnist/ \(ConnectionError\); "
    )
    with pytest.raises(OSError, match=message):
        datasets.fetch_mnist(tmp_path)
    assert contents(tmp_path) == {}


def test_goes_on_where_it_failed(
    tmp_path: Path, packed: dict[str, Any], mirrors: Callable[..., None]
) -> None:
    name = TEST_IMAGES + ".gz"
    with server({**packed, name: (404, b"")}) as (address, asked):
        mirrors(address)
        with pytest.raises(ConnectionError, match=rf"^{name} could not"):
            datasets.fetch_mnist(tmp_path)
        assert datasets.mnist_splits(tmp_path) == ("train",)
    with server(packed) as (address, asked):
        mirrors(address)
        datasets.fetch_mnist(tmp_path)
    assert asked == [name, TEST_LABELS + ".gz"]


def test_interrupt_leaves_nothing_behind(
    tmp_path: Path, packed: dict[str, Any], mirrors: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "level", logging.INFO)

    def stop(*args: Any, **kwargs: Any) -> None:
        assert list(tmp_path.iterdir())  # the temporary file
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        datasets.fetch_mnist(tmp_path)
    assert contents(tmp_path) == {}
    assert pooch.get_logger().level == logging.INFO


@pytest.mark.parametrize("splits", ["train", "test", ("all",), ["train", "valid"]])
def test_fetch_refuses_splits(tmp_path: Path, splits: Any) -> None:
    message = rf"^splits is {re.escape(repr(splits))}; expected a tuple of 'train', 'test' or both$"
    with pytest.raises(ValueError, match=message):
        datasets.fetch_mnist(tmp_path / "new", splits)
    assert not (tmp_path / "new").exists()


def test_fetch_into_what_is_no_folder(tmp_path: Path, small: dict[str, bytes]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        datasets.fetch_mnist(tmp_path / "file")
    (tmp_path / (TEST_IMAGES + ".gz")).mkdir()
    with pytest.raises(
        IsADirectoryError, match=rf"{TEST_IMAGES}\.gz is a folder; expected a file or nothing"
    ):
        datasets.fetch_mnist(tmp_path, ("test",))


def test_a_tilde_is_a_name_like_any_other(
    tmp_path: Path, packed: dict[str, Any], mirrors: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file comes to where it is looked for."""
    monkeypatch.chdir(tmp_path)
    with server(packed) as (address, _):
        mirrors(address)
        datasets.fetch_mnist("~", ("test",))
    assert datasets.mnist_splits("~") == ("test",)
    assert (tmp_path / "~").is_dir()
