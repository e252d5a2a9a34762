"""The transport over torch.distributed: groups of its own and of others, and ranks that die."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import aisys
from aisys.allreduce.torch_transport import TorchTransport
from aisys.allreduce.transport import TransportError
from tests.support import rank_programs as programs

ROOT = Path(__file__).parents[2]

KILLED = """
import json, sys
import torch.distributed as dist
from aisys.allreduce.torch_transport import TorchTransport
from tests.support.rank_programs import killed
rank, store, who = int(sys.argv[1]), dist.FileStore(sys.argv[2], 3), int(sys.argv[3])
with TorchTransport.connect(store, rank, 3) as transport:
    print(json.dumps(killed(transport, who, 2, 4)))
"""

DEFAULT_GROUP = """
import json, sys
import numpy as np
import torch.distributed as dist
from aisys.allreduce.torch_transport import TorchTransport
from tests.support.rank_programs import ring_sum
rank, store = int(sys.argv[1]), dist.FileStore(sys.argv[2], 3)
dist.init_process_group("gloo", store=store, rank=rank, world_size=3)
with TorchTransport() as transport:
    x = ring_sum(transport, 10, "int64")
dist.barrier()
dist.destroy_process_group()
print(json.dumps(x.tolist()))
"""


def processes(script: str, store: Path, *arguments: object) -> list[subprocess.Popen]:
    """Three ranks, each a process of its own."""
    paths = f"{Path(aisys.__file__).parents[1]}:{ROOT}"
    return [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(store), *map(str, arguments)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(3)
    ]


def answers(ranks: list[subprocess.Popen]) -> list[dict]:
    said = [rank.communicate(timeout=60)[0] for rank in ranks]
    return [json.loads(line) for line in said if line]


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_dies_is_named_by_all_others(who, tmp_path: Path):
    said = answers(processes(KILLED, tmp_path / "store", who))
    assert [each["rank"] for each in said] == [who] * 2
    assert all(f"Rank {who} died or has left" in each["error"] for each in said)


@pytest.mark.slow
def test_the_group_that_init_process_group_made_is_the_default(tmp_path: Path):
    said = answers(processes(DEFAULT_GROUP, tmp_path / "store"))
    terms = [programs.sample(rank, (10,), np.dtype(np.int64)) for rank in range(3)]
    with np.errstate(over="ignore"):
        assert said == [sum(terms, np.zeros(10, np.int64)).tolist()] * 3


def test_a_group_of_somebody_else_outlives_the_transport():
    store = dist.HashStore()

    def be(rank: int) -> float:
        group = dist.ProcessGroupGloo(store, rank, 2, timedelta(seconds=30))
        with TorchTransport(group, store) as transport:
            assert programs.ring_of_large(transport, 1000)
        x = torch.ones(1)
        group.allreduce([x]).wait()
        return float(x)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(be, range(2))) == [2.0, 2.0]


def test_without_a_process_group_one_sentence_says_what_to_call():
    with pytest.raises(TransportError, match="call init_process_group first"):
        TorchTransport()


def test_a_transport_that_was_closed_says_so():
    store = dist.HashStore()

    def be(rank: int) -> str:
        transport = TorchTransport.connect(store, rank, 2)
        transport.close()
        transport.close()
        with pytest.raises(TransportError) as caught:
            transport.recv(np.empty(1), 1 - rank)
        return str(caught.value)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(be, range(2))) == ["Rank 0 has left.", "Rank 1 has left."]


def test_a_rank_that_never_comes_is_named():
    with pytest.raises(TransportError, match="Rank 1 did not come within 0.2 s") as caught:
        TorchTransport.connect(dist.HashStore(), 0, 2, timeout=0.2)
    assert caught.value.rank == 1
