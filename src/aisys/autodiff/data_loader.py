"""A program to watch: PyTorch's data loader reads digits from many small files, and from one.

`python -m aisys.autodiff.data_loader` runs it. It asks for paths that do not exist, such as
"/mark/begin/one file", so that a trace of its system calls shows where each part begins and ends.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

IMAGES = 256
BATCH = 32
LAYOUTS = ("a file for each image", "one file")


class Files(Dataset):
    """Images that each have a file of their own."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.load(self.files[index]))


class OneFile(Dataset):
    """Images that follow each other in one file, which is mapped into memory."""

    def __init__(self, file: Path) -> None:
        self.images = np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.images[index]))


def load(layout: str, images: Dataset) -> None:
    """Go through all images once, in one worker process, between two marks."""
    os.access(f"/mark/begin/{layout}", os.F_OK)
    count = sum(len(batch) for batch in DataLoader(images, batch_size=BATCH, num_workers=1))
    os.access(f"/mark/end/{layout}", os.F_OK)
    assert count == IMAGES


if __name__ == "__main__":
    digits = np.random.default_rng(0).random((IMAGES, 1, 28, 28), np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, image in enumerate(digits):
            np.save(folder / f"{number:05}.npy", image)
        files = Files(folder)
        np.save(folder / "all.npy", digits)
        load(LAYOUTS[0], files)
        load(LAYOUTS[1], OneFile(folder / "all.npy"))
