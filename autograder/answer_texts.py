"""What written answers read like when they were entered last, to see which have changed since."""

import hashlib
import json
from pathlib import Path

from .grades import cell_of
from .results import SubmissionResult

TEXTS = Path(".autograder") / "answers.json"
"""Where it is remembered, in the folder of the gradebook."""


class AnswerTexts:
    """Hashes of the written answers that were graded last, to see whether one has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            read = {}
        self._before: dict[str, str] = read if isinstance(read, dict) else {}
        self._now = dict(self._before)

    def same(self, result: SubmissionResult, cell: str) -> bool:
        """Whether an answer reads as it did when it was entered last."""
        name = f"{result.student}/{result.lab}/{cell}"
        return name in self._before and self._before[name] == self._hashes(result).get(name)

    def keep(self, result: SubmissionResult) -> None:
        """Remember the answers of a result."""
        self._now |= self._hashes(result)

    def write(self) -> None:
        """Write what is remembered, in one step."""
        if self._now == self._before:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".part")
        fresh.write_text(json.dumps(self._now), encoding="utf-8")
        fresh.replace(self._path)

    def _hashes(self, result: SubmissionResult) -> dict[str, str]:
        written = {cell_of(stage.stage) for stage in result.stages if not stage.exercises}
        cells = (result.notebook or {}).get("cells", [])
        return {
            f"{result.student}/{result.lab}/{cell['id']}": hashlib.sha256(
                "".join(cell["source"]).encode()
            ).hexdigest()[:16]
            for cell in cells
            if cell.get("id") in written
        }
