"""An exercise is a slot: its callers reach the attempt where there is one, else the reference."""

import copy
import pickle
import sys
from types import ModuleType

import pytest
import torch

from aisys.course import CourseError, Hole, attempt, clear_attempts, exercise
from aisys.course.slots import FunctionSlot, find, of_stage, recording, slots


def attempt_scale(lab: ModuleType) -> None:
    @attempt("99.1")
    def scale(x, factor=2.0):
        return ("mine", x, factor)


def test_a_function_runs_the_reference_until_there_is_an_attempt(lab: ModuleType) -> None:
    assert lab.scale(3) == 6.0
    attempt_scale(lab)
    assert lab.scale(3) == ("mine", 3, 2.0)
    clear_attempts()
    assert lab.scale(3) == 6.0


def test_an_importer_that_holds_the_function_already_reaches_the_attempt(lab: ModuleType) -> None:
    held = lab.scale
    attempt_scale(lab)
    assert held(3, factor=1) == ("mine", 3, 1)
    assert lab.pipeline([0]) == [("mine", 1.0, 2.0)]


def test_the_attempt_decorator_gives_back_the_courses_own_function(lab: ModuleType) -> None:
    @attempt("99.1")
    def scale(x, factor=2.0):
        return 0

    assert scale is lab.scale


def test_a_second_attempt_replaces_the_first(lab: ModuleType) -> None:
    attempt_scale(lab)
    first = find("99.1 scale").turn

    @attempt("99.1")
    def scale(x, factor=2.0):
        return "second"

    assert lab.scale(1) == "second"
    assert find("99.1 scale").turn > first


def test_a_slot_keeps_name_docstring_and_signature(lab: ModuleType) -> None:
    attempt_scale(lab)
    assert lab.scale.__name__ == "scale"
    assert lab.scale.__doc__ == "`x` times `factor`."
    assert lab.scale.__module__ == "sample99.exercises"


def test_a_slot_pickles_by_reference(lab: ModuleType) -> None:
    attempt_scale(lab)
    packed = pickle.dumps(lab.scale)
    assert len(packed) < 100
    assert pickle.loads(packed) is lab.scale
    assert copy.deepcopy(lab.scale) is lab.scale


def test_a_hole_pickles_with_its_sentence() -> None:
    hole = pickle.loads(pickle.dumps(Hole("1.5 gradients")))
    assert hole.key == "1.5 gradients"
    assert str(hole) == (
        "1.5 gradients is an exercise and has no code here yet: "
        "write it in stage 1.5 of the notebook and run that cell."
    )


def test_methods_are_slots_and_the_rest_of_the_class_stays(lab: ModuleType) -> None:
    box = lab.Box([1, 2])

    @attempt("99.2")
    class Box:
        def total(self):
            return 100 + len(self.items)

        def __add__(self, other):
            return "added"

    assert Box is lab.Box
    assert box.total() == 102
    assert box + box == "added"
    assert box.describe() == "a box of 102"
    assert box.size == 2
    clear_attempts()
    assert box.total() == 3


def test_static_methods_and_properties_are_exercises_too(lab: ModuleType) -> None:
    @attempt("99.2")
    class Box:
        @staticmethod
        def unit():
            return "a unit"

        @property
        def size(self):
            return -1

    assert lab.Box.unit() == "a unit"
    assert lab.Box([]).unit() == "a unit"
    assert lab.Box([]).size == -1


def test_zero_argument_super_in_a_method_means_the_courses_class(lab: ModuleType) -> None:
    @attempt("99.6")
    class Crate:
        def total(self):
            return super().total() * self.factor

        @property
        def factor(self):
            return 10 if super().size else 0

    assert lab.Crate([1, 2]).total() == 30


def test_helper_methods_come_with_the_exercises_and_go_with_them(lab: ModuleType) -> None:
    @attempt("99.2")
    class Box:
        FACTOR = 3

        def total(self):
            return self._sum() * self.FACTOR + self.zero()

        def _sum(self):
            return sum(self.items)

        @staticmethod
        def zero():
            return 0

        def __len__(self):
            return 7

    box = lab.Box([1, 2])
    assert box.total() == 9
    assert len(box) == 7

    @attempt("99.2")
    class Box:  # noqa: F811
        def total(self):
            return hasattr(self, "_sum")

    assert box.total() is False
    clear_attempts()
    assert not {"FACTOR", "_sum", "zero", "__len__"} & set(vars(lab.Box))


def test_a_text_is_the_reference_without_markers_until_there_is_an_attempt(lab: ModuleType) -> None:
    assert lab.kernel.text == (
        'extern "C" __global__ void fill(float *out) {\n    out[threadIdx.x] = 1;\n}\n'
    )
    lab.kernel.fill("mine", "mine")
    assert lab.kernel.text == "mine"


def test_in_a_kit_an_unwritten_text_is_a_hole(lab: ModuleType, as_kit) -> None:
    as_kit()
    with pytest.raises(Hole, match="^99.5 kernel is an exercise"):
        _ = lab.kernel.text
    as_kit("99.5 kernel")
    assert "threadIdx" in lab.kernel.text


@pytest.mark.slow
def test_compiled_code_sees_a_changed_attempt(lab: ModuleType) -> None:
    def double_and_shift(x):
        return lab.shift(lab.scale(x))

    compiled = torch.compile(double_and_shift, fullgraph=True, backend="eager")
    x = torch.ones(2)
    assert compiled(x).tolist() == [3.0, 3.0]

    @attempt("99.1")
    def scale(x, factor=2.0):
        return x * 10 * factor

    assert compiled(x).tolist() == [21.0, 21.0]
    with recording() as calls:
        assert compiled(x).tolist() == [21.0, 21.0]
    assert calls == {"99.1 scale": True, "99.1 shift": False}
    clear_attempts()
    assert compiled(x).tolist() == [3.0, 3.0]


def test_stages_are_ordered_by_number_and_exercises_by_definition(lab: ModuleType) -> None:
    order = [slot.key for slot in slots() if slot.order[0] == 99]
    assert order[:2] == ["99.1 scale", "99.1 shift"]
    assert order[-3:] == ["99.5 kernel", "99.6 Box.largest", "99.6 Crate.total"]
    FunctionSlot("99.10", test_a_hole_pickles_with_its_sentence, 1)
    assert [slot.stage for slot in slots()][-1] == "99.10"


def test_recording_says_whose_code_ran(lab: ModuleType) -> None:
    attempt_scale(lab)
    with recording() as outer:
        lab.pipeline([1])
        with recording() as inner:
            lab.Box([1]).describe()
    lab.scale(1)
    assert outer == {
        "99.4 pipeline": False,
        "99.1 scale": True,
        "99.1 shift": False,
        "99.2 Box.total": False,
    }
    assert inner == {"99.2 Box.total": False}


def test_recording_covers_attempts_and_modules_that_come_while_it_runs(load) -> None:
    with recording() as calls:
        lab = load("exercises")
        lab.shift(1)
        attempt_scale(lab)
        lab.scale(1)
    assert calls == {"99.1 shift": False, "99.1 scale": True}


def test_two_modules_cannot_define_one_exercise(lab: ModuleType) -> None:
    def scale(x):
        return x

    with pytest.raises(CourseError) as caught:
        exercise("99.1", points=1)(scale)
    assert str(caught.value) == (
        f"99.1 scale is defined twice: in sample99.exercises and in {__name__}."
    )


def test_a_reference_needs_a_written_out_stage_and_must_be_markable() -> None:
    with pytest.raises(CourseError, match="a stage is written like \"1.5\"; this is '1'"):
        exercise("1", points=1)(lambda x: x)
    with pytest.raises(CourseError, match="functions, methods and classes only"):
        exercise("99.1", points=1)(3)


def test_a_module_that_is_imported_again_defines_its_exercises_again(load) -> None:
    load("exercises")
    for name in [name for name in sys.modules if name.startswith("sample99")]:
        del sys.modules[name]
    again = load("exercises")
    attempt_scale(again)
    assert again.scale(1) == ("mine", 1, 2.0)
    assert len(of_stage("99.1")) == 2
