"""Examines a host for a job: every check is made, whatever the others found."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dotenv import dotenv_values

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.inputs import open_corpus
from embed_index.jobs.adapters.places import lock_path, tls_files
from embed_index.jobs.examination.check import Check, made
from embed_index.jobs.examination.server import own_server_checks, running_server_checks
from embed_index.jobs.settings.loading import env_file_in
from embed_index.pipeline.disk.lock import find_holder
from embed_index.pipeline.host.milvus import check_milvus
from embed_index.pipeline.host.places import check_folder
from embed_index.pipeline.milvus.capabilities import MilvusTarget
from embed_index.pipeline.milvus.demands import check_rows
from embed_index.pipeline.secrecy.checks import check_secret_file
from embed_index.pipeline.storage.requests import BRIEF
from embed_index.schemas.counts import counted
from embed_index.schemas.host_check import HostCheck
from embed_index.schemas.settings import SETTINGS, JobSettings

_SECRET_VARIABLES = tuple(field.env for field in SETTINGS if field.secret and field.env)


def examine_host(
    settings: JobSettings, *, folder: Path, key_file: Path | None
) -> tuple[HostCheck, ...]:
    """Return what each check found, in the order in which things build upon one another.

    Args:
        settings: Of the job; what it leaves out is not looked at.
        folder: Where its .env is.
        key_file: File with the embedding server's key, or None.
    """
    return tuple(map(made, _checks(settings, folder=folder, key_file=key_file)))


def _checks(settings: JobSettings, *, folder: Path, key_file: Path | None) -> Iterator[Check]:
    if key_file is not None:
        yield "key file", partial(check_secret_file, key_file, subject="key file")
    for file in dict.fromkeys(map(env_file_in, (folder, Path.cwd()))):
        if file is not None and _holds_secret(file):
            yield ".env", partial(check_secret_file, file, subject=".env")
    if settings.ray:
        # Nothing of Ray is imported where no cluster is asked for.
        from embed_index.jobs.examination.cluster import cluster_checks

        yield from cluster_checks(settings)
    elif settings.server_url:
        yield from running_server_checks(settings, key_file=key_file)
    else:
        yield from own_server_checks(settings)
    if settings.input:
        yield "corpus", partial(_check_corpus, settings)
    yield (
        "state folder",
        partial(check_folder, settings.state_dir, subject="state folder", setting="--state-dir"),
    )
    if "://" not in settings.milvus_uri:
        lite = Path(settings.milvus_uri).parent
        yield (
            "Milvus folder",
            partial(check_folder, lite, subject="Milvus folder", setting="--milvus-uri"),
        )
    yield "Milvus", partial(_check_milvus, settings)
    if settings.collection:
        yield "lock", partial(_check_lock, settings)


def _holds_secret(file: Path) -> bool:
    variables = dotenv_values(file, interpolate=False)
    return any(variables.get(name) for name in _SECRET_VARIABLES)


def _check_corpus(settings: JobSettings) -> HostCheck:
    source = open_corpus(settings, patience=BRIEF)
    own_id = settings.id_column if settings.id_from == "column" else f"ids of {settings.id_from}"
    columns = ", ".join((own_id, *settings.text_column, *settings.carried))
    rows, files = counted(source.num_rows, "row"), counted(len(source.files), "file")
    found = f"{rows} in {files}, with {columns}"
    return HostCheck(
        subject="corpus", outcome="ok", found="; ".join((found, *source.take_notices()))
    )


def _check_milvus(settings: JobSettings) -> HostCheck:
    token = settings.milvus_token
    return check_milvus(
        settings.milvus_uri,
        token=token.get_secret_value() if token else "",
        database=settings.milvus_db,
        tls=tls_files(settings),
        check=partial(_check_wanted, settings),
    )


def _check_wanted(settings: JobSettings, target: MilvusTarget) -> None:
    by_column = settings.scalar_indexes or settings.partition_key
    carried = open_corpus(settings).carried_columns if by_column else ()
    arrangement_of(settings).check(target, carried=carried)
    check_rows(
        target,
        carried=carried,
        text_analyzer=settings.text_analyzer if settings.text_search else "",
        partition_key=settings.partition_key,
        shards=settings.shards,
        vector_type=settings.vector_type,
    )


def _check_lock(settings: JobSettings) -> HostCheck:
    path = lock_path(settings, settings.collection)
    holder = find_holder(path)
    if holder is None:
        found = f"no run works on {settings.collection}"
        return HostCheck(subject="lock", outcome="ok", found=found)
    return HostCheck(
        subject="lock",
        outcome="warning",
        found=f"a run works on {settings.collection}: {holder}",
        remedy="A second run would exit with 5 until that one has ended.",
    )
