"""The names that no attempt needs unless its lab is about them, and what using them means."""

import re

SIGNALS = "takes over signals or timers by"
STOPS = "sends signals to processes by"
MEMORY = "reaches past Python by"
OBJECTS = "searches the interpreter's objects by"
FRAMES = "looks into the frames of other code by"
NETWORK = "opens connections by"
PROGRAMS = "starts programs by"
HOOKS = "hooks into the notebook's kernel by"
MESSAGES = "reaches for the kernel's own messages by"
TRACES = "traces other code by"
LATER = "leaves code for the kernel's end by"
CHANGES = "changes what imports find by"
FILES = "closes or replaces open files by"
LIMITS = "changes its limits by"
GRADER = "looks for the grader by"
CHECKS = "reaches into the course's checks by"

NAMES = {
    "os.kill": STOPS,
    "os.killpg": STOPS,
    "signal.pidfd_send_signal": STOPS,
    "signal.raise_signal": STOPS,
    "signal.signal": SIGNALS,
    "signal.setitimer": SIGNALS,
    "signal.alarm": SIGNALS,
    "signal.pthread_sigmask": SIGNALS,
    "signal.set_wakeup_fd": SIGNALS,
    "ctypes": MEMORY,
    "cffi": MEMORY,
    "ctypes.pythonapi": MEMORY,
    "gc.get_objects": OBJECTS,
    "gc.get_referrers": OBJECTS,
    "gc.get_referents": OBJECTS,
    "sys._getframe": FRAMES,
    "sys._current_frames": FRAMES,
    "inspect.stack": FRAMES,
    "inspect.currentframe": FRAMES,
    "socket": NETWORK,
    "socketserver": NETWORK,
    "socket.socket": NETWORK,
    "urllib.request": NETWORK,
    "http.client": NETWORK,
    "requests": NETWORK,
    "subprocess": PROGRAMS,
    "pty": PROGRAMS,
    "subprocess.run": PROGRAMS,
    "subprocess.Popen": PROGRAMS,
    "os.system": PROGRAMS,
    "os.popen": PROGRAMS,
    "os.fork": PROGRAMS,
    "os.forkpty": PROGRAMS,
    "os.posix_spawn": PROGRAMS,
    "os.execv": PROGRAMS,
    "os.execve": PROGRAMS,
    "ipykernel": MESSAGES,
    "zmq": MESSAGES,
    "comm": MESSAGES,
    "jupyter_client": MESSAGES,
    "ipykernel.kernelapp": MESSAGES,
    "IPython.core.interactiveshell": HOOKS,
    "sys.settrace": TRACES,
    "sys.setprofile": TRACES,
    "sys.addaudithook": TRACES,
    "threading.settrace": TRACES,
    "threading.setprofile": TRACES,
    "atexit": LATER,
    "atexit.register": LATER,
    "sys.meta_path": CHANGES,
    "sys.path_hooks": CHANGES,
    "os.closerange": FILES,
    "os.dup2": FILES,
    "resource.setrlimit": LIMITS,
    "autograder": GRADER,
    "aisys.course.checking": CHECKS,
    "aisys.course.kitinfo": CHECKS,
    "aisys.course.outcomes": CHECKS,
    "aisys.course.plain": CHECKS,
    "aisys.course.probes": CHECKS,
    "aisys.course.remote": CHECKS,
    "aisys.course.slots": CHECKS,
}
"""A module or something in one, and what using it means; a prefix counts too."""

GUARDED_MODULES = frozenset(
    "aisys base64 builtins contextlib copy importlib inspect io json linecache math msgpack numpy "
    "operator os random scipy signal struct sys threading time torch types zmq IPython "
    "ipykernel".split()
)
MAY_BE_SET = re.compile(
    r"torch\.backends\.|torch\.\S*config\.|sys\.(?:stdout|stderr|stdin|argv|path|ps1|ps2)\b"
    r"|sys\.dont_write_bytecode|sys\.tracebacklimit|os\.environ"
)
COURSE_NAMES = frozenset(("check", "attempt"))
ROOT_OF = {"__builtins__": "builtins"}
HARMLESS_SHELL = frozenset(
    "run_line_magic run_cell_magic magic system getoutput config __class__ set_next_input "
    "history_manager".split()
)
FRAME_ATTRIBUTES = {
    "f_back": FRAMES,
    "f_globals": FRAMES,
    "f_builtins": FRAMES,
    "tb_frame": FRAMES,
    "__subclasses__": OBJECTS,
}
PACKED = frozenset(
    "a85decode b16decode b32decode b64decode b85decode decompress fromhex unhexlify loads".split()
)
TRICKS = {
    "__reduce__": "makes objects that run code where they are unpickled,",
    "__reduce_ex__": "makes objects that run code where they are unpickled,",
}


def meaning(name: str) -> tuple[str, str]:
    """What using a dotted name means, and the part of it that says so; empty where nothing."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        begin = ".".join(parts[:count])
        if begin in NAMES:
            return NAMES[begin], name
    if re.match(r"aisys\.\w+\.checks\b", name):
        return CHECKS, name
    return "", ""
