"""Stage 4.6: hidden cases, mistakes, alternatives and the model answer of compressed gradients."""

from typing import Any

import numpy as np

from aisys.allreduce.checks.compression import byte_case, gradient_case, run_case
from aisys.allreduce.checks.error_feedback import feedback_case, mean_case, rank_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _spoilt(rng: np.random.Generator, number: int, **inputs: Any) -> list[Case]:
    """A case for each value that is not finite."""
    return [
        gradient_case(
            f"hidden {number + more}: {value} among the elements", _seed(rng),
            int(rng.integers(20, 600)), spoilt=value, **inputs,
        )
        for more, value in enumerate(("NaN", "infinity", "minus infinity"))
    ]  # fmt: skip


def int8s(rng: np.random.Generator) -> list[Case]:
    """Chunks that are full or not, of small and of large elements, of zeros."""
    n = int(rng.integers(600, 2000))
    return [
        gradient_case(f"hidden 1: {n} elements", _seed(rng), n),
        gradient_case("hidden 2: chunks of very different size", _seed(rng), 1024, 4.0),
        gradient_case("hidden 3: a full chunk", _seed(rng), 256),
        gradient_case("hidden 4: one more than a chunk", _seed(rng), 257, 2.0),
        gradient_case("hidden 5: half of them zeros", _seed(rng), 1024, kind="half zeros"),
        gradient_case("hidden 6: all below 0", _seed(rng), 300, kind="negative"),
        gradient_case("hidden 7: no element", _seed(rng), 0),
        *_spoilt(rng, 8),
    ]


def sized(rng: np.random.Generator) -> list[Case]:
    """Payloads of as many elements as fill chunks, or not."""
    n = int(rng.integers(520, 1500))
    sizes = (n, 512, 257, 1, 0)
    return [byte_case(f"hidden {i}: {n} elements", _seed(rng), n) for i, n in enumerate(sizes, 1)]


def largest(rng: np.random.Generator) -> list[Case]:
    """Few, all or none of the elements, with elements that are equal."""
    n = int(rng.integers(200, 900))
    k = int(rng.integers(2, 30))
    return [
        gradient_case(f"hidden 1: {k} of {n}", _seed(rng), n, k=k),
        gradient_case("hidden 2: one", _seed(rng), n, k=1),
        gradient_case("hidden 3: most of them equal", _seed(rng), 120, k=k, kind="ties"),
        gradient_case("hidden 4: zeros", _seed(rng), 50, k=3, kind="zeros"),
        gradient_case("hidden 5: all", _seed(rng), 17, k=17),
        gradient_case("hidden 6: none", _seed(rng), 17, k=0),
        gradient_case("hidden 7: none of none", _seed(rng), 0, k=0),
        gradient_case("hidden 8: the largest are below 0", _seed(rng), 90, k=k, kind="negative"),
        *_spoilt(rng, 9, k=2),
    ]


def signs(rng: np.random.Generator) -> list[Case]:
    """Elements of both kinds, of one, and zeros."""
    n = 8 * int(rng.integers(20, 200)) + int(rng.integers(1, 8))
    return [
        gradient_case(f"hidden 1: {n} elements", _seed(rng), n),
        gradient_case("hidden 2: as many as fill bytes", _seed(rng), 64, 2.0),
        gradient_case("hidden 3: half of them zeros", _seed(rng), 50, kind="half zeros"),
        gradient_case("hidden 4: all below 0", _seed(rng), 21, kind="negative"),
        gradient_case("hidden 5: none below 0", _seed(rng), 22, kind="positive"),
        gradient_case("hidden 6: no element", _seed(rng), 0),
        *_spoilt(rng, 7),
    ]


def threes(rng: np.random.Generator) -> list[Case]:
    """Several multipliers; zeros, nothing."""
    n = int(rng.integers(100, 800))
    s = round(float(rng.uniform(1.2, 1.9)), 2)
    return [
        gradient_case(f"hidden 1: {n} elements, s = 1", _seed(rng), n, 0.2, sparsity=1.0),
        gradient_case(f"hidden 2: s = {s}", _seed(rng), n, 0.2, sparsity=s),
        gradient_case("hidden 3: all below 0", _seed(rng), 60, 0.2, kind="negative", sparsity=1.3),
        gradient_case("hidden 4: half of them zeros", _seed(rng), 60, kind="half zeros",
                      sparsity=1.0),
        gradient_case("hidden 5: zeros", _seed(rng), 9, kind="zeros", sparsity=1.5),
        gradient_case("hidden 6: no element", _seed(rng), 0, sparsity=1.0),
        *_spoilt(rng, 7, sparsity=1.0),
    ]  # fmt: skip


def valued(rng: np.random.Generator) -> list[Case]:
    """As many values as fill bytes, or not."""
    n = 5 * int(rng.integers(20, 100))
    sizes = (n, n + 1, n + 4, 3, 0)
    return [byte_case(f"hidden {i}: {n} values", _seed(rng), n) for i, n in enumerate(sizes, 1)]


def runs(rng: np.random.Generator) -> list[Case]:
    """Runs of every length up to 40, at the end and at the beginning, of nothing else, none."""
    drawn = [int(length) for length in rng.integers(1, 41, 8)]
    return [
        run_case("hidden 1: runs of any length", _seed(rng), drawn),
        run_case("hidden 2: runs of 1 to 16", _seed(rng), list(range(1, 17))),
        run_case("hidden 3: 28, 29 and 30 zeros, the last at the end", _seed(rng), [28, 29, 30],
                 zeros_last=True),
        run_case("hidden 4: one zero at the end", _seed(rng), [2, 1], zeros_last=True),
        run_case("hidden 5: no zeros", _seed(rng), [0, 0, 0]),
        run_case("hidden 6: no bytes", _seed(rng), []),
    ]  # fmt: skip


def expanded(rng: np.random.Generator) -> list[Case]:
    """Any bytes: every byte has a meaning."""
    sizes = (int(rng.integers(20, 100)), 200, 1, 0)
    return [byte_case(f"hidden {i}: {n} bytes", _seed(rng), n) for i, n in enumerate(sizes, 1)]


def feedbacks(rng: np.random.Generator) -> list[Case]:
    """Several steps, with and without a gradient that is refused."""
    n, steps = int(rng.integers(10, 60)), int(rng.integers(5, 10))
    return [
        feedback_case(f"hidden 1: {steps} steps of {n} elements", _seed(rng), n, steps),
        feedback_case("hidden 2: 20 steps of 5 elements", _seed(rng), 5, 20),
        feedback_case("hidden 3: one step", _seed(rng), n, 1),
        feedback_case("hidden 4: no element", _seed(rng), 0, 2),
        feedback_case("hidden 5: NaN on the way", _seed(rng), n, 4, "NaN"),
        feedback_case("hidden 6: infinity on the way", _seed(rng), n, 3, "infinity"),
    ]


def gathers(rng: np.random.Generator) -> list[Case]:
    """Equal and unequal lengths, also 0, for any number of ranks."""
    ranks = int(rng.integers(4, 6))
    unequal = [int(size) for size in rng.integers(1, 2000, ranks)]
    equal = int(rng.integers(10, 500))
    return [
        rank_case(f"hidden 1: {ranks} ranks, all lengths different", _seed(rng), unequal),
        rank_case("hidden 2: 3 ranks, equal lengths", _seed(rng), [equal] * 3),
        rank_case("hidden 3: one payload is long", _seed(rng), [3, 3000, 0, 10]),
        rank_case("hidden 4: 2 ranks", _seed(rng), [equal, 0]),
        rank_case("hidden 5: one rank", _seed(rng), [equal]),
        rank_case("hidden 6: nothing anywhere", _seed(rng), [0, 0, 0]),
    ]


def means(rng: np.random.Generator) -> list[Case]:
    """Any number of ranks, one step or several."""
    n = int(rng.integers(50, 300))
    return [
        mean_case(f"hidden 1: 4 ranks, {n} elements", _seed(rng), 4, n),
        mean_case("hidden 2: 3 ranks, 3 steps", _seed(rng), 3, n, 3),
        mean_case("hidden 3: one rank, 2 steps", _seed(rng), 1, 30, 2),
        mean_case("hidden 4: 2 ranks, no element", _seed(rng), 2, 0),
    ]


CASES = {
    "int8_payloads": int8s,
    "int8_values": sized,
    "top_k_payloads": largest,
    "one_bit_payloads": signs,
    "three_values": threes,
    "packed_values": valued,
    "unpacked_values": valued,
    "run_lengths": runs,
    "expanded_runs": expanded,
    "feedback_steps": feedbacks,
    "gathered_payloads": gathers,
    "compressed_means": means,
}

_REFUSE = "    check_finite(gradient)\n"

_CHOSEN, _AS_INT32 = "np.argpartition(-np.abs(gradient), k)[:k]", "places.astype(np.int32)"
_PLACES = (
    "NumPy counts places in int64: eight bytes each. Four are enough, and the format says int32: "
    "convert them with astype before they are joined."
)

MISTAKES = [
    Mistake(
        "4.6 compress_int8",
        "one scale for the whole gradient",
        hint="One large element makes the scale of its chunk large, and that of no other chunk. "
        "Each 256 elements have a scale of their own.",
        replace={
            "scales = np.abs(padded).max(axis=1) / np.float32(127)": (
                "scales = np.full(chunks, np.abs(padded).max(initial=0) / np.float32(127))"
            )
        },
    ),
    Mistake(
        "4.6 compress_int8",
        "rounded towards zero",
        hint="A conversion to int8 cuts the fraction off: an element may then be off by a whole "
        "scale. Round to the nearest first.",
        replace={"np.rint(": "np.trunc("},
    ),
    Mistake(
        "4.6 compress_int8",
        "the scale from the largest element",
        hint="The largest element may be below 0, or smaller in magnitude than the smallest. "
        "The scale comes from magnitudes.",
        replace={"np.abs(padded).max(axis=1)": "padded.max(axis=1)"},
    ),
    Mistake(
        "4.6 compress_int8",
        "a scale of 1 / 128",
        hint="int8 goes from -128 to 127: with 128 steps the largest positive element has no "
        "number. Divide by 127.",
        replace={"np.float32(127)": "np.float32(128)"},
    ),
    Mistake(
        "4.6 compress_int8",
        "the numbers of the padding sent",
        hint="The payload is longer than the format says: what fills the last chunk up is not "
        "sent.",
        replace={"codes.reshape(-1)[: len(gradient)]": "codes.reshape(-1)"},
    ),
    Mistake(
        "4.6 compress_int8",
        "NaN not refused",
        hint="NaN has no place among 255 numbers: it would arrive as an ordinary gradient. "
        "Refuse it before anything is computed.",
        replace={_REFUSE: ""},
    ),
    Mistake(
        "4.6 compress_int8",
        "0 / 0 in a chunk of zeros",
        hint="A chunk of zeros has the scale 0, and 0 / 0 is NaN; what int8 makes of a NaN differs "
        "from processor to processor. Divide such a chunk by 1.",
        replace={"np.where(scales > 0, scales, 1)[:, None]": "scales[:, None]"},
    ),
    Mistake(
        "4.6 compress_int8",
        "scales of 64 bits",
        hint="The payload is longer than the format says: your scales are float64, eight bytes "
        "each. They are sent as float32.",
        replace={"joined(scales, codes": "joined(scales.astype(np.float64), codes"},
    ),
    Mistake(
        "4.6 compress_int8",
        "the numbers before the scales",
        hint="The payload begins with the scales; the numbers come after them.",
        replace={
            "return joined(scales, codes.reshape(-1)[: len(gradient)])": (
                "return joined(codes.reshape(-1)[: len(gradient)], scales)"
            )
        },
    ),
    Mistake(
        "4.6 decompress_int8",
        "the numbers read as uint8",
        hint="A byte of a number below 0 was read as one above 127. The numbers are int8.",
        replace={"view(np.int8)": "view(np.uint8)"},
    ),
    Mistake(
        "4.6 decompress_int8",
        "one scale for all",
        hint="Each 256 elements have a scale of their own. np.repeat makes one for each element.",
        replace={"np.repeat(scales, CHUNK)[:n]": "(scales[0] if n else 1)"},
    ),
    Mistake(
        "4.6 decompress_int8",
        "the number of chunks rounded down",
        hint="The last chunk may be shorter, and it has a scale, too. Round n / 256 up.",
        replace={"chunks = -(-n // CHUNK)": "chunks = n // CHUNK"},
    ),
    Mistake(
        "4.6 decompress_int8",
        "scales taken in turn",
        hint="A scale belongs to 256 neighbours. np.tile goes through the scales again and again; "
        "np.repeat gives each of them 256 times.",
        replace={"np.repeat(scales, CHUNK)[:n]": "np.resize(scales, n)"},
    ),
    Mistake(
        "4.6 top_k",
        "the largest instead of the largest in magnitude",
        hint="A large element below 0 says as much as one above. Compare magnitudes.",
        replace={"-np.abs(gradient)": "-gradient"},
    ),
    Mistake(
        "4.6 top_k",
        "magnitudes sent",
        hint="What is compared are magnitudes, what is sent are the elements, each with its sign.",
        replace={"gradient[places])": "np.abs(gradient[places]))"},
    ),
    Mistake(
        "4.6 top_k",
        "all that reach the k-th magnitude",
        hint="Where elements are equal, more than k of them reach the k-th magnitude. The receiver "
        "expects exactly k.",
        source="""
def top_k(gradient, k):
    check_finite(gradient)
    magnitudes = np.abs(gradient)
    least = np.sort(magnitudes)[-k] if k else np.inf
    places = np.flatnonzero(magnitudes >= least)
    return joined(places.astype(np.int32), gradient[places])
""",
    ),
    Mistake(
        "4.6 top_k",
        "[-k:] for k = 0",
        hint="A slice [-0:] is the whole array. Count from the front, or treat k = 0 by itself.",
        source="""
def top_k(gradient, k):
    check_finite(gradient)
    places = np.argsort(np.abs(gradient))[-k:].astype(np.int32)
    return joined(places, gradient[places])
""",
    ),
    *(
        Mistake("4.6 top_k", title, hint=_PLACES, replace={_CHOSEN: chosen, _AS_INT32: "places"})
        for title, chosen in (
            ("places of 64 bits", _CHOSEN),
            ("places of 64 bits, from argsort", "np.argsort(-np.abs(gradient))[:k]"),
            ("places of 64 bits, from the end", "np.argsort(np.abs(gradient))[-k:]"),
            ("places of 64 bits, backwards", "np.argsort(np.abs(gradient))[::-1][:k]"),
        )
    ),
    Mistake(
        "4.6 top_k",
        "the elements before their places",
        hint="The payload begins with the places; the elements come after them.",
        replace={
            "joined(places.astype(np.int32), gradient[places])": (
                "joined(gradient[places], places.astype(np.int32))"
            )
        },
    ),
    Mistake(
        "4.6 top_k",
        "NaN not refused",
        hint="Comparisons with NaN are neither true nor false in any order, so it may be left out "
        "silently, and infinity would be sent. Refuse both first.",
        replace={_REFUSE: ""},
    ),
    Mistake(
        "4.6 one_bit",
        "one mean of all magnitudes",
        hint="The elements of at least 0 have one mean, those below 0 another: in magnitude they "
        "need not be equal.",
        replace={
            "        members = gradient[bits == kind]\n        if len(members):\n"
            "            means[kind] = members.mean(dtype=np.float64)": (
                "        if len(gradient):\n"
                "            means[kind] = (2 * kind - 1) * np.abs(gradient).mean()"
            )
        },
    ),
    Mistake(
        "4.6 one_bit",
        "the means in the other order",
        hint="The mean of the elements below 0 stands first: then a bit is the place of its mean.",
        replace={"joined(means,": "joined(means[::-1],"},
    ),
    Mistake(
        "4.6 one_bit",
        "the mean of none",
        hint="The mean of no elements is NaN. Where there are none of a kind, send 0.",
        replace={
            "        if len(members):\n            means[kind]": (
                "        if True:\n            means[kind]"
            )
        },
    ),
    Mistake(
        "4.6 one_bit",
        "zero counted as below 0",
        hint="An element of exactly 0 is at least 0: its bit is 1, and it counts in that mean.",
        replace={"gradient >= 0": "gradient > 0"},
    ),
    Mistake(
        "4.6 one_bit",
        "the last bit first",
        hint="Your bytes have their bits in the other order. np.packbits puts the first element "
        "into the highest bit by default.",
        replace={"np.packbits(bits)": 'np.packbits(bits, bitorder="little")'},
    ),
    Mistake(
        "4.6 one_bit",
        "NaN not refused",
        hint="NaN >= 0 is false: as a bit, NaN is an ordinary number. Refuse it first.",
        replace={_REFUSE: ""},
    ),
    Mistake(
        "4.6 one_bit",
        "means of 64 bits",
        hint="The payload is longer than the format says: your means are float64, eight bytes "
        "each. They are sent as float32.",
        replace={"np.zeros(2, np.float32)": "np.zeros(2)"},
    ),
    Mistake(
        "4.6 one_bit",
        "a byte for each bit",
        hint="A bool has a byte of its own in NumPy. np.packbits puts eight of them into one.",
        replace={"np.packbits(bits)": "bits"},
    ),
    Mistake(
        "4.6 quantise_3lc",
        "divided by the multiplier",
        hint="A larger multiplier makes the scale larger, so that more elements lie nearer to 0.",
        replace={
            "scale = sparsity * np.float64(np.abs(gradient).max(initial=0))": (
                "scale = np.float64(np.abs(gradient).max(initial=0)) / sparsity"
            )
        },
    ),
    Mistake(
        "4.6 quantise_3lc",
        "the signs",
        hint="An element below half of the scale is nearer to 0 than to the scale: it becomes 0.",
        replace={"np.rint(gradient / scale)": "np.sign(gradient)"},
    ),
    Mistake(
        "4.6 quantise_3lc",
        "the scale from the largest element",
        hint="The largest in magnitude may be below 0.",
        replace={"np.abs(gradient).max(initial=0)": "gradient.max(initial=0)"},
    ),
    Mistake(
        "4.6 quantise_3lc",
        "NaN not refused",
        hint="With NaN in it the gradient has no largest magnitude, and its values would still "
        "look like values. Refuse it first.",
        replace={_REFUSE: ""},
    ),
    Mistake(
        "4.6 quantise_3lc",
        "the multiplier forgotten",
        hint="The scale is the largest magnitude times the sparsity multiplier.",
        replace={"scale = sparsity * np.float64": "scale = np.float64"},
    ),
    Mistake(
        "4.6 pack_3lc",
        "the first value is the lowest digit",
        hint="The first of five neighbours counts 81, the last 1.",
        replace={"[81, 27, 9, 3, 1]": "[1, 3, 9, 27, 81]"},
    ),
    Mistake(
        "4.6 pack_3lc",
        "filled up with the digit 0",
        hint="The digit 0 stands for -1. What fills the last five up is the value 0, the digit 1: "
        "then zeros at the end are a byte 121 like others.",
        replace={"np.ones((": "np.zeros(("},
    ),
    Mistake(
        "4.6 pack_3lc",
        "bytes of 64 bits",
        hint="Your numbers are right, but each of them has more than one byte. Return uint8.",
        replace={"sum(axis=1, dtype=np.uint8)": "sum(axis=1, dtype=np.int64)"},
    ),
    Mistake(
        "4.6 pack_3lc",
        "values taken for digits",
        hint="A digit is a value plus 1: there is no digit -1, and five zeros are the byte 121, "
        "not 0.",
        replace={"= values + 1": "= values"},
    ),
    Mistake(
        "4.6 unpack_3lc",
        "the lowest digit first",
        hint="The first of the five values is the highest digit of its byte, the one that counts "
        "81.",
        replace={"[81, 27, 9, 3, 1]": "[1, 3, 9, 27, 81]"},
    ),
    Mistake(
        "4.6 unpack_3lc",
        "1 taken away from bytes",
        hint="0 - 1 is 255 in uint8. Convert first, then take 1 away.",
        replace={".astype(np.int8) - 1": " - np.uint8(1)"},
    ),
    Mistake(
        "4.6 unpack_3lc",
        "what was filled up is returned, too",
        hint="The last byte may hold fewer than five values; n says how many there are.",
        replace={"reshape(-1)[:n]": "reshape(-1)"},
    ),
    Mistake(
        "4.6 unpack_3lc",
        "digits taken for values",
        hint="What the divisions give are digits, 0, 1 and 2; a value is a digit minus 1.",
        replace={".astype(np.int8) - 1": ".astype(np.int8)"},
    ),
    Mistake(
        "4.6 run_lengths_3lc",
        "single zeros replaced, too",
        hint="Byte 243 stands for two bytes of zeros. A single 121 stays as it is.",
        replace={
            "np.where(lengths > 1, FIRST_RUN - 2 + lengths, packed[starts])": (
                "np.where((lengths > 1) | (packed[starts] == ZEROS), "
                "FIRST_RUN - 2 + np.maximum(lengths, 2), packed[starts])"
            )
        },
    ),
    Mistake(
        "4.6 run_lengths_3lc",
        "runs longer than fourteen in one byte",
        hint="241 plus fifteen is no byte any more. After fourteen another one begins.",
        replace={"(place_in_run % MOST_ZEROS == 0)": "(place_in_run == 0)"},
    ),
    Mistake(
        "4.6 run_lengths_3lc",
        "the value 0 for five zeros",
        hint="Five zeros are the digits 1, 1, 1, 1, 1: byte 121. Byte 0 stands for five times -1.",
        replace={"packed == ZEROS": "packed == 0"},
    ),
    Mistake(
        "4.6 run_lengths_3lc",
        "the number counted from 243",
        hint="The shortest run that is replaced has two bytes, and it has the lowest value that is "
        "free, 243: 241 plus two.",
        replace={"FIRST_RUN - 2 + lengths": "np.minimum(FIRST_RUN + lengths, 255)"},
    ),
    Mistake(
        "4.6 run_lengths_3lc",
        "a run at the end forgotten",
        hint="A run may end where the bytes do: what is written when the next byte is another is "
        "then never written.",
        source="""
def run_lengths_3lc(packed):
    encoded, run = [], 0
    for byte in packed.tolist():
        if byte == 121 and run < 14:
            run += 1
            continue
        if run:
            encoded.append(121 if run == 1 else 241 + run)
        run = int(byte == 121)
        if not run:
            encoded.append(byte)
    return np.array(encoded, np.uint8)
""",
    ),
    Mistake(
        "4.6 expand_runs_3lc",
        "one zero byte too few",
        hint="Byte 243 stands for two bytes of zeros, 255 for fourteen.",
        replace={"- FIRST_RUN + 2": "- FIRST_RUN + 1"},
    ),
    Mistake(
        "4.6 expand_runs_3lc",
        "runs of the byte 0",
        hint="A run is one of bytes 121: five zeros each, the digits 1, 1, 1, 1, 1.",
        replace={"np.uint8(ZEROS)": "np.uint8(0)"},
    ),
    Mistake(
        "4.6 expand_runs_3lc",
        "243 taken for a packed byte",
        hint="3 ** 5 is 243, so packed bytes end at 242, and 243 is the shortest run.",
        replace={"encoded >= FIRST_RUN": "encoded > FIRST_RUN"},
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "the residual is never added",
        hint="What was lost is kept, but it is not sent either. It belongs to the next gradient.",
        replace={"wanted = gradient + self.residual": "wanted = gradient"},
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "only what the gradient lost is kept",
        hint="What is lost is lost of the gradient and the old residual together; what of the old "
        "one is still not sent must stay.",
        replace={"self.residual = wanted - self": "self.residual = gradient - self"},
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "residuals added up",
        hint="The old residual is in what was compressed already. Adding it again counts it twice.",
        replace={"self.residual = wanted - self": "self.residual = self.residual + wanted - self"},
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "the gradient changed",
        hint="`gradient += residual` writes into the caller's array. Make a new one.",
        replace={
            "wanted = gradient + self.residual": (
                "wanted = gradient\n        wanted += self.residual"
            )
        },
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "the residual changed before the compressor has agreed",
        hint="A gradient with NaN is refused, and the run may go on with the next one. But NaN is "
        "already in your residual, and stays there.",
        replace={
            "wanted = gradient + self.residual": (
                "wanted = self.residual = gradient + self.residual"
            )
        },
    ),
    Mistake(
        "4.6 ErrorFeedback.compress",
        "what was sent is kept",
        hint="The residual is what was not sent: what was wanted minus what arrives.",
        replace={"self.residual = wanted - self": "self.residual = self"},
    ),
    Mistake(
        "4.6 gather_payloads",
        "filled up to the longest",
        hint="One long payload makes all others long. After the lengths have travelled every "
        "receiver knows what comes, and nothing has to be filled up.",
        source="""
def gather_payloads(transport, payload):
    rank, world_size = transport.rank, transport.world_size
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    lengths = [len(payload)] * world_size
    for step in range(world_size - 1):
        sent, arriving = np.array([lengths[(rank - step) % world_size]]), np.zeros(1, np.int64)
        transport.sendrecv(sent, after, arriving, before)
        lengths[(rank - step - 1) % world_size] = int(arriving[0])
    padded = np.zeros((world_size, max(lengths)), np.uint8)
    padded[rank, : len(payload)] = payload
    for step in range(world_size - 1):
        arriving = padded[(rank - step - 1) % world_size]
        transport.sendrecv(padded[(rank - step) % world_size], after, arriving, before)
    return [padded[other, : lengths[other]].copy() for other in range(world_size)]
""",
    ),
    Mistake(
        "4.6 gather_payloads",
        "through rank 0",
        hint="Rank 0 sends all payloads to everybody, and everybody sends theirs to rank 0 first. "
        "In a ring each payload is sent once for each other rank, and no more often.",
        source="""
def gather_payloads(transport, payload):
    lengths = np.zeros(transport.world_size, np.int64)
    lengths[transport.rank] = len(payload)
    payloads = [payload]
    if transport.rank == 0:
        for other in range(1, transport.world_size):
            transport.recv(lengths[other : other + 1], other)
            payloads.append(np.empty(lengths[other], np.uint8))
            transport.recv(payloads[-1], other)
        for other in range(1, transport.world_size):
            transport.send(lengths, other)
            transport.send(np.concatenate(payloads), other)
        return payloads
    transport.send(lengths[transport.rank : transport.rank + 1], 0)
    transport.send(payload, 0)
    transport.recv(lengths, 0)
    everything = np.empty(int(lengths.sum()), np.uint8)
    transport.recv(everything, 0)
    return np.split(everything, np.cumsum(lengths)[:-1])
""",
    ),
    Mistake(
        "4.6 gather_payloads",
        "in the order in which they arrive",
        hint="The first payload is that of rank 0, on every rank. What arrives comes from further "
        "back in each step: whose is it?",
        replace={"    return payloads": "    return payloads[rank:] + payloads[:rank]"},
    ),
    Mistake(
        "4.6 gather_payloads",
        "all as long as the own one",
        hint="Another rank's payload may be longer or shorter than yours: its length has to come "
        "before it does.",
        replace={"np.empty(length, np.uint8) for length": "np.empty(len(payload), np.uint8) for _"},
    ),
    Mistake(
        "4.6 allreduce_compressed",
        "the own gradient as it is",
        hint="The others know only your payload. If you add your gradient in full, you have "
        "another mean.",
        replace={
            "    for payload in payloads:\n"
            "        total += compressor.decompress(payload, len(gradient))\n": (
                "    for rank, payload in enumerate(payloads):\n"
                "        own = rank == transport.rank\n"
                "        total += gradient if own else "
                "compressor.decompress(payload, len(gradient))\n"
            )
        },
    ),
    Mistake(
        "4.6 allreduce_compressed",
        "the sum",
        hint="The mean is asked for. What did you divide by?",
        replace={"total / np.float32(transport.world_size)": "total"},
    ),
    Mistake(
        "4.6 allreduce_compressed",
        "each rank begins with its own",
        hint="Floating-point sums depend on the order. All ranks add in the order of the ranks, "
        "the own payload in its place.",
        replace={
            "    for payload in payloads:\n": (
                "    own = transport.rank\n    for payload in payloads[own:] + payloads[:own]:\n"
            )
        },
    ),
    Mistake(
        "4.6 allreduce_compressed",
        "compressed twice",
        hint="A compressor with error feedback has a new residual after each call: the second "
        "payload is another one. Call `compress` once, and keep what it returns.",
        replace={
            "gather_payloads(transport, compressor.compress(gradient))": (
                "gather_payloads(transport, compressor.compress(gradient))\n"
                "    payloads[transport.rank] = compressor.compress(gradient)"
            )
        },
    ),
    Mistake(
        "4.6 allreduce_compressed",
        "the payloads added up",
        hint="The sum of two payloads is no payload: each has scales of its own, and bytes "
        "overflow. Decompress each, then add.",
        replace={
            "        total += compressor.decompress(payload, len(gradient))\n": (
                "        pass\n    total = compressor.decompress(sum(payloads), len(gradient))\n"
            )
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.6 compress_int8",
        """
def compress_int8(gradient):
    if not np.isfinite(gradient).all():
        raise ValueError("NaN or infinity cannot be sent in 8 bits.")
    scales, parts = [], [np.zeros(0, np.int8)]
    for first in range(0, len(gradient), 256):
        part = gradient[first : first + 256].astype(np.float64)
        largest = max(part.max(), -part.min())
        scales.append(largest / 127)
        steps = 127 / largest if largest else 0.0
        parts.append(np.floor(part * steps + 0.5).astype(np.int8))
    payload = np.array(scales, "f4").tobytes() + np.concatenate(parts).tobytes()
    return np.frombuffer(payload, np.uint8)
""",
        title="chunk by chunk, multiplied by the reciprocal",
    ),
    Alternative(
        "4.6 decompress_int8",
        """
def decompress_int8(payload, n):
    values = payload[len(payload) - n :].view(np.int8).astype(np.float32)
    for chunk, scale in enumerate(payload[: len(payload) - n].view(np.float32)):
        values[256 * chunk : 256 * (chunk + 1)] *= scale
    return values
""",
        title="scales counted from the end",
    ),
    Alternative(
        "4.6 top_k",
        """
def top_k(gradient, k):
    if any(not np.isfinite(each) for each in gradient):
        raise ValueError("there is NaN or infinity in the gradient")
    chosen = sorted(range(len(gradient)), key=lambda place: -abs(float(gradient[place])))[:k]
    chosen = np.array(sorted(chosen), np.int32)
    values = np.array([gradient[place] for place in chosen], np.float32)
    return np.frombuffer(chosen.tobytes() + values.tobytes(), np.uint8).copy()
""",
        title="sorted in Python, the earlier of equal ones, places in order",
    ),
    Alternative(
        "4.6 one_bit",
        """
def one_bit(gradient):
    total = float(np.sum(gradient, dtype=np.float64))
    if not np.isfinite(total):
        raise ValueError("this gradient has diverged")
    is_low = np.signbit(gradient) & (gradient != 0)
    below = float(gradient[is_low].sum(dtype=np.float64))
    few, many = int(is_low.sum()), int((~is_low).sum())
    means = [below / max(few, 1), (total - below) / max(many, 1)]
    bits = np.zeros(-(-len(gradient) // 8) * 8, np.uint8)
    bits[: len(gradient)] = ~is_low
    places = 1 << np.arange(7, -1, -1)
    return joined(np.array(means, np.float32), (bits.reshape(-1, 8) @ places).astype(np.uint8))
""",
        title="sums and counts, bits packed by hand",
    ),
    Alternative(
        "4.6 quantise_3lc",
        """
def quantise_3lc(gradient, sparsity=1.0):
    if np.isnan(gradient).any() or np.isinf(gradient).any():
        raise ValueError("NaN or infinity")
    scale = sparsity * max((abs(float(each)) for each in gradient), default=0.0)
    values = np.zeros(len(gradient), np.int64)
    values[gradient > scale / 2] = 1
    values[gradient < -scale / 2] = -1
    return values, scale
""",
        title="a threshold at half of the scale",
    ),
    Alternative(
        "4.6 pack_3lc",
        """
def pack_3lc(values):
    digits = [int(value) + 1 for value in values]
    digits += [1] * (-len(digits) % 5)
    packed = np.zeros(len(digits) // 5, np.int64)
    for place in range(5):
        packed = 3 * packed + np.array(digits[place::5], np.int64)
    return packed.astype(np.uint8)
""",
        title="Horner's rule",
    ),
    Alternative(
        "4.6 unpack_3lc",
        """
def unpack_3lc(packed, n):
    rest, columns = packed.astype(np.int32), []
    for _ in range(5):
        rest, digit = np.divmod(rest, 3)
        columns.append(digit - 1)
    return np.stack(columns[::-1], axis=1).ravel()[:n]
""",
        title="divided by 3 five times",
    ),
    Alternative(
        "4.6 run_lengths_3lc",
        """
def run_lengths_3lc(packed):
    encoded, at, data = bytearray(), 0, bytes(packed)
    while at < len(data):
        run = 0
        while run < 14 and at + run < len(data) and data[at + run] == 121:
            run += 1
        encoded.append(241 + run if run > 1 else data[at])
        at += max(run, 1)
    return np.frombuffer(bytes(encoded), np.uint8)
""",
        title="byte by byte",
    ),
    Alternative(
        "4.6 expand_runs_3lc",
        """
def expand_runs_3lc(encoded):
    meaning = [bytes([byte]) for byte in range(243)] + [bytes([121]) * k for k in range(2, 15)]
    return np.frombuffer(b"".join(meaning[byte] for byte in encoded.tolist()), np.uint8)
""",
        title="a table of what each byte means",
    ),
    Alternative(
        "4.6 ErrorFeedback.compress",
        """
class ErrorFeedback:
    def compress(self, gradient):
        before = self.residual
        self.residual = before + gradient
        try:
            payload = self.compressor.compress(self.residual)
        except ValueError:
            self.residual = before
            raise
        self.residual -= self.compressor.decompress(payload, gradient.size)
        return payload
""",
        title="the residual as an account",
    ),
    Alternative(
        "4.6 gather_payloads",
        """
def gather_payloads(transport, payload):
    me, others = transport.rank, [r for r in range(transport.world_size) if r != transport.rank]
    size = np.array([len(payload)], np.int64)
    sizes = {other: np.zeros(1, np.int64) for other in others}
    requests = [transport.irecv(sizes[other], other) for other in others]
    requests += [transport.isend(size, other) for other in others]
    for request in requests:
        request.wait()
    found = {other: np.zeros(int(sizes[other][0]), np.uint8) for other in others}
    requests = [transport.irecv(found[other], other, 1) for other in others]
    requests += [transport.isend(payload, other, 1) for other in others]
    for request in requests:
        request.wait()
    found[me] = payload
    return [found[rank] for rank in range(transport.world_size)]
""",
        title="everybody to everybody",
    ),
    Alternative(
        "4.6 allreduce_compressed",
        """
def allreduce_compressed(transport, gradient, compressor):
    payload = compressor.compress(gradient)
    parts = [
        np.asarray(compressor.decompress(each, gradient.size), np.float64)
        for each in gather_payloads(transport, payload)
    ]
    return np.mean(parts, axis=0).astype(np.float32)
""",
        title="the mean of a stack, in float64",
    ),
]

ANSWERS = {
    "4.6-written": """
1. Horovod compresses, sums, decompresses, so the sum of the payloads has to be the payload of the
   sum. For float16 (and bfloat16) that holds up to rounding, because a payload is one number an
   element. int8: each rank and chunk has a scale of its own, so equal bytes mean different numbers,
   and sums of bytes overflow. Top-k: the ranks send different places; the sum of two places is a
   third one. 1-bit: the bits are packed, carries run into neighbours, and they belong to two means
   that differ from rank to rank. 3LC: the same for digits to the base 3, and the payloads differ in
   length. These have to be gathered and decompressed one by one.
2. A ring of float32 sends 2 (n - 1) / n times the gradient: 8 (n - 1) / n bytes an element.
   Gathering sends n - 1 payloads. At 8 bits that is n - 1 bytes, the same at n = 8; at 1 bit it is
   (n - 1) / 8, the same at n = 64, and there the lines meet in the plot. For two workers on a slow
   link 3LC with feedback: 0.3 bits, and nearly the accuracy of float32. For 256, float16 in
   a ring, half of float32 for any n; or gathering between a few nodes after a sum inside each.
3. Without feedback what is lost is lost for good, and it is the same in each step: elements that
   are never among the largest 1 % are never sent. That is a bias, and no number of steps averages
   it out: top-k 1 % stays at a loss of about 2.2, and on the two squares 3LC stays on a line that
   does not contain the minimum. With feedback the residual grows until it is sent, so what was sent
   and the true sum differ by one residual only. The price is an array as large as the gradient on
   each rank, and elements that come late, after the weights have moved on; with a large learning
   rate or momentum this hurts.
"""
}
