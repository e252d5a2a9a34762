"""Our all-reduce as DDP's hook: tensors of all kinds, and the same training as with Gloo."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aisys.allreduce.checks.real_systems import close, gloo_group, no_active_ddp, warm_up
from aisys.allreduce.ddp_hook import HookState, allreduce_hook, allreduce_tensor, as_array
from aisys.allreduce.doubling import halving_doubling_allreduce
from aisys.allreduce.in_process import run
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.torch_transport import TorchTransport
from aisys.allreduce.transport import Transport


def on_threads(ranks: int, program: Any) -> list[Any]:
    """Run a program on every rank over Gloo: `program(rank, transport, store)`."""
    warm_up()
    store, results = dist.HashStore(), [None] * ranks

    def be(rank: int) -> None:
        messages = dist.PrefixStore("messages", store)
        with TorchTransport.connect(messages, rank, ranks) as transport:
            results[rank] = program(transport, store)
            transport.barrier()

    threads = [threading.Thread(target=be, args=(rank,)) for rank in range(ranks)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    return results


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
)
def test_a_tensor_keeps_its_shape_and_dtype(dtype: torch.dtype) -> None:
    def program(transport: Transport) -> torch.Tensor:
        mine = (torch.arange(6).reshape(2, 3) + transport.rank).to(dtype).T
        total = allreduce_tensor(transport, mine)
        assert torch.equal(mine, (torch.arange(6).reshape(2, 3) + transport.rank).to(dtype).T)
        return total

    for total in run(3, program).results:
        assert (total.dtype, total.shape) == (dtype, (3, 2))
        assert torch.equal(total.double(), 3 * torch.arange(6.0).reshape(2, 3).T.double() + 3)


@pytest.mark.parametrize(
    "tensor", [torch.zeros(0, 3), torch.tensor(2.5), nn.Parameter(torch.ones(2))]
)
def test_empty_tensors_numbers_and_parameters_are_summed(tensor: torch.Tensor) -> None:
    for total in run(2, allreduce_tensor, tensor).results:
        assert torch.equal(total, 2 * tensor.detach()) and total.shape == tensor.shape


def test_an_array_shares_the_memory_of_its_tensor_unless_numpy_lacks_the_dtype() -> None:
    tensor = torch.zeros(3)
    as_array(tensor)[0] = 1
    assert tensor[0] == 1
    assert as_array(torch.tensor([0.1], dtype=torch.bfloat16)).dtype == np.float32


def trained(transport: Transport, store: dist.Store, allreduce: Any, bucket_mb: float) -> list:
    """The weights after three steps of DDP, with a hook or (None) with Gloo alone."""
    rank = transport.rank
    group = gloo_group(dist.PrefixStore("ddp", store), rank, transport.world_size)
    torch.manual_seed(0)
    with torch.random.fork_rng():
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        for number, each in enumerate(network.parameters()):
            each.copy_(torch.linspace(-1, 1 + number, each.numel()).reshape(each.shape))
    model = DistributedDataParallel(network, process_group=group, bucket_cap_mb=bucket_mb)
    if allreduce is not None:
        model.register_comm_hook(HookState(transport, allreduce), allreduce_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        x = torch.linspace(rank, step + 1, 12, dtype=torch.float64).reshape(3, 4)
        model(x).square().mean().backward()
        optimizer.step()
    return [each.detach().numpy().copy() for each in network.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("bucket_mb", [25, 1e-4])
@pytest.mark.parametrize("allreduce", [ring_allreduce, halving_doubling_allreduce])
def test_ddp_trains_with_the_hook_as_it_does_without(allreduce: Any, bucket_mb: float) -> None:
    def both(transport: Transport, store: dist.Store) -> tuple[list, list]:
        own = trained(transport, dist.PrefixStore("a", store), allreduce, bucket_mb)
        return own, trained(transport, dist.PrefixStore("b", store), None, bucket_mb)

    with no_active_ddp():
        found = on_threads(3, both)
    for own, theirs in found:
        for mine, first, other in zip(own, found[0][0], theirs, strict=True):
            assert mine.tobytes() == first.tobytes()
            np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-14)


def test_the_verdict_knows_the_digits_of_each_dtype() -> None:
    def told(value: float, dtype: str) -> list:
        return [{"values": np.array([value]), "dtype": dtype}]

    assert close(told(1 + 1e-3, "float16"), told(1, "float16")) is None
    assert close(told(1 + 1e-3, "float32"), told(1, "float32")) is not None
    assert close(told(1, "float32"), told(1, "bfloat16")) is not None
    assert close([], told(1, "float32")) is not None


def test_a_check_leaves_no_model_of_ddp_active_for_whoever_compiles_next() -> None:
    with no_active_ddp():
        DistributedDataParallel._active_ddp_module = object()  # as threads that take turns leave it
    assert DistributedDataParallel._active_ddp_module is None
