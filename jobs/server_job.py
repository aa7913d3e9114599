"""The authenticated embedding server alone, until it is stopped."""

import asyncio
import signal

import click

from embed_index.jobs.server_choice import server_profile
from embed_index.pipeline.embedding_server import ManagedServer
from embed_index.pipeline.model_files import find_model
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import MAX_CONTEXT_TOKENS, JobSettings


def serve_until_stopped(settings: JobSettings) -> None:
    """Run a server with the key of the settings until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: Model, port, key or a flag is unusable.
        ServerError: The server does not start, or ended by itself.
    """
    if settings.server_key is None:
        raise ConfigurationError(
            "server_key: a server needs a key",
            remedy="Put EMBEDDING_API_KEY into .env, or give --key-file.",
        )
    model = find_model(settings.model, source=settings.model_source, revision=settings.revision)
    profile = server_profile(
        settings,
        model=model,
        max_tokens=settings.max_tokens
        if "max_tokens" in settings.model_fields_set
        else MAX_CONTEXT_TOKENS,
    )
    server = ManagedServer(
        profile,
        log_folder=settings.state_dir / "logs",
        port=settings.server_port or None,
        key=settings.server_key,
        start_seconds=settings.start_timeout_seconds,
    )
    asyncio.run(_serve(server))


async def _serve(server: ManagedServer) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        click.echo(f"loading the model; log: {server.log_path}", err=True)
        serving = asyncio.create_task(_announce_and_watch(server))
        waiting = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
        finally:
            for task in (serving, waiting):
                task.cancel()
            await asyncio.wait({serving, waiting})


async def _announce_and_watch(server: ManagedServer) -> None:
    access = await server.wait_ready()
    click.echo(f"ready at {server.url}/v1 ({access.engine}, {access.width} dimensions)", err=True)
    await server.watch()
