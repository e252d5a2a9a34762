"""Plain data: what may cross the border between an attempt and its judge, and nothing that runs.

Numbers, strings, bytes, booleans, None, lists, dicts with string keys, and numeric NumPy arrays,
packed with msgpack. An array travels as its dtype, shape and bytes; the three are held against each
other before anything is allocated. Object arrays are refused, pickle is never involved.
"""

import math
from typing import Any

import msgpack
import numpy as np

from .errors import PlainDataError

Plain = Any
"""Plain data, as above; the type checker cannot say it more exactly without recursion."""

MAX_BYTES = 64 * 1024 * 1024
_ARRAY, _COMPLEX, _INTEGER = 1, 2, 3
_DTYPES = "biufc"


def pack(value: Plain) -> bytes:
    """Pack plain data; raises PlainDataError, saying where, for anything else."""
    packed = msgpack.packb(_plain(value, "value"), use_bin_type=True)
    if len(packed) > MAX_BYTES:
        raise PlainDataError(f"The result has {len(packed):,} bytes; at most {MAX_BYTES:,} may be.")
    return packed


def unpack(packed: bytes) -> Plain:
    """Unpack plain data from an untrusted source; raises PlainDataError for anything malformed."""
    if len(packed) > MAX_BYTES:
        raise PlainDataError(f"The result has {len(packed):,} bytes; at most {MAX_BYTES:,} may be.")
    try:
        return msgpack.unpackb(packed, raw=False, ext_hook=_extension, strict_map_key=True)
    except PlainDataError:
        raise
    except Exception as error:
        raise PlainDataError(f"This is no packed plain data: {error}.") from None


def canonical(value: Plain) -> Plain:
    """The value as it looks on the other side of the border (tuples have become lists)."""
    return unpack(pack(value))


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return value
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        return msgpack.ExtType(_INTEGER, str(value).encode())
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, np.complex128(value).tobytes())
    if isinstance(value, np.generic):
        if value.dtype.kind not in _DTYPES:
            raise PlainDataError(f"{where} is a NumPy {value.dtype}; only numbers may be returned.")
        return _plain(value.item(), where)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _DTYPES:
            raise PlainDataError(
                f"{where} is an array of dtype {value.dtype}; only numeric arrays may be returned."
            )
        header = [value.dtype.newbyteorder("<").str, list(value.shape)]
        data = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        return msgpack.ExtType(_ARRAY, msgpack.packb([*header, data.tobytes()], use_bin_type=True))
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise PlainDataError(
                    f"{where} has the key {key!r}; the keys of a dict are strings."
                )
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise PlainDataError(
        f"{where} is a {type(value).__name__}; expected numbers, strings, lists, dicts "
        "or numeric NumPy arrays."
    )


def _extension(code: int, data: bytes) -> Any:
    if code == _INTEGER and len(data) < 1000:
        return int(data.decode())
    if code == _COMPLEX and len(data) == 16:
        return complex(np.frombuffer(data, np.complex128)[0])
    if code != _ARRAY:
        raise PlainDataError(f"This is no packed plain data: unknown extension {code}.")
    name, shape, content = msgpack.unpackb(data, raw=False, strict_map_key=True)
    if not isinstance(name, str) or len(name) > 8 or not isinstance(content, bytes):
        raise PlainDataError("This is no packed plain data: an array's header is malformed.")
    dtype = np.dtype(name)
    sizes_are_whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if dtype.kind not in _DTYPES or not sizes_are_whole or len(shape) > 32:
        raise PlainDataError("This is no packed plain data: an array's header is malformed.")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise PlainDataError(
            f"An array claims shape {shape} of {dtype}, but {len(content)} bytes came with it."
        )
    return np.frombuffer(content, dtype).reshape(shape).copy()
