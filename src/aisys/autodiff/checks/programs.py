"""Graphs as short programs: the language of the cases of 1.7, and of what its passes return.

    t = x * 1.0; reduce_sum(t + y, axis=(0,), keepdims=False), t

Statements are separated by semicolons; the last one lists the targets. A name is a placeholder or
an earlier node. `array([[1.0, 2.0]], "float32")` is a constant, `stored(0)` one whose value travels
beside the program. A conditional node has its branches as programs in strings, whose operands are
called a0, a1, …: `cond(p, "a0 * a1", "a0", x, y)`.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aisys.autodiff.conditional import Branch
from aisys.autodiff.graph import Node, apply, constant, placeholder
from aisys.autodiff.operations import ELEMENTWISE, OPERATIONS, Shape, Value
from aisys.course.parsing import parse

MOST_ELEMENTS = 100_000
MOST_CHARACTERS = 20_000
MOST_BITS = 63
DTYPES = ("float64", "float32", "int64", "bool")

INFIX = {
    "add": ("+", ast.Add),
    "subtract": ("-", ast.Sub),
    "multiply": ("*", ast.Mult),
    "divide": ("/", ast.Div),
    "power": ("**", ast.Pow),
    "matmul": ("@", ast.MatMult),
}
SIGNS = {name: sign for name, (sign, _) in INFIX.items()}
OPERATORS = {kind: name for name, (_, kind) in INFIX.items()}
CALLABLE = {
    *ELEMENTWISE,
    *("matmul", "reduce_sum", "softmax", "log_softmax"),
    *("reshape", "transpose", "broadcast_to"),
}


class ProgramError(ValueError):
    """A text is no program, or a graph cannot be written as one."""


def read(
    text: str,
    shapes: Mapping[str, Sequence[int]],
    stored: Sequence[np.ndarray] = (),
) -> tuple[list[Node], dict[str, Node]]:
    """Build the graph of a program. It is made with `apply`, without the exercises of 1.4.

    Args:
        text: The program; untrusted.
        shapes: The placeholders' shapes by name.
        stored: The values of `stored(0)`, `stored(1)`, …

    Returns:
        The targets, and the placeholders by name.

    Raises:
        ProgramError: For whatever is wrong with the text.
    """
    placeholders = {name: placeholder(shape, name) for name, shape in shapes.items()}
    try:
        return _Reader(stored).targets(text, placeholders), placeholders
    except ProgramError:
        raise
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ProgramError(f"this is no program: {type(error).__name__}") from None
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ProgramError(str(error)) from None


def write(targets: Any, placeholders: Mapping[str, Node]) -> dict[str, Any]:
    """A graph as plain data: its `program`, and the arrays that are `stored`.

    Args:
        targets: What a pass returned; a student's may be anything.
        placeholders: The only ones that the graph may have.

    Raises:
        ProgramError: A target is no node, a placeholder is another one, or there is a cycle.
    """
    stored: list[np.ndarray] = []
    names = {node: name for name, node in placeholders.items()}
    text = _write(targets, names, stored, "t")
    return {"program": text, "stored": stored}


def values_of(targets: Sequence[Node], feeds: Mapping[Node, Value]) -> list[np.ndarray]:
    """The values of targets, whatever the graph: numbers that grow without end are refused."""
    values: dict[Node, Value] = dict(feeds)
    for node in _order(targets):
        if node not in values:
            arguments = [values[each] for each in node.inputs]
            values[node] = _checked(node, arguments)
    return [np.asarray(values[node]) for node in targets]


class _Reader:
    def __init__(self, stored: Sequence[np.ndarray]) -> None:
        self.stored = stored

    def targets(self, text: str, names: Mapping[str, Node]) -> list[Node]:
        if len(text) > MOST_CHARACTERS:
            raise ProgramError("the program is too long")
        known = dict(names)
        *assignments, last = parse(text).body
        for statement in assignments:
            match statement:
                case ast.Assign([ast.Name(name)], expression):
                    known[name] = self.node(expression, known)
                    if known[name].inputs:
                        known[name].name = name
                case _:
                    raise ProgramError(f"{ast.unparse(statement)} gives no node a name")
        if not isinstance(last, ast.Expr):
            raise ProgramError("the last statement is the targets")
        listed = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
        return [self.node(each, known) for each in listed]

    def node(self, expression: ast.expr, known: Mapping[str, Node]) -> Node:
        match expression:
            case ast.Name(name):
                if name not in known:
                    raise ProgramError(f"there is no node {name}")
                return known[name]
            case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
                made = apply("negate", self.node(operand, known))
            case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
                sides = self.node(left, known), self.node(right, known)
                made = apply(OPERATORS[type(operator)], *sides)
            case ast.Compare(left, [ast.Gt()], [right]):
                made = apply("greater", self.node(left, known), self.node(right, known))
            case ast.Call(ast.Name(name), arguments, keywords):
                made = self.call(name, arguments, keywords, known)
            case _:
                return constant(_number(ast.literal_eval(expression)))
        if math.prod(made.shape) > MOST_ELEMENTS:
            raise ProgramError(f"a node of shape {list(made.shape)} is too large")
        return made

    def call(
        self,
        name: str,
        arguments: list[ast.expr],
        keywords: list[ast.keyword],
        known: Mapping[str, Node],
    ) -> Node:
        if name in ("array", "stored", "float"):
            literals = [ast.literal_eval(each) for each in arguments]
            if name == "float":
                return constant(float(literals[0]))
            if name == "stored":
                return constant(_array(self.stored[literals[0]]))
            value, dtype = literals if len(literals) == 2 else (literals[0], "float64")
            if dtype not in DTYPES:
                raise ProgramError(f"an array of {dtype!r}")
            return constant(_array(np.array(value, dtype)))
        if name == "cond":
            predicate, then, otherwise, *operands = arguments
            nodes = [self.node(each, known) for each in (predicate, *operands)]
            shapes = [each.shape for each in nodes[1:]]
            branches: dict[str, Any] = {
                "then": self.branch(ast.literal_eval(then), shapes),
                "otherwise": self.branch(ast.literal_eval(otherwise), shapes),
            }
            return apply("cond", *nodes, **branches)
        if name not in CALLABLE:
            raise ProgramError(f"there is no operation {name}")
        attributes = {str(each.arg): ast.literal_eval(each.value) for each in keywords}
        return apply(name, *(self.node(each, known) for each in arguments), **attributes)

    def branch(self, text: str, shapes: Sequence[Shape]) -> Branch:
        parameters = tuple(placeholder(shape, f"a{i}") for i, shape in enumerate(shapes))
        (result,) = self.targets(text, {each.name: each for each in parameters})
        return Branch(parameters, result)


def _write(
    targets: Any, placeholders: Mapping[Node, str], stored: list[np.ndarray], letter: str
) -> str:
    if not isinstance(targets, (list, tuple)):
        raise ProgramError(f"a pass returns a list of nodes; a {type(targets).__name__} came back")
    names = dict(placeholders)
    statements: list[str] = []
    for node in _order(targets):
        if node in names:
            continue
        if node.operation == "placeholder":
            raise ProgramError(f"the new graph needs {node!r}, a placeholder that nobody feeds")
        if node.operation == "constant":
            names[node] = _constant(node.attributes["value"], stored)
            continue
        inputs = [names[each] for each in node.inputs]
        if node.operation in SIGNS and len(inputs) == 2:
            expression = f"{inputs[0]} {SIGNS[node.operation]} {inputs[1]}"
        else:
            expression = _call(node, inputs, stored, letter)
        name = f"{letter}{len(statements) + 1}"
        statements.append(f"{name} = {expression}")
        names[node] = name
    return "; ".join([*statements, ", ".join(names[node] for node in targets)])


def _call(node: Node, inputs: list[str], stored: list[np.ndarray], letter: str) -> str:
    attributes = dict(node.attributes)
    branches = []
    for name in ("then", "otherwise") if node.operation == "cond" else ():
        branch = attributes.pop(name)
        own = {parameter: f"a{i}" for i, parameter in enumerate(branch.parameters)}
        branches.append(repr(_write([branch.result], own, stored, letter)))
    written = [f"{name}={value!r}" for name, value in attributes.items()]
    return f"{node.operation}({', '.join([*inputs[:1], *branches, *inputs[1:], *written])})"


def _constant(value: Any, stored: list[np.ndarray]) -> str:
    if type(value) in (int, bool) or (type(value) is float and math.isfinite(value)):
        return f"({value!r})" if value < 0 or repr(value).startswith("-") else repr(value)
    if type(value) is float:
        return f'float("{value!r}")'
    if not isinstance(value, (np.ndarray, np.generic)):
        raise ProgramError(f"the value of a constant is a {type(value).__name__}")
    stored.append(_array(np.asarray(value)))
    return f"stored({len(stored) - 1})"


def _order(targets: Sequence[Any]) -> list[Node]:
    """The nodes that targets need, each after its inputs; ProgramError where there is a cycle."""
    order: dict[Node, None] = {}
    opened: set[Node] = set()
    pending = list(reversed(targets))
    while pending:
        node = pending[-1]
        if not isinstance(node, Node):
            raise ProgramError(f"a {type(node).__name__} came back where a node was expected")
        waiting = [each for each in node.inputs if each not in order]
        if node in order or not waiting:
            order[node] = None
            pending.pop()
        elif node in opened:
            raise ProgramError(f"{node!r} depends on itself")
        else:
            opened.add(node)
            pending.extend(reversed(waiting))
    return list(order)


def _checked(node: Node, arguments: list[Value]) -> Value:
    if node.operation == "constant":
        return node.attributes["value"]
    if node.operation == "placeholder":
        raise ProgramError(f"{node!r} is not fed")
    if node.operation == "cond":
        branch: Branch = node.attributes["then" if arguments[0] else "otherwise"]
        return values_of([branch.result], dict(zip(branch.parameters, arguments[1:], strict=True)))[
            0
        ]
    match node.operation, arguments:
        case "power", [int(), int(exponent)] if abs(exponent) > MOST_BITS:
            raise ProgramError("the exponent is too large")
    compute: Callable[..., Value] = OPERATIONS[node.operation].compute
    value = compute(*arguments, **node.attributes)
    return _number(value) if isinstance(value, int) else value


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ProgramError("a constant is no array of numbers")
    if value.size > MOST_ELEMENTS:
        raise ProgramError(f"a constant of shape {list(value.shape)} is too large")
    return value


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise ProgramError(f"{value!r} is no number")
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ProgramError("a number is too large")
    return value
