"""Probes of 4.6: what compressors make of gradients, and what becomes of drawn payloads."""

import warnings
from collections.abc import Callable

import numpy as np

from aisys.allreduce.checks.payloads import (
    int8_close,
    largest_kept,
    refusal,
    same_bytes,
    three_close,
    two_means,
)
from aisys.allreduce.compression import (
    CHUNK,
    compress_int8,
    decompress_int8,
    joined,
    one_bit,
    top_k,
)
from aisys.allreduce.three_lc import (
    ZEROS,
    expand_runs_3lc,
    pack_3lc,
    quantise_3lc,
    run_lengths_3lc,
    unpack_3lc,
)
from aisys.course import Case, Plain, probe

SPOILT = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}


def gradient_case(name: str, seed: int, n: int, spread: float = 1.0, **inputs: object) -> Case:
    """A case of a gradient: `kind` and `spoilt` as in `_gradient`; what is left out is as here."""
    default = {"n": n, "spread": spread, "kind": "any", "spoilt": ""}
    return Case(name, {**default, **inputs}, seed)


def byte_case(name: str, seed: int, n: int, **inputs: object) -> Case:
    """A case of drawn values or bytes."""
    return Case(name, {"n": n, **inputs}, seed)


def run_case(name: str, seed: int, runs: list[int], zeros_last: bool = False) -> Case:
    """A case of bytes: runs of zeros of these lengths, with other bytes between them."""
    return Case(name, {"runs": runs, "zeros_last": zeros_last}, seed)


@probe(
    "4.6 compress_int8",
    cases=[
        gradient_case("1,000 elements", 1, 1000),
        gradient_case("two chunks, one of zeros", 2, 512, kind="half zeros"),
        gradient_case("no element", 3, 0),
        gradient_case("NaN among the elements", 4, 300, spoilt="NaN"),
    ],
    verdict=int8_close,
)
def int8_payloads(case: dict, rng: np.random.Generator) -> Plain:
    """The payload of a gradient; a NaN made int8 is an error: processors differ on what it is."""

    def compress(gradient: np.ndarray) -> Plain:
        with np.errstate(invalid="warn"), warnings.catch_warnings():
            warnings.filterwarnings("error", "invalid value encountered in cast")
            return {"payload": compress_int8(gradient)}

    return _compressed(case, rng, compress)


@probe(
    "4.6 decompress_int8",
    cases=[byte_case("600 elements", 1, 600), byte_case("no element", 2, 0)],
    rtol=1e-6,
)
def int8_values(case: dict, rng: np.random.Generator) -> Plain:
    """What becomes of a drawn payload."""
    scales = rng.exponential(size=-(-case["n"] // CHUNK)).astype(np.float32)
    codes = rng.integers(-127, 128, case["n"]).astype(np.int8)
    return decompress_int8(joined(scales, codes), case["n"])


@probe(
    "4.6 top_k",
    cases=[
        gradient_case("7 of 200", 1, 200, k=7),
        gradient_case("7 of 100, most of them equal", 2, 100, k=7, kind="ties"),
        gradient_case("none", 3, 20, k=0),
        gradient_case("infinity among the elements", 4, 50, k=2, spoilt="infinity"),
    ],
    verdict=largest_kept,
)
def top_k_payloads(case: dict, rng: np.random.Generator) -> Plain:
    """The payload of a gradient."""
    return _compressed(case, rng, lambda gradient: {"payload": top_k(gradient, case["k"])})


@probe(
    "4.6 one_bit",
    cases=[
        gradient_case("100 elements", 1, 100),
        gradient_case("none below 0", 2, 13, kind="positive"),
        gradient_case("zeros", 3, 9, kind="zeros"),
        gradient_case("minus infinity among the elements", 4, 30, spoilt="minus infinity"),
    ],
    verdict=two_means,
)
def one_bit_payloads(case: dict, rng: np.random.Generator) -> Plain:
    """The payload of a gradient."""
    return _compressed(case, rng, lambda gradient: {"payload": one_bit(gradient)})


@probe(
    "4.6 quantise_3lc",
    cases=[
        gradient_case("100 elements, s = 1", 1, 100, 0.3, sparsity=1.0),
        gradient_case("100 elements, s = 1.5", 2, 100, 0.3, sparsity=1.5),
        gradient_case("zeros", 3, 10, kind="zeros", sparsity=1.0),
        gradient_case("NaN among the elements", 4, 30, sparsity=1.0, spoilt="NaN"),
    ],
    verdict=three_close,
)
def three_values(case: dict, rng: np.random.Generator) -> Plain:
    """The values and the scale of a gradient."""

    def quantised(gradient: np.ndarray) -> dict[str, Plain]:
        values, scale = quantise_3lc(gradient, case["sparsity"])
        return {"values": values, "scale": float(scale)}

    return _compressed(case, rng, quantised)


@probe(
    "4.6 pack_3lc",
    cases=[byte_case("20 values", 1, 20), byte_case("8 values", 2, 8), byte_case("none", 3, 0)],
    verdict=same_bytes,
)
def packed_values(case: dict, rng: np.random.Generator) -> Plain:
    """The bytes of drawn values."""
    return pack_3lc(rng.integers(-1, 2, case["n"]).astype(np.int8))


@probe(
    "4.6 unpack_3lc",
    cases=[byte_case("20 values", 1, 20), byte_case("8 values", 2, 8), byte_case("none", 3, 0)],
)
def unpacked_values(case: dict, rng: np.random.Generator) -> Plain:
    """The values of drawn bytes."""
    packed = rng.integers(0, 243, -(-case["n"] // 5)).astype(np.uint8)
    return unpack_3lc(packed, case["n"])


@probe(
    "4.6 run_lengths_3lc",
    cases=[
        run_case("runs of 1, 2 and 3", 1, [1, 2, 3]),
        run_case("runs of 14, 15, 16 and 30", 2, [14, 15, 16, 30], zeros_last=True),
        run_case("no bytes", 3, []),
    ],
    verdict=same_bytes,
)
def run_lengths(case: dict, rng: np.random.Generator) -> Plain:
    """The bytes of drawn bytes with runs of zeros."""
    parts = [np.zeros(0, np.int64)]
    for length in case["runs"]:
        others = rng.integers(0, 242, rng.integers(1, 4))
        parts += [others + (others >= ZEROS), np.full(length, ZEROS)]
    if not case["zeros_last"] and case["runs"]:
        parts.append(np.array([int(rng.integers(0, ZEROS))]))
    return run_lengths_3lc(np.concatenate(parts).astype(np.uint8))


@probe(
    "4.6 expand_runs_3lc",
    cases=[byte_case("12 bytes", 1, 12), byte_case("no bytes", 2, 0)],
    verdict=same_bytes,
)
def expanded_runs(case: dict, rng: np.random.Generator) -> Plain:
    """The bytes of drawn bytes, of which half stand for runs."""
    other, run = rng.integers(0, 243, case["n"]), rng.integers(243, 256, case["n"])
    return expand_runs_3lc(np.where(rng.random(case["n"]) < 0.5, run, other).astype(np.uint8))


def _gradient(case: dict, rng: np.random.Generator) -> np.ndarray:
    """A gradient whose elements differ in magnitude by about exp(spread), float32."""
    n = case["n"]
    gradient = rng.standard_normal(n) * np.exp(rng.normal(0, case["spread"], n))
    if case["kind"] == "zeros":
        gradient[:] = 0
    elif case["kind"] == "half zeros":
        gradient[n // 2 :] = 0
    elif case["kind"] == "positive":
        gradient = np.abs(gradient)
    elif case["kind"] == "negative":
        gradient = -np.abs(gradient)
    elif case["kind"] == "ties":
        gradient = np.where(rng.random(n) < 0.5, -2.0, 2.0)
        gradient[: n // 4] = rng.permutation(n // 4) / n
    return gradient.astype(np.float32)


def _compressed(
    case: dict, rng: np.random.Generator, compress: Callable[[np.ndarray], dict[str, Plain]]
) -> Plain:
    """What a compressor makes of a gradient; and what it raises if the gradient is spoilt."""
    gradient = _gradient(case, rng)
    made, refused = compress(gradient), ""
    if case["spoilt"]:
        spoilt = gradient.copy()
        spoilt[rng.integers(len(spoilt))] = SPOILT[case["spoilt"]]
        refused = refusal(lambda: compress(spoilt))
    return {**made, "gradient": gradient, "refused": refused}
