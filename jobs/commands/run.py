"""`embed-index run`: the job."""

import click

from embed_index.jobs.cli.failures import Invocation
from embed_index.jobs.cli.job_file import JOB_FILE
from embed_index.jobs.cli.options import SettingCommand, job_options
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@click.argument("job_file", type=JOB_FILE, metavar="[JOB.toml]", required=False, default=None)
@with_settings(required=("input", "collection"))
@job_options
@click.pass_context
def run(ctx: click.Context, /, *, settings: JobSettings) -> None:
    """Embed a corpus and bring a collection in step with it.

    Every setting stands in a job file or is a flag; flags win over the environment, .env and
    the job file. Unchanged documents cost a hash. An interrupted run continues when it is
    started again.

    \b
    embed-index run nightly.toml
    embed-index run nightly.toml --dimension 256 --collection articles_small
    embed-index run --input 'corpus/*.parquet' --collection articles --carry product,severity
    embed-index run nightly.toml --show-config
    """  # noqa: D301 - Click wants the character
    invocation = ctx.ensure_object(Invocation)
    invocation.log_json = settings.log_format == "json"
    invocation.collection = settings.collection
    invocation.resumes = True

    from embed_index.jobs.cli.progress import open_reporter
    from embed_index.jobs.reporting.leaving import leaving_report
    from embed_index.jobs.runs.index import run_index_job
    from embed_index.jobs.runs.metrics import leaving_metrics
    from embed_index.pipeline.disk.heap import leave_out_pandas

    def index() -> None:
        leave_out_pandas()
        with (
            leaving_metrics(settings),
            open_reporter(settings) as reporter,
            leaving_report(settings, reporter=reporter),
        ):
            run_index_job(settings, reporter=reporter)

    if not settings.ray:
        index()
        return
    from embed_index.jobs.runs.on_cluster import run_on_cluster

    run_on_cluster(index, settings=settings)
