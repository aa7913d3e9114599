"""What a Milvus can do, by its version, and the sentence where it cannot."""

import pytest

from embed_index.pipeline.milvus.arrangement import Arrangement
from embed_index.pipeline.milvus.capabilities import Ability, MilvusTarget
from embed_index.schemas.columns import CarriedColumn
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


def test_booleans_are_indexed_where_the_target_does_it() -> None:
    wanted = Arrangement(scalars=("open",))
    carried = [CarriedColumn(name="open", type="boolean")]

    wanted.check(LITE, carried=carried)
    wanted.check(server("v2.4.0"), carried=carried)
    with pytest.raises(ConfigurationError, match=r"'open': .* indexes booleans from 2\.4 on"):
        wanted.check(server("v2.3.5"), carried=carried)
