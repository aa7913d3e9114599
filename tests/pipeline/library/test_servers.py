"""Which servers a collection believes, and how it ends."""

from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS, opened

from embed_index import (
    ConfigurationError,
    ContractError,
    StoreError,
    UnavailableError,
    open_collection,
)
from embed_index.pipeline.library import queries
from embed_index.pipeline.server.launch_checks import free_port


def test_a_server_of_another_model_is_refused_before_the_first_query(
    library_job: JobFolder,
) -> None:
    with (
        HashEmbeddingServer(salt="another") as other,
        opened(library_job, server_url=other.url) as collection,
    ):
        for _ in range(2):
            with pytest.raises(ContractError, match="gives the canary texts other vectors"):
                collection.search("x")


def test_the_canaries_are_compared_once(library_job: JobFolder) -> None:
    with HashEmbeddingServer() as server, opened(library_job, server_url=server.url) as collection:
        collection.search("x")
        first = server.num_embedded
        collection.search(["y", "z"])

        assert server.num_embedded == first + 2


def test_a_server_that_is_replaced_under_its_address_is_not_believed(
    library_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PROOF_SECONDS", 0.0)
    with HashEmbeddingServer() as server, opened(library_job, server_url=server.url) as collection:
        collection.search("x")
        server.change_after(0, salt="another")
        collection.search("the last answer of the old one")
        for _ in range(2):
            with pytest.raises(ContractError, match="other vectors"):
                collection.search("x")
        server.change_after(0, salt="")
        assert collection.search(DOCUMENTS["pump"], limit=1)[0].doc_id == "pump"


def test_a_server_that_is_away_is_an_outage_and_used_again_when_it_is_back(
    library_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_AWAY_SECONDS", 0.5)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with opened(library_job, server_url=url) as collection:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="the connection is refused"):
                collection.search("x")
        with HashEmbeddingServer(port=port):
            assert collection.search(DOCUMENTS["pump"], limit=1)[0].doc_id == "pump"


def test_another_model_at_hand_is_refused(library_job: JobFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in library_job.model.iterdir():
        if file.name != "config.json":
            (other / file.name).symlink_to(file)
    config = (library_job.model / "config.json").read_text()
    (other / "config.json").write_text(config + " ")
    with (
        opened(library_job, model=other) as collection,
        pytest.raises(ContractError, match="is not the collection's model"),
    ):
        collection.search("x")


def test_a_folder_that_nobody_names_is_asked_for(library_job: JobFolder) -> None:
    with opened(library_job, model=None) as collection:
        assert collection.document("pump").text == DOCUMENTS["pump"]
        with pytest.raises(ConfigurationError, match="the model in a folder 'sample-model'"):
            collection.search("x")


def test_a_closed_collection_says_so(library_job: JobFolder) -> None:
    collection = opened(library_job)
    collection.close()
    collection.close()

    with pytest.raises(StoreError, match="was closed"):
        collection.search("x")


def test_only_what_there_is_can_be_opened(library_job: JobFolder) -> None:
    for name in ("nothing", "a b", "", "naïve", "x" * 300):
        with pytest.raises(ConfigurationError, match="there is no collection"):
            open_collection(name, milvus_uri=library_job.uri)
