"""Plain data: what may cross the border between an attempt and its judge, and nothing that runs.

Numbers, strings, bytes, booleans, None, lists, dicts with string keys, and numeric NumPy arrays,
packed with msgpack. An array travels as its dtype, shape and bytes; the three are held against each
other before anything is allocated. Object arrays are refused, pickle is never involved.
"""

import math
import struct
from typing import Any

import msgpack
import numpy as np

from .errors import PlainDataError

Plain = Any
"""Plain data, as above; the type checker cannot say it more exactly without recursion."""

MAX_BYTES = 64 * 1024 * 1024
MAX_ITEMS = 1_000_000
MAX_DEPTH = 64
MAX_INTEGER_BYTES = 512
MAX_DIMENSIONS = 32

_ARRAY, _COMPLEX, _INTEGER = 1, 2, 3
_COMPLEX_FORM = struct.Struct("<dd")
_CODES = "?bhilqBHILQefdFD"
_DTYPES = {dtype.str: dtype for dtype in (np.dtype(code).newbyteorder("<") for code in _CODES)}


def pack(value: Plain) -> bytes:
    """Pack plain data; raises PlainDataError, saying where, for anything else."""
    data = _plain(value, "value", 0)
    try:
        packed = msgpack.packb(data, use_bin_type=True)
    except ValueError as error:
        raise PlainDataError(f"This cannot be packed: {error}.") from None
    _limit(len(packed))
    return packed


def unpack(packed: bytes) -> Plain:
    """Unpack plain data from an untrusted source; raises PlainDataError for anything malformed."""
    _limit(len(packed))
    items = 0

    def count(size: int) -> None:
        nonlocal items
        items += size
        if items > MAX_ITEMS:
            raise PlainDataError(f"The result has more than {MAX_ITEMS:,} items.")

    def counted_list(values: list[Any]) -> list[Any]:
        count(len(values) + 1)
        return values

    def counted_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        count(len(pairs) + 1)
        made = dict(pairs)
        if len(made) < len(pairs):
            raise PlainDataError("This is no packed plain data: a key occurs twice.")
        return made

    try:
        value = msgpack.unpackb(
            packed,
            raw=False,
            ext_hook=_extension,
            list_hook=counted_list,
            object_pairs_hook=counted_dict,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except PlainDataError:
        raise
    except Exception as error:
        raise PlainDataError(f"This is no packed plain data: {error}.") from None
    _refuse_strange(value, 0)
    return value


def canonical(value: Plain) -> Plain:
    """The value as it looks on the other side of the border (tuples have become lists)."""
    return unpack(pack(value))


def _limit(size: int) -> None:
    if size > MAX_BYTES:
        raise PlainDataError(f"The result has {size:,} bytes; at most {MAX_BYTES:,} may be.")


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise PlainDataError(f"The result is nested more than {MAX_DEPTH} deep.")
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else _long_integer(value, where)
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, _COMPLEX_FORM.pack(value.real, value.imag))
    if isinstance(value, np.generic):
        if value.dtype.newbyteorder("<").str not in _DTYPES:
            raise PlainDataError(f"{where} is a NumPy {value.dtype}; only numbers may be returned.")
        return _plain(value.item(), where, depth)
    if isinstance(value, np.ndarray):
        return _packed_array(value, where)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                kind = type(key).__name__
                raise PlainDataError(
                    f"{where} has a key of type {kind}; the keys of a dict are strings."
                )
        # Sorted, so that equal values are equal bytes.
        return {k: _plain(value[k], f"{where}[{k!r}]", depth + 1) for k in sorted(value)}
    raise PlainDataError(
        f"{where} is a {type(value).__name__}; expected numbers, strings, lists, dicts "
        "or numeric NumPy arrays."
    )


def _long_integer(value: int, where: str) -> msgpack.ExtType:
    size = value.bit_length() // 8 + 1
    if size > MAX_INTEGER_BYTES:
        raise PlainDataError(
            f"{where} is a whole number of {size:,} bytes; at most {MAX_INTEGER_BYTES} may be."
        )
    return msgpack.ExtType(_INTEGER, value.to_bytes(size, "little", signed=True))


def _packed_array(value: np.ndarray, where: str) -> msgpack.ExtType:
    dtype = value.dtype.newbyteorder("<")
    if dtype.str not in _DTYPES:
        raise PlainDataError(
            f"{where} is an array of dtype {value.dtype}; only numeric arrays may be returned."
        )
    _limit(value.nbytes)
    data = np.asarray(value, dtype).tobytes()
    header = [dtype.str, list(value.shape), data]
    return msgpack.ExtType(_ARRAY, msgpack.packb(header, use_bin_type=True))


def _extension(code: int, data: bytes) -> Any:
    if code == _INTEGER and len(data) <= MAX_INTEGER_BYTES:
        return int.from_bytes(data, "little", signed=True)
    if code == _COMPLEX and len(data) == _COMPLEX_FORM.size:
        return complex(*_COMPLEX_FORM.unpack(data))
    if code != _ARRAY:
        raise PlainDataError(f"This is no packed plain data: unknown extension {code}.")
    name, shape, content = msgpack.unpackb(data, raw=False, max_array_len=MAX_DIMENSIONS)
    sizes_are_whole = (
        isinstance(shape, list)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in shape)
    )
    if name not in _DTYPES or not isinstance(content, bytes) or not sizes_are_whole:
        raise PlainDataError("This is no packed plain data: an array's header is malformed.")
    dtype = _DTYPES[name]
    if math.prod(shape) * dtype.itemsize != len(content):
        raise PlainDataError(
            f"An array claims shape {shape} of {dtype}, but {len(content)} bytes came with it."
        )
    if dtype.kind == "b" and content.strip(b"\0\1"):
        raise PlainDataError("This is no packed plain data: a boolean is neither 0 nor 1.")
    return np.frombuffer(content, dtype).reshape(shape).copy()


def _refuse_strange(value: Any, depth: int) -> None:
    """Refuse what msgpack knows and plain data does not, such as time stamps and deep nesting."""
    if depth > MAX_DEPTH:
        raise PlainDataError(f"The result is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise PlainDataError("This is no packed plain data: a key is no string.")
        for item in value.values():
            _refuse_strange(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_strange(item, depth + 1)
    elif not isinstance(value, (type(None), bool, int, float, complex, str, bytes, np.ndarray)):
        raise PlainDataError(f"This is no packed plain data: a {type(value).__name__}.")
