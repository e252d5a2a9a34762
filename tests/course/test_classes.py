"""A class exercise is filled in place: every reference to the class stays valid."""

import dataclasses
import functools
import pickle
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from torch import nn

from aisys.course import AttemptError, CourseError, attempt, clear_attempts, exercise
from aisys.course.slots import recording


@pytest.fixture
def lab(load) -> ModuleType:
    return load("classes")


@pytest.fixture
def records(load) -> ModuleType:
    return load("records")


def attempt_affine() -> None:
    @attempt("99.3")
    class Affine(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(10.0 * weight))

        def forward(self, x):
            return self.weight * x

        def extra(self):
            return "extra"


def test_a_module_is_filled_in_place_and_emptied_again(lab: ModuleType) -> None:
    held, old = lab.Affine, lab.Affine(1)
    attempt_affine()
    new = held(1)
    assert lab.Affine is held
    assert new(torch.tensor(2.0)).item() == 20.0
    assert [name for name, _ in new.named_parameters()] == ["weight"]
    assert new.extra() == "extra"
    assert not hasattr(new, "only_in_the_reference")
    assert old(torch.tensor(2.0)).item() == 2.0
    clear_attempts()
    assert held(1)(torch.tensor(2.0)).item() == 3.0
    assert not hasattr(held, "extra")
    assert held(1).only_in_the_reference()


def test_an_instance_of_an_attempted_class_pickles_by_the_courses_name(lab: ModuleType) -> None:
    attempt_affine()
    copied = pickle.loads(pickle.dumps(lab.Affine(2)))
    assert type(copied) is lab.Affine
    assert copied(torch.tensor(1.0)).item() == 20.0


def test_a_module_can_be_saved_and_moved(lab: ModuleType) -> None:
    attempt_affine()
    state = lab.Affine(2).state_dict()
    fresh = lab.Affine(1).double()
    fresh.load_state_dict(state)
    assert fresh.weight.item() == 20.0
    assert fresh.weight.dtype == torch.float64


def test_an_autograd_function_passes_gradcheck_on_the_attempts_backward(lab: ModuleType) -> None:
    ran = []

    @attempt("99.3")
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, upstream):
            ran.append("backward")
            (x,) = ctx.saved_tensors
            return 2 * x * upstream

    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lab.Square.apply, x)
    assert torch.autograd.gradgradcheck(lab.Square.apply, x)
    assert ran
    ran.clear()
    clear_attempts()
    assert torch.autograd.gradcheck(lab.Square.apply, x)
    assert not ran


def test_a_wrong_backward_is_the_one_that_runs(lab: ModuleType) -> None:
    @attempt("99.3")
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, upstream):
            return upstream * 7

    x = torch.tensor(3.0, requires_grad=True)
    lab.Square.apply(x).backward()
    assert x.grad.item() == 7.0


@pytest.mark.slow
def test_compiled_code_sees_a_changed_class(lab: ModuleType) -> None:
    compiled = torch.compile(lambda x: lab.Square.apply(x) + 1, fullgraph=True, backend="eager")
    x = torch.tensor([2.0])
    assert compiled(x).tolist() == [5.0]

    @attempt("99.3")
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 100

        @staticmethod
        def backward(ctx, upstream):
            return upstream

    assert compiled(x).tolist() == [201.0]


def test_a_frozen_dataclass_works_as_the_courses_class(records: ModuleType) -> None:
    @attempt("99.3")
    @dataclass(frozen=True)
    class Setting:
        rank: int
        tags: list[str] = dataclasses.field(default_factory=lambda: ["mine"])

        def label(self):
            return f"my rank {self.rank}"

    one = records.Setting(1)
    assert one == records.Setting(1, ["mine"]) != records.Setting(2)
    assert repr(one) == "Setting(rank=1, tags=['mine'])"
    assert dataclasses.replace(one, rank=2).label() == "my rank 2"
    assert pickle.loads(pickle.dumps(one)) == one
    for name in ("rank", "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, 3)


def test_super_works_in_every_kind_of_method(records: ModuleType) -> None:
    @attempt("99.3")
    class Rectangle(records.Shape):
        made = 5

        def __init__(self, width, height):
            super().__init__()
            self.width, self.height = width, height

        def area(self):
            return self.width

        @classmethod
        def square(cls, side):
            super().__init_subclass__()
            return cls(side, side)

        @property
        def side(self):
            return super().twice()

        @side.setter
        def side(self, value):
            super().__setattr__("width", value)

    one = records.Rectangle.square(4)
    one.side = 5
    assert type(one) is records.Rectangle
    assert one.side == 10
    assert isinstance(one, records.Shape)


def test_super_works_where_only_a_decorated_method_uses_it(records: ModuleType) -> None:
    def announced(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    @attempt("99.3")
    class Rectangle(records.Shape):
        @announced
        def __init__(self, width, height):
            super().__init__()

        def area(self):
            return 3

    assert records.Rectangle(1, 1).area() == 3


def test_super_works_where_only_a_setter_uses_it(records: ModuleType) -> None:
    @attempt("99.3")
    class Rectangle(records.Shape):
        def __init__(self, width, height):
            self.width = width

        def area(self):
            return self.width

        @property
        def side(self):
            return self.width

        @side.setter
        def side(self, value):
            super().__setattr__("width", value)

    one = records.Rectangle(1, 1)
    one.side = 9
    assert one.area() == 9


def test_an_attempt_without_an_abstract_method_cannot_be_made(records: ModuleType) -> None:
    @attempt("99.3")
    class Rectangle(records.Shape):
        def __init__(self, width, height):
            self.width = width

    with pytest.raises(TypeError, match="abstract"):
        records.Rectangle(1, 2)
    clear_attempts()
    assert records.Rectangle(2, 3).area() == 6


def test_recording_leaves_the_classs_own_data_alone(records: ModuleType) -> None:
    records.Rectangle(1, 1)
    with recording() as calls:
        records.Rectangle.square(2)
    records.Rectangle(1, 1)
    assert records.Rectangle.made == 3
    assert calls == {"99.3 Rectangle": False}


def test_recording_notes_a_classs_attempt_only_where_it_runs(lab: ModuleType) -> None:
    with recording() as calls:
        attempt_affine()
        assert calls == {}
        lab.Affine(1)
        x = torch.ones(1, requires_grad=True)
        lab.Square.apply(x).backward()
    assert calls == {"99.3 Affine": True, "99.3 Square": False}


def test_what_a_class_exercise_refuses(lab: ModuleType) -> None:
    def refusal(thing: object) -> str:
        with pytest.raises(AttemptError) as caught:
            attempt("99.3")(thing)
        return str(caught.value)

    def affine(bases: tuple[type, ...], **members: object) -> type:
        return type("Affine", bases, members)

    def init(self, weight, bias):
        pass

    assert refusal(affine(())) == ("`Affine` inherits from Module; yours inherits from object.")
    assert refusal(affine((nn.Module,), __init__=init)) == (
        "`Affine.__init__` takes (self, weight); yours takes (self, weight, bias)."
    )
    assert refusal(affine((nn.Module,), __slots__=())) == (
        "99.3 Affine: leave __slots__ out, they cannot be filled in place."
    )
    assert refusal(lab.Affine) == (
        "99.3 Affine: this is the course's own; write yours with `class`."
    )
    assert lab.Affine(1)(torch.tensor(2.0)).item() == 3.0
    with pytest.raises(CourseError, match="cannot have __slots__"):
        exercise("99.3", points=1)(type("Slotted", (), {"__slots__": ()}))
