"""The course's `ClearSolutions`: each exercise's own stub in place of its solution."""

import re

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import preprocessors

from .sources import BEGIN, END


class ClearSolutions(preprocessors.ClearSolutions):
    """Replaces each solution by the stub that the builder wrote into the cell's metadata."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Clear one cell; a cell without stubs of its own is nbgrader's to clear."""
        stubs = cell.metadata.get("aisys", {}).pop("stubs", None)
        if stubs is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = replace_solutions(cell.source, list(stubs))
        return cell, resources


def replace_solutions(source: str, stubs: list[str]) -> str:
    """A cell's source with the n-th solution region replaced by the n-th stub, indented alike."""
    lines: list[str] = []
    waiting = list(stubs)
    inside = False
    for line in source.splitlines():
        if BEGIN.lstrip("# ") in line:
            indent = re.match(r"\s*", line)[0]  # type: ignore[index]
            lines += [(indent + part) if part else "" for part in waiting.pop(0).splitlines()]
            inside = True
        elif END.lstrip("# ") in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)
