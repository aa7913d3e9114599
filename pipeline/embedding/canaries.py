"""Canary texts: proof that a server gives the vectors that a collection was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embed_index.pipeline.embedding.embedder import UNKNOWN, Embedder, RequestRefusedError
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.contract import Canary, CollectionContract
from embed_index.schemas.errors import ContractError, ServerError
from embed_index.schemas.precision import are_mixed, is_quantised
from embed_index.schemas.records import TokenIds, Vectors

if TYPE_CHECKING:
    from embed_index.pipeline.embedding.preflight import ServerAccess

MIN_COSINE = 0.999
"""bf16 on one engine gives 0.9999; another model revision or a missing end token far less."""

MIN_QUANTISED_COSINE = 0.99
"""Where either side is quantised. SGLang's fp8 gives at least 0.994 to bf16: three models with
random weights on an H200, 40 inputs of 1 to 8,192 tokens. It also differs from itself: another
order of additions, as in another batch, tips values over to fp8's next (0.997, simulated on a CPU
with 28 layers of random weights)."""

MAX_CANARY_TOKENS = 1024
"""A server must take inputs of this length, however short the chunks are."""


def min_cosine(*precisions: str) -> float:
    """Return from which cosine on vectors of one text count as the same."""
    return MIN_QUANTISED_COSINE if any(map(is_quantised, precisions)) else MIN_COSINE


_NEARLY = 0.98
"""From here on precision is the likelier cause, below it other weights."""

_SHORT = "The quick brown fox jumps over the lazy dog."
_FOUR_SCRIPTS = (
    "Embedding models map text to vectors. 向量检索通过语义查找文档。"
    "المتجهات تمثل معنى النص. ベクトル検索は意味で文書を探します。"
)
_PARTS = ("inlet valve", "cover", "gasket", "impeller", "shaft seal", "bearing", "outlet valve")
_TASKS = (
    "Before the {part} is touched, release the pressure and wait until the gauge shows zero.",
    "Clean the {part}, then inspect it for cracks of more than 0.{n} mm.",
    "Replace the {part} after {n},500 hours, and note it in the log.",
    "Tighten the bolts of the {part} crosswise to {n}0 Nm.",
)
_LONG = " ".join(
    f"{n}. {_TASKS[n % len(_TASKS)].format(part=_PARTS[n % len(_PARTS)], n=n)}"
    for n in range(1, 29)
)
"""Some 600 tokens, no passage twice: far enough for positions and attention to matter."""

_NAMES = {_SHORT: "short", _FOUR_SCRIPTS: "four scripts", _LONG: "long"}
CANARY_TEXTS = tuple(_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """With what vectors are made, as far as the server says; `unknown` where it does not."""

    engine: str
    dtype: str


async def embed_canaries(
    embedder: Embedder,
    *,
    tokenizer: ModelTokenizer,
    dimension: int,
    texts: Sequence[str] = CANARY_TEXTS,
    smallest: float = MIN_COSINE,
) -> tuple[Canary, ...]:
    """Embed the canary texts together and one by one, and return them with their vectors.

    Args:
        embedder: The server.
        tokenizer: The model's.
        dimension: Width of the vectors.
        texts: What is embedded.
        smallest: The cosine between the two that just passes.

    Raises:
        ServerError: The server refuses them, or gives a text alone and the same text in a batch
            different vectors.
    """
    ids = [tokenizer.encode_for_model(text) for text in texts]
    try:
        together = await embedder.embed(ids, dimension=dimension)
        each = [await embedder.embed([text_ids], dimension=dimension) for text_ids in ids]
    except RequestRefusedError as refusal:
        longest = max(text_ids.size for text_ids in ids)
        raise ServerError(
            f"The embedding server refuses the canary texts ({refusal.detail}).",
            remedy=f"It must take {len(ids)} inputs in one request, and inputs of {longest} tokens"
            " uncut; see its log.",
        ) from refusal
    for index, alone in enumerate(each):
        cosine = _cosine(alone[0], together[index])
        if cosine < smallest:
            raise ServerError(
                f"The embedding server gives a text alone and in a batch different vectors"
                f" (canary {index + 1}, cosine {cosine:.4f}).",
                remedy="Its batching or padding is at fault; start it with its default attention"
                " backend, or use another version.",
            )
    return tuple(
        Canary.from_vector(text, vector) for text, vector in zip(texts, together, strict=True)
    )


class CanaryGate:
    """Lets a server embed only if it gives the canaries the vectors of those before it.

    One gate serves all servers of a run, also those that are started again: they agree with the
    collection's contract or, where the collection is new, with the first of them.
    """

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        *,
        contract: CollectionContract,
        version: str,
        quantization: str | None = None,
        mixed_precision: bool = False,
    ) -> None:
        """Prepare the gate.

        Args:
            tokenizer: The model's tokenizer.
            contract: The collection's; a new one's has no canaries yet.
            version: The collection version that messages name.
            quantization: How the checkpoint was quantised, which its server need not say.
            mixed_precision: Whether quantised vectors and others may meet in the collection.
        """
        self._tokenizer = tokenizer
        self._version = version
        self._quantization = quantization
        self._mixed_precision = mixed_precision
        self.made_with = Making(engine=contract.engine, dtype=contract.dtype)
        """What made the vectors: the contract's or, of a new collection, the first server's."""
        self.precision = ""
        """In which the server that was proven last computes."""
        self.precisions: dict[str, None] = {}
        """Those of all servers that were proven, in order."""
        self.dimension = contract.dimension
        """Width of the vectors."""
        self.canaries = contract.canaries
        """What every server must agree with; empty until the first server of a new collection."""

    def inputs(self) -> tuple[TokenIds, ...]:
        """Return the canary texts as the model sees them."""
        texts = [canary.text for canary in self.canaries] or CANARY_TEXTS
        return tuple(self._tokenizer.encode_for_model(text) for text in texts)

    async def prove(self, embedder: Embedder, access: "ServerAccess") -> str:
        """Embed the canaries and compare.

        Returns:
            What was measured where two precisions meet; empty elsewhere.

        Raises:
            ContractError: The server gives other vectors, or vectors of a precision that the
                collection's must not meet.
            ServerError: It cannot be used, or contradicts itself.
        """
        now = Making(engine=access.engine, dtype=self._precision(access))
        is_mixed = bool(self.canaries) and are_mixed(self.made_with.dtype, now.dtype)
        if is_mixed and not self._mixed_precision:
            raise _mixed(self._version, then=self.made_with.dtype, now=now.dtype)
        # A contract keeps the texts it was made with, whichever are in use by now.
        texts = [canary.text for canary in self.canaries] or CANARY_TEXTS
        canaries = await embed_canaries(
            embedder,
            tokenizer=self._tokenizer,
            dimension=self.dimension,
            texts=texts,
            smallest=min_cosine(now.dtype),
        )
        if not self.canaries:
            self.canaries, self.made_with = canaries, now
        smallest = min_cosine(self.made_with.dtype, now.dtype)
        measured = check_canaries(
            canaries,
            known=self.canaries,
            version=self._version,
            changes=describe_changes(self.made_with, now),
            smallest=smallest,
        )
        self.precision = now.dtype
        self.precisions[now.dtype] = None
        if not is_mixed:
            return ""
        return (
            f"{self._version} was made in {self.made_with.dtype}, and this server computes in"
            f" {now.dtype}, which mixed_precision allows: canary texts, cosine {measured}; at least"
            f" {smallest}."
        )

    def check_again(self, text: str, vector: Vectors) -> None:
        """Compare what a proven server gives one of the canary texts by now.

        Raises:
            ContractError: It gives another vector.
        """
        check_canaries(
            [Canary.from_vector(text, vector)],
            known=[canary for canary in self.canaries if canary.text == text],
            version=self._version,
            smallest=min_cosine(self.made_with.dtype, self.precision),
        )

    def _precision(self, access: "ServerAccess") -> str:
        says_so = self._quantization is None or is_quantised(access.dtype)
        return access.dtype if says_so else self._quantization or access.dtype


def _mixed(version: str, *, then: str, now: str) -> ContractError:
    return ContractError(
        f"{version} was made in {then}, and this job's server computes in {now}: vectors of the two"
        " differ, and are not mixed unasked.",
        remedy="Set dtype to what it was, or fill a new version with --rebuild. To mix them all the"
        " same, measure what it costs (`embed-index precision --job JOB.toml`), then set"
        " mixed_precision = true.",
    )


def check_canaries(
    canaries: Sequence[Canary],
    *,
    known: Sequence[Canary],
    version: str,
    changes: str = "",
    smallest: float = MIN_COSINE,
) -> str:
    """Compare the server's canary vectors with those that the collection is made with.

    Args:
        canaries: Texts with the vectors that they get now.
        known: The same texts with the vectors that they got then.
        version: The collection version that a message names.
        changes: What else changed since then, in a sentence.
        smallest: The cosine that just passes.

    Returns:
        The cosines, by the texts' names.

    Raises:
        ContractError: The server gives other vectors.
    """
    cosines = {
        _NAMES.get(now.text, f"text {place}"): _cosine(now.to_vector(), then.to_vector())
        for place, (now, then) in enumerate(zip(canaries, known, strict=True), start=1)
    }
    failing = {name: cosine for name, cosine in cosines.items() if cosine < smallest}
    measured = ", ".join(f"{name} {cosine:.4f}" for name, cosine in cosines.items())
    if failing:
        raise ContractError(
            f"{version}: the embedding server gives the canary texts other vectors than when the"
            f" collection was made (cosine: {measured}; at least {smallest})."
            f"{f' {changes}' if changes else ''}",
            remedy=f"{_likely_cause(failing)} Restore what was, or run with --rebuild to fill a new"
            " version.",
        )
    return measured


def describe_changes(then: Making, now: Making) -> str:
    """Say which of engine and precision differ from what the contract recorded."""
    facts = (("Engine", then.engine, now.engine), ("Precision", then.dtype, now.dtype))
    return " ".join(
        f"{what}: {_change(before, after)}."
        for what, before, after in facts
        if (before, after) != (UNKNOWN, UNKNOWN)
    )


def _change(before: str, after: str) -> str:
    if after == UNKNOWN:
        return f"was {before}, not said now"
    if before == UNKNOWN:
        return f"was not said, is {after}"
    return f"{after} as recorded" if before == after else f"was {before}, is {after}"


def _likely_cause(failing: dict[str, float]) -> str:
    if set(failing) == {_NAMES[_LONG]}:
        return "Only the long text differs: compare the server's context, RoPE and attention flags."
    if min(failing.values()) >= _NEARLY:
        return "The difference is small: precision, quantisation or attention backend changed."
    return (
        "The difference is large: other weights or another revision, another pooling, or an end"
        " token that the server drops."
    )


def _cosine(a: Vectors, b: Vectors) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
