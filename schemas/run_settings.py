"""The settings of the section [run]: what a run may do, and what it leaves."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from embed_index.schemas import setting_checks as check
from embed_index.schemas.limits import MAX_DAYS
from embed_index.schemas.setting import Section, Setting


class RunSettings(Section):
    """One run: what it may do, and what it leaves."""

    state_dir: Annotated[
        Path,
        Setting(
            section="run",
            help="Folder of ledger, lock and dead letters, beside the job file if there is one.",
            location="path",
        ),
    ] = Path(".embed-index")
    max_dead_letters: Annotated[
        str,
        Setting(
            section="run",
            help="Dead letters that a run may end with: a count (10) or a share of documents (1%).",
        ),
        BeforeValidator(check.count_or_share),
    ] = "1%"
    retry_after_days: Annotated[
        float,
        Setting(
            section="run",
            help="Age at which a run tries again what could not be embedded; 0 for every run.",
        ),
        Field(ge=0, le=MAX_DAYS),
    ] = 30.0
    delete_missing: Annotated[
        bool, Setting(section="run", help="Delete documents that the corpus no longer has.")
    ] = False
    max_delete_share: Annotated[
        float,
        Setting(
            section="run", help="Largest share of the documents deleted without --force; 0 to 1."
        ),
        Field(ge=0, le=1),
    ] = 0.1
    force: Annotated[
        bool,
        Setting(section="run", help="Delete more than the stated share, once.", flag_only=True),
    ] = False
    rebuild: Annotated[
        bool,
        Setting(
            section="run",
            help="Fill a new version beside the live one and switch over at the end.",
            flag_only=True,
        ),
    ] = False
    limit: Annotated[
        int | None,
        Setting(
            section="run",
            help="Read only so many documents, for a first look, and delete none; none for all.",
            flag_only=True,
        ),
        Field(ge=1),
    ] = None
    max_tokens_embedded: Annotated[
        int | None,
        Setting(
            section="run",
            help="Most tokens that a run may embed; it then counts them before, which reads the "
            "corpus twice. None for any number.",
        ),
        Field(ge=0),
    ] = None
    max_cost: Annotated[
        float | None,
        Setting(
            section="run",
            help="Most that a run may be expected to cost at price_per_gpu_hour; as with "
            "max_tokens_embedded. None for any sum.",
        ),
        Field(ge=0),
    ] = None
    price_per_gpu_hour: Annotated[
        float | None,
        Setting(section="run", help="What an hour of one GPU costs, in whatever currency."),
        Field(ge=0),
    ] = None
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Setting(
            section="run",
            help="Progress as a bar on a terminal (auto), not at all (text) or as JSON lines.",
        ),
    ] = "auto"
    quiet: Annotated[
        bool,
        Setting(
            section="run", help="Write nothing but errors, and with --log-format json the summary."
        ),
    ] = False
    metrics_file: Annotated[
        Path | None,
        Setting(
            section="run",
            help="Prometheus text file to write after the run; none for no file.",
            location="path",
        ),
    ] = None
    report: Annotated[
        Path | None,
        Setting(
            section="run",
            help="HTML page to write after the run; none for no page.",
            location="path",
        ),
    ] = None
    report_texts: Annotated[
        bool,
        Setting(
            section="run",
            help="Whether reports tell texts, ids and places of documents, and error messages.",
        ),
    ] = True
    report_color_by: Annotated[
        str,
        Setting(
            section="run",
            help="Carried column that colours a report's map; empty for the first that is fit.",
        ),
    ] = ""
    keep_vectors: Annotated[
        Path | None,
        Setting(
            section="run",
            help="Folder for the vectors in full width, which another dimension is made of; none "
            "keeps none.",
            location="path",
        ),
    ] = None
    grace_seconds: Annotated[
        float,
        Setting(section="run", help="How long what is in flight may take to finish on SIGTERM."),
        Field(ge=0, le=3600),
    ] = 30.0
    ray: Annotated[
        str,
        Setting(
            section="run",
            help="Ray cluster on whose nodes servers are started: auto, or HOST:PORT of its head; "
            "none for servers on this host.",
        ),
    ] = ""
    ray_cpus: Annotated[
        int,
        Setting(
            section="run",
            help="Cores for each server on a Ray cluster without GPUs.",
        ),
        Field(ge=1),
    ] = 8
