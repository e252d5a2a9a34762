"""The kit's `aisys`: the reference package with every exercise of some labs made a hole.

Students install it as a wheel, and the kernels that grade have it first on their path.
"""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path

import aisys
from aisys.course.slots import LABS, slots

from .definitions import Body, ModuleText, SourceError
from .marked import comment_mark, take_apart
from .text import REPOSITORY, lab_number

SOURCE = REPOSITORY / "src"
OUTCOMES = REPOSITORY / "build" / "outcomes"

Edit = tuple[int, int, list[str]]  # first line, last line, the lines that replace them


def write_tree(
    folder: Path,
    labs: list[str],
    open_keys: Collection[str] = frozenset(),
    *,
    source: Path = SOURCE,
    outcomes: Path = OUTCOMES,
) -> Path:
    """Write the package `aisys` of a kit into a folder, unless it is there already.

    Labs before the first of the given ones come with their references. Later ones that are not
    given come as holes, too, up to the last one given; the rest is left out.

    Args:
        folder: Receives the package `aisys`; an older one is replaced as a whole.
        labs: The labs of the kit, by name.
        open_keys: Exercises that come with their references besides, such as `"1.5 gradients"`.
        source: The folder with the reference package.
        outcomes: The folder with the recorded visible outcomes.

    Returns:
        The folder, for a Python path.

    Raises:
        SourceError: A hole cannot be made, or something of the kit is missing.
    """
    files = tree_files(labs, open_keys, source, outcomes)
    target = folder / "aisys"
    if _contents(target) == files:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".aisys-", dir=folder) as scratch:
        fresh = Path(scratch) / "fresh"
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if target.exists():
            target.rename(Path(scratch) / "old")
        fresh.rename(target)
    return folder


def tree_files(
    labs: list[str], open_keys: Collection[str], source: Path = SOURCE, outcomes: Path = OUTCOMES
) -> dict[str, bytes]:
    """The files of a kit's package by their path inside `aisys`; arguments as for `write_tree`."""
    if not labs:
        raise SourceError("A kit holds at least one lab.")
    numbers = sorted({lab_number(name) for name in labs})
    first, last = numbers[0], numbers[-1]
    files = _reference_files(source / "aisys", last)
    for number in numbers:
        if f"{LABS[number]}/__init__.py" not in files:
            raise SourceError(f"lab{number}_{LABS[number]} has no package in {source / 'aisys'}.")
    opened: list[str] = []
    holes: list[str] = []
    for name in [name for name in files if name.endswith(".py")]:
        module = ModuleText(files[name].decode(), name)
        keys = [*module.exercises, *(text.key for text in module.texts)]
        closed = [key for key in keys if _lab_of(key) >= first and key not in open_keys]
        opened += [key for key in keys if key not in closed]
        holes += closed
        if closed:
            files[name] = _with_holes(module, closed).encode()
        for text in module.texts:
            path = _beside(name, text.file)
            if path not in files:
                raise SourceError(f"{text.key}: there is no {path} in {source / 'aisys'}.")
            if text.key in closed:
                marked = files[path].decode()
                files[path] = unsolved_text(marked, text.key, text.language).encode()
    _refuse_unknown(open_keys, {*opened, *holes}, last)
    if source == SOURCE:
        _refuse_missed({*opened, *holes}, last)
    for number in range(1, last + 1):
        record = outcomes / f"lab{number}_{LABS[number]}.msgpack"
        if record.exists():
            files[f"outcomes/{record.name}"] = record.read_bytes()
        elif number in numbers:
            raise SourceError(f"{record} is missing: run `autograder build`.")
    about = {"version": aisys.__version__, "labs": sorted(set(labs), key=lab_number)}
    about["open"] = sorted(opened, key=lambda key: (_lab_of(key), key))
    files["kit.json"] = (json.dumps(about, indent=1) + "\n").encode()
    return files


def unsolved_text(marked: str, key: str, language: str) -> str:
    """A marked text as the student begins: start text or a comment in the solution's place."""
    text = take_apart(marked, key)
    start = text.start or (f"{text.indent}{comment_mark(language)} YOUR CODE HERE",)
    return "\n".join([*text.before, *start, *text.after]) + "\n"


def _reference_files(package: Path, last: int) -> dict[str, bytes]:
    """The files of the reference package, labs after the last one left out."""
    later = {name for number, name in LABS.items() if number > last}
    files = {}
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        left_out = inside.parts[0] in later or inside.parts[0] in ("outcomes", "kit.json")
        generated = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not (left_out or generated):
            files[inside.as_posix()] = path.read_bytes()
    return files


def _with_holes(module: ModuleText, closed: list[str]) -> str:
    """The text of a module in which these exercises are holes."""
    edits: list[Edit] = []
    for key in [key for key in module.exercises if key in closed]:
        if module.is_class(key):
            lines = module.class_head(key)[len(module.own_decorators(key)) :]
            for body in module.methods(key):
                lines += ["", *body.head, *_hole(body, key)]
            edits.append((*module.class_lines(key), lines))
        else:
            body = module.body(key)
            edits.append((body.first, body.last, _hole(body, key)))
    lines = list(module.lines)
    for first, last, replacement in sorted(edits, reverse=True):
        lines[first - 1 : last] = replacement
    return "\n".join(lines) + "\n"


def _hole(body: Body, key: str) -> list[str]:
    statements = ("from aisys.course.errors import Hole", "", f'raise Hole("{key}")')
    return [(body.indent + line).rstrip() for line in statements]


def _beside(module: str, file: str) -> str:
    """The path of a text beside its module, as `TextSlot` finds it."""
    path = Path(module)
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    return (folder / file).as_posix()


def _refuse_unknown(open_keys: Collection[str], found: set[str], last: int) -> None:
    """Refuse a key to open that is no exercise's; labs that are left out may be named."""
    unknown = sorted(key for key in set(open_keys) - found if _lab_of(key) <= last)
    if unknown:
        raise SourceError(f"There is no exercise {unknown[0]!r} to open.")


def _refuse_missed(found: set[str], last: int) -> None:
    """Refuse an exercise of this process that the text does not show: it would stay solved."""
    here = {s.key for s in slots() if s.module.startswith("aisys.") and _lab_of(s.key) <= last}
    missed = sorted(here - found)
    if missed:
        raise SourceError(
            f"{missed[0]} was not found in the reference's text, so it cannot be made a hole: "
            "mark it with `@exercise(...)` by that name."
        )


def _lab_of(key: str) -> int:
    number = key.partition(".")[0]
    if not number.isdigit():
        raise SourceError(f"An exercise's key begins with its stage, as `1.5`; this is {key!r}.")
    return int(number)


def _contents(target: Path) -> dict[str, bytes]:
    """The files that are there, byte code left out."""
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
