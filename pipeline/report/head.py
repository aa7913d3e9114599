"""The top of a report: freshness and outcome, and the figures that people look for first."""

from embed_index.pipeline.report import words
from embed_index.pipeline.report.contents import ReportContents, ReportedRun
from embed_index.pipeline.report.parts import Head, Tile, Tone

_OUTCOMES: dict[str, tuple[str, Tone, str]] = {
    "done": ("Done", "good", "The last run went through."),
    "mended": ("Mended", "good", "The last run was a repair or a retry, and it went well."),
    "partial": ("Partial", "plain", "The last run read only the first documents."),
    "dead_letters": (
        "Too many dead letters",
        "warn",
        "The last run left more dead letters than allowed; everything else is in the collection.",
    ),
    "failed": ("Failed", "bad", "The last run failed; what it had done is kept."),
    "interrupted": ("Interrupted", "warn", "The last run was interrupted; the next one goes on."),
    "died": ("Died", "bad", "The last run ended without a word; the next one goes on."),
    "running": ("Running", "plain", "A run is at work."),
}


def head(contents: ReportContents) -> Head:
    """Return what stands at the top."""
    last = contents.runs[0] if contents.runs else None
    success = contents.last_success
    known = _OUTCOMES.get(last.outcome) if last else None
    outcome, tone, sentence = known or ("No run yet", "plain", "No run is on record here.")
    return Head(
        outcome=outcome,
        tone=tone,
        sentence=sentence,
        since=success.finished_at if success else None,
        error=last.error if last and last.error and last.outcome != "done" else "",
        tiles=tuple(_tiles(contents, last)),
    )


def _tiles(contents: ReportContents, last: ReportedRun | None) -> list[Tile]:
    pending = contents.num_pending
    tiles = [
        Tile(
            name="Documents",
            value=words.figure(contents.num_documents),
            note=f"{words.count(pending)} pending" if pending else "in the collection",
            target="changes",
        ),
        Tile(
            name="Chunks",
            value=words.figure(contents.num_chunks),
            note=_per_document(contents),
            target="lengths" if contents.lengths else "",
        ),
    ]
    if last is not None:
        counters = last.counters
        rate = f"{words.short(counters.tokens_per_second)} tokens/s"
        saved = counters.num_tokens_saved
        tiles += [
            Tile(
                name="Last run took",
                value=words.span(counters.seconds),
                note=rate if counters.num_tokens else "nothing to embed",
                target="pace" if contents.pace else "",
            ),
            Tile(
                name="Tokens embedded",
                value=words.figure(counters.num_tokens),
                note=f"{words.short(saved)} more were kept" if saved else "in the last run",
                target="runs",
            ),
        ]
    num_letters = sum(group.num_letters for group in contents.letters)
    tiles.append(
        Tile(
            name="Dead letters",
            value=words.figure(num_letters),
            note="open" if num_letters else "none are open",
            tone="warn" if num_letters else "plain",
            target="letters" if num_letters else "",
        )
    )
    return tiles


def _per_document(contents: ReportContents) -> str:
    if not contents.num_documents:
        return "in the collection"
    return f"{contents.num_chunks / contents.num_documents:,.1f} a document"
