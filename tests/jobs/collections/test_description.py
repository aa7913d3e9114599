"""What `describe` says of a collection beside its contract."""

import json

import pytest
from job_fixtures import JobFolder


def facts_of(job: JobFolder) -> dict[str, str]:
    lines = job.call("describe", job.collection, "--milvus-uri", job.uri).stdout.splitlines()
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines}


@pytest.fixture
def plain(lite_job: JobFolder) -> JobFolder:
    lite_job.write({"a": "Pumps."})
    lite_job.run()
    return lite_job


def test_it_names_milvus_and_how_it_can_be_searched(plain: JobFolder) -> None:
    facts = facts_of(plain)

    assert facts["milvus"] == plain.uri
    assert facts["carried"] == "nothing"
    assert facts["search"].startswith("by meaning alone; by words, too, with `text_search = true`")


def test_carried_columns_come_with_their_types_and_words_are_searched(lite_job: JobFolder) -> None:
    lite_job.write({"a": "Pumps."})
    lite_job.run("--carry", "topic", "--text-search")

    facts = facts_of(lite_job)
    where = ["--milvus-uri", lite_job.uri, "--json"]
    fields = json.loads(lite_job.call("describe", lite_job.collection, *where).stdout)

    assert facts["carried"] == "topic (text)"
    assert facts["search"] == "by meaning, by words, or by both (--mode dense, text, hybrid)"
    assert fields["carried"] == [{"name": "topic", "type": "text"}]
    assert fields["modes"] == ["dense", "text", "hybrid"]
    assert fields["milvus"] == lite_job.uri
