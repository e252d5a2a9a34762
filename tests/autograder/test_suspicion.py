"""What looks like tampering is named with its cell and line, and honest work is not."""

import nbformat
import pytest

from autograder.answers import as_attempt, mistake_source, reference_source
from autograder.bench import Bench
from autograder.sample import answered, fill
from autograder.submission import prepare
from autograder.suspicion import flags_of, kinds_in

IMPORTS = "import numpy as np\nfrom aisys.course import attempt, check"


def flags(*sources: str, ordinary: frozenset[str] = frozenset()) -> list[str]:
    """The flags of some code cells."""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{n}") for n, source in enumerate(sources)]
    return flags_of(cells, IMPORTS, ordinary)


SUSPICIOUS = {
    "check = 3": "rebinds `check` (line 1)",
    "def check(stage): pass": "rebinds `check`",
    "globals()['check'] = 3": "rebinds `check`",
    "globals().update(check=3)": "rebinds `check`",
    "def f():\n    global attempt": "rebinds `attempt`",
    "from numpy import sum as check": "rebinds `check`",
    "np.allclose = 3": "patches `numpy.allclose`",
    "setattr(np, 'all' + x, 3)": "patches `numpy.?`",
    "vars(np)['allclose'] = 3": "patches `numpy.allclose`",
    "np.__dict__['allclose'] = 3": "patches `numpy.allclose`",
    "a = np\na.linalg.norm = 3": "patches `numpy.linalg.norm` (line 2)",
    "import torch as t\ndel t.add": "patches `torch.add`",
    "__builtins__.open = 3": "patches `builtins.open`",
    "getattr(np, 'random').default_rng = 3": "patches `numpy.random.default_rng`",
    "import sys\nsys.modules['numpy'].sum = 3": "patches `numpy.sum`",
    "import importlib as i\ni.import_module('numpy').sum = 3": "patches `numpy.sum`",
    "from unittest import mock\nmock.patch('numpy.sum', 3)": "patches `numpy.sum`",
    "check.__code__ = f.__code__": "patches `check.__code__`",
    "from aisys.course import probes\nprobes.run_case = 3": "patches `aisys.course.probes.",
    "import os\nos.kill(1, 9)": "sends signals to processes by `os.kill`",
    "from os import kill as k\nk(1, 9)": "sends signals to processes by `os.kill`",
    "import ctypes": "reaches past Python by `ctypes`",
    "import gc\ngc.get_objects()": "searches the interpreter's objects",
    "().__class__.__base__.__subclasses__()": "searches the interpreter's objects",
    "import sys\nsys._getframe(1).f_locals": "looks into the frames",
    "e.__traceback__.tb_frame": "looks into the frames",
    "import inspect\ninspect.stack()": "looks into the frames",
    "import socket": "opens connections by `socket`",
    "from urllib.request import urlopen": "opens connections",
    "import subprocess as s": "starts programs by `subprocess`",
    "import os\nos.system('ls')": "starts programs by `os.system`",
    "open('/proc/self/mem')": "names files of the system, `/proc/self/mem`",
    "open(f'/proc/{pid}/maps')": "names files of the system, `/proc/`",
    "import autograder": "looks for the grader",
    "__import__('autograder.answers')": "looks for the grader",
    "get_ipython().events.register('x', f)": "hooks into the notebook's kernel",
    "ip = get_ipython()\nip.display_formatter": "hooks into the notebook's kernel",
    "import sys\nsys.settrace(f)": "traces other code",
    "import atexit": "leaves code for the kernel's end",
    "import sys\nsys.modules['x'] = 3": "changes what imports find",
    "import sys\nsys.modules.update(x=3)": "changes what imports find",
    "import sys\nsys.meta_path.insert(0, f)": "changes what imports find",
    "import signal\nsignal.setitimer(0, 0)": "takes over signals or timers",
    "import zmq": "reaches for the kernel's own messages",
    "from aisys.course.remote import answer": "reaches into the course's checks",
    "import aisys.autodiff.checks.graph as g": "reaches into the course's checks",
    "exec('import ctypes')": "reaches past Python",
    "import base64\nexec(base64.b64decode(x))": "runs code that is packed away",
    "class A:\n    def __eq__(self, other):\n        return True": "makes objects that equal",
    "class A:\n    def __reduce__(self): pass": "run code where they are unpickled",
    "%%capture\nimport ctypes": "reaches past Python by `ctypes` (line 2)",
    "x = !ls\nimport ctypes": "reaches past Python by `ctypes` (line 2)",
    "this is no Python: os.kill(1, 9)": "sends signals to processes by `os.kill`",
    "os.kill(1, 9)\n" + "(" * 5000: "sends signals to processes by `os.kill`",
    "import os\nos.kill(1, 9)\n" + "-" * 50_000 + "1": "sends signals to processes by `os.kill`",
    "x = 1\n" * 50_000 + "gc.get_objects()": "searches the interpreter's objects",
}


@pytest.mark.parametrize("source", SUSPICIOUS)
def test_tampering_is_named_with_its_cell(source: str) -> None:
    said = flags(source)
    assert any(flag.startswith(f"Cell c0 {SUSPICIOUS[source]}") for flag in said) or any(
        flag.startswith("Cell c0 ") and SUSPICIOUS[source] in flag for flag in said
    ), said


HONEST = [
    "def f(check):\n    check = 3\n    return [check for check in x]",
    "np.random.seed(3)\nx = np.zeros(3)\nx.shape = (3, 1)\nx[0] = 1",
    "import torch\ntorch.backends.cudnn.deterministic = True\ntorch.manual_seed(0)",
    "import matplotlib.pyplot as plt\nplt.rcParams['figure.figsize'] = (3, 3)",
    "get_ipython().run_line_magic('matplotlib', 'inline')\n%timeit f()\n!pip list",
    "print('import ctypes; os.kill; see autograder')  # check = 3",
    '"""It reads /proc/self/mem."""',
    "import os, sys, signal, time, inspect\nos.environ['X'] = '1'\nsys.path.append('.')",
    "class A:\n    def __eq__(self, other):\n        return self.x == other.x",
    "def socket(): pass\nsocket.calls = 3",
    "@attempt('1.3')\ndef im2col(x):\n    return x\nim2col.cache = {}",
    "import re\nre.compile('x')\neval('1 + 1')\nexec(compile(source, 'x', 'exec'))",
    "check?\ncheck('1.3')\nfrom aisys.course import check, attempt",
]


@pytest.mark.parametrize("source", HONEST)
def test_honest_code_is_not_named(source: str) -> None:
    assert flags(source) == []


def test_what_the_labs_own_code_does_is_nothing_to_speak_of() -> None:
    ordinary = kinds_in(["import socket\nsocket.socket()"])
    assert flags("import socket, ctypes", ordinary=ordinary) == flags("import ctypes")


def test_a_name_of_one_cell_is_followed_into_the_next() -> None:
    assert flags("import ctypes.util as u", "u.find_library")[1].startswith("Cell c1 reaches past")


def test_no_submission_gets_more_flags_than_can_be_read() -> None:
    assert len(flags(*["import ctypes"] * 500)) == 21


def test_nothing_in_the_catalogue_of_lab_1_is_suspicious(bench: Bench) -> None:
    catalogue = bench.key.catalogue
    perfect = {key: reference_source(key) for key in bench.lab.keys()}
    every = [perfect, {}]
    for number in range(max(len(catalogue.mistakes_of(key)) for key in perfect)):
        entries = [entry for key in perfect for entry in catalogue.mistakes_of(key)[number:][:1]]
        every.append(perfect | {entry.key: mistake_source(entry) for entry in entries})
    for number in range(max(len(catalogue.alternatives_of(key)) for key in perfect)):
        others = [entry for key in perfect for entry in catalogue.alternatives_of(key)[number:][:1]]
        every.append(perfect | {entry.key: as_attempt(entry.key, entry.source) for entry in others})
    for attempts in every:
        notebook = answered(fill(bench.original, bench.lab, attempts), catalogue)
        written = prepare(notebook, bench.original).written()
        assert len(written) > 20
        assert flags_of(written, bench.imports, frozenset()) == []
