"""Whether an attempt fits in its reference's place, and making it belong to that class."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any


class _Dots:
    def __repr__(self) -> str:
        return "..."


def misfit(name: str, reference: Callable[..., Any], attempt: Callable[..., Any]) -> str:
    """One sentence where an attempt cannot be called as the reference can, otherwise `""`.

    Names, order and kinds of the parameters are the same, and what has a default keeps one.
    """
    wanted = inspect.signature(reference).parameters.values()
    try:
        got = inspect.signature(attempt).parameters.values()
    except (TypeError, ValueError):
        return f"`{name}` takes {_shown(wanted)}; what yours takes cannot be told."
    alike = len(wanted) == len(got) and all(map(_alike, wanted, got))
    return "" if alike else f"`{name}` takes {_shown(wanted)}; yours takes {_shown(got)}."


def kind_of(thing: Any) -> str:
    """What somebody put in an exercise's place, in words."""
    if isinstance(thing, type):
        return "a class"
    return "a function" if callable(thing) else f"a value of type {type(thing).__name__}"


def unwrapped(member: Any) -> Any:
    """The function in a static method, class method or property; anything else as it is."""
    if isinstance(member, (staticmethod, classmethod)):
        return member.__func__
    return member.fget if isinstance(member, property) else member


def adopt(member: Any, old: type, new: type) -> None:
    """Make a function that was written in the body of one class belong to another.

    Zero-argument `super()` finds its class through a closure cell, as do the functions that
    `dataclass` generates; a cell that holds the old class receives the new one.
    """
    for function in _functions(member):
        for cell in function.__closure__ or ():
            try:
                if cell.cell_contents is old:
                    cell.cell_contents = new
            except ValueError:  # the cell is empty
                continue


def _alike(wanted: inspect.Parameter, got: inspect.Parameter) -> bool:
    has_default = got.default is not got.empty or wanted.default is wanted.empty
    return wanted.name == got.name and wanted.kind == got.kind and has_default


def _shown(parameters: Iterable[inspect.Parameter]) -> str:
    """The parameters in brackets, without annotations and without long defaults."""
    shown = []
    for each in parameters:
        is_long = each.default is not each.empty and len(repr(each.default)) > 20
        default = _Dots() if is_long else each.default
        shown.append(each.replace(annotation=each.empty, default=default))
    return str(inspect.Signature(shown))


def _functions(member: Any) -> Iterator[FunctionType]:
    """The functions that a member of a class is made of, decorated ones included."""
    if isinstance(member, FunctionType):
        yield member
        yield from _functions(vars(member).get("__wrapped__"))
    elif isinstance(member, (staticmethod, classmethod)):
        yield from _functions(member.__func__)
    elif isinstance(member, property):
        for part in (member.fget, member.fset, member.fdel):
            yield from _functions(part)
    elif isinstance(member, (functools.cached_property, functools.partialmethod)):
        yield from _functions(member.func)
