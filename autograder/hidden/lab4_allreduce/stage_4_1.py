"""Stage 4.1: hidden cases, mistakes, alternatives and the model answer of what a message costs."""

import numpy as np

from aisys.allreduce.checks.costs import (
    POWERS,
    chain_case,
    clock_case,
    fit_case,
    message_case,
    share_case,
    trips_case,
)
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose order of magnitude is drawn evenly."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sizes(rng: np.random.Generator, number: int) -> list[int]:
    """Sizes from 8 B to 64 MB in any order, the smallest and the largest among them."""
    drawn = [round(_log(rng, 8, 64e6)) for _ in range(number - 2)]
    return [int(n) for n in rng.permutation([8, *drawn, 64_000_000])]


def clocks(rng: np.random.Generator) -> list[Case]:
    """Links that differ by direction and by message, a rank that is late, a slow first message."""
    alphas = [_log(rng, 1e-6, 1e-4) for _ in range(2)]
    betas = [_log(rng, 1e-11, 1e-8) for _ in range(2)]
    nbytes = [int(rng.integers(1, 20_000)) for _ in range(3)]
    late = float(rng.uniform(0.1, 1))
    return [
        clock_case(
            f"hidden 1: {nbytes[0]} bytes, no two take the same time", _seed(rng), nbytes[0], 5,
            jitter=1.0, alpha=alphas, beta=betas,
        ),
        clock_case(
            f"hidden 2: {nbytes[1]} bytes, a slow first message, a rank that is late", _seed(rng),
            nbytes[1], 3, first=0.1, late=late, jitter=0.3,
        ),
        clock_case(
            f"hidden 3: {nbytes[2]} bytes, three ranks, sends wait", _seed(rng), nbytes[2], 2,
            ranks=3, synchronous=True, jitter=0.3,
        ),
        clock_case("hidden 4: no byte, one round trip", _seed(rng), 0, 1, jitter=0.3),
    ]  # fmt: skip


def messages(rng: np.random.Generator) -> list[Case]:
    """Counted runs, of three ranks and of two without a round trip that counts."""
    nbytes, repeats = int(rng.integers(1, 5000)), int(rng.integers(2, 7))
    return [
        message_case(
            f"hidden 1: {repeats} round trips of {nbytes} bytes, three ranks", 3, nbytes, repeats
        ),
        message_case("hidden 2: only the one that does not count", 2, 10, 0),
    ]


def trips(rng: np.random.Generator) -> list[Case]:
    """Odd and even numbers of rounds, with and without round trips that are far too long."""
    rounds = 2 * int(rng.integers(3, 8))
    return [
        trips_case(f"hidden 1: {rounds} rounds of 7 sizes", _seed(rng), rounds, 7),
        trips_case(f"hidden 2: {rounds + 1} rounds, outliers", _seed(rng), rounds + 1, 6, 0.15),
        trips_case("hidden 3: one round of 5 sizes", _seed(rng), 1, 5),
    ]


def fits(rng: np.random.Generator) -> list[Case]:
    """Any link: exact times, and times that are off by 3 to 30 %."""
    links = [(_log(rng, 5e-7, 2e-4), _log(rng, 1e-11, 1e-8)) for _ in range(4)]
    noise = float(rng.uniform(0.03, 0.1))
    return [
        fit_case("hidden 1: exactly", _seed(rng), _sizes(rng, 12), *links[0]),
        fit_case(f"hidden 2: off by {noise:.0%}", _seed(rng), POWERS, *links[1], noise),
        fit_case("hidden 3: off by 30 %", _seed(rng), _sizes(rng, 20), *links[2], 0.3),
        fit_case("hidden 4: off by 10 %", _seed(rng), _sizes(rng, 15), *links[3], 0.1),
    ]


def shares(rng: np.random.Generator) -> list[Case]:
    """Any link, any share."""
    drawn = [float(share) for share in rng.uniform(0.02, 0.98, 4)]
    return [
        share_case("hidden 1: half", _log(rng, 1e-6, 1e-4), _log(rng, 1e-11, 1e-8), [0.5]),
        share_case("hidden 2: four shares", _log(rng, 1e-6, 1e-4), _log(rng, 1e-11, 1e-8), drawn),
    ]


def chains(rng: np.random.Generator) -> list[Case]:
    """Many pieces; few, where rounding decides; one, because the message is small or goes once."""
    alpha, beta = _log(rng, 1e-6, 1e-4), _log(rng, 1e-11, 1e-9)
    # Where the formula says 1.9 two are best; where it says 2.47, three, which is not the nearest.
    slow, fast = _log(rng, 1e-5, 1e-4), _log(rng, 1e-10, 1e-9)
    low, high = (round(square * slow / fast) for square in (3.6, 6.1))
    hops = int(rng.integers(3, 40))
    return [
        chain_case(f"hidden 1: 64 MB over {hops} hops", alpha, beta, 64_000_000, hops),
        chain_case("hidden 2: about two pieces", slow, fast, low, 2),
        chain_case("hidden 3: between two and three pieces", slow, fast, high, 2),
        chain_case(f"hidden 4: 8 bytes over {hops} hops", alpha, beta, 8, hops),
        chain_case("hidden 5: one hop", alpha, beta, 1_000_000, 1),
    ]


CASES = {
    "ping_pong_seconds": clocks,
    "ping_pong_messages": messages,
    "one_way_values": trips,
    "fit_values": fits,
    "share_sizes": shares,
    "pieces_chosen": chains,
}

MISTAKES = [
    Mistake(
        "4.1 ping_pong",
        "the first round trip counted",
        hint="The first round trip is there to wait for the other rank and to touch what is new. "
        "Which of your times belongs to it?",
        replace={
            "return seconds[1:] if": "return seconds[:-1] if",
        },
    ),
    Mistake(
        "4.1 ping_pong",
        "no round trip that does not count",
        hint="Where the other rank comes late, your first time is the time it was late by. "
        "One more round trip belongs before those that count.",
        replace={"range(1 + repeats)": "range(repeats)", "seconds[1:] if": "seconds if"},
    ),
    Mistake(
        "4.1 ping_pong",
        "the mean in place of each",
        hint="One slow round trip spoils a mean, and nobody sees which it was. Read the clock "
        "before and after each round trip.",
        replace={
            "return seconds[1:] if": "seconds = [sum(seconds[1:]) / max(1, repeats)] * len(seconds)"
            "\n    return seconds[1:] if"
        },
    ),
    Mistake(
        "4.1 ping_pong",
        "half of the round trip returned",
        hint="The whole round trip is asked for, there and back; half of it comes later.",
        replace={"clock() - before": "(clock() - before) / 2"},
    ),
    Mistake(
        "4.1 ping_pong",
        "only the way there is timed",
        hint="A send returns when its message has left, or when it lies in a buffer. Only the "
        "answer says that it has arrived.",
        replace={
            "            transport.recv(message, 1)\n": (
                "            took = clock() - before\n            transport.recv(message, 1)\n"
            ),
            "seconds.append(clock() - before)": (
                "seconds.append(took if transport.rank == 0 else 0.0)"
            ),
        },
    ),
    Mistake(
        "4.1 ping_pong",
        "both send at once",
        hint="Both messages are under way at the same time. Rank 1 answers: it sends once it has "
        "received.",
        source="""
def ping_pong(transport, nbytes, repeats, clock=perf_counter):
    if transport.rank > 1:
        return []
    message, answer = np.zeros(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    seconds = []
    for _ in range(1 + repeats):
        before = clock()
        transport.sendrecv(message, 1 - transport.rank, answer, 1 - transport.rank)
        seconds.append(clock() - before)
    return seconds[1:] if transport.rank == 0 else []
""",
    ),
    Mistake(
        "4.1 ping_pong",
        "elements for bytes",
        hint="nbytes counts bytes. How many of them does an element of your array have?",
        replace={"np.zeros(nbytes, np.uint8)": "np.zeros(nbytes)"},
    ),
    Mistake(
        "4.1 ping_pong",
        "rank 1 returns its times, too",
        hint="Rank 1's times include its waiting for the next message to set out. Only rank 0 "
        "returns times.",
        replace={"return seconds[1:] if transport.rank == 0 else []": "return seconds[1:]"},
    ),
    Mistake(
        "4.1 ping_pong",
        "one number in place of a list",
        hint="Each round trip's seconds are asked for, in a list: the choice between mean and "
        "median is that of one_way_seconds.",
        replace={
            "return seconds[1:] if transport.rank == 0 else []": (
                "return float(np.median(seconds[1:] or [0.0])) if transport.rank == 0 else []"
            )
        },
    ),
    Mistake(
        "4.1 ping_pong",
        "nothing comes back from rank 1",
        hint="Every rank returns a list. Rank 1 and those above have no times to tell: theirs is "
        "empty, [], and not None.",
        replace={
            "        return []\n": "        return None\n",
            "return seconds[1:] if transport.rank == 0 else []": (
                "return seconds[1:] if transport.rank == 0 else None"
            ),
        },
    ),
    Mistake(
        "4.1 ping_pong",
        "every rank but 0 answers",
        hint="`else` is every rank but 0. A third one waits there for a message from rank 0 that "
        "never comes: only ranks 0 and 1 take part.",
        replace={"    if transport.rank > 1:\n        return []\n": ""},
    ),
    Mistake(
        "4.1 ping_pong",
        "a short answer",
        hint="The way back counts, too: rank 1 sends as many bytes as it received, not a short "
        "sign that they are there.",
        replace={
            "transport.recv(message, 1)": "transport.recv(message[:1], 1)",
            "transport.send(message, 0)": "transport.send(message[:1], 0)",
        },
    ),
    Mistake(
        "4.1 one_way_seconds",
        "the mean",
        hint="One round trip in which the machine did something else moves the mean as far as it "
        "likes, and the median hardly at all.",
        replace={"np.median": "np.mean"},
    ),
    Mistake(
        "4.1 one_way_seconds",
        "the round trip for the message",
        hint="There and back are two messages.",
        replace={", axis=0) / 2": ", axis=0)"},
    ),
    Mistake(
        "4.1 one_way_seconds",
        "the median over the sizes",
        hint="The first axis counts rounds, the second sizes. Which of them is to go?",
        replace={"axis=0": "axis=1"},
    ),
    Mistake(
        "4.1 one_way_seconds",
        "the shortest",
        hint="The shortest round trip is the one in which everything happened to fit. What a "
        "message usually takes is asked for.",
        replace={"np.median": "np.min"},
    ),
    Mistake(
        "4.1 one_way_seconds",
        "one median of all",
        hint="A number for each size is asked for, [sizes]. Without an axis, np.median takes all "
        "sizes together.",
        replace={", axis=0)": ")"},
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "plain least squares",
        hint="Without weights an error of 1 % at 64 MB weighs more than the whole time of the "
        "small messages, and alpha is lost. Divide each equation by its time.",
        source="""
def fit_alpha_beta(sizes, seconds):
    rows = np.stack([np.ones(len(sizes)), sizes], axis=1)
    alpha, beta = np.linalg.lstsq(rows, seconds)[0]
    return CostModel(float(alpha), float(beta))
""",
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "the weights squared",
        hint="Your errors are divided by the square of the time. polyfit multiplies each error by "
        "its weight before it squares.",
        source="""
def fit_alpha_beta(sizes, seconds):
    beta, alpha = np.polyfit(sizes, seconds, 1, w=1 / seconds**2)
    return CostModel(float(alpha), float(beta))
""",
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "the square root of the weights",
        hint="The weight belongs to the error, not to its square: polyfit multiplies each error by "
        "its weight and squares the product. Which weight makes a relative error of an error?",
        source="""
def fit_alpha_beta(sizes, seconds):
    beta, alpha = np.polyfit(sizes, seconds, 1, w=1 / np.sqrt(seconds))
    return CostModel(float(alpha), float(beta))
""",
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "the bandwidth for beta",
        hint="beta is what a byte costs, in seconds. The bandwidth is its reciprocal.",
        replace={"float(beta))": "1 / float(beta))"},
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "alpha and beta exchanged",
        hint="Which column of your matrix belongs to alpha? polyfit returns the slope first.",
        replace={"alpha, beta = np": "beta, alpha = np"},
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "a line through the shortest and the longest",
        hint="Two measurements fix the line, and the noise of these two goes into it. All sizes "
        "count.",
        source="""
def fit_alpha_beta(sizes, seconds):
    small, large = np.argmin(sizes), np.argmax(sizes)
    beta = (seconds[large] - seconds[small]) / (sizes[large] - sizes[small])
    return CostModel(float(seconds[small] - sizes[small] * beta), float(beta))
""",
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "a line through logarithms",
        hint="A straight line of logarithms is a power law, c n^p. alpha + n beta is none.",
        source="""
def fit_alpha_beta(sizes, seconds):
    slope, start = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return CostModel(float(np.exp(start)), float(np.exp(slope) / sizes.max()))
""",
    ),
    Mistake(
        "4.1 fit_alpha_beta",
        "two numbers in place of a model",
        hint="The two numbers are right, but they travel as `CostModel(alpha, beta)`, which names "
        "them.",
        replace={"CostModel(float(alpha), float(beta))": "float(alpha), float(beta)"},
    ),
    Mistake(
        "4.1 size_for_share",
        "half of the bandwidth for every share",
        hint="alpha / beta is the size at which half of the bandwidth is reached. Where does the "
        "share come in?",
        replace={"share / (1 - share) * model": "model"},
    ),
    Mistake(
        "4.1 size_for_share",
        "the share of alpha / beta",
        hint="Set n / (alpha + n beta) equal to share / beta, and solve for n: n stands on both "
        "sides.",
        replace={"share / (1 - share) * model": "2 * share * model"},
    ),
    Mistake(
        "4.1 size_for_share",
        "the wrong way round",
        hint="Large messages reach more of the bandwidth than small ones. Does your size grow with "
        "the share?",
        replace={"share / (1 - share)": "(1 - share) / share"},
    ),
    Mistake(
        "4.1 size_for_share",
        "beta taken for the bandwidth",
        hint="beta is in seconds a byte. Which of alpha * beta and alpha / beta is a number of "
        "bytes?",
        replace={"model.alpha / model.beta": "model.alpha * model.beta"},
    ),
    Mistake(
        "4.1 size_for_share",
        "rounded to whole bytes",
        hint="The size that the formula gives is asked for. Rounding it to whole bytes changes a "
        "small one by more than a little.",
        replace={
            "return share / (1 - share) * model.alpha / model.beta": (
                "return round(share / (1 - share) * model.alpha / model.beta)"
            )
        },
    ),
    Mistake(
        "4.1 best_pieces",
        "rounded down",
        hint="The formula's minimum lies between two whole numbers. Which of them is better? "
        "And less than one piece there cannot be.",
        replace={"return min(max(1, below), below + 1, key=chain_seconds)": "return max(1, below)"},
    ),
    Mistake(
        "4.1 best_pieces",
        "no piece at all",
        hint="A small message, or one hop, is worth one piece; it cannot be none.",
        replace={
            "return min(max(1, below), below + 1, key=chain_seconds)": "return round(\n"
            "        sqrt((hops - 1) * nbytes * model.beta / model.alpha)\n    )"
        },
    ),
    Mistake(
        "4.1 best_pieces",
        "hops for hops - 1",
        hint="With one hop and one piece there is one message. How many are there, one after "
        "another, with h hops and m pieces?",
        replace={
            "steps = hops - 1 + pieces": "steps = hops + pieces",
            "sqrt((hops - 1) * nbytes": "sqrt(hops * nbytes",
        },
    ),
    Mistake(
        "4.1 best_pieces",
        "the whole message in every step",
        hint="After cutting, a step carries a piece. What are the bytes of all steps together, if "
        "there are hops - 1 + m of them?",
        source="""
def best_pieces(model, nbytes, hops):
    best, least = 1, float("inf")
    for pieces in range(1, 1000):
        steps = hops - 1 + pieces
        seconds = model.seconds(steps, steps * nbytes)
        if seconds < least:
            best, least = pieces, seconds
    return best
""",
    ),
    Mistake(
        "4.1 best_pieces",
        "pieces of the size n_1/2",
        hint="Pieces of alpha / beta bytes use half of the bandwidth, but how long the pipe is "
        "counts, too: over one hop cutting brings nothing.",
        source="""
def best_pieces(model, nbytes, hops):
    return max(1, round(nbytes * model.beta / model.alpha))
""",
    ),
    Mistake(
        "4.1 best_pieces",
        "the bytes of one piece",
        hint="`seconds(steps, nbytes)` takes the bytes of all its messages together. nbytes / m "
        "are those of one piece, and hops - 1 + m pieces follow one another.",
        source="""
def best_pieces(model, nbytes, hops):
    def chain_seconds(pieces):
        return model.seconds(hops - 1 + pieces, nbytes / pieces)

    below = floor(sqrt(nbytes * model.beta / model.alpha))
    return min(max(1, below), below + 1, key=chain_seconds)
""",
    ),
    Mistake(
        "4.1 best_pieces",
        "the size of a piece",
        hint="How many pieces there are is asked for, not how many bytes each of them has.",
        replace={
            "return min(max(1, below), below + 1, key=chain_seconds)": (
                "return nbytes / min(max(1, below), below + 1, key=chain_seconds)"
            )
        },
    ),
    Mistake(
        "4.1 best_pieces",
        "the formula's number, not a whole one",
        hint="Nobody can cut a message into 2.47 pieces: of the two whole numbers beside it take "
        "the better one, and at least one.",
        source="""
def best_pieces(model, nbytes, hops):
    return max(1.0, sqrt((hops - 1) * nbytes * model.beta / model.alpha))
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "4.1 ping_pong",
        """
def ping_pong(transport, nbytes, repeats, clock=perf_counter):
    me, times = transport.rank, []
    if me < 2:
        mine, theirs = np.ones(nbytes, np.int8), np.empty(nbytes, np.int8)

        def trip():
            for sender in (0, 1):
                if me == sender:
                    transport.isend(mine, 1 - me, tag=7).wait()
                else:
                    transport.irecv(theirs, 1 - me, tag=7).wait()

        trip()
        last = clock()
        for _ in range(repeats):
            trip()
            now = clock()
            times.append(now - last)
            last = now
    return [] if me else times
""",
        title="two buffers, one reading of the clock a round trip",
    ),
    Alternative(
        "4.1 one_way_seconds",
        """
def one_way_seconds(round_trips):
    ordered = np.sort(round_trips, axis=0)
    rounds = len(ordered)
    return (ordered[(rounds - 1) // 2] + ordered[rounds // 2]) / 4
""",
        title="the middle of what was sorted",
    ),
    Alternative(
        "4.1 fit_alpha_beta",
        """
def fit_alpha_beta(sizes, seconds):
    weight = 1 / np.asarray(seconds, float) ** 2
    n = np.asarray(sizes, float)
    centre = (weight * n).sum() / weight.sum()
    time = (weight * seconds).sum() / weight.sum()
    slope = (weight * (n - centre) * (seconds - time)).sum() / (weight * (n - centre) ** 2).sum()
    return CostModel(alpha=float(time - slope * centre), beta=float(slope))
""",
        title="the formula of a weighted straight line",
    ),
    Alternative(
        "4.1 fit_alpha_beta",
        """
def fit_alpha_beta(sizes, seconds):
    beta, alpha = np.polyfit(sizes, seconds, 1, w=1 / seconds)
    return CostModel(float(alpha), float(beta))
""",
        title="polyfit with weights",
    ),
    Alternative(
        "4.1 size_for_share",
        """
def size_for_share(model, share):
    target = share / model.beta
    # n = target * (alpha + n * beta), solved for n.
    return target * model.alpha / (1 - target * model.beta)
""",
        title="solved for the bandwidth",
    ),
    Alternative(
        "4.1 best_pieces",
        """
def best_pieces(model, nbytes, hops):
    def more_pays(m):
        now = (hops - 1 + m) * (model.alpha + nbytes / m * model.beta)
        return (hops + m) * (model.alpha + nbytes / (m + 1) * model.beta) < now

    high = 1
    while more_pays(high):
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if more_pays(middle) else (low, middle)
    return high
""",
        title="bisection for the first number after which more pieces cost more",
    ),
]

ANSWERS = {
    "4.1-written": """
1. TCP: alpha 22 us, beta 0.22 ns/byte (4.5 GB/s), n_1/2 98 KB; shared memory: 56 us, 0.33 ns/byte,
   168 KB. The fit is within 10 % up to 128 KiB. At 1 MiB it says 40 % more than was measured, above
   4 MiB 65 % less. Up to 1 MiB a message fits into the caches and into the buffers between the two
   processes; above, it is handed over in turns, and in each of them one waits until the other runs.
   One beta cannot be both. Whoever only sends megabytes should fit megabytes.
2. One after another: 160 alpha + 100 MB beta = 3.5 ms + 22 ms; as one message 22 us + 22 ms (with
   what megabytes really take here, 0.65 ns/byte, 65 ms in place of 22). The largest tensors are far
   above n_1/2, so they gain nothing. Most are below it: they pay alpha for next to no bytes, and
   packing these alone brings nearly all of the gain. (What is not in the model: packing copies.)
3. 8 bytes: no copy is worth mentioning. What goes is the kernel's network code (8 us), waiting and
   waking (10 us), and the program's own bookkeeping, which the card does. 64 MiB: copies (5 ms) and
   network code (10 ms). Registering 64 MiB at both ends takes 10 ms of processor time, nearly half
   of what TCP takes, and for 8 bytes as much as the whole message. So small messages are copied
   through buffers that stay registered, and large ones are worth registering if the memory is used
   again: a gradient buffer, step after step.
"""
}
