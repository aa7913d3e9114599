"""The authenticated embedding server alone, until it is stopped."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import click
from pydantic import SecretStr

from embed_index.jobs.adapters.inputs import check_own_weights
from embed_index.jobs.adapters.servers import min_tokens_per_second, server_profile
from embed_index.jobs.cli.signals import has_terminal, receiving
from embed_index.jobs.serving.served_keys import ServedKeys, TakenKeys
from embed_index.jobs.settings.loading import LoadedSettings
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.model.files import ModelFiles, check_max_tokens, find_model
from embed_index.pipeline.secrecy.keyring import Keyring
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.launch_checks import LOOPBACK, free_port
from embed_index.pipeline.server.life import ServerProcess
from embed_index.pipeline.server.process import KILL_SECONDS, ManagedServer
from embed_index.pipeline.server.server_log import name_log
from embed_index.pipeline.server.serving import Watchfulness, keep_serving
from embed_index.pipeline.server.serving_record import ServingRecord, recorded_serving
from embed_index.pipeline.server.supervision import Tell
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.settings import JobSettings

_ENDING = (signal.SIGINT, signal.SIGTERM)
_SIGNALS = (*_ENDING, signal.SIGHUP)
_HEALTH_SECONDS = 5.0
"""SGLang looks once a second whether it answers anybody."""
_POLL_SECONDS = 0.1

_READ_AGAIN_SECONDS = 10.0

Launcher = Callable[[Keyring], ServerProcess]


def serve_until_stopped(loaded: LoadedSettings, *, reload: Callable[[], LoadedSettings]) -> None:
    """Run a server with the key of the settings, and those with a name, until SIGINT or SIGTERM.

    On SIGHUP, and when the time of a rotation's second key is over, it takes what `reload` and the
    state folder's files say then, without a pause.

    Args:
        loaded: The settings, with a key.
        reload: Loads them anew, for the key alone; raises ConfigurationError.

    Raises:
        ConfigurationError: Model, port, key or a flag is unusable.
        LockHeldError: Another server runs from the state folder.
        ServerError: The server does not start, or failed too often.
    """
    settings, source = loaded.settings, loaded.sources["server_key"]
    # Chosen once, so that those who use the server find it again after a restart.
    port = settings.server_port or free_port()
    record = ServingRecord.of_this_process(
        url=f"http://{LOOPBACK}:{port}",
        key_file=source.file,
        key_from_systemd=source.from_systemd,
    )
    keys = ServedKeys(
        settings.state_dir,
        read_key=lambda: _key_of(reload().settings),
        from_systemd=source.from_systemd,
    )
    job = ServerJob(
        launcher=_launcher(settings, port=port),
        watchfulness=watchfulness_of(settings),
        tell=_tell,
        read_keys=keys.read,
        end_seconds=settings.grace_seconds + KILL_SECONDS,
    )
    with recorded_serving(settings.state_dir, record):
        asyncio.run(job.run(keys.read(_key_of(settings))))


def _key_of(settings: JobSettings) -> SecretStr:
    if settings.server_key is None:
        raise ConfigurationError(
            "server_key: a server needs a key",
            remedy="Put EMBEDDING_API_KEY into .env, or give --key-file.",
        )
    return settings.server_key


def _longest_input(settings: JobSettings, *, model: ModelFiles | None = None) -> int:
    """Return what is set, else what the model may be given."""
    if "max_tokens" not in settings.model_fields_set:
        return min(MAX_CONTEXT_TOKENS, model.max_positions if model else MAX_CONTEXT_TOKENS)
    if model is not None:
        check_max_tokens(settings.max_tokens, model)
    return settings.max_tokens


def watchfulness_of(settings: JobSettings) -> Watchfulness:
    """Return how long a server may answer nobody: it may be at work on its longest input."""
    longest_input_seconds = _longest_input(settings) / min_tokens_per_second()
    return Watchfulness(
        answer_seconds=_HEALTH_SECONDS + settings.request_timeout_seconds + longest_input_seconds
    )


def _launcher(settings: JobSettings, *, port: int) -> Launcher:
    model = find_model(settings.model, source=settings.model_source, revision=settings.revision)
    check_own_weights(settings, model)
    profile = server_profile(
        settings, model=model, max_tokens=_longest_input(settings, model=model)
    )

    owner = name_log("serve")

    log_folder = settings.state_dir / "logs"

    def launch(keyring: Keyring) -> ServerProcess:
        server = ManagedServer(
            profile,
            log_folder=log_folder,
            log_owner=owner,
            port=port,
            keyring=keyring,
            access_log=log_folder / "access.log",
            start_seconds=settings.start_timeout_seconds,
            grace_seconds=settings.grace_seconds,
        )
        _tell(f"loading the model; log: {server.log_path}")
        return server

    return launch


class ServerJob:
    """A server that is kept up, and what signals make of it."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        watchfulness: Watchfulness,
        tell: Tell,
        read_keys: Callable[[], TakenKeys],
        end_seconds: float = 60.0,
    ) -> None:
        """Prepare the job.

        Args:
            launcher: Makes a server with keys, not started.
            watchfulness: How closely it is watched.
            tell: Called with what people should know.
            read_keys: Reads the keys as they are now; raises ConfigurationError.
            end_seconds: How long a server may take to end.
        """
        self._launcher = launcher
        self._watchfulness = watchfulness
        self._tell = tell
        self._read_keys = read_keys
        self._end_seconds = end_seconds
        self._received: asyncio.Queue[signal.Signals] = asyncio.Queue()
        # Whoever starts it under nohup wants it to outlive the terminal.
        is_under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._ends_with_terminal = has_terminal() and not is_under_nohup

    async def run(self, keys: TakenKeys) -> None:
        """Serve with these keys at first, until a signal ends it."""
        self._keys = keys
        self._server: ServerProcess | None = None
        with receiving(
            self._received.put_nowait,
            _SIGNALS,
            ending=_ENDING,
            grace_seconds=self._end_seconds,
            says_a_word=False,
        ):
            await self._serve()

    async def _serve(self) -> None:
        serving = asyncio.create_task(
            keep_serving(
                self._launch,
                watchfulness=self._watchfulness,
                announce=self._announce,
                tell=self._tell,
            )
        )
        obeying = asyncio.create_task(self._obey())
        try:
            await asyncio.wait({serving, obeying}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            await obeying
            await self._end(serving)
        finally:
            for task in (serving, obeying):
                task.cancel()
            await asyncio.wait({serving, obeying})

    def _launch(self) -> ServerProcess:
        self._server = self._launcher(self._keys.keyring)
        return self._server

    async def _end(self, serving: "asyncio.Task[NoReturn]") -> None:
        """Let a server finish what is in flight; one more signal to stop cuts it off."""
        serving.cancel()
        waiting = asyncio.create_task(self._wait_for_stop())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        while not serving.done():
            # A cancellation may meet what comes before the wait for the server.
            serving.cancel()
            await asyncio.wait({serving}, timeout=_POLL_SECONDS)

    async def _wait_for_stop(self) -> None:
        while await self._received.get() == signal.SIGHUP:
            pass

    async def _obey(self) -> None:
        """Do what signals and the end of a rotation ask for, until it is to end."""
        while True:
            number = await self._next_signal()
            if number in (signal.SIGINT, signal.SIGTERM):
                self._tell(
                    "ends when what is in flight is finished; one more signal ends it at once"
                )
                return
            if number is not None and self._ends_with_terminal and not has_terminal():
                return
            self._take_keys()
            if self._keys.is_credential_old:
                self._tell("ends, so that systemd starts it again with the credential as it is now")
                return

    async def _next_signal(self) -> signal.Signals | None:
        """Wait for a signal; return None when the keys are to be read again before one comes."""
        if self._keys.until is None:
            return await self._received.get()
        try:
            async with asyncio.timeout(max(0.0, self._keys.until - time.time())):
                return await self._received.get()
        except TimeoutError:
            return None

    def _take_keys(self) -> None:
        try:
            self._keys = self._read_keys()
        except ConfigurationError as error:
            self._tell(f"the keys stay as they are: {error.message}")
            if self._keys.until is not None:
                # What is to end must not stay because a file cannot be read for a moment.
                later = max(self._keys.until, time.time() + _READ_AGAIN_SECONDS)
                self._keys = replace(self._keys, until=later)
            return
        if self._server is not None:
            self._server.take_keys(self._keys.keyring)
        self._tell(f"takes {self._keys.in_words()}")

    def _announce(self, server: ServerProcess, access: ServerAccess) -> None:
        url = server.endpoint.url
        self._tell(f"ready at {url}/v1 ({access.engine}, {access.width} dimensions)")


def _tell(text: str) -> None:
    # That its log is full or was closed is no reason to end a server that others use.
    with suppress(OSError):
        click.echo(REDACTOR.scrub(text), err=True)
