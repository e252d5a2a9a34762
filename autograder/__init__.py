"""The grading harness: build notebooks and kits, grade submissions, keep the gradebook, report.

Data flows one way: `text` (the MyST source) → `build` → notebook → `submission` → `kernel` and
`judge` → `results` → `gradebook`, `feedback`, `report`.
"""

import os
import sys
from pathlib import Path

# A student's attempts never reach the grader's own processes, where the references must run.
os.environ.pop("AISYS_ATTEMPTS", None)

# nbgrader starts alembic by name: this environment's programs must be found.
_programs = str(Path(sys.executable).parent)
if _programs not in os.environ.get("PATH", "").split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join([_programs, os.environ.get("PATH", "")])
