"""What a probe's witness counts, put beside what its kernel answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aisys.course.errors import CourseError
from aisys.course.outcomes import outcome_from_plain, outcome_to_plain
from aisys.course.plain import Plain
from aisys.course.probes import witnessed
from aisys.course.witness import Witnesses


class Witnessing:
    """Asks a kernel; a question that names a witness gets one of its own, outside of the sandbox.

    Args:
        folder: Where sockets are made that the kernel can connect to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._of_module: dict[str, Witnesses] = {}

    def ask(
        self, ask: Callable[[Plain, float], Plain], request: dict[str, Any], seconds: float,
        namespace: Callable[[], int] = int,
    ) -> Plain:  # fmt: skip
        """The kernel's answer, with what the witness counted.

        Args:
            ask: Asks the kernel; the request then holds the witness's address.
            request: What is asked, with the witness's module, if any.
            seconds: The time for it.
            namespace: Tells the PID namespace of the kernel's processes, or 0.

        Raises:
            WitnessLost: The witness failed: nothing can be said of the attempt.
        """
        module = request.get("witness", "")
        if not module:
            return ask(request, seconds)
        if module not in self._of_module:
            self._of_module[module] = Witnesses(module, self._folder)
        (case,) = request["cases"]
        with self._of_module[module].of_case(case["inputs"], namespace()) as witness:
            answer = ask({**request, "witness": witness.address}, seconds)
            if not isinstance(answer, list) or len(answer) != 1:
                raise CourseError("the kernel's answer is no list of one outcome")
            return [outcome_to_plain(witnessed(outcome_from_plain(answer[0]), witness))]

    def close(self) -> None:
        """End all witnesses."""
        for witnesses in self._of_module.values():
            witnesses.close()
        self._of_module.clear()
