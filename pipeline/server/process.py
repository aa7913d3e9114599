"""A local, authenticated SGLang server whose life is bound to ours.

The server runs in a process group of its own, led by a guard (`child`). The group ends when
it is stopped, when the block that started it is left in whatever way, when the SGLang process ends,
and when our own process dies: the guard holds the other end of a pipe that only we keep open.
"""

import asyncio
import contextlib
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

import httpx
from pydantic import SecretStr

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import ServerAccess, check_access
from embed_index.pipeline.embedding.proven import UnprovenServerError
from embed_index.pipeline.secrecy.keyring import Keyring
from embed_index.pipeline.server.child import ACCESS_LOG_VARIABLE
from embed_index.pipeline.server.key_pipe import as_line
from embed_index.pipeline.server.launch import ServerProfile, child_environment, sglang_flags
from embed_index.pipeline.server.launch_checks import (
    LOOPBACK,
    check_installed,
    check_model,
    check_port,
    free_port,
)
from embed_index.pipeline.server.process_group import kill_group, living_members, wait_until_empty
from embed_index.pipeline.server.server_log import name_log, next_log, open_log
from embed_index.schemas.errors import ServerError

_CHILD_MODULE = "embed_index.pipeline.server.child"
_POLL_SECONDS = 0.1
KILL_SECONDS = 30.0
"""For a killed group to be gone."""
_PROBE_SECONDS = 5.0
_FIRST_ANSWER_SECONDS = 300.0
"""A GPU server may compile kernels for its first request."""
_TAIL_LINES = 20
_TAIL_BYTES = 65_536
_NO_OTHERS = Keyring()


class ManagedServer:
    """One SGLang server on this host; `async with` starts it and leaves nothing behind.

    async with ManagedServer(profile, log_folder=folder) as server:
        ...  # whatever can be done while the model loads
        access = await server.wait_ready()
    """

    def __init__(
        self,
        profile: ServerProfile,
        *,
        log_folder: Path,
        log_owner: str = "",
        port: int | None = None,
        gpu: int | None = None,
        keyring: Keyring = _NO_OTHERS,
        access_log: Path | None = None,
        start_seconds: float = 1_800.0,
        grace_seconds: float = 15.0,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Choose port and own key; nothing is started yet.

        Args:
            profile: What is served, and on what.
            log_folder: Gets the server's log; created where it is missing.
            log_owner: What the log is called, such as a run's name; empty for a name of its own.
            port: Loopback port; None takes a free one.
            gpu: Position among the visible GPUs, for one server a GPU; None leaves it to SGLang.
            keyring: Keys of others; it has a random one of its own in any case.
            access_log: Where it is written who of them asked; None for nowhere.
            start_seconds: Longest wait for readiness; a model's first download counts.
            grace_seconds: From SIGTERM to SIGKILL.
            environ: Where the server's environment is taken from.
        """
        self._profile = profile
        self._port = port if port is not None else free_port()
        self._gpu = gpu
        self._start_seconds = start_seconds
        self._grace_seconds = grace_seconds
        self._environ = environ
        self._keyring = keyring
        self._access_log = access_log
        self._log_owner = log_owner or name_log("server")
        self.log_path = next_log(log_folder, self._log_owner, gpu=gpu)
        self.endpoint = EmbeddingEndpoint.from_settings(
            f"http://{LOOPBACK}:{self._port}",
            key=SecretStr(secrets.token_urlsafe(32)),
            model=profile.model,
            is_ours=True,
        )
        self._guard: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._gone = False

    def __repr__(self) -> str:
        return f"ManagedServer({self.url!r})"

    @property
    def url(self) -> str:
        """Base address, without `/v1`."""
        return self.endpoint.url

    @property
    def key(self) -> SecretStr:
        """This process's own, for this one life; nobody else is told it."""
        return self.endpoint.key

    @property
    def process_group(self) -> int | None:
        """Id of the server's process group; None before the start."""
        return self._guard.pid if self._guard else None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(self) -> None:
        """Launch the server and return at once; it is not ready yet.

        Raises:
            ConfigurationError: Model folder, port or a flag is unusable; nothing was started.
            ServerError: The process cannot be started.
        """
        if self._guard is not None:
            raise RuntimeError("a managed server starts once")
        flags = sglang_flags(self._profile, port=self._port)
        local_model = check_model(self._profile.model)
        check_installed()
        check_port(self._port)
        environment = child_environment(
            self._environ, device=self._profile.device, local_model=local_model, gpu=self._gpu
        )
        if self._access_log is not None:
            environment[ACCESS_LOG_VARIABLE] = str(self._access_log.resolve())
        self.log_path, log = open_log(self.log_path.parent, self._log_owner, gpu=self._gpu)
        try:
            # Should an exception strike between here and the assignment, the pipe is closed with
            # the object, and the guard ends the group.
            self._guard = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD_MODULE, *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise ServerError(f"The embedding server cannot be started: {error}.") from error
        finally:
            os.close(log)
        self.take_keys(self._keyring)

    def take_keys(self, keyring: Keyring) -> None:
        """Have the server take these keys, and its own, from now on and no others.

        It does so at once and without a pause; what was let in before is finished.
        """
        self._keyring = keyring
        if self._guard is None or self._gone:
            return
        line = as_line(keyring, owner=self.key, parent=os.getpid())
        # A guard that has already ended is found by whoever waits for readiness or watches.
        with contextlib.suppress(BrokenPipeError):
            _write_all(self._lifeline(), line)

    async def wait_ready(self, *, dimension: int | None = None) -> ServerAccess:
        """Wait until the server embeds, and check it; on failure or cancellation it is ended.

        Args:
            dimension: Width that the job wants; None accepts any.

        Raises:
            ConfigurationError: Its vectors are narrower than `dimension`, or its context or pool is
                too small for the longest input.
            ServerError: It ended, did not get ready in time, or failed a check. The message holds
                the log's last lines.
        """
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._wait_for_answer()
                access = await self._checked_access(dimension=dimension)
        except TimeoutError as error:
            self.kill()
            raise ServerError(
                f"The embedding server was not ready after {self._start_seconds:.0f} s.\n"
                f"{self._last_lines()}",
                remedy=f"Allow it more time, or see its log {self.log_path}.",
            ) from error
        except BaseException:
            self.kill()
            raise
        return access

    async def watch(self) -> NoReturn:
        """Wait until the server ends unasked, and raise; for a task beside those that use it.

        Raises:
            ServerError: The server ended. The message holds the log's last lines.
        """
        await _until(lambda: not self.is_alive() and not self._stopping)
        self._raise_ended("ended unexpectedly")

    def is_alive(self) -> bool:
        """Tell whether the server runs, ready or not."""
        return self._guard is not None and self._guard.poll() is None

    def log_tail(self, num_lines: int = _TAIL_LINES) -> list[str]:
        """Return the last lines of the server's log, which never holds the key."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-num_lines:]

    async def stop(self) -> None:
        """End the server: SIGTERM, a grace period, SIGKILL; return when nothing of it runs."""
        self._stopping = True
        if self._guard is None or self._gone:
            return
        try:
            if self.is_alive():
                self._guard.send_signal(signal.SIGTERM)
                await _until(lambda: not self.is_alive(), seconds=self._grace_seconds)
            group = self._guard.pid
            kill_group(group)
            await _until(lambda: not living_members(group), seconds=KILL_SECONDS)
        finally:
            # Cancelled, we no longer wait politely.
            self.kill()

    def kill(self) -> None:
        """End the server's whole process group at once, and wait for it; idempotent."""
        self._stopping = True
        if self._guard is None or self._gone:
            return
        kill_group(self._guard.pid)
        self._lifeline().close()
        self._guard.wait()
        # Once the group is empty its id may come to mean another one.
        self._gone = wait_until_empty(self._guard.pid, timeout_seconds=KILL_SECONDS)

    def _lifeline(self) -> IO[bytes]:
        if self._guard is None or self._guard.stdin is None:
            raise RuntimeError("the managed server was not started")
        return self._guard.stdin

    async def _wait_for_answer(self) -> None:
        """Poll until our server answers; whoever else does is told nothing."""
        async with self.endpoint.http_client() as http:
            while True:
                if not self.is_alive():
                    self._raise_ended("ended while it was starting")
                try:
                    await http.get("/model_info", timeout=_PROBE_SECONDS)
                except UnprovenServerError as error:
                    raise ServerError(
                        f"Another program answers on port {self._port}.",
                        remedy="Choose another port, or none to take a free one.",
                    ) from error
                except httpx.TransportError:
                    # Not there yet.
                    pass
                else:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def _checked_access(self, *, dimension: int | None) -> ServerAccess:
        try:
            # On an input longer than its pool a server would hang for ever.
            return await check_access(
                self.endpoint,
                dimension=dimension,
                max_tokens=self._profile.max_tokens,
                answer_seconds=_FIRST_ANSWER_SECONDS,
            )
        except ServerError:
            if not self.is_alive():
                self._raise_ended("ended while it was starting")
            raise

    def _raise_ended(self, how: str) -> NoReturn:
        if self._guard is not None:
            # The guard ends last, so that the log is complete; the rest of the group may linger.
            wait_until_empty(self._guard.pid, timeout_seconds=_PROBE_SECONDS)
        raise ServerError(
            f"The embedding server {how}.\n{self._last_lines()}",
            remedy=f"See its whole log: {self.log_path}",
        )

    def _last_lines(self) -> str:
        return "\n".join(["Its last log lines:", *self.log_tail()])


def _write_all(pipe: IO[bytes], line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[pipe.write(view) :]


async def _until(condition: Callable[[], bool], *, seconds: float | None = None) -> None:
    """Wait until the condition holds or the time is over; None waits for ever."""
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    while True:
        if condition() or time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)
