#!/usr/bin/env python3
"""Write constraints.txt and the pins of environment.yml anew from pyproject.toml.

    .venv/bin/python .ci/lock.py

Every extra is resolved together, nothing is installed. What constraints.txt pins already stays;
delete a line (or all) to have a newer version, and run the tests after it.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
ENVIRONMENT = ROOT / "environment.yml"
INSTALLED_BY_MAKE = ("grading", "dev")
HEADER = """\
# Every exact version, of all extras together, on Linux and Python 3.11. Written by .ci/lock.py.
# What torch brings for a GPU is not here: torch asks for it by exact versions.
"""


def resolve(extras: list[str]) -> dict[str, str]:
    """Return name and version of all that the project with these extras brings, itself left out."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        old = Path(scratch) / "constraints.txt"
        old.write_text(CONSTRAINTS.read_text() if CONSTRAINTS.exists() else "")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--no-build-isolation"]
        command += ["--report", str(report), "-c", str(old), f"{ROOT}[{','.join(extras)}]"]
        subprocess.run(command, check=True, cwd=scratch)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    by_torch = re.compile(r"(nvidia|cuda-(toolkit|bindings)|triton)\b")
    return {
        re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"].partition("+")[0]
        for item in found
        if item["name"] != "aisys" and not by_torch.match(item["name"])
    }


def main() -> None:
    """Write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = resolve(list(extras))
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    CONSTRAINTS.write_text(HEADER + "".join(lines))

    direct = project["dependencies"] + [r for extra in INSTALLED_BY_MAKE for r in extras[extra]]
    names = sorted({re.match(r"[A-Za-z0-9-]+", requirement)[0] for requirement in direct})
    text = ENVIRONMENT.read_text()
    text = re.sub(r"(?m)^ +- [a-z0-9-]+==.*\n", "", text)
    pinned = "".join(f"      - {name}=={pins[name]}\n" for name in names)
    ENVIRONMENT.write_text(text.replace("      - --editable", pinned + "      - --editable"))


if __name__ == "__main__":
    main()
