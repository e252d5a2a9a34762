"""Whole classes, as PyTorch and the standard library make them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

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


@exercise("99.3", points=1)
@dataclass(frozen=True)
class Setting:
    """Where something runs."""

    rank: int
    tags: list[str] = field(default_factory=list)

    def label(self):
        return f"rank {self.rank}"


class Shape(ABC):
    """A base that is given."""

    @abstractmethod
    def area(self):
        """The area."""

    def twice(self):
        return 2 * self.area()


@exercise("99.3", points=1)
class Rectangle(Shape):
    """A rectangle."""

    made = 0

    def __init__(self, width, height):
        super().__init__()
        type(self).made += 1
        self.width, self.height = width, height

    def area(self):
        return self.width * self.height

    @classmethod
    def square(cls, side):
        return cls(side, side)

    @property
    def side(self):
        return super().twice()

    @side.setter
    def side(self, value):
        self.width = self.height = value
