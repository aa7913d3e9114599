"""A sample of a collection as a map: places, groups by a column, and the beginnings of texts."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.pipeline.report.projection import project
from embed_index.schemas.records import CarriedValue, Vectors

MAX_GROUPS = 8
"""As many colours as people with any kind of sight tell apart."""
_NUM_BINS = 5
_GRID = 10_000
MAX_EXCERPT_BYTES = 600
_TEXTS_BYTES = 1_700_000
"""Of all texts together, so that the page stays small whatever the sample."""
_MAX_DEFAULT_VALUES = 24
_OTHERS = "other values"
_NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedChunk:
    """One chunk of the sample, without its vector."""

    doc_id: str
    chunk_index: int
    num_chunks: int
    num_tokens: int
    text: str
    """An `excerpt`."""
    value: CarriedValue
    """Of the column that colours the map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Chunks of one colour."""

    name: str
    num_chunks: int
    colour: str
    """The style's name of it: `g1` to `g8`, `s1` to `s5` on a scale, `rest` for what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMap:
    """What the page draws."""

    xs: list[int]
    ys: list[int]
    """On a grid of 10,000 by 10,000 at most, upwards, both axes to one scale."""
    group_of: list[int]
    chunks: Sequence[MappedChunk]
    """Their texts are cut, and empty where texts are left out."""
    groups: tuple[Group, ...]
    column: str
    """That colours it; empty for none."""
    kept_share: float
    num_rows: int
    """Of the whole collection."""

    @property
    def is_cut(self) -> bool:
        """Whether texts do not fit whole."""
        return any(chunk.text.endswith("…") for chunk in self.chunks)


def draw_map(
    chunks: Sequence[MappedChunk],
    vectors: Vectors,
    *,
    column: str,
    num_rows: int,
    with_texts: bool = True,
) -> ChunkMap:
    """Lay a sample out.

    Args:
        chunks: The sample.
        vectors: Theirs, in the same order.
        column: The carried column whose values the chunks have; empty for none.
        num_rows: Of the collection that the sample is from.
        with_texts: Whether to tell texts and document ids.
    """
    projection = project(vectors)
    low = projection.places.min(axis=0, initial=0.0)
    extent = float((projection.places.max(axis=0, initial=0.0) - low).max(initial=0.0)) or 1.0
    grid = np.rint((projection.places - low) * (_GRID / extent)).astype(int)
    groups, group_of = _group([chunk.value for chunk in chunks]) if column else ((), [])
    max_bytes = min(_TEXTS_BYTES // max(len(chunks), 1), MAX_EXCERPT_BYTES)
    told = [
        MappedChunk(
            doc_id=_cut(chunk.doc_id, 80) if with_texts else "",
            chunk_index=chunk.chunk_index,
            num_chunks=chunk.num_chunks,
            num_tokens=chunk.num_tokens,
            text=_fit(chunk.text, max_bytes) if with_texts else "",
            value=chunk.value,
        )
        for chunk in chunks
    ]
    return ChunkMap(
        xs=grid[:, 0].tolist(),
        ys=grid[:, 1].tolist(),
        group_of=group_of,
        chunks=told,
        groups=groups,
        column=column,
        kept_share=projection.kept_share,
        num_rows=num_rows,
    )


def excerpt(text: str) -> str:
    """Return how a text begins, on one line."""
    # So much white space, and no more, is gone through for it.
    return _cut(" ".join(text[: 8 * MAX_EXCERPT_BYTES].split()), MAX_EXCERPT_BYTES)


def choose_column(values_by_column: dict[str, list[CarriedValue]]) -> str:
    """Return the first column that makes a readable map; empty where there is none.

    It has a few values, each of several chunks on average.
    """
    for name, values in values_by_column.items():
        kinds = {value for value in values if value not in (None, "")}
        if 2 <= len(kinds) <= _MAX_DEFAULT_VALUES and 3 * len(kinds) <= len(values):
            return name
    return ""


def _group(values: Sequence[CarriedValue]) -> tuple[tuple[Group, ...], list[int]]:
    kinds = {value for value in values if value is not None}
    is_scale = all(isinstance(v, int | float) and not isinstance(v, bool) for v in kinds)
    if is_scale and len(kinds) > MAX_GROUPS:
        return _bins([v for v in values if isinstance(v, int | float)], values)
    keys = [None if value in (None, "") else str(value) for value in values]
    counts = Counter(keys)
    named = [key for key, _ in counts.most_common() if key is not None][:MAX_GROUPS]
    groups = [
        Group(name=_cut(name, 60), num_chunks=counts[name], colour=f"g{place}")
        for place, name in enumerate(named, 1)
    ]
    places: dict[str | None, int] = {name: place for place, name in enumerate(named)}
    num_others = len(keys) - counts[None] - sum(counts[name] for name in named)
    others = len(groups)
    if num_others:
        groups.append(Group(name=_OTHERS, num_chunks=num_others, colour="rest"))
    if counts[None]:
        places[None] = len(groups)
        groups.append(Group(name=_NONE, num_chunks=counts[None], colour="rest"))
    return tuple(groups), [places.get(key, others) for key in keys]


def _bins(
    numbers: Sequence[float], values: Sequence[CarriedValue]
) -> tuple[tuple[Group, ...], list[int]]:
    """Divide a scale so that about as many chunks are in each part."""
    finite = [number for number in numbers if math.isfinite(number)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, _NUM_BINS + 1)[1:-1]))
    found = [
        int(np.searchsorted(edges, value, side="left"))
        if isinstance(value, int | float) and math.isfinite(value)
        else len(edges) + 1
        for value in values
    ]
    counts = Counter(found)
    bounds = [_number(edge) for edge in edges.tolist()]
    names = [
        f"to {bounds[0]}",
        *(f"{low} to {high}" for low, high in itertools.pairwise(bounds)),
        f"over {bounds[-1]}",
    ]
    groups = [
        Group(name=name, num_chunks=counts[place], colour=f"s{place + 1}")
        for place, name in enumerate(names)
    ]
    if len(names) in counts:
        groups.append(Group(name=_NONE, num_chunks=counts[len(names)], colour="rest"))
    return tuple(groups), found


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _fit(text: str, max_bytes: int) -> str:
    """Cut so that the text has so many bytes on the page, where some characters take six."""
    text = _cut(text, max_bytes)
    while (cost := len(json.dumps(text, ensure_ascii=False).encode()) + 5 * text.count("<")) > (
        max_bytes + 8
    ):
        text = _cut(text, min(len(text.encode()) - 1, len(text.encode()) * max_bytes // cost))
    return text


def _cut(text: str, max_bytes: int) -> str:
    """Cut at a character; what is cut ends in an ellipsis."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return encoded.decode("utf-8")
    return encoded[: max_bytes - 3].decode("utf-8", "ignore").rstrip() + "…"
