"""Addresses of a compiled kernel, told as lines of its source and as floating-point operations."""

import bisect
import re
import subprocess
from functools import cached_property
from pathlib import Path

_FLOPS = re.compile(r"\b(?:v?)(add|sub|mul|div|sqrt)([sp][sd])\b")
_WIDTH = {"ss": 1, "sd": 1, "ps": 4, "pd": 2}
_CALLS = re.compile(r"call\w*\s+\S+\s+<(\w+)@plt>")


class Places:
    """What is known of the addresses of one library; asked of binutils once an address."""

    def __init__(self, library: Path) -> None:
        self._library = library
        self._lines: dict[int, int] = {}

    def lines(self, addresses: list[int]) -> dict[int, int]:
        """The line of `kernel.cu` for each return address; 0 where there is none."""
        unknown = sorted(
            {address for address in addresses if address and address not in self._lines}
        )
        for begin in range(0, len(unknown), 2000):
            self._ask(unknown[begin : begin + 2000])
        return {address: self._lines.get(address, 0) for address in addresses}

    def flops_after(self, address: int) -> int:
        """Floating-point operations of the block of instructions that begins at this address."""
        starts, flops = self._blocks
        at = bisect.bisect_left(starts, address)
        return flops[at] if at < len(starts) and starts[at] == address else 0

    def _ask(self, addresses: list[int]) -> None:
        # A return address is that of the next instruction.
        command = [
            "addr2line",
            "-a",
            "-i",
            "-e",
            str(self._library),
            *(hex(address - 1) for address in addresses),
        ]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        current = 0
        for line in text.splitlines():
            if line.startswith("0x"):
                current = int(line, 16) + 1
                self._lines[current] = 0
            # Of inlined functions, the innermost that the student wrote.
            elif not self._lines[current] and (
                match := re.search(r"(?:^|/)kernel\.cu:(\d+)", line)
            ):
                self._lines[current] = int(match[1])

    @cached_property
    def _blocks(self) -> tuple[list[int], list[int]]:
        """Where blocks of instructions begin, after the call to us, and their operations."""
        command = ["objdump", "-d", "--no-show-raw-insn", str(self._library)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        starts: list[int] = []
        flops: list[int] = []
        begins = False
        for line in text.splitlines():
            match = re.match(r"\s*([0-9a-f]+):\t(.*)", line)
            if not match:
                continue
            if begins:
                starts.append(int(match[1], 16))
                flops.append(0)
            begins = "<__sanitizer_cov_trace_pc@plt>" in match[2]
            if not starts:
                continue
            if operation := _FLOPS.search(match[2]):
                flops[-1] += _WIDTH[operation[2]]
            elif call := _CALLS.search(match[2]):
                name = call[1]
                if not name.startswith(("emu_", "__")):
                    flops[-1] += 2 if name in ("fma", "fmaf") else 1
        return starts, flops
