"""The `embed-index` command: a group whose subcommands are imported when they are called."""

import os
import platform
import resource
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from embed_index.jobs.cli.encoding import escape_what_cannot_be_shown
from embed_index.jobs.cli.failures import Invocation, ignoring_signals, notice_text, report
from embed_index.jobs.cli.interruption import Interruption
from embed_index.jobs.cli.lazy_group import LazyGroup
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.waits import WAITS

_PACKAGE = "embed-index"
_PARTS = ("sglang", "pymilvus", "milvus-lite")
"""Distributions whose versions decide how a run behaves, so that a bug report names them."""

COMMANDS: Mapping[str, str] = {
    "run": "Embed a corpus and bring a collection in step with it.",
    "plan": "Say what a run would do and cost, and do nothing.",
    "search": "Find the chunks nearest to a text.",
    "eval": "Measure how good a collection finds what answers queries.",
    "collections": "List the collections of a Milvus and of a state folder.",
    "describe": "Show how a collection was made and what it holds.",
    "status": "Show the last run, and how fresh a collection is.",
    "history": "List what the runs of a collection did.",
    "report": "Write what is known of a collection to one page of HTML.",
    "verify": "Compare corpus, ledger and Milvus, and mend what differs.",
    "letters": "Show the open dead letters of a collection, by reason.",
    "retry": "Embed the open dead letters that can be embedded now.",
    "chunk": "Show a document's chunks, and why each ends where it does.",
    "precision": "Measure what fp8 costs and saves on this corpus, model and GPU.",
    "reindex": "Give a collection other indexes over the rows that it has.",
    "export": "Write a collection as Parquet files.",
    "import": "Make a collection of exported files, at any smaller dimension.",
    "promote": "Point a collection's name at one of its versions.",
    "rollback": "Point a collection's name at the version before the live one.",
    "gc": "Drop old versions of a collection; never the live one.",
    "drop": "Drop a collection with its versions, ledger and dead letters.",
    "serve": "Run only the authenticated embedding server.",
    "keys": "Make, check, change and destroy the embedding server's key.",
    "init": "Look at Parquet and write a job file for it.",
    "doctor": "Show what is missing or unsafe on this host, with the remedy.",
    "deploy": "Print ready-made text for systemd, nginx, cron and Milvus.",
    "completion": "Print what completes this command line in a shell.",
}
"""Names and short helps, so that `--help` need not import the modules of the same names."""


class ReportingGroup(LazyGroup):
    """The outermost group, which reports how a command failed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except BaseException as error:  # noqa: BLE001 - the one place that turns errors into codes
            with ignoring_signals():
                code = report(error, ctx.ensure_object(Invocation))
            return ctx.exit(code)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        parts = ", ".join((*map(_version_of, _PARTS), f"Python {platform.python_version()}"))
        click.echo(f"{_version_of(_PACKAGE)} ({parts})")
        ctx.exit()


def _tell(invocation: Invocation, message: str) -> None:
    click.echo(REDACTOR.scrub(notice_text(message, invocation)), err=True)


def _version_of(distribution: str) -> str:
    import importlib.metadata

    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{distribution} not installed"


@click.group(
    cls=ReportingGroup,
    listing=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--debug",
    is_flag=True,
    envvar="EMBED_INDEX_DEBUG",
    help="Show the traceback of every error, not only of bugs.  [env: EMBED_INDEX_DEBUG]",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and those of what it stands on, and exit.",
)
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """Embed Parquet corpora on your own machine and keep Milvus collections in step.

    \b
    embed-index run nightly.toml
    embed-index search articles "how do I reset my password"

    Results go to standard output, a run's closing summary among them; progress, notices and
    errors go to standard error, where a run that fails says last what it did. Exit codes: 0 done,
    1 a bug, 2 usage or configuration, 3 more dead letters than allowed, 4 server or Milvus
    unavailable, 5 another run holds the lock, 6 the audit found drift, 7 a new version is worse
    and did not go live, 130 interrupted.
    """  # noqa: D301 - Click wants the character
    invocation = ctx.ensure_object(Invocation)
    invocation.debug = debug
    ctx.with_resource(WAITS.telling(partial(_tell, invocation)))
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "the working folder does not exist any more",
            remedy="Change to another one; settings are looked for in it.",
        ) from None


def main() -> None:
    """Run the command line; the entry point of the installed script."""
    # A core file would hold the keys that this process, or a server that it starts, has in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Arrow chooses its allocator when it is imported, and its usual one keeps what it once held,
    # such as the pages of the largest document.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    escape_what_cannot_be_shown()
    invocation = Invocation()
    with Interruption(invocation):
        cli(prog_name=_PACKAGE, obj=invocation)


if __name__ == "__main__":
    main()
