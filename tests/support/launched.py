"""Programs for the tests of the launcher, and what is left of a run that should leave nothing."""

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aisys.allreduce.ring import chunk_bounds
from aisys.allreduce.transport import Transport
from aisys.course.errors import Hole
from tests.support.rank_programs import ring_sum


def says_its_rank(transport: Transport, *more: Any) -> list[Any]:
    """The rank, the world, and the arguments."""
    return [transport.rank, transport.world_size, *more]


def prints(transport: Transport, lines: int) -> None:
    """Print numbered lines, and one without an end."""
    for number in range(lines):
        print(f"line {number} of {transport.rank}")
    print("the end", end="")


def raises(transport: Transport, who: int) -> None:
    """One rank raises an error; the others wait for it."""
    if transport.rank == who:
        raise ValueError(f"{who} does not like it")
    transport.recv(np.empty(1), who)


def ends(transport: Transport, who: int, how: int) -> None:
    """One rank's process ends with a status, or by a signal where `how` is negative."""
    if transport.rank == who:
        if how < 0:
            os.kill(os.getpid(), -how)
        os._exit(how)
    transport.recv(np.empty(1), who)


def waits_for_ever(transport: Transport, folder: str = "") -> None:
    """Note the process's number in a folder, and do nothing from then on."""
    if folder:
        (Path(folder) / f"{transport.rank}.tmp").write_text(str(os.getpid()))
        (Path(folder) / f"{transport.rank}.tmp").rename(Path(folder) / str(transport.rank))
    while True:
        time.sleep(60)


def one_raises_the_rest_hang(transport: Transport) -> None:
    """Rank 0 raises an error; the others notice nothing."""
    if transport.rank == 0:
        raise ValueError("no")
    waits_for_ever(transport)


def stops_at_random(transport: Transport, who: int, seed: int, number: int) -> None:
    """All ranks all-reduce without end; one gets a signal at a random moment of it."""
    chance = random.Random(seed)
    size = chance.choice([0, 1, 100, 100_000, 1_000_000])
    if transport.rank == who:
        if number == signal.SIGSTOP:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.1))
    while True:
        ring_sum(transport, size, "int32")


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie whose parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def left_behind() -> dict[str, object]:
    """What a run may leave: descriptors, memory, sockets, folders, children, network devices."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return {
        "descriptors": {name: _link(name) for name in os.listdir("/proc/self/fd")},
        "memory": sorted(name for name in os.listdir("/dev/shm") if name.startswith("aisys-")),
        "sockets": [name for name in _sockets() if has_ended(int(name.split("-")[1]))],
        "folders": sorted(path.name for path in Path(tempfile.gettempdir()).glob("aisys-*")),
        "children": children.read_text(),
        "devices": [line.split(":")[0] for line in _lines("/proc/net/dev")[2:]],
    }


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return "the one that lists them"


def _sockets() -> list[str]:
    """The Unix sockets of ranks: of what process they are stands in their names."""
    words = [line.split()[-1] for line in _lines("/proc/net/unix")]
    return sorted(word for word in words if word.startswith("@aisys-"))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def chunks_of_ten(transport: Transport) -> list[int]:
    """Calls an exercise."""
    return chunk_bounds(10, transport.world_size)


def meets_a_hole(transport: Transport) -> None:
    """Comes to an exercise that is not written."""
    raise Hole("4.3 ring")
