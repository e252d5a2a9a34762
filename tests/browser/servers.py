"""A Jupyter server of a test's own: its settings, its port, its end."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

SECONDS = 60
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": '{"fetchNews": "false"}',
    "@jupyterlab/apputils-extension/themes": '{"theme": "%s"}',
    # All cells are in the page, whatever part of it is in view.
    "@jupyterlab/notebook-extension/tracker": '{"windowingMode": "none"}',
}


@contextmanager
def running(
    command: Sequence[str], folder: Path, home: Path, theme: str = "JupyterLab Light"
) -> Iterator[str]:
    """Run a command that starts a Jupyter server, and end the server and its kernels afterwards.

    Args:
        command: The command; the server takes its port from `JUPYTER_PORT`.
        folder: The folder that it runs in.
        home: Holds everything of Jupyter's that otherwise is the user's; made where it is missing.
        theme: The theme of JupyterLab.

    Yields:
        The server's address with its token, as it was printed.
    """
    for name, text in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("%s", theme), encoding="utf-8")
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield _address(lines)
    finally:
        _end(process, home / "runtime")
        reader.join(SECONDS)


def _environment(home: Path) -> dict[str, str]:
    foreign = ("JUPYTER", "JPY_", "NBGRADER", "AISYS", "IPYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "LAB_BROWSER": "0",
        "JUPYTER_PORT": str(_free_port()),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as listener:
        return int(listener.getsockname()[1])


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _address(lines: "queue.SimpleQueue[str]") -> str:
    """The address that the server prints, once it answers there: it prints it a little before."""
    said = []
    while line := lines.get(timeout=SECONDS):
        said.append(line)
        if found := re.search(r"http://localhost:(\d+)/\S*token=\w+", line):
            _wait_for(int(found[1]))
            return found[0]
    raise RuntimeError(f"the server ended before it was ready:\n{''.join(said)}")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return socket.create_connection(("localhost", port), timeout=SECONDS).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _end(process: subprocess.Popen[str], runtime: Path) -> None:
    """Ask the server to end, which ends its kernels; then see that nothing is left.

    Raises:
        AssertionError: A kernel outlived the server.
    """
    started = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for about in runtime.glob("jpserver-*.json"):  # removed by a server that has ended
        os.kill(json.loads(about.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
    _, left = psutil.wait_procs(started, timeout=20)
    for each in left:
        each.kill()
    process.wait()
    assert not left, f"these outlived the server: {left}"
