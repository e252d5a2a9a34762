"""Stage 1.2: hidden cases, mistakes and alternatives of costs and of the input pipeline."""

from typing import Any

import numpy as np

from aisys.autodiff.checks.roofline import convolution_case
from aisys.course import Case
from aisys.course.probes import Verdict
from autograder.catalogue import Alternative, Draw, Mistake


def integers(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    """Different whole numbers from low to high - 1."""
    return [int(each) for each in rng.choice(np.arange(low, high), count, replace=False)]


def linear_layers(rng: np.random.Generator) -> list[Case]:
    """Linear layers of random sizes."""
    cases = []
    for number, itemsize in enumerate((4, 8, 2, 4), start=1):
        batch, inputs, outputs = integers(rng, 2, 300, 3)
        sizes = {"batch": batch, "inputs": inputs, "outputs": outputs, "itemsize": itemsize}
        cases.append(Case(f"hidden {number}: {itemsize} bytes a number", sizes))
    return cases


def convolutions(rng: np.random.Generator) -> list[Case]:
    """Convolutions of random sizes, among them strides above 1 and paddings above 0."""
    cases = []
    options = [(1, 0, 4), (1, 2, 4), (2, 0, 4), (2, 1, 8), (3, 2, 2)]
    for number, (stride, padding, itemsize) in enumerate(options, start=1):
        batch, channels, out_channels = integers(rng, 2, 20, 3)
        height, width = integers(rng, 9, 40, 2)
        kernel_height, kernel_width = integers(rng, 2, 6, 2)
        name = f"hidden {number}: stride {stride}, padding {padding}"
        x = [batch, channels, height, width]
        weight = [out_channels, channels, kernel_height, kernel_width]
        cases.append(convolution_case(name, x, weight, stride, padding, itemsize))
    return cases


def poolings(rng: np.random.Generator) -> list[Case]:
    """Poolings of random sizes, with overlapping windows and with gaps."""
    cases = []
    options: list[tuple[int, int | None, int]] = [(2, None, 4), (3, 2, 4), (3, None, 8), (2, 3, 2)]
    for number, (kernel, stride, itemsize) in enumerate(options, start=1):
        x = integers(rng, 2, 20, 2) + integers(rng, 9, 40, 2)
        inputs = {"x": x, "kernel": kernel, "stride": stride, "itemsize": itemsize}
        cases.append(Case(f"hidden {number}: kernel {kernel}, stride {stride}", inputs))
    return cases


def several_layers(rng: np.random.Generator) -> list[Case]:
    """Costs of one to five layers."""
    cases = []
    for count in (1, 2, 3, 5):
        costs = [integers(rng, 10, 5000, 2) for _ in range(count)]
        cases.append(Case(f"hidden: {count} layers", {"costs": costs}))
    return cases


def item_cases(rng: np.random.Generator) -> list[Case]:
    """Items of several kinds, equal ones and None among them."""
    some: list[Any] = [*rng.integers(0, 5, 12).tolist(), None, "", False, 0, None]
    mixed = [some[i] for i in rng.permutation(len(some))]
    return [
        Case("hidden 1: many items", {"items": rng.integers(0, 99, 40).tolist(), "size": 4}),
        Case("hidden 2: items that are false", {"items": mixed, "size": 2}),
        Case("hidden 3: one item", {"items": [None], "size": int(rng.integers(1, 5))}),
    ]


def ahead_cases(rng: np.random.Generator) -> list[Case]:
    """Queues of different sizes."""
    sizes = integers(rng, 2, 9, 2)
    return [Case(f"hidden: a queue of {size}", {"size": size}) for size in (1, *sizes)]


def error_cases(rng: np.random.Generator) -> list[Case]:
    """Errors early and late, in a queue that holds everything before, and in a short one."""
    good = int(rng.integers(2, 6))
    return [
        Case(f"hidden 1: an error after {good} items", {"good": good, "size": good + 2}),
        Case("hidden 2: an error after 12 items", {"good": 12, "size": int(rng.integers(1, 4))}),
    ]


def stop_cases(rng: np.random.Generator) -> list[Case]:
    """Early stops."""
    return [
        Case("hidden 1: stopped after one item", {"taken": 1, "size": 1}),
        Case("hidden 2: stopped later", {"taken": int(rng.integers(3, 8)), "size": 3}),
    ]


CASES: dict[str, Draw] = {
    "linear_costs": linear_layers,
    "conv2d_costs": convolutions,
    "max_pool2d_costs": poolings,
    "intensities": several_layers,
    "prefetch_items": item_cases,
    "prefetch_ahead": ahead_cases,
    "prefetch_error": error_cases,
    "prefetch_stop": stop_cases,
}

VERDICTS: dict[str, Verdict] = {}

MISTAKES = [
    Mistake(
        "1.2 linear_cost",
        "multiplications only",
        hint="Each product is also added to something: a multiplication and an addition.",
        replace={"2 * batch * inputs * outputs": "batch * inputs * outputs"},
    ),
    Mistake(
        "1.2 linear_cost",
        "weights read once for each row",
        hint="The whole batch uses the same weights. At the least, they are read once.",
        replace={"+ outputs * inputs +": "+ batch * outputs * inputs +"},
    ),
    Mistake(
        "1.2 linear_cost",
        "bias not read",
        hint="The bias lies in memory, too.",
        replace={"outputs * inputs + outputs + batch": "outputs * inputs + batch"},
    ),
    Mistake(
        "1.2 linear_cost",
        "four bytes for every number",
        hint="A float64 has eight bytes.",
        replace={"numbers * itemsize": "numbers * 4"},
    ),
    Mistake(
        "1.2 conv2d_cost",
        "the output as large as the image",
        hint="How many windows fit into the padded image? Without padding there are fewer than "
        "pixels.",
        replace={
            "(height + 2 * padding - kernel_height) // stride + 1": "height",
            "(width + 2 * padding - kernel_width) // stride + 1": "width",
        },
    ),
    Mistake(
        "1.2 conv2d_cost",
        "a window of one channel",
        hint="A window reaches through all channels.",
        replace={"window = channels * kernel_height": "window = kernel_height"},
    ),
    Mistake(
        "1.2 conv2d_cost",
        "padded zeros read from memory",
        hint="The zeros of the padding lie nowhere: nobody has to read them.",
        replace={
            "images = batch * channels * height * width": (
                "images = batch * channels * (height + 2 * padding) * (width + 2 * padding)"
            )
        },
    ),
    Mistake(
        "1.2 conv2d_cost",
        "each pixel read for each window",
        hint="A pixel lies in many windows, but it has to come from memory only once.",
        replace={
            "numbers = images + out_channels": "numbers = outputs // out_channels * window + "
            "out_channels"
        },
    ),
    Mistake(
        "1.2 max_pool2d_cost",
        "as many comparisons as numbers",
        hint="The largest of two numbers takes one comparison, not two.",
        replace={"(kernel * kernel - 1)": "(kernel * kernel)"},
    ),
    Mistake(
        "1.2 max_pool2d_cost",
        "stride not used",
        hint="Windows can overlap, or have gaps between them: the stride says where they begin.",
        replace={"step = kernel if stride is None else stride": "step = kernel"},
    ),
    Mistake(
        "1.2 max_pool2d_cost",
        "the output not written",
        hint="The largest numbers have to be written, too.",
        replace={"height * width + outputs\n": "height * width\n"},
    ),
    Mistake(
        "1.2 arithmetic_intensity",
        "mean of the layers' intensities",
        hint="A small layer must not count as much as a large one: first all operations and all "
        "bytes, then the ratio.",
        source="""
def arithmetic_intensity(costs):
    return sum(each.flops / each.bytes for each in costs) / len(costs)
""",
    ),
    Mistake(
        "1.2 arithmetic_intensity",
        "bytes for each operation",
        hint="Operations for each byte, not bytes for each operation.",
        source="""
def arithmetic_intensity(costs):
    return sum(each.bytes for each in costs) / sum(each.flops for each in costs)
""",
    ),
    Mistake(
        "1.2 prefetch",
        "no thread",
        hint="Everything happens in the consumer's thread: nothing is made while it works.",
        source="""
def prefetch(source, size):
    yield from source
""",
    ),
    Mistake(
        "1.2 prefetch",
        "a queue without bound",
        hint="A fast source fills the memory. The producer has to wait when the queue is full.",
        replace={"len(ready) < size or stopped": "True"},
    ),
    Mistake(
        "1.2 prefetch",
        "the first item that is None taken for the end",
        hint="Any value can be an item. What marks the end must be something that no source has.",
        replace={
            """                item = ready.popleft()
                changed.notify()
""": """                item = ready.popleft()
                changed.notify()
            if item is None:
                break
"""
        },
    ),
    Mistake(
        "1.2 prefetch",
        "an error of the source looks like its end",
        hint="An error in the producer's thread is seen by nobody there. "
        "It has to be kept, and raised where the items are used.",
        replace={"    if error is not None:\n        raise error": "    return"},
    ),
    Mistake(
        "1.2 prefetch",
        "an error comes before the items that were made before it",
        hint="The items that were ready when the source failed still come out first.",
        replace={"if not ready:": "if error is not None or not ready:"},
    ),
    Mistake(
        "1.2 prefetch",
        "after an error the consumer waits for ever",
        hint="When the source fails, the consumer has to hear of it, or it waits for an item that "
        "nobody makes.",
        source="""
import queue


def prefetch(source, size):
    ready, end = queue.Queue(size), object()
    stopped = threading.Event()

    def put(item):
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.02)
            except queue.Full:
                pass

    def produce():
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    return
        except Exception:
            return
        put(end)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        while (item := ready.get()) is not end:
            yield item
    finally:
        stopped.set()
        producer.join()
""",
    ),
    Mistake(
        "1.2 prefetch",
        "a thread is left when the consumer stops early",
        hint="A consumer that stops early leaves the producer before a full queue. "
        "`finally` runs then, too: tell the producer to end, and wait for it.",
        replace={
            """        with changed:
            stopped = True
            changed.notify()
        producer.join()
""": """        pass
"""
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.2 linear_cost",
        """
def linear_cost(batch, inputs, outputs, itemsize=4):
    multiplications = additions = batch * outputs * inputs
    read = (batch + outputs) * inputs + outputs
    return Cost(multiplications + additions, itemsize * (read + batch * outputs))
""",
    ),
    Alternative(
        "1.2 conv2d_cost",
        """
def conv2d_cost(x_shape, weight_shape, stride=1, padding=0, itemsize=4):
    batch, out_channels = x_shape[0], weight_shape[0]
    places = [
        len(range(0, size + 2 * padding - kernel + 1, stride))
        for size, kernel in zip(x_shape[2:], weight_shape[2:])
    ]
    rows, window = batch * places[0] * places[1], int(np.prod(weight_shape[1:]))
    flops = 2 * rows * window * out_channels
    moved = int(np.prod(x_shape)) + out_channels * (window + 1) + rows * out_channels
    return Cost(flops, moved * itemsize)
""",
        "as the linear layer of all windows",
    ),
    Alternative(
        "1.2 max_pool2d_cost",
        """
def max_pool2d_cost(x_shape, kernel, stride=None, itemsize=4):
    batch, channels, *sizes = x_shape
    stride = stride or kernel
    outputs = batch * channels
    for size in sizes:
        outputs *= len(range(0, size - kernel + 1, stride))
    read = batch * channels * sizes[0] * sizes[1]
    return Cost(outputs * kernel**2 - outputs, (read + outputs) * itemsize)
""",
    ),
    Alternative(
        "1.2 arithmetic_intensity",
        """
def arithmetic_intensity(costs):
    flops = moved = 0
    for cost in costs:
        flops, moved = flops + cost.flops, moved + cost.bytes
    return flops / moved
""",
    ),
    Alternative(
        "1.2 prefetch",
        """
import queue


def prefetch(source, size):
    ready = queue.Queue(size)
    stopped = threading.Event()

    def offer(kind, value):
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=0.01)
                return
            except queue.Full:
                continue

    def produce():
        try:
            for item in source:
                offer("item", item)
                if stopped.is_set():
                    return
        except Exception as error:
            offer("error", error)
        else:
            offer("end", None)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        producer.join()
""",
        "queue.Queue",
    ),
    Alternative(
        "1.2 prefetch",
        """
def prefetch(source, size):
    places, items = threading.Semaphore(size), threading.Semaphore(0)
    ready = deque()
    stop = []

    def produce():
        try:
            for item in source:
                places.acquire()
                if stop:
                    return
                ready.append((item, None, False))
                items.release()
            ready.append((None, None, True))
        except Exception as error:
            ready.append((None, error, True))
        items.release()

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        while True:
            items.acquire()
            item, error, last = ready.popleft()
            places.release()
            if error:
                raise error
            if last:
                break
            yield item
    finally:
        stop.append(True)
        places.release()
        producer.join()
""",
        "two semaphores",
    ),
]

ANSWERS: dict[str, str] = {}
