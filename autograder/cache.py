"""Results kept by content: what has not changed is not run again, and a killed run goes on.

An entry is one JSON file named by the hash of everything that its content depends on. Entries are
written in one step; an unreadable one is as good as none.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from aisys.course.plain import pack


class Cache:
    """A folder of entries; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> Any:
        """The entry with this key, or None where there is none that can be read."""
        if self._folder is None:
            return None
        try:
            kept = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        return kept.get(key) if isinstance(kept, dict) else None

    def put(self, key: str, entry: Any) -> int:
        """Keep an entry; a full disk keeps nothing and harms nothing.

        Returns:
            The bytes that were written, or 0 where nothing is kept.
        """
        if self._folder is None:
            return 0
        path = self._path(key)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        content = json.dumps({key: entry}).encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(content)
            fresh.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            return 0
        return len(content)

    def size(self, key: str) -> int:
        """The bytes of an entry, or 0 where there is none; it may be one that cannot be read."""
        if self._folder is None:
            return 0
        try:
            return self._path(key).stat().st_size
        except OSError:
            return 0

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.json"


def digest(*parts: Any) -> str:
    """A hash of plain data."""
    return hashlib.sha256(pack(list(parts))).hexdigest()


def folder_digest(folder: Path, without: tuple[str, ...] = ()) -> str:
    """A hash of the Python files below a folder; folders named in `without` are left out."""
    return digest(
        [
            [path.relative_to(folder).as_posix(), path.read_bytes()]
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.suffix not in (".pyc", ".msgpack")
            and not any(part in without for part in path.relative_to(folder).parts)
        ]
    )


def code_digest(function: Any) -> str:
    """A hash of a function's code and of the functions and constants of its package that it uses.

    Two functions with the same hash do the same, as long as what they import is the same.
    """
    seen: dict[str, str] = {}
    _collect(function, seen)
    return digest(sorted(seen.items()))


def _collect(function: Any, seen: dict[str, str]) -> None:
    if not isinstance(function, FunctionType):
        return
    name = f"{function.__module__}.{function.__qualname__}"
    if name in seen:
        return
    seen[name] = digest(_code(function.__code__), repr(function.__defaults__))
    home = function.__module__.rpartition(".")[0]
    for used in _names(function.__code__):
        value = function.__globals__.get(used)
        if isinstance(value, FunctionType) and value.__module__.startswith(home):
            _collect(value, seen)
        elif isinstance(value, type) and value.__module__.startswith(home):
            for member in vars(value).values():
                _collect(getattr(member, "__func__", member), seen)
        elif isinstance(value, (int, float, str, tuple, list, dict)):
            seen[f"{name}:{used}"] = repr(value)
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):
            content = cell.cell_contents
            if isinstance(content, FunctionType):
                _collect(content, seen)
            elif isinstance(content, (int, float, str)):
                seen[f"{name}:{len(seen)}"] = repr(content)


def _code(code: CodeType) -> list[Any]:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code, constants, list(code.co_names), list(code.co_varnames)]


def _names(code: CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*map(_names, inner)) if inner else set(code.co_names)
