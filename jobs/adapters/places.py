"""Where a job keeps its state, and the Milvus it writes to."""

from pathlib import Path

from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.settings import JobSettings


def lock_path(settings: JobSettings, collection: str) -> Path:
    """Return where the run lock of a collection is."""
    return settings.state_dir / f"{collection}.lock"


def dead_letter_folder(settings: JobSettings, collection: str) -> Path:
    """Return where the dead letters of a collection's runs are."""
    return settings.state_dir / "dead-letters" / collection


def ledger_path(settings: JobSettings, collection: str) -> Path:
    """Return where the ledger of a collection is."""
    return settings.state_dir / f"{collection}.ledger"


def open_job_store(settings: JobSettings) -> MilvusStore:
    """Connect to the Milvus that settings name."""
    token = settings.milvus_token
    return open_store(
        settings.milvus_uri,
        token=token.get_secret_value() if token else "",
        database=settings.milvus_db,
    )
