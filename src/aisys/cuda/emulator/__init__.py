"""CUDA C++ on the CPU, with what the hardware would count and what it would never tell.

Read in this order: `kernel` (what a user calls), `lexing` and `building` (from source to library),
`process` (where kernels run), `runtime/` (fibers, memory, counting, races: C++), `places` and
`counts` (what comes back), `occupancy` (what a multiprocessor has room for).
"""

from .building import CompileError
from .counts import Cost, Finding, Launch, Sample, Steps
from .kernel import Kernel, KernelFault, Module
from .lexing import SourceError
from .occupancy import ARCHITECTURES, Occupancy, occupancy

__all__ = [
    "ARCHITECTURES",
    "CompileError",
    "Cost",
    "Finding",
    "Kernel",
    "KernelFault",
    "Launch",
    "Module",
    "Occupancy",
    "Sample",
    "SourceError",
    "Steps",
    "occupancy",
]
