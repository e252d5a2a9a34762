"""What a message over TCP costs the processor, part by part, and what of it RDMA leaves out.

The parts are measured in `rdma_experiments`, and added up here: the program itself, system calls,
copies, the kernel's network code; what remains is waiting and waking. Registration of memory, which
only RDMA has, comes on its side. Everything is processor time: the copies at both ends run at the
same time, and seconds do not add up.
"""

from dataclasses import dataclass

from aisys.allreduce.cost_model import CostModel

HDR = 25e9
"""An assumption, not measured: the bandwidth of InfiniBand HDR, 200 Gbit/s, in bytes/s."""


@dataclass(frozen=True)
class Observed:
    """One message over TCP, on the average of many, both ranks together.

    Attributes:
        nbytes: Its size.
        seconds: From the sender to the receiver.
        cpu_seconds: Of both processes, in the program and in the kernel.
        calls: System calls: `"send"`, `"receive"`, `"wait"`.
    """

    nbytes: int
    seconds: float
    cpu_seconds: float
    calls: dict[str, float]


@dataclass(frozen=True)
class Parts:
    """What the parts cost on this machine, in seconds of processor time.

    Attributes:
        program: The transport's own code, a message.
        system_call: Into the kernel and back, with nothing to do there.
        copy: A byte, from memory to the cache or back.
        kernel: A send and a receive over TCP, with its system calls and its two copies.
        registration: Of memory: a call, and a byte.
        how: How registration was measured.
    """

    program: float
    system_call: float
    copy: float
    kernel: CostModel
    registration: CostModel
    how: str


def tcp_parts(parts: Parts, seen: Observed) -> dict[str, float]:
    """The processor time of an observed message, taken apart; what remains comes last.

    Args:
        parts: Of this machine.
        seen: The message.

    Returns:
        Seconds by the name of the part; they add up to `seen.cpu_seconds` or, where the parts alone
        are more than was observed, to their sum.
    """
    copies = 2 * seen.nbytes * parts.copy
    pairs = max(seen.calls["send"], 1.0)
    code = parts.kernel.seconds(pairs, seen.nbytes) - 2 * pairs * parts.system_call - copies
    shares = {
        "program": parts.program,
        "system calls": sum(seen.calls.values()) * parts.system_call,
        "two copies": copies,
        "network code": max(0.0, code),
    }
    rest = seen.cpu_seconds - sum(shares.values())
    return {**shares, "waiting, waking, the rest": max(0.0, rest)}


def rdma_cpu_seconds(parts: Parts, nbytes: int, uses: int = 1) -> float:
    """What RDMA costs the processor in the model: registration, shared by all uses of the memory.

    The card reads and writes the program's own memory: no copy, no network code in the kernel. A
    message is posted and its end is polled by the program: no system call and no waking. Both ends
    register.
    """
    return 2 * parts.registration.seconds(1, nbytes) / uses


def register_from(parts: Parts, uses: int) -> float:
    """From which size on it costs less to register memory than to copy through registered buffers.

    Args:
        parts: Of this machine.
        uses: How often the same memory is sent from, or received into.

    Returns:
        Bytes; infinite where a copy is always cheaper.
    """
    saved = uses * parts.copy - parts.registration.beta
    return parts.registration.alpha / saved if saved > 0 else float("inf")


def cores_to_fill(bandwidth: float, cpu_seconds: float, nbytes: int) -> float:
    """How many cores, at both ends together, are busy when messages of this size fill a link.

    Args:
        bandwidth: Of the link, in bytes/s.
        cpu_seconds: Processor time of a message.
        nbytes: Its size.
    """
    return cpu_seconds * bandwidth / nbytes
