"""Build Horovod from its source distribution, as it is and with the lab's patch: `make horovod`.

    python -m aisys.allreduce.horovod.building

Both builds share an environment of their own that sees the packages of the one that builds, and the
source with its compiled files: only what the patch changes is compiled twice.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aisys.course.compiling import cache_folder
from aisys.course.errors import CourseError

VERSION = "0.28.1"
SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
CMAKE = "cmake==3.27.9"
"""Horovod's build files are older than what CMake 4 still reads."""

RUNTIME = ("cloudpickle", "packaging", "psutil", "pyyaml")
VARIANTS = ("stock", "improved")
PATCH = Path(__file__).with_name("gloo_operations.patch")

_OPTIONS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_CPU_OPERATIONS": "GLOO",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}


class HorovodError(CourseError):
    """Horovod cannot be built or run here; says what is missing and how to get it."""


def folder() -> Path:
    """Where it is built: `$AISYS_HOROVOD`, `build/horovod` of a clone, or the user's cache."""
    if "AISYS_HOROVOD" in os.environ:
        return Path(os.environ["AISYS_HOROVOD"]).absolute()
    clone = Path(__file__).resolve().parents[4]
    if (clone / "Makefile").exists() and (clone / "src").is_dir():
        return clone / "build" / "horovod"
    return cache_folder().parent / "horovod"


def how_to_build() -> str:
    """What to type, in words."""
    clone = (Path(__file__).resolve().parents[4] / "Makefile").exists()
    command = "make horovod" if clone else "python -m aisys.allreduce.horovod.building"
    return f"`{command}` builds it in about three minutes"


def why_not(variant: str) -> str | None:
    """Why a variant cannot be used here, in a sentence; None where it can.

    Args:
        variant: One of `VARIANTS`.
    """
    try:
        built = (folder() / variant / ".ready").read_text(encoding="utf-8")
    except OSError:
        return f"Horovod {VERSION} ({variant}) is not built here: {how_to_build()}."
    if built != _identity(variant):
        return (
            f"Horovod ({variant}) was built for another PyTorch, Python or patch: "
            f"{how_to_build()} again."
        )
    return None


def python() -> Path:
    """The interpreter that builds and runs it."""
    return folder() / "venv" / "bin" / "python"


def build() -> None:
    """Build what is not built yet.

    Raises:
        HorovodError: Something is missing, or the build failed; says what and where its log is.
    """
    wanted = [variant for variant in VARIANTS if why_not(variant) is not None]
    if not wanted:
        print(f"horovod: {VERSION} is built in {_shown(folder())}, without and with the patch")
        return
    _check_tools()
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "build.log"
    with log.open("w", encoding="utf-8") as file:
        build = _Build(home, file.fileno())
        build.environment()
        build.source()
        for variant in wanted:
            print(f"horovod: building {VERSION}, {variant}; what is done goes to {_shown(log)}")
            build.variant(variant)


class _Build:
    """A build under way: its folder, and the file that takes what the tools say."""

    def __init__(self, home: Path, log: int) -> None:
        self.home, self.log = home, log
        self.sources = home / f"horovod-{VERSION}"

    def environment(self) -> None:
        """The environment of its own, with the packages of this one behind its own."""
        venv = self.home / "venv"
        if not venv.exists():
            self.run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
        seen = [path for path in sys.path if path.endswith("-packages")]
        packages = next(venv.glob("lib/python*/site-packages"))
        (packages / "seen.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")
        missing = [package for package in RUNTIME if not _installed(package)]
        self.pip("install", "--no-deps", CMAKE, *missing)

    def source(self) -> None:
        """The source as it is published, made to compile against today's PyTorch."""
        archive = self.home / f"horovod-{VERSION}.tar.gz"
        if not archive.exists():
            chosen = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
            self.pip("download", *chosen, "--dest", str(self.home), f"horovod=={VERSION}")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            archive.unlink()
            raise HorovodError(f"What came as Horovod {VERSION} is not what was published.")
        unpacked = self.sources / ".unpacked"
        if unpacked.exists():
            return  # with what an interrupted build has compiled
        with tarfile.open(archive) as packed:
            packed.extractall(self.home, filter="data")
        for name in ("CMakeLists.txt", "horovod/torch/CMakeLists.txt"):
            file = self.sources / name
            text = file.read_text(encoding="utf-8")
            assert "CMAKE_CXX_STANDARD 14" in text
            file.write_text(text.replace("CXX_STANDARD 14", "CXX_STANDARD 17"), encoding="utf-8")
        unpacked.touch()

    def variant(self, name: str) -> None:
        """Compile what is new, and install the result into a folder of its own."""
        with tarfile.open(self.home / f"horovod-{VERSION}.tar.gz") as packed:
            for changed in re.findall(r"^--- a/(.*)$", PATCH.read_text(encoding="utf-8"), re.M):
                member = packed.getmember(f"{self.sources.name}/{changed}")
                member.mtime = time.time()  # what was compiled of it may be the other variant's
                packed.extract(member, self.home, filter="data")
        if name == "improved":
            # The clone is a repository, too; its git would skip files that it ignores.
            outside = {"GIT_CEILING_DIRECTORIES": str(self.home)}
            self.run(["git", "apply", str(PATCH)], self.sources, outside)
        target, wheels = self.home / name, self.home / "wheels"
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(wheels, ignore_errors=True)
        self.pip("wheel", "-v", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels),
                 str(self.sources))  # fmt: skip
        wheel = next(wheels.glob("horovod-*.whl"))
        self.pip("install", "--no-deps", "--target", str(target), str(wheel))
        (target / ".ready").write_text(_identity(name), encoding="utf-8")

    def pip(self, command: str, *arguments: str) -> None:
        """Run pip in the environment."""
        self.run([str(python()), "-m", "pip", "--disable-pip-version-check", command, *arguments])

    def run(
        self, command: list[str], cwd: Path | None = None, extra: dict[str, str] | None = None
    ) -> None:
        """Run a command; what it says goes to the log, and its end to the person if it fails."""
        environment = {
            **os.environ,
            **_OPTIONS,
            "MAKEFLAGS": f"-j{len(os.sched_getaffinity(0))}",
            "PATH": f"{python().parent}{os.pathsep}{os.environ['PATH']}",
            **(extra or {}),
        }
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            log = self.home / "build.log"
            end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise HorovodError(
                f"{end}\nhorovod: `{' '.join(command[:4])} …` failed (status {done.returncode}); "
                f"everything it said is in {_shown(log)}."
            )


def _check_tools() -> None:
    if platform.system() != "Linux":
        raise HorovodError("The lab builds Horovod on Linux only.")
    needed = {"g++": "g++", "make": "make", "git": "git"}
    missing = [package for tool, package in needed.items() if shutil.which(tool) is None]
    missing += [package for package in ("torch", "setuptools", "pip") if not _installed(package)]
    if missing:
        raise HorovodError(
            f"Horovod cannot be built here: {', '.join(missing)} is missing. Install it, as with "
            f"`apt-get install {' '.join(missing)}` for programs and pip for packages."
        )


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _identity(variant: str) -> str:
    """What a build depends on."""
    patch = hashlib.sha256(PATCH.read_bytes()).hexdigest() if variant == "improved" else "none"
    versions = f"horovod {VERSION}, torch {version('torch')}, python {sys.version_info[:2]}"
    return f"{versions}, patch {patch}\n"


def _shown(path: Path) -> str:
    """A path as short as it can be said."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> int:
    """Build; the exit status says whether it is there."""
    try:
        build()
    except HorovodError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
