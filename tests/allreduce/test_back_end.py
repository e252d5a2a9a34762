"""The back end `aisys`: what torch.distributed calls, and DDP on it, in processes and threads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import aisys
from aisys.allreduce import back_end
from aisys.allreduce.back_end import AisysGroup, CheckedGroup
from aisys.allreduce.checks.real_systems import CLOSE
from aisys.allreduce.in_process import run
from aisys.allreduce.mpi_program import mpi_seconds
from aisys.allreduce.mpi_transport import why_no_mpi
from aisys.allreduce.real_system_experiments import (
    GLOO,
    WAYS,
    bytes_by_ranks,
    shown,
    table_of_systems,
    train_ddp,
)
from aisys.allreduce.transport import Transport
from aisys.course.errors import CourseError

ROOT = Path(__file__).parents[2]

PROCESS = """
import json, sys
import torch
import torch.distributed as dist
from aisys.allreduce import back_end
rank, name = int(sys.argv[1]), back_end.register()
store = dist.FileStore(sys.argv[2], 3)
dist.init_process_group(name, store=store, rank=rank, world_size=3)
x = torch.full((4,), float(rank))
dist.all_reduce(x)
y = torch.tensor([[rank, 7]])
dist.broadcast(y, 2)
parts = [torch.zeros(2) for _ in range(3)]
dist.all_gather(parts, torch.full((2,), float(rank)))
dist.barrier()
z = torch.zeros(3, dtype=torch.int64)
if rank == 0:
    dist.send(torch.tensor([5, 6, 7]), 1)
elif rank == 1:
    dist.recv(z, 0)
parameter = torch.nn.Parameter(torch.full((2,), float(rank)))
dist.all_reduce(parameter, op=dist.ReduceOp.AVG)
name = dist.get_backend()
dist.destroy_process_group()
print(json.dumps([name, x.tolist(), y.tolist(), torch.stack(parts)[:, 0].tolist(), z.tolist(),
                  parameter.tolist()]))
"""


def options(operation: Any) -> dist.AllreduceOptions:
    made = dist.AllreduceOptions()
    made.reduceOp = operation
    return made


@pytest.mark.slow
def test_torch_distributed_works_on_it_in_processes(tmp_path: Path) -> None:
    paths = f"{Path(aisys.__file__).parents[1]}:{ROOT}"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(3)
    ]
    said = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    for rank, (name, total, sent, parts, received, average) in enumerate(said):
        assert name == "aisys" and total == [3.0] * 4 and sent == [[2, 7]]
        assert parts == [0, 1, 2] and average == [1, 1]
        assert received == ([5, 6, 7] if rank == 1 else [0, 0, 0])


def test_every_tensor_is_filled_in_its_own_memory() -> None:
    def program(transport: Transport) -> list[torch.Tensor]:
        grid = torch.zeros(4, 2)
        tensors = [torch.ones(3), grid[:, 1]]
        grid[:, 1] = transport.rank
        given = list(tensors)
        work = AisysGroup(transport).allreduce(tensors, options(dist.ReduceOp.SUM))
        assert work.wait() and work.is_completed() and work.get_future().done()
        return [given[0], grid]

    for ones, grid in run(3, program).results:
        assert ones.tolist() == [3, 3, 3]
        assert grid.tolist() == [[0, 3]] * 4


def test_an_operation_that_is_not_there_is_refused_before_anything_is_sent() -> None:
    def program(transport: Transport) -> str:
        with pytest.raises(NotImplementedError) as caught:
            AisysGroup(transport).allreduce([torch.ones(2)], options(dist.ReduceOp.MAX))
        return str(caught.value)

    done = run(2, program)
    assert "SUM and AVG only" in done.results[0] and done.trace.messages == ()


def test_an_all_gather_sends_no_part_twice() -> None:
    def program(transport: Transport) -> list[list[float]]:
        outputs = [torch.zeros(5) for _ in range(4)]
        AisysGroup(transport).allgather([outputs], [torch.full((5,), float(transport.rank))])
        return [each.tolist() for each in outputs]

    done = run(4, program)
    assert all(found == [[float(rank)] * 5 for rank in range(4)] for found in done.results)
    assert set(done.trace.bytes_sent) == {3 * 20}


def test_the_same_name_can_be_registered_again_and_dropped() -> None:
    name = back_end.fresh_name()
    assert name != back_end.fresh_name()
    before = len(dist.Backend.backend_list)
    for _ in range(2):
        assert back_end.register(name) == name
        assert dist.Backend(name) == name and dist.is_backend_available(name)
    back_end.drop(name)
    back_end.drop(name)
    assert not dist.is_backend_available(name)
    assert len(dist.Backend.backend_list) == before


def test_the_verdict_refuses_gradients_that_went_another_way() -> None:
    trained = [{"values": np.ones(2), "dtype": "float64"} for _ in range(2)]
    run = {"messages": [2, 2], "bytes": [80, 80], "steps": 2, "unreceived": 0}
    good = {"returned": trained, "witnessed": [run]}
    assert CLOSE(good, good) is None
    for sent, kind in (([80, 0], "too few bytes"), ([80, 160], "too many bytes")):
        found = CLOSE({**good, "witnessed": [{**run, "bytes": sent}]}, good)
        assert found is not None and found.kind == kind


@pytest.mark.slow
def test_ddp_trains_alike_with_gloo_with_the_hook_and_on_the_back_end() -> None:
    trained = train_ddp(steps=3, batch=4)
    assert tuple(trained) == WAYS
    for way in WAYS:
        np.testing.assert_allclose(trained[way].weights, trained[GLOO].weights, atol=1e-6)
        assert len(trained[way].losses) == 3 and trained[way].seconds > 0


@pytest.mark.slow
def test_the_table_has_a_row_for_each_system_that_is_here_and_says_what_is_missing() -> None:
    sizes = {1 << 10: 2, 1 << 20: 1}
    table = table_of_systems(2, sizes)
    here = {"ours, shared memory", "ours, TCP", "ours, Gloo's messages", "Gloo"}
    assert here <= set(table.seconds)
    assert all(set(times) == set(sizes) for times in table.seconds.values())
    missing = why_no_mpi()
    assert missing is None or f"Without MPI: {missing}" in table.notes
    text = shown({2: table, 1000: table})
    assert "1000 ranks  oversubscribed" in text and text.count("Gloo's messages") == 2
    assert all(text.count(note) == 1 for note in table.notes)


@pytest.mark.slow
@pytest.mark.skipif(why_no_mpi() is not None, reason=str(why_no_mpi()))
def test_our_ring_runs_under_mpirun_beside_mpi() -> None:
    by_rank = mpi_seconds(2, {1 << 10: 2, 1 << 20: 1})
    assert all(rank["equal"] and "4.3 ring_allreduce" in rank["called"] for rank in by_rank)


def test_gathered_payloads_grow_with_the_ranks_and_sums_do_not() -> None:
    sent = bytes_by_ranks([2, 8])
    assert sent["float16, ring"] == pytest.approx([2.0, 3.5], rel=0.01)
    assert sent["int8, all-gather"] == pytest.approx([1.0, 7.0], rel=0.03)


@pytest.mark.parametrize(("returned", "named"), [(None, "nothing"), ([], "a list")])
def test_a_method_that_returns_no_work_is_refused_before_torch_crashes_over_it(
    monkeypatch: pytest.MonkeyPatch, returned: object, named: str
) -> None:
    for method in ("allreduce", "broadcast", "allgather"):
        monkeypatch.setattr(AisysGroup, method, lambda *given: returned)

    def program(transport: Transport) -> list[str]:
        group, one = CheckedGroup(transport), [torch.ones(2)]
        said = []
        for call in (
            lambda: group.allreduce(one, dist.AllreduceOptions()),
            lambda: group.broadcast(one, dist.BroadcastOptions()),
            lambda: group.allgather([one], one),
        ):
            with pytest.raises(CourseError) as caught:
                call()
            said.append(str(caught.value))
        return said

    for said in run(1, program).results[0]:
        assert f"returned {named}; it has to `return Done(...)`." in said
