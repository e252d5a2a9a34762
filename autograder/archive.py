"""Files out of a folder or a zip that others packed, read without ever unpacking to disk.

Whatever a name in a zip says, nothing is written to it. A zip that unpacks to far more than it is,
that holds too many files or too many zips in each other, or that cannot be read, is refused with
one sentence.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path, PurePosixPath

from .submission import MAX_BYTES

MOST_FILES = 100_000
MOST_FILES_OF_A_STUDENT = 2_000
MOST_BYTES_OF_A_STUDENT = 4 * MAX_BYTES
MOST_RATIO = 200
_SMALL = 100 * 2**20
_SYMLINK, _KIND = 0o120000, 0o170000
_UTC_TIME = 0x5455
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


class ArchiveError(Exception):
    """A folder, a zip or a file in it is refused; the message says why."""


@dataclass(frozen=True)
class File:
    """One file of a source.

    Attributes:
        parts: Its path, part by part; harmless, and only good for reading.
        moment: When it was changed last (UTC).
        read: Gives its bytes, at most `MAX_BYTES`; raises ArchiveError.
    """

    parts: tuple[str, ...]
    moment: datetime
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1]

    @property
    def kind(self) -> str:
        """The ending, such as `.ipynb`."""
        return PurePosixPath(self.name).suffix.lower()


def files_of(source: Path, zone: tzinfo) -> tuple[list[File], list[str]]:
    """The files of a folder or zip in the order of their paths, and what was refused.

    Args:
        source: The folder or zip.
        zone: The time zone of the dates in a zip.

    Raises:
        ArchiveError: The source itself cannot be used.
    """
    if source.is_dir():
        return _in_folder(source), []
    if not source.exists():
        raise ArchiveError(f"{source} does not exist; expected a folder or a zip.")
    try:
        archive = zipfile.ZipFile(source)
    except _UNREADABLE:
        raise ArchiveError(f"{source} is no zip that can be read, and no folder.") from None
    size = source.stat().st_size
    files, faults = _in_zip(archive, str(source), zone, MOST_FILES)
    total = sum(info.file_size for info in archive.infolist())
    if total > max(_SMALL, MOST_RATIO * size):
        raise ArchiveError(
            f"{source} would unpack to {_size(total)}, {total // max(size, 1)} times its size; it "
            "looks like a zip bomb and was not opened."
        )
    return files, faults


def files_of_zip(data: bytes, what: str, zone: tzinfo) -> list[File]:
    """The files of a student's own zip; raises ArchiveError where anything is wrong with it."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE:
        raise ArchiveError(f"{what} is no zip that can be read.") from None
    total = sum(info.file_size for info in archive.infolist())
    if total > MOST_BYTES_OF_A_STUDENT:
        raise ArchiveError(
            f"{what} would unpack to {_size(total)}; at most {_size(MOST_BYTES_OF_A_STUDENT)} are "
            "taken."
        )
    files, faults = _in_zip(archive, what, zone, MOST_FILES_OF_A_STUDENT)
    if faults:
        raise ArchiveError(faults[0])
    return files


def _in_folder(source: Path) -> list[File]:
    """The plain files below a folder; links are not followed."""
    found = []
    for folder, names, files in os.walk(source):
        names[:] = [name for name in names if not _ignored(name)]
        for name in files:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and not _ignored(name):
                moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                parts = path.relative_to(source).parts
                found.append(File(parts, moment, partial(_read_path, path)))
    return sorted(found, key=lambda file: file.parts)


def _in_zip(
    archive: zipfile.ZipFile, what: str, zone: tzinfo, most: int
) -> tuple[list[File], list[str]]:
    entries = archive.infolist()
    if len(entries) > most:
        raise ArchiveError(f"{what} holds {len(entries)} files; at most {most} are taken.")
    found, faults = [], []
    for info in entries:
        # Windows packs with backslashes.
        path = info.filename.replace("\\", "/")
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        if info.is_dir() or path.endswith("/") or not parts or any(map(_ignored, parts)):
            continue
        if path.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in path:
            faults.append(f"{what}: the file {path!r} would lie outside; it was refused.")
        elif (info.external_attr >> 16) & _KIND == _SYMLINK:
            faults.append(f"{what}: {path!r} is a link; it was refused.")
        else:
            moment = _moment(info, zone)
            found.append(File(parts, moment, partial(_read_entry, archive, info, what)))
    return sorted(found, key=lambda file: file.parts), faults


def _read_path(path: Path) -> bytes:
    with path.open("rb") as file:
        return _limited(file.read(MAX_BYTES + 1), path.name)


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> bytes:
    name = f"{info.filename!r} in {what}"
    if info.flag_bits & 1:
        raise ArchiveError(f"{name} is encrypted.")
    if info.file_size > MAX_BYTES:
        raise ArchiveError(f"{name} has {_size(info.file_size)}; at most {_size(MAX_BYTES)} fit.")
    try:
        with archive.open(info) as file:
            return _limited(file.read(MAX_BYTES + 1), name)
    except _UNREADABLE:
        raise ArchiveError(f"{name} is damaged.") from None


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise ArchiveError(f"{name} has more than {_size(MAX_BYTES)}.")
    return data


def _moment(info: zipfile.ZipInfo, zone: tzinfo) -> datetime:
    """The time of an entry: exact where the packer wrote it in UTC, else its local date."""
    rest = info.extra
    while len(rest) >= 4:
        kind, length = struct.unpack_from("<HH", rest)
        if kind == _UTC_TIME and length >= 5 and len(rest) >= 9 and rest[4] & 1:
            return datetime.fromtimestamp(struct.unpack_from("<i", rest, 5)[0], UTC)
        rest = rest[4 + length :]
    try:
        return datetime(*info.date_time, tzinfo=zone).astimezone(UTC)
    except ValueError:
        return datetime(1980, 1, 1, tzinfo=UTC)


def _ignored(name: str) -> bool:
    return (name.startswith(".") and name != "..") or name == "__MACOSX"


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"
