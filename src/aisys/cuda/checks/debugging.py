"""Probes of 3.7: what the repaired kernels return, and what they cost."""

import numpy as np

from aisys.course import Case, Difference, Plain, compare, probe
from aisys.cuda import debugging
from aisys.cuda.debugging import BEGIN, FINISH, GIVE, Turns

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 1e-5
"""Tolerance, relative and absolute, of float32 sums of a hundred numbers of size 1."""
SLACK = 1.1
"""So many times the reference's sectors are enough."""


def sums_case(name: str, seed: int, elements: int, block: int = 64) -> Case:
    """A case of the running sums."""
    return Case(name, {"elements": elements, "block": block}, seed)


def image_case(name: str, seed: int, height: int, width: int) -> Case:
    """A case of the gradient."""
    return Case(name, {"height": height, "width": width}, seed)


def maximum_case(name: str, seed: int, elements: int, block: int = 64, shift: float = 0.0) -> Case:
    """A case of the maximum: normal numbers around `shift`."""
    return Case(name, {"elements": elements, "block": block, "shift": shift}, seed)


def matrix_case(name: str, seed: int, rows: int, columns: int) -> Case:
    """A case of the row sums."""
    return Case(name, {"rows": rows, "columns": columns}, seed)


def turns_case(name: str, nodes: int, turns: Turns) -> Case:
    """A case of the free list, with three threads."""
    return Case(name, {"nodes": nodes, "turns": [list(turn) for turn in turns]})


def take(thread: int, nodes: int = 1) -> Turns:
    """The turns in which a thread takes nodes undisturbed."""
    return [(thread, half) for _ in range(nodes) for half in (BEGIN, FINISH)]


@probe(
    "3.7 prefix_sum",
    cases=[
        sums_case("one warp", 1, 32, block=32),
        sums_case("100 elements in blocks of 64", 2, 100),
        sums_case("one element", 3, 1, block=32),
    ],
    seconds=SECONDS,
)
def prefix_sum_values(case: dict, rng: np.random.Generator) -> Plain:
    """The running sums of random whole numbers."""
    elements = rng.integers(-99, 100, case["elements"]).astype(np.int32)
    return debugging.call_prefix_sum(elements, case["block"])[0]


@probe(
    "3.7 horizontal_gradient",
    cases=[
        image_case("5 x 37 pixels", 1, 5, 37),
        image_case("3 x 32 pixels: a block's width", 2, 3, 32),
        image_case("one pixel", 3, 1, 1),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def horizontal_gradient_values(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of a random image."""
    image = rng.standard_normal((case["height"], case["width"])).astype(np.float32)
    return debugging.call_horizontal_gradient(image)[0]


@probe(
    "3.7 block_maximum",
    cases=[
        maximum_case("two blocks of 64", 1, 128),
        maximum_case("150 elements in blocks of 64", 2, 150),
        maximum_case("negative numbers, 70 of them", 3, 70, shift=-9.0),
        maximum_case("one element", 4, 1, block=32),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def block_maximum_values(case: dict, rng: np.random.Generator) -> Plain:
    """The largest elements of random numbers."""
    elements = (rng.standard_normal(case["elements"]) + case["shift"]).astype(np.float32)
    return debugging.call_block_maximum(elements, case["block"])[0]


@probe(
    "3.7 row_sums",
    cases=[
        matrix_case("32 x 64", 1, 32, 64),
        matrix_case("41 x 50", 2, 41, 50),
        matrix_case("one row of 5", 3, 1, 5),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def row_sums_values(case: dict, rng: np.random.Generator) -> Plain:
    """The sums of the rows of a random matrix."""
    matrix = rng.standard_normal((case["rows"], case["columns"])).astype(np.float32)
    return debugging.call_row_sums(matrix)[0]


def reads_fast(got: Plain, expected: Plain) -> Difference | None:
    """No bank conflict, and hardly more sectors than the reference reads."""
    sectors, conflicts = _counts(got)
    most = int(SLACK * _counts(expected)[0])
    if conflicts:
        return Difference(
            "value", f"{conflicts:,} bank conflicts in shared memory; none are needed.", "conflicts"
        )
    if sectors > most:
        return Difference(
            "value",
            f"{sectors:,} sectors of `matrix` are read; at most {most:,} were expected.",
            "sectors",
        )
    return None


@probe(
    "3.7 row_sums",
    cases=[matrix_case("the counts of 64 x 64", 1, 64, 64)],
    verdict=reads_fast,
    seconds=SECONDS,
)
def row_sums_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The sectors that are read of global memory, and the bank conflicts of shared memory."""
    _, seen = debugging.call_row_sums(np.ones((case["rows"], case["columns"]), np.float32))
    return {
        "sectors": seen.total("global", "read").sectors,
        "conflicts": seen.total("shared").bank_conflicts,
    }


def each_node_once(got: Plain, expected: Plain) -> Difference | None:
    """Each node is in one place, and all is as in the order of the turns."""
    if isinstance(got, dict) and isinstance(expected, dict):
        places: dict[int, list[str]] = {int(node): [] for node in _all_nodes(expected)}
        for thread, held in enumerate(got["held"]):
            for node in held:
                places.setdefault(int(node), []).append(f"thread {thread}")
        for node in got["free"]:
            places.setdefault(int(node), []).append("the list")
        for node, owners in places.items():
            if len(owners) > 1:
                both = " and ".join(owners)
                return Difference("value", f"node {node} belongs to {both} in the end.", "held")
            if not owners:
                return Difference("value", f"node {node} is lost: nobody has it.", "free")
    return compare(got, expected)


@probe(
    "3.7 free_list",
    cases=[
        turns_case("one after another", 3, [*take(0), *take(1), (0, GIVE), *take(2)]),
        turns_case("two begin together", 3, [(0, BEGIN), (1, BEGIN), (1, FINISH), (0, FINISH)]),
        turns_case(
            "the head comes back",
            4,
            [(0, BEGIN), *take(1, 2), (1, GIVE), (0, FINISH), *take(2)],
        ),
        turns_case(
            "the head comes back after four swaps",
            5,
            [(0, BEGIN), *take(1, 3), (1, GIVE), (0, FINISH), *take(2)],
        ),
        turns_case(
            "one taken before, then four swaps",
            6,
            [*take(2), (0, BEGIN), *take(1, 3), (1, GIVE), (0, FINISH), *take(2)],
        ),
        turns_case(
            "many swaps between the halves",
            4,
            [*take(1), (1, GIVE), (0, BEGIN), *take(1, 2), (1, GIVE), (0, FINISH), *take(2)],
        ),
        turns_case("the list runs empty", 1, [(0, BEGIN), *take(1), (0, FINISH), (1, GIVE)]),
    ],
    verdict=each_node_once,
    seconds=SECONDS,
)
def free_list_nodes(case: dict, rng: np.random.Generator) -> Plain:
    """Which nodes are free and which thread holds which, in the end."""
    turns = [(int(thread), int(action)) for thread, action in case["turns"]]
    free, held = debugging.play_free_list(case["nodes"], turns)
    return {"free": free, "held": held}


def _all_nodes(result: dict) -> list[int]:
    return [*result["free"], *(node for held in result["held"] for node in held)]


def _counts(value: Plain) -> tuple[int, int]:
    if not isinstance(value, dict):
        raise TypeError("expected counts")
    sectors, conflicts = value.get("sectors"), value.get("conflicts")
    if not isinstance(sectors, int) or not isinstance(conflicts, int):
        raise TypeError("expected two counts")
    return sectors, conflicts
