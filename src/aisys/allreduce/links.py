"""Slow and unequal links for real processes: nodes as network namespaces of Linux.

A node is a network of its own, with an address; a bridge joins the nodes, and what goes into and
out of each is throttled by a token bucket, see tc-tbf(8). Ranks of one node reach each other over
its loopback at full speed. That takes root; without it `why_no_namespaces` says what is missing,
and the simulated clock of `in_process` takes the place of real links.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aisys.course.errors import CourseError

MOST_NODES = 200
_CLONE_NEWNET = 0x40000000
_BURST_BYTES = 128 << 10
_QUEUE_BYTES = 8 << 20  # more than TCP has under way, so that a slow link delays and never drops


@dataclass(frozen=True)
class Node:
    """A node of a network.

    Attributes:
        ranks: How many ranks run on it.
        megabits: What its link carries in each direction, in 10^6 bit/s; None for no limit.
    """

    ranks: int
    megabits: float | None = None


class Network:
    """Nodes joined by throttled links; a context manager that takes them away at its end.

    `launch(..., network=network)` runs the first ranks on the first node, and so on. The namespaces
    have no names: the kernel removes them with the last process that uses them, also where this
    process is killed.

    Args:
        nodes: The nodes; a number stands for a node with so many ranks.
        megabits: What the link of such a node carries in each direction, in 10^6 bit/s.

    Raises:
        CourseError: There can be none here; the message says what is missing.
    """

    def __init__(self, nodes: Sequence[Node | int], megabits: float | None = None) -> None:
        self.nodes = [node if isinstance(node, Node) else Node(node, megabits) for node in nodes]
        _check(self.nodes)
        if missing := why_no_namespaces():
            raise CourseError(f"{missing} The simulated clock of `in_process` has such links, too.")
        self._node_of = [at for at, node in enumerate(self.nodes) for _ in range(node.ranks)]
        self._files: list[int] = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def world_size(self) -> int:
        """How many ranks there is place for."""
        return len(self._node_of)

    def node_of(self, rank: int) -> int:
        """The node that a rank runs on, from 0."""
        return self._node_of[rank]

    def place(self, rank: int) -> tuple[str, str]:
        """Where a rank runs: its address, and the file of its namespace."""
        node = self._node_of[rank]
        return _address(node), f"/proc/{os.getpid()}/fd/{self._files[1 + node]}"

    def close(self) -> None:
        """Take the network away once no rank runs in it; a second call does nothing."""
        while self._files:
            os.close(self._files.pop())

    def _make(self) -> None:
        for _ in range(1 + len(self.nodes)):
            self._files.append(_new_namespace())
        hub, *nodes = self._files
        ip = ["link add bridge type bridge", "link set bridge up"]
        for at, file in enumerate(nodes):
            ip += [
                f"link add node{at} type veth peer name eth0 netns /proc/self/fd/{file}",
                f"link set node{at} master bridge up",
            ]
        _inside(hub, "ip", ip, nodes)
        slow = [at for at, node in enumerate(self.nodes) if node.megabits is not None]
        _inside(hub, "tc", [self._bucket(f"node{at}", at) for at in slow])
        for at, file in enumerate(nodes):
            up = ["link set lo up", f"addr add {_address(at)}/24 dev eth0", "link set eth0 up"]
            _inside(file, "ip", up)
            _inside(file, "tc", [self._bucket("eth0", at)] if at in slow else [])

    def _bucket(self, device: str, node: int) -> str:
        bits = round((self.nodes[node].megabits or 0) * 1e6)
        return (
            f"qdisc add dev {device} root tbf rate {bits}bit "
            f"burst {_BURST_BYTES} limit {_QUEUE_BYTES}"
        )


@functools.cache
def why_no_namespaces() -> str:
    """Why there can be no throttled links between processes here, as sentences; `""` if there can.

    It is tried once in a process.
    """
    if sys.platform != "linux":
        return "Throttled links between processes need Linux."
    missing = [name for name in ("ip", "tc", "nsenter") if shutil.which(name) is None]
    if missing:
        return (
            f"Throttled links between processes need {', '.join(missing)}, which is not installed "
            "(Debian's packages iproute2 and util-linux)."
        )
    try:
        file = _new_namespace()
    except OSError as error:
        return f"Throttled links between processes need root ({error.strerror})."
    try:
        _inside(file, "ip", ["link add one type veth peer name two", "link add hub type bridge"])
        _inside(
            file, "tc", [f"qdisc add dev one root tbf rate 1mbit burst {_BURST_BYTES} limit 1mb"]
        )
    except CourseError as error:
        return f"This kernel has no throttled links: {error}"
    finally:
        os.close(file)
    return ""


def _check(nodes: Sequence[Node]) -> None:
    if not 1 <= len(nodes) <= MOST_NODES:
        raise CourseError(f"A network has 1 to {MOST_NODES} nodes; this has {len(nodes)}.")
    for at, node in enumerate(nodes):
        if node.ranks < 1:
            raise CourseError(f"A node has at least one rank; node {at} has {node.ranks}.")
        if node.megabits is not None and not 0.1 <= node.megabits <= 1e5:
            raise CourseError(
                f"A link carries 0.1 to 100,000 Mbit/s; that of node {at} has {node.megabits:g}."
            )


def _address(node: int) -> str:
    return f"10.0.0.{node + 1}"


def _new_namespace() -> int:
    """A descriptor of a new network namespace; raises OSError where that is refused.

    A namespace belongs to a thread, so one that ends right away makes it.
    """
    found: list[int | OSError] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(_CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _inside(namespace: int, program: str, lines: Sequence[str], files: Sequence[int] = ()) -> None:
    """Run lines of `ip` or `tc` in a namespace; raises CourseError with what the program says."""
    if not lines:
        return
    done = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{namespace}", program, "-batch", "-"],
        input="\n".join(lines) + "\n",
        pass_fds=(namespace, *files),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CourseError(f"`{program}` said: {' '.join(done.stderr.split())}.")
