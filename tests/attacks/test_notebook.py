"""Attacks by what a notebook's file says: ids, metadata, cells copied, moved or missing."""

import nbformat

from tests.attacks.arena import CHECK, IMPORTS, KEY, LAB, STAGE, Arena

COLUMNS, LOOPS = "1_3-im2col", "1_3-conv2d_loops"
GRADED = {"grade": True, "locked": False, "solution": False, "schema_version": 3, "task": False}


def cell_of(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The cell with this id."""
    return next(cell for cell in notebook.cells if cell.id == name)


def test_a_copied_graded_cell_with_a_hundred_points_earns_nothing(arena: Arena) -> None:
    """It wants a second graded cell, of its own making, to count."""
    notebook = arena.notebook(solved=False)
    for number, name in enumerate((CHECK, CHECK, "9_9-check")):
        about = {"nbgrader": {**GRADED, "grade_id": name, "points": 100, "cell_type": "code"}}
        copy = nbformat.v4.new_code_cell("100.0", metadata={**about, "aisys": {"role": "check"}})
        copy.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "100.0"})]
        copy.id = name if number == 1 else f"copy-{number}"
        notebook.cells.insert(1, copy)
    after = arena.grade(notebook)
    assert (after.points, after.result.max_points) == (0, arena.most)
    assert [stage.stage for stage in after.result.stages] == [STAGE]
    graded = [c for c in after.notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert [cell.metadata.nbgrader.points for cell in graded] == [arena.most]
    assert any(f"A second cell {CHECK} was left out" in flag for flag in after.flags)


def test_metadata_that_unlocks_weighs_and_skips_changes_nothing(arena: Arena) -> None:
    """It wants to be graded by rules of its own."""
    tags = ["skip-execution", "raises-exception", "remove-cell", "nbgrader-score-100"]
    about = {**GRADED, "points": 100, "solution": True, "grade_id": "mine"}
    wanted = {}
    for name, solved in (("right", True), ("hole", False)):
        notebook = arena.notebook(solved=solved)
        for cell in notebook.cells:
            role = {"role": "experiment", "stage": "9.9", "exercise": "9.9 nothing"}
            cell.metadata = {"nbgrader": about, "tags": tags, "aisys": role, "deletable": True}
        wanted[name] = notebook
    after = arena.grade_all(wanted)
    assert after["right"].points == after["right"].result.max_points == arena.most
    assert (after["hole"].points, after["hole"].result.max_points) == (0, arena.most)


def test_ids_that_are_swapped_earn_nothing(arena: Arena) -> None:
    """It wants text to be taken for its check, and its one right attempt for all the others."""
    exchanged = arena.notebook(solved=False, attempts={KEY: arena.perfect[KEY]})
    columns, loops = (cell_of(exchanged, name) for name in (COLUMNS, LOOPS))
    columns.id, loops.id = loops.id, columns.id
    unchecked = arena.notebook(solved=False)
    check = cell_of(unchecked, CHECK)
    text = next(cell for cell in unchecked.cells if cell.cell_type == "markdown")
    check.id, text.id = text.id, check.id
    after = arena.grade_all({"exchanged": exchanged, "unchecked": unchecked})
    points = {e.key: e.points for e in after["exchanged"].result.stages[0].exercises}
    assert points[KEY] > 0 and sum(points.values()) == points[KEY]
    assert after["unchecked"].points == 0


def test_a_kernel_of_its_own_choice_is_not_started(arena: Arena) -> None:
    """It wants a command of its own to be run in place of Python, outside of any sandbox."""
    notebook = arena.notebook()
    notebook.metadata["kernelspec"] = {
        "name": f"../../../tmp/{arena.marker}",
        "display_name": "x",
        "language": "bash",
        "argv": ["touch", f"/tmp/{arena.marker}"],
        "metadata": {"kernel_provisioner": {"provisioner_name": "local-provisioner"}},
    }
    notebook.metadata["language_info"] = {"name": "bash", "file_extension": f"/{arena.marker}"}
    after = arena.grade(notebook)
    assert after.points == arena.most
    assert any("names a kernel for bash; it was graded with Python" in f for f in after.flags)


def test_a_notebook_that_names_somebody_else_is_its_senders(arena: Arena) -> None:
    """It wants its points for a friend, in another lab, by the rules of another version."""
    notebook = arena.notebook()
    notebook.metadata["aisys"] = {"lab": "lab9_rl", "version": "99", "student": "friend"}
    notebook.metadata["nbgrader"] = {"student": "friend", "assignment": "lab9_rl", "max_score": 900}
    after = arena.grade_all({"sender": notebook})
    assert list(after) == ["sender"]
    assert (after["sender"].result.student, after["sender"].result.lab) == ("sender", LAB)
    assert after["sender"].points == arena.most
    assert any("says that it is lab9_rl; expected" in flag for flag in after["sender"].flags)
    assert any("is of version 99" in flag for flag in after["sender"].flags)


def test_deleted_locked_cells_come_back(arena: Arena) -> None:
    """It wants no check, and no imports that say what is what."""
    wanted = {}
    for name, solved in (("right", True), ("hole", False)):
        notebook = arena.notebook(solved=solved)
        notebook.cells = [cell for cell in notebook.cells if cell.id not in (CHECK, IMPORTS)]
        wanted[name] = notebook
    after = arena.grade_all(wanted)
    assert (after["right"].points, after["hole"].points) == (arena.most, 0)
    for one in after.values():
        for name in (CHECK, IMPORTS):
            assert f"The cell {name} was missing; it was put back." in one.flags


def test_an_edited_check_is_the_original_again(arena: Arena) -> None:
    """It wants its own code to run as the check, with the grader's rights."""
    notebook = arena.notebook(solved=False)
    cell_of(notebook, CHECK).source = f"open('/tmp/{arena.marker}', 'w')\n3.0"
    after = arena.grade(notebook)
    assert after.points == 0
    assert cell_of(after.notebook, CHECK).source == cell_of(arena.original, CHECK).source
    assert f"The locked cell {CHECK} had been edited; it was restored." in after.flags


def test_malformed_cells_cost_only_their_own_submission(arena: Arena) -> None:
    """They want the grader to stop at what no notebook holds."""
    head = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
    submissions = {
        "number": head + "[7]}",
        "null": head + "[null]}",
        "deep": head + "[" * 100_000 + "]" * 100_000 + "}",
        "types": head + '[{"cell_type": [], "id": {}, "metadata": [], "source": {}}]}',
        "surrogate": head + '[{"cell_type": "code", "source": "\\ud800", "id": "\\udfff"}]}',
        "constants": head + '[{"cell_type": "code", "source": "1", "outputs": NaN}]}',
        "integer": '{"nbformat": ' + "9" * 10_000 + ', "cells": [{"cell_type": "code"}]}',
        "twice": head + '[], "cells": {"a": 1}}',
        "other": '{"worksheets": [{"cells": []}], "nbformat": 3}',
        "bom": b"\xff\xfe{\x00}\x00",
    }
    for name, after in arena.grade_all(submissions).items():
        assert after.points == 0, name
        assert after.result.status in ("unreadable", "graded"), name
