"""Attacks on what runs beside the attempt: the course's own code, NumPy, torch, Python itself."""

import pytest

from tests.attacks.arena import KEY, Arena
from tests.support.benches import with_seconds

LOOPS, COLUMNS, PRODUCT = "1.3 conv2d_loops", KEY, "1.3 conv2d_im2col"
EMPTY = '@attempt("1.3")\ndef im2col(x, kernel_height, kernel_width, stride=1, padding=0):\n'


def mistaken(arena: Arena) -> dict[str, str]:
    """Attempts that are all wrong, though they run."""
    wrong = {key: arena.spliced(key, "return np.zeros((1, 1))") for key in arena.perfect}
    assert set(wrong) == {LOOPS, COLUMNS, PRODUCT}
    return wrong


def test_a_rebound_check_earns_nothing(arena: Arena) -> None:
    """It wants its own `check` to be what grades it."""
    own = "check = lambda stage: 3.0\nimport aisys.course\naisys.course.check = check"
    after = arena.grade(arena.notebook(attempts=mistaken(arena), own=own))
    assert after.points == 0
    assert any("rebinds `check` (line 1)" in flag for flag in after.flags)
    assert any("patches `aisys.course.check` (line 3)" in flag for flag in after.flags)


def test_probes_that_always_return_well_earn_nothing(arena: Arena) -> None:
    """It wants `run_case` to say that all is well, without running anything."""
    own = """
import numpy as np
from aisys.course import probes, remote
good = probes.Outcome("returned", np.zeros((2, 2, 2, 2)))
probes.run_case = remote.run_case = lambda *anything: good
"""
    after = arena.grade(arena.notebook(attempts=mistaken(arena), own=own))
    assert after.points == 0
    assert any("patches `aisys.course.probes.run_case`" in flag for flag in after.flags)


def test_comparisons_that_always_agree_earn_nothing(arena: Arena) -> None:
    """It wants whatever compares results to find them equal."""
    own = """
import numpy as np, torch, math, operator
import aisys.course.compare, aisys.course.probes
for module in (np, np.testing, torch, math, operator):
    for name in ("allclose", "isclose", "array_equal", "equal", "eq", "assert_allclose"):
        if hasattr(module, name):
            setattr(module, name, lambda *anything, **more: True)
aisys.course.probes.compare = aisys.course.probes.judge = lambda *anything: None
torch.Tensor.__eq__ = lambda self, other: True
"""
    after = arena.grade(arena.notebook(attempts=mistaken(arena), own=own))
    assert after.points == 0
    assert any("patches `aisys.course.probes.compare`" in flag for flag in after.flags)


def test_a_result_that_equals_everything_earns_nothing(arena: Arena) -> None:
    """It wants to be equal to whatever is expected."""
    own = """
class Equal(float):
    def __eq__(self, other):
        return True
    __hash__ = None
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0.0
"""
    after = arena.grade(arena.notebook(attempts={COLUMNS: EMPTY + "    return Equal()"}, own=own))
    lost = [e for e in after.result.stages[0].exercises if e.points < e.max_points]
    assert [e.key for e in lost if not e.points] == [COLUMNS]
    assert any("makes objects that equal everything, `Equal`" in flag for flag in after.flags)


def test_an_array_that_lies_about_itself_earns_nothing(arena: Arena) -> None:
    """It wants to have any shape and dtype that it is asked for, and to break the grader."""
    body = """
    class Liar(np.ndarray):
        shape = property(lambda self: (1 << 40, 1 << 40))
        nbytes = property(lambda self: -8)
        dtype = property(lambda self: np.dtype("<f8"))
        tobytes = lambda self, *anything: b"x" * 64
        __array__ = lambda self, *anything, **more: self
    return np.zeros(3).view(Liar)
"""
    huge = "    return np.broadcast_to(np.zeros(1), (1 << 20, 1 << 20))"
    attacks = {
        "liar": EMPTY + body,
        "huge": EMPTY + huge,
        "object": EMPTY + "    return np.array([x])",
    }
    attacks["object"] = EMPTY + "    return np.array([x, None], dtype=object)"
    submissions = {name: arena.notebook(attempts={COLUMNS: a}) for name, a in attacks.items()}
    for after in arena.grade_all(submissions).values():
        points = {e.key: e.points for e in after.result.stages[0].exercises}
        assert points[COLUMNS] == 0 and after.result.status == "graded"
        assert points[LOOPS] > 0


def test_an_object_that_acts_when_unpickled_is_never_unpickled(arena: Arena) -> None:
    """It wants to run a command where its result is read."""
    body = f"""
    class Bomb(np.ndarray):
        def __reduce__(self):
            return __import__("os").system, ("touch /tmp/{arena.marker}",)
    return np.zeros(3).view(Bomb)
"""
    own = """
import pickle, base64
from aisys.course import remote
class Bomb:
    def __reduce__(self):
        return eval, ("1/0",)
remote.pack = lambda value: pickle.dumps(Bomb())
"""
    submissions = {
        "returned": arena.notebook(attempts={COLUMNS: EMPTY + body}),
        "packed": arena.notebook(own=own),
    }
    after = arena.grade_all(submissions)
    assert {e.key for e in after["returned"].result.stages[0].exercises if not e.points} == {
        COLUMNS
    }
    assert after["packed"].points == 0 and after["packed"].result.status == "graded"
    for one in after.values():
        assert any("run code where they are unpickled, `Bomb`" in flag for flag in one.flags)


PACKS = {
    "nothing": "b''",
    "deep": "b'\\x91' * 1_000_000 + b'\\xc0'",
    "items": "b'\\xdd\\xff\\xff\\xff\\xff'",
    "array": "m(X(1, m(['<f8', [2**40, 2**40], b''])))",
    "object": "m(X(1, m(['|O', [1], b'12345678'])))",
    "integer": "m(X(3, b'\\xff' * 100_000_000))",
    "status": "m({'status': 'passed', 'value': 1, 'error': '', 'message': '', 'frames': []})",
    "types": "m({'status': ['returned'], 'value': {}, 'error': 3, 'message': None, 'frames': 4})",
    "twice": "b'\\x82\\xa6status\\xa8returned\\xa6status\\xa8returned'",
}


def test_answers_that_are_no_plain_data_earn_nothing(arena: Arena) -> None:
    """They want to break what reads them: with depth, sizes, types, or what is claimed twice."""
    own = """
import msgpack
from aisys.course import remote
X, m = msgpack.ExtType, msgpack.packb
remote.pack = lambda value: {}
"""
    submissions = {name: arena.notebook(own=own.format(p)) for name, p in PACKS.items()}
    submissions |= {"latin": arena.notebook(own=own.format("m({'status': 'é'.encode('latin-1')})"))}
    for name, after in arena.grade_all(submissions).items():
        assert (after.points, after.result.status) == (0, "graded"), name


def test_hidden_inputs_made_constant_earn_nothing(arena: Arena) -> None:
    """It wants every case to have the same inputs, for which it knows the answer."""
    own = """
import numpy as np
from aisys.course import probes
class Constant:
    def standard_normal(self, shape):
        return np.zeros(shape)
np.random.default_rng = lambda *seed: Constant()
"""
    after = arena.grade(arena.notebook(own=own))
    assert after.points == 0
    assert any("patches `numpy.random.default_rng`" in flag for flag in after.flags)


def test_the_recorded_answers_of_visible_cases_earn_nothing(arena: Arena) -> None:
    """It wants to answer hidden cases with what the kit knows of the visible ones."""
    own = """
from aisys.course import outcomes, probes, remote
def answer(probe, case):
    known = [outcomes.recorded(1, probe, visible).expected for visible in probe.cases]
    asked.append(len(known))
    return known[len(asked) % len(known)]
asked = []
probes.run_case = remote.run_case = answer
"""
    last = "print('answered', [str(a) for a in asked], end='')"
    after = arena.grade(arena.notebook(solved=False, own=own, last=last))
    assert after.points == 0
    assert any("reaches into the course's checks" in flag for flag in after.flags)


def test_an_attempt_that_knows_only_visible_cases_earns_nothing(arena: Arena) -> None:
    """It wants points for a table of the answers that `check` shows."""
    own = """
import numpy as np
from aisys.course import outcomes, probes
from aisys.autodiff.checks import convolution as checks
table = {}
for probe in probes.probes_of("1.3 im2col"):
    for case in probe.cases:
        x, _ = checks.images_and_weights(case.inputs, np.random.default_rng(case.seed))
        table[x.tobytes()] = outcomes.recorded(1, probe, case).expected.value
"""
    body = "    return table.get(x.tobytes(), np.zeros((1, 1)))"
    last = "right = [(im2col(np.frombuffer(k), 1, 1) == v).all() for k, v in table.items()]\n"
    last += "print('visible:', all(right))"
    notebook = arena.notebook(solved=False, attempts={COLUMNS: EMPTY + body}, own=own, last=last)
    after = arena.grade(notebook)
    assert "visible: True" in after.printed
    assert after.points == 0


def test_answers_kept_from_one_case_for_the_next_earn_nothing(arena: Arena) -> None:
    """It wants to learn from what is asked: it keeps questions in memory and in files."""
    body = """
    import os, pickle
    kept = pickle.load(open("kept", "rb")) if os.path.exists("kept") else []
    kept.append((x, kernel_height, kernel_width, stride, padding))
    pickle.dump(kept, open("kept", "wb"))
    return kept[0][0].reshape(-1, kernel_height * kernel_width) if len(kept) > 1 else x
"""
    after = arena.grade(arena.notebook(solved=False, attempts={COLUMNS: EMPTY + body}))
    assert after.points == 0


ENDINGS = {
    "exit": "SystemExit(0)",
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "recursion": "RecursionError",
    "memory": "MemoryError",
    "own": "type('Passed', (BaseException,), {'__str__': lambda self: 1 / 0})()",
    "strange": "type('<b>' * 999, (BaseException,), {'args': property(lambda self: exit())})()",
}


def test_attempts_that_raise_what_ends_programs_cost_only_themselves(arena: Arena) -> None:
    """They want the checking to end before they are found out."""
    submissions = {
        name: arena.notebook(attempts={COLUMNS: f"{EMPTY}    raise {raised}"})
        for name, raised in ENDINGS.items()
    }
    for name, after in arena.grade_all(submissions).items():
        points = {e.key: e.points for e in after.result.stages[0].exercises}
        assert points[COLUMNS] == 0 and points[LOOPS] > 0, name
        assert after.result.status == "graded" and len(after.message) < 3000, name


def test_closed_files_cost_nobody_else_anything(arena: Arena) -> None:
    """It wants to close what the kernel and the grader talk through."""
    own = "import os, sys\nsys.stdout.close()\nos.closerange(0, 1000)"
    after = arena.grade(arena.notebook(own=own))
    assert after.points == after.most
    assert any("closes or replaces open files" in flag for flag in after.flags)
    assert any("was given up" in flag for flag in after.flags)


def test_a_thread_that_patches_later_earns_nothing(arena: Arena) -> None:
    """It wants to be honest while it is looked at, and to patch when the probe runs."""
    own = """
import threading
import numpy as np
def later():
    from aisys.course import probes, remote
    while True:
        good = probes.Outcome("returned", np.zeros((2, 2)))
        setattr(remote, "run_case", lambda *anything: good)
        threading.Event().wait(0.001)
threading.Thread(target=later, daemon=True).start()
"""
    after = arena.grade(arena.notebook(attempts=mistaken(arena), own=own))
    assert after.points == 0
    assert any("patches `aisys.course.remote.run_case`" in flag for flag in after.flags)


def test_a_time_limit_that_is_switched_off_costs_only_its_own_exercise(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wants to compute for ever."""
    body = """
    import signal
    for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
        signal.setitimer(timer, 0)
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass
"""
    monkeypatch.setattr(arena, "bench", with_seconds(arena.bench, 0.2))
    after = arena.grade(arena.notebook(attempts={COLUMNS: EMPTY + body}))
    status = {e.key: e.status for e in after.result.stages[0].exercises}
    assert status[COLUMNS] == "timeout" and status[LOOPS] == "passed"
    assert any("takes over signals or timers" in flag for flag in after.flags)


def test_a_reloaded_course_earns_nothing(arena: Arena) -> None:
    """It wants the course's modules anew, from wherever they hold the solutions."""
    own = """
import importlib, os, pathlib, site, sys
places = [*sys.path, *site.getsitepackages(), sys.prefix, os.getcwd(), "/"]
for place in list(places):
    for pth in pathlib.Path(place).glob("*.pth"):
        places += pth.read_text().splitlines()
    places += map(str, pathlib.Path(place).glob("*/src"))
found = []
for place in places:
    for name in [n for n in sys.modules if n.partition(".")[0] in ("aisys", "autograder")]:
        if name.startswith("aisys.autodiff"):
            del sys.modules[name]
    sys.path.insert(0, place)
    try:
        module = importlib.import_module("aisys.autodiff.convolution")
        module.im2col(__import__("numpy").zeros((1, 1, 3, 3)), 2, 2)
        found.append(place)
    except Exception as error:
        said = type(error).__name__
for name in ("autograder", "autograder.answers", "autograder.hidden"):
    try:
        __import__(name)
        found.append(name)
    except ImportError:
        pass
print("found:", found, said)
"""
    after = arena.grade(arena.notebook(solved=False, own=own))
    assert "found: [] Hole" in after.printed
    assert after.points == 0


def test_lent_references_are_not_seen_by_code_that_waits_for_them(arena: Arena) -> None:
    """It wants the solution of an exercise that it lacks, which is lent to a later one."""
    own = """
import builtins, linecache
from aisys.course import remote
usual, caught = remote._lend, []
def lend(asked):
    text = "\\n".join(asked["sources"].values())
    for place in ("caught.txt", "/tmp/caught.txt", "/dev/shm/caught.txt"):
        open(place, "w").write(text)
    caught.append(text)
    print(text)
    return usual(asked)
remote._lend = lend
"""
    body = """
    import os
    if caught:
        raise type(caught[0][-90:], (Exception,), {})(caught[0])
    return np.zeros((1, 1))
"""
    last = (
        "import os\nprint(caught, [os.path.exists(p) for p in ('caught.txt', '/tmp/caught.txt')])"
    )
    head = '@attempt("1.3")\ndef conv2d_im2col(x, weight, stride=1, padding=0):\n'
    attempts = {PRODUCT: head + "    im2col(x, 2, 2)\n" + body}
    notebook = arena.notebook(
        attempts={**attempts, COLUMNS: EMPTY + "    return x"}, own=own, last=last
    )
    after = arena.grade(notebook)
    assert "[] [False, False]" in after.printed
    assert not after.saw("sliding_window_view(padded") and not after.saw("windows.transpose(")
    points = {e.key: e.points for e in after.result.stages[0].exercises}
    assert (points[COLUMNS], points[PRODUCT]) == (0, 0) and points[LOOPS] > 0
