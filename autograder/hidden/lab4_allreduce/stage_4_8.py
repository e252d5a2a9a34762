"""Stage 4.8: hidden cases, mistakes, alternatives and the model answer of the real systems."""

import numpy as np

from aisys.allreduce.checks.real_systems import tensor_case, training_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _ranks(rng: np.random.Generator, low: int = 2, high: int = 5) -> int:
    return int(rng.integers(low, high))


def sums(rng: np.random.Generator) -> list[Case]:
    """Tensors of all kinds."""
    n, rows = int(rng.integers(5, 40)), int(rng.integers(2, 7))
    kinds: list[tuple[list[int], str, str]] = [
        ([n], "float64", "contiguous"),
        ([rows, 3, 2], "float32", "contiguous"),
        ([n, rows], "float64", "transposed"),
        ([n + 1], "float64", "strided"),
        ([rows, rows], "float32", "parameter"),
        ([n], "int32", "contiguous"),
        ([n], "float16", "contiguous"),
        ([n, 2], "bfloat16", "transposed"),
        ([3, 0], "float32", "contiguous"),
        ([], "float64", "contiguous"),
    ]
    cases = []
    for number, (shape, dtype, form) in enumerate(kinds, 1):
        ranks = _ranks(rng)
        name = f"hidden {number}: {shape} of {dtype}, {form}, {ranks} ranks"
        cases.append(tensor_case(name, _seed(rng), ranks, shape, dtype=dtype, form=form))
    return cases


def _training(rng: np.random.Generator, settings: list[dict]) -> list[Case]:
    cases = []
    for number, inputs in enumerate(settings, 1):
        ranks = _ranks(rng, 2, 4) if number == 1 else 3
        widths = [int(width) for width in rng.integers(3, 9, 3)]
        name = f"hidden {number}: a network {widths} on {ranks} ranks"
        cases.append(training_case(name, _seed(rng), ranks, widths=widths, **inputs))
    return cases


def hook_training(rng: np.random.Generator) -> list[Case]:
    """Networks of several sizes, in one bucket and in several."""
    return _training(rng, [{"steps": 2}, {"bucket_kb": 0.05, "dtype": "float32"}])


def back_end_training(rng: np.random.Generator) -> list[Case]:
    """The same on the back end."""
    return _training(rng, [{"steps": 2}, {"bucket_kb": 0.05}])


def group_sums(rng: np.random.Generator) -> list[Case]:
    """Sums and averages, one tensor and several, in odd places of memory."""
    n = int(rng.integers(4, 30))
    settings: list[tuple[str, list[int], dict]] = [
        ("a sum", [n], {"op": "SUM", "count": 1}),
        ("three tensors", [n], {"op": "SUM", "count": 3}),
        ("two averages", [2, n], {"op": "AVG", "count": 2, "dtype": "float32"}),
        ("a transposed matrix", [n, 3], {"op": "SUM", "count": 1, "form": "transposed"}),
        ("every second number", [n], {"op": "AVG", "count": 1, "form": "strided"}),
        ("whole numbers", [n], {"op": "SUM", "count": 1, "dtype": "int64"}),
        ("bfloat16", [n], {"op": "AVG", "count": 1, "dtype": "bfloat16"}),
        ("the smallest", [n], {"op": "MIN", "count": 1}),
        ("nothing", [0], {"op": "SUM", "count": 1}),
    ]
    return [
        tensor_case(f"hidden {k}: {name}", _seed(rng), _ranks(rng), shape, **inputs)
        for k, (name, shape, inputs) in enumerate(settings, 1)
    ]


def broadcasts(rng: np.random.Generator) -> list[Case]:
    """From any rank, also of many."""
    cases = []
    kinds = [("float64", "contiguous"), ("int32", "strided"), ("bfloat16", "contiguous"),
             ("float32", "transposed")]  # fmt: skip
    for number, (dtype, form) in enumerate(kinds, 1):
        ranks = 7 if number == 1 else _ranks(rng, 3, 5)
        root = int(rng.integers(1, ranks))
        name = f"hidden {number}: from rank {root} of {ranks}, {dtype}, {form}"
        shape = [int(rng.integers(2, 9)), int(rng.integers(2, 5))]
        case = tensor_case(name, _seed(rng), ranks, shape, dtype=dtype, form=form, root=root)
        cases.append(case)
    return cases


def gathers(rng: np.random.Generator) -> list[Case]:
    """Tensors of all kinds from all ranks."""
    cases = []
    kinds = [("float64", "contiguous"), ("int64", "contiguous"), ("bfloat16", "contiguous"),
             ("float32", "transposed"), ("float16", "strided")]  # fmt: skip
    for number, (dtype, form) in enumerate(kinds, 1):
        ranks = _ranks(rng, 3, 5)
        shape = [int(rng.integers(2, 9)), int(rng.integers(2, 5))]
        name = f"hidden {number}: {shape} of {dtype}, {form}, {ranks} ranks"
        cases.append(tensor_case(name, _seed(rng), ranks, shape, dtype=dtype, form=form))
    return [*cases, tensor_case("hidden 6: empty", _seed(rng), 3, [0, 2])]


CASES = {
    "tensor_sums": sums,
    "hook_weights": hook_training,
    "group_sums": group_sums,
    "group_broadcasts": broadcasts,
    "group_gathers": gathers,
    "back_end_weights": back_end_training,
}

MISTAKES = [
    Mistake(
        "4.8 allreduce_tensor",
        "the given tensor filled",
        hint="The given tensor is to stay as it is: whoever gave it may still need its own part. "
        "What the algorithm returns is new already.",
        source="""
def allreduce_tensor(transport, tensor, allreduce=ring_allreduce):
    total = torch.from_numpy(allreduce(transport, as_array(tensor)))
    return tensor.detach().copy_(total)
""",
    ),
    Mistake(
        "4.8 allreduce_tensor",
        "bfloat16 comes back as float32",
        hint="The array of a bfloat16 tensor is float32. Which dtype must the sum have?",
        replace={".to(tensor.dtype)": ""},
    ),
    Mistake(
        "4.8 allreduce_tensor",
        "flat",
        hint="The sum has another shape than the tensor. The algorithms take any shape.",
        replace={"as_array(tensor))": "as_array(tensor).reshape(-1))"},
    ),
    Mistake(
        "4.8 allreduce_tensor",
        "straight to NumPy",
        hint="A tensor that requires gradients has no `numpy()`, nor has one of bfloat16. "
        "`as_array` takes care of both.",
        source="""
def allreduce_tensor(transport, tensor, allreduce=ring_allreduce):
    return torch.from_numpy(allreduce(transport, tensor.numpy())).to(tensor.dtype)
""",
    ),
    Mistake(
        "4.8 allreduce_tensor",
        "the average",
        hint="The sum is asked for here. Whoever wants an average divides it: the hook does.",
        replace={"return ": "return 1 / transport.world_size * "},
    ),
    Mistake(
        "4.8 allreduce_hook",
        "the sum for the average",
        hint="With a hook DDP divides no more: the hook gives the average, or every step is "
        "`world_size` times as long.",
        replace={"total / state.transport.world_size": "total"},
    ),
    Mistake(
        "4.8 allreduce_hook",
        "the own gradients",
        hint="Every rank keeps its own gradients, and the ranks' weights drift apart. "
        "What does the hook have to do before it divides?",
        replace={
            "allreduce_tensor(state.transport, bucket.buffer(), state.allreduce)": (
                "bucket.buffer() * state.transport.world_size"
            )
        },
    ),
    Mistake(
        "4.8 allreduce_hook",
        "a tensor for a future",
        hint="DDP waits for a future: make a `torch.futures.Future()` and give it its result.",
        source="""
def allreduce_hook(state, bucket):
    total = allreduce_tensor(state.transport, bucket.buffer(), state.allreduce)
    return total / state.transport.world_size
""",
    ),
    Mistake(
        "4.8 allreduce_hook",
        "divided before and after",
        hint="The gradients are too small by a factor of `world_size`: once is enough, before the "
        "sum or after it.",
        replace={"bucket.buffer(),": "bucket.buffer() / state.transport.world_size,"},
    ),
    Mistake(
        "4.8 allreduce_hook",
        "one gradient at a time",
        hint="A bucket is there so that many gradients travel in one message. `bucket.buffer()` "
        "has them all.",
        source="""
def allreduce_hook(state, bucket):
    for gradient in bucket.gradients():
        total = allreduce_tensor(state.transport, gradient, state.allreduce)
        gradient.copy_(total / state.transport.world_size)
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done
""",
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "the list filled, not the tensors",
        hint="Who called holds the tensors, not your list: copy the sum into the memory of each "
        "tensor.",
        source="""
class AisysGroup:
    def allreduce(self, tensors, opts):
        is_average = opts.reduceOp == dist.ReduceOp.AVG
        if not is_average and not opts.reduceOp == dist.ReduceOp.SUM:
            raise NotImplementedError("The back end aisys has the operations SUM and AVG only.")
        for number, tensor in enumerate(tensors):
            total = allreduce_tensor(self.transport, tensor, self.algorithm)
            tensors[number] = total / self.transport.world_size if is_average else total
        return Done(tensors)
""",
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "always the average",
        hint="DDP has divided its gradients before it asks for their sum. Divide for AVG only.",
        replace={"if is_average:": "if True:"},
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "never the average",
        hint="`opts.reduceOp` may ask for AVG, the sum divided by the number of ranks.",
        replace={"if is_average:": "if False:"},
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "a sum for every operation",
        hint="Who asks for the largest and gets the sum learns of it late. What is not there is "
        "refused: NotImplementedError.",
        replace={"if not is_average and not opts.reduceOp == dist.ReduceOp.SUM:": "if False:"},
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "the first tensor only",
        hint="`tensors` is a list, and all of its tensors are summed.",
        replace={"for tensor in tensors:": "for tensor in tensors[:1]:"},
    ),
    Mistake(
        "4.8 AisysGroup.allreduce",
        "compared with `is`",
        hint="`opts.reduceOp` is an object of its own that equals `dist.ReduceOp.SUM`: compare "
        "with `==`. With `is` no operation is ever found.",
        replace={
            "opts.reduceOp == dist.ReduceOp.AVG": "opts.reduceOp is dist.ReduceOp.AVG",
            "opts.reduceOp == dist.ReduceOp.SUM": "opts.reduceOp is dist.ReduceOp.SUM",
        },
    ),
    Mistake(
        "4.8 AisysGroup.broadcast",
        "always from rank 0",
        hint="`opts.rootRank` says whose tensor it is.",
        replace={", opts.rootRank)": ")"},
    ),
    Mistake(
        "4.8 AisysGroup.broadcast",
        "the root sends to everybody",
        hint="The result is right, but the root sends one message after another to all others. "
        "The tree of 4.2 shares this work.",
        source="""
class AisysGroup:
    def broadcast(self, tensors, opts):
        for tensor in tensors:
            data = np.ascontiguousarray(as_array(tensor))
            for rank in range(self.transport.world_size):
                if self.transport.rank == opts.rootRank != rank:
                    self.transport.send(data, rank)
                elif self.transport.rank == rank != opts.rootRank:
                    data = np.empty_like(data)
                    self.transport.recv(data, opts.rootRank)
            tensor.detach().copy_(torch.from_numpy(data))
        return Done(tensors)
""",
    ),
    Mistake(
        "4.8 AisysGroup.broadcast",
        "nothing is filled",
        hint="`broadcast` of 4.2 returns a new array. Who called looks into the tensor.",
        replace={"tensor.detach().copy_(torch.from_numpy(received))": "tensor = received"},
    ),
    Mistake(
        "4.8 AisysGroup.allgather",
        "an all-reduce of zeros and the own part",
        hint="The result is right, but adding zeros costs a reduce-scatter: twice the bytes of an "
        "all-gather.",
        source="""
class AisysGroup:
    def allgather(self, outputs, inputs, opts=None):
        for filled, tensor in zip(outputs, inputs):
            mine = as_array(tensor)
            chunks = np.zeros((self.transport.world_size, mine.size), mine.dtype)
            chunks[self.transport.rank] = mine.reshape(-1)
            chunks = ring_allreduce(self.transport, chunks)
            for out, chunk in zip(filled, chunks):
                out.detach().copy_(torch.from_numpy(chunk).reshape(out.shape))
        return Done(outputs)
""",
    ),
    Mistake(
        "4.8 AisysGroup.allgather",
        "the own part in the next rank's place",
        hint="After `reduce_scatter` the chunk that is complete on rank r is r + 1. Here nothing "
        "was scattered, and the chunk of rank r is r.",
        source="""
class AisysGroup:
    def allgather(self, outputs, inputs, opts=None):
        rank, world_size = self.transport.rank, self.transport.world_size
        for filled, tensor in zip(outputs, inputs):
            mine = as_array(tensor)
            chunks = np.empty((world_size, mine.size), mine.dtype)
            chunks[(rank + 1) % world_size] = mine.reshape(-1)
            all_gather(self.transport, chunks.reshape(-1), (rank + 1) % world_size)
            for out, chunk in zip(filled, chunks):
                out.detach().copy_(torch.from_numpy(chunk).reshape(out.shape))
        return Done(outputs)
""",
    ),
    Mistake(
        "4.8 AisysGroup.allgather",
        "the list filled, not the tensors",
        hint="Who called holds the tensors of `outputs`, not your list: copy each rank's part into "
        "the memory of its tensor.",
        replace={
            "            for out, chunk in zip(filled, chunks, strict=True):\n"
            "                out.detach().copy_(torch.from_numpy(chunk).reshape(out.shape))": (
                "            filled[:] = [torch.tensor(c).reshape(tensor.shape) for c in chunks]"
            )
        },
    ),
    Mistake(
        "4.8 AisysGroup.allgather",
        "every rank sends to every other",
        hint="It works, but not in the order in which ranks come by: use `all_gather` of 4.3, "
        "which passes the parts on around the ring.",
        source="""
class AisysGroup:
    def allgather(self, outputs, inputs, opts=None):
        rank, world_size = self.transport.rank, self.transport.world_size
        for filled, tensor in zip(outputs, inputs):
            total = [as_array(tensor)] * world_size
            for root in range(world_size):
                total[root] = broadcast(self.transport, total[root], root)
            for out, chunk in zip(filled, total):
                out.detach().copy_(torch.from_numpy(chunk))
        return Done(outputs)
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.8 allreduce_tensor",
        """
def allreduce_tensor(transport, tensor, allreduce=ring_allreduce):
    total = torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = np.array(as_array(tensor)).ravel()
    total.copy_(torch.as_tensor(allreduce(transport, flat)).reshape(tensor.shape))
    return total
""",
        title="one axis on the way",
    ),
    Alternative(
        "4.8 allreduce_hook",
        """
def allreduce_hook(state, bucket):
    part = torch.futures.Future()
    part.set_result(bucket.buffer().div_(state.transport.world_size))

    def add_up(future):
        return allreduce_tensor(state.transport, future.value(), state.allreduce)

    return part.then(add_up)
""",
        title="divided first, a chain of futures",
    ),
    Alternative(
        "4.8 AisysGroup.allreduce",
        """
from aisys.allreduce.ring import all_gather, reduce_scatter


class AisysGroup:
    def allreduce(self, tensors, opts):
        for operation, factor in (
            (dist.ReduceOp.SUM, 1.0),
            (dist.ReduceOp.AVG, 1.0 / self.transport.world_size),
        ):
            if opts.reduceOp == operation:
                break
        else:
            raise NotImplementedError("sums and averages only")
        with torch.no_grad():
            for tensor in tensors:
                array = np.ascontiguousarray(as_array(tensor))
                complete = reduce_scatter(self.transport, flat := array.reshape(-1).copy())
                all_gather(self.transport, flat, complete)
                tensor[...] = torch.from_numpy(flat).reshape(tensor.shape)
                if factor != 1.0:
                    tensor *= factor
        return Done(tensors)
""",
        title="the two halves of the ring",
    ),
    Alternative(
        "4.8 AisysGroup.broadcast",
        """
from aisys.allreduce.trees import tree_neighbours


class AisysGroup:
    def broadcast(self, tensors, opts):
        parent, children = tree_neighbours(self.rank(), self.size(), opts.rootRank)
        for tensor in tensors:
            values = np.ascontiguousarray(as_array(tensor)).copy()
            if parent is not None:
                self.transport.recv(values, parent)
            for request in [self.transport.isend(values, to) for to in reversed(children)]:
                request.wait()
            tensor.detach()[...] = torch.from_numpy(values)
        return Done(tensors)
""",
        title="down the tree by hand",
    ),
    Alternative(
        "4.8 AisysGroup.allgather",
        """
class AisysGroup:
    def allgather(self, outputs, inputs, opts=None):
        me, ranks = self.rank(), self.size()
        for filled, tensor in zip(outputs, inputs):
            part = np.ascontiguousarray(as_array(tensor))
            filled[me].detach().copy_(tensor.detach())
            for hop in range(1, ranks):
                arriving = np.empty_like(part)
                self.transport.sendrecv(part, (me + 1) % ranks, arriving, (me - 1) % ranks)
                place = filled[(me - hop) % ranks].detach()
                place.copy_(torch.from_numpy(arriving).reshape(place.shape))
                part = arriving
        return Done(outputs)
""",
        title="parts passed on around the ring",
    ),
]

ANSWERS = {
    "4.8-written": """
1. For 1 KB latency decides: the number of messages and what a call costs, for ours some tens of
   microseconds of Python; Horovod's cycle, in which ranks agree on what is ready, takes far longer
   than the message. For 64 MB copies and additions decide: twice the bytes take twice the time.
   Over shared memory a byte is written and read once, over TCP it goes through the kernel twice,
   through Gloo's messages a thread passes it on besides. With 4 ranks on 2 cores ranks wait for
   each other's turn, so these figures say little about 4 machines; nor would I quote any of a
   minute in which the machine was busy.
2. fp16 and bf16 keep what a ring needs: the sum of two compressed gradients is a compressed
   gradient, so each hop can add (here Horovod has no bf16; that is its own gap). int8 with a scale
   for each chunk cannot be added: 100 with the scale 0.01 and 100 with the scale 1 are not 200 of
   anything. Top-k has other places on every rank. So every rank needs all payloads: an all-gather,
   (n - 1) c bytes where the ring sends 2 (n - 1) / n B. With int8, c = B / 4, both send the same
   at n = 8; against fp16 at n = 4. Beyond that compression sends more than it saves, unless c
   falls as well.
""",
}
