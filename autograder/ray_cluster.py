"""Coming into a Ray cluster, and out of it: an existing one, or one of this machine's own."""

import importlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import psutil

HOW_TO_GET = 'pip install "aisys[cluster]"'
CONNECT_SECONDS = 5.0
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns
    "RAY_agent_register_timeout_ms": "60000",  # its own 15 s are too few on a busy machine
}
LONGEST_FOLDER = 24
"""Ray makes Unix sockets far below its folder, and their paths end at 107 bytes."""


class RayError(Exception):
    """The Ray engine cannot do its work; the message says why and what to do, in a sentence."""


def the_ray() -> ModuleType:
    """The module `ray`; raises RayError where it is not installed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise RayError(
            f"The engine ray needs Ray, which is not installed here: {HOW_TO_GET}."
        ) from None


@contextmanager
def cluster(address: str | None, jobs: int | None) -> Iterator[ModuleType]:
    """Connect to a cluster, or start one, for the length of a with block.

    Args:
        address: `HOST:PORT` of an existing cluster that this machine belongs to, or `"auto"` for
            the one that runs here; None: a cluster of this machine alone is started and ended.
        jobs: How many processors a cluster of this machine alone has; by default all.

    Raises:
        RayError: There is no such cluster, or none can be started.
    """
    ray = the_ray()
    place = None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"
    with tempfile.TemporaryDirectory(
        prefix="aisys-ray-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        if address is None:
            _start(ray, jobs or os.cpu_count() or 1, folder)
        else:
            _look_for(address)
            try:
                ray.init(address=address, **QUIET)
            except Exception as error:
                raise RayError(
                    f"Ray cannot use the cluster at {address}: {_reason(error)}. "
                    "This machine must be one of its nodes."
                ) from None
        try:
            yield ray
        finally:
            with suppress(Exception):
                ray.shutdown()


def _start(ray: ModuleType, cpus: int, folder: str) -> None:
    """Start a cluster; on a busy machine Ray may find itself too slow, so it gets another try."""
    for last in (False, True):
        try:
            ray.init(num_cpus=cpus, include_dashboard=False, _temp_dir=folder, **QUIET)
            return
        except Exception as error:
            _end_all_of(folder)
            if last:
                raise RayError(f"Ray cannot start a cluster here: {_reason(error)}.") from None


def _end_all_of(folder: str) -> None:
    """End what was started for a cluster that did not come to be."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(folder in word for word in process.cmdline()):
                process.kill()
                process.wait(CONNECT_SECONDS)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _look_for(address: str) -> None:
    """Raise RayError unless something listens at an address; Ray itself takes long to say so."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise RayError(f'--address is HOST:PORT of a Ray cluster, or "auto"; this is {address!r}.')
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise RayError(
            f"No Ray cluster answers at {address} ({error.strerror or error}); "
            "start one with `ray start --head`, or leave --address out."
        ) from None
