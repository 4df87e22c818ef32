"""The four files of the original MNIST: which are there, whether they are the originals, and how to get them.

Nothing but `fetch` uses the network, and nothing in this package calls it.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from lecture_lib import idx

Split = Literal["train", "test"]

MIRRORS: tuple[str, ...] = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
"""Where `fetch` looks for the packed files, the first one first."""

_CLASSES = 10
_TIMEOUT = 30.0  # seconds without a byte


class Original(NamedTuple):
    """One of the four files."""

    name: str
    """Its name, without the .gz of the packed one."""
    shape: tuple[int, ...]
    sha256: str
    """Of the unpacked file: whoever packed it, the content is the same."""
    packed_sha256: str
    """Of the .gz that the mirrors have."""


class Pixels(NamedTuple):
    """Pictures and their classes as the files have them, as read-only NumPy arrays."""

    images: UInt8[np.ndarray, "n height width"]
    """Brightness from 0 to 255."""
    labels: UInt8[np.ndarray, " n"]


ORIGINALS: Mapping[Split, tuple[Original, Original]] = MappingProxyType(
    {
        "train": (
            Original(
                "train-images-idx3-ubyte",
                (60_000, 28, 28),
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            Original(
                "train-labels-idx1-ubyte",
                (60_000,),
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
        ),
        "test": (
            Original(
                "t10k-images-idx3-ubyte",
                (10_000, 28, 28),
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            Original(
                "t10k-labels-idx1-ubyte",
                (10_000,),
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    }
)
"""The images and the labels of both splits."""


def complete(folder: str | os.PathLike[str]) -> tuple[Split, ...]:
    """The splits of which both files are in `folder`; their contents are not looked at."""
    return tuple(
        split for split in ORIGINALS if all(os.path.isfile(_find(folder, file)) for file in ORIGINALS[split])
    )


def load(folder: str | os.PathLike[str], split: Split) -> Pixels:
    """Both files of a split, after all checks of `datasets.mnist`."""
    if split not in ORIGINALS:
        raise ValueError(f"split is {split!r}; expected 'train' or 'test'")
    images, labels = (_checked(folder, file) for file in ORIGINALS[split])
    return Pixels(images, labels)


def fetch(folder: str | os.PathLike[str], splits: Iterable[Split]) -> None:
    """Fetch what is missing or damaged; see `datasets.fetch_mnist`."""
    wanted = {splits} if isinstance(splits, str) else set(splits)
    if isinstance(splits, str) or not wanted <= set(ORIGINALS):
        raise ValueError(f"splits is {splits!r}; expected a tuple of 'train', 'test' or both")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (file for split in ORIGINALS if split in wanted for file in ORIGINALS[split]):
        if _is_sound(folder, file):
            print(f"{_find(folder, file).name}: already there")
        else:
            _fetch(folder, file)
            print(f"{file.name}.gz: fetched")


def _find(folder: str | os.PathLike[str], file: Original) -> Path:
    """Where a file is, or where `fetch` will put it.

    That place comes first, so that a fetched file goes before a damaged one of another name. A folder
    named like the file counts only where there is nothing better, to be complained about.
    """
    dotted = file.name.replace("-idx", ".idx")  # as some archives have it
    places = [Path(folder, name + end) for name in (file.name, dotted) for end in (".gz", "")]
    return next(
        (place for there in (os.path.isfile, os.path.exists) for place in places if there(place)), places[0]
    )


def _checked(folder: str | os.PathLike[str], file: Original) -> UInt8[np.ndarray, "..."]:
    place = _find(folder, file)
    if not place.exists():
        where = f"{folder}" if os.path.isdir(folder) else f"{folder}, which is no folder"
        raise FileNotFoundError(
            f"there is no {file.name} in {where}; expected that file of MNIST there, plain or with .gz: "
            "copy it, or get it by datasets.fetch_mnist"
        )
    entries = idx.read(place)
    if entries.ndim != len(file.shape):
        kinds = {1: "labels", 3: "images"}
        raise ValueError(
            f"{place} is the wrong kind of file: it has {kinds.get(entries.ndim, 'entries')} of shape "
            f"{entries.shape}; expected {kinds[len(file.shape)]} of shape {file.shape}"
        )
    if entries.shape != file.shape:
        raise ValueError(f"{place} has shape {entries.shape}; expected {file.shape}")
    if entries.ndim == 1 and entries.max() >= _CLASSES:
        raise ValueError(f"{place} has the label {entries.max()}; expected labels from 0 to {_CLASSES - 1}")
    digest = hashlib.sha256(idx.header(entries.shape))
    digest.update(entries.data)
    if digest.hexdigest() != file.sha256:
        raise ValueError(
            f"{place} does not hold the original MNIST digits: the SHA-256 of its unpacked bytes is "
            f"{digest.hexdigest()}; expected {file.sha256}. It is damaged, or from another data set of "
            "the same shape, such as Fashion-MNIST: copy the original, or get it by datasets.fetch_mnist"
        )
    return entries


def _is_sound(folder: Path, file: Original) -> bool:
    try:
        _checked(folder, file)
    except (OSError, ValueError):
        return False
    return True


def _fetch(folder: Path, file: Original) -> None:
    """Put one file into the folder, whole and right, or raise OSError and leave what was there."""
    import pooch
    from requests import RequestException  # what pooch's downloader raises

    name = file.name + ".gz"
    if (folder / name).is_dir():
        raise IsADirectoryError(f"{folder / name} is a folder; expected a file or nothing: move it away")
    failures = []
    for mirror in MIRRORS:
        try:
            with _quiet(pooch.get_logger()):
                pooch.retrieve(
                    mirror + name,
                    known_hash="sha256:" + file.packed_sha256,
                    fname=name,
                    path=folder.resolve(),  # pooch would take ~ for the home folder
                    downloader=pooch.HTTPDownloader(timeout=_TIMEOUT, chunk_size=2**16),
                )
        except (RequestException, ValueError) as error:  # ValueError: pooch's word for a wrong checksum
            failures.append(f"from {mirror} ({_reason(error)})")
            continue
        except OSError as error:  # a write that fails does not say to which file
            raise OSError(error.errno, error.strerror or str(error), str(folder / name)) from error
        (folder / name).chmod(0o644)  # it was a temporary file, which only its owner may read
        return
    raise ConnectionError(
        f"{name} could not be fetched {' nor '.join(failures)}; everything else in the collection "
        "works without it"
    )


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"HTTP status {status}"
    return "wrong bytes" if type(error) is ValueError else type(error).__name__


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
