"""From a kernel's source to a library that the emulator's process loads; kept by content.

The compiler instruments the kernel, and only it: `-fsanitize=thread` makes it call the runtime
before every access to memory, `-fsanitize-coverage=trace-pc` at the beginning of every block of
instructions.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aisys.course.compiling import CompileError, cache_folder, compiler_version

from .lexing import Source, SourceError, read_source

RUNTIME = Path(__file__).parent / "runtime"
COMPILE_SECONDS = 30
KERNEL_FLAGS = (
    "-std=c++17", "-fPIC", "-g", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
    "-fno-jump-tables", "-fno-strict-aliasing", "-fno-delete-null-pointer-checks",
    "-fno-isolate-erroneous-paths-dereference", "-fno-optimize-sibling-calls",
    "-fstack-protector-strong", "-fmax-errors=5",
    "-fdiagnostics-color=never", "-Wno-unknown-pragmas", "-fwrapv",
)  # fmt: skip
INSTRUMENTED = (
    "-O1", "-fno-tree-sra", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0",
    "-fsanitize-coverage=trace-pc", "-DEMULATOR_INSTRUMENTED",
)  # fmt: skip
PLAIN = ("-O2",)
OURS = {"memcpy": "emu_memcpy", "memmove": "emu_memmove", "memset": "emu_memset"}
"""What the compiler calls by itself, and what it gets instead."""
_MATH = """
    acos asin atan atan2 ceil copysign cos cosh cbrt erf erfc exp exp2 expm1 fabs floor fma fmax
    fmin fmod hypot ldexp lgamma log log10 log1p log2 lrint lround nearbyint pow remainder rint
    round sin sinh sqrt tan tanh tgamma trunc sincos
""".split()
ALLOWED = {f"{name}{end}" for name in _MATH for end in ("", "f")} | {
    "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail", "__popcountdi2",
    "__start_cuda_constant", "__stop_cuda_constant",
}  # fmt: skip


@dataclass(frozen=True)
class Built:
    """A compiled source.

    Attributes:
        library: The file that the emulator's process loads.
        source: What it was made from.
        entries: The number of each kernel's entry, by the kernel's name and its template arguments.
    """

    library: Path
    source: Source
    entries: dict[str, int]


def build(text: str, kernels: Iterable[str] = (), instrumented: bool = True) -> Built:
    """Compile a source for the emulator, or take what was compiled of the same text before.

    Args:
        text: CUDA C++.
        kernels: Instances of templates to make, such as `"transpose<float, 32>"`; kernels that are
            no templates are always there.
        instrumented: Whether accesses are counted and checked; without, the kernel only runs.

    Raises:
        SourceError: The source holds what the emulator does not run.
        CompileError: The compiler does not take it, or there is no compiler.
    """
    source = read_source(text)
    plain = [kernel.name for kernel in source.kernels.values() if not kernel.is_template]
    names = list(dict.fromkeys([*plain, *kernels]))
    for name in names:
        _refuse_name(name, source)
    flags = (*KERNEL_FLAGS, *(INSTRUMENTED if instrumented else PLAIN))
    entries = {name: number for number, name in enumerate(names)}
    made = "".join(f"EMULATOR_ENTRY({number}, {name})\n" for name, number in entries.items())
    program = f'#line 1 "kernel.cu"\n{source.rewritten}\n#line 1 "entries"\n{made}'
    library = kept(
        _digest(program, flags, runtime_digest()),
        "kernel.so",
        functools.partial(_compile, program, flags, source),
    )
    return Built(library, source, entries)


_host: list[bytes] = []
"""The program as a process that forks others has read it: they may see another cache folder."""


def host() -> Path:
    """The emulator's process as a program, compiled once."""
    return kept(_digest("host", runtime_digest()), "host", _make_host)


def remember_host() -> None:
    """Compile the process's program now, so that no process forked from here needs to.

    Without a compiler nothing happens: whoever builds a kernel is told.
    """
    if not _host:
        with contextlib.suppress(CompileError):
            _host.append(host().read_bytes())


def kept(digest: str, name: str, make: Callable[[Path], None]) -> Path:
    """A file that is made once for a digest; `make` gets a folder and leaves the file in it."""
    folder = cache_folder() / digest
    if not (folder / name).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as here:
            make(Path(here))
            # Whoever is second finds the same already there.
            with contextlib.suppress(OSError):
                os.replace(here, folder)
            os.makedirs(here, exist_ok=True)
    return folder / name


@functools.cache
def runtime_digest() -> str:
    """A hash of the runtime's sources and the compiler's version."""
    texts = [
        path.read_text(encoding="utf-8") for path in sorted(RUNTIME.iterdir()) if path.is_file()
    ]
    return _digest(*texts, compiler_version(compiler()))


@functools.cache
def compiler() -> str:
    """g++, which alone has all of the flags; raises CompileError where it is not installed."""
    found = shutil.which("g++")
    if found is None:
        raise CompileError(
            "The emulator needs a C++ compiler, and there is no g++ here: install it, as in "
            "`sudo apt install g++` on Debian and Ubuntu."
        )
    return found


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def _refuse_name(name: str, source: Source) -> None:
    base = re.fullmatch(r"(\w+)(<[\w\s,:-]*>)?", name)
    kernel = source.kernels.get(base[1]) if base else None
    if base is None or kernel is None:
        raise SourceError(
            f"There is no kernel `{name}`; the kernels are {', '.join(source.kernels)}."
        )
    if kernel.is_template != bool(base[2]):
        what = (
            "is a template: name its arguments, as in"
            if kernel.is_template
            else "is no template: write"
        )
        raise SourceError(f"`{base[1]}` {what} `{base[1]}{'<...>' if kernel.is_template else ''}`.")


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace",
            timeout=COMPILE_SECONDS,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TMPDIR": str(folder)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CompileError(f"The compiler took more than {COMPILE_SECONDS} seconds.") from None


def _make_host(folder: Path) -> None:
    if not _host:
        return _compile_host(folder)
    (folder / "host").write_bytes(_host[0])
    (folder / "host").chmod(0o755)


def _compile_host(folder: Path) -> None:
    sources = [str(path) for path in sorted(RUNTIME.glob("*.cpp"))]
    done = _run(
        [compiler(), "-std=c++17", "-O2", "-rdynamic", *sources, "-ldl", "-o", "host"], folder
    )
    if done.returncode != 0:
        raise CompileError(f"The emulator itself does not compile here: {done.stderr[-2000:]}")


def _compile(program: str, flags: tuple[str, ...], source: Source, folder: Path) -> None:
    (folder / "kernel.cpp").write_text(program, encoding="utf-8")
    header = ["-include", str(RUNTIME / "cuda.h")]
    done = _run([compiler(), *flags, *header, "-c", "kernel.cpp", "-o", "kernel.o"], folder)
    if done.returncode != 0:
        raise _readable(done.stderr, source.text)
    _refuse_symbols(folder)
    renamed = [f"--redefine-sym={theirs}={ours}" for theirs, ours in OURS.items()]
    _checked(["objcopy", *renamed, "kernel.o"], folder)
    _checked([compiler(), "-shared", "-Wl,-z,relro,-z,now", "kernel.o", "-o", "kernel.so"], folder)
    for name in ("kernel.cpp", "kernel.o"):
        (folder / name).unlink()


def _checked(command: list[str], folder: Path) -> str:
    done = _run(command, folder)
    if done.returncode != 0:
        raise CompileError(f"{command[0]} failed: {done.stderr[-500:]}")
    return done.stdout


def _refuse_symbols(folder: Path) -> None:
    """Refuse a kernel that calls anything but the runtime and mathematics, or through a pointer."""
    for line in _checked(["nm", "-u", "kernel.o"], folder).splitlines():
        name = line.split()[-1]
        is_ours = name.startswith(("emu_", "__tsan_", "__sanitizer_cov_trace_pc"))
        if not is_ours and name not in ALLOWED | set(OURS):
            raise SourceError(f"The source uses `{name}`, which the emulator does not have.")
    code = _checked(["objdump", "-d", "--no-show-raw-insn", "kernel.o"], folder)
    if re.search(r"\t(?:notrack )?(?:call|jmp)q?\s+\*|\tblr\t|\tbr\t|\tsyscall", code):
        raise SourceError("The source calls through a pointer, which the emulator does not do.")


def _readable(stderr: str, text: str) -> CompileError:
    """The compiler's first error with the line of the student's text, and how many follow."""
    found = list(_errors(stderr))
    if not found:
        return CompileError(f"The compiler failed: {stderr[-500:]}")
    line, column, message = found[0]
    lines = text.splitlines()
    said = f"line {line}: {message}"
    if ";" in message and message.startswith("expected"):
        said += "; often the end of the line before it is meant"
    if len(found) > 1:
        said += f" ({len(found) - 1} more behind it)"
    if not 0 < line <= len(lines):
        return CompileError(said)
    source = lines[line - 1].expandtabs(4)
    shown = f"    {source}\n    {' ' * (column - 1)}^"
    return CompileError(f"{said}\n{shown}", (f"line {line}: {source.strip()}",))


def _errors(stderr: str) -> Iterator[tuple[int, int, str]]:
    for match in re.finditer(
        r"^kernel\.cu:(\d+):(\d+): (?:fatal )?error: (.*)$", stderr, re.MULTILINE
    ):
        yield int(match[1]), int(match[2]), match[3]
