"""The asynchronous twin: many tasks share one collection and its connections."""

import asyncio

import httpx
import pytest
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS
from pymilvus import MilvusClient

from embed_index import AsyncCollection, QueryError, StoreError, open_async_collection
from embed_index.pipeline.milvus import connection


async def opened(job: JobFolder) -> AsyncCollection:
    return await open_async_collection(
        job.collection,
        milvus_uri=job.uri,
        server_url=job.server.url,
        key=job.server.key,
        model=job.model,
    )


async def test_it_does_what_its_twin_does(library_job: JobFolder) -> None:
    async with await opened(library_job) as collection:
        (hit,) = await collection.search(DOCUMENTS["pump"], limit=1)
        vectors = await collection.embed([DOCUMENTS["coffee"]])
        (by_vector,) = await collection.search_vectors(vectors, limit=1)
        document = await collection.document("long")
        first, second = await collection.neighbours(hit.chunk, before=0), hit.chunk

        assert (hit.doc_id, by_vector[0].doc_id) == ("pump", "coffee")
        assert document.text == DOCUMENTS["long"]
        assert [chunk.chunk_id for chunk in first] == [second.chunk_id]
        assert (collection.name, collection.version) == (library_job.collection, hit.version)
        assert collection.contract.dimension == 64
        with pytest.raises(QueryError, match="the query is empty"):
            await collection.search("")
    with pytest.raises(StoreError, match="was closed"):
        await collection.search("x")


async def test_two_hundred_searches_at_once_share_one_pool_and_one_connection(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write(DOCUMENTS)
    await asyncio.to_thread(job.run, "--query-instruction", "")
    pools: list[httpx.AsyncClient] = []
    clients: list[object] = []
    make_pool, connect = httpx.AsyncClient.__init__, MilvusClient

    def counted_pool(self: httpx.AsyncClient, *args: object, **kwargs: object) -> None:
        pools.append(self)
        make_pool(self, *args, **kwargs)  # type: ignore[arg-type]

    def counted_client(*args: object, **kwargs: object) -> object:
        clients.append(connect(*args, **kwargs))
        return clients[-1]

    monkeypatch.setattr(httpx.AsyncClient, "__init__", counted_pool)
    monkeypatch.setattr(connection, "MilvusClient", counted_client)
    names = [*DOCUMENTS][:4]
    async with await opened(job) as collection:
        found = await asyncio.gather(
            *(collection.search(DOCUMENTS[names[n % 4]], limit=1) for n in range(200))
        )
        open_pools = [pool for pool in pools if not pool.is_closed]

    assert [hits[0].doc_id for hits in found] == [names[n % 4] for n in range(200)]
    assert (len(open_pools), len(clients)) == (1, 1)
    assert all(pool.is_closed for pool in pools)


def test_loops_one_after_the_other_may_share_it(library_job: JobFolder) -> None:
    collection = asyncio.run(opened(library_job))
    try:
        for _ in range(2):
            (hit,) = asyncio.run(collection.search(DOCUMENTS["pump"], limit=1))
            assert hit.doc_id == "pump"
    finally:
        asyncio.run(collection.close())
