"""Stage 4.7: hidden cases, mistakes, alternatives and the model answer of buckets and overlap."""

import numpy as np

from aisys.allreduce.checks.buckets import bucket_case, shapes_case, step_case, timeline_case
from aisys.allreduce.checks.reducer import network_case, reducer_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def assignments(rng: np.random.Generator) -> list[Case]:
    """Sizes such as a network has, and buckets that are exactly full."""
    cases = []
    for number in range(1, 5):
        count = int(rng.integers(6, 20))
        sizes = [4 * int(size) for size in np.exp(rng.uniform(1, 8, count))]
        capacity = int(sum(sizes) / rng.integers(2, 6))
        cases.append(bucket_case(f"hidden {number}: {count} parameters", sizes, capacity))
    unit = 4 * int(rng.integers(1, 50))
    full = [unit * int(times) for times in rng.integers(1, 4, 12)]
    large = [unit, unit, 9 * unit, unit, 9 * unit]
    return [
        *cases,
        bucket_case("hidden 5: some exactly full", full, 4 * unit),
        bucket_case("hidden 6: two larger than a bucket", large, 3 * unit),
        bucket_case("hidden 7: one parameter", [unit], 1),
    ]


def _shapes(rng: np.random.Generator, count: int) -> list[list[int]]:
    return [
        [int(size) for size in rng.integers(1, 6, int(rng.integers(1, 4)))] for _ in range(count)
    ]


def flats(rng: np.random.Generator) -> list[Case]:
    """Random shapes."""
    matrices = [[int(rng.integers(2, 6)), int(rng.integers(2, 6))] for _ in range(3)]
    return [
        shapes_case("hidden 1: five tensors", _seed(rng), _shapes(rng, 5)),
        shapes_case("hidden 2: float32", _seed(rng), _shapes(rng, 3), dtype="float32"),
        shapes_case("hidden 3: transposed", _seed(rng), matrices, transposed=True),
        shapes_case("hidden 4: one tensor", _seed(rng), _shapes(rng, 1)),
        shapes_case("hidden 5: numbers and nothing", _seed(rng), [[], [0], [3, 1], []]),
    ]


def parts(rng: np.random.Generator) -> list[Case]:
    """Random shapes."""
    return [
        shapes_case("hidden 1: five tensors", _seed(rng), _shapes(rng, 5)),
        shapes_case("hidden 2: float32", _seed(rng), _shapes(rng, 4), dtype="float32"),
        shapes_case("hidden 3: one tensor", _seed(rng), _shapes(rng, 1)),
        shapes_case("hidden 4: numbers and nothing", _seed(rng), [[], [0], [3, 1], []]),
    ]


def _buckets(rng: np.random.Generator, count: int) -> list[list[int]]:
    """All numbers below `count`, backwards, cut at random."""
    cuts = sorted(int(cut) for cut in rng.choice(np.arange(1, count), 3, replace=False))
    backwards = list(reversed(range(count)))
    return [backwards[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]


def _reducers(rng: np.random.Generator, settings: list[tuple[str, dict]]) -> list[Case]:
    cases = []
    for number, (name, inputs) in enumerate(settings, 1):
        count = int(rng.integers(6, 10))
        layout = _shapes(rng, count), _buckets(rng, count)
        cases.append(reducer_case(f"hidden {number}: {name}", _seed(rng), *layout, **inputs))
    return cases


def begun(rng: np.random.Generator) -> list[Case]:
    """With and without missing gradients."""
    return _reducers(
        rng,
        [
            ("all there", {}),
            ("some missing", {"unused": 0.3}),
            ("most missing", {"unused": 0.8}),
            ("no gradient at all", {"unused": 1.0}),
        ],
    )


def starts(rng: np.random.Generator) -> list[Case]:
    """Gradients in several orders."""
    return _reducers(
        rng,
        [
            ("in order", {}),
            ("a little out of order", {"swaps": 3}),
            ("in any order", {"swaps": 60, "steps": 3}),
            ("some never come", {"swaps": 6, "unused": 0.2}),
        ],
    )


def finishes(rng: np.random.Generator) -> list[Case]:
    """Ranks that differ in the order of their gradients and in what they use."""
    return _reducers(
        rng,
        [
            ("2 ranks, in order, after a step without gradients", {"ranks": 2}),
            ("3 ranks, each in its order", {"ranks": 3, "swaps": 40}),
            ("unused on some ranks", {"ranks": 2, "unused": 0.3, "swaps": 5}),
            ("one rank", {"ranks": 1, "unused": 0.2}),
        ],
    )


def backwards(rng: np.random.Generator) -> list[Case]:
    """Networks whose branches are left out, or come in another order, on some ranks."""
    skipped = [int(n) for n in rng.permutation([1, 2, 3])]
    width = int(rng.integers(3, 7))
    each = 8 * width * width
    plain = {"width": width}
    return [
        network_case("hidden 1: a branch less", _seed(rng), 3, each, skipped=skipped, **plain),
        network_case(
            "hidden 2: another order", _seed(rng), 2, 2 * each, turned=[True, False], **plain
        ),
    ]


def timelines(rng: np.random.Generator) -> list[Case]:
    """Random times, in order and out of order."""
    cases = []
    for number, ordered in enumerate((True, True, False), 1):
        count = int(rng.integers(3, 9))
        ready = [float(at) for at in rng.uniform(0, 10, count)]
        seconds = [float(takes) for takes in rng.exponential(10 / count, count)]
        name = f"hidden {number}: {count} buckets"
        cases.append(timeline_case(name, sorted(ready) if ordered else ready, seconds))
    return cases


def _steps(rng: np.random.Generator) -> list[Case]:
    cases = []
    for number in range(1, 6):
        ranks, count = int(rng.integers(2, 9)), int(rng.integers(8, 25))
        alpha, beta = float(np.exp(rng.uniform(-11, -6.5))), float(np.exp(rng.uniform(-20, -16)))
        capacities = [int(c) for c in rng.permutation(np.geomspace(100, 1e6, 12).astype(int))]
        late = 3 * (number % 2)
        name = f"hidden {number}: {count} parameters, {late} late, {ranks} ranks"
        inputs = {"ranks": ranks, "parameters": count, "alpha": alpha, "beta": beta, "late": late}
        cases.append(step_case(name, _seed(rng), capacities, **inputs))
    return cases


CASES = {
    "buckets_assigned": assignments,
    "flat_tensors": flats,
    "unflat_parts": parts,
    "data_begun": begun,
    "starts_by_gradient": starts,
    "averages_of_ranks": finishes,
    "averages_of_backward": backwards,
    "timeline": timelines,
    "steps_predicted": _steps,
    "capacity_chosen": _steps,
}

MISTAKES = [
    Mistake(
        "4.7 assign_buckets",
        "from the first parameter to the last",
        hint="Which gradient does the backward pass compute first? Its bucket should be able to "
        "leave first.",
        replace={"reversed(range(len(sizes)))": "range(len(sizes))"},
    ),
    Mistake(
        "4.7 assign_buckets",
        "closed once it is full",
        hint="A bucket is not to hold more than its capacity. Look before you put a parameter in, "
        "not after.",
        source="""
def assign_buckets(sizes, capacity):
    buckets, current, filled = [], [], 0
    for index in reversed(range(len(sizes))):
        current.append(index)
        filled += sizes[index]
        if filled >= capacity:
            buckets.append(current)
            current, filled = [], 0
    return buckets + [current] if current else buckets
""",
    ),
    Mistake(
        "4.7 assign_buckets",
        "the last bucket forgotten",
        hint="Some parameters are in no bucket. What becomes of the bucket that is being filled "
        "when the loop ends?",
        source="""
def assign_buckets(sizes, capacity):
    buckets, current, filled = [], [], 0
    for index in reversed(range(len(sizes))):
        if current and filled + sizes[index] > capacity:
            buckets.append(current)
            current, filled = [], 0
        current.append(index)
        filled += sizes[index]
    return buckets
""",
    ),
    Mistake(
        "4.7 assign_buckets",
        "never quite full",
        hint="A bucket that holds exactly its capacity is not too full.",
        replace={"> capacity": ">= capacity"},
    ),
    Mistake(
        "4.7 assign_buckets",
        "any bucket with room",
        hint="Fewer buckets, but they are ready in another order: a bucket waits for its last "
        "gradient. Only the bucket that is being filled may take one.",
        source="""
def assign_buckets(sizes, capacity):
    buckets, room = [], []
    for index in reversed(range(len(sizes))):
        for k in range(len(buckets)):
            if sizes[index] <= room[k]:
                break
        else:
            k = len(buckets)
            buckets.append([])
            room.append(capacity)
        buckets[k].append(index)
        room[k] -= sizes[index]
    return buckets
""",
    ),
    Mistake(
        "4.7 assign_buckets",
        "an empty bucket before a large one",
        hint="A parameter that is larger than the capacity closes the bucket that is being filled, "
        "also where nothing is in it yet: an empty bucket is none.",
        replace={"if not buckets or filled": "if filled"},
    ),
    Mistake(
        "4.7 assign_buckets",
        "the order of the model in a bucket",
        hint="The buckets are right, but the order inside them is not: the last parameter stands "
        "first there, too.",
        replace={"    return buckets": "    return [sorted(bucket) for bucket in buckets]"},
    ),
    Mistake(
        "4.7 flatten",
        "as it lies in memory",
        hint="The elements of a transposed matrix lie in memory in another order than the one in "
        "which they are read. `reshape(-1)` reads.",
        source="""
def flatten(tensors):
    return torch.cat([t.as_strided((t.numel(),), (1,)) for t in tensors])
""",
    ),
    Mistake(
        "4.7 flatten",
        "tensors put together without being flattened",
        hint="`torch.cat` takes tensors that agree in all axes but one. Give each one axis first.",
        replace={"tensor.reshape(-1) for tensor": "tensor for tensor"},
    ),
    Mistake(
        "4.7 unflatten",
        "always from the beginning",
        hint="Each part begins where the one before ends.",
        replace={"        begin += tensor.numel()\n": ""},
    ),
    Mistake(
        "4.7 unflatten",
        "copies",
        hint="The parts have memory of their own: what is done to `flat` later does not reach "
        "them. A view costs nothing.",
        replace={".reshape(tensor.shape))": ".reshape(tensor.shape).clone())"},
    ),
    Mistake(
        "4.7 unflatten",
        "flat parts",
        hint="The parts have another shape than the tensors of `like`.",
        replace={".reshape(tensor.shape))": ")"},
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "a missing gradient left out",
        hint="A gradient that is None was left out, so the array is shorter than on a rank that "
        "has it. It counts as zeros.",
        source="""
class BucketedReducer:
    def begin_next(self):
        found = [self.parameters[index].grad for index in self.buckets[len(self.begun)]]
        there = [gradient for gradient in found if gradient is not None]
        flat = flatten(there) if there else torch.zeros(0, dtype=self.parameters[0].dtype)
        self.begun.append(self.thread.start(flat.numpy()))
""",
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "zeros of torch's default dtype",
        hint="A bucket without any gradient became float32, torch's default, and other ranks send "
        "their gradients in the parameters' dtype. `torch.zeros_like` takes that of a parameter.",
        replace={
            "torch.zeros_like(self.parameters[index])": "torch.zeros(self.parameters[index].shape)"
        },
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "a tensor for an array",
        hint="`flatten` returns a tensor, and the thread sends NumPy arrays: "
        "`start(flat.numpy())`.",
        replace={"flatten(gradients).detach().numpy()": "flatten(gradients).detach()"},
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "an all-reduce for each gradient",
        hint="Each gradient travels alone, so that nothing is saved: the whole bucket is one "
        "array.",
        source="""
class BucketedReducer:
    def begin_next(self):
        for index in self.buckets[len(self.begun)]:
            parameter = self.parameters[index]
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            future = self.thread.start(gradient.detach().numpy())
        self.begun.append(future)
""",
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "parameters in the order of the model",
        hint="The array has the gradients in another order than the bucket. `finish` takes it "
        "apart in the order of the bucket.",
        replace={"in self.buckets[len(self.begun)]:": "in sorted(self.buckets[len(self.begun)]):"},
    ),
    Mistake(
        "4.7 BucketedReducer.begin_next",
        "the future not kept",
        hint="`self.begun` does not grow, so the next call begins the same bucket again. The "
        "future that `start` returns belongs at its end.",
        replace={
            "self.begun.append(self.thread.start(flatten(gradients).detach().numpy()))": (
                "self.thread.start(flatten(gradients).detach().numpy())"
            )
        },
    ),
    Mistake(
        "4.7 BucketedReducer.on_gradient",
        "whichever bucket is ready",
        hint="A bucket is begun as soon as its own gradients are there, whatever the ones before "
        "it do; `begin_next` then sends another bucket, half empty. The order is that of the "
        "buckets, on all ranks.",
        source="""
class BucketedReducer:
    def on_gradient(self, index):
        bucket = self.bucket_of[index]
        self.missing[bucket].discard(index)
        if not self.missing[bucket]:
            self.begin_next()
""",
    ),
    Mistake(
        "4.7 BucketedReducer.on_gradient",
        "one bucket for each gradient at most",
        hint="When a late bucket begins, others behind it may have been ready for long: begin all "
        "that can begin.",
        replace={
            "while len(self.begun) < len(self.buckets) and": (
                "if len(self.begun) < len(self.buckets) and"
            )
        },
    ),
    Mistake(
        "4.7 BucketedReducer.on_gradient",
        "nothing before everything is there",
        hint="All buckets begin at the end of the backward pass: nothing overlaps. A bucket need "
        "not wait for those behind it.",
        source="""
class BucketedReducer:
    def on_gradient(self, index):
        self.missing[self.bucket_of[index]].discard(index)
        if not any(self.missing):
            while len(self.begun) < len(self.buckets):
                self.begin_next()
""",
    ),
    Mistake(
        "4.7 BucketedReducer.on_gradient",
        "with the first gradient of a bucket",
        hint="A bucket begins before all of its gradients are there. Which of them does the array "
        "then lack?",
        source="""
class BucketedReducer:
    def on_gradient(self, index):
        while len(self.begun) <= self.bucket_of[index]:
            self.begin_next()
""",
    ),
    Mistake(
        "4.7 BucketedReducer.on_gradient",
        "beyond the last bucket",
        hint="After the last bucket has begun there is no next one: `len(self.begun)` is then no "
        "place in `self.missing` any more.",
        replace={"len(self.begun) < len(self.buckets) and ": ""},
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "the sum for the average",
        hint="The gradients are the sums of the ranks' gradients: divide by their number.",
        replace={" / self.thread.world_size": ""},
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "no new step",
        hint="The second step finds everything begun, and sends nothing. `reset` begins a step.",
        replace={"        self.reset()\n": ""},
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "buckets that wait for ever",
        hint="A bucket whose gradient never came, because the layer was not used, never begins; "
        "the other ranks wait for it. `finish` begins what is left.",
        source="""
class BucketedReducer:
    def finish(self):
        for bucket, future in zip(self.buckets, self.begun):
            average = torch.from_numpy(future.result()) / self.thread.world_size
            parameters = [self.parameters[index] for index in bucket]
            for parameter, part in zip(parameters, unflatten(average, parameters)):
                parameter.grad = part
        self.reset()
""",
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "only parameters that this rank has used",
        hint="A parameter that this rank did not use gets the others' gradients all the same; "
        "otherwise the ranks' weights drift apart.",
        replace={
            "                parameter.grad = part": (
                "                if parameter.grad is not None:\n"
                "                    parameter.grad = part"
            )
        },
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "copied into gradients that are None",
        hint="Parameters that had no gradient on this rank get the average, too, and their `grad` "
        "is None: there is nothing to copy into. Set `grad` itself.",
        replace={
            "                parameter.grad = part": "                parameter.grad.copy_(part)"
        },
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "only the futures forgotten",
        hint="The step after begins its buckets with the first gradient that comes: the sets in "
        "`self.missing` are still empty from the step before. `self.reset()` fills them again.",
        replace={"        self.reset()\n": "        self.begun = []\n"},
    ),
    Mistake(
        "4.7 BucketedReducer.finish",
        "a new step before the end of this one",
        hint="`reset` forgets the futures of all-reduces that are under way, so every bucket is "
        "sent once more. It comes last.",
        replace={
            "        while len(self.begun) < len(self.buckets):\n": (
                "        self.reset()\n        while len(self.begun) < len(self.buckets):\n"
            )
        },
    ),
    Mistake(
        "4.7 predict_timeline",
        "all at once",
        hint="There is one thread for the messages: an all-reduce begins when the one before is "
        "done, too.",
        replace={"begin = max(at, free)": "begin = at"},
    ),
    Mistake(
        "4.7 predict_timeline",
        "without waiting for the bucket",
        hint="An all-reduce cannot begin before its bucket is ready.",
        replace={"begin = max(at, free)": "begin = free or at"},
    ),
    Mistake(
        "4.7 predict_timeline",
        "in the order in which they are ready",
        hint="The order is that of the buckets, also where a later one is ready earlier.",
        source="""
def predict_timeline(ready, seconds):
    spans, free = [(0.0, 0.0)] * len(ready), 0.0
    for k in sorted(range(len(ready)), key=lambda k: ready[k]):
        begin = max(ready[k], free)
        free = begin + seconds[k]
        spans[k] = (begin, free)
    return spans
""",
    ),
    Mistake(
        "4.7 predict_timeline",
        "the end counted from when the bucket is ready",
        hint="An all-reduce that had to wait ends later, too: its end is its beginning plus what "
        "it takes.",
        replace={"free = begin + takes": "free = at + takes"},
    ),
    Mistake(
        "4.7 predict_step",
        "ready with the first gradient",
        hint="A bucket is ready when the last of its gradients is there.",
        replace={"max(ready[index] for index in bucket)": "min(ready[index] for index in bucket)"},
    ),
    Mistake(
        "4.7 predict_step",
        "an all-reduce for each parameter",
        hint="A bucket is one all-reduce, of all its bytes: the latency is paid once for each "
        "bucket.",
        replace={
            "ring_seconds(model, world_size, sum(sizes[index] for index in bucket))": (
                "sum(ring_seconds(model, world_size, sizes[index]) for index in bucket)"
            )
        },
    ),
    Mistake(
        "4.7 predict_step",
        "nothing overlaps",
        hint="This is the backward pass and then the all-reduces. They begin while it goes on.",
        replace={
            "return predict_timeline(complete, seconds)[-1][1]": "return max(ready) + sum(seconds)"
        },
    ),
    Mistake(
        "4.7 predict_step",
        "ready with the last parameter of the list",
        hint="Gradients come in the order of a bucket as a rule only. The bucket is ready when the "
        "latest of its gradients is there, whichever it is.",
        replace={"max(ready[index] for index in bucket)": "ready[bucket[-1]]"},
    ),
    Mistake(
        "4.7 predict_step",
        "every bucket full",
        hint="A bucket holds at most its capacity, and usually less: add up the sizes of its "
        "parameters.",
        replace={"sum(sizes[index] for index in bucket)": "capacity"},
    ),
    Mistake(
        "4.7 best_bucket_bytes",
        "the largest of the best",
        hint="Of several that are equally good, the smallest is asked for. In which order does "
        "`min` look at them?",
        replace={"sorted(capacities)": "sorted(capacities, reverse=True)"},
    ),
    Mistake(
        "4.7 best_bucket_bytes",
        "the fewest messages",
        hint="One bucket has the fewest messages, but it is ready last, and nothing overlaps.",
        source="""
def best_bucket_bytes(model, world_size, sizes, ready, capacities):
    return min(sorted(capacities), key=lambda capacity: len(assign_buckets(sizes, capacity)))
""",
    ),
    Mistake(
        "4.7 best_bucket_bytes",
        "the smallest buckets",
        hint="Small buckets begin early, but each of them pays for its messages again. Predict the "
        "step for each capacity.",
        source="""
def best_bucket_bytes(model, world_size, sizes, ready, capacities):
    return min(capacities)
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.7 assign_buckets",
        """
def assign_buckets(sizes, capacity):
    def fill(last):
        if last < 0:
            return []
        first, filled = last, sizes[last]
        while first > 0 and filled + sizes[first - 1] <= capacity:
            first -= 1
            filled += sizes[first]
        return [list(range(last, first - 1, -1)), *fill(first - 1)]

    return fill(len(sizes) - 1)
""",
        title="how far back a bucket reaches",
    ),
    Alternative(
        "4.7 flatten",
        """
def flatten(tensors):
    flat = torch.empty(sum(t.numel() for t in tensors), dtype=tensors[0].dtype)
    at = 0
    for tensor in tensors:
        flat[at : at + tensor.numel()].view(tensor.shape).copy_(tensor.detach())
        at += tensor.numel()
    return flat
""",
        title="copied into their places",
    ),
    Alternative(
        "4.7 unflatten",
        """
def unflatten(flat, like):
    pieces = torch.split(flat, [tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like)]
""",
        title="torch.split",
    ),
    Alternative(
        "4.7 BucketedReducer.begin_next",
        """
class BucketedReducer:
    def begin_next(self):
        members = [self.parameters[index] for index in self.buckets[len(self.begun)]]
        flat = torch.zeros(sum(each.numel() for each in members), dtype=members[0].dtype)
        for each, place in zip(members, unflatten(flat, members)):
            if each.grad is not None:
                place.copy_(each.grad)
        self.begun.append(self.thread.start(flat.numpy()))
""",
        title="zeros, filled through views",
    ),
    Alternative(
        "4.7 BucketedReducer.on_gradient",
        """
class BucketedReducer:
    def on_gradient(self, index):
        for waiting in self.missing:
            waiting -= {index}
        ready = next((k for k, w in enumerate(self.missing) if w), len(self.missing))
        for _ in range(len(self.begun), ready):
            self.begin_next()
""",
        title="up to the first bucket that waits",
    ),
    Alternative(
        "4.7 BucketedReducer.finish",
        """
class BucketedReducer:
    def finish(self):
        for waiting in self.buckets[len(self.begun) :]:
            self.begin_next()
        for number, future in enumerate(self.begun):
            total, at = future.result() * (1 / self.thread.world_size), 0
            for index in self.buckets[number]:
                parameter = self.parameters[index]
                mine = total[at : at + parameter.numel()].reshape(tuple(parameter.shape))
                at += parameter.numel()
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.copy_(torch.from_numpy(mine))
        self.reset()
""",
        title="copied into the gradients",
    ),
    Alternative(
        "4.7 predict_timeline",
        """
def predict_timeline(ready, seconds):
    # An all-reduce ends after the longest of the chains that begin at one of the buckets so far.
    ends = [
        max(ready[first] + sum(seconds[first : k + 1]) for first in range(k + 1))
        for k in range(len(ready))
    ]
    return [(end - takes, end) for end, takes in zip(ends, seconds)]
""",
        title="the longest chain",
    ),
    Alternative(
        "4.7 predict_step",
        """
def predict_step(model, world_size, sizes, ready, capacity):
    end = 0.0
    for bucket in assign_buckets(sizes, capacity):
        nbytes = sum(sizes[index] for index in bucket)
        latest = max(ready[index] for index in bucket)
        cost = 2 * (world_size - 1) * (model.alpha + nbytes / world_size * model.beta)
        end = max(end, latest) + cost
    return end
""",
        title="one loop",
    ),
    Alternative(
        "4.7 best_bucket_bytes",
        """
def best_bucket_bytes(model, world_size, sizes, ready, capacities):
    ends = [predict_step(model, world_size, sizes, ready, each) for each in capacities]
    return min(c for c, end in zip(capacities, ends) if end == min(ends))
""",
        title="the smallest of the best",
    ),
]

ANSWERS = {
    "4.7-written": """
1. With one bucket 5 % of the messages' time lay beside the backward pass and a step took 48 ms; in
   buckets of 16 KB 58 % did, and steps took 25 to 30 ms (100 Mbit/s, two ranks). fc1 has three
   quarters of LeNet's bytes, and in the backward pass it comes before the convolutions, which take
   most of the time: so its all-reduce has the time of the convolutions to hide in. Never hidden is
   the bucket with the first layer's gradients: it is ready when the backward pass ends.
2. Ten times the latency: each bucket costs 2 (n - 1) alpha, so fewer and larger ones. A tenth of
   the bandwidth: the bytes take longer than the backward pass, the thread never pauses, and what
   counts is that it begins early: the first bucket small, as DDP does it. The model says where the
   best size lies once alpha and beta are measured.
3. A round of small messages to rank 0 and back in each cycle, so at least two latencies and half a
   cycle of waiting for each tensor, and more ranks make it dearer. In return nothing waits for a
   bucket before it that is late, ranks may compute in different orders from step to step, and
   whatever is ready is put together.
""",
}
