"""What a Milvus can do, by its version, and the sentence where it cannot."""

import pytest

from embed_index.pipeline.milvus.arrangement import DEFAULT_GROUP, Arrangement, Placement
from embed_index.pipeline.milvus.capabilities import Ability, MilvusTarget
from embed_index.pipeline.milvus.demands import check_rows
from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.errors import ConfigurationError

LITE = MilvusTarget(uri="x.db", version="", embedded=True)


def server(version: str) -> MilvusTarget:
    return MilvusTarget(uri="http://host", version=version)


@pytest.mark.parametrize(
    ("target", "ability", "can"),
    [
        (server("v2.3.5"), "null", False),
        (server("2.4.99"), "null", False),
        (server("v2.5.0-beta"), "null", True),
        (server("v3.0.1"), "null", True),
        (server("v2.10.0"), "words", True),
        (server("master-f00"), "words", True),
        (server("v2.3.5-lite"), "boolean_index", False),
        (LITE, "null", True),
        (LITE, "boolean_index", True),
        (LITE, "partition_key", True),
        (server("v2.3.5"), "partition_key", False),
        (server("v2.3.5"), "replicas", True),
    ],
)
def test_a_server_is_known_by_its_version(
    target: MilvusTarget, ability: Ability, can: bool
) -> None:
    assert target.can(ability) is can


def test_what_a_server_cannot_do_is_said_with_the_version_that_can() -> None:
    with pytest.raises(ConfigurationError) as refused:
        server("v2.3.5").require("words", setting="text_search")

    assert refused.value.message == (
        "text_search: Milvus at http://host is v2.3.5, and searches by words from 2.5 on"
    )
    assert refused.value.remedy == "Upgrade that Milvus, or leave text_search out."


@pytest.mark.parametrize(
    ("target", "placement", "sentence"),
    [
        (LITE, Placement(mmap=True), "mmap: only a Milvus server maps files into memory, and x.db"),
        (LITE, Placement(replicas=2), "replicas: only a Milvus server has replicas"),
        (LITE, Placement(resource_groups=("a",)), "resource_groups: only a Milvus server has"),
        (server("v2.3.5"), Placement(mmap=True), "mmap: Milvus .* maps files into memory from 2.4"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(
    target: MilvusTarget, placement: Placement, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Arrangement(placement=placement).check(target, carried=())


@pytest.mark.parametrize(
    ("placement", "sentence"),
    [
        (Placement(replicas=3), "has 2 query nodes in '__default_resource_group', and 3 replicas"),
        (Placement(resource_groups=("c",)), "has no 'c'; it has __default_resource_group, a, b"),
        (Placement(replicas=2, resource_groups=("a", "b")), "has 0 query nodes in 'b'"),
        (Placement(replicas=2, resource_groups=("a",)), "has 1 query nodes in 'a'"),
        (Placement(replicas=2), None),
        (Placement(resource_groups=("a",)), None),
    ],
)
def test_replicas_need_as_many_query_nodes(placement: Placement, sentence: str | None) -> None:
    nodes = {DEFAULT_GROUP: 2, "a": 1, "b": 0}
    if sentence is None:
        placement.check_nodes(nodes, uri="http://host")
        return
    with pytest.raises(ConfigurationError, match=sentence):
        placement.check_nodes(nodes, uri="http://host")


def test_a_placement_is_read_as_it_was_written() -> None:
    placement = Placement(mmap=True, replicas=2, resource_groups=("a", "b"))

    assert Placement.read(placement.properties()) == placement
    assert Placement.read({}) == Placement.read(Placement().properties()) == Placement()
    assert placement.load_options() == {"replica_number": 2, "resource_groups": ["a", "b"]}
    assert Placement().load_options() == {}
    assert Placement().is_(Placement(resource_groups=(DEFAULT_GROUP,)))


@pytest.mark.parametrize(
    ("target", "partition_key", "shards", "sentence"),
    [
        (server("v2.3.5"), "lang", 1, "partition_key: .* finds upserted rows by .* from 2.4 on"),
        (LITE, "open", 1, "'open' is no carried column of text or integers; they are lang"),
        (LITE, "", 2, "shards: only a Milvus server has shards"),
        (LITE, "lang", 1, None),
        (LITE, "", 1, "vector_type float16: only a Milvus server searches vectors of two bytes"),
        (server("v2.3.5"), "", 1, "Milvus .* searches vectors of two bytes a number from 2.4 on"),
        (server("v2.3.5"), "", 16, None),
    ],
)
def test_rows_are_asked_of_the_target(
    target: MilvusTarget, partition_key: str, shards: int, sentence: str | None
) -> None:
    def check() -> None:
        check_rows(
            target,
            carried=[
                CarriedColumn(name="open", type="boolean"),
                CarriedColumn(name="lang", type="text"),
            ],
            text_analyzer="",
            partition_key=partition_key,
            shards=shards,
            vector_type="float16" if sentence and "two bytes" in sentence else "float32",
        )

    if sentence is None:
        check()
        return
    with pytest.raises(ConfigurationError, match=sentence):
        check()


def test_json_is_carried_where_it_need_not_be_an_object() -> None:
    def check(target: MilvusTarget, kind: CarriedType) -> None:
        check_rows(
            target,
            carried=[CarriedColumn(name="meta", type=kind)],
            text_analyzer="",
            partition_key="",
            shards=1,
            vector_type="float32",
        )

    check(LITE, "json")
    check(server("v2.4.1"), "json")
    check(server("v2.3.5"), "list")
    with pytest.raises(ConfigurationError, match=r"carry of 'meta': .* takes any JSON from 2\.4"):
        check(server("v2.3.5"), "json")


def test_booleans_are_indexed_where_the_target_does_it() -> None:
    wanted = Arrangement(scalars=("open",))
    carried = [CarriedColumn(name="open", type="boolean")]

    wanted.check(LITE, carried=carried)
    wanted.check(server("v2.4.0"), carried=carried)
    with pytest.raises(ConfigurationError, match=r"'open': .* indexes booleans from 2\.4 on"):
        wanted.check(server("v2.3.5"), carried=carried)
