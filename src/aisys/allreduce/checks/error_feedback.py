"""Probes of 4.6: error feedback step after step, and payloads on their way to all ranks."""

from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.checks.compression import SPOILT
from aisys.allreduce.checks.faults import on_ranks_alike
from aisys.allreduce.checks.payloads import bytes_of, kept, refusal
from aisys.allreduce.checks.ranks import WITNESS, counted
from aisys.allreduce.compression import check_finite, joined
from aisys.allreduce.error_feedback import ErrorFeedback, allreduce_compressed, gather_payloads
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.probes import Verdict


def feedback_case(name: str, seed: int, n: int, steps: int, spoilt: str = "") -> Case:
    """A case of gradients, step after step; before the last one that is spoilt, if any is."""
    return Case(name, {"n": n, "steps": steps, "spoilt": spoilt}, seed)


def rank_case(name: str, seed: int, sizes: list[int]) -> Case:
    """A case of ranks with payloads of these lengths."""
    return Case(name, {"ranks": len(sizes), "sizes": sizes}, seed)


def mean_case(name: str, seed: int, ranks: int, n: int, steps: int = 1) -> Case:
    """A case of ranks with gradients of n elements, all-reduced so many times."""
    return Case(name, {"ranks": ranks, "n": n, "steps": steps}, seed)


class Tenths:
    """A compressor of the checks: rounds to a tenth of the largest magnitude, and counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """A scale, float32, and a number, int8, for each element."""
        check_finite(gradient)
        self.calls += 1
        scale = np.array([np.abs(gradient).max(initial=0) / 10], np.float32)
        return joined(scale, np.rint(gradient / (scale or 1)).astype(np.int8))

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """The numbers times the scale."""
        if payload.nbytes != 4 + n:
            raise ValueError(f"{payload.nbytes} bytes came where a payload has {4 + n}.")
        return payload[:4].view(np.float32) * payload[4:].view(np.int8)


class Remembering(Tenths):
    """A compressor of the checks that keeps what it loses."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.lost = np.zeros(n, np.float32)

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """The payload of the gradient and of what was lost before."""
        wanted = gradient + self.lost
        payload = super().compress(wanted)
        self.lost = wanted - self.decompress(payload, len(wanted))
        return payload


def conserved(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: what was sent and what is kept are the sum of the gradients, at every step."""
    found = kept(got, expected)
    if found is not None:
        return found
    tenths, n = Tenths(), expected["gradient"].shape[1]
    given, sent = np.zeros(n), np.zeros(n)
    steps = zip(expected["gradient"], got["payloads"], expected["payloads"], strict=True)
    for step, (gradient, payload, wanted) in enumerate(steps):
        found = bytes_of(payload, wanted, f"step {step}")
        if found is not None:
            return found
        given, sent = given + gradient, sent + tenths.decompress(payload, n)
        if np.shape(got["residuals"][step]) != (n,):
            said = f"the residual has shape {list(np.shape(got['residuals'][step]))}"
            return Difference("shape", f"{said} after step {step}, expected [{n}].")
        size = 1e-5 * (1 + step) * (1 + np.abs(expected["gradient"]).max(initial=0))
        off = np.abs(given - sent - got["residuals"][step])
        if not off.max(initial=0) <= size:
            said = f"after step {step} the gradients' sum is not what was sent plus the residual: "
            return Difference("not conserved", f"{said}they differ by {off.max():.3g}.")
        other = tenths.decompress(payload, n) - tenths.decompress(wanted, n)
        if not np.abs(other).max(initial=0) <= size:
            said = f"at step {step} another thing was sent than what the gradient and the residual"
            return Difference("not sent", f"{said} before it make.")
    return None


def gathered(rtol: float = 0.0, atol: float = 0.0) -> Verdict:
    """A verdict on ranks: hardly more steps than the reference, and no more bytes in all.

    Args:
        rtol: Relative tolerance of what a rank returns.
        atol: Absolute tolerance of it.
    """
    judge = counted(rtol, atol, steps=1.5, messages=1000.0, nbytes=1000.0)

    def verdict(got: Plain, expected: Plain) -> Difference | None:
        found = judge(got, expected)
        if found is not None:
            return found
        for run, enough in zip(got["witnessed"], expected["witnessed"], strict=True):
            sent, most = sum(run["bytes"]), sum(enough["bytes"])
            if sent > most:
                said = f"all ranks together send {sent:,} bytes; {most:,} are enough."
                return Difference("too many bytes", said)
        return None

    return verdict


@probe(
    "4.6 ErrorFeedback.compress",
    cases=[
        feedback_case("5 steps of 12 elements", 1, 12, 5),
        feedback_case("NaN before the last step", 2, 8, 3, spoilt="NaN"),
    ],
    verdict=conserved,
)
def feedback_steps(case: dict, rng: np.random.Generator) -> Plain:
    """Payloads and residuals of gradients, step after step, of a compressor of the checks."""
    gradients = rng.standard_normal((case["steps"], case["n"])).astype(np.float32)
    feedback: Any = ErrorFeedback(Tenths(), case["n"])
    payloads, residuals, refused = [], [], ""
    for step, gradient in enumerate(gradients):
        if case["spoilt"] and step == case["steps"] - 1:
            spoilt = gradient.copy()
            spoilt[rng.integers(case["n"])] = SPOILT[case["spoilt"]]
            refused = refusal(partial(feedback.compress, spoilt))
        payloads.append(np.array(feedback.compress(gradient)))
        residuals.append(np.array(feedback.residual))
    return {
        "payloads": payloads,
        "residuals": residuals,
        "gradient": gradients,
        "refused": refused,
    }


@probe(
    "4.6 gather_payloads",
    cases=[
        rank_case("4 ranks, 30 bytes each", 1, [30] * 4),
        rank_case("3 ranks, 5, 200 and no bytes", 2, [5, 200, 0]),
        rank_case("one rank", 3, [7]),
    ],
    verdict=gathered(),
    witness=WITNESS,
)
def gathered_payloads(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank has of drawn payloads in the end."""

    def program(transport: Transport, payload: np.ndarray) -> Plain:
        return [np.asarray(each) for each in gather_payloads(transport, payload)]

    payloads = [rng.integers(0, 256, size).astype(np.uint8) for size in case["sizes"]]
    return on_ranks_alike(case, program, payloads)


@probe(
    "4.6 allreduce_compressed",
    cases=[
        mean_case("3 ranks, 40 elements", 1, 3, 40),
        mean_case("4 ranks, 3 steps", 2, 4, 25, 3),
        mean_case("2 ranks, no element", 3, 2, 0),
    ],
    verdict=gathered(rtol=1e-5, atol=1e-5),
    witness=WITNESS,
)
def compressed_means(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank has after each step, with a compressor that sees how often it is called."""

    def program(transport: Transport, gradients: np.ndarray) -> Plain:
        compressor = Remembering(case["n"])
        means = [np.array(allreduce_compressed(transport, each, compressor)) for each in gradients]
        return {"means": means, "calls": compressor.calls}

    shape = (case["ranks"], case["steps"], case["n"])
    return on_ranks_alike(case, program, list(rng.standard_normal(shape).astype(np.float32)))
