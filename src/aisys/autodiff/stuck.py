"""A program that hangs: a trainer and a saver each hold what the other one waits for.

`python -m aisys.autodiff.stuck` runs it. On SIGUSR1, `faulthandler` writes the stacks of all its
threads to the standard error, without any help from the threads.
"""

import faulthandler
import signal
import threading

weights = threading.Lock()
history = threading.Lock()
both_have_begun = threading.Barrier(2)


def train() -> None:
    """Changes the weights, and notes it in the history."""
    with weights:
        both_have_begun.wait()
        print("ready", flush=True)
        with history:
            pass


def save() -> None:
    """Notes in the history that it saves, and copies the weights."""
    with history:
        both_have_begun.wait()
        with weights:
            pass


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    saver = threading.Thread(target=save, name="saver")
    saver.start()
    train()
    saver.join()
