"""Throttled links between processes: nodes as network namespaces, where root allows."""

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from aisys.allreduce import links
from aisys.allreduce.launcher import launch
from aisys.allreduce.links import Network, Node, why_no_namespaces
from aisys.course.errors import CourseError
from tests.support import launched, rank_programs

needs_namespaces = pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())
SIZE = 1_000_000


@pytest.fixture
def untried() -> Iterator[None]:
    """What was found out about this machine is forgotten, before and after."""
    links.why_no_namespaces.cache_clear()
    yield
    links.why_no_namespaces.cache_clear()


def send_from_0_to(transport, to: int) -> bool:
    out = np.empty(SIZE, np.uint8)
    if transport.rank == 0:
        transport.send(np.ones(SIZE, np.uint8), to)
    elif transport.rank == to:
        transport.recv(out, 0)
    transport.barrier()
    return True


def buckets(network: Network, inside: int) -> dict[str, dict]:
    """The token buckets of the hub (0) or a node (from 1), by device: rate and bytes passed."""
    said = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{network._files[inside]}", "tc", "-j", "-s", "qdisc"],
        pass_fds=network._files,
        capture_output=True,
        check=True,
    )
    return {one["dev"]: one for one in json.loads(said.stdout) if one["kind"] == "tbf"}


@needs_namespaces
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_ranks_on_nodes_give_the_results_of_ranks_on_one(start):
    with Network([2, 1, 1]) as network:
        assert [network.node_of(rank) for rank in range(4)] == [0, 0, 1, 2]
        program = rank_programs.ring_sum
        apart = launch(4, program, 1001, "float64", network=network, start=start)
    assert np.array_equal(apart, launch(4, program, 1001, "float64"))


@needs_namespaces
def test_each_link_is_throttled_to_its_own_rate_in_both_directions():
    with Network([Node(1, 10), Node(1, 250), Node(1)]) as network:
        rates = {dev: one["options"]["rate"] for dev, one in buckets(network, 0).items()}
        assert rates == {"node0": 10e6 / 8, "node1": 250e6 / 8}
        inside = [buckets(network, 1 + node) for node in range(3)]
        rates_inside = [[one["options"]["rate"] for one in each.values()] for each in inside]
        assert rates_inside == [[10e6 / 8], [250e6 / 8], []]


@needs_namespaces
def test_only_what_goes_between_nodes_passes_their_links():
    with Network([2, 1], megabits=1000) as network:
        launch(3, send_from_0_to, 1, network=network)
        assert buckets(network, 1)["eth0"]["bytes"] < SIZE / 10
        launch(3, send_from_0_to, 2, network=network)
        assert buckets(network, 1)["eth0"]["bytes"] > SIZE
        assert buckets(network, 0)["node1"]["bytes"] > SIZE


@needs_namespaces
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_a_network_leaves_nothing_behind_also_after_an_error():
    with pytest.raises(CourseError, match="Rank 1"), Network([1, 1], megabits=100) as network:
        launch(2, launched.raises, 1, network=network)
    with pytest.raises(ValueError, match="mine"), Network([1, 1]):
        raise ValueError("mine")


@needs_namespaces
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_a_network_that_cannot_be_made_leaves_nothing_behind(monkeypatch):
    run, calls = links._inside, []

    def fail_later(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise CourseError("no")
        run(*arguments)

    monkeypatch.setattr(links, "_inside", fail_later)
    with pytest.raises(CourseError, match="no"):
        Network([1, 1], megabits=100)


@needs_namespaces
def test_what_does_not_fit_a_network_is_refused_in_a_sentence():
    with Network([1, 1]) as network:
        with pytest.raises(CourseError, match="place for 2 ranks, not for 3"):
            launch(3, launched.says_its_rank, network=network)
        with pytest.raises(CourseError, match="joined by TCP"):
            launch(2, launched.says_its_rank, network=network, transport="shared")


@pytest.mark.parametrize(
    "nodes, words",
    [
        ([], "1 to 200 nodes; this has 0"),
        ([2, 0], "node 1 has 0"),
        ([Node(1, -5)], "that of node 0 has -5"),
    ],
)
def test_nodes_that_cannot_be_are_refused_in_a_sentence(nodes, words):
    with pytest.raises(CourseError, match=words):
        Network(nodes)


@pytest.mark.usefixtures("untried")
@pytest.mark.skipif(sys.platform != "linux", reason="says that Linux is needed")
def test_a_machine_without_the_tools_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "need ip, tc, nsenter, which" in why_no_namespaces()
    with pytest.raises(CourseError, match="simulated clock"):
        Network([1, 1])


@pytest.mark.usefixtures("untried")
@pytest.mark.skipif(sys.platform != "linux", reason="says that Linux is needed")
def test_a_user_who_may_not_is_told_so(monkeypatch):
    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(links, "_new_namespace", refuse)
    monkeypatch.setattr(links.shutil, "which", lambda name: name)
    assert why_no_namespaces().endswith("need root (Operation not permitted).")
