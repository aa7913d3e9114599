from hypothesis import given
from hypothesis import strategies as st

from embed_index.schemas.ids import carried_hash, carried_hashes, chunk_id, text_hash
from embed_index.schemas.records import CarriedValue

ids = st.text(st.characters(exclude_categories=["Cs"]))


def test_ids_never_change_between_releases() -> None:
    assert chunk_id("doc-1", 0) == "e4f14d4c88b450fb046f5c18350a7608"
    assert text_hash("hello") == "46fb7408d4f285228f4af516ea25851b"
    assert carried_hash(("pump", 3, 0.5, True, "é")) == "7f7f17a240555968d79afdaf47a99fb2"


@given(a=st.tuples(ids, st.integers(0, 99)), b=st.tuples(ids, st.integers(0, 99)))
def test_different_chunks_have_different_ids(a: tuple[str, int], b: tuple[str, int]) -> None:
    assert (chunk_id(*a) == chunk_id(*b)) == (a == b)


@given(doc_id=ids)
def test_an_id_needs_no_escaping_anywhere(doc_id: str) -> None:
    assert set(chunk_id(doc_id, 1)) <= set("0123456789abcdef")


def test_text_hash_tells_normalisation_forms_apart() -> None:
    assert text_hash("\u00e9") != text_hash("e\u0301")


def test_carried_values_are_told_apart_by_type_order_and_border() -> None:
    variants: list[tuple[CarriedValue, ...]] = [
        ("1",),
        (1,),
        (1.0,),
        (True,),
        ("1", ""),
        ("", "1"),
        ("a", "b"),
        ("ab", ""),
        (),
    ]

    assert len({carried_hash(values) for values in variants}) == len(variants)


few = st.sampled_from([0, 1, False, True, 0.0, -0.0, 1.0, "", "1", "é"])


@given(rows=st.integers(0, 4).flatmap(lambda n: st.lists(st.tuples(*[few] * n))))
def test_rows_are_hashed_together_as_one_by_one(rows: list[tuple[CarriedValue, ...]]) -> None:
    assert carried_hashes(rows) == [carried_hash(row) for row in rows]
