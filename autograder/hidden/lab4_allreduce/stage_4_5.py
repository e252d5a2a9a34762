"""Stage 4.5: hidden cases, mistakes, alternatives and the model answer of the hierarchy."""

import numpy as np

from aisys.allreduce.checks.hierarchy import (
    cluster_of,
    cost_case,
    groups_case,
    nodes_case,
)
from aisys.allreduce.choice import ALGORITHMS, allreduce_seconds
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake

CLEAR = 0.97
"""The best algorithm of a case takes at most this share of the second best one's time."""


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def groups(rng: np.random.Generator) -> list[Case]:
    """Any rank of nodes of any size; ranks that do not fill the nodes."""
    nodes, each = int(rng.integers(3, 9)), int(rng.integers(2, 9))
    each += each == nodes
    ranks = nodes * each
    middle = int(rng.integers(each + 1, ranks - 1))
    return [
        groups_case(f"hidden 1: rank {middle} of {ranks}, nodes of {each}", middle, ranks, each),
        groups_case("hidden 2: the first rank", 0, ranks, each),
        groups_case("hidden 3: one node", each - 1, each, each),
        groups_case("hidden 4: nodes of one rank", 1, nodes, 1),
        groups_case("hidden 5: one rank too many", 1, ranks + 1, each),
    ]


def sums(rng: np.random.Generator) -> list[Case]:
    """Even and uneven chunks, fewer elements than ranks, kinds of numbers and layouts."""
    a, b = (int(size) for size in rng.integers(6, 30, 2))
    return [
        nodes_case("hidden 1: 2 nodes of 3", _seed(rng), 2, 3, 6 * a),
        nodes_case("hidden 2: 3 nodes of 2, transposed", _seed(rng), 3, 2, a, b,
                   dtype="float32", layout="transposed"),
        nodes_case("hidden 3: 2 nodes of 2, whole numbers of 60 bits", _seed(rng), 2, 2, 8 * b,
                   dtype="int64"),
        nodes_case("hidden 4: 3 nodes of 2, 2 elements", _seed(rng), 3, 2, 2),
        nodes_case("hidden 5: one node of 3", _seed(rng), 1, 3, a),
        nodes_case("hidden 6: 2 nodes of 2, no elements", _seed(rng), 2, 2, 0),
    ]  # fmt: skip


def waiting(rng: np.random.Generator) -> list[Case]:
    """Two clusters where a send waits, ranks in any order."""
    n, turns = int(rng.integers(6, 40)), int(rng.integers(1000))
    return [
        nodes_case("hidden 1: 2 nodes of 3; a send waits", _seed(rng), 2, 3, n, turns=turns),
        nodes_case("hidden 2: 3 nodes of 2; a send waits", _seed(rng), 3, 2, n, turns=turns + 1),
    ]


def costs(rng: np.random.Generator) -> list[Case]:
    """Every algorithm on clusters of any kind; one node, nodes of one rank."""
    cases = []
    for number, algorithm in enumerate(ALGORITHMS, 1):
        links, nbytes, cluster = _cluster(rng)
        name = f"hidden {number}: {algorithm}, {links} links a node"
        cases.append(cost_case(name, algorithm, nbytes, links=links, **cluster))
    _, nbytes, cluster = _cluster(rng)
    alone = {"inside": cluster["inside"], "between": cluster["between"]}
    return [
        *cases,
        cost_case("hidden 6: a ring, one node", "ring", nbytes, nodes=1, **alone),
        cost_case("hidden 7: a hierarchy, nodes of one rank", "hierarchy", nbytes, each=1, **alone),
        cost_case("hidden 8: halving-doubling, one node", "halving-doubling", nbytes, nodes=1,
                  **alone),
    ]  # fmt: skip


def choices(rng: np.random.Generator) -> list[Case]:
    """Sizes from 8 B to 1 GB, of which each has one clearly best algorithm; four of them differ."""
    cases: list[Case] = []
    wanted = ["recursive doubling", "halving-doubling", "hierarchy", "tree"]
    while wanted or len(cases) < 6:
        links, _, cluster = _cluster(rng)
        nbytes = round(float(np.exp(rng.uniform(np.log(8), np.log(1e9)))))
        name = f"hidden {len(cases) + 1}: {nbytes:,} bytes, {cluster['nodes']} nodes"
        case = cost_case(name, "", nbytes, links=links, **cluster)
        times = {each: allreduce_seconds(each, cluster_of(case.inputs), nbytes)
                 for each in ALGORITHMS}  # fmt: skip
        best, second = sorted(times, key=lambda each: times[each])[:2]
        if times[best] > CLEAR * times[second] or (wanted and best not in wanted):
            continue
        wanted = [each for each in wanted if each != best]
        cases.append(case)
    return cases


def _cluster(rng: np.random.Generator) -> tuple[int, float, dict]:
    """Links a node, a size, and the rest of a cluster of 8 to 4,096 ranks."""
    each = 2 ** int(rng.integers(2, 5))
    nodes = 2 ** int(rng.integers(1, 9))
    alpha, beta = float(rng.uniform(1e-6, 5e-6)), float(rng.uniform(2e-12, 2e-10))
    slower = float(rng.uniform(3, 12))
    cluster = {
        "nodes": nodes,
        "each": each,
        "inside": [alpha, beta],
        "between": [slower * alpha, slower * beta],
    }
    return int(rng.choice([1, 2, each])), float(rng.uniform(1e4, 1e7)), cluster


CASES = {
    "node_groups_ranks": groups,
    "hierarchical_allreduce_ranks": sums,
    "hierarchical_allreduce_waits": waiting,
    "allreduce_seconds_values": costs,
    "chosen": choices,
}

_LOST = (
    "Messages went between the nodes, and their sum is lost. all_gather passes on the chunk whose "
    "number reduce_scatter returned. Is that the one you all-reduced, and did the result go back "
    "into it?"
)
_BETWEEN = "chunk[:] = ring_allreduce(peers, chunk)"

MISTAKES = [
    Mistake(
        "4.5 node_groups",
        "ranks dealt out in turn",
        hint="Ranks are numbered node by node: the first ranks_per_node are on node 0. You have "
        "dealt them out to the nodes one by one.",
        source="""
def node_groups(rank, world_size, ranks_per_node):
    if world_size % ranks_per_node:
        raise CourseError("The ranks do not fill the nodes.")
    nodes = world_size // ranks_per_node
    first = rank // nodes * nodes
    return list(range(rank % nodes, world_size, nodes)), list(range(first, first + nodes))
""",
    ),
    Mistake(
        "4.5 node_groups",
        "the two groups exchanged",
        hint="First those of the same node, then those of the same place.",
        replace={"return inside, between": "return between, inside"},
    ),
    Mistake(
        "4.5 node_groups",
        "whatever the number of ranks",
        hint="With a node that is not full some places have fewer ranks than others, and ranks "
        "would wait for others that do not exist. That is to be refused with a CourseError.",
        replace={"if ranks_per_node < 1 or world_size % ranks_per_node:": "if ranks_per_node < 1:"},
    ),
    Mistake(
        "4.5 node_groups",
        "only the first ranks of the nodes",
        hint="Every place has a group of its own between the nodes, not only the first one: so all "
        "ranks of a node share the work.",
        replace={
            "range(place, world_size, ranks_per_node)": "range(0, world_size, ranks_per_node)"
        },
    ),
    Mistake(
        "4.5 node_groups",
        "from this rank onwards",
        hint="The group of a place begins on node 0, not with this rank: all of its ranks need "
        "the same list.",
        replace={
            "range(place, world_size, ranks_per_node)": "range(rank, world_size, ranks_per_node)"
        },
    ),
    Mistake(
        "4.5 node_groups",
        "divided by the number of nodes",
        hint="A rank's node and place come from a division by the ranks of a node; you have "
        "divided by the number of nodes.",
        replace={"divmod(rank, ranks_per_node)": "divmod(rank, world_size // ranks_per_node)"},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "one flat ring",
        hint="The sum is right. But in a ring over all ranks nearly the whole array crosses every "
        "border between nodes twice, one rank of each node sending it all.",
        source="""
def hierarchical_allreduce(transport, data, ranks_per_node):
    return ring_allreduce(transport, data)
""",
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the whole array between the nodes",
        hint="The sum is right. After an all-reduce inside the node all of its ranks have the same "
        "array, and all of them send it to the other nodes. One chunk of each rank is enough.",
        source="""
def hierarchical_allreduce(transport, data, ranks_per_node):
    inside, between = node_groups(transport.rank, transport.world_size, ranks_per_node)
    total = ring_allreduce(Group(transport, inside), data)
    return ring_allreduce(Group(transport, between), total)
""",
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "one rank of each node does it all",
        hint="The sum is right. The first rank of each node sends whole arrays between the nodes, "
        "and the others wait for it. Give each rank of the node a chunk of that work.",
        source="""
def hierarchical_allreduce(transport, data, ranks_per_node):
    inside, between = node_groups(transport.rank, transport.world_size, ranks_per_node)
    node = Group(transport, inside)
    total = np.array(data, order="C", copy=True)
    if node.rank:
        node.send(total, 0)
        node.recv(total, 0)
        return total
    arrived = np.empty_like(total)
    for other in range(1, node.world_size):
        node.recv(arrived, other)
        total += arrived
    total = ring_allreduce(Group(transport, between), total)
    for other in range(1, node.world_size):
        node.send(total, other)
    return total
""",
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the chunk of the own place",
        hint=_LOST,
        replace={
            "bounds[complete] : bounds[complete + 1]": "bounds[node.rank] : bounds[node.rank + 1]"
        },
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the sum of the nodes is not put back",
        hint=_LOST,
        replace={_BETWEEN: "chunk = ring_allreduce(peers, chunk)"},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "nothing between the nodes",
        hint="That is the sum of one node. What is missing are the other nodes.",
        replace={_BETWEEN: "chunk[:] = chunk.copy()"},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the chunks are not gathered",
        hint="Each rank has one chunk of the whole sum, and the rest of its array is what came by. "
        "The other chunks are in the same node.",
        replace={"    all_gather(node, flat, complete)\n": ""},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the input is changed",
        hint="reduce_scatter works in the array that it is given. np.ascontiguousarray copies only "
        "where it must.",
        replace={'np.array(data, order="C", copy=True)': "np.ascontiguousarray(data)"},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "as many chunks as ranks in the world",
        hint="reduce_scatter in the group of a node makes as many chunks as the node has ranks. "
        "You have cut into as many as there are ranks in the world, so your chunk is a part only.",
        replace={
            "chunk_bounds(len(flat), ranks_per_node)": (
                "chunk_bounds(len(flat), transport.world_size)"
            )
        },
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "as many chunks as nodes",
        hint="The chunks are those of reduce_scatter inside the node: one for each of the node's "
        "ranks, not one for each node.",
        replace={
            "chunk_bounds(len(flat), ranks_per_node)": "chunk_bounds(len(flat), peers.world_size)"
        },
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the chunk among all ranks",
        hint="Only the ranks of your place have the same chunk as you. Those of the other places "
        "have other chunks, and they do not belong into this sum.",
        replace={_BETWEEN: "chunk[:] = ring_allreduce(transport, chunk)"},
    ),
    Mistake(
        "4.5 hierarchical_allreduce",
        "the two groups exchanged",
        hint="The sum is right. But your reduce-scatter and all-gather run between the nodes, with "
        "the whole array, and the chunk is all-reduced inside: the slow links carry most bytes.",
        source="""
def hierarchical_allreduce(transport, data, ranks_per_node):
    inside, between = node_groups(transport.rank, transport.world_size, ranks_per_node)
    node, peers = Group(transport, between), Group(transport, inside)
    total = np.array(data, order="C", copy=True)
    flat = total.reshape(-1)
    complete = reduce_scatter(node, flat)
    bounds = chunk_bounds(len(flat), node.world_size)
    chunk = flat[bounds[complete] : bounds[complete + 1]]
    chunk[:] = ring_allreduce(peers, chunk)
    all_gather(node, flat, complete)
    return total
""",
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "the whole array in every step of the ring",
        hint="A step of the ring carries one chunk of the array.",
        replace={
            "step(nbytes / world_size, 1 if nodes > 1 else 0)": (
                "step(nbytes, 1 if nodes > 1 else 0)"
            )
        },
    ),  # fmt: skip
    Mistake(
        "4.5 allreduce_seconds",
        "a ring of which only a part is slow",
        hint="In every step of the ring a rank of each node sends to the next node, and the step "
        "is over when the slowest message is there. No step is one of the inside only.",
        replace={
            "return 2 * (world_size - 1) * step(nbytes / world_size, 1 if nodes > 1 else 0)": (
                "crossing = 2 * (nodes - 1) * step(nbytes / world_size, 1)\n"
                "        return crossing + 2 * (world_size - nodes) * step(nbytes / world_size, 0)"
            )
        },
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "one rank between the nodes in the hierarchy",
        hint="Between the nodes all ranks of a node send at the same time. If they share a link, "
        "it carries all of their chunks.",
        replace={
            "step(nbytes / world_size, ranks)": "step(nbytes / world_size, 1)",
        },
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "a chunk of the node in every step between nodes",
        hint="Between the nodes a rank's chunk, nbytes / ranks_per_node, is cut once more, into as "
        "many parts as there are nodes.",
        replace={"step(nbytes / world_size, ranks)": "step(nbytes / ranks, ranks)"},
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "the near partners first",
        hint="Who is the partner in the first halving, when half of the array is sent: a rank of "
        "the own node, or one that is p/2 ranks away?",
        replace={
            "halving = sum(step(part, ranks) for part in parts[:far])": (
                "halving = sum(step(part, 0) for part in parts[:near])"
            ),
            "halving += sum(step(part, 0) for part in parts[far:])": (
                "halving += sum(step(part, ranks) for part in parts[near:])"
            ),
        },
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "only the way there",
        hint="Halving is followed by doubling, and a tree is gone up and down again: every step "
        "comes twice.",
        replace={
            "return 2 * halving": "return halving",
            "return 2 * (near * step": "return 1 * (near * step",
        },
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "one rank between the nodes in recursive doubling",
        hint="When the partner is on another node, every rank of the node sends its array there at "
        "the same time.",
        replace={"far * step(nbytes, ranks)": "far * step(nbytes, 1)"},
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "every rank between the nodes in the tree",
        hint="In a tree over nodes of 2^k consecutive ranks only the first rank of a node has its "
        "parent on another node.",
        replace={"far * step(nbytes, 1))": "far * step(nbytes, ranks))"},
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "a ring that crosses where there is one node",
        hint="With one node no message of the ring goes to another one: then `crossing` is 0.",
        replace={"1 if nodes > 1 else 0": "1"},
    ),
    Mistake(
        "4.5 allreduce_seconds",
        "a hierarchy that only gathers inside",
        hint="Inside the node the hierarchy has a reduce-scatter and an all-gather: two times "
        "ranks_per_node - 1 steps.",
        replace={"inside = 2 * (ranks - 1)": "inside = (ranks - 1)"},
    ),
    Mistake(
        "4.5 choose",
        "the slowest",
        hint="The least time is looked for.",
        replace={"return min(": "return max("},
    ),
    Mistake(
        "4.5 choose",
        "the time, not the name",
        hint="The name of the algorithm is asked for, not its time.",
        source="""
def choose(cluster, nbytes):
    return min(allreduce_seconds(algorithm, cluster, nbytes) for algorithm in ALGORITHMS)
""",
    ),
    Mistake(
        "4.5 choose",
        "by the number of steps",
        hint="With 0 bytes only alpha counts. What is right for a small array need not be right "
        "for this one.",
        replace={
            "cluster, nbytes))": "cluster, 0))",
        },
    ),
    Mistake(
        "4.5 choose",
        "always the hierarchy where there are nodes",
        hint="The hierarchy pays for its few bytes with many steps. Small arrays are all alpha.",
        source="""
def choose(cluster, nbytes):
    return "hierarchy" if cluster.nodes > 1 else "ring"
""",
    ),
    Mistake(
        "4.5 choose",
        "one size for all clusters",
        hint="Where one algorithm overtakes another depends on alpha, beta, the ranks and the "
        "links of this cluster. Compare their times.",
        source="""
def choose(cluster, nbytes):
    if nbytes < 16384:
        return "recursive doubling"
    return "halving-doubling" if nbytes < 1_000_000 else "hierarchy"
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.5 node_groups",
        """
def node_groups(rank, world_size, ranks_per_node):
    if ranks_per_node <= 0 or world_size // ranks_per_node * ranks_per_node != world_size:
        raise CourseError("Some node would not be full; start as many ranks as fit.")
    grid = np.arange(world_size).reshape(-1, ranks_per_node)
    return grid[rank // ranks_per_node].tolist(), grid[:, rank % ranks_per_node].tolist()
""",
        title="rows and columns of a grid",
    ),
    Alternative(
        "4.5 hierarchical_allreduce",
        """
def hierarchical_allreduce(transport, data, ranks_per_node):
    inside, between = node_groups(transport.rank, transport.world_size, ranks_per_node)
    node = Group(transport, inside)
    chunks = [part.copy() for part in np.array_split(np.ravel(data), ranks_per_node)]
    me = node.rank
    # Everybody sends each chunk straight to the rank that adds it up.
    for distance in range(1, ranks_per_node):
        to, source = (me + distance) % ranks_per_node, (me - distance) % ranks_per_node
        arrived = np.empty_like(chunks[me])
        node.sendrecv(chunks[to], to, arrived, source)
        chunks[me] = chunks[me] + arrived
    chunks[me] = ring_allreduce(Group(transport, between), chunks[me])
    for distance in range(1, ranks_per_node):
        to, source = (me + distance) % ranks_per_node, (me - distance) % ranks_per_node
        node.sendrecv(chunks[me], to, chunks[source], source)
    return np.concatenate(chunks).reshape(data.shape)
""",
        title="straight to the rank that adds up, no ring inside",
    ),
    Alternative(
        "4.5 allreduce_seconds",
        """
def allreduce_seconds(algorithm, cluster, nbytes):
    n, r = cluster.nodes, cluster.ranks_per_node
    p, near, far = n * r, int(np.log2(r)), int(np.log2(n))
    inside, between = cluster.inside, cluster.between
    share = max(1, r / cluster.links)
    # Alphas and bytes of each kind: inside, between.
    if algorithm == "tree":
        a, x, b, y = 2 * near, 2 * near, 2 * far, 2 * far
    elif algorithm == "recursive doubling":
        a, x, b, y = near, near, far, far * share
    elif algorithm == "halving-doubling":
        a, x, b, y = 2 * near, 2 * (1 - 1 / r) / n, 2 * far, 2 * (1 - 1 / n) * share
    elif algorithm == "ring":
        steps = 2 * (p - 1)
        a, x, b, y = (0, 0, steps, steps / p) if n > 1 else (steps, steps / p, 0, 0)
    else:
        steps = 2 * (n - 1)
        a, x, b, y = 2 * (r - 1), 2 * (r - 1) / r, steps, steps / p * share
    return inside.seconds(a, x * nbytes) + between.seconds(b, y * nbytes)
""",
        title="closed forms of alphas and bytes",
    ),
    Alternative(
        "4.5 choose",
        """
def choose(cluster, nbytes):
    best, least = None, float("inf")
    for name in reversed(ALGORITHMS):
        seconds = allreduce_seconds(name, cluster, nbytes)
        if seconds <= least:
            best, least = name, seconds
    return best
""",
        title="a loop",
    ),
]

ANSWERS = {
    "4.5-written": """
1. In the model of one link for each node the hierarchy sends 2 (N - 1) / N n bytes over it and the
   flat ring 2 (p - 1) / p n: with two nodes of two ranks 1 against 1.5 arrays, and 2 against 6
   messages that wait for the slow link. Measured on the throttled links the ring takes 1.2 to 1.5
   times as long for 4 MiB; 1.5 was predicted. For small arrays the prediction is off, because
   ranks that share cores wait for each other, and because the token bucket lets the first 128 KiB
   pass at full speed: alpha and beta of one straight line do not describe that.
2. With many nodes and one link for each, (N - 1) / N and (p - 1) / p are both nearly 1: the gain in
   bytes is gone. What is left are the steps, 2 (N - 1) alpha in place of 2 (p - 1) alpha, against
   which the hierarchy has to pay for the reduce-scatter and all-gather inside, so for very large
   arrays the flat ring wins. With a link for each rank the hierarchy uses all of them at once, the
   flat ring only one of them: the bytes between nodes take 1 / ranks_per_node of the time.
3. Few bytes: recursive doubling, log2 p steps. Middle: halving-doubling, or the tree where the
   ranks of a node share a link, which recursive doubling fills with r arrays. Large: the
   hierarchy. The steps of a ring among 512 nodes cost 1,022 alphas, so its region begins the later
   the more nodes there are; with halving-doubling between the nodes in place of the ring it would
   begin earlier, since 18 messages carry the same bytes.
"""
}
