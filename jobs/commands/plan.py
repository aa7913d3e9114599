"""`embed-index plan`: what a run would do and cost."""

import sys
from typing import Literal

import click

from embed_index.jobs.cli.job_file import JOB_FILE
from embed_index.jobs.cli.options import SettingCommand, job_options
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.argument("job_file", type=JOB_FILE, metavar="[JOB.toml]", required=False, default=None)
@click.option(
    "--sample",
    metavar="X",
    help="Cut only so many documents: a share (0.01 or 1%) or a count (5000). Errors are stated.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Draws another sample.",
)
@click.option(
    "--on",
    "devices",
    multiple=True,
    metavar="GPU",
    help="Say how long it takes on this GPU, such as L4 or 8xH100; may be repeated. Without it, on"
    " this host and on the usual ones.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A page for people, or one JSON object.",
)
@with_settings(required=("input",))
@job_options
def plan(
    *,
    settings: JobSettings,
    sample: str | None,
    seed: int,
    devices: tuple[str, ...],
    style: Literal["text", "json"],
) -> None:
    """Say what a run would do and cost, and do nothing.

    Takes the arguments of `run`. Reads the corpus and the ledger: what is new, changed and
    unchanged, chunks and tokens to embed, rows and bytes in Milvus, time and money on this
    host and on GPUs by name. Where the run would fail, as far as that shows, it says so
    in the run's words and ends with the run's exit code.

    \b
    embed-index plan nightly.toml
    embed-index plan nightly.toml --sample 0.01 --on 4xL40S --price-per-gpu-hour 1.9
    embed-index plan nightly.toml --max-tokens-embedded 5000000 --format json
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.planning import page
    from embed_index.jobs.planning.limits import check_limits
    from embed_index.jobs.planning.planning import plan_job, read_wish
    from embed_index.pipeline.disk.heap import bound_heap, leave_out_pandas

    leave_out_pandas()
    bound_heap()
    made = plan_job(settings, read_wish(sample=sample, seed=seed, gpus=devices))
    click.echo((page.as_json if style == "json" else page.as_text)(made))
    check_limits(made, settings)
    if made.refusals:
        # The page says why.
        sys.exit(made.refusals[0].exit_code)
