"""A witness of a real sandboxed kernel: it sees that kernel's processes and nobody else."""

import contextlib
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from autograder import sandbox
from autograder.bench import Bench
from autograder.isolation import bwrap_refusal, server_for
from autograder.kernel import KernelSpec, Session
from tests.course.test_witness import COUNTER

PROBE = """
import socket
from aisys.course import probe, Case

@probe("1.3 im2col", cases=[Case("one")], witness="counting_witness")
def witnessed_in_kernel(case, rng):
    pid = __import__("os").fork()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(case["witness"])
        connection.sendall(b"abc")
        got = connection.recv(10)
    if pid == 0:
        __import__("os")._exit(0)
    __import__("os").waitpid(pid, 0)
    return len(got)
"""


@pytest.fixture(params=["sandbox", "bwrap"])
def session(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bench: Bench,
    request: pytest.FixtureRequest,
) -> Iterator[Session]:
    kit, how = bench.spec.kit, request.param
    (tmp_path / "counting_witness.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    if reason := bwrap_refusal() if how == "bwrap" else sandbox.refusal():
        pytest.skip(f"{how} does not work here: {reason}")
    with server_for(kit, how) as server, Session(KernelSpec(kit, server=server)) as session:
        yield session


def ask(session: Session) -> dict:
    request = {
        "do": "run", "module": "aisys.course", "probe": "witnessed_in_kernel", "most_lost": 1,
        "cases": [{"name": "one", "inputs": {}, "seed": 0}], "witness": "counting_witness",
    }  # fmt: skip
    (outcome,) = session.ask(request, 10)
    return outcome


def test_a_sandboxed_kernel_and_its_children_reach_their_witness(session: Session) -> None:
    assert session.run_cell(nbformat.v4.new_code_cell(PROBE), 10) == ""
    answer = ask(session)
    assert answer["value"]["returned"] == 3
    assert answer["value"]["witnessed"] == {"bytes": 6, "connections": 2, "of": {}}


def test_a_kernel_neither_lists_witnesses_nor_reaches_one_of_another_case(session: Session) -> None:
    session.run_cell(nbformat.v4.new_code_cell(PROBE), 10)
    looking = """
    import os
    kept = []
    def look(case, rng):
        kept.append(case["witness"])
        try:
            return sorted(os.listdir(os.path.dirname(case["witness"])))
        except OSError as error:
            return type(error).__name__
    import aisys.course.probes as probes
    from dataclasses import replace
    probes._probes["witnessed_in_kernel"] = replace(witnessed_in_kernel, function=look)
    """
    session.run_cell(nbformat.v4.new_code_cell(textwrap.dedent(looking)), 10)
    assert ask(session)["value"]["returned"] == "PermissionError"
    again = """
    import socket
    socket.socket(socket.AF_UNIX).connect(kept[0])
    """
    error = session.run_cell(nbformat.v4.new_code_cell(textwrap.dedent(again)), 10)
    assert error.startswith(("FileNotFoundError", "ConnectionRefusedError"))


def test_a_process_outside_of_the_sandbox_is_no_part_of_the_attempt(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run_cell(nbformat.v4.new_code_cell(PROBE), 10)
    real = session._ask

    def disturbed(request, seconds):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(request["witness"])
            with contextlib.suppress(OSError):  # it may be turned away before it has spoken
                stranger.sendall(b"forged")
            return real(request, seconds)

    monkeypatch.setattr(session, "_ask", disturbed)
    assert ask(session)["value"]["witnessed"]["bytes"] == 6
