"""An archive's rows written into a version, by as many threads as its Milvus stands."""

from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from embed_index.pipeline.milvus.blocks import RowBlock


class BlockStore(Protocol):
    """Where rows go; called from several threads."""

    @property
    def max_writers(self) -> int:
        """How many threads may write at once."""

    def upsert_block(self, version: str, block: RowBlock) -> int:
        """Write rows and return once they are acknowledged."""


def fill_version(blocks: Iterable[RowBlock], *, version: str, store: BlockStore) -> int:
    """Write all rows; return their number. The first failure ends it, and is raised.

    No more blocks are in memory than threads write, and one that is being read.
    """
    num_rows = 0
    writing: set[Future[int]] = set()
    with ThreadPoolExecutor(max_workers=store.max_writers) as pool:
        for block in blocks:
            if len(writing) >= store.max_writers:
                done, writing = wait(writing, return_when=FIRST_COMPLETED)
                num_rows += sum(future.result() for future in done)
            writing.add(pool.submit(store.upsert_block, version, block))
        return num_rows + sum(future.result() for future in writing)
