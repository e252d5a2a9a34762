"""Programs that ranks run over any transport; each returns plain data that a claim is made about.

They are functions of a module so that a launcher can name them to its processes.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aisys.allreduce.transport import DTYPES, Transport, TransportError, wait_all

Outcome = dict[str, Any]


def outcome(transport: Transport, program: Callable[..., Any], *args: Any) -> Outcome:
    """Run a program: `{"value": ...}`, or `{"error": text, "rank": the rank it names}`."""
    try:
        return {"value": program(transport, *args)}
    except TransportError as error:
        return {"error": str(error), "rank": error.rank}


def neighbours(transport: Transport) -> tuple[int, int]:
    """The next and the previous rank in a ring."""
    ranks = transport.world_size
    return (transport.rank + 1) % ranks, (transport.rank - 1) % ranks


def sample(seed: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array with any bits that the dtype can have but NaN."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    if dtype.kind in "fc":
        return np.asarray(rng.standard_normal(shape) * 100).astype(dtype)
    info = np.iinfo(dtype)
    return np.asarray(rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True))


def every_dtype_and_shape(transport: Transport) -> list[str]:
    """Pass samples around the ring; says which did not arrive bit for bit."""
    to, source = neighbours(transport)
    wrong = []
    for dtype in DTYPES:
        for number, shape in enumerate([(), (0,), (1,), (3,), (2, 0, 5), (4, 5)]):
            mine = sample(100 * transport.rank + number, shape, dtype)
            theirs = sample(100 * source + number, shape, dtype)
            out = np.empty(shape, dtype)
            transport.sendrecv(mine, to, out, source)
            if out.tobytes() != theirs.tobytes():
                wrong.append(f"{dtype}{shape}")
    return wrong


def not_contiguous(transport: Transport) -> list[bool]:
    """Pass every second element, a transposed matrix and a reversed row around the ring."""
    to, source = neighbours(transport)
    same = []
    for view in (lambda x: x[::2], lambda x: x.T, lambda x: x[:, 1], lambda x: x[::-1, ::-1]):
        mine = view(sample(transport.rank, (6, 4), np.dtype(np.int32)))
        theirs = view(sample(source, (6, 4), np.dtype(np.int32)))
        out = np.empty(theirs.shape, np.int32)
        transport.sendrecv(mine, to, out, source)
        same.append(bool((out == theirs).all()))
    return same


def two_tags(transport: Transport, count: int) -> list[int]:
    """Rank 0 sends on two tags in turn; rank 1 takes all of the second tag first."""
    if transport.rank == 0:
        numbers = [np.array([i]) for i in range(count)]
        wait_all([transport.isend(number, 1, tag=5 + i % 2) for i, number in enumerate(numbers)])
    got, out = [], np.empty(1, np.int64)
    if transport.rank == 1:
        for tag in (6, 5):
            for _ in range(count // 2):
                transport.recv(out, 0, tag)
                got.append(int(out[0]))
    return got


def same_buffer(transport: Transport, count: int, size: int) -> list[int]:
    """Rank 0 sends one buffer again and again and changes it as soon as `send` returns."""
    buffer, got = np.empty(size, np.int64), []
    for number in range(count):
        if transport.rank == 0:
            buffer[:] = number
            transport.send(buffer, 1)
            buffer[:] = -1
        elif transport.rank == 1:
            transport.recv(buffer, 0)
            got.append(int(buffer[0]) if (buffer == buffer[0]).all() else -2)
    return got


def ring_of_large(transport: Transport, size: int) -> bool:
    """All ranks send to the next and receive from the previous one, at the same time."""
    to, source = neighbours(transport)
    out = np.empty(size, np.uint8)
    transport.sendrecv(np.full(size, transport.rank, np.uint8), to, out, source)
    return bool((out == source).all())


def waits_in_reverse(transport: Transport, count: int) -> list[int]:
    """Rank 1 asks for several messages and waits for the last one first."""
    outs = [np.empty(1, np.int64) for _ in range(count)]
    if transport.rank == 0:
        numbers = [np.array([i]) for i in range(count)]
        wait_all([transport.isend(number, 1) for number in numbers])
    if transport.rank == 1:
        requests = [transport.irecv(out, 0) for out in outs]
        wait_all(reversed(requests))
        wait_all(requests)  # a second time: nothing happens
        return [int(out[0]) for out in outs]
    return []


def barriers(transport: Transport, folder: str, rounds: int) -> list[int]:
    """How many ranks had come when this one left the barrier, for several barriers."""
    seen = []
    for number in range(rounds):
        book = Path(folder) / f"round-{number}"
        _note(book)
        transport.barrier()
        seen.append(book.stat().st_size)
    return seen


def ring_sum(transport: Transport, size: int, dtype: str, delays: int | None = None) -> np.ndarray:
    """A ring all-reduce of samples, uneven chunks and all; may be delayed at random."""
    x = sample(transport.rank, (size,), np.dtype(dtype))
    chance = None if delays is None else random.Random(delays + transport.rank)
    ranks, (to, source) = transport.world_size, neighbours(transport)
    chunks = np.array_split(x, ranks)
    for step in range(2 * (ranks - 1)):
        if chance is not None and chance.random() < 0.5:
            time.sleep(chance.random() * 0.002)
        mine = chunks[(transport.rank - step) % ranks]
        theirs = chunks[(transport.rank - step - 1) % ranks]
        out = np.empty_like(theirs)
        transport.sendrecv(mine, to, out, source)
        theirs[...] = theirs + out if step < ranks - 1 else out
    return x


def random_traffic(transport: Transport, seed: int, count: int) -> list[int]:
    """Messages of all kinds between random pairs, all under way at once; says which came wrong."""
    chance, plan = random.Random(seed), []
    for number in range(count):
        source, to = chance.sample(range(transport.world_size), 2)
        size = chance.choice([0, 1, 7, 1000, 40_000])
        plan.append((number, source, to, chance.randrange(3), size, chance.choice(DTYPES)))
    receives = {
        number: np.empty(size, dtype)
        for number, _, to, _, size, dtype in plan
        if to == transport.rank
    }
    requests = []
    for number, source, to, tag, size, dtype in plan:
        if to == transport.rank:
            requests.append(transport.irecv(receives[number], source, tag))
        if source == transport.rank:
            requests.append(transport.isend(sample(number, (size,), dtype), to, tag))
    mine = random.Random(seed + transport.rank)
    mine.shuffle(requests)
    wait_all(requests)
    wrong = []
    for number, _, _, _, size, dtype in plan:
        expected = sample(number, (size,), dtype).tobytes()
        if number in receives and receives[number].tobytes() != expected:
            wrong.append(number)
    return wrong


def refusals(transport: Transport) -> list[str]:
    """What is said to calls that cannot be meant."""
    x, me, other = np.zeros(4), transport.rank, (transport.rank + 1) % transport.world_size
    calls: list[Callable[[], object]] = [
        lambda: transport.send(x, transport.world_size),
        lambda: transport.recv(x, -1),
        lambda: transport.send(x, me),
        lambda: transport.send(x, other, tag=40_000),
        lambda: transport.send(np.array(["a"]), other),
        lambda: transport.send([1.0], other),  # type: ignore[arg-type]
        lambda: transport.recv(x[::2], other),
        lambda: transport.recv(np.broadcast_to(x, (2, 4)), other),
        lambda: transport.sendrecv(x[:3], other, x[1:], other),
    ]
    said = []
    for call in calls:
        try:
            call()
        except TransportError as error:
            said.append(str(error))
    transport.barrier()  # and the transport is none the worse for it
    return said


def wrong_message(transport: Transport, sent: np.ndarray, expected: np.ndarray) -> list[Outcome]:
    """Rank 0 sends what rank 1 does not expect; every other rank waits for the one before it."""
    said = []
    out = np.empty_like(expected)
    to, source = neighbours(transport)
    for _ in range(2):
        if transport.rank == 0:
            said.append(outcome(transport, lambda t: t.send(sent, 1)))
        said.append(outcome(transport, lambda t: t.recv(out, source)))
    return [each for each in said if "error" in each]


def leaver(transport: Transport, who: int) -> Outcome:
    """One rank returns at once; the others wait for the one before them."""
    if transport.rank == who:
        return {"left": True}
    return outcome(transport, lambda t: t.recv(np.empty(1), neighbours(t)[1]))


def hung(transport: Transport, who: int, book: str) -> Outcome:
    """One rank does nothing until all others have ended; they pass messages in a ring."""
    if transport.rank == who:
        while not Path(book).exists() or Path(book).stat().st_size < transport.world_size - 1:
            time.sleep(0.01)
        return {"hung": True}
    with _noting(book):
        return outcome(transport, ring_sum, 1000, "float64")


def killed(transport: Transport, who: int, at: int, rounds: int) -> Outcome:
    """One rank ends its process without a word, before a given round of ring all-reduces."""
    for number in range(rounds):
        if transport.rank == who and number == at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        result = outcome(transport, ring_sum, 1000, "float64")
        if "error" in result:
            return result
    return result


def _note(book: Path) -> None:
    with book.open("ab", buffering=0) as file:
        file.write(b".")


@contextlib.contextmanager
def _noting(book: str) -> Iterator[None]:
    try:
        yield
    finally:
        _note(Path(book))
