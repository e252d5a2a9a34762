"""Every kernel of the lab on a real GPU: right or not, its time, its bandwidth, beside PyTorch's.

`python -m aisys.cuda.gpu_check FOLDER` writes `FOLDER/report.md`. Without a GPU it says what is
missing and ends with status 0. What a GPU can do at most is measured in the same run: a copy, and a
product of float32 matrices by cuBLAS. The kernels of 3.6 come twice where nvcc is there: compiled
by NVRTC as all others, and as an extension of PyTorch.
"""

import functools
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import TextSlot
from aisys.course.errors import CourseError

from . import array_module, debugging, extension, matmul, operator, reduction, threads, transpose
from .devices import launch
from .emulator import Launch
from .gpu import why_no_gpu

ROUNDS, WARM_UP = 20, 3


@dataclass(frozen=True)
class Work:
    """One kernel with its arguments, and what PyTorch makes of the same.

    Attributes:
        name: Of the kernel.
        run: Launches it.
        result: What the kernel wrote, after `run`.
        theirs: PyTorch's call for the same result.
        bytes: That have to be moved to and from memory, in theory.
        flops: Floating-point operations.
        tolerance: Largest difference of a right result, relative to the largest element.
    """

    name: str
    run: Callable[[], Launch]
    result: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    bytes: int
    flops: int
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Measured:
    """What was measured of one kernel; times in seconds, medians."""

    work: Work
    error: float
    seconds: float
    theirs: float

    @property
    def is_right(self) -> bool:
        """Whether the result is PyTorch's, within the tolerance."""
        return self.error <= self.work.tolerance


def works(device: str, size: int) -> Iterator[Work]:
    """All kernels of the lab.

    Args:
        device: PyTorch's name, `"cuda"` or `"cpu"`; on the latter kernels run on the emulator.
        size: Side of the matrices, a multiple of 64; vectors have its square as length.
    """
    where = "gpu" if device == "cuda" else "emulator"
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    def work(
        slot: TextSlot, grid: Any, block: Any, out: Tensor, arguments: Sequence[Any],
        theirs: Callable[[], Tensor], numbers: int, flops: int, shared_bytes: int = 0,
        kernel: str | None = None, result: Callable[[], Tensor] | None = None,
        before: Callable[[], Any] = lambda: None, tolerance: float = 1e-5,
    ) -> Work:  # fmt: skip
        def run() -> Launch:
            before()
            return launch(
                slot, grid, block, *arguments, shared_bytes=shared_bytes, device=where,
                kernel=kernel,
            )  # fmt: skip

        name = kernel or slot.name
        return Work(name, run, result or (lambda: out), theirs, 4 * numbers, flops, tolerance)

    n = size * size
    x, y, out = random(n), random(n), torch.empty(n, device=device)
    grid = -(-n // 256)
    yield work(threads.vector_add, grid, 256, out, (x, y, out, n), lambda: x + y, 3 * n, n)
    yield work(
        threads.saxpy, min(grid, 1024), 256, out, (2.5, x, out, n), lambda: 2.5 * x + y, 3 * n,
        2 * n, before=lambda: out.copy_(y),
    )  # fmt: skip
    image, grey = random(3, size, size), torch.empty(size, size, device=device)
    weights = torch.tensor([0.299, 0.587, 0.114], device=device)
    yield work(
        threads.greyscale, (-(-size // 32), -(-size // 8)), (32, 8), grey,
        (image, grey, size, size), lambda: torch.tensordot(weights, image, 1), 4 * n, 5 * n,
    )  # fmt: skip
    yield work(
        array_module.gelu_fused, min(grid, 1024), 256, out, (x, out, n),
        lambda: F.gelu(x, approximate="tanh"), 2 * n, 9 * n,
    )  # fmt: skip
    matrix = x.reshape(size, size)
    turned = torch.empty(size, size, device=device)
    for slot in (
        transpose.transpose_naive, transpose.transpose_tiled, transpose.transpose_padded
    ):  # fmt: skip
        yield work(
            slot, transpose.grid_of(slot.name, size, size), transpose.BLOCKS[slot.name], turned,
            (matrix, turned, size, size), lambda: matrix.T.contiguous(), 2 * n, 0,
        )  # fmt: skip
    blocks, root = min(grid, 1024), math.sqrt(n)
    partial, total = torch.empty(blocks, device=device), torch.empty(1, device=device)
    for slot, kernel, sums in (
        (reduction.sum_tree, "sum_tree", partial),
        (reduction.sum_shuffle, "sum_shuffle", partial),
        (reduction.sum_shuffle, "sum_atomic", total),
    ):
        # A sum of n numbers of size 1 is of the size of n's root, and may lie near 0.
        yield work(
            slot, blocks, 256, sums, (x, sums, n), lambda: 1 + x.sum().reshape(1) / root, n, n,
            shared_bytes=1024 if slot is reduction.sum_tree else 0, kernel=kernel,
            result=functools.partial(_share, sums, root), before=total.zero_, tolerance=1e-3,
        )  # fmt: skip
    a, b, c = random(size, size), random(size, size), torch.empty(size, size, device=device)
    tile = matmul.Tile()
    shapes = {
        matmul.matmul_naive: (matmul.NAIVE_BLOCK, matmul.NAIVE_BLOCK, None),
        matmul.matmul_tiled: ((matmul.TILE, matmul.TILE), (matmul.TILE, matmul.TILE), None),
        matmul.matmul_registers: (tile.block, (tile.columns, tile.rows), tile.kernel),
    }
    for slot, (block, covered, name) in shapes.items():
        yield work(
            slot, (-(-size // covered[0]), -(-size // covered[1])), block, c,
            (a, b, c, size, size, size), lambda: a @ b, 3 * n, 2 * size**3, kernel=name,
        )  # fmt: skip
    yield from _operator(random, size, "nvrtc")
    if device == "cuda" and not extension.why_not():
        yield from _operator(random, size, "nvcc")
    yield from _repaired(where, size)


def _share(sums: Tensor, root: float) -> Tensor:
    return 1 + sums.sum().reshape(1) / root


def _operator(random: Callable[..., Tensor], size: int, compiler: str) -> Iterator[Work]:
    """The kernels of 3.6, through the functions that launch them."""
    x, weight, bias = random(size, size), random(size, size) / math.sqrt(size), random(size)
    upstream, n = random(size, size), size * size
    seen: list[Launch] = []
    kernels = operator.make_kernels("all", seen, compiler)
    last: list[Tensor] = []

    def keep(call: Callable[[], Any]) -> Callable[[], Launch]:
        def run() -> Launch:
            found = call()
            if isinstance(found, tuple) and isinstance(found[-1], Launch):
                last[:] = [found[0]]
                return found[-1]
            last[:] = [found[0] if isinstance(found, tuple) else found]
            return seen[-1]

        return run

    def theirs() -> Tensor:
        return F.gelu(F.linear(x, weight, bias))

    def result() -> Tensor:
        return last[0]

    slope, flops = random(size, size), 2 * size**3
    parts: list[tuple[str, Callable[[], Any], Callable[[], Tensor], int, int]] = [
        ("linear_gelu_forward", lambda: kernels.forward(x, weight, bias, False), theirs,
         3 * n, flops + 8 * n),
        ("gradient_of_x", lambda: kernels.gradient_of_x(upstream, slope, weight),
         lambda: (upstream * slope) @ weight, 4 * n, flops + n),
        ("gradient_of_weight", lambda: kernels.gradient_of_weight(upstream, slope, x),
         lambda: (upstream * slope).T @ x, 4 * n, flops + n),
        ("softmax_rows", lambda: operator.call_softmax_rows(x, compiler=compiler),
         lambda: x.softmax(1), 2 * n, 5 * n),
        ("layer_norm_rows",
         lambda: operator.call_layer_norm_rows(x, bias, bias, compiler=compiler),
         lambda: F.layer_norm(x, (size,), bias, bias), 2 * n, 8 * n),
    ]  # fmt: skip
    by = "" if compiler == "nvrtc" else f", {compiler}"
    for name, call, reference, numbers, work in parts:
        yield Work(name + by, keep(call), result, reference, 4 * numbers, work)


def _repaired(where: str, size: int) -> Iterator[Work]:
    """The kernels of 3.7, which take NumPy's arrays."""
    rng = np.random.default_rng(0)
    n, blocks = size * size // 4, size * size // 4 // 64
    numbers = rng.integers(-99, 100, n).astype(np.int32)
    matrix = rng.standard_normal((size, size // 4), np.float32)
    flat, image = torch.from_numpy(matrix.reshape(-1)), torch.from_numpy(matrix)
    turns = debugging.COMES_BACK
    emulated = debugging.play_free_list(4, turns)
    parts: list[tuple[str, Callable[[], tuple[Any, Launch]], Callable[[], Tensor], int]] = [
        ("prefix_sum", lambda: debugging.call_prefix_sum(numbers, device=where),
         lambda: torch.from_numpy(numbers).reshape(blocks, 64).cumsum(1).reshape(-1), 2 * n),
        ("horizontal_gradient", lambda: debugging.call_horizontal_gradient(matrix, device=where),
         lambda: _gradient(image), 2 * n),
        ("block_maximum", lambda: debugging.call_block_maximum(matrix.reshape(-1), device=where),
         lambda: flat.reshape(blocks, 64).amax(1), n),
        ("row_sums", lambda: debugging.call_row_sums(matrix, device=where),
         lambda: image.sum(1), n),
        ("free_list", lambda: (_as_rows(debugging.play_free_list(4, turns, device=where)),
                               Launch("free_list", (1, 1, 1), (3, 1, 1))),
         lambda: torch.from_numpy(_as_rows(emulated)), 0),
    ]  # fmt: skip
    for name, call, theirs, moved in parts:
        last: list[Any] = []

        def run(call: Callable[[], tuple[Any, Launch]] = call, last: list[Any] = last) -> Launch:
            last[:] = call()
            return last[1]

        def result(last: list[Any] = last) -> Tensor:
            return torch.from_numpy(last[0])

        yield Work(name, run, result, theirs, 4 * moved, moved)


def _gradient(image: Tensor) -> Tensor:
    """Each pixel's right neighbour minus the pixel itself, 0 in the last column."""
    return F.pad(image[:, 1:] - image[:, :-1], (0, 1))


def _as_rows(found: tuple[list[int], list[list[int]]]) -> np.ndarray:
    """The free list and what each thread holds, filled up with -1."""
    free, held = found
    rows = np.full((1 + len(held), debugging.MOST), -1, np.int32)
    for row, nodes in zip(rows, [free, *held], strict=True):
        row[: len(nodes)] = nodes
    return rows


def measure(work: Work, rounds: int = ROUNDS) -> Measured:
    """Run a kernel and PyTorch's call some times, in turn, and compare what they wrote."""
    for _ in range(WARM_UP):
        work.run()
        work.theirs()
    expected = work.theirs()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(work.run().seconds)
        theirs.append(_seconds(work.theirs))
    difference = (work.result() - expected).abs().max() / expected.abs().max()
    return Measured(work, float(difference), statistics.median(ours), statistics.median(theirs))


def measure_all(works: Iterator[Work]) -> list[Measured | str]:
    """Measure what there is; a sentence stands for a kernel that went wrong.

    After some faults, such as an illegal access, a GPU does nothing more for a process. What was
    measured until then is returned all the same.
    """
    found: list[Measured | str] = []
    name = "the first kernel"
    try:
        for work in works:
            name = work.name
            try:
                found.append(measure(work))
            except CourseError as error:
                found.append(f"{name}: {' '.join(str(error).split())}")
    except Exception as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        found.append(f"{name}: {said}; nothing behind it was run")
    return found


def _seconds(call: Callable[[], Any]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def limits(size: int) -> tuple[float, float]:
    """The bytes a second of a copy, and the float32 operations a second of cuBLAS's product."""
    source = torch.randn(size * size, device="cuda")
    target = torch.empty_like(source)
    a = source.reshape(size, size)
    copy = _median(lambda: target.copy_(source))
    return 8 * size * size / copy, 2 * size**3 / _median(lambda: a @ a)


def _median(call: Callable[[], Any]) -> float:
    for _ in range(WARM_UP):
        call()
    return statistics.median(_seconds(call) for _ in range(ROUNDS))


def table(found: Sequence[Measured | str], copy: float, product: float) -> str:
    """The report's table; a string stands for a kernel that went wrong."""
    lines = [
        f"A copy moves {copy / 1e9:,.0f} GB/s; cuBLAS multiplies float32 matrices with "
        f"{product / 1e12:.1f} TFLOP/s.",
        "",
        "| kernel | right | ms | PyTorch, ms | GB/s | of the copy | TFLOP/s | of cuBLAS |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        if isinstance(each, str):
            lines.append(f"| {each} | | | | | | |")
            continue
        seconds = each.seconds or math.inf  # what has no time is only compared
        rate, speed = each.work.bytes / seconds, each.work.flops / seconds
        right = "yes" if each.is_right else f"NO, off by {each.error:.1e}"
        lines.append(
            f"| {each.work.name} | {right} | {1000 * each.seconds:.3f} "
            f"| {1000 * each.theirs:.3f} | {rate / 1e9:,.0f} | {rate / copy:.0%} "
            f"| {speed / 1e12:.2f} | {speed / product:.0%} |"
        )
    return "\n".join(lines)


def main(folder: Path, size: int = 4096) -> int:
    """Write the report; returns the exit status: 1 where a kernel is wrong."""
    missing = why_no_gpu() or ("" if torch.cuda.is_available() else "PyTorch finds no GPU.")
    if missing:
        print(f"skipped: {missing}")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = False
    most = limits(size)
    found = measure_all(works("cuda", size))
    about = torch.cuda.get_device_properties(0)
    head = (
        f"# The kernels of Lab 3 on a GPU\n\n{about.name}, {about.multi_processor_count} "
        f"multiprocessors; PyTorch {torch.__version__}. Matrices of {size} x {size}, medians of "
        f"{ROUNDS} launches. GB/s: what has to be moved in theory, over the time.\n"
        f"{_about_nvcc()}\n\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = head + table(found, *most) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(text)
    right = all(isinstance(each, Measured) and each.is_right for each in found)
    return 0 if right else 1


def _about_nvcc() -> str:
    missing = extension.why_not()
    if missing:
        return f"Nothing was compiled by nvcc as an extension of PyTorch. {missing}"
    return "Compiled by NVRTC; where it says nvcc, by that as an extension of PyTorch."


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/gpu")))
