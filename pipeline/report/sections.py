"""The sections of a report: each finds something in the contents, or is left out."""

from collections.abc import Callable, Sequence
from statistics import median

from embed_index.pipeline.report import words
from embed_index.pipeline.report.charts import Row, Series, bars_by_run, histogram
from embed_index.pipeline.report.contents import ReportContents, ReportedRun
from embed_index.pipeline.report.pace_section import pace_section
from embed_index.pipeline.report.parts import (
    Bar,
    Bars,
    Drawing,
    Facts,
    Letters,
    MapView,
    Note,
    Part,
    Section,
    Strip,
    Table,
)
from embed_index.pipeline.report.quality_section import prediction, quality, worst_queries

_CHANGES = (
    Series(field="new", name="new", colour="var(--c1)"),
    Series(field="changed", name="changed", colour="var(--c2)"),
    Series(field="refreshed", name="refreshed", colour="var(--c3)"),
    Series(field="deleted", name="deleted", colour="var(--c4)"),
)
_RATES = (
    Series(field="done", name="went through", colour="var(--c1)"),
    Series(field="other", name="ended another way", colour="var(--c4)"),
)
_ALWAYS = ("new", "changed", "deleted")
_WELL = ("done", "mended", "partial")
_NUM_BINS = 40
_NOTABLE = 0.02


def changes(contents: ReportContents) -> Section | None:
    """What the last run changed, beside all that it left as it was."""
    if not contents.runs:
        return None
    counters = contents.runs[0].counters
    counts = {
        name: getattr(counters, f"num_{name}")
        for name in ("new", "changed", "refreshed", "deleted", "missing", "repeated")
    }
    counts["dead letters"] = counters.num_dead_letters
    most = max(counts.values())
    colours = {part.name: part.colour for part in _CHANGES} | {"dead letters": "var(--c4)"}
    bars = [
        Bar(
            name=name,
            value=words.count(number),
            share=number / most if number else 0.0,
            colour=colours.get(name, "var(--quiet)"),
        )
        for name, number in counts.items()
        if number or name in _ALWAYS
    ]
    # Beside all that stayed as it was, nothing else could be seen.
    unchanged = words.count(counters.num_unchanged)
    bars.append(Bar(name="unchanged", value=unchanged, share=None, colour=""))
    touched = counters.num_new + counters.num_changed
    if not counters.num_documents_read:
        title = "The last run did not get to read the corpus"
    elif touched or counters.num_deleted:
        said = [
            f"{words.count(number)} {name}"
            for name in ("new", "changed", "deleted")
            if (number := counts[name])
        ]
        title = f"{_listed(said)} in {words.some(counters.num_documents_read, 'document')} read"
    else:
        title = f"Nothing new in {words.some(counters.num_documents_read, 'document')}"
    parts: list[Part] = [Bars(bars=bars)]
    if counters.num_files_skipped:
        files = words.some(counters.num_files_skipped, "file")
        parts.append(Note(text=f"{files} could not be read to the end; nothing was deleted."))
    if counters.num_missing:
        parts.append(Note(text="Missing documents are not in the corpus any more, and were kept."))
    return Section(id="changes", name="What changed", title=title, parts=parts)


def changes_over_time(contents: ReportContents) -> Section | None:
    """What each of the last runs changed."""
    runs = _in_order(contents)
    if len(runs) < 2:
        return None
    rows: list[Row] = []
    for run, when in zip(runs, words.days([run.started_at for run in runs]), strict=True):
        row: dict[str, float | str] = {"when": when}
        for part in _CHANGES:
            number = getattr(run.counters, f"num_{part.field}")
            row[part.field] = number
            row[f"words_{part.field}"] = (
                f"{words.moment(run.started_at)}: {words.count(number)} {part.name}"
            )
        rows.append(row)
    busy = [run for run in runs if run.counters.num_new + run.counters.num_changed]
    title = f"{len(busy)} of the last {len(runs)} runs found something to embed"
    if len(busy) == len(runs):
        title = f"Each of the last {len(runs)} runs found something to embed"
    shown = [part for part in _CHANGES if any(row[part.field] for row in rows)]
    if not shown:
        return None
    chart = bars_by_run(rows, shown, label=title)
    return Section(
        id="history",
        name="Changes, run by run",
        title=title,
        parts=[Drawing(chart=chart, unit="documents", legend=shown)],
    )


def runs_over_time(contents: ReportContents) -> Section | None:
    """How fast each of the last runs was, and all that is known of them."""
    runs = _in_order(contents)
    if not runs:
        return None
    embedded = [run for run in runs if run.counters.num_tokens]
    parts: list[Part] = []
    title = "No run has embedded anything yet"
    if embedded:
        title = _compare_rates(embedded)
    if len(embedded) > 1:
        rows: list[Row] = [
            {
                "when": when,
                "done": run.counters.tokens_per_second if run.outcome in _WELL else 0,
                "other": 0 if run.outcome in _WELL else run.counters.tokens_per_second,
                "words_done": _rate_in_words(run),
                "words_other": _rate_in_words(run),
            }
            for run, when in zip(
                embedded, words.days([run.started_at for run in embedded]), strict=True
            )
        ]
        shown = [part for part in _RATES if any(row[part.field] for row in rows)]
        chart = bars_by_run(rows, shown, label=title)
        legend = shown if len(shown) > 1 else ()
        parts.append(Drawing(chart=chart, unit="tokens a second, whole runs", legend=legend))
    parts.append(_run_table(contents.runs))
    name = f"The last {len(runs)} runs" if len(runs) > 1 else "The only run"
    return Section(id="runs", name=name, title=title, parts=parts)


def lengths(contents: ReportContents) -> Section | None:
    """How long the chunks are."""
    found = contents.lengths
    if found is None or not found.num_tokens:
        return None
    numbers = sorted(found.num_tokens)
    limit = found.max_tokens
    half = numbers[len(numbers) // 2]
    num_full = sum(number >= 0.98 * limit for number in numbers)
    full = words.share(num_full / len(numbers))
    highest = max(numbers[-1], 1)
    step = max(1, -(-highest // _NUM_BINS))
    bins = [0] * (-(-(highest + 1) // step))
    for number in numbers:
        bins[number // step] += 1
    rows: list[Row] = [
        {
            "start": place * step,
            "end": (place + 1) * step,
            "num": number,
            "words": f"{words.count(place * step)} to {words.count((place + 1) * step - 1)} tokens:"
            f" {words.some(number, 'chunk')}, {words.share(number / len(numbers))}",
        }
        for place, number in enumerate(bins)
        if number
    ]
    title = f"Half of the chunks have {words.count(half)} tokens or fewer"
    if num_full:
        title += f"; {full} are as long as they may be"
    chart = histogram(rows, limit=len(bins) * step, label=title)
    sampled = len(numbers) < contents.num_chunks
    basis = f"A sample of {words.count(len(numbers))} chunks." if sampled else "All chunks."
    deciles = (numbers[int(part * (len(numbers) - 1))] for part in (0.1, 0.9))
    low, high = map(words.count, deciles)
    note = f"{basis} Eight of ten are between {low} and {high}; the limit is {words.count(limit)}."
    return Section(
        id="lengths",
        name="Chunk lengths",
        title=title,
        parts=[Drawing(chart=chart, unit="chunks by tokens"), Note(text=note)],
    )


def letters(contents: ReportContents) -> Section | None:
    """What could not be indexed."""
    groups = contents.letters
    if not groups:
        return None
    total = sum(group.num_letters for group in groups)
    first = groups[0]
    reason = first.reason.replace("_", " ")
    title = f"{words.some(total, 'dead letter')}: {reason}"
    if len(groups) > 1:
        title = (
            f"{words.some(total, 'dead letter')} for {len(groups)} reasons,"
            f" most often {reason} ({words.count(first.num_letters)})"
        )
    name = contents.collection
    commands = (
        (f"embed-index letters {name} --reason {first.reason}", "names each of them"),
        (f"embed-index retry {name}", "tries them again"),
    )
    return Section(
        id="letters",
        name="Dead letters",
        title=title,
        parts=[Letters(groups=groups), Note(text="", commands=commands)],
        is_wide=True,
    )


def storage(contents: ReportContents) -> Section | None:
    """What takes up room, and where."""
    stored = [part for part in contents.stored if part.num_bytes]
    if not stored:
        return None
    parts: list[Part] = []
    titles = []
    for where, name in (("milvus", "in Milvus"), ("disk", "on this host's disk")):
        here = [part for part in stored if part.where == where]
        total = sum(part.num_bytes for part in here)
        if not total:
            continue
        approximately = "about " * any(part.basis == "estimated" for part in here)
        titles.append(f"{approximately}{words.size(total)} {name}")
        bars = [
            Bar(
                name=part.name,
                value=f"{words.size(part.num_bytes)}, {part.basis}",
                share=part.num_bytes / total,
                colour=f"var(--c{place})",
            )
            for place, part in enumerate(here, 1)
        ]
        parts.append(Strip(bars=bars))
    title = _listed(titles)
    return Section(id="storage", name="Storage", title=title[0].upper() + title[1:], parts=parts)


def chunk_map(contents: ReportContents) -> Section | None:
    """A sample of the collection in the plane, or why there is none."""
    drawn = contents.map
    if drawn is None:
        if not contents.unreachable:
            return None
        note = f"The collection could not be looked at: {contents.unreachable}"
        return Section(
            id="map", name="Map", title="No map this time", parts=[Note(text=note)], is_wide=True
        )
    num = len(drawn.chunks)
    if not num:
        return None
    of_all = f"{words.count(num)} of {words.count(drawn.num_rows)} chunks"
    if num >= drawn.num_rows:
        of_all = f"All {words.some(num, 'chunk')}"
    title = f"{of_all}, coloured by {drawn.column}" if drawn.column else f"{of_all}, by nearness"
    note = (
        "What is near in meaning is near on the map, but not the other way round: two principal"
        f" components hold {words.share(drawn.kept_share)} of what tells the vectors apart."
    )
    if num < drawn.num_rows:
        note += " The sample is even over the whole collection, and the same every night."
    return Section(
        id="map",
        name="Map of the collection",
        title=title,
        parts=[MapView(map=drawn, with_texts=contents.with_texts), Note(text=note)],
        is_wide=True,
    )


def made_with(contents: ReportContents) -> Section | None:
    """The contract."""
    if not contents.made_with:
        return None
    model = contents.made_with["model"]
    facts = tuple((name, said) for name, said in contents.made_with.items() if said != "unknown")
    return Section(
        id="contract",
        name="How it was made",
        title=f"{contents.version} was made with {model}",
        parts=[Facts(rows=facts)],
        is_wide=True,
    )


ALL: Sequence[Callable[[ReportContents], Section | None]] = (
    changes,
    changes_over_time,
    letters,
    pace_section,
    runs_over_time,
    prediction,
    quality,
    worst_queries,
    chunk_map,
    lengths,
    storage,
    made_with,
)
"""In the order of the page."""


def _in_order(contents: ReportContents) -> list[ReportedRun]:
    return list(contents.runs[::-1])


def _compare_rates(embedded: Sequence[ReportedRun]) -> str:
    last = embedded[-1].counters.tokens_per_second
    rate = f"{words.short(last)} tokens/s in the last run that embedded"
    before = [run.counters.tokens_per_second for run in embedded[:-1] if run.outcome in _WELL]
    if len(before) < 3:
        return rate
    usual = median(before)
    ratio = last / usual - 1
    if abs(ratio) < _NOTABLE:
        return f"{rate}, as usual"
    if ratio > 1:
        return f"{rate}, {last / usual:.1f} times the median before"
    side = "below" if ratio < 0 else "above"
    return f"{rate}, {words.share(abs(ratio))} {side} the median before"


def _rate_in_words(run: ReportedRun) -> str:
    counters = run.counters
    return (
        f"{words.moment(run.started_at)}: {words.count(counters.tokens_per_second)} tokens/s,"
        f" {words.count(counters.num_tokens)} tokens, {run.outcome.replace('_', ' ')}"
    )


def _run_table(runs: Sequence[ReportedRun]) -> Table:
    head = ("started", "outcome", "new", "changed", "deleted", "tokens", "tokens/s", "time", "exit")
    rows = [
        (
            words.day(run.started_at),
            run.outcome.replace("_", " "),
            words.count(run.counters.num_new),
            words.count(run.counters.num_changed),
            words.count(run.counters.num_deleted),
            words.count(run.counters.num_tokens),
            words.count(run.counters.tokens_per_second) if run.counters.num_tokens else "–",
            words.span(run.counters.seconds),
            "–" if run.exit_code is None else str(run.exit_code),
        )
        for run in runs
    ]
    return Table(summary="As a table", head=head, rows=rows, num_left=2)


def _listed(said: Sequence[str]) -> str:
    if len(said) < 2:
        return "".join(said)
    return f"{', '.join(said[:-1])} and {said[-1]}"
