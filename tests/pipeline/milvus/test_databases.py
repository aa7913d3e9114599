"""A database on a real server is one of its own: names in it are no names elsewhere."""

import pytest
from milvus_fixtures import make_batch, make_contract
from milvus_server import MilvusServer
from pymilvus import MilvusClient

from embed_index.pipeline.milvus.store import open_store
from embed_index.schemas.errors import ConfigurationError

pytestmark = pytest.mark.milvus_server


def test_a_name_is_looked_up_in_its_own_database(milvus_server: MilvusServer, alias: str) -> None:
    admin = MilvusClient(milvus_server.uri, dedicated=True)
    admin.create_database(alias)
    admin.close()
    with (
        open_store(milvus_server.uri, database=alias, connect_seconds=60) as store,
        open_store(milvus_server.uri, connect_seconds=60) as elsewhere,
    ):
        first, second = (store.versions.create(alias, contract=make_contract()) for _ in range(2))
        store.upsert(second, make_batch(["x"]))
        store.versions.set_live(alias, version=first)
        store.versions.set_live(alias, version=second)

        assert store.versions.live(alias) == second
        assert store.versions.find(alias).name == second
        assert elsewhere.versions.live(alias) is None
        assert elsewhere.versions.list(alias) == []
        with pytest.raises(ConfigurationError, match="is live behind the alias"):
            store.versions.drop(second)
        store.versions.drop(first)
        store.versions.drop_alias(alias)
        assert store.versions.live(alias) is None
