"""Stage 2.5: hidden cases, mistakes and alternatives of memory and precision."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.memory import FUNCTIONS, recomputing_case, scaling_case
from autograder.catalogue import Alternative, Mistake


def seed(rng: np.random.Generator) -> int:
    """A seed for a case."""
    return int(rng.integers(2**31))


def kept(rng: np.random.Generator) -> list[Case]:
    """Every function, at random sizes."""
    return [
        Case(
            f"hidden {number}: {name}",
            {"function": name, "size": int(rng.integers(3, 7))},
            seed(rng),
        )
        for number, name in enumerate(FUNCTIONS, 1)
    ]


def layers(rng: np.random.Generator) -> list[Case]:
    """Layers of random sizes, with every choice of what needs a gradient."""
    a, b, c = (int(size) for size in rng.permutation([2, 3, 4])[:3])
    return [
        recomputing_case(f"hidden 1: x {[a, b]}", seed(rng), [a, b], c),
        recomputing_case(f"hidden 2: x {[c, a, b]}", seed(rng), [c, a, b], 5, upstream="expanded"),
        recomputing_case(f"hidden 3: x {[b]}", seed(rng), [b], a),
        recomputing_case(
            "hidden 4: a frozen bias", seed(rng), [b, c], b, needs=[True, True, False]
        ),
        recomputing_case(
            "hidden 5: a first layer", seed(rng), [c, c], c, needs=[False, True, True]
        ),
        recomputing_case(
            "hidden 6: only the bias", seed(rng), [a, c], b, needs=[False, False, True]
        ),
        recomputing_case("hidden 7: no row", seed(rng), [a, 0, b], c),
    ]


def in_place(rng: np.random.Generator) -> list[Case]:
    """Shapes, layouts and slopes."""
    a, b = (int(size) for size in rng.permutation([3, 4, 5])[:2])
    ways = [([a], 0.01, "contiguous"), ([a, b], 0.3, "transposed"), ([2, b, a], 1.5, "contiguous")]
    return [
        Case(
            f"hidden {number}: {shape}, slope {slope}",
            {"shape": shape, "slope": slope, "layout": layout},
            seed(rng),
        )
        for number, (shape, slope, layout) in enumerate(ways, 1)
    ]


def changes(rng: np.random.Generator) -> list[Case]:
    """The three situations with other numbers."""
    return [
        Case(f"hidden {number}: saved {saved}", {"saved": saved}, seed(rng))
        for number, saved in enumerate(("before", "after", "nowhere"), 1)
    ]


def shares(rng: np.random.Generator) -> list[Case]:
    """Gradients of several sizes in both dtypes, with and without zeros."""
    ways = [
        ("float16", 1e-7, 1.0, 0.0),
        ("float16", 1e-8, 64.0, 0.3),
        ("float16", 1e-3, 2.0**24, 0.0),
        ("float16", 1e-1, 2.0**20, 0.7),
        ("bfloat16", 1e-7, 1.0, 0.2),
        ("float16", 1.0, 1.0, 1.0),
    ]
    return [
        Case(
            f"hidden {number}: {dtype}, size {size:g}, scale {scale:g}",
            {"dtype": dtype, "size": size, "scale": scale, "zeros": zeros},
            seed(rng),
        )
        for number, (dtype, size, scale, zeros) in enumerate(ways, 1)
    ]


def losses(rng: np.random.Generator) -> list[Case]:
    """Powers of two."""
    return [
        Case(f"hidden {number}", {"scale": 2.0 ** int(rng.integers(1, 20))}, seed(rng))
        for number in range(1, 4)
    ]


def steps(rng: np.random.Generator) -> list[Case]:
    """Runs of good steps of random length between overflows."""

    def run(most: int) -> list[str]:
        return ["good"] * int(rng.integers(2, most))

    return [
        scaling_case("hidden 1: good steps", seed(rng), run(5)),
        scaling_case("hidden 2: one overflow", seed(rng), [*run(4), "inf", *run(4)]),
        scaling_case("hidden 3: not a number", seed(rng), ["nan", *run(4)], 2),
        scaling_case("hidden 4: growth", seed(rng), ["good"] * int(rng.integers(5, 8)), 2),
        scaling_case("hidden 5: both", seed(rng), ["good"] * 5 + ["-inf"] + ["good"] * 5, 3),
        scaling_case("hidden 6: two overflows", seed(rng), [*run(4), "nan", "inf", *run(5)], 2),
    ]


CASES = {
    "bytes_counted": kept,
    "recomputed": layers,
    "overwritten": in_place,
    "changes_noticed": changes,
    "shares": shares,
    "scaled_losses": losses,
    "scaled_steps": steps,
}

MISTAKES = [
    Mistake(
        "2.5 saved_bytes",
        "the bytes of the tensors",
        hint="A saved column keeps its whole matrix alive: count the storage, "
        "not the elements of the tensor.",
        replace={"= storage.nbytes()": "= tensor.numel() * tensor.element_size()"},
    ),
    Mistake(
        "2.5 saved_bytes",
        "shared storages counted twice",
        hint="Two saved tensors may lie in one storage, and one tensor may be saved twice. "
        "The memory is there once.",
        replace={
            "if storage.data_ptr() not in own:\n            kept[storage.data_ptr()] = ": (
                "if storage.data_ptr() not in own:\n            kept[len(alive)] = "
            )
        },
    ),
    Mistake(
        "2.5 saved_bytes",
        "inputs counted",
        hint="The inputs would be in memory without the operator, too.",
        replace={
            "if storage.data_ptr() not in own:\n            kept": "if True:\n            kept"
        },
    ),
    Mistake(
        "2.5 LinearGELU",
        "z kept",
        hint="The result is right, but z is kept for backward. Keep the arguments only, "
        "and compute z again.",
        source="""
class LinearGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        z = x @ weight.T + bias
        ctx.save_for_backward(x, weight, z)
        return z * (1 + torch.erf(z / math.sqrt(2))) / 2

    @staticmethod
    def backward(ctx, upstream):
        x, weight, z = ctx.saved_tensors
        density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        by_z = upstream * ((1 + torch.erf(z / math.sqrt(2))) / 2 + z * density)
        rows = math.prod(by_z.shape[:-1])
        flat = by_z.reshape(rows, by_z.shape[-1])
        by_x = by_z @ weight if ctx.needs_input_grad[0] else None
        by_weight = flat.T @ x.reshape(rows, -1) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, flat.sum(0) if ctx.needs_input_grad[2] else None
""",
    ),
    Mistake(
        "2.5 LinearGELU",
        "the bias forgotten in backward",
        hint="backward needs the z that forward had. Which argument is missing from it?",
        source="""
class LinearGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        z = x @ weight.T + bias
        return z * (1 + torch.erf(z / math.sqrt(2))) / 2

    @staticmethod
    def backward(ctx, upstream):
        x, weight, bias = ctx.saved_tensors
        z = x @ weight.T
        density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        by_z = upstream * ((1 + torch.erf(z / math.sqrt(2))) / 2 + z * density)
        rows = math.prod(by_z.shape[:-1])
        flat = by_z.reshape(rows, by_z.shape[-1])
        by_x = by_z @ weight if ctx.needs_input_grad[0] else None
        by_weight = flat.T @ x.reshape(rows, x.shape[-1]) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, flat.sum(0) if ctx.needs_input_grad[2] else None
""",
    ),
    Mistake(
        "2.5 LinearGELU",
        "the derivative of P left out",
        hint="GELU is a product, z times P(z): its derivative has two terms.",
        replace={"slope += z.mul_": "slope = z.mul_"},
    ),
    Mistake(
        "2.5 LeakyReLUInPlace",
        "not in place",
        hint="The result is a new tensor. Write into x and return x.",
        source="""
class LeakyReLUInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope):
        result = torch.where(x > 0, x, slope * x)
        ctx.save_for_backward(result)
        ctx.slope = slope
        return result

    @staticmethod
    def backward(ctx, upstream):
        (result,) = ctx.saved_tensors
        return torch.where(result > 0, upstream, ctx.slope * upstream), None
""",
    ),
    Mistake(
        "2.5 LeakyReLUInPlace",
        "kept behind autograd's back",
        hint="The result is an attribute of ctx, where no version is noted: a later change leads "
        "to a wrong gradient without an error. Use save_for_backward.",
        replace={
            "ctx.save_for_backward(x)": "ctx.result = x.detach()",
            "(result,) = ctx.saved_tensors": "result = ctx.result",
        },
    ),
    Mistake(
        "2.5 LeakyReLUInPlace",
        "upstream overwritten",
        hint="What arrives may be somebody else's tensor: another branch of the network may "
        "get the same one. Only x may be overwritten.",
        replace={
            "return torch.where(result > 0, upstream, ctx.slope * upstream), None": (
                "return upstream.mul_(torch.where(result > 0, 1.0, ctx.slope)), None"
            )
        },
    ),
    Mistake(
        "2.5 LeakyReLUInPlace",
        "overwritten through .data",
        hint="A write through .data or detach() leaves the version counter as it is, so nobody "
        "notices that a saved tensor was overwritten.",
        source="""
class LeakyReLUInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope):
        x.data = x.data
        version = x._version
        x.data.copy_(torch.where(x > 0, x, slope * x))
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x.view_as(x)

    @staticmethod
    def backward(ctx, upstream):
        (result,) = ctx.saved_tensors
        return torch.where(result > 0, upstream, ctx.slope * upstream), None
""",
    ),
    Mistake(
        "2.5 lost_share",
        "zeros counted as lost",
        hint="An element that was 0 before has lost nothing: leave these out, above and below "
        "the line.",
        replace={"gradient[gradient != 0]": "gradient.flatten()"},
    ),
    Mistake(
        "2.5 lost_share",
        "overflow forgotten",
        hint="A scale that is too large makes infinities, and they are lost, too.",
        replace={"(stored == 0) | stored.isinf()": "stored == 0"},
    ),
    Mistake(
        "2.5 lost_share",
        "scaled after storing",
        hint="What has become 0 stays 0. The scale has to come before the narrow dtype.",
        replace={"(scale * used).to(dtype)": "scale * used.to(dtype)"},
    ),
    Mistake(
        "2.5 LossScaler.scaled",
        "divided",
        hint="The gradients are too small, so they have to become larger.",
        replace={"loss * self.scale": "loss / self.scale"},
    ),
    Mistake(
        "2.5 LossScaler.scaled",
        "in half precision",
        hint="The scaled loss may be far above 65504. It stays in the dtype of the loss.",
        replace={"loss * self.scale": "(loss * self.scale).half()"},
    ),
    Mistake(
        "2.5 LossScaler.step",
        "not divided by the scale",
        hint="The gradients are those of the scaled loss: the optimiser needs the true ones.",
        replace={"gradient /= self.scale": "pass"},
    ),
    Mistake(
        "2.5 LossScaler.step",
        "only infinities looked for",
        hint="An overflow inside the backward pass often arrives as inf - inf or 0 * inf.",
        replace={
            "all(gradient.isfinite().all() for gradient in gradients)": (
                "all(not gradient.isinf().any() for gradient in gradients)"
            )
        },
    ),
    Mistake(
        "2.5 LossScaler.step",
        "only the first gradient looked at",
        hint="An overflow may happen in any layer: look at the gradients of all parameters.",
        replace={
            "all(gradient.isfinite().all() for gradient in gradients)": (
                "all(gradient.isfinite().all() for gradient in gradients[:1])"
            )
        },
    ),
    Mistake(
        "2.5 LossScaler.step",
        "bad elements set to 0",
        hint="After an overflow the other elements cannot be trusted either. "
        "The whole step is skipped, and the momentum must not see it.",
        replace={
            "self.good_steps = 0\n            return False": (
                "self.good_steps = 0\n            for gradient in gradients:\n"
                "                gradient.nan_to_num_(0, 0, 0)\n"
                "            optimizer.step()\n            return False"
            )
        },
    ),
    Mistake(
        "2.5 LossScaler.step",
        "the count goes on after an overflow",
        hint="The scale grows after growth_interval good steps in a row: "
        "an overflow begins the count again.",
        replace={
            "self.scale /= 2\n            self.good_steps = 0\n": "self.scale /= 2\n",
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.5 saved_bytes",
        """
def saved_bytes(function, *inputs):
    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed):
        result = function(*inputs)
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    for each in inputs:
        sizes.pop(each.untyped_storage().data_ptr(), None)
    return sum(sizes.values())
""",
        "all saved tensors collected first",
    ),
    Alternative(
        "2.5 LinearGELU",
        """
import torch.nn.functional as F


class LinearGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        return F.gelu(F.linear(x, weight, bias))

    @staticmethod
    def backward(ctx, upstream):
        needed = [i for i, need in enumerate(ctx.needs_input_grad) if need]
        with torch.enable_grad():
            inputs = [each.detach().requires_grad_() for each in ctx.saved_tensors]
            result = F.gelu(F.linear(*inputs))
        found = torch.autograd.grad(result, [inputs[i] for i in needed], upstream)
        gradients = [None, None, None]
        for i, gradient in zip(needed, found):
            gradients[i] = gradient
        return tuple(gradients)
""",
        "the forward pass run again under autograd, as torch.utils.checkpoint does",
    ),
    Alternative(
        "2.5 LeakyReLUInPlace",
        """
class LeakyReLUInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.slope = slope
        x.mul_(torch.where(x < 0, slope, 1.0))
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, upstream):
        result = ctx.saved_tensors[0]
        return upstream * (ctx.slope + (1 - ctx.slope) * (result > 0)), None
""",
        "multiplied by the slope or by 1",
    ),
    Alternative(
        "2.5 lost_share",
        """
def lost_share(gradient, dtype, scale=1.0):
    limits = torch.finfo(dtype)
    stored = (gradient * scale).to(dtype).double()
    nonzero = int(torch.count_nonzero(gradient))
    survived = int(((stored != 0) & (stored.abs() <= limits.max)).sum())
    return (nonzero - survived) / nonzero if nonzero else 0.0
""",
        "survivors counted",
    ),
    Alternative(
        "2.5 LossScaler.scaled",
        """
class LossScaler:
    def scaled(self, loss):
        return torch.mul(self.scale, loss)
""",
    ),
    Alternative(
        "2.5 LossScaler.step",
        """
class LossScaler:
    def step(self, optimizer, parameters):
        found = [p.grad for p in parameters if p.grad is not None]
        total = sum((g.abs().sum() for g in found), torch.zeros(()))
        if not torch.isfinite(total):
            self.scale, self.good_steps = self.scale * 0.5, 0
            return False
        torch._foreach_mul_(found, 1 / self.scale)
        optimizer.step()
        self.good_steps += 1
        if self.good_steps >= self.growth_interval:
            self.scale, self.good_steps = self.scale * 2.0, 0
        return True
""",
        "one sum shows any bad element",
    ),
]

ANSWERS = {
    "2.5-written": """
1. The composed layer keeps z for GELU; the fused one keeps only its arguments, so it saves one
   tensor of the size of the result in each layer. It pays with one more product x @ weight.T: three
   products become four, so about a third of the products' time, less where GELU and the memory
   take a share of the time.
2. float16 has 5 bits of exponent, its smallest number is 2**-24 = 6e-8, and a gradient below half
   of that becomes 0. bfloat16 has the 8 bits of float32, so nothing is lost at either end; what it
   lacks is digits (8 bits against 11), and a scale changes nothing about digits.
3. Adam divides the gradient by its own size, so its step would be the same with scaled gradients
   (up to epsilon). But the scale changes while training and the moments would mix several scales,
   an overflow would stay in them as NaN, and clipping and weight decay need the true size.
"""
}
