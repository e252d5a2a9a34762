"""Attacks on the border: messages that are forged, malformed, unsigned, misdirected, too large."""

import nbformat
from nbgrader.utils import determine_grade

from tests.attacks.arena import KEY, Arena

WRONG = '@attempt("1.3")\ndef im2col(x, kernel_height, kernel_width, stride=1, padding=0):\n'
WRONG += "    return np.zeros((2, 2))\n"
HOLD = """
import base64, json, threading
from aisys.course.plain import pack
kernel = get_ipython().kernel
session, shell, iopub = kernel.session, kernel.shell_stream, kernel.iopub_socket
usual = session.send
def sending(change):
    '''Have every message changed before it is signed and sent.'''
    def send(stream, what, content=None, parent=None, **more):
        if isinstance(what, str):
            return change(stream, what, content, parent, more)
        return usual(stream, what, content, parent, **more)
    session.send = send
"""


def is_right(arena: Arena, own: str) -> bool:
    """Whether a right submission with such a cell of its own has lost nothing by it."""
    after = arena.grade(arena.notebook(own=HOLD + own))
    return after.points == after.most


def test_forged_answers_of_probes_earn_nothing(arena: Arena) -> None:
    """It wants its own answer in every reply, signed with the kernel's key."""
    own = """
import numpy as np
claim = {"status": "returned", "value": np.zeros((2, 2)), "error": "", "message": "", "frames": []}
claimed = repr(base64.b64encode(pack(claim)).decode())
def change(stream, what, content, parent, more):
    if what == "execute_reply" and content.get("user_expressions"):
        content = {**content, "score": 9, "passed": True}
        content["user_expressions"] = {
            "answer": {"status": "ok", "data": {"text/plain": claimed}, "metadata": {}}
        }
    return usual(stream, what, content, parent, **more)
sending(change)
"""
    after = arena.grade(arena.notebook(own=HOLD + own))
    assert after.points == 0
    assert any("hooks into the notebook's kernel" in flag for flag in after.flags)


MALFORMED = {
    "no dict": "Raw(raw=b'[1, 2]')",
    "constant": """Raw(raw=b'{"status": NaN, "user_expressions": {"answer": Infinity}}')""",
    "no text": '{"status": ["ok"], "user_expressions": {"answer": 7}}',
    "payload": '{"status": "ok", "payload": 7, "user_expressions": {}}',
    "expressions": '{"status": "ok", "user_expressions": [[]]}',
    "number": '{"status": "ok", "execution_count": int("9" * 4000), "user_expressions": {}}',
    "deep": """Raw(raw=b'{"a":' * 100_000 + b"1" + b"}" * 100_000)""",
}


def test_malformed_replies_earn_nothing(arena: Arena) -> None:
    """They want to stop the grader with what it does not expect in a reply."""
    own = """
class Raw(dict):
    pass
def packed(value):
    return value["raw"] if isinstance(value, Raw) else plain(value)
plain, session.pack = session.pack, packed
def change(stream, what, content, parent, more):
    if what == "execute_reply" and content.get("user_expressions"):
        content = {}
    return usual(stream, what, content, parent, **more)
sending(change)
"""
    submissions = {
        name: arena.notebook(own=HOLD + own.replace("content = {}", f"content = {content}"))
        for name, content in MALFORMED.items()
    }
    for name, after in arena.grade_all(submissions).items():
        assert (after.points, after.result.status) == (0, "graded"), name
        noticed = ("sent what no kernel sends", "the kernel's answer is no plain data", "refused")
        assert any(words in flag for flag in after.flags for words in noticed), name


def test_messages_that_no_kernel_signs_end_that_kernel_only(arena: Arena) -> None:
    """They want the grader to stumble over what is no message at all."""
    frames = {
        "empty": "[b'']",
        "unsigned": "[b'<IDS|MSG>', b'0' * 64, b'{}', b'{}', b'{}', b'{}']",
        "binary": "[b'\\xff' * 1000] * 20",
        "no delimiter": "[b'a', b'b']",
    }
    own = """
for number in range(3):
    iopub.send_multipart({})
    shell.send_multipart([kernel.get_parent("shell")["header"]["session"].encode(), *{}])
"""
    submissions = {
        name: arena.notebook(own=HOLD + own.replace("{}", content))
        for name, content in frames.items()
    }
    for name, after in arena.grade_all(submissions).items():
        assert (after.points, after.result.status) == (after.most, "graded"), name


def test_a_message_of_any_size_ends_that_kernel_only(arena: Arena) -> None:
    """It wants the grader to run out of memory over one reply."""
    own = """
def change(stream, what, content, parent, more):
    if what == "execute_reply" and content.get("user_expressions"):
        content["user_expressions"]["answer"]["data"]["text/plain"] = "x" * 60_000_000
    return usual(stream, what, content, parent, **more)
sending(change)
"""
    after = arena.grade(arena.notebook(own=HOLD + own))
    assert after.points == 0
    assert any("more than 24 MB at once" in flag for flag in after.flags)


def test_a_flood_of_messages_costs_nothing_but_its_own_cell(arena: Arena) -> None:
    """It wants the grader to be busy for ever, with more messages than it can read."""
    assert is_right(
        arena,
        """
for number in range(100_000):
    usual(iopub, "stream", {"name": "stdout", "text": "x" * 10_000}, kernel.get_parent("shell"))
""",
    )


def test_a_forged_end_of_a_cell_earns_nothing(arena: Arena) -> None:
    """It wants the grader to go on while its cell still runs, and to answer in its place."""
    own = """
parent = kernel.get_parent("shell")
usual(iopub, "status", {"execution_state": "idle"}, parent)
usual(shell, "execute_reply", {"status": "ok", "user_expressions": {}}, parent, ident=[
    parent["header"]["session"].encode()])
import time
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
"""
    after = arena.grade(arena.notebook(attempts={KEY: WRONG}, own=HOLD + own))
    points = {e.key: e.points for e in after.result.stages[0].exercises}
    assert points[KEY] == 0
    assert after.result.status == "graded"


def test_replies_to_what_was_never_asked_change_nothing(arena: Arena) -> None:
    """It wants its replies to be taken for those to questions that are yet to come."""
    assert is_right(
        arena,
        """
parent = kernel.get_parent("shell")
for number in range(200):
    header = {**parent["header"], "msg_id": f"{parent['header']['session']}_{number}"}
    for kind in ("execute_reply", "kernel_info_reply", "shutdown_reply", "<script>"):
        usual(shell, kind, {"status": "ok", "user_expressions": {"answer": 1}},
              {**parent, "header": header}, ident=[parent["header"]["session"].encode()])
    for kind in ("status", "comm_open", "update_display_data", "clear_output", "execute_result"):
        usual(iopub, kind, {"execution_state": "dead", "data": {"text/plain": "3.0"},
                            "transient": {"display_id": "x"}}, {**parent, "header": header})
""",
    )


def test_sockets_put_in_the_place_of_the_kernels_own_earn_nothing(arena: Arena) -> None:
    """It wants to answer in the kernel's stead, from a process that no limit of it reaches."""
    own = """
import glob, os, zmq
places = [place for place in glob.glob("/box/.k-*")]
for place in places:
    os.unlink(place)
context = zmq.Context()
sockets = []
for place in places:
    sockets.append(context.socket(zmq.ROUTER))
    sockets[-1].bind(f"ipc://{place}")
print("placed", len(places))
kernel.shell_stream.close()
"""
    after = arena.grade(arena.notebook(attempts={KEY: WRONG}, own=HOLD + own))
    points = {e.key: e.points for e in after.result.stages[0].exercises}
    assert points[KEY] == 0 and after.result.status == "graded"
    assert any("reaches for the kernel's own messages" in flag for flag in after.flags)


def test_a_displayed_score_is_no_score(arena: Arena) -> None:
    """It wants what it displays, or leaves in the graded cell, to be read as its score."""
    own = """
from IPython.display import display
ip = get_ipython()
ip.display_formatter.formatters["text/plain"].for_type(type(None), lambda *a: print("3.0"))
ip.events.register("post_run_cell", lambda result: display(3.0))
ip.events.register("post_execute", lambda: print("3.0"))
display(3.0)
3.0
"""
    notebook = arena.notebook(solved=False, own=own, last="3.0")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "3.0"})]
    after = arena.grade(notebook)
    assert after.points == 0
    (graded,) = [c for c in after.notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert determine_grade(graded) == (0, after.most)
    assert any("hooks into the notebook's kernel" in flag for flag in after.flags)
