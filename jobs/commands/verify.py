"""`embed-index verify`: corpus, ledger and Milvus compared."""

import click

from embed_index.jobs.cli.options import (
    SettingCommand,
    collection_argument,
    corpus_options,
    job_file_option,
)
from embed_index.jobs.settings.command import with_settings
from embed_index.schemas.errors import DriftError
from embed_index.schemas.settings import JobSettings


@click.command(cls=SettingCommand)
@collection_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Mend what differs: embed what is missing or wrong, delete what is too much.",
)
@click.option(
    "--sample",
    "num_samples",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    metavar="N",
    help="How many chunks to embed again, at random, and compare; 0 needs no server.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@job_file_option
@with_settings(required=("input",))
@corpus_options
def verify(*, settings: JobSettings, repair: bool, num_samples: int, as_json: bool) -> None:
    """Compare corpus, ledger and Milvus, and mend what differs.

    Every document is cut anew and compared with its rows; only a sample's vectors are made again.
    Drift ends with exit code 6, unless --repair mended all of it. Documents that the corpus no
    longer has are drift, which a repair deletes, for a job with delete_missing (--delete-missing);
    one without it retains them.

    \b
    embed-index verify articles --job nightly.toml
    embed-index verify articles --job nightly.toml --sample 0 --json
    embed-index verify articles --job nightly.toml --repair --delete-missing
    """  # noqa: D301 - Click wants the character
    from embed_index.jobs.runs.audit import verify_collection
    from embed_index.jobs.runs.audit_text import (
        drift_in_words,
        verification_as_json,
        verification_as_text,
    )

    verification = verify_collection(settings, repair=repair, num_samples=num_samples)
    click.echo((verification_as_json if as_json else verification_as_text)(verification))
    left = verification.left
    if left.has_drift:
        remedy = f"Mend it with `embed-index verify {settings.collection} --repair`."
        if repair:
            remedy = "Something else writes to the collection, or Milvus lost rows meanwhile."
        raise DriftError(f"{left.version}: {drift_in_words(left)}", remedy=remedy)
