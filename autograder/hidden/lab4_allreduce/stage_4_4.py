"""Stage 4.4: hidden cases, mistakes, alternatives and the model answer of halving and doubling."""

import numpy as np

from aisys.allreduce.checks.doubling import member_case, window_case
from aisys.allreduce.checks.sums import array_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def folds(rng: np.random.Generator) -> list[Case]:
    """One rank too many, two of them, and none."""
    n, seeds = int(rng.integers(2, 40)), [_seed(rng) for _ in range(4)]
    return [
        array_case("hidden 1: 5 ranks, numbers that wrap", seeds[0], 5, n, dtype="int8"),
        array_case("hidden 2: 6 ranks", seeds[1], 6, 3, dtype="float32"),
        array_case(f"hidden 3: 4 ranks, {n} elements", seeds[2], 4, n),
        array_case("hidden 4: one rank, nothing in the array", seeds[3], 1, 0, dtype="int64"),
    ]


def sums(rng: np.random.Generator) -> list[Case]:
    """Any number of ranks, all kinds of arrays, and sends that wait."""
    odd, n = int(rng.choice([5, 6, 7])), int(rng.integers(300, 1000)) | 1
    seeds, every_second = [_seed(rng) for _ in range(7)], {"layout": "every second"}
    return [
        array_case(f"hidden 1: {odd} ranks, {n} elements", seeds[0], odd, n),
        array_case(f"hidden 2: 8 ranks, {n + 2} elements", seeds[1], 8, n + 2, dtype="float32"),
        array_case("hidden 3: numbers that wrap", seeds[2], 3, 10, dtype="int8", **every_second),
        array_case("hidden 4: transposed", seeds[3], 4, odd, 3, layout="transposed"),
        array_case("hidden 5: one number, no axis", seeds[4], 3),
        array_case("hidden 6: sends wait", seeds[5], odd, 12, waits=True),
        array_case("hidden 7: one rank, nothing in it", seeds[6], 1, 0),
    ]


def windows(rng: np.random.Generator) -> list[Case]:
    """Whole and other quotients, also fewer elements than members."""
    n = int(rng.integers(5, 60))
    return [
        window_case(f"hidden 1: 16 members, {16 * n} elements", 16, 16 * n),
        window_case(f"hidden 2: 8 members, {8 * n + 5} elements", 8, 8 * n + 5),
        window_case(f"hidden 3: 4 members, {4 * n + 3} elements", 4, 4 * n + 3),
        window_case("hidden 4: 8 members, 3 elements", 8, 3),
        window_case(f"hidden 5: 2 members, {2 * n + 1} elements", 2, 2 * n + 1),
        window_case("hidden 6: one member, no element", 1, 0),
    ]


def exchanges(rng: np.random.Generator) -> list[Case]:
    """Members that are all ranks, that are not, in an order of their own; sends that wait."""
    n, seeds = int(rng.integers(100, 500)), [_seed(rng) for _ in range(5)]
    some = [int(rank) for rank in rng.permutation(np.arange(1, 6))[:4]]
    return [
        member_case(f"hidden 1: 8 members, {8 * n + 3} elements", seeds[0], [*range(8)], 8 * n + 3),
        member_case(f"hidden 2: ranks {some} in this order", seeds[1], some, 4 * n + 1, "int32"),
        member_case("hidden 3: 4 members, 3 elements", seeds[2], [*range(4)], 3),
        member_case("hidden 4: two members, sends wait", seeds[3], [0, 2], 5, waits=True),
        member_case("hidden 5: one member, no element", seeds[4], [1], 0),
    ]


CASES = {
    "fold_ranks": folds,
    "unfold_ranks": folds,
    "recursive_doubling_ranks": sums,
    "halving_window_values": windows,
    "halving_reduce_scatter_ranks": exchanges,
    "doubling_all_gather_ranks": exchanges,
    "halving_doubling_ranks": sums,
}

_COPY = 'total = np.array(data, order="C", copy=True)'
_EXCHANGE = "transport.sendrecv(total, partner, arrived, partner)"
_SCATTER = "transport.sendrecv(data[theirs], members[partner], part, members[partner])"
_GATHER = "transport.sendrecv(data[mine], members[partner], data[theirs], members[partner])"

_BOTH_SEND = (
    "Both partners send, and each waits until the other receives. With small messages that goes "
    "well, because they are kept for the receiver, and with large ones it never ends. "
)

MISTAKES = [
    Mistake(
        "4.4 fold",
        "the last ranks folded onto the first",
        hint="Rank p + i could hand its array to rank i, but here neighbours form pairs: they are "
        "often on the same machine. The odd rank of each pair goes on.",
        source="""
def fold(transport, data):
    p = 1 << (transport.world_size.bit_length() - 1)
    if transport.rank >= p:
        transport.send(data, transport.rank - p)
    elif transport.rank + p < transport.world_size:
        arrived = np.empty_like(data)
        transport.recv(arrived, transport.rank + p)
        data += arrived
    return list(range(p))
""",
    ),
    Mistake(
        "4.4 fold",
        "the even rank goes on",
        hint="In each pair the even rank sends and the odd one goes on for both.",
        replace={
            "if rank % 2 == 0:\n            transport.send(data, rank + 1)": (
                "if rank % 2 == 1:\n            transport.send(data, rank - 1)"
            ),
            "transport.recv(arrived, rank - 1)": "transport.recv(arrived, rank + 1)",
            "range(1, 2 * pairs, 2)": "range(0, 2 * pairs, 2)",
        },
    ),
    Mistake(
        "4.4 fold",
        "what arrives is not added",
        hint="The odd rank goes on for both: its own array belongs to the sum, too.",
        replace={"data += arrived": "data[...] = arrived"},
    ),
    Mistake(
        "4.4 fold",
        "folded though the number is a power of two",
        hint="Where world_size is a power of two, nobody is left over, and nothing is sent. What "
        "is your p for four ranks?",
        replace={"(world_size.bit_length() - 1))": "((world_size - 1).bit_length() - 1))"},
    ),
    Mistake(
        "4.4 fold",
        "all ranks go on",
        hint="A rank that has given its array away is not among those that go on; otherwise it "
        "counts twice, and their number is no power of two.",
        replace={
            "return [*range(1, 2 * pairs, 2), *range(2 * pairs, world_size)]": (
                "return list(range(world_size))"
            )
        },
    ),
    Mistake(
        "4.4 fold",
        "added, but not in place",
        hint="`data = data + arrived` makes a new array, and the caller's stays as it was. "
        "`data += arrived` adds in the caller's memory.",
        replace={"data += arrived": "data = data + arrived"},
    ),
    Mistake(
        "4.4 fold",
        "nothing comes back from the ranks that are left out",
        hint="Every rank returns the list of those that go on, also one that is not in it: that is "
        "how it knows.",
        replace={
            "transport.send(data, rank + 1)": (
                "transport.send(data, rank + 1)\n            return None"
            )
        },
    ),
    Mistake(
        "4.4 fold",
        "how many go on",
        hint="Which ranks go on is asked for, a list; its length is p.",
        replace={
            "return [*range(1, 2 * pairs, 2), *range(2 * pairs, world_size)]": (
                "return world_size - pairs"
            )
        },
    ),
    Mistake(
        "4.4 unfold",
        "nobody gets it back",
        hint="The even ranks of the pairs have waited since fold, and still have their own arrays.",
        source="""
def unfold(transport, data):
    return None
""",
    ),
    Mistake(
        "4.4 unfold",
        "the result added",
        hint="What comes back is the result already, this rank's own array included. It takes the "
        "place of what is there.",
        replace={
            "transport.recv(data, rank + 1)": (
                "arrived = np.empty_like(data)\n            transport.recv(arrived, rank + 1)\n"
                "            data += arrived"
            )
        },
    ),
    Mistake(
        "4.4 unfold",
        "every pair of neighbours",
        hint="Only the first 2 * (world_size - p) ranks are in pairs. The others have the result.",
        replace={
            "if rank < 2 * pairs:\n        if rank % 2 == 0:": (
                "if pairs and rank < world_size - world_size % 2:\n        if rank % 2 == 0:"
            )
        },
    ),
    Mistake(
        "4.4 unfold",
        "the way of fold once more",
        hint="Now the odd rank of a pair has the result, so that it sends, and the even one "
        "receives.",
        replace={
            "transport.recv(data, rank + 1)": "transport.send(data, rank + 1)",
            "transport.send(data, rank - 1)": "transport.recv(data, rank - 1)",
        },
    ),
    Mistake(
        "4.4 unfold",
        "received, but not put in place",
        hint="`data = arrived` gives another array the name data, and the caller's stays as it "
        "was. Receive into data itself.",
        replace={
            "transport.recv(data, rank + 1)": (
                "arrived = np.empty_like(data)\n            transport.recv(arrived, rank + 1)\n"
                "            data = arrived"
            )
        },
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "both send first",
        hint=_BOTH_SEND + "sendrecv does both at once.",
        replace={
            _EXCHANGE: "transport.send(total, partner)\n"
            "            transport.recv(arrived, partner)"
        },
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "to one rank and from another",
        hint="Each rank sends to the rank at that distance and receives from the other side. The "
        "sums are right, but every rank adds in an order of its own, so that their last digits "
        "differ. Partners that exchange (XOR) add the same two numbers.",
        replace={
            "partner = members[me ^ distance]": (
                "after = members[(me + distance) % len(members)]\n"
                "            before = members[(me - distance) % len(members)]"
            ),
            _EXCHANGE: "transport.sendrecv(total, after, arrived, before)",
        },
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "numbers taken for ranks",
        hint="me XOR distance is the partner's number among the members. Which rank has it?",
        replace={"partner = members[me ^ distance]": "partner = me ^ distance"},
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "partners that are not there left out",
        hint="For six ranks some partners do not exist, and whoever skips them misses what they "
        "would have brought. fold makes the number a power of two first.",
        source="""
def recursive_doubling_allreduce(transport, data):
    total = np.array(data, order="C", copy=True)
    arrived, distance = np.empty_like(total), 1
    while distance < transport.world_size:
        partner = transport.rank ^ distance
        if partner < transport.world_size:
            transport.sendrecv(total, partner, arrived, partner)
            total += arrived
        distance *= 2
    return total
""",
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "not unfolded",
        hint="The ranks that fold left out still have their own arrays.",
        replace={"unfold(transport, total)": "pass"},
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "the own array sent in every step",
        hint="In the second step a rank has the sum of two, and its partner needs that sum, not "
        "the array that the rank began with.",
        replace={_EXCHANGE: "transport.sendrecv(np.array(data), partner, arrived, partner)"},
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "the input changed",
        hint="total is the input itself, so that += changes the caller's array. Begin with a copy.",
        replace={_COPY: "total = np.ascontiguousarray(data).reshape(np.shape(data))"},
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "the number of the step for the distance",
        hint="The partners are me XOR 1, 2, 4, ...: in step k the distance is 1 << k, not k.",
        replace={
            "distance = 1\n": "distance = 0\n",
            "while distance < len(members)": "while 1 << distance < len(members)",
            "distance *= 2": "distance += 1",
        },
    ),
    Mistake(
        "4.4 recursive_doubling_allreduce",
        "a member that was left out asks for its number",
        hint="A rank that fold left out has no number among the members. It waits for unfold.",
        replace={"if transport.rank in members:": "if members:"},
    ),
    Mistake(
        "4.4 halving_window",
        "the remainder dropped",
        hint="n is seldom a multiple of members. With chunks of n // members elements the last "
        "ones belong to nobody: multiply first, divide then.",
        replace={
            "slice(first * n // members, (first + chunks) * n // members)": (
                "slice(first * (n // members), (first + chunks) * (n // members))"
            )
        },
    ),
    Mistake(
        "4.4 halving_window",
        "the larger chunks first",
        hint="The ring of 4.3 gave the first chunks one element more. Here chunk i begins at "
        "i * n // members.",
        source="""
def halving_window(number, members, n, step):
    size, larger = divmod(n, members)
    bounds = [i * size + min(i, larger) for i in range(members + 1)]
    chunks = members >> step
    first = number // chunks * chunks
    return slice(bounds[first], bounds[first + chunks])
""",
    ),
    Mistake(
        "4.4 halving_window",
        "one step ahead",
        hint="Before the first halving the window is the whole array.",
        replace={"chunks = members >> step": "chunks = max(1, members >> (step + 1))"},
    ),
    Mistake(
        "4.4 halving_window",
        "the digits read from the other end",
        hint="The highest digit of the number decides in the first step: the members of the upper "
        "half keep the upper half of the array.",
        source="""
def halving_window(number, members, n, step):
    low, chunks = 0, members
    for bit in range(step):
        chunks //= 2
        low += chunks * (number >> bit & 1)
    return slice(low * n // members, (low + chunks) * n // members)
""",
    ),
    Mistake(
        "4.4 halving_window",
        "from the own chunk on",
        hint="The window contains the own chunk, but it does not begin there: partners have to "
        "agree where the halves are. Its first chunk is a multiple of its size.",
        replace={"number // chunks * chunks": "min(number, members - chunks)"},
    ),
    Mistake(
        "4.4 halving_window",
        "a pair in place of a slice",
        hint="Both ends are right: return slice(start, stop), which can be put between the "
        "brackets of an array.",
        replace={
            "return slice(first * n // members, (first + chunks) * n // members)": (
                "return first * n // members, (first + chunks) * n // members"
            )
        },
    ),
    Mistake(
        "4.4 halving_window",
        "halves of halves in elements",
        hint="Halving the number of elements again and again rounds in each step. Halve the "
        "number of chunks instead: chunk i begins at i * n // members.",
        source="""
def halving_window(number, members, n, step):
    low, high = 0, n
    for k in range(1, step + 1):
        middle = (low + high + 1) // 2
        low, high = (middle, high) if number & (members >> k) else (low, middle)
    return slice(low, high)
""",
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "both send first",
        hint=_BOTH_SEND + "sendrecv does both at once.",
        replace={
            _SCATTER: "transport.send(data[theirs], members[partner])\n"
            "        transport.recv(part, members[partner])"
        },
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "what is kept is sent",
        hint="A rank adds up what it keeps, so it needs the partner's numbers for that half. What "
        "does the partner need?",
        replace={"sendrecv(data[theirs], members": "sendrecv(data[mine], members"},
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "the whole array in every step",
        hint="The sums are right, but every step sends the whole array. The partner needs one half "
        "of the window only.",
        source="""
def halving_reduce_scatter(transport, data, members):
    me, arrived = members.index(transport.rank), np.empty_like(data)
    distance = len(members) // 2
    while distance:
        partner = members[me ^ distance]
        transport.sendrecv(data, partner, arrived, partner)
        data += arrived
        distance //= 2
""",
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "the nearest partner first",
        hint="In the first step the halves of the array are exchanged between the halves of the "
        "members: the partner is p / 2 away, then p / 4.",
        replace={"me ^ (p >> step)": "me ^ (1 << (step - 1))"},
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "what arrives is not added",
        hint="What arrives is the partner's part of the sum. The own part belongs to it, too.",
        replace={"data[mine] += part": "data[mine] = part"},
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "numbers taken for ranks",
        hint="XOR gives the partner's number among the members. Which rank has it?",
        replace={
            "data[theirs], members[partner], part, members[partner]": (
                "data[theirs], partner, part, partner"
            )
        },
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "a buffer of the size that is sent",
        hint="What arrives is what this rank keeps. The two halves may differ by an element, so "
        "that the buffer has to have the size of `mine`.",
        replace={"arrived[: mine.stop - mine.start]": "arrived[: theirs.stop - theirs.start]"},
    ),
    Mistake(
        "4.4 halving_reduce_scatter",
        "added, but not in place",
        hint="`kept = kept + part` makes a new array, and data stays as it was. `data[mine] += "
        "part` adds in the caller's memory.",
        replace={
            "data[mine] += part": "kept = data[mine]\n        kept = kept + part",
        },
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "in the order of the halving",
        hint="In the end of the reduce-scatter a rank has one complete chunk. It can only pass on "
        "what is complete: the smallest windows are exchanged first.",
        replace={"in reversed(range(1, p.bit_length()))": "in range(1, p.bit_length())"},
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "both send first",
        hint=_BOTH_SEND + "sendrecv does both at once.",
        replace={
            _GATHER: "transport.send(data[mine], members[partner])\n"
            "        transport.recv(data[theirs], members[partner])"
        },
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "added instead of put in place",
        hint="What arrives is complete. It takes the place of what came by in the reduce-scatter.",
        replace={
            _GATHER: "part = np.empty_like(data[theirs])\n"
            "        transport.sendrecv(data[mine], members[partner], part, members[partner])\n"
            "        data[theirs] += part"
        },
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "each chunk to every member",
        hint="The result is right, but a rank sends its chunk to everybody: p - 1 messages. After "
        "the first step it has two chunks, which the next partner gets in one message.",
        source="""
def doubling_all_gather(transport, data, members):
    n, p, me = len(data), len(members), members.index(transport.rank)
    chunk = [slice(i * n // p, (i + 1) * n // p) for i in range(p)]
    for distance in range(1, p):
        after, before = (me + distance) % p, (me - distance) % p
        transport.sendrecv(data[chunk[me]], members[after], data[chunk[before]], members[before])
""",
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "numbers taken for ranks",
        hint="XOR gives the partner's number among the members. Which rank has it?",
        replace={
            "data[mine], members[partner], data[theirs], members[partner]": (
                "data[mine], partner, data[theirs], partner"
            )
        },
    ),
    Mistake(
        "4.4 doubling_all_gather",
        "received, but not put in place",
        hint="What arrives has to get into data: receive into data[theirs] itself, or copy what "
        "came there. A new name for it changes nothing.",
        replace={
            _GATHER: "theirs_here = data[theirs]\n        part = np.empty_like(theirs_here)\n"
            "        transport.sendrecv(data[mine], members[partner], part, members[partner])\n"
            "        theirs_here = part"
        },
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "all ranks take part",
        hint="A rank that fold left out has no number among the members. It waits for unfold.",
        replace={"if transport.rank in members:": "if members:"},
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "not unfolded",
        hint="The ranks that fold left out still have their own arrays.",
        replace={"unfold(transport, flat)": "pass"},
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "not gathered",
        hint="After the reduce-scatter every member has one chunk of the sum, and nobody has all.",
        replace={"        doubling_all_gather(transport, flat, members)\n": ""},
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "whole arrays exchanged",
        hint="The sum is right, but every step sends the whole array: that is recursive doubling. "
        "Here each step sends half as much as the one before.",
        source="""
def halving_doubling_allreduce(transport, data):
    total = np.array(data, order="C", copy=True)
    members = fold(transport, total)
    if transport.rank in members:
        me, arrived = members.index(transport.rank), np.empty_like(total)
        for step in range(1, len(members).bit_length()):
            partner = members[me ^ (len(members) >> step)]
            transport.sendrecv(total, partner, arrived, partner)
            total += arrived
    unfold(transport, total)
    return total
""",
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "rows divided instead of elements",
        hint="The windows count elements of an array with one axis. reshape(-1) makes one of any "
        "contiguous array, and copies nothing.",
        replace={"flat = total.reshape(-1)": "flat = total"},
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "the input changed",
        hint="total is the input itself, so that += changes the caller's array. Begin with a copy.",
        replace={_COPY: "total = np.ascontiguousarray(data).reshape(np.shape(data))"},
    ),
    Mistake(
        "4.4 halving_doubling_allreduce",
        "the shape is lost",
        hint="The result has the input's shape. reshape(-1) of a contiguous array shares its "
        "memory: what is summed in flat is in total.",
        replace={"return total": "return flat"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.4 fold",
        """
def fold(transport, data):
    p = 1
    while 2 * p <= transport.world_size:
        p *= 2
    paired = 2 * (transport.world_size - p)
    going_on = [rank for rank in range(transport.world_size) if rank >= paired or rank % 2]
    if transport.rank not in going_on:
        transport.send(data, transport.rank + 1)
    elif transport.rank < paired:
        mine = data.copy()
        transport.recv(data, transport.rank - 1)
        np.add(data, mine, out=data)
    return going_on
""",
        "received in place, the own array kept aside",
    ),
    Alternative(
        "4.4 unfold",
        """
def unfold(transport, data):
    p = 1
    while 2 * p <= transport.world_size:
        p *= 2
    for even in range(0, 2 * (transport.world_size - p), 2):
        if transport.rank == even + 1:
            transport.isend(data, even).wait()
        elif transport.rank == even:
            transport.irecv(data, even + 1).wait()
""",
        "pair by pair",
    ),
    Alternative(
        "4.4 recursive_doubling_allreduce",
        """
def recursive_doubling_allreduce(transport, data):
    total = data.copy(order="C")
    members = fold(transport, total)

    def exchange(group):
        # The sum over a group: both halves on their own, then each rank with its counterpart.
        if len(group) == 1:
            return
        half = len(group) // 2
        lower, upper = group[:half], group[half:]
        mine, others = (lower, upper) if transport.rank in lower else (upper, lower)
        exchange(mine)
        partner = others[mine.index(transport.rank)]
        arrived = np.empty_like(total)
        incoming = transport.irecv(arrived, partner)
        outgoing = transport.isend(total.copy(), partner)
        incoming.wait()
        outgoing.wait()
        np.add(total, arrived, out=total)

    if transport.rank in members:
        exchange(members)
    unfold(transport, total)
    return total
""",
        "recursion over halves of the group",
    ),
    Alternative(
        "4.4 halving_window",
        """
def halving_window(number, members, n, step):
    low, high = 0, members
    for _ in range(step):
        middle = (low + high) // 2
        low, high = (low, middle) if number < middle else (middle, high)
    return slice(low * n // members, high * n // members)
""",
        "bisection",
    ),
    Alternative(
        "4.4 halving_reduce_scatter",
        """
def halving_reduce_scatter(transport, data, members):
    me, n, p = members.index(transport.rank), len(data), len(members)
    low, high = 0, p
    while high - low > 1:
        middle = (low + high) // 2
        lower = slice(low * n // p, middle * n // p)
        upper = slice(middle * n // p, high * n // p)
        if me < middle:
            mine, theirs, partner, high = lower, upper, members[me + middle - low], middle
        else:
            mine, theirs, partner, low = upper, lower, members[me - (middle - low)], middle
        arrived = np.empty_like(data[mine])
        incoming = transport.irecv(arrived, partner)
        transport.send(data[theirs], partner)
        incoming.wait()
        data[mine] = data[mine] + arrived
""",
        "bisection, without XOR and windows",
    ),
    Alternative(
        "4.4 doubling_all_gather",
        """
def doubling_all_gather(transport, data, members):
    me, n, p = members.index(transport.rank), len(data), len(members)

    def gather(low, high):
        if high - low == 1:
            return
        middle = (low + high) // 2
        lower = data[low * n // p : middle * n // p]
        upper = data[middle * n // p : high * n // p]
        if me < middle:
            gather(low, middle)
            partner = members[me + middle - low]
            transport.sendrecv(lower, partner, upper, partner)
        else:
            gather(middle, high)
            partner = members[me - (middle - low)]
            transport.sendrecv(upper, partner, lower, partner)

    gather(0, p)
""",
        "recursion",
    ),
    Alternative(
        "4.4 halving_doubling_allreduce",
        """
def halving_doubling_allreduce(transport, data):
    flat = np.array(data).ravel()
    members = fold(transport, flat)
    try:
        me = members.index(transport.rank)
    except ValueError:
        me = -1
    n, p, low, high, done = flat.size, len(members), 0, len(members), []
    while me >= 0 and high - low > 1:
        middle = (low + high) // 2
        parts = flat[low * n // p : middle * n // p], flat[middle * n // p : high * n // p]
        mine, theirs = parts if me < middle else parts[::-1]
        partner = members[me ^ (middle - low)]
        arrived = np.empty_like(mine)
        transport.sendrecv(theirs, partner, arrived, partner)
        mine += arrived
        done.append((mine, theirs, partner))
        low, high = (low, middle) if me < middle else (middle, high)
    for mine, theirs, partner in done[::-1]:
        transport.sendrecv(mine, partner, theirs, partner)
    unfold(transport, flat)
    return flat.reshape(np.shape(data))
""",
        "one loop, and back along what it wrote down",
    ),
]

ANSWERS = {
    "4.4-written": """
1. For eight ranks there are 6 steps and 1.75 arrays on the critical path; for eleven 8 steps and
   3.75 arrays, since three whole arrays are handed over before (at the same time) and three
   results after. The ring takes 20 steps and 2 * 10 / 11 = 1.82 arrays. With 20 us and 1 GB/s,
   8 alpha + 3.75 m beta = 20 alpha + 1.82 m beta at m = 12 alpha / (1.93 beta), about 124 kB:
   below that halving and doubling (and below 48 kB recursive doubling), above it the ring.
2. With L = log2 n: L (alpha + m beta) = 2 L alpha + 2 (n - 1)/n m beta, so
   m = L / (L - 2 (n - 1)/n) * alpha / beta. For 16 ranks and these links that is 38 kB. The
   factor falls towards 1 as n grows (L beside 2), so m comes down to alpha / beta, 20 kB here. It
   is proportional to alpha: a tenth of the latency, a tenth of the size.
3. In each step both partners add the same two numbers, one as a + b and the other as b + a, and
   floating-point addition commutes. After k steps all ranks of a group of 2^k hold the same bits,
   each number being a sum with the same grouping. The ring adds the ranks in another order, and
   addition is not associative, so its result differs in the last digits, and a training run
   departs from the first one after some steps. That is no error: both are within rounding. Within a
   run the ranks must agree, because every replica updates its own weights with what it got.
"""
}
