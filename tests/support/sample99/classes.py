"""Whole classes, as PyTorch makes them."""

import torch
from torch import nn

from aisys.course import exercise


@exercise("99.3", points=1)
class Affine(nn.Module):
    """`weight * x + bias`, both numbers."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(weight)))
        self.bias = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.weight * x + self.bias

    def only_in_the_reference(self):
        return True


@exercise("99.3", points=1)
class Square(torch.autograd.Function):
    """x squared."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream * 2 * x
