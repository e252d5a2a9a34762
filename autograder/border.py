"""What may come over from a kernel: messages of known form and bounded size, and nothing else.

A submission's code runs in its kernel and knows the key that signs messages, so it can send
anything. Whatever no kernel sends, or too much of it, ends that kernel, and never the grader.
"""

import asyncio
import socket
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

from .harmless import Cleaner, text

MESSAGE_BYTES = 24 * 2**20
"""The largest message; a larger one closes the connection before it is read."""
WAITING_MESSAGES = 8
NEVER = 1_000_000_000
"""Milliseconds, eleven days: so long after its end a connection is made again."""
MOST_BYTES = 64 * 2**20
"""So much may come over while one cell or question is run."""
_LOOK = 0.01


class KernelLost(Exception):
    """The kernel hung (`"timeout"`), died (`"died"`) or misbehaved (`"flood"`, `"forged"`)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Channel(AsyncZMQSocketChannel):
    """A channel that counts what comes over it and lets only known forms pass."""

    heard = 0

    async def _recv(  # type: ignore[override]
        self, **kwargs: Any
    ) -> dict[str, Any]:
        parts = await self.socket.recv_multipart(**kwargs)
        self.heard += sum(map(len, parts))
        if self.heard > MOST_BYTES:
            raise KernelLost("flood", f"more than {MOST_BYTES // 2**20} MB came from the kernel")
        try:
            _, signed = self.session.feed_identities(parts)
            return self.known(self.session.deserialize(signed))
        except MemoryError:
            raise
        except Exception as error:
            # Whatever goes wrong in reading a message is the doing of whoever sent it.
            kind = type(error).__name__
            raise KernelLost("forged", f"the kernel sent what no kernel sends ({kind})") from None

    def known(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message in its proper types."""
        for part in ("header", "parent_header", "content"):
            if not isinstance(message[part], dict):
                raise TypeError(f"the {part} is no dict")
        if not isinstance(message["msg_type"], str):
            raise TypeError("the type is no text")
        return message


class _Replies(_Channel):
    """The replies to what is run and asked.

    Attributes:
        leaving: Whether the kernel was asked to end, as by `exit()`.
    """

    leaving = False

    def known(self, message: dict[str, Any]) -> dict[str, Any]:
        """The reply in its proper types."""
        content = super().known(message)["content"]
        for payload in content.get("payload") or []:
            self.leaving |= payload.get("source") == "ask_exit"
        return {**message, "content": {**content, "status": text(content.get("status"))}}


class _Outputs(_Channel):
    """What the kernel shows, made harmless and up to a limit; widgets and the like are left out.

    Attributes:
        cleaner: Makes it harmless.
        room: So many more characters are taken in.
        cut: Whether something was left out for lack of room.
    """

    room = 0
    cut = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cleaner = Cleaner()

    def known(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message in its proper types; what is not wanted becomes one that means nothing."""
        content, kind = super().known(message)["content"], message["msg_type"]
        if kind == "status":
            known: dict[str, Any] = {"execution_state": text(content["execution_state"])}
        elif kind == "clear_output":
            known = {"wait": bool(content.get("wait"))}
        else:
            output = self._output(kind, content)
            if output is not None:
                return {**message, "content": {**output, "transient": {}}}
            kind, known = "execute_input", {}
        header = {**message["header"], "msg_type": kind}
        return {**message, "header": header, "msg_type": kind, "content": known}

    def _output(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """An output, if it is one and there is room for it; of a text as much as there is."""
        if kind not in ("stream", "error", "display_data", "execute_result"):
            return None
        if kind == "stream" and isinstance(content.get("text"), str):
            self.cut |= len(content["text"]) > self.room
            content = {**content, "text": content["text"][: self.room]}
        output = self.cleaner.output({**content, "output_type": kind})
        size = len(str(output))
        if output is None or self.room <= 0 or (kind != "stream" and size > self.room):
            self.cut = True
            return None
        self.room -= size
        return dict(output)


class GuardedClient(AsyncKernelClient):
    """A kernel's client that believes nothing.

    Only two channels are opened, once, before anything of the submission has run; a connection
    that ends is not made again, so sockets that the submission puts in their place reach nobody.
    """

    shell_channel_class = Type(_Replies)
    iopub_channel_class = Type(_Outputs)  # type: ignore[assignment]
    _watches: tuple[zmq.asyncio.Socket, ...] = ()

    async def connect(self) -> None:
        """Open the channels; waits for a kernel that is still starting."""
        bound(self.context)
        for channel in ("shell", "iopub"):
            while not _listens(self._make_url(channel).removeprefix("ipc://")):
                await asyncio.sleep(_LOOK)
        self.start_channels(stdin=False, hb=False, control=False)
        self._watches = tuple(
            channel.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            for channel in (self.shell_channel, self.iopub_channel)
        )

    def expect(self, output_bytes: int) -> None:
        """Get ready for one cell or question, with room for so much output."""
        self.shell_channel.heard = self.iopub_channel.heard = 0
        self.shell_channel.leaving = self.iopub_channel.cut = False
        self.iopub_channel.room = output_bytes

    async def is_cut_off(self) -> bool:
        """Whether a connection has ended: the kernel has died, or sent too large a message."""
        return any([await watch.poll(0) for watch in self._watches])

    def stop_channels(self) -> None:
        """Close the channels that were opened, and open none for that."""
        for channel in (self._shell_channel, self._iopub_channel):
            if channel is not None and channel.is_alive():
                channel.socket.disable_monitor()
                channel.stop()
        for watch in self._watches:
            watch.close(linger=0)
        if self._created_context and not self.context.closed:
            self.context.destroy(linger=0)


def bound(context: zmq.Context) -> None:
    """Bound what comes over the sockets of a context, and have none of them connect again."""
    context.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
    context.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
    # To forbid it outright (-1) would drop the rest of a message that is being read, on which the
    # library ends this process: fq.cpp, `!_more`.
    context.setsockopt(zmq.RECONNECT_IVL, NEVER)


def _listens(path: str) -> bool:
    """Whether something listens at a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
