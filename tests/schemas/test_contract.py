"""Which two ways of making vectors are one."""

from embed_index.schemas.contract import CollectionContract

CONTRACT = CollectionContract(
    collection_id="1",
    model="0a1b2c3d",
    model_revision="local-1",
    tokenizer_fingerprint="t",
    dimension=64,
    dtype="float32",
    document_prompt="",
    query_prompt="",
    max_tokens=512,
    overlap_tokens=0,
    carried_columns=(),
    engine="",
)


def test_a_model_by_another_name_is_the_same_at_the_same_revision() -> None:
    renamed = CONTRACT.model_copy(update={"model": "Qwen3-Embedding-0.6B"})

    assert CONTRACT.differences(renamed) == []
    assert renamed.differences(CONTRACT) == []


def test_another_model_is_named_together_with_its_revision() -> None:
    other = CONTRACT.model_copy(update={"model": "other", "model_revision": "local-2"})

    assert CONTRACT.differences(other) == ["model", "model_revision"]
