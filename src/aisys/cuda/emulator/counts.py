"""What a launch cost, by instruction, by source line, and in all.

The definitions are those of NVIDIA's profiler: a *request* is one instruction of a warp that
touches memory; a *sector* is 32 bytes that are moved for it; a *wavefront* is one pass of shared
memory, and what is needed beyond the least is a *bank conflict* (NVIDIA, Nsight Compute, "Metrics
Guide").
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

WARP = 32
SECTOR_BYTES = 32


@dataclass(frozen=True)
class Cost:
    """The cost of one place of the program that touches memory, or of several together.

    Attributes:
        line: The line of the source; 0 for several.
        space: `"global"` or `"shared"`.
        access: `"read"`, `"write"` or `"atomic"`.
        requests: Instructions of warps.
        lanes: Threads that took part, added over the requests.
        bytes: What the threads asked for, in bytes.
        sectors: 32-byte sectors moved, of global memory.
        wavefronts: Passes of shared memory.
        least_wavefronts: What would be needed without conflicts.
        contention: For atomics, how many were made one after another because of one address.
    """

    line: int
    space: str
    access: str
    requests: int = 0
    lanes: int = 0
    bytes: int = 0
    sectors: int = 0
    wavefronts: int = 0
    least_wavefronts: int = 0
    contention: int = 0

    @property
    def sectors_per_request(self) -> float:
        """How many sectors a request moves; 4 is the least for a full warp and 4-byte values."""
        return self.sectors / self.requests if self.requests else 0.0

    @property
    def bank_conflicts(self) -> int:
        """Passes of shared memory beyond the least."""
        return self.wavefronts - self.least_wavefronts

    @property
    def sector_bytes(self) -> int:
        """What is moved between memory and the processor, in bytes."""
        return self.sectors * SECTOR_BYTES


@dataclass(frozen=True)
class Steps:
    """How often warps ran the instructions of a line together.

    Attributes:
        line: The line of the source.
        steps: Times that a warp began a block of instructions there.
        lanes: Threads that took part, added over the steps.
        flops: Floating-point operations of all threads.
    """

    line: int
    steps: int
    lanes: int
    flops: int

    @property
    def active_lanes(self) -> float:
        """Lanes that took part in a step, on average; less than the warp's where it diverges."""
        return self.lanes / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Finding:
    """Something wrong that a launch goes on after: `"race"` or `"uninitialised"`.

    Attributes:
        kind: What it is.
        line: Where it was seen.
        other_line: For a race, where the earlier access is; otherwise 0.
        text: What was seen, in a sentence.
    """

    kind: str
    line: int
    other_line: int
    text: str


@dataclass(frozen=True)
class Sample:
    """The first time that a warp touched memory at one place.

    Attributes:
        line: The line of the source.
        space: `"global"` or `"shared"`.
        access: `"read"`, `"write"` or `"atomic"`.
        array: The array's name.
        size: Bytes of each lane.
        offsets: For each of 32 lanes the bytes from the beginning of the array, or of shared
            memory; None for a lane that took no part.
    """

    line: int
    space: str
    access: str
    array: str
    size: int
    offsets: tuple[int | None, ...]


@dataclass(frozen=True)
class Launch:
    """What was seen of one launch of a kernel.

    Attributes:
        kernel: The kernel's name.
        grid: Blocks in x, y and z.
        block: Threads of a block in x, y and z.
        shared_bytes: Shared memory of a block, static and dynamic, in bytes.
        barriers: Barriers that blocks passed, in all.
        costs: One entry a place of the program that touches memory.
        steps: One entry a line.
        findings: Races and reads of what was never written.
        samples: The first access at each place, for pictures.
        timeline: For each stretch between barriers of the first block, the steps of each warp.
        printed: What the kernel printed.
        seconds: How long the launch took here; it says nothing about a GPU.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0
    barriers: int = 0
    costs: tuple[Cost, ...] = ()
    steps: tuple[Steps, ...] = ()
    findings: tuple[Finding, ...] = ()
    samples: tuple[Sample, ...] = ()
    timeline: tuple[tuple[int, ...], ...] = ()
    printed: str = ""
    seconds: float = field(default=0.0, compare=False)

    def total(
        self, space: str | None = None, access: str | None = None, line: int | None = None
    ) -> Cost:
        """The cost of everything, or of one space, one kind of access, one line."""
        chosen = [
            cost
            for cost in self.costs
            if space in (None, cost.space)
            and access in (None, cost.access)
            and line in (None, cost.line)
        ]
        return _sum(chosen, line or 0, space or "all", access or "all")

    @property
    def flops(self) -> int:
        """Floating-point operations of all threads; a call of `fmaf` is two, of `expf` one."""
        return sum(each.flops for each in self.steps)

    @property
    def global_bytes(self) -> int:
        """Bytes moved between global memory and the processors, in whole sectors."""
        return self.total("global").sector_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: floating-point operations for each byte of global memory moved."""
        return self.flops / self.global_bytes if self.global_bytes else 0.0

    @property
    def active_lanes(self) -> float:
        """Lanes that take part in a step of a warp, on average, of 32."""
        steps = sum(each.steps for each in self.steps)
        return sum(each.lanes for each in self.steps) / steps if steps else 0.0

    def __str__(self) -> str:
        """A table, a line of the source a row."""
        head = f"{self.kernel}  grid {self.grid}  block {self.block}"
        rows = [
            f"{'line':>5} {'memory':7}{'access':7}{'requests':>9}{'sectors':>9}"
            f"{'per request':>12}{'conflicts':>10}"
        ]
        for cost in self.costs:
            moved = (
                f"{cost.sectors:9}{cost.sectors_per_request:12.2f}"
                if cost.space == "global"
                else f"{'-':>9}{'-':>12}"
            )
            waits = f"{cost.bank_conflicts:10}" if cost.space == "shared" else f"{'-':>10}"
            rows.append(
                f"{cost.line:5} {cost.space:7}{cost.access:7}{cost.requests:9}{moved}{waits}"
            )
        found = [f"line {each.line}: {each.text}" for each in self.findings]
        return "\n".join([head, *rows, *found])


def by_line(costs: Iterable[Cost]) -> tuple[Cost, ...]:
    """The costs of places that share line, space and access, added up, in the order of lines."""
    groups: dict[tuple[int, str, str], list[Cost]] = {}
    for cost in costs:
        groups.setdefault((cost.line, cost.space, cost.access), []).append(cost)
    return tuple(_sum(groups[key], *key) for key in sorted(groups))


def _sum(costs: list[Cost], line: int, space: str, access: str) -> Cost:
    fields = (
        "requests",
        "lanes",
        "bytes",
        "sectors",
        "wavefronts",
        "least_wavefronts",
        "contention",
    )
    return Cost(
        line, space, access, **{name: sum(getattr(cost, name) for cost in costs) for name in fields}
    )
