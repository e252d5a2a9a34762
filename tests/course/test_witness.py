"""Witnesses: what an attempt does is counted by a process that it cannot reach."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aisys.course import Case, CourseError, probe
from aisys.course.probes import _probes, run_case
from aisys.course.witness import Witnesses, WitnessLost, namespace_of

COUNTER = '''
import os, select


def witness(listener, over, inputs):
    """Counts connections and bytes, from as many as come."""
    if inputs.get("crash") == "at once":
        os._exit(3)
    count, connections = 0, []
    while True:
        ready, _, _ = select.select([listener, over, *connections], [], [])
        for each in ready:
            if each is over:
                return {"bytes": count, "connections": len(connections), "of": inputs}
            if each is listener:
                connection = listener.accept()
                connections += [connection] if connection else []
            elif data := each.recv(1000):
                count += len(data)
                each.sendall(b"x" * len(data))
                if inputs.get("crash") == "later":
                    raise ValueError("as wished")
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "counting_witness.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "counting_witness"


@pytest.fixture
def witnesses(module: str, tmp_path: Path) -> Iterator[Witnesses]:
    before = set(psutil.Process().children(recursive=True))
    made = Witnesses(module, tmp_path)
    yield made
    made.close()
    assert set(psutil.Process().children(recursive=True)) <= before


def talk(address: str, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(data)
        return connection.recv(1000)


def test_a_witness_counts_one_case_and_the_next_begins_anew(witnesses: Witnesses) -> None:
    with witnesses.of_case({"n": 1}) as witness:
        talk(witness.address, b"abc")
        talk(witness.address, b"de")
        assert witness.report() == {"bytes": 5, "connections": 2, "of": {"n": 1}}
    with witnesses.of_case({}) as witness:
        assert witness.report()["bytes"] == 0


def test_too_long_a_path_is_said(module: str, tmp_path: Path) -> None:
    made = Witnesses(module, tmp_path / ("x" * 100))
    with pytest.raises(WitnessLost, match="set TMPDIR"), made.of_case({}):
        pass
    made.close()


def test_nobody_connects_after_the_case(witnesses: Witnesses, tmp_path: Path) -> None:
    with witnesses.of_case({}) as witness:
        talk(witness.address, b"abc")
    with pytest.raises(OSError):
        talk(witness.address, b"abc")
    assert not Path(witness.address).exists()


def test_a_process_of_another_namespace_is_not_admitted(witnesses: Witnesses) -> None:
    mine = namespace_of(os.getpid())
    with witnesses.of_case({}, mine) as witness:
        assert talk(witness.address, b"abc") == b"xxx"
    with witnesses.of_case({}, mine + 1) as witness:
        with pytest.raises(OSError):
            assert not talk(witness.address, b"abc"), "it was served"
            raise ConnectionResetError
        assert witness.report()["bytes"] == 0


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_lost_witness_is_said_and_the_next_case_has_another(
    witnesses: Witnesses, when: str
) -> None:
    with witnesses.of_case({"crash": when}) as witness:
        if when == "later":
            talk(witness.address, b"abc")
        with pytest.raises(WitnessLost, match="failed"):
            witness.report()
    with witnesses.of_case({}) as witness:
        assert witness.report()["bytes"] == 0


def test_what_is_judged_is_what_was_returned_and_what_was_counted(module: str) -> None:
    case = Case("three bytes", {"n": 3})

    @probe("1.3 im2col", cases=[case], witness=module)
    def witnessed_probe(case, rng):
        if case["n"] < 0:
            raise CourseError("no")
        return len(talk(case["witness"], b"x" * case["n"]))

    try:
        outcome = run_case(witnessed_probe, case)
        counted = {"bytes": 3, "connections": 1, "of": {"n": 3}}
        assert outcome.value == {"returned": 3, "witnessed": counted}
        failed = run_case(witnessed_probe, Case("none", {"n": -1}))
        assert (failed.status, failed.value) == ("raised", None)
    finally:
        del _probes["witnessed_probe"]
