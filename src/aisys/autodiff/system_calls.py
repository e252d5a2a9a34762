"""What a program asks of the kernel: its system calls, counted from strace's output."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aisys.autodiff.stacks import recorded

GROUPS = {
    "open, close": ("open", "openat", "close"),
    "read": ("read", "pread64", "readv", "preadv"),
    "ask about a file, seek": (
        *("lseek", "stat", "fstat", "lstat", "newfstatat", "statx", "ioctl", "fcntl"),
    ),
    "map memory": ("mmap", "munmap", "mremap", "mprotect", "brk", "madvise", "ftruncate"),
    "wait, wake": ("futex", "poll", "ppoll", "select", "pselect6", "epoll_wait", "wait4"),
    "write, send": ("write", "writev", "sendmsg", "recvmsg", "sendto", "recvfrom"),
}
OTHERS = "others"


@dataclass(frozen=True)
class SystemCalls:
    """The system calls of each marked part of a program.

    Attributes:
        counts: Part to name of the call to how often.
        about: Empty if counted just now; otherwise when and where it was recorded.
    """

    counts: dict[str, dict[str, int]]
    about: str = ""

    def grouped(self) -> dict[str, dict[str, int]]:
        """The same by what the calls are for."""
        group_of = {call: group for group, calls in GROUPS.items() for call in calls}
        result = {}
        for part, counts in self.counts.items():
            result[part] = dict.fromkeys([*GROUPS, OTHERS], 0)
            for call, count in counts.items():
                result[part][group_of.get(call, OTHERS)] += count
        return result


def trace_data_loader() -> SystemCalls:
    """Count the system calls of `data_loader`; the recorded run where strace is missing."""
    tool = shutil.which("strace")
    if tool is None:
        return _recorded_calls("strace is not installed (Debian: `apt install strace`; Linux only)")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "trace")
        command = [
            tool,
            "-f",
            "-o",
            str(output),
            sys.executable,
            "-m",
            "aisys.autodiff.data_loader",
        ]
        made = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if made.returncode != 0 or not output.exists():
            reason = (made.stderr.strip().splitlines() or ["no output"])[-1]
            return _recorded_calls(f"strace cannot trace here ({reason})")
        return SystemCalls(count_calls(output.read_text(encoding="utf-8", errors="replace")))


def count_calls(trace: str) -> dict[str, dict[str, int]]:
    """Count the calls between the marks "/mark/begin/NAME" and "/mark/end/NAME" of a trace.

    Args:
        trace: What `strace -f` wrote: the process, then a call with its arguments, on each line. A
            call during which another process ran takes two lines; only the first one counts.
    """
    counts: dict[str, Counter[str]] = {}
    part = ""
    for line in trace.splitlines():
        call = re.match(r"(?:\d+\s+)?(\w+)\(", line)
        mark = re.search(r'"/mark/(begin|end)/([^"]*)"', line)
        if mark:
            part = mark[2] if mark[1] == "begin" else ""
            if part:
                counts[part] = Counter()
        elif call and part:
            counts[part][call[1]] += 1
    return {part: dict(counter.most_common()) for part, counter in counts.items()}


def _recorded_calls(reason: str) -> SystemCalls:
    run = json.loads(recorded("system_calls.json"))
    return SystemCalls(run["counts"], f"{reason}; recorded: {run['about']}")
