"""Does it pay: Amdahl's law for an operator in a model, and the operator put into its graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from aisys.course import exercise

Operator = Callable[[Tensor, Tensor, Tensor], Tensor]


@exercise("2.8", points=1.5)
def predict_speedup(
    seconds: Mapping[str, float], replaced: Sequence[str], factor: float, overhead: float = 0.0
) -> dict[str, float]:
    """Amdahl's law: what becomes of a model when some of its operators become faster.

    Amdahl, *Validity of the single processor approach*, AFIPS 1967.

    Args:
        seconds: The time of each kind of operator in one step, by name; together, the step.
        replaced: The kinds that the new operator replaces.
        factor: The new operator's speed-up: the time of those it replaces divided by its own.
        overhead: Seconds a step that come on top with it, such as for calling it.

    Returns:
        `share`, the replaced part of the step's time; `speedup`, the step's time before divided by
        that after; and `limit`, what the speed-up cannot exceed however large the factor is, with
        the overhead (`inf` where nothing would be left).
    """
    total = sum(seconds.values())
    part = sum(seconds[name] for name in replaced)
    rest = total - part + overhead
    return {
        "share": part / total,
        "speedup": total / (rest + part / factor),
        "limit": total / rest if rest > 0 else float("inf"),
    }


@exercise("2.8", points=3)
def place_linear_gelu(module: fx.GraphModule, operator: Operator) -> int:
    """Replace `F.gelu(F.linear(x, weight, bias))` in a traced module by one call of an operator.

    A pair is replaced only where the result stays the same and nothing is computed twice: the
    linear layer has a bias (as the third argument or by keyword, and not None), the GELU is the
    exact one, and nothing but the GELU uses the linear layer's result. Both nodes leave the graph.

    Args:
        module: A traced module; its graph is changed in place, linted, and recompiled.
        operator: Called with (x, weight, bias).

    Returns:
        The number of pairs that were replaced.
    """
    graph, count = module.graph, 0
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not F.gelu:
            continue
        layer = node.args[0] if node.args else node.kwargs["input"]
        if node.kwargs.get("approximate", "none") != "none":
            continue
        if not isinstance(layer, fx.Node) or layer.target is not F.linear or len(layer.users) != 1:
            continue
        named = dict(zip(("input", "weight", "bias"), layer.args, strict=False)) | layer.kwargs
        if named.get("bias") is None:
            continue
        with graph.inserting_before(node):
            arguments = (named["input"], named["weight"], named["bias"])
            fused = graph.call_function(operator, arguments)
        node.replace_all_uses_with(fused)
        graph.erase_node(node)
        graph.erase_node(layer)
        count += 1
    graph.lint()
    module.recompile()
    return count


class TransformerBlock(nn.Module):
    """A block of a transformer: attention, then two layers with GELU between, both residual.

    Args:
        width: Features of a token.
        heads: Attention heads.
        seed: Of the weights.
    """

    def __init__(self, width: int = 128, heads: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.heads = heads
        generator = torch.Generator().manual_seed(seed)

        def weights(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) / columns**0.5)

        self.attend, self.merge = weights(3 * width, width), weights(width, width)
        self.widen, self.narrow = weights(4 * width, width), weights(width, 4 * width)
        self.widen_bias = nn.Parameter(torch.zeros(4 * width))
        self.narrow_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, tokens, width]; the result has the same shape."""
        batch, tokens, width = x.shape
        normal = F.layer_norm(x, (self.merge.shape[0],))
        heads = F.linear(normal, self.attend).reshape(batch, tokens, 3 * self.heads, -1)
        query, key, value = heads.transpose(1, 2).chunk(3, 1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = x + F.linear(mixed.transpose(1, 2).reshape(batch, tokens, width), self.merge)
        normal = F.layer_norm(x, (self.merge.shape[0],))
        hidden = F.gelu(F.linear(normal, self.widen, self.widen_bias))
        return x + F.linear(hidden, self.narrow, self.narrow_bias)


class LeNetGELU(nn.Module):
    """LeNet of Lab 1 with GELU in the places of its last ReLUs, so that the operator fits."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        sizes = (400, 120, 84, 10)
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
        self.weights = nn.ParameterList([layer.weight for layer in layers])
        self.biases = nn.ParameterList([layer.bias for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, 1, 28, 28]; the result is [batch, 10]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        x = F.gelu(F.linear(x, self.weights[0], self.biases[0]))
        x = F.gelu(F.linear(x, self.weights[1], self.biases[1]))
        return F.linear(x, self.weights[2], self.biases[2])


def traced_with(model: nn.Module, operator: Any | None) -> fx.GraphModule:
    """A model as a traced module, with an operator in its places, or as it is (None)."""
    module = fx.symbolic_trace(model)
    if operator is not None:
        place_linear_gelu(module, operator)
    return module
