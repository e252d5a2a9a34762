"""Probes of 4.5: the groups, the sum in two levels and what crosses between nodes, the choice."""

from typing import Any

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS, on_ranks
from aisys.allreduce.checks.ring import exactly_counted, slack
from aisys.allreduce.checks.sums import array_case as ring_case
from aisys.allreduce.checks.sums import rank_arrays, reduced_by, within_rounding
from aisys.allreduce.choice import Cluster, allreduce_seconds, choose
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.hierarchy import hierarchical_allreduce, node_groups
from aisys.allreduce.in_process import run
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.errors import CourseError, Hole

REFUSED = "CourseError"


def groups_case(name: str, rank: int, world_size: int, ranks_per_node: int) -> Case:
    """A case of `node_groups`."""
    return Case(name, {"rank": rank, "world_size": world_size, "ranks_per_node": ranks_per_node})


def nodes_case(name: str, seed: int, nodes: int, each: int, *shape: int, **inputs: object) -> Case:
    """A case with an array for each rank of so many nodes; further inputs as of `ring_case`."""
    return ring_case(name, seed, nodes * each, *shape, each=each, **inputs)


def cost_case(name: str, algorithm: str, nbytes: float, **cluster: object) -> Case:
    """A case of the model, with a cluster that has links of its own for each rank or shares them.

    Args:
        name: Its name.
        algorithm: One of `ALGORITHMS`, or `""` where one is to be chosen.
        nbytes: The size of the array.
        cluster: `"nodes"`, `"each"`, `"links"`, and `"inside"` and `"between"`, each alpha and
            beta; what is left out is as here.
    """
    default = {"nodes": 4, "each": 8, "links": 1, "inside": [2e-6, 1e-10], "between": [2e-5, 1e-9]}
    return Case(name, {"algorithm": algorithm, "nbytes": nbytes, **default, **cluster})


def cluster_of(case: dict[str, Any]) -> Cluster:
    """The cluster of a case."""
    inside, between = CostModel(*case["inside"]), CostModel(*case["between"])
    return Cluster(case["nodes"], case["each"], inside, between, case["links"])


def little_between_nodes(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: the sum, no more bytes between nodes than the reference's, nothing else dearer."""
    found = _same_but_node(got["returned"], expected["returned"])
    if found is not None:
        return found
    nodes = [rank["node"] for rank in expected["returned"]]
    for seen, wanted in zip(got["witnessed"], expected["witnessed"], strict=True):
        most = int(slack(expected) * max(_crossing(wanted, nodes)))
        crossing = _crossing(seen, nodes)
        rank = int(np.argmax(crossing))
        if crossing[rank] > most:
            said = f"rank {rank} sends {crossing[rank]:,} bytes to other nodes; {most:,} are enough"
            return Difference("too much between nodes", f"{said}.")
    return exactly_counted(got, expected, same=False)


@probe(
    "4.5 node_groups",
    cases=[
        groups_case("rank 6 of 12, nodes of 4", 6, 12, 4),
        groups_case("the last rank of 6, nodes of 3", 5, 6, 3),
        groups_case("one node", 1, 3, 3),
        groups_case("nodes of one rank", 2, 4, 1),
        groups_case("6 ranks do not fill nodes of 4", 0, 6, 4),
    ],
)
def node_groups_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Both groups, or that they were refused."""
    try:
        groups = node_groups(case["rank"], case["world_size"], case["ranks_per_node"])
    except Hole:
        raise
    except CourseError:
        return REFUSED
    return [[int(rank) for rank in group] for group in groups]


HIERARCHICAL = [
    nodes_case("2 nodes of 2, 12 elements", 1, 2, 2, 12),
    nodes_case("3 nodes of 2, a matrix, float32", 2, 3, 2, 5, 5, dtype="float32"),
    nodes_case("2 nodes of 3, whole numbers", 3, 2, 3, 10, dtype="int64"),
    nodes_case("2 nodes of 4, 3 elements", 4, 2, 4, 3),
    nodes_case("one node of 3, transposed", 5, 1, 3, 4, 3, layout="transposed"),
    nodes_case("3 nodes of 1", 6, 3, 1, 7),
]


@probe(
    "4.5 hierarchical_allreduce", cases=HIERARCHICAL, verdict=little_between_nodes, witness=WITNESS
)
def hierarchical_allreduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The sum on each rank, what became of the input, and the rank's node."""
    return on_ranks(case, _in_nodes(case), rank_arrays(case, rng))


@probe(
    "4.5 hierarchical_allreduce",
    cases=[
        Case("2 nodes of 2; a send waits", HIERARCHICAL[0].inputs, 1),
        Case("3 nodes of 2; a send waits", {**HIERARCHICAL[1].inputs, "turns": 1}, 2),
    ],
    verdict=within_rounding,
)
def hierarchical_allreduce_waits(case: dict, rng: np.random.Generator) -> Plain:
    """The same on a transport that keeps nothing for a receiver."""
    data, program = rank_arrays(case, rng), _in_nodes(case)
    turns = case["turns"]
    done = run(case["ranks"], lambda t: program(t, data[t.rank]), seed=turns, synchronous=True)
    return done.results


@probe(
    "4.5 allreduce_seconds",
    cases=[
        cost_case("a tree over 4 nodes of 8", "tree", 1e6),
        cost_case("recursive doubling", "recursive doubling", 1e6),
        cost_case("halving-doubling", "halving-doubling", 1e6),
        cost_case("a ring", "ring", 1e6),
        cost_case("a hierarchy", "hierarchy", 1e6),
        cost_case("a hierarchy, a link for each rank", "hierarchy", 1e6, links=8),
        cost_case("a ring inside one node", "ring", 1e6, nodes=1),
        cost_case("halving-doubling, nodes of one rank", "halving-doubling", 1e6, each=1),
    ],
    rtol=1e-9,
    atol=0,
)
def allreduce_seconds_values(case: dict, rng: np.random.Generator) -> Plain:
    """Seconds."""
    return float(allreduce_seconds(case["algorithm"], cluster_of(case), case["nbytes"]))


@probe(
    "4.5 choose",
    cases=[
        cost_case("8 bytes, 64 nodes of 8", "", 8, nodes=64, links=8),
        cost_case("100 KB, 64 nodes of 8", "", 1e5, nodes=64, links=8),
        cost_case("100 MB, 64 nodes of 8", "", 1e8, nodes=64, links=8),
        cost_case("1 GB, 64 nodes of 8 with one link", "", 1e9, nodes=64),
        cost_case("8 KB, 4 nodes of 8 with one link", "", 8e3),
    ],
)
def chosen(case: dict, rng: np.random.Generator) -> Plain:
    """The name of an algorithm."""
    name: Any = choose(cluster_of(case), case["nbytes"])
    return name


def _in_nodes(case: dict[str, Any]) -> Any:
    each = case["each"]
    reduced = reduced_by(hierarchical_allreduce, each)

    def program(transport: Transport, mine: np.ndarray) -> dict[str, Plain]:
        return {**reduced(transport, mine), "node": transport.rank // each}

    return program


def _same_but_node(got: Plain, expected: Plain) -> Difference | None:
    """A judge of what ranks returned: each the sum, and all the same bit for bit."""
    found = within_rounding(got, expected)
    if found is not None:
        return found
    first = got[0]["total"]
    for rank, value in enumerate(got):
        if value["total"].tobytes() != first.tobytes():
            said = f"rank {rank} has another result than rank 0, in its last digits."
            return Difference("not the same", said, f"[{rank}]")
    return None


def _crossing(run: dict[str, Any], nodes: list[int]) -> list[int]:
    """The bytes that each rank sends to other nodes."""
    sent = [0] * len(nodes)
    for source, to, _, nbytes in run["pairs"]:
        if nodes[source] != nodes[to]:
            sent[source] += nbytes
    return sent
