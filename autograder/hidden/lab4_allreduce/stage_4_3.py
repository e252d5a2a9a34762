"""Stage 4.3: hidden cases, mistakes and alternatives of the ring."""

import numpy as np

from aisys.allreduce.checks.ring import bounds_case, gather_case, waiting
from aisys.allreduce.checks.sums import array_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def bounds(rng: np.random.Generator) -> list[Case]:
    """Sizes that divide, that do not, and that are too small; one rank."""
    ranks = int(rng.integers(3, 9))
    rest = int(rng.integers(2, ranks))
    each = int(rng.integers(2, 50))
    return [
        bounds_case("hidden 1: all alike", each * ranks, ranks),
        bounds_case(f"hidden 2: {rest} too many", each * ranks + rest, ranks),
        bounds_case("hidden 3: one element", 1, ranks),
        bounds_case("hidden 4: one rank", each, 1),
        bounds_case("hidden 5: millions", 10**6 + rest, 2 * ranks + 1),
    ]


def scattered(rng: np.random.Generator) -> list[Case]:
    """Chunks of one size; whole numbers with more digits than a float has."""
    ranks = int(rng.integers(3, 7))
    each = int(rng.integers(20, 200))
    return [
        array_case(f"hidden 1: {ranks} ranks", _seed(rng), ranks, each * ranks, dtype="float32"),
        array_case("hidden 2: two ranks, whole numbers", _seed(rng), 2, 2 * each, dtype="int64"),
    ]


def scattered_waiting(rng: np.random.Generator) -> list[Case]:
    """Uneven and empty chunks where a send waits, ranks in any order."""
    ranks = int(rng.integers(3, 7))
    each = int(rng.integers(20, 200))
    rest = int(rng.integers(1, ranks))
    return waiting(
        array_case("hidden 3: uneven chunks", _seed(rng), ranks, each * ranks + rest),
        array_case("hidden 4: empty chunks", _seed(rng), ranks, rest),
    )


def gathered(rng: np.random.Generator) -> list[Case]:
    """Any chunk to start from."""
    ranks = int(rng.integers(3, 7))
    first = int(rng.integers(2, ranks))
    each = int(rng.integers(20, 200))
    return [
        gather_case(f"hidden 1: rank 0 has chunk {first}", _seed(rng), ranks, each * ranks, first)
    ]


def gathered_waiting(rng: np.random.Generator) -> list[Case]:
    """Uneven and empty chunks where a send waits, ranks in any order."""
    ranks = int(rng.integers(3, 7))
    each = int(rng.integers(20, 200))
    rest = int(rng.integers(1, ranks))
    return waiting(
        gather_case("hidden 2: uneven chunks", _seed(rng), ranks, each * ranks + rest, 1),
        gather_case("hidden 3: empty chunks", _seed(rng), ranks, rest, 0, dtype="int64"),
    )


def reduced(rng: np.random.Generator) -> list[Case]:
    """Shapes, kinds of numbers and layouts."""
    ranks = int(rng.integers(3, 7))
    a, b = (int(size) for size in rng.integers(5, 20, 2))
    small = int(rng.integers(1, ranks))
    every_second = {"dtype": "float32", "layout": "every second"}
    return [
        array_case(f"hidden 1: {ranks} ranks, even chunks", _seed(rng), ranks, ranks, a),
        array_case(f"hidden 2: {small} elements", _seed(rng), ranks, small, **every_second),
        array_case(
            "hidden 3: whole numbers of 60 bits, transposed", _seed(rng), 3, a, b, 2,
            dtype="int64", layout="transposed",
        ),
        array_case("hidden 4: no elements", _seed(rng), 2, 0, a),
        array_case("hidden 5: small whole numbers, one rank", _seed(rng), 1, a, dtype="uint8"),
    ]  # fmt: skip


def reduced_waiting(rng: np.random.Generator) -> list[Case]:
    """One of them where a send waits, ranks in any order."""
    return waiting(reduced(rng)[0])


CASES = {
    "chunk_bounds_values": bounds,
    "reduce_scatter_ranks": scattered,
    "reduce_scatter_waits": scattered_waiting,
    "all_gather_ranks": gathered,
    "all_gather_waits": gathered_waiting,
    "ring_allreduce_ranks": reduced,
    "ring_allreduce_waits": reduced_waiting,
}

_SCATTER_SENDS = "transport.sendrecv(data[bounds[sent] : bounds[sent + 1]], after, part, before)\n"
_GATHER_SENDS = """transport.sendrecv(
            data[bounds[sent] : bounds[sent + 1]],
            after,
            data[bounds[received] : bounds[received + 1]],
            before,
        )
"""
_WAITING = (
    "Every rank sends, and none receives before its send is done. That ends well only while the "
    "transport keeps messages for their receivers; large ones it does not keep, and then all ranks "
    "wait for each other. sendrecv does both at the same time."
)

MISTAKES = [
    Mistake(
        "4.3 chunk_bounds",
        "the rest is lost",
        hint="n need not be a multiple of the number of ranks. In which chunk are the last "
        "n % world_size elements?",
        replace={"[i * size + min(i, larger) for": "[i * size for"},
    ),
    Mistake(
        "4.3 chunk_bounds",
        "the rest is in the last chunk",
        hint="Every step waits for the largest chunk. Spread the rest: the first n % world_size "
        "chunks get one element more each.",
        replace={
            "return [i * size + min(i, larger) for i in range(world_size + 1)]": (
                "return [i * size for i in range(world_size)] + [n]"
            )
        },
    ),
    Mistake(
        "4.3 chunk_bounds",
        "rounded up, and the last chunks get what is left",
        hint="With chunks of ceil(n / world_size) elements little or nothing is left for the last "
        "ones. No chunk may have more than one element more than another.",
        replace={
            "return [i * size + min(i, larger) for i in range(world_size + 1)]": (
                "return [min(n, i * (size + (larger > 0))) for i in range(world_size + 1)]"
            )
        },
    ),
    Mistake(
        "4.3 chunk_bounds",
        "the end is missing",
        hint="world_size chunks have world_size + 1 bounds: the last one is n.",
        replace={"range(world_size + 1)": "range(world_size)"},
    ),
    Mistake(
        "4.3 chunk_bounds",
        "the larger chunks come anywhere",
        hint="Sizes differ by one at most, but the larger chunks are not the first ones. Rounding "
        "i * n / world_size scatters them.",
        replace={
            "[i * size + min(i, larger) for": "[i * n // world_size for",
        },
    ),
    Mistake(
        "4.3 chunk_bounds",
        "the beginning is missing",
        hint="The first bound is 0: chunk 0 is array[bounds[0] : bounds[1]].",
        replace={"range(world_size + 1)": "range(1, world_size + 1)"},
    ),
    Mistake(
        "4.3 chunk_bounds",
        "sizes for bounds",
        hint="These are the sizes of the chunks. A bound is where a chunk begins: the sum of the "
        "sizes before it.",
        replace={
            "[i * size + min(i, larger) for i in range(world_size + 1)]": (
                "[size + (i < larger) for i in range(world_size)]"
            )
        },
    ),
    Mistake(
        "4.3 chunk_bounds",
        "pairs of start and stop",
        hint="One list of world_size + 1 numbers is asked for: where a chunk ends the next one "
        "begins, so that each bound is said once.",
        source="""
def chunk_bounds(n, world_size):
    size, larger = divmod(n, world_size)
    bounds = [i * size + min(i, larger) for i in range(world_size + 1)]
    return list(zip(bounds[:-1], bounds[1:]))
""",
    ),
    Mistake(
        "4.3 reduce_scatter",
        "what arrives is taken for the chunk that was sent",
        hint="What comes from the rank before is the chunk that *it* sends in this step. Its rank "
        "is one less than yours, and so is the number of its chunk.",
        replace={"(rank - step - 1) % world_size": "(rank - step) % world_size"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "a chunk that has collected nothing yet",
        hint="In every step but the first a rank sends the chunk that it received and added to in "
        "the step before. Do the numbers of your chunks go down with the steps?",
        replace={
            "(rank - step) % world_size, (rank - step - 1) % world_size": (
                "(rank + step) % world_size, (rank + step - 1) % world_size"
            )
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "begins one chunk further back",
        hint="Your ring is one, but it begins one chunk too far back: in the first step rank r "
        "sends chunk r, so that in the end chunk r + 1 is complete there.",
        replace={
            "(rank - step) % world_size, (rank - step - 1) % world_size": (
                "(rank - step - 1) % world_size, (rank - step - 2) % world_size"
            ),
            "return (rank + 1) % world_size": "return rank",
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "replaced, not added",
        hint="What arrives is the sum of the ranks before. Your own part of it is not in it yet.",
        replace={"mine += part": "mine[:] = part"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "one step too many",
        hint="After world_size - 1 steps every rank has met every other one. One more, and a chunk "
        "that is complete is added again.",
        replace={"range(world_size - 1)": "range(world_size)"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "the whole array in every step",
        hint="The sums are right, but each step sends the whole array, world_size times as much as "
        "needed. Which part of it does the next rank add to?",
        source="""
def reduce_scatter(transport, data):
    rank, world_size = transport.rank, transport.world_size
    passed, arrived = data.copy(), np.empty_like(data)
    for _ in range(world_size - 1):
        transport.sendrecv(passed, (rank + 1) % world_size, arrived, (rank - 1) % world_size)
        data += arrived
        passed[:] = arrived
    return (rank + 1) % world_size
""",
    ),
    Mistake(
        "4.3 reduce_scatter",
        "send, then recv",
        hint=_WAITING,
        replace={
            _SCATTER_SENDS: (
                "transport.send(data[bounds[sent] : bounds[sent + 1]], after)\n"
                "        transport.recv(part, before)\n"
            )
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "even ranks send first, odd ranks receive first",
        hint="No rank waits for ever, but half of the ranks wait for the other half in every step: "
        "the ring takes twice as many steps. Both directions can be used at the same time.",
        replace={
            _SCATTER_SENDS: (
                "if rank % 2 == 0:\n"
                "            transport.send(data[bounds[sent] : bounds[sent + 1]], after)\n"
                "            transport.recv(part, before)\n"
                "        else:\n"
                "            transport.recv(part, before)\n"
                "            transport.send(data[bounds[sent] : bounds[sent + 1]], after)\n"
            )
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "received into what is still being sent",
        hint="isend has only begun when it returns. Until its wait returns, the memory belongs to "
        "the message: what is received or added there may reach the next rank in its place.",
        source="""
def reduce_scatter(transport, data):
    rank, world_size = transport.rank, transport.world_size
    bounds = chunk_bounds(len(data), world_size)
    buffer = np.empty(bounds[1], data.dtype)
    first = data[bounds[rank] : bounds[rank + 1]]
    buffer[: len(first)] = first
    size = len(first)
    for step in range(world_size - 1):
        received = (rank - step - 1) % world_size
        mine = data[bounds[received] : bounds[received + 1]]
        request = transport.isend(buffer[:size], (rank + 1) % world_size)
        transport.recv(buffer[: len(mine)], (rank - 1) % world_size)
        mine += buffer[: len(mine)]
        size = len(mine)
        buffer[:size] = mine
        request.wait()
    return (rank + 1) % world_size
""",
    ),
    Mistake(
        "4.3 reduce_scatter",
        "empty chunks are not sent, but waited for",
        hint="With fewer elements than ranks some chunks are empty. Whoever waits for one needs "
        "its message all the same, or both leave it out.",
        replace={
            _SCATTER_SENDS: (
                "if bounds[sent] < bounds[sent + 1]:\n"
                "            outgoing = transport.isend("
                "data[bounds[sent] : bounds[sent + 1]], after)\n"
                "        transport.recv(part, before)\n"
                "        if bounds[sent] < bounds[sent + 1]:\n"
                "            outgoing.wait()\n"
            )
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "the own rank for the number of the chunk",
        hint="In the last step this rank receives and adds to chunk rank - (world_size - 2) - 1, "
        "modulo world_size. That is the one that is complete.",
        replace={"return (rank + 1) % world_size": "return rank"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "added, but not in place",
        hint="`mine = mine + part` makes a new array, and data stays as it was. `mine += part` "
        "adds in the memory of data.",
        replace={"mine += part": "mine = mine + part"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "the ring runs the other way",
        hint="A rank sends to the next one, rank + 1, and receives from the one before. The "
        "numbers of your chunks belong to that direction.",
        replace={
            "(rank + 1) % world_size, (rank - 1) % world_size": (
                "(rank - 1) % world_size, (rank + 1) % world_size"
            )
        },
    ),
    Mistake(
        "4.3 reduce_scatter",
        "a buffer of another dtype",
        hint="np.empty makes float64 unless it is told otherwise, and `out` has to have the dtype "
        "of what comes: np.empty(size, data.dtype).",
        replace={"np.empty(bounds[1], data.dtype)": "np.empty(bounds[1])"},
    ),
    Mistake(
        "4.3 reduce_scatter",
        "the number is not returned",
        hint="The sums are right. Return the number of the chunk that is complete here, so that "
        "all_gather knows where to begin.",
        replace={"    return (rank + 1) % world_size": "    return None"},
    ),
    Mistake(
        "4.3 all_gather",
        "starts from the own rank",
        hint="The first chunk that a rank passes on is the one that is complete there. Its number "
        "is `complete`, whatever the rank.",
        replace={
            "(complete - step) % world_size, (complete - step - 1) % world_size": (
                "(rank + 1 - step) % world_size, (rank - step) % world_size"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "always the own chunk",
        hint="The next rank has your chunk after the first step. From then on pass on what you "
        "received in the step before.",
        replace={"(complete - step) % world_size, (": "complete, ("},
    ),
    Mistake(
        "4.3 all_gather",
        "added, not put",
        hint="What arrives is complete: it takes the place of what is there.",
        replace={
            _GATHER_SENDS: (
                "part = np.empty(bounds[received + 1] - bounds[received], data.dtype)\n"
                "        transport.sendrecv("
                "data[bounds[sent] : bounds[sent + 1]], after, part, before)\n"
                "        data[bounds[received] : bounds[received + 1]] += part\n"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "one step too many",
        hint="After world_size - 1 steps every rank has all chunks. In one more, each gets back "
        "what it began with.",
        replace={"range(world_size - 1)": "range(world_size)"},
    ),
    Mistake(
        "4.3 all_gather",
        "the whole array in every step",
        hint="The result is right, but each step sends the whole array, also what is not known "
        "yet. One chunk a step is enough.",
        replace={
            _GATHER_SENDS: (
                "whole = np.empty_like(data)\n"
                "        transport.sendrecv(data, after, whole, before)\n"
                "        data[bounds[received] : bounds[received + 1]] = (\n"
                "            whole[bounds[received] : bounds[received + 1]]\n"
                "        )\n"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "send, then recv",
        hint=_WAITING,
        replace={
            _GATHER_SENDS: (
                "transport.send(data[bounds[sent] : bounds[sent + 1]], after)\n"
                "        transport.recv(data[bounds[received] : bounds[received + 1]], before)\n"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "starts from the chunk with the rank's number",
        hint="This rank's complete chunk is not chunk `rank`, as in the first step of "
        "reduce_scatter: its number is `complete`. Begin there.",
        replace={
            "(complete - step) % world_size, (complete - step - 1) % world_size": (
                "(rank - step) % world_size, (rank - step - 1) % world_size"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "the numbers go up",
        hint="What comes from the rank before is its complete chunk, and its number is one less "
        "than yours. Do the numbers of your chunks go down with the steps?",
        replace={
            "(complete - step) % world_size, (complete - step - 1) % world_size": (
                "(complete + step) % world_size, (complete + step + 1) % world_size"
            )
        },
    ),
    Mistake(
        "4.3 all_gather",
        "received, but not put in place",
        hint="What arrives has to get into data: give recv the chunk of data itself, or copy what "
        "came with data[...] = part. A new name for it changes nothing there.",
        replace={
            _GATHER_SENDS: (
                "mine = data[bounds[received] : bounds[received + 1]]\n"
                "        part = np.empty_like(mine)\n"
                "        transport.sendrecv("
                "data[bounds[sent] : bounds[sent + 1]], after, part, before)\n"
                "        mine = part\n"
            )
        },
    ),
    Mistake(
        "4.3 ring_allreduce",
        "the input is changed",
        hint="reduce_scatter and all_gather work in the array that they are given. Whose array is "
        "that? np.ascontiguousarray and reshape copy only where they must.",
        replace={
            'np.array(data, order="C", copy=True)': "np.ascontiguousarray(data)",
        },
    ),
    Mistake(
        "4.3 ring_allreduce",
        "whole numbers through floats",
        hint="A float64 has 53 bits for the digits of a number. An int64 needs more: add in the "
        "dtype of the input.",
        replace={
            'np.array(data, order="C", copy=True)': 'np.array(data, float, order="C")',
            "return total": "return total.astype(data.dtype)",
        },
    ),
    Mistake(
        "4.3 ring_allreduce",
        "every result is a float",
        hint="The result has the input's dtype.",
        replace={'np.array(data, order="C", copy=True)': 'np.array(data, float, order="C")'},
    ),
    Mistake(
        "4.3 ring_allreduce",
        "only contiguous input",
        hint="np.array and copy keep the layout of a transposed matrix, and reshape(-1) of such a "
        "layout is a copy: what you sum there, the result never sees.",
        replace={'np.array(data, order="C", copy=True)': "np.array(data)"},
    ),
    Mistake(
        "4.3 ring_allreduce",
        "the shape is lost",
        hint="The result has the input's shape.",
        replace={"return total": "return flat"},
    ),
    Mistake(
        "4.3 ring_allreduce",
        "through rank 0",
        hint="The sum is right, but rank 0 sends and receives everybody's array. In the ring no "
        "rank sends more than 2 (n - 1) / n of it.",
        source="""
def ring_allreduce(transport, data):
    total = np.array(data, order="C", copy=True)
    others = range(1, transport.world_size)
    if transport.rank:
        transport.send(total, 0)
        transport.recv(total, 0)
        return total
    arrived = np.empty_like(total)
    for other in others:
        transport.recv(arrived, other)
        total += arrived
    for other in others:
        transport.send(total, other)
    return total
""",
    ),
    Mistake(
        "4.3 ring_allreduce",
        "the own rank for the complete chunk",
        hint="reduce_scatter says which chunk is complete here. all_gather has to know.",
        replace={
            "all_gather(transport, flat, reduce_scatter(transport, flat))": (
                "reduce_scatter(transport, flat)\n    all_gather(transport, flat, transport.rank)"
            )
        },
    ),
    Mistake(
        "4.3 ring_allreduce",
        "what all_gather returns",
        hint="all_gather returns None: it fills the array that it is given. That array is the "
        "result.",
        replace={
            "    all_gather(transport, flat, reduce_scatter(transport, flat))\n    return total": (
                "    return all_gather(transport, flat, reduce_scatter(transport, flat))"
            )
        },
    ),
    Mistake(
        "4.3 ring_allreduce",
        "not gathered",
        hint="After reduce_scatter each rank has one chunk of the sum. all_gather brings the "
        "others.",
        replace={
            "all_gather(transport, flat, reduce_scatter(transport, flat))": (
                "reduce_scatter(transport, flat)"
            )
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.3 chunk_bounds",
        """
def chunk_bounds(n, world_size):
    bounds = [0]
    for left in range(world_size, 0, -1):
        rest = n - bounds[-1]
        bounds.append(bounds[-1] + (rest + left - 1) // left)
    return bounds
""",
        title="the ceiling of what is left",
    ),
    Alternative(
        "4.3 chunk_bounds",
        """
def chunk_bounds(n, world_size):
    sizes = np.full(world_size, n // world_size)
    sizes[: n % world_size] += 1
    return np.concatenate([[0], np.cumsum(sizes)]).tolist()
""",
        title="sizes added up",
    ),
    Alternative(
        "4.3 reduce_scatter",
        """
def reduce_scatter(transport, data):
    ranks = transport.world_size
    chunks = np.array_split(data, ranks)
    chunk = transport.rank
    for _ in range(ranks - 1):
        outgoing = transport.isend(chunks[chunk], (transport.rank + 1) % ranks, tag=3)
        chunk = (chunk - 1) % ranks
        arrived = np.empty_like(chunks[chunk])
        transport.irecv(arrived, (transport.rank + ranks - 1) % ranks, tag=3).wait()
        chunks[chunk][...] = chunks[chunk] + arrived
        outgoing.wait()
    return chunk
""",
        title="the chunk counted down, isend and irecv",
    ),
    Alternative(
        "4.3 reduce_scatter",
        """
def reduce_scatter(transport, data):
    ranks, me = transport.world_size, transport.rank
    bounds = chunk_bounds(len(data), ranks)

    def chunk(number):
        return data[bounds[number % ranks] : bounds[number % ranks + 1]]

    if ranks > 1:
        passed = chunk(me).copy()
        for number in range(me - 1, me - ranks, -1):
            arrived = np.empty_like(chunk(number))
            transport.sendrecv(passed, (me + 1) % ranks, arrived, (me - 1) % ranks)
            passed = arrived + chunk(number)
        chunk(me + 1)[:] = passed
    return (me + 1) % ranks
""",
        title="a sum of its own is passed on, the input stays",
    ),
    Alternative(
        "4.3 all_gather",
        """
def all_gather(transport, data, complete):
    ranks = transport.world_size
    chunks = np.array_split(data, ranks)
    before, after = (transport.rank - 1) % ranks, (transport.rank + 1) % ranks
    arriving = [
        transport.irecv(chunks[(complete - step) % ranks], before) for step in range(1, ranks)
    ]
    leaving = []
    for step in range(ranks - 1):
        if step:
            arriving[step - 1].wait()
        leaving.append(transport.isend(chunks[(complete - step) % ranks], after))
    for request in arriving[-1:] + leaving:
        request.wait()
""",
        title="all receives asked for at once",
    ),
    Alternative(
        "4.3 ring_allreduce",
        """
def ring_allreduce(transport, data):
    ranks, me = transport.world_size, transport.rank
    flat = np.ascontiguousarray(data).flatten()
    chunks = np.array_split(flat, ranks)
    for step in range(2 * (ranks - 1)):
        mine, theirs = chunks[(me - step) % ranks], chunks[(me - step - 1) % ranks]
        arrived = np.empty_like(theirs)
        transport.sendrecv(mine, (me + 1) % ranks, arrived, (me - 1) % ranks)
        theirs[:] = theirs + arrived if step < ranks - 1 else arrived
    return flat.reshape(data.shape)
""",
        title="both halves in one loop",
    ),
]
