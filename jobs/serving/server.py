"""The authenticated embedding server alone, until it is stopped."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import click
from pydantic import SecretStr

from embed_index.jobs.adapters.servers import min_tokens_per_second, server_profile
from embed_index.jobs.cli.signals import has_terminal, receiving
from embed_index.jobs.settings.loading import LoadedSettings
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.model.files import ModelFiles, check_max_tokens, find_model
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

ReadKey = Callable[[], SecretStr]
Launcher = Callable[[SecretStr], ServerProcess]


def serve_until_stopped(loaded: LoadedSettings, *, reload: Callable[[], LoadedSettings]) -> None:
    """Run a server with the key of the settings until SIGINT or SIGTERM.

    SIGHUP replaces it by one with the key that `reload` finds then; where the key is a
    credential of systemd, which renews those only when it starts a service, it ends this process.

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
    job = ServerJob(
        launcher=_launcher(settings, port=port),
        watchfulness=watchfulness_of(settings),
        tell=_tell,
        read_key=None if source.from_systemd else lambda: _key_of(reload().settings),
        end_seconds=settings.grace_seconds + KILL_SECONDS,
    )
    with recorded_serving(settings.state_dir, record):
        asyncio.run(job.run(_key_of(settings)))


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
    profile = server_profile(
        settings, model=model, max_tokens=_longest_input(settings, model=model)
    )

    owner = name_log("serve")

    def launch(key: SecretStr) -> ServerProcess:
        server = ManagedServer(
            profile,
            log_folder=settings.state_dir / "logs",
            log_owner=owner,
            port=port,
            key=key,
            start_seconds=settings.start_timeout_seconds,
            grace_seconds=settings.grace_seconds,
        )
        _tell(f"loading the model; log: {server.log_path}")
        return server

    return launch


class ServerJob:
    """Servers one after the other, each until a signal says what comes next."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        watchfulness: Watchfulness,
        tell: Tell,
        read_key: ReadKey | None,
        end_seconds: float = 60.0,
    ) -> None:
        """Prepare the job.

        Args:
            launcher: Makes a server with a key, not started.
            watchfulness: How closely it is watched.
            tell: Called with what people should know.
            read_key: Reads the key anew; None where only a restart of this process can.
            end_seconds: How long a server may take to end.
        """
        self._launcher = launcher
        self._watchfulness = watchfulness
        self._tell = tell
        self._read_key = read_key
        self._end_seconds = end_seconds
        self._received: asyncio.Queue[signal.Signals] = asyncio.Queue()
        # Whoever starts it under nohup wants it to outlive the terminal.
        is_under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._ends_with_terminal = has_terminal() and not is_under_nohup

    async def run(self, key: SecretStr) -> None:
        """Serve until a signal ends it."""
        next_key: SecretStr | None = key
        with receiving(
            self._received.put_nowait,
            _SIGNALS,
            ending=_ENDING,
            grace_seconds=self._end_seconds,
            says_a_word=False,
        ):
            while next_key is not None:
                next_key = await self._serve_until_signalled(next_key)

    async def _serve_until_signalled(self, key: SecretStr) -> SecretStr | None:
        """Serve with one key; return the next one, None to end."""
        serving = asyncio.create_task(
            keep_serving(
                lambda: self._launcher(key),
                watchfulness=self._watchfulness,
                announce=self._announce,
                tell=self._tell,
            )
        )
        deciding = asyncio.create_task(self._decide(key))
        try:
            await asyncio.wait({serving, deciding}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            next_key = await deciding
            if next_key is None:
                await self._end(serving)
            return next_key
        finally:
            for task in (serving, deciding):
                task.cancel()
            await asyncio.wait({serving, deciding})

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

    async def _decide(self, key: SecretStr) -> SecretStr | None:
        """Wait for a signal that changes something; return the next key, None to end."""
        while await self._received.get() == signal.SIGHUP:
            if self._ends_with_terminal and not has_terminal():
                return None
            if self._read_key is None:
                self._tell("ends, so that systemd starts it again with the credential as it is now")
                return None
            try:
                new = self._read_key()
            except ConfigurationError as error:
                self._tell(f"the key stays as it is: {error.message}")
                continue
            self._tell("restarts with " + ("the same key" if new == key else "the new key"))
            return new
        self._tell("ends when what is in flight is finished; one more signal ends it at once")
        return None

    def _announce(self, server: ServerProcess, access: ServerAccess) -> None:
        url = server.endpoint.url
        self._tell(f"ready at {url}/v1 ({access.engine}, {access.width} dimensions)")


def _tell(text: str) -> None:
    # That its log is full or was closed is no reason to end a server that others use.
    with suppress(OSError):
        click.echo(REDACTOR.scrub(text), err=True)
