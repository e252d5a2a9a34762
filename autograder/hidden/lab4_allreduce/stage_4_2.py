"""Stage 4.2: hidden cases, mistakes and alternatives of the binomial trees."""

import numpy as np

from aisys.allreduce.checks.sums import array_case
from aisys.allreduce.checks.trees import cost_case, tree_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def trees(rng: np.random.Generator) -> list[Case]:
    """Powers of two and others, each with a root of its own."""
    sizes = [16, int(rng.integers(9, 16)), int(rng.integers(17, 32)), 2 ** int(rng.integers(1, 4))]
    roots = [int(rng.integers(1, size)) for size in sizes]
    return [
        tree_case(f"hidden 1: {sizes[0]} ranks", sizes[0]),
        tree_case(f"hidden 2: {sizes[1]} ranks", sizes[1]),
        *(
            tree_case(f"hidden {k}: {size} ranks, root {root}", size, root)
            for k, (size, root) in enumerate(zip(sizes[1:], roots[1:], strict=True), 3)
        ),
    ]


def rooted(rng: np.random.Generator) -> list[Case]:
    """Any root, sizes that are no power of two, all kinds of arrays."""
    ranks, n = int(rng.choice([6, 7, 8])), int(rng.integers(100, 1000))
    root, seeds = int(rng.integers(1, ranks)), [_seed(rng) for _ in range(5)]
    return [
        array_case(
            f"hidden 1: {ranks} ranks, root {root}", seeds[0], ranks, n, dtype="float32", root=root
        ),
        array_case("hidden 2: 5 ranks, whole numbers", seeds[1], 5, 3, dtype="int64", root=0),
        array_case("hidden 3: transposed", seeds[2], 3, ranks, 3, layout="transposed", root=2),
        array_case("hidden 4: one number, no axis", seeds[3], 2, root=1),
        array_case("hidden 5: one rank, nothing in it", seeds[4], 1, 0, dtype="int32", root=0),
    ]


def sums(rng: np.random.Generator) -> list[Case]:
    """Any number of ranks, all kinds of arrays."""
    ranks, n = int(rng.choice([5, 6, 7])), int(rng.integers(100, 1000))
    seeds = [_seed(rng) for _ in range(5)]
    every_second = {"dtype": "int8", "layout": "every second"}
    return [
        array_case(f"hidden 1: {ranks} ranks, {n} elements", seeds[0], ranks, n, dtype="float32"),
        array_case("hidden 2: small whole numbers that wrap", seeds[1], 3, 9, **every_second),
        array_case("hidden 3: transposed", seeds[2], 4, ranks, 3, layout="transposed"),
        array_case("hidden 4: one number, no axis", seeds[3], 2),
        array_case("hidden 5: one rank, nothing in it", seeds[4], 1, 0),
    ]


def costs(rng: np.random.Generator) -> list[Case]:
    """Powers of two and their neighbours."""
    nbytes, power = int(rng.integers(1, 10**6)), 2 ** int(rng.integers(4, 12))
    any_size = int(rng.integers(power + 2, 2 * power))
    return [
        cost_case(f"hidden 1: {power} ranks", [power], nbytes),
        cost_case(f"hidden 2: {power + 1} ranks", [power + 1], nbytes),
        cost_case(f"hidden 3: {power - 1} and {any_size} ranks", [power - 1, any_size], nbytes),
        cost_case("hidden 4: one rank", [1], nbytes),
        cost_case("hidden 5: an empty array", [3, 4], 0),
    ]


CASES = {
    "tree_neighbours_values": trees,
    "broadcast_ranks": rooted,
    "reduce_ranks": rooted,
    "tree_allreduce_ranks": sums,
    "tree_cost_values": costs,
}

MISTAKES = [
    Mistake(
        "4.2 tree_neighbours",
        "the relative rank forgotten",
        hint="The bits are those of the relative rank, (rank - root) % world_size. With another "
        "root than 0, which rank has no parent here?",
        replace={"relative = (rank - root) % world_size": "relative = rank"},
    ),
    Mistake(
        "4.2 tree_neighbours",
        "relative ranks returned",
        hint="The way back is missing: a relative rank becomes a rank by adding the root, "
        "modulo world_size.",
        replace={
            "(without_lowest_bit + root) % world_size": "without_lowest_bit",
            "(rank + distance) % world_size": "relative + distance",
        },
    ),
    Mistake(
        "4.2 tree_neighbours",
        "children that are not there",
        hint="Where world_size is no power of two, some places of the tree are empty. Is "
        "relative + distance a relative rank?",
        replace={"relative + distance < world_size": "distance < world_size"},
    ),
    Mistake(
        "4.2 tree_neighbours",
        "too few rounds",
        hint="For six ranks the distances are 1, 2 and 4. log2 of 6, rounded down, leaves one out: "
        "go on as long as there is a rank at that distance.",
        source="""
def tree_neighbours(rank, world_size, root=0):
    relative = (rank - root) % world_size
    children, distance = [], 1
    for _ in range(int(np.log2(world_size))):
        if relative & distance:
            break
        if relative + distance < world_size:
            children.append((rank + distance) % world_size)
        distance *= 2
    parent = None if relative == 0 else ((relative & (relative - 1)) + root) % world_size
    return parent, children
""".replace("def tree", "import numpy as np\n\n\ndef tree", 1),
    ),
    Mistake(
        "4.2 tree_neighbours",
        "the highest bit cleared",
        hint="This is a binomial tree, too, but another one. Here a rank hangs below what is left "
        "without its lowest one bit: 6 = 110 below 4 = 100, not below 2 = 010.",
        source="""
def tree_neighbours(rank, world_size, root=0):
    relative = (rank - root) % world_size
    children, distance = [], 1 << relative.bit_length()
    while relative + distance < world_size:
        children.append((rank + distance) % world_size)
        distance *= 2
    if relative == 0:
        return None, children
    return (relative - (1 << (relative.bit_length() - 1)) + root) % world_size, children
""",
    ),
    Mistake(
        "4.2 tree_neighbours",
        "the farthest child first",
        hint="The right children in another order: the nearest comes first.",
        replace={"return parent, children": "return parent, children[::-1]"},
    ),
    Mistake(
        "4.2 tree_neighbours",
        "the root is its own parent",
        hint="0 has no one bit that could become 0: the root has nobody above it, and its parent "
        "is None.",
        replace={"None if relative == 0 else (without_lowest_bit": "(without_lowest_bit"},
    ),
    Mistake(
        "4.2 tree_neighbours",
        "the children alone",
        hint="Two things come back: the parent, and the list of the children.",
        replace={"return parent, children": "return children"},
    ),
    Mistake(
        "4.2 broadcast",
        "the root sends to everybody",
        hint="The result is right, and the root sends n - 1 messages one after another while "
        "nobody else does anything. Who has the array after the first message could help.",
        source="""
def broadcast(transport, data, root=0):
    received = np.array(data, order="C", copy=True)
    if transport.rank == root:
        for rank in range(transport.world_size):
            if rank != root:
                transport.send(received, rank)
    else:
        transport.recv(received, root)
    return received
""",
    ),
    Mistake(
        "4.2 broadcast",
        "the nearest child first",
        hint="The result is right, but the critical path is too long: the farthest child has half "
        "of all ranks below it, and it waits until the others are served.",
        replace={"in reversed(children)": "in children"},
    ),
    Mistake(
        "4.2 broadcast",
        "always from rank 0",
        hint="tree_neighbours takes the root as its third argument.",
        replace={"transport.world_size, root)": "transport.world_size)"},
    ),
    Mistake(
        "4.2 broadcast",
        "received into the input",
        hint="What arrives belongs into a new array, and one that is C-contiguous: "
        "`np.empty(data.shape, data.dtype)`. The input is the caller's, and may be transposed; "
        "`np.empty_like` keeps its layout.",
        replace={"received = np.empty(data.shape, data.dtype)": "received = data"},
    ),
    Mistake(
        "4.2 broadcast",
        "the root returns its input",
        hint="The root, too, returns a new array. Whoever adds to the result would change the "
        "input, here on one rank of all.",
        replace={"return received": "return received if parent is not None else data"},
    ),
    Mistake(
        "4.2 broadcast",
        "the own array passed on",
        hint="A rank in the middle of the tree sends its own array to its children. What has just "
        "arrived is what they need.",
        replace={"transport.send(received, child)": "transport.send(data, child)"},
    ),
    Mistake(
        "4.2 broadcast",
        "what recv returns is passed on",
        hint="recv returns None: it fills the array that it is given. Keep that array and pass it "
        "on.",
        replace={
            "received = np.empty(data.shape, data.dtype)\n": "",
            "transport.recv(received, parent)": (
                "received = transport.recv(np.empty(data.shape, data.dtype), parent)"
            ),
        },
    ),
    Mistake(
        "4.2 broadcast",
        "the root alone returns the array",
        hint="Every rank returns the array, also one that has no children.",
        replace={
            "    return received": "    return received if parent is None or children else None"
        },
    ),
    Mistake(
        "4.2 reduce",
        "everybody sends to the root",
        hint="The sum is right, but the root receives n - 1 arrays one after another. In a tree "
        "other ranks add up at the same time.",
        source="""
def reduce(transport, data, root=0):
    if transport.rank != root:
        transport.send(data, root)
        return None
    total = np.array(data, order="C", copy=True)
    arrived = np.empty_like(total)
    for rank in range(transport.world_size):
        if rank != root:
            transport.recv(arrived, rank)
            total += arrived
    return total
""",
    ),
    Mistake(
        "4.2 reduce",
        "the own array sent",
        hint="What a rank sends to its parent stands for all ranks below it: the sum, not its "
        "array alone.",
        replace={"transport.send(total, parent)": "transport.send(data, parent)"},
    ),
    Mistake(
        "4.2 reduce",
        "received into the sum",
        hint="recv overwrites the array that it is given. What arrives needs an array of its own "
        "before it can be added.",
        replace={
            "transport.recv(arrived, child)\n        total += arrived": (
                "transport.recv(total, child)"
            )
        },
    ),
    Mistake(
        "4.2 reduce",
        "the input changed",
        hint="total is the input itself, so that each += changes the caller's array. Begin with a "
        "copy.",
        replace={'total = np.array(data, order="C", copy=True)': "total = np.asarray(data)"},
    ),
    Mistake(
        "4.2 reduce",
        "partial sums returned",
        hint="A rank that is not the root has the sum of the ranks below it and of nobody else. It "
        "returns None, so that nobody takes that for the result.",
        replace={"return None": "return total"},
    ),
    Mistake(
        "4.2 reduce",
        "always to rank 0",
        hint="tree_neighbours takes the root as its third argument.",
        replace={"transport.world_size, root)": "transport.world_size)"},
    ),
    Mistake(
        "4.2 reduce",
        "the mean",
        hint="The sum is asked for. Whoever wants the mean divides it afterwards, once.",
        replace={
            "return total\n    transport": (
                "return (total / transport.world_size).astype(data.dtype)\n    transport"
            )
        },
    ),
    Mistake(
        "4.2 reduce",
        "what recv returns is added",
        hint="recv returns None: it fills the array that it is given, and that is what there is "
        "to add.",
        replace={
            "        transport.recv(arrived, child)\n        total += arrived": (
                "        total += transport.recv(arrived, child)"
            )
        },
    ),
    Mistake(
        "4.2 reduce",
        "a buffer of another dtype",
        hint="np.empty makes float64 unless it is told otherwise, and `out` has to have the dtype "
        "of what comes: np.empty(data.shape, data.dtype).",
        replace={"np.empty_like(total)": "np.empty(data.shape)"},
    ),
    Mistake(
        "4.2 tree_allreduce",
        "nothing comes down again",
        hint="reduce leaves the sum on the root only. How do the other ranks get it?",
        replace={"return broadcast(transport, data if total is None else total)": "return total"},
    ),
    Mistake(
        "4.2 tree_allreduce",
        "the root's array broadcast",
        hint="All ranks have the same array now, but it is rank 0's own and not the sum.",
        replace={"data if total is None else total": "data"},
    ),
    Mistake(
        "4.2 tree_allreduce",
        "a tree for each rank",
        hint="Every rank adds up in an order of its own, so the last digits differ, and there are "
        "n trees, one after another. One tree up and one down are enough.",
        source="""
def tree_allreduce(transport, data):
    result = None
    for root in range(transport.world_size):
        total = reduce(transport, data, root)
        result = total if total is not None else result
    return result
""",
    ),
    Mistake(
        "4.2 tree_allreduce",
        "None passed on",
        hint="reduce returns None on every rank but the root, and broadcast needs an array there, "
        "too: for its shape and dtype. data has both.",
        replace={"data if total is None else total": "total"},
    ),
    Mistake(
        "4.2 tree_cost",
        "log2 rounded down",
        hint="Nine ranks need four rounds each way, since after three rounds only eight have the "
        "array. Which way is log2 rounded?",
        replace={"(world_size - 1).bit_length()": "(world_size.bit_length() - 1)"},
    ),
    Mistake(
        "4.2 tree_cost",
        "one round too many for powers of two",
        hint="For eight ranks three rounds each way are enough. What is the bit length of 8, and "
        "what is that of 7?",
        replace={"(world_size - 1).bit_length()": "world_size.bit_length()"},
    ),
    Mistake(
        "4.2 tree_cost",
        "one way only",
        hint="The array goes up the tree and down again.",
        replace={"2 * (world_size - 1).bit_length()": "(world_size - 1).bit_length()"},
    ),
    Mistake(
        "4.2 tree_cost",
        "a message from every rank",
        hint="Up the tree every rank but one sends one message; down, every rank but one receives "
        "one. How many is that?",
        replace={"2 * (world_size - 1) * nbytes": "2 * world_size * nbytes"},
    ),
    Mistake(
        "4.2 tree_cost",
        "the array counted once",
        hint="Each message on the critical path carries the whole array, and they follow one "
        "another: their bytes add up.",
        replace={"steps * nbytes,": "nbytes,"},
    ),
    Mistake(
        "4.2 tree_cost",
        "all ranks send in every step",
        hint="In a step of the tree only some of the ranks send: on the way up each sends once, "
        "and the root not at all. Count messages, not steps.",
        replace={"2 * (world_size - 1) * nbytes": "steps * world_size * nbytes"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.2 tree_neighbours",
        """
def tree_neighbours(rank, world_size, root=0):
    parents, children = {0: None}, {place: [] for place in range(world_size)}

    def hang(top, places):
        # The upper half of the places hangs below `top` as a tree of its own.
        while places > 1:
            places //= 2
            if top + places < world_size:
                parents[top + places] = top
                children[top].insert(0, top + places)
                hang(top + places, places)

    hang(0, 1 << (world_size - 1).bit_length())
    relative = (rank - root) % world_size
    parent = parents[relative]
    own = [(child + root) % world_size for child in children[relative]]
    return None if parent is None else (parent + root) % world_size, own
""",
        "the whole tree, by halves",
    ),
    Alternative(
        "4.2 broadcast",
        """
def broadcast(transport, data, root=0):
    world_size = transport.world_size
    relative = (transport.rank - root) % world_size
    received = data.copy(order="C")
    have = 1
    while have < world_size:
        if relative < have and relative + have < world_size:
            transport.send(received, (relative + have + root) % world_size)
        elif have <= relative < 2 * have:
            transport.recv(received, (relative - have + root) % world_size)
        have *= 2
    return received
""",
        "rounds in which the number of ranks that have the array doubles",
    ),
    Alternative(
        "4.2 reduce",
        """
def reduce(transport, data, root=0):
    world_size = transport.world_size
    relative = (transport.rank - root) % world_size
    total, mask = data.copy(order="C"), 1
    while mask < world_size:
        if relative & mask:
            transport.send(total, (relative - mask + root) % world_size)
            return None
        if relative | mask < world_size:
            out = np.empty_like(total)
            transport.recv(out, (relative + mask + root) % world_size)
            total = np.add(total, out, dtype=total.dtype).reshape(total.shape)
        mask <<= 1
    return np.asarray(total)
""".replace("relative | mask < world_size", "(relative | mask) < world_size"),
        "MPICH's loop over a mask",
    ),
    Alternative(
        "4.2 tree_allreduce",
        """
def tree_allreduce(transport, data):
    top = transport.world_size - 1
    total = reduce(transport, data, top)
    if total is None:
        total = np.zeros_like(data)
    return broadcast(transport, total, top)
""",
        "over the last rank",
    ),
    Alternative(
        "4.2 tree_cost",
        """
def tree_cost(world_size, nbytes):
    have, rounds, messages = 1, 0, 0
    while have < world_size:
        new = min(have, world_size - have)
        have, rounds, messages = have + new, rounds + 1, messages + new
    return 2 * rounds, 2 * rounds * nbytes, 2 * messages * nbytes
""",
        "counted round by round",
    ),
]
