"""Kernels as Python objects: `kernel[grid, block](x, y, n)` runs one on the emulator.

The array that a pointer points to is a NumPy array or a PyTorch tensor on the CPU; the kernel
changes it in place.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisys.course.errors import CourseError, TextError

from .building import Built, build, host
from .counts import Cost, Finding, Launch, Sample, Steps, by_line
from .places import Places
from .process import WALL_FACTOR, Process, ProcessLost

MOST_THREADS, MOST_BLOCKS, MOST_SHARED = 1024, 1 << 22, 232_448
COUNTS, RACES = 1, 2
CRASHES = {
    "signal 6": ": a local array was overrun",
    "signal 8": ": a division by zero",
    "signal 11": ": an address that is nobody's, or recursion without end",
}
Size = int | Sequence[int]


class KernelFault(TextError):
    """A kernel did something that ends it on a GPU, or should.

    Attributes:
        kind: `"bounds"`, `"alignment"`, `"barrier"`, `"deadlock"`, `"warp"`, `"shared"`,
            `"assert"`, `"timeout"`, `"crash"`, `"race"`, `"uninitialised"` and the like.
        line: The line of the source, or 0.
        launch: What was seen until then, or None.
    """

    def __init__(
        self, kernel: str, kind: str, line: int, text: str, source: str = "",
        launch: Launch | None = None,
    ) -> None:  # fmt: skip
        lines, place = source.splitlines(), f"{kernel}{f', line {line}' if line else ''}"
        quoted = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        end = "" if text.endswith("?") else "."
        message = f"{place}: {text}{end}" + (f"\n    {quoted}" if quoted else "")
        super().__init__(message, (f"{place} ({kind}): {quoted}",) if quoted else ())
        self.kind, self.line, self.launch = kind, line, launch
        self.is_timeout = kind in ("timeout", "size")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: its name, NumPy's name of its type, its bytes, and what it is."""

    name: str
    dtype: str
    bytes: int
    is_pointer: bool
    is_const: bool

    @property
    def text(self) -> str:
        """As a declaration."""
        const, star = "const " if self.is_const else "", "*" if self.is_pointer else ""
        return f"{const}{self.dtype} {star}{self.name}"


class Module:
    """The kernels of one source, on the emulator.

    Args:
        source: CUDA C++.
        checks: `"all"` counts and looks for races and uninitialised reads, `"counts"` only counts,
            `"none"` only runs the kernel, without any protection but that of a process.
        seconds: CPU time that one launch may take.
        kernels: Instances of templates that are wanted, such as `"transpose<float, 32>"`; others
            are compiled when they are first named.

    Raises:
        SourceError: The source holds what the emulator does not run.
        CompileError: The compiler does not take it.
    """

    def __init__(
        self, source: str, checks: str = "all", seconds: float = 10.0, kernels: Sequence[str] = ()
    ) -> None:
        if checks not in ("all", "counts", "none"):
            raise CourseError(f'`checks` is "all", "counts" or "none"; this is {checks!r}.')
        self.source, self.checks, self.seconds = source, checks, seconds
        self._built = build(source, kernels, instrumented=checks != "none")
        self._process: Process | None = None
        self._places = Places(self._built.library)

    @property
    def kernels(self) -> list[str]:
        """The names of the kernels; of templates, those without arguments."""
        return list(self._built.source.kernels)

    def __getitem__(self, name: str) -> "Kernel":
        if name not in self._built.entries:
            wanted = [*self._built.entries, name]
            self._use(build(self.source, wanted, instrumented=self.checks != "none"))
        return Kernel(self, name)

    def __getattr__(self, name: str) -> "Kernel":
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def close(self) -> None:
        """End the process that the kernels run in; the next launch starts another."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def process(self) -> Process:
        """The running process, started where there is none."""
        if self._process is None or not self._process.is_alive:
            self._process = Process(host(), self._built.library)
        return self._process

    def _use(self, built: Built) -> None:
        self.close()
        self._built, self._places = built, Places(built.library)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a module; `kernel[grid, block]` is ready to be called."""

    module: Module
    name: str

    def __getitem__(self, shape: tuple[Size, Size]) -> "Configured":
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise CourseError(f"A launch is written {self.name}[grid, block](...), with two sizes.")
        grid, block = three("grid", shape[0]), three("block", shape[1])
        threads, blocks = block[0] * block[1] * block[2], grid[0] * grid[1] * grid[2]
        if threads > MOST_THREADS:
            raise CourseError(f"A block has at most {MOST_THREADS} threads; {block} are {threads}.")
        if blocks > MOST_BLOCKS:
            raise CourseError(
                f"The emulator runs at most {MOST_BLOCKS:,} blocks; {grid} are {blocks:,}."
            )
        return Configured(self, grid, block)

    def parameters(self) -> list[Parameter]:
        """What the kernel takes."""
        entry = self.module._built.entries[self.name]
        names = self.module._built.source.kernels[self.name.partition("<")[0]].parameters
        found = self.module.process().ask([f"describe {entry}"], 30.0)["arguments"]
        return [
            Parameter(
                names[i] if i < len(names) else f"argument {i + 1}",
                dtype,
                size,
                kind > 0,
                kind == 2,
            )
            for i, (dtype, size, kind) in enumerate(found)
        ]


@dataclass(frozen=True)
class Configured:
    """A kernel with its grid and block."""

    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]

    def __call__(self, *arguments: Any, shared_bytes: int = 0, strict: bool = True) -> Launch:
        """Run the kernel.

        Args:
            arguments: Arrays for pointers, numbers for the rest.
            shared_bytes: Dynamic shared memory of a block, in bytes.
            strict: Whether a race or an uninitialised read raises KernelFault; otherwise they are
                only in the result's `findings`.

        Returns:
            What was seen of the launch.

        Raises:
            KernelFault: The kernel went wrong; arrays are then as they were before.
            CourseError: The arguments are not what the kernel takes.
        """
        module, name = self.kernel.module, self.kernel.name
        parameters = self.kernel.parameters()
        if len(arguments) != len(parameters):
            declared = ", ".join(each.text for each in parameters)
            raise CourseError(
                f"{name} takes {len(parameters)} arguments ({declared}); {len(arguments)} came."
            )
        if not 0 <= shared_bytes <= MOST_SHARED:
            raise CourseError(f"shared_bytes is at most {MOST_SHARED:,}; this is {shared_bytes}.")
        taken = [
            _taken(name, each, value) for each, value in zip(parameters, arguments, strict=True)
        ]
        arrays = [value for value in taken if isinstance(value, np.ndarray)]
        process = module.process()
        places = process.place(arrays)
        checks = {"all": COUNTS | RACES, "counts": COUNTS, "none": 0}[module.checks]
        sizes = " ".join(map(str, (*self.grid, *self.block)))
        entry = module._built.entries[name]
        lines = [
            f"launch {entry} {sizes} {shared_bytes} {checks & COUNTS} {checks} "
            f"{int(module.seconds * 1000)} {len(taken)}"
        ]
        where = iter(places)
        for each, value in zip(parameters, taken, strict=True):
            if isinstance(value, np.ndarray):
                lines.append(
                    f"array {next(where)} {value.nbytes} {each.bytes} "
                    f"{int(not each.is_const)} {each.name}"
                )
            else:
                lines.append(f"value {value.hex()}")
        started = time.perf_counter()
        try:
            found = process.ask(lines, module.seconds * WALL_FACTOR + 5)
        except ProcessLost as lost:
            raise KernelFault(name, "crash", 0, str(lost).rstrip(".")) from None
        launch = self._launch(found, time.perf_counter() - started)
        if found["fault"] is not None:
            raise self._fault(found["fault"], launch)
        if strict and launch.findings:
            first = launch.findings[0]
            text = first.text
            if first.other_line == first.line:
                text += ", in the same line"
            elif first.other_line:
                text += f", in line {first.other_line}"
            raise KernelFault(name, first.kind, first.line, text, module.source, launch)
        for each, value, place in zip(
            [p for p in parameters if p.is_pointer], arrays, places, strict=True
        ):
            if not each.is_const:
                process.fetch(value, place)
        return launch

    def _launch(self, found: dict[str, Any], seconds: float) -> Launch:
        places, base = self.kernel.module._places, found.get("base", 0)
        empty = Launch(self.kernel.name, self.grid, self.block, seconds=seconds)
        if "sites" not in found:
            return empty
        sites = [site | {"pc": site["pc"] - base} for site in found["sites"]]
        seen = [(each["pc"], each["other"]) for each in found["findings"]]
        lines = places.lines([site["pc"] for site in sites] + [pc for pair in seen for pc in pair])
        costs = [
            Cost(
                lines[site["pc"]], site["space"], site["access"], site["requests"], site["lanes"],
                site["lanes"] * site["size"], site["sectors"] if site["space"] == "global" else 0,
                site["wavefronts"], site["ideal"], site["contention"],
            )
            for site in sites
            if site["space"] != "code"
        ]  # fmt: skip
        steps: dict[int, list[int]] = {}
        for site in sites:
            if site["space"] == "code":
                numbers = steps.setdefault(lines[site["pc"]], [0, 0, 0])
                numbers[0] += site["requests"]
                numbers[1] += site["lanes"]
                numbers[2] += site["lanes"] * places.flops_after(site["pc"])
        return replace(
            empty,
            shared_bytes=found["shared_bytes"],
            barriers=found["barriers"],
            costs=by_line(costs),
            steps=tuple(Steps(line, *steps[line]) for line in sorted(steps)),
            findings=tuple(
                Finding(
                    each["kind"],
                    each["line"] or lines[each["pc"]],
                    lines[each["other"]],
                    each["text"],
                )
                for each in sorted(found["findings"], key=lambda each: str(each["kind"]))
            ),
            samples=tuple(
                Sample(
                    lines[site["pc"]],
                    site["space"],
                    site["access"],
                    site["array"],
                    site["size"],
                    tuple(None if offset < 0 else offset for offset in site["sample"]),
                )
                for site in sorted(sites, key=lambda site: lines[site["pc"]])
                if site["space"] != "code"
            ),  # fmt: skip
            timeline=tuple(map(tuple, found["timeline"])),
            printed=found["printed"].encode("latin-1").decode("utf-8", "replace"),
        )

    def _fault(self, fault: dict[str, Any], launch: Launch) -> KernelFault:
        module, kind = self.kernel.module, fault["kind"]
        line = fault["line"] or module._places.lines([fault["pc"]])[fault["pc"]]
        text = fault["text"]
        if kind == "timeout":
            text = f"the kernel still ran after {module.seconds:g} seconds; does every loop end?"
        elif kind == "crash":
            text = f"the kernel crashed ({text}{CRASHES.get(text, '')})"
        return KernelFault(self.kernel.name, kind, line, text, module.source, launch)


def three(what: str, size: Size) -> tuple[int, int, int]:
    """Sizes in x, y and z; raises CourseError for what is no size of a grid or a block."""
    sizes = tuple(size) if isinstance(size, Sequence) else (size,)
    if not 1 <= len(sizes) <= 3 or any(not isinstance(n, int | np.integer) or n < 1 for n in sizes):
        raise CourseError(f"The {what} is one to three whole numbers from 1 up; this is {size!r}.")
    x, y, z = (*map(int, sizes), 1, 1)[:3]
    return x, y, z


def _taken(kernel: str, parameter: Parameter, value: Any) -> "np.ndarray | bytes":
    """An argument as the process takes it."""
    if parameter.is_pointer:
        return _array(kernel, parameter, value)
    if isinstance(value, bool | int | float | np.number | np.bool_) and parameter.dtype != "?":
        try:
            packed = np.asarray(value).astype(
                parameter.dtype, casting="same_kind" if isinstance(value, float) else "unsafe"
            )
        except TypeError:
            raise CourseError(
                f"{kernel}: `{parameter.name}` is {parameter.dtype}; {value!r} came."
            ) from None
        if packed != value and not isinstance(value, float | np.floating):
            raise CourseError(
                f"{kernel}: `{parameter.name}` is {parameter.dtype}; {value!r} does not fit."
            )
        return packed.tobytes()
    raise CourseError(
        f"{kernel}: `{parameter.name}` is one {parameter.dtype}; {type(value).__name__} came."
    )


def _array(kernel: str, parameter: Parameter, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        if value.device.type != "cpu":
            raise CourseError(
                f"{kernel}: `{parameter.name}` lies on {value.device}; "
                "the emulator takes what lies on the CPU."
            )
        value = value.detach().numpy()
    if not isinstance(value, np.ndarray):
        raise CourseError(
            f"{kernel}: `{parameter.name}` is a pointer: give it an array; "
            f"{type(value).__name__} came."
        )
    if value.dtype != parameter.dtype:
        raise CourseError(
            f"{kernel}: `{parameter.name}` points to {parameter.dtype}; "
            f"the array holds {value.dtype}."
        )
    if not value.flags.c_contiguous:
        raise CourseError(
            f"{kernel}: `{parameter.name}` must lie in memory row by row: use np.ascontiguousarray."
        )
    if not parameter.is_const and not value.flags.writeable:
        raise CourseError(
            f"{kernel}: the kernel writes to `{parameter.name}`, and this array is read-only."
        )
    return value
