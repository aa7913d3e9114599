"""How good a collection finds, and what its runs were expected to take: figures over time."""

from collections.abc import Iterator

from embed_index.pipeline.report import words
from embed_index.pipeline.report.charts import Row, Series, expected_and_taken, intervals
from embed_index.pipeline.report.contents import ReportContents, ReportedQuality
from embed_index.pipeline.report.parts import (
    Drawing,
    Facts,
    Note,
    Part,
    Queries,
    Section,
)

_SAME = 0.005
_MEASURE = "nDCG@10"
_EXPECTATION = (
    Series(field="taken", name="taken", colour="var(--c1)"),
    Series(field="expected", name="expected", colour="var(--ink)"),
)
_UNITS = ((5400.0, 3600.0, "h"), (150.0, 60.0, "min"), (0.0, 1.0, "s"))


def quality(contents: ReportContents) -> Section | None:
    """How good the collection finds, by evaluations that asked the same."""
    found = contents.quality
    if not found:
        return None
    newest = found[0]
    before = next((one for one in found[1:] if one.version != newest.version), None)
    title = f"{_MEASURE} is {newest.ndcg:.3f}"
    if before is not None:
        change = newest.ndcg - before.ndcg
        side = "above" if change > 0 else "below"
        title += f", {abs(change):.3f} {side} that of {before.version}"
        if abs(change) < _SAME:
            title = f"{_MEASURE} is {newest.ndcg:.3f}, as with {before.version}"
    if newest.is_held:
        title = f"{newest.version} did not go live: {title}"
    parts: list[Part] = []
    if len(found) > 1:
        whens = words.days([one.at for one in found[::-1]])
        rows: list[Row] = [
            {
                "when": when,
                "mean": one.ndcg,
                "low": one.low,
                "high": one.high,
                "words": f"{one.version}, {words.moment(one.at)}: {_in_words(one)}",
            }
            for one, when in zip(found[::-1], whens, strict=True)
        ]
        chart = intervals(rows, label=title)
        parts.append(Drawing(chart=chart, unit=f"{_MEASURE} with 95 % confidence"))
    parts.append(Facts(rows=tuple(_facts(newest, contents))))
    return Section(id="quality", name="Quality", title=title, parts=parts)


def worst_queries(contents: ReportContents) -> Section | None:
    """The queries that the newest evaluation found to go worst."""
    queries = contents.worst
    if not queries:
        return None
    lost = sum(query.ndcg == 0 for query in queries)
    title = f"The worst {words.some(len(queries), 'query', 'queries')}"
    if lost:
        title += f"; {words.count(lost)} found nothing that answers"
    return Section(
        id="queries",
        name="Worst queries",
        title=title,
        parts=[Queries(queries=queries)],
        is_wide=True,
    )


def prediction(contents: ReportContents) -> Section | None:
    """What runs were expected to take, beside what they took."""
    known = [one for one in contents.predictions if one.expected_seconds > 0]
    if not known:
        return None
    newest = known[0]
    ratio = newest.taken_seconds / newest.expected_seconds - 1
    side = "longer" if ratio > 0 else "shorter"
    title = (
        f"The last run that embedded took {words.span(newest.taken_seconds)},"
        f" {words.share(abs(ratio))} {side} than expected"
    )
    if abs(ratio) < _SAME:
        title = f"The last run that embedded took {words.span(newest.taken_seconds)}, as expected"
    longest = max(max(one.expected_seconds, one.taken_seconds) for one in known)
    divisor, unit = next((d, name) for least, d, name in _UNITS if longest >= least)
    whens = words.days([one.at for one in known[::-1]])
    rows: list[Row] = [
        {
            "when": when,
            "taken": one.taken_seconds / divisor,
            "expected": one.expected_seconds / divisor,
            "words": f"{words.moment(one.at)}: took {words.span(one.taken_seconds)},"
            f" {words.span(one.expected_seconds)} expected",
        }
        for one, when in zip(known[::-1], whens, strict=True)
    ]
    parts: list[Part] = [Note(text=str(rows[0]["words"]))]
    if len(known) > 1:
        chart = expected_and_taken(rows, unit=unit, label=title)
        parts = [Drawing(chart=chart, unit="time of whole runs", legend=_EXPECTATION)]
    return Section(id="prediction", name="Prediction and fact", title=title, parts=parts)


def _in_words(one: ReportedQuality) -> str:
    return f"{one.ndcg:.3f}, between {one.low:.3f} and {one.high:.3f}"


def _facts(newest: ReportedQuality, contents: ReportContents) -> Iterator[tuple[str, str]]:
    yield "version", newest.version
    yield "queries", words.count(newest.num_queries)
    yield _MEASURE, _in_words(newest)
    yield from contents.quality_facts.items()
