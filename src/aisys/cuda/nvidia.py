"""NVIDIA's own compiler without a GPU: what a thread of a kernel needs on a real architecture.

It comes with the CUDA Toolkit, or in wheels: `pip install nvidia-cuda-nvcc nvidia-cuda-cccl
nvidia-cuda-runtime`. It compiles for GPUs that are not there; it only cannot run what it made.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aisys.course.compiling import CompileError
from aisys.course.errors import CourseError

SECONDS = 120
TOOLKIT = "/usr/local/cuda"
"""Where the CUDA Toolkit goes by itself, without being put on PATH."""
_ERROR = re.compile(r"^[^\n(]*\((\d+)\): (?:catastrophic )?error: (.*)$", re.MULTILINE)
_RESOURCES = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores"
    r".*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Resources:
    """What NVIDIA's compiler gives a kernel.

    Attributes:
        registers: 32-bit registers of a thread.
        spilled: Bytes of a thread that found no register and are stored in memory.
        shared_bytes: Static shared memory of a block, in bytes.
    """

    registers: int
    spilled: int
    shared_bytes: int


@functools.cache
def find_nvcc() -> Path | None:
    """NVIDIA's compiler: on PATH, from a wheel, or of the toolkit; None where it is not."""
    found = shutil.which("nvcc")
    if found is not None:
        return Path(found)
    wheels = importlib.util.find_spec("nvidia")
    folders = [Path(each) for each in (wheels.submodule_search_locations or ())] if wheels else []
    paths = [path for folder in folders for path in sorted(folder.glob("*/bin/nvcc"))]
    paths.append(Path(os.environ.get("CUDA_HOME") or TOOLKIT, "bin", "nvcc"))
    return next((path for path in paths if path.exists()), None)


def why_no_nvcc() -> str:
    """`""` where NVIDIA's compiler is here, otherwise how to get it."""
    if find_nvcc() is not None:
        return ""
    return (
        "NVIDIA's compiler is not here: `pip install nvidia-cuda-nvcc nvidia-cuda-cccl "
        "nvidia-cuda-runtime` brings it, without a GPU, too (Linux)."
    )


def resources(source: str, architecture: str = "sm_80") -> dict[str, Resources]:
    """What each kernel of a source needs, by its name; templates as far as they are instantiated.

    Args:
        source: CUDA C++.
        architecture: Such as `"sm_80"`.

    Raises:
        CourseError: There is no compiler here.
        CompileError: It does not take the source; see `compile_error`.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        raise CourseError(why_no_nvcc())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.cu").write_text(source, encoding="utf-8")
        options = ["-cubin", f"-arch={architecture}", "-std=c++17", "-Xptxas", "-v"]
        done = _run([str(nvcc), *options, "kernel.cu", "-o", "kernel.cubin"], folder)
    if done.returncode != 0:
        raise compile_error("nvcc", done.stdout + done.stderr, source)
    found = {}
    for name, _, spilled, count, rest in _RESOURCES.findall(done.stderr):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[_plain(name)] = Resources(int(count), int(spilled), int(shared[1]) if shared else 0)
    return found


def compile_error(compiler: str, said: str, source: str) -> CompileError:
    """What a compiler of NVIDIA's said: its first error, with the line of the text.

    Args:
        compiler: Its name.
        said: All that it said.
        source: The text.
    """
    found = _ERROR.findall(said)
    if not found:
        last = [line for line in said.splitlines() if line.strip()][-1:]
        return CompileError(f"{compiler} does not take the source: {' '.join(last)[:240]}")
    line, message = int(found[0][0]), found[0][1]
    lines = source.splitlines()
    quoted = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    more = f" ({len(found) - 1} more behind it)" if len(found) > 1 else ""
    return CompileError(
        f"line {line}: {message}{more}" + (f"\n    {quoted}" if quoted else ""),
        (f"line {line}: {quoted}",) if quoted else (),
    )


def _plain(name: str) -> str:
    """A kernel's name as its source has it, without parameters."""
    done = _run(["c++filt", "-p", name], ".") if shutil.which("c++filt") else None
    return done.stdout.strip().removeprefix("void ") if done else name


def _run(command: list[str], folder: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, errors="replace"
        )
    except subprocess.TimeoutExpired:
        name = Path(command[0]).name
        raise CompileError(f"{name} took more than {SECONDS} seconds.") from None
