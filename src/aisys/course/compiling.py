"""Texts in C++ become libraries: compiled with limits, kept by content, errors told readably.

A text that was compiled before is not compiled again: results are kept in a cache folder by the
content of the text, the options and the compiler. Nothing here runs what was compiled.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CourseError, TextError

COMPILERS = ("g++", "clang++", "c++")
SECONDS = 8
"""CPU time of one compilation; the references take less than three seconds."""
MEMORY_KB, FILE_BLOCKS = 3 << 20, 131_072
MOST_SAID = 200_000
"""So many characters of what a compiler says are read."""
MOST_KEPT = 200
"""So many results are kept in the cache folder, the ones last made."""
CACHE_VARIABLE = "AISYS_CACHE"

_ERROR = re.compile(
    r"^([^:\s][^:\n]*?)"
    r"(?::(\d+):(?:\d+:)?|\((\d+)\):) (?:fatal |catastrophic )?error: (.*)$",  # `(2):` is nvcc's
    re.MULTILINE,
)
_UNDEFINED = re.compile(r"undefined (?:reference|symbol)[^\n]*")
_LIMITS = 'ulimit -t "$1"; ulimit -v "$2" 2>/dev/null; ulimit -f "$3"; shift 3; exec "$@"'


class NoCompiler(CourseError):
    """There is no C++ compiler here; the message says how to get one."""

    def __init__(self) -> None:
        super().__init__(
            "No C++ compiler was found. Install one and run the cell again: "
            "`sudo apt install g++` on Debian and Ubuntu (in WSL too), `sudo dnf install gcc-c++` "
            "on Fedora, `xcode-select --install` on macOS, `conda install cxx-compiler` "
            "in a conda environment. The variable CXX may name another one."
        )


class CompileError(TextError):
    """A text does not compile."""


@dataclass(frozen=True)
class Built:
    """A compiled library.

    Attributes:
        path: Its file, named by content: another text gives another file.
        remarks: What the compiler said beside errors, such as which loops it vectorised.
    """

    path: Path
    remarks: str

    @property
    def namespace(self) -> str:
        """A name that no other text has, for what registers itself while it is loaded."""
        return f"lab_{self.path.stem[:16]}"


_failed: dict[str, CompileError] = {}


def compile_shared(
    files: Mapping[str, str],
    options: Sequence[str] = (),
    libraries: Sequence[str] = (),
    seconds: int = SECONDS,
    compiler: Sequence[str] = (),
) -> Built:
    """Compile a text into a shared library, or find the result of an earlier time.

    The macro AISYS_NAMESPACE is defined as `Built.namespace`.

    Args:
        files: Texts by file name; the first one is compiled, the others stand beside it.
        options: Options of the compiler, before the file's name.
        libraries: What stands behind it, as `-ltorch` or the name of another file to compile.
        seconds: CPU time that it may take.
        compiler: Another one than the C++ compiler, with what makes it compile for a library.

    Raises:
        NoCompiler: There is none.
        CompileError: The text has an error, or compiling it took too long.
    """
    command = [*(compiler or (find_compiler(), "-fPIC")), "-shared", *options]
    name = _digest(files, command, libraries)
    if name in _failed:
        raise _failed[name]
    kept = cache_folder() / f"{name}.so"
    remarks = kept.with_suffix(".txt")
    if not (kept.exists() and remarks.exists()):
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            _compile(files, command, libraries, kept, seconds)
        except CompileError as error:
            _failed[name] = error
            raise
        _forget_oldest(kept.parent)
    return Built(kept, remarks.read_text(encoding="utf-8"))


@functools.cache
def find_compiler() -> str:
    """The C++ compiler's path; raises NoCompiler where there is none."""
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise NoCompiler


def has_compiler() -> bool:
    """Whether there is a C++ compiler."""
    try:
        find_compiler()
    except NoCompiler:
        return False
    return True


@functools.cache
def compiler_version(compiler: str) -> str:
    """What a compiler says of itself."""
    return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout


def cache_folder() -> Path:
    """Where results are kept: `$AISYS_CACHE`, or `aisys` in the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own) / "compiled"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aisys" / "compiled"


def _compile(
    files: Mapping[str, str],
    command: Sequence[str],
    libraries: Sequence[str],
    kept: Path,
    seconds: int,
) -> None:
    """Compile into a folder that is thrown away, and keep library and remarks."""
    first = next(iter(files))
    with tempfile.TemporaryDirectory(prefix=".build-", dir=kept.parent) as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        namespace = f"-DAISYS_NAMESPACE={Built(kept, '').namespace}"
        words = [*command, namespace, "-o", "library.so", first, *libraries]
        status, said = _run_limited(words, folder, seconds)
        made = Path(folder, "library.so")
        if status != 0 or not made.exists():
            raise _error(files, status, said, seconds)
        unfinished = Path(folder, "remarks")
        unfinished.write_text(said, encoding="utf-8")
        # The library last: where it is, its remarks are.
        unfinished.replace(kept.with_suffix(".txt"))
        made.replace(kept)


def _run_limited(command: Sequence[str], folder: str, seconds: int) -> tuple[int, str]:
    """Run a compiler with limits on CPU time, memory and files; its status and what it said."""
    limits = [str(seconds), str(MEMORY_KB), str(FILE_BLOCKS)]
    with open(Path(folder, "said"), "w+b") as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LIMITS, "sh", *limits, *command],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        except BaseException:
            # A time limit or an interrupt: the compiler's own children go, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        said.seek(0)
        return status, said.read(MOST_SAID).decode("utf-8", "replace")


def _error(files: Mapping[str, str], status: int, said: str, seconds: int) -> CompileError:
    """What a compiler said, as far as it is about the given texts and in their line numbers."""
    found: list[tuple[str, int, str]] = []
    for match in _ERROR.finditer(said):
        name, line, text = match[1], int(match[2] or match[3]), match[4]
        if Path(name).name not in files:
            name, line = _place_in(files, said, match)
        if name:
            found.append((Path(name).name, line, text))
    if found:
        sentences = [f"{name}, line {line}: {text}"[:240] for name, line, text in found[:3]]
        more = f" ({len(found) - 3} more)" if len(found) > 3 else ""
        name, line, _ = found[0]
        lines = files[name].splitlines()
        quoted = lines[line - 1].strip()[:120] if 0 < line <= len(lines) else ""
        frames = (f"{name}, line {line}: {quoted}",)
        return CompileError("; ".join(sentences) + more, frames)
    undefined = _UNDEFINED.search(said)
    if undefined:
        return CompileError(f"{next(iter(files))}: {undefined[0][:200]}")
    if "Killed" in said or "CPU time limit" in said or status < 0 or status > 128:
        return CompileError(
            f"{next(iter(files))}: compiling it took more than {seconds} s or too much memory; "
            "look for templates or includes without end."
        )
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return CompileError(f"{next(iter(files))}: the compiler failed: {' '.join(last)[:200]}")


def _place_in(files: Mapping[str, str], said: str, match: re.Match[str]) -> tuple[str, int]:
    """The line of the texts that leads to an error in a header: the mention nearest above it."""
    names = "|".join(map(re.escape, files))
    mentions = list(re.finditer(rf"(?:^|[\s/])({names}):(\d+)", said[: match.start()]))
    if not mentions:
        mentions = list(re.finditer(rf"(?:^|[\s/])({names}):(\d+)", said[match.end() :]))[:1]
    return (mentions[-1][1], int(mentions[-1][2])) if mentions else ("", 0)


def _digest(files: Mapping[str, str], command: Sequence[str], libraries: Sequence[str]) -> str:
    parts = [_machine(command[0]), *command, *libraries]
    parts += [part for item in files.items() for part in item]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


@functools.cache
def _machine(compiler: str) -> str:
    """The compiler's version, and the processor that `-march=native` compiles for."""
    processor = platform.processor() + platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor += next((line for line in lines if line.startswith("flags")), "")
    return compiler_version(compiler) + processor


def _forget_oldest(folder: Path) -> None:
    """Keep the cache folder small."""
    entries = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
    for path in entries[:-MOST_KEPT]:
        path.unlink(missing_ok=True)
        path.with_suffix(".txt").unlink(missing_ok=True)
