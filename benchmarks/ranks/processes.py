"""Our references over both transports and Gloo, taking turns in the same processes."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.hierarchy import hierarchical_allreduce
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.shared_memory import SharedMemoryTransport
from aisys.allreduce.transport import Transport

ADDRESS_BYTES = 256
Call = Callable[[np.ndarray], Any]


def timed(
    transport: Transport, ranks_per_node: int, sizes: list[int], repeats: int
) -> dict[str, list[list[float]]]:
    """Seconds of every system, [sizes, repeats], as this rank saw them; the first does not count.

    Args:
        transport: This rank's, over TCP.
        ranks_per_node: The hierarchy's.
        sizes: Bytes of the array, float32.
        repeats: How many count.
    """
    with SharedMemoryTransport(
        transport.rank, transport.world_size, partial(_meet, transport), transport.timeout
    ) as shared:
        systems: dict[str, Call] = {}
        for name, way in (("TCP", transport), ("shared memory", shared)):
            systems[f"ring, {name}"] = partial(ring_allreduce, way)
            systems[f"hierarchy, {name}"] = partial(
                hierarchical_allreduce, way, ranks_per_node=ranks_per_node
            )
        systems["Gloo"] = _gloo(transport)
        seconds: dict[str, list[list[float]]] = {name: [] for name in systems}
        for nbytes in sizes:
            data = np.ones(nbytes // 4, np.float32)
            for times in seconds.values():
                times.append([])
            for number in range(1 + repeats):
                for name, call in systems.items():
                    transport.barrier()
                    begin = time.perf_counter()
                    call(data)
                    if number:
                        seconds[name][-1].append(time.perf_counter() - begin)
                data[:] = 1  # Gloo has put the sum there
    return seconds


def _gloo(transport: Transport) -> Call:
    """Gloo's all-reduce, in place, by a process group of the transport's ranks."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    limit, is_first = timedelta(seconds=transport.timeout), transport.rank == 0
    store = dist.TCPStore("127.0.0.1", 0, None, True, limit, False) if is_first else None
    port = int(_meet(transport, str(store.port) if store is not None else "")[0])
    store = store or dist.TCPStore("127.0.0.1", port, None, False, limit)
    group: Any = dist.ProcessGroupGloo(store, transport.rank, transport.world_size, limit)
    return lambda array: group.allreduce(torch.from_numpy(array)).wait()


def _meet(transport: Transport, text: str) -> list[str]:
    """Everybody's text, in the order of the ranks."""
    mine, texts = np.zeros(ADDRESS_BYTES, np.uint8), [text] * transport.world_size
    mine[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    others = [rank for rank in range(transport.world_size) if rank != transport.rank]
    received = {rank: np.empty_like(mine) for rank in others}
    requests = [transport.irecv(received[rank], rank) for rank in others]
    requests += [transport.isend(mine, rank) for rank in others]
    for request in requests:
        request.wait()
    for rank, array in received.items():
        texts[rank] = array.tobytes().rstrip(b"\0").decode()
    return texts
