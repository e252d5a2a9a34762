"""What does not fit is refused with one sentence, and leaves everything as it was."""

from types import ModuleType
from typing import Any

import pytest

from aisys.course import AttemptError, attempt, attempt_text
from aisys.course.attempts import attempt_magic
from aisys.course.slots import find


def refusal(stage: Any, thing: Any) -> str:
    with pytest.raises(AttemptError) as caught:
        attempt(stage)(thing)
    return str(caught.value)


def function(name: str, parameters: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(f"def {name}({parameters}): return 'mine'", namespace)
    return namespace[name]


def test_an_unknown_stage_is_answered_with_those_that_exist(lab: ModuleType) -> None:
    scale = function("scale", "x, factor=2.0")
    assert refusal("99.7", scale) == (
        "There is no stage 99.7; the stages of lab 99 are 99.1, 99.2, 99.4, 99.5, 99.6."
    )
    assert refusal("98.1", scale).startswith("There is no lab 98 here; the labs are ")
    assert refusal("98.1", scale).endswith(", 99.")


@pytest.mark.parametrize("stage", [1.5, "1", "1.", ".5", "1.5.2", "one", "1.5 im2col", None, "١.٥"])
def test_a_stage_is_a_text_of_two_numbers(stage: object) -> None:
    sentence = f'A stage is written like "1.5"; this is {stage!r}.'
    assert refusal(stage, function("scale", "x")) == sentence


def test_a_wrong_name_is_answered_with_the_stages_exercises(lab: ModuleType) -> None:
    assert refusal("99.1", function("scael", "x")) == (
        "Stage 99.1 has no exercise `scael`; its exercises are `scale`, `shift`."
    )
    assert refusal("99.1", 3) == (
        "Stage 99.1 has no exercise `3`; its exercises are `scale`, `shift`."
    )


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ("x", "(x)"),
        ("factor, x", "(factor, x)"),
        ("x, factor", "(x, factor)"),
        ("x, *, factor=2.0", "(x, *, factor=2.0)"),
        ("x, /, factor=2.0", "(x, /, factor=2.0)"),
        ("x, factor=2.0, more=None", "(x, factor=2.0, more=None)"),
        ("*args, **kwargs", "(*args, **kwargs)"),
        ("x: int, factor: float = 2.0, *args", "(x, factor=2.0, *args)"),
        ("x, y='a text of more than twenty characters'", "(x, y=...)"),
    ],
)
def test_a_wrong_signature_is_shown_beside_the_right_one(
    lab: ModuleType, parameters: str, shown: str
) -> None:
    assert refusal("99.1", function("scale", parameters)) == (
        f"`scale` takes (x, factor=2.0); yours takes {shown}."
    )
    assert lab.scale(1) == 2.0


@pytest.mark.parametrize(
    "parameters", ["x, factor=3.0", "x: float, factor: float = 2", "x=0, factor=1"]
)
def test_annotations_and_other_defaults_are_the_students(lab: ModuleType, parameters: str) -> None:
    attempt("99.1")(function("scale", parameters))
    assert lab.scale(1) == "mine"


def test_the_wrong_kind_is_named(lab: ModuleType, load) -> None:
    load("classes")
    assert refusal("99.1", type("scale", (), {})) == ("99.1 scale is a function; yours is a class.")
    assert refusal("99.3", function("Affine", "weight")) == (
        "99.3 Affine is a class; yours is a function."
    )
    assert refusal("99.5", function("kernel", "")) == (
        "99.5 kernel is a text; yours is a function."
    )
    assert refusal("99.1", lab.scale) == (
        "99.1 scale: this is the course's own; write yours with `def`."
    )


def test_a_method_is_named_with_its_signature(lab: ModuleType) -> None:
    assert refusal("99.2", type("Box", (), {"total": function("total", "this")})) == (
        "`total` takes (self); yours takes (this)."
    )
    assert refusal("99.2", type("Box", (), {"total": 3})) == (
        "99.2 Box.total is a function; yours is a value of type int."
    )
    assert refusal("99.2", type("Box", (), {"sum": function("sum", "self")})) == (
        "`Box` in stage 99.2 has the exercises `total`, `__add__`, `unit`, `size`; yours has none."
    )


def test_a_helper_cannot_take_a_name_that_is_given(lab: ModuleType) -> None:
    def with_helper(name: str) -> Any:
        members = {"total": function("total", "self"), name: function(name, "self")}
        return type("Box", (), members)

    assert refusal("99.2", with_helper("describe")) == (
        "`Box.describe` is given by the course; choose another name."
    )
    assert refusal("99.2", with_helper("__init__")) == (
        "`Box.__init__` is given by the course; choose another name."
    )
    assert refusal("99.2", with_helper("largest")) == (
        "`Box.largest` is yours in stage 99.6 already; choose another name."
    )
    attempt("99.2")(with_helper("_help"))
    attempt("99.2")(with_helper("_help"))
    other = {"largest": function("largest", "self"), "_help": function("_help", "self")}
    assert refusal("99.6", type("Box", (), other)) == (
        "`Box._help` is yours in stage 99.2 already; choose another name."
    )


def test_a_refused_class_changes_nothing_at_all(lab: ModuleType) -> None:
    good = {"total": function("total", "self"), "_help": function("_help", "self")}
    attempt("99.2")(type("Box", (), good))
    bad = {"total": lambda self: 0, "__add__": function("__add__", "self"), "_new": 1}
    assert refusal("99.2", type("Box", (), bad)) == (
        "`__add__` takes (self, other); yours takes (self)."
    )
    box = lab.Box([1])
    assert box.total() == "mine"
    assert box._help() == "mine"
    assert not hasattr(box, "_new")


def test_a_text_attempt_needs_a_text(lab: ModuleType) -> None:
    attempt_magic("99.5   kernel", "my text\n")
    assert lab.kernel.text == "my text\n"
    for key, text, sentence in [
        (
            "99.5 kernel",
            " \n",
            "99.5 kernel: the cell is empty; write the text below its first line.",
        ),
        ("99.5 kern", "x", "Stage 99.5 has no exercise `kern`; its exercises are `kernel`."),
    ]:
        with pytest.raises(AttemptError) as caught:
            attempt_text(key, text)
        assert str(caught.value) == sentence
    assert lab.kernel.text == "my text\n"


def test_the_magics_line_names_a_text_exercise(lab: ModuleType) -> None:
    for line, sentence in [
        ("", "Begin the cell with `%%attempt STAGE NAME`; this says ''."),
        ("99.5", "Begin the cell with `%%attempt STAGE NAME`; this says '99.5'."),
        ("99.1 scale", "99.1 scale is Python: write it below `@attempt('99.1')`."),
    ]:
        with pytest.raises(AttemptError) as caught:
            attempt_magic(line, "text")
        assert str(caught.value) == sentence


def test_a_decorated_function_keeps_the_text_that_it_was_written_in(lab: ModuleType) -> None:
    import torch

    @attempt("99.1")
    @torch.no_grad()
    def scale(x, factor=2.0):
        return torch.is_grad_enabled()

    assert lab.scale(1) is False
    assert "def test_a_decorated_function_keeps" in find("99.1 scale").source
