"""The pins agree with each other, and one command sets everything up or says what is wanting."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))
MADE = [*PROJECT["dependencies"], *EXTRAS["grading"], *EXTRAS["dev"]]


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    pins = [line for line in LINES if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==\d[0-9a-z.]*", pin) for pin in pins)
    assert pins == sorted(set(pins), key=lambda pin: pin.partition("==")[0])
    assert len(PINS) == len(pins)


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_direct_dependency_has_a_pin_within_its_range(extra: str) -> None:
    for text in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(PINS[canonicalize_name(wanted.name)]), text


def test_environment_yml_has_the_direct_dependencies_with_the_same_pins() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    options = [item for item in pip if item.startswith("--")]
    assert options == ["--constraint constraints.txt", "--editable ."]
    names = {canonicalize_name(Requirement(text).name) for text in MADE}
    assert {item for item in pip if item not in options} == {f"{n}=={PINS[n]}" for n in names}


def test_what_is_installed_is_what_is_pinned() -> None:
    seen: set[str] = set()
    open_requirements = [Requirement(text) for text in MADE]
    while open_requirements:
        wanted = open_requirements.pop()
        name = canonicalize_name(wanted.name)
        if name in seen or any(item.operator == "==" for item in wanted.specifier):
            continue  # torch asks for its GPU packages by exact versions, which pins them too
        seen.add(name)
        installed = distribution(name)
        assert installed.version.partition("+")[0] == PINS.get(name), name
        for text in installed.requires or []:
            needed = Requirement(text)
            extras = {"", *wanted.extras}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                open_requirements.append(needed)
    assert len(seen) > len(MADE)


def test_no_package_index_is_named() -> None:
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile", ".ci/setup"):
        assert "://" not in (ROOT / name).read_text(), name


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is missing")


@needs_make
def test_every_target_that_help_lists_exists() -> None:
    listed = make("help").stdout
    labs = re.search(r"The labs \(N\): (.*)", listed)
    assert labs
    targets = re.findall(r"^make (\S+)", listed, flags=re.M)
    assert {"demo", "test", "test-quick", "test-thorough", "labN", "gpu-check"} <= set(targets)
    for target in targets:
        for number in labs[1].split() if "labN" in target else [""]:
            make("--dry-run", target.replace("N", number))


@needs_make
def test_gpu_check_ends_well_without_a_gpu_and_without_an_environment() -> None:
    assert make("gpu-check").stdout.startswith("skipped: ")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the repository, as if no other make ran this; a bad exit status raises."""
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )


# A Python that is 3.12, says what pip is called with, and makes environments of its own kind.
FAKE_PYTHON = """\
#!/bin/bash
case "$1 $2" in
"--version "*) echo "Python {version}" ;;
"-c import sys;"*) exit {too_old} ;;
"-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && cp "$0" "$4/bin/python3" ;;
"-m pip") echo "$@" >>"$CALLS"; [[ "$*" != *"$REFUSED"* ]] ;;
esac
"""


class Checkout:
    """A copy of what the bootstrap reads, with a fake Python and no system packages."""

    def __init__(self, folder: Path, version: str = "3.12.1") -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.calls = folder / "calls"
        self.calls.touch()
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "setup", folder / ".ci" / "setup")
        shutil.copy(ROOT / "constraints.txt", folder)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in "bash cat cp dirname env grep id mkdir rm tail touch uname".split():
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        python = self.bin / "python3"
        too_old = int(tuple(map(int, version.split("."))) < (3, 11))
        python.write_text(FAKE_PYTHON.format(version=version, too_old=too_old))
        python.chmod(0o755)

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the bootstrap."""
        defaults = {"PATH": str(self.bin), "CALLS": str(self.calls), "REFUSED": "nothing at all"}
        return subprocess.run(
            ["bash", ".ci/setup", *arguments],
            cwd=self.folder,
            env=defaults | variables,
            capture_output=True,
            text=True,
        )

    def installs(self) -> list[str]:
        """Return the arguments of every `pip install` so far."""
        return re.findall(r" install (.*)", self.calls.read_text())


def test_setup_installs_torch_first_and_alone_and_only_that_from_its_own_index(
    tmp_path: Path,
) -> None:
    checkout = Checkout(tmp_path)
    done = checkout.setup(TORCH_INDEX="file:///wheels")
    assert done.returncode == 0, done.stderr
    first, *others = checkout.installs()
    assert first == f"--no-deps --index-url file:///wheels torch=={PINS['torch']}"
    assert all("-c constraints.txt" in call and "index" not in call for call in others)
    assert others[-1].endswith("-e .[grading,dev]")
    assert (checkout.venv / ".ready").read_text() == f"{tmp_path}\n"


def test_setup_of_the_systems_adds_the_other_extras_and_keeps_them(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    for arguments in (["systems"], []):
        assert checkout.setup(*arguments).returncode == 0
        asked = set(re.split(r"[\[\],]", checkout.installs()[-1])[1:-1])
        assert asked == set(EXTRAS)


def test_an_old_python_is_one_sentence_and_nothing_is_made(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, version="3.10.4")
    done = checkout.setup()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "3.11" in done.stderr and "Python 3.10.4" in done.stderr
    assert not checkout.venv.exists()


def test_a_missing_system_package_is_named_with_what_is_skipped(tmp_path: Path) -> None:
    done = Checkout(tmp_path).setup()
    assert done.returncode == 0
    assert "the system package chromium is missing: browser tests are skipped" in done.stdout


def test_a_failing_pip_is_shown_and_leaves_the_environment_unfinished(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    done = checkout.setup(REFUSED="grading")
    assert done.returncode == 1
    assert "setup: pip failed" in done.stderr
    assert not (checkout.venv / ".ready").exists()
    assert checkout.setup().returncode == 0


def test_an_environment_that_came_with_a_copied_tree_is_made_anew(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.setup()
    (checkout.venv / "left").touch()
    checkout.setup()
    assert (checkout.venv / "left").exists()
    (checkout.venv / ".ready").write_text(f"{os.sep}elsewhere\n")
    done = checkout.setup(PATH=f"{checkout.venv}/bin:{checkout.bin}")
    assert done.returncode == 0, done.stderr
    assert not (checkout.venv / "left").exists()
