"""Plain data crosses the border unchanged; nothing else does, and no bytes can do harm."""

import math
import pickle
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aisys.course import PlainDataError, plain
from aisys.course.plain import MAX_DEPTH, canonical, pack, unpack

DTYPES = "?bhilBHILefdFD"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**4000), 2**4000) | st.floats() | st.complex_numbers()
ARRAYS = hnp.arrays(
    st.sampled_from([order + code for code in DTYPES for order in "<>"]).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
)
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | NUMBERS | TEXT | st.binary(max_size=8) | ARRAYS
)
PLAIN = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


def alike(left: Any, right: Any) -> bool:
    """Equal in type and in every bit, but for the byte order of an array."""
    if isinstance(left, np.ndarray):
        native = left.astype(left.dtype.newbyteorder("<"))
        return (
            isinstance(right, np.ndarray)
            and right.dtype == native.dtype
            and right.shape == left.shape
            and right.tobytes() == native.tobytes()
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, complex):
        return alike(left.real, right.real) and alike(left.imag, right.imag)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, dict):
        return sorted(left) == list(right) and all(alike(left[key], right[key]) for key in left)
    return bool(left == right)


def refused(value: Any) -> str:
    with pytest.raises(PlainDataError) as caught:
        pack(value)
    return str(caught.value)


@given(PLAIN)
@settings(max_examples=100, deadline=None)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    assert alike(value, canonical(value))
    assert pack(canonical(value)) == pack(value)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_plain_data_or_one_error(data: bytes) -> None:
    try:
        value = unpack(data)
    except PlainDataError:
        return
    pack(value)


@given(PLAIN, st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_plain_data_or_one_error(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(pack(value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        value = unpack(bytes(damaged))
    except PlainDataError:
        return
    pack(value)


@given(PLAIN)
@settings(max_examples=50, deadline=None)
def test_cut_off_bytes_and_trailing_bytes_are_errors(value: Any) -> None:
    packed = pack(value)
    for wrong in (packed[:-1], packed + b"\0"):
        with pytest.raises(PlainDataError):
            unpack(wrong)


def test_tuples_become_lists_and_numpy_scalars_python_numbers() -> None:
    value = {"a": (1, np.float32(0.5)), "b": np.int64(3), "c": np.bool_(True)}
    made = canonical(value)
    assert made == {"a": [1, 0.5], "b": 3, "c": True}
    assert [type(item) for item in (*made["a"], made["b"], made["c"])] == [int, float, int, bool]
    assert canonical(np.complex64(1 + 2j)) == 1 + 2j
    assert math.isnan(canonical(np.float64("nan")))


def test_the_order_of_a_dict_does_not_travel() -> None:
    assert pack({"b": 1, "a": {"d": 2, "c": 3}}) == pack({"a": {"c": 3, "d": 2}, "b": 1})


def test_an_arrays_layout_does_not_travel() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for view in (array.T, array[::2, ::-1], np.asfortranarray(array), np.broadcast_to(1.0, (2, 3))):
        made = canonical(view)
        assert np.array_equal(made, view)
        assert made.flags.c_contiguous and made.flags.writeable and made.flags.owndata


def test_what_comes_back_is_a_copy() -> None:
    array = np.zeros(3)
    made = canonical({"x": array})
    made["x"][0] = 7
    assert array[0] == 0


KINDS = "numbers, strings, lists, dicts or numeric NumPy arrays"
NUMERIC = "only numeric arrays may be returned"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1}, f"value is a set; expected {KINDS}."),
        ({"a": [0, object()]}, f"value['a'][1] is a object; expected {KINDS}."),
        ({1: 2}, "value has a key of type int; the keys of a dict are strings."),
        (np.array([None]), f"value is an array of dtype object; {NUMERIC}."),
        (np.array(["a"]), f"value is an array of dtype <U1; {NUMERIC}."),
        (np.zeros(2, "i4,f8"), f"value is an array of dtype {np.dtype('i4,f8')}; {NUMERIC}."),
        (np.datetime64("2020"), "value is a NumPy datetime64[Y]; only numbers may be returned."),
        ([2**5000], "value[0] is a whole number of 626 bytes; at most 512 may be."),
        (np.broadcast_to(0.0, 10**12), "The result has 8,000,000,000,000 bytes; at most 67,108,864 "
         "may be."),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_not_plain_is_refused_with_its_place(value: Any, sentence: str) -> None:
    assert refused(value) == sentence


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    assert refused(10**5000) == "value is a whole number of 2,077 bytes; at most 512 may be."
    assert refused({10**5000: 1}).startswith("value has a key of type int")


def test_a_lone_surrogate_is_refused() -> None:
    assert refused("\ud800").startswith("This cannot be packed: ")
    assert refused({"\ud800": 1}).startswith("This cannot be packed: ")


@pytest.mark.parametrize("code", ["longdouble", "clongdouble"])
def test_numbers_of_this_machine_only_are_refused(code: str) -> None:
    if np.dtype(code).itemsize in (8, 16) and np.dtype(code) == np.dtype("d"):
        pytest.skip("long doubles are doubles here")
    assert "only numbers may be" in refused(np.dtype(code).type(1))
    assert "only numeric arrays may be" in refused(np.ones(2, code))


def test_nesting_has_a_limit_on_both_sides() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert canonical(deep) == deep
    assert refused([deep]) == f"The result is nested more than {MAX_DEPTH} deep."
    loop: list[Any] = []
    loop.append(loop)
    assert refused(loop) == f"The result is nested more than {MAX_DEPTH} deep."
    for levels in (MAX_DEPTH + 1, 500, 100_000):
        with pytest.raises(PlainDataError):
            unpack(b"\x91" * levels + b"\x90")


def forged(name: Any, shape: Any, content: Any) -> bytes:
    return msgpack.packb(msgpack.ExtType(1, msgpack.packb([name, shape, content])))


def test_an_honest_header_is_read() -> None:
    assert unpack(forged("<i4", [2], b"\1\0\0\0\2\0\0\0")).tolist() == [1, 2]


def test_a_header_that_claims_more_than_came_is_answered_with_both_sizes() -> None:
    with pytest.raises(PlainDataError) as caught:
        unpack(forged("<f8", [10**10], b"\0" * 8))
    assert str(caught.value) == (
        "An array claims shape [10000000000] of float64, but 8 bytes came with it."
    )


@pytest.mark.parametrize(
    ("name", "shape", "content"),
    [
        ("<f8", [10**10], b""),
        ("<f8", [2**62, 2**62], b"\0" * 8),
        ("<f8", [0, 2**63], b""),
        ("<f8", [-1], b"\0" * 8),
        ("<f8", [1.0], b"\0" * 8),
        ("<f8", [True], b"\0" * 8),
        ("<f8", [1] * 100, b"\0" * 8),
        ("<f8", 1, b"\0" * 8),
        ("<f8", None, b"\0" * 8),
        ("<f8", [1], "text"),
        ("<f8", [1], b"\0" * 7),
        ("<f8", [1], [0] * 8),
        ("|O", [1], b"\0" * 8),
        ("O", [1], b"\0" * 8),
        ("<U2", [1], b"\0" * 8),
        ("<M8[s]", [1], b"\0" * 8),
        ("i4,i4", [1], b"\0" * 8),
        ("(8,)u1", [1], b"\0" * 8),
        (">f8", [1], b"\0" * 8),
        ("<f16", [1], b"\0" * 16),
        (["<f8"], [1], b"\0" * 8),
        ({"a": 1}, [1], b"\0" * 8),
        (8, [1], b"\0" * 8),
        ("|b1", [3], b"\0\2\1"),
    ],
)
def test_a_hostile_array_header_is_one_error(name: Any, shape: Any, content: Any) -> None:
    with pytest.raises(PlainDataError):
        unpack(forged(name, shape, content))


@pytest.mark.parametrize(
    "packed",
    [
        pickle.dumps([1, 2]),
        b"",
        b"\xc1",
        b"\x81\x01\x02",  # a dict with the key 1
        b"\x81\xc4\x01a\x02",  # a dict with the key b"a"
        b"\x82\xa1a\x01\xa1a\x02",  # a dict with the key "a" twice
        b"\xa1\xff",  # a text that is no UTF-8
        b"\xdd\xff\xff\xff\xff",  # a list that claims four thousand million items
        b"\xdd\x00\x10\x00\x00" * 1000,  # lists that claim a million items, inside each other
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb({"a": [msgpack.Timestamp(1)]}),
        msgpack.packb(msgpack.ExtType(9, b"")),
        msgpack.packb(msgpack.ExtType(1, b"")),
        msgpack.packb(msgpack.ExtType(1, b"\x90")),
        msgpack.packb(msgpack.ExtType(2, b"\0" * 15)),
        msgpack.packb(msgpack.ExtType(3, b"\0" * 1000)),
    ],
)
def test_malformed_bytes_are_one_error(packed: bytes) -> None:
    with pytest.raises(PlainDataError):
        unpack(packed)


def test_the_size_of_a_result_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_BYTES", 10_000)
    monkeypatch.setattr(plain, "MAX_ITEMS", 1_000)
    for act, value in [(unpack, b"\0" * 10_001), (pack, "a" * 10_001), (pack, np.zeros(1251))]:
        with pytest.raises(PlainDataError, match="bytes; at most 10,000 may be"):
            act(value)
    assert len(canonical([0] * 999)) == 999
    flat, bushy = [0] * 1_001, [[[]]] * 600
    for many in (flat, bushy):
        with pytest.raises(PlainDataError):
            canonical(many)
