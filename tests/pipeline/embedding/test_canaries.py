"""The canaries: what lets a server into a run."""

import unicodedata
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from fragile_server import ACCESS
from milvus_fixtures import make_contract

from embed_index.pipeline.embedding.canaries import (
    CANARY_TEXTS,
    MAX_CANARY_TOKENS,
    CanaryGate,
    Making,
    check_canaries,
    describe_changes,
    embed_canaries,
)
from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.wire import normalise
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import ContractError, ServerError
from embed_index.schemas.records import TokenIds, Vectors

WIDTH = 64


class Model:
    """Gives every text a vector of its own; another seed is another model."""

    def __init__(self, seed: int, *, noise_in_batches: float = 0.0) -> None:
        self._seed = seed
        self._noise = noise_in_batches

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        rows = [
            np.random.default_rng([self._seed, *ids.tolist()]).normal(size=dimension)
            for ids in token_ids
        ]
        noise = self._noise if len(token_ids) > 1 else 0.0
        drawn = np.random.default_rng(0).normal(size=(len(rows), dimension)) * noise
        return normalise((np.stack(rows) + drawn).astype(np.float32))


MADE_WITH = Making(engine="sglang 0.5.22", dtype="float32")


def gate(tokenizer: ModelTokenizer, *, known: Sequence[Canary] = ()) -> CanaryGate:
    return CanaryGate(
        tokenizer,
        contract=make_contract(dimension=WIDTH).model_copy(
            update={"engine": MADE_WITH.engine, "canaries": tuple(known)}
        ),
        version="docs_v1",
    )


def canaries(*vectors: Vectors) -> list[Canary]:
    return [
        Canary.from_vector(text, vector) for text, vector in zip(CANARY_TEXTS, vectors, strict=True)
    ]


def leaning(vector: Vectors, cosine: float) -> Vectors:
    """A unit vector at this cosine to another, of which the first element is zero."""
    leant = vector * cosine
    leant[0] = np.sqrt(1 - cosine**2)
    return leant


async def test_the_first_server_of_a_new_collection_sets_the_canaries(
    tokenizer: ModelTokenizer,
) -> None:
    entrance = gate(tokenizer)

    await entrance.prove(Model(1), ACCESS)
    await entrance.prove(Model(1), ACCESS)

    assert [canary.text for canary in entrance.canaries] == list(CANARY_TEXTS)


async def test_a_later_server_with_other_vectors_is_refused(tokenizer: ModelTokenizer) -> None:
    entrance = gate(tokenizer)
    await entrance.prove(Model(1), ACCESS)

    with pytest.raises(ContractError, match="canary texts other vectors"):
        await entrance.prove(Model(2), ACCESS)


async def test_the_collections_own_canaries_bind_the_first_server(
    tokenizer: ModelTokenizer,
) -> None:
    maker = gate(tokenizer)
    await maker.prove(Model(1), ACCESS)

    await gate(tokenizer, known=maker.canaries).prove(Model(1), ACCESS)
    with pytest.raises(ContractError, match="docs_v1"):
        await gate(tokenizer, known=maker.canaries).prove(Model(2), ACCESS)


async def test_a_server_whose_batches_differ_is_refused(tokenizer: ModelTokenizer) -> None:
    with pytest.raises(ServerError, match="alone and in a batch"):
        await gate(tokenizer).prove(Model(1, noise_in_batches=0.5), ACCESS)


class Refuses:
    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        raise RequestRefusedError("refused_413", detail="status 413")


async def test_a_server_that_refuses_the_canaries_is_a_server_error(
    tokenizer: ModelTokenizer,
) -> None:
    with pytest.raises(ServerError, match=r"refuses the canary texts \(status 413\)"):
        await gate(tokenizer).prove(Refuses(), ACCESS)


def test_the_canaries_are_short_and_long_and_in_four_scripts(tokenizer: ModelTokenizer) -> None:
    short, scripts, long = (tokenizer.encode_for_model(text).size for text in CANARY_TEXTS)

    assert short < 25 < scripts < 100 < 500 < long <= MAX_CANARY_TOKENS
    letters = {unicodedata.name(letter).split()[0] for letter in CANARY_TEXTS[1] if letter != " "}
    assert {"LATIN", "CJK", "ARABIC", "HIRAGANA", "KATAKANA"} <= letters


async def test_texts_of_the_contract_are_embedded_whatever_the_program_has_by_now(
    tokenizer: ModelTokenizer,
) -> None:
    model = Model(1)
    ids = tokenizer.encode_for_model("An older canary.")
    (vector,) = await model.embed([ids], dimension=WIDTH)
    known = [Canary.from_vector("An older canary.", vector)]

    await gate(tokenizer, known=known).prove(model, ACCESS)
    with pytest.raises(ContractError, match=r"text 1 -?0\.\d{4}"):
        await gate(tokenizer, known=known).prove(Model(2), ACCESS)


@pytest.mark.parametrize(
    ("cosines", "cause"),
    [
        ((1.0, 1.0, 0.7), "Only the long text differs"),
        ((0.9989, 0.99, 0.985), "The difference is small"),
        ((0.5, 0.99, 0.99), "The difference is large"),
    ],
)
def test_the_likely_cause_is_told_from_which_texts_differ_and_by_how_much(
    cosines: tuple[float, ...], cause: str
) -> None:
    vector = np.zeros(WIDTH, dtype=np.float32)
    vector[1:] = 1 / np.sqrt(WIDTH - 1)
    now = canaries(*(leaning(vector, cosine) for cosine in cosines))

    with pytest.raises(ContractError, match=cause) as error:
        check_canaries(now, known=canaries(vector, vector, vector), version="docs_v1")
    assert f"short {cosines[0]:.4f}, four scripts {cosines[1]:.4f}" in error.value.message


def test_vectors_within_the_tolerance_pass() -> None:
    vector = np.zeros(WIDTH, dtype=np.float32)
    vector[1:] = 1 / np.sqrt(WIDTH - 1)
    now = canaries(*(leaning(vector, 0.9991) for _ in CANARY_TEXTS))

    check_canaries(now, known=canaries(vector, vector, vector), version="docs_v1")


async def test_what_changed_since_the_contract_is_named(tokenizer: ModelTokenizer) -> None:
    maker = gate(tokenizer)
    await maker.prove(Model(1), ACCESS)
    now = replace(ACCESS, engine="sglang 0.5.23", dtype="float32")

    with pytest.raises(ContractError) as error:
        await gate(tokenizer, known=maker.canaries).prove(Model(2), now)
    assert error.value.message.endswith(
        "Engine: was sglang 0.5.22, is sglang 0.5.23. Precision: float32 as recorded."
    )


def test_a_server_that_does_not_say_is_not_said_to_have_changed() -> None:
    now = Making(engine="unknown", dtype="float32")
    assert describe_changes(MADE_WITH, now) == (
        "Engine: was sglang 0.5.22, not said now. Precision: float32 as recorded."
    )


def test_what_was_said_neither_then_nor_now_is_left_out() -> None:
    then = Making(engine="unknown", dtype="unknown")
    assert describe_changes(then, Making(engine="unknown", dtype="Q8_0")) == (
        "Precision: was not said, is Q8_0."
    )


def fp8_gate(tokenizer: ModelTokenizer, *, known: Sequence[Canary], mixed: bool) -> CanaryGate:
    contract = make_contract(dimension=WIDTH).model_copy(
        update={"engine": "sglang 0.5.22", "dtype": "bfloat16", "canaries": tuple(known)}
    )
    return CanaryGate(tokenizer, contract=contract, version="docs_v1", mixed_precision=mixed)


async def test_quantised_vectors_do_not_enter_a_collection_of_others_unasked(
    tokenizer: ModelTokenizer,
) -> None:
    known = await embed_canaries(Model(1), tokenizer=tokenizer, dimension=WIDTH)

    with pytest.raises(ContractError, match=r"docs_v1 was made in bfloat16, .* in fp8") as error:
        await fp8_gate(tokenizer, known=known, mixed=False).prove(
            Model(1), replace(ACCESS, dtype="fp8")
        )
    assert "mixed_precision = true" in error.value.remedy


@pytest.mark.parametrize(("then", "now"), [("bfloat16", "float32"), ("fp8", "fp8")])
async def test_other_precisions_meet_as_ever(
    tokenizer: ModelTokenizer, then: str, now: str
) -> None:
    known = await embed_canaries(Model(1), tokenizer=tokenizer, dimension=WIDTH)
    contract = make_contract(dimension=WIDTH).model_copy(update={"dtype": then, "canaries": known})
    entrance = CanaryGate(tokenizer, contract=contract, version="docs_v1")

    assert await entrance.prove(Model(1), replace(ACCESS, dtype=now)) == ""


class Rounded(Model):
    """Model 1, its vectors turned as far as a coarser precision turns them."""

    def __init__(self, cosine: float) -> None:
        super().__init__(1)
        self._cosine = cosine

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        exact = await super().embed(token_ids, dimension=dimension)
        across = np.roll(exact, 1, axis=1)
        across -= (across * exact).sum(axis=1, keepdims=True) * exact
        turned = self._cosine * exact + np.sqrt(1 - self._cosine**2) * normalise(across)
        return normalise(turned.astype(np.float32))


async def test_where_they_may_meet_what_was_measured_is_said(tokenizer: ModelTokenizer) -> None:
    known = await embed_canaries(Model(1), tokenizer=tokenizer, dimension=WIDTH)

    said = await fp8_gate(tokenizer, known=known, mixed=True).prove(
        Rounded(0.9951), replace(ACCESS, dtype="fp8")
    )

    assert said.startswith("docs_v1 was made in bfloat16, and this server computes in fp8")
    assert "short 0.9951, four scripts 0.9951, long 0.9951" in said


@pytest.mark.parametrize(("mixed", "dtype"), [(True, "float32"), (False, "bfloat16")])
async def test_without_a_quantised_side_the_threshold_stays(
    tokenizer: ModelTokenizer, mixed: bool, dtype: str
) -> None:
    known = await embed_canaries(Model(1), tokenizer=tokenizer, dimension=WIDTH)

    with pytest.raises(ContractError, match=r"at least 0\.999"):
        await fp8_gate(tokenizer, known=known, mixed=mixed).prove(
            Rounded(0.9951), replace(ACCESS, dtype=dtype)
        )


async def test_another_model_does_not_pass_for_a_precision(tokenizer: ModelTokenizer) -> None:
    known = await embed_canaries(Model(1), tokenizer=tokenizer, dimension=WIDTH)

    with pytest.raises(ContractError, match="canary texts other vectors"):
        await fp8_gate(tokenizer, known=known, mixed=True).prove(
            Rounded(0.985), replace(ACCESS, dtype="fp8")
        )


@pytest.mark.parametrize(("dtype", "passes"), [("fp8", True), ("bfloat16", False)])
async def test_fp8_may_differ_from_itself_by_what_its_rounding_does(
    tokenizer: ModelTokenizer, dtype: str, passes: bool
) -> None:
    contract = make_contract(dimension=WIDTH).model_copy(update={"canaries": ()})
    entrance = CanaryGate(tokenizer, contract=contract, version="docs_v1")
    access = replace(ACCESS, dtype=dtype)
    await entrance.prove(Model(1), access)

    with nullcontext() if passes else pytest.raises(ContractError):
        await entrance.prove(Rounded(0.9972), access)
    # Some 0.997 between a text alone and in a batch.
    with nullcontext() if passes else pytest.raises(ServerError):
        await entrance.prove(Model(1, noise_in_batches=0.08), access)


async def test_a_quantised_checkpoint_is_what_made_the_vectors_whatever_its_server_says(
    tokenizer: ModelTokenizer,
) -> None:
    contract = make_contract(dimension=WIDTH).model_copy(update={"canaries": ()})
    entrance = CanaryGate(tokenizer, contract=contract, version="docs_v1", quantization="awq")

    await entrance.prove(Model(1), replace(ACCESS, dtype="bfloat16"))

    assert (entrance.made_with.dtype, entrance.precision) == ("awq", "awq")
