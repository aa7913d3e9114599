"""Write the sample corpus: a few small Parquet files in several languages.

The words live in `texts/*.toml`; this script only arranges them. The same texts, seed and
pyarrow give the same bytes, so that a changed file shows in version control.

    python sample_data/generate_corpus.py [--output DIR]
"""

from __future__ import annotations

import argparse
import base64
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SEED = 20240229
FIRST_DAY = datetime(2023, 1, 2, 7, 0, tzinfo=UTC)

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "title": pa.string(),
    "text": pa.large_string(),
    "product": pa.string(),
    "severity": pa.int64(),
    "created_at": pa.timestamp("ms", tz="UTC"),
}
SCHEMA = pa.schema(COLUMNS)

ROWS_PER_GROUP = {
    "tickets-en": 48,
    "tickets-zh": 33,
    "manuals": 8,
    "mixed": 10,
    "long": 1,
    "broken": 5,
}

REFERENCE = re.compile(r"\{(\w+)\}")

Toml = dict[str, Any]
Rules = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One row of the corpus."""

    id: str | None
    text: str | None
    title: str
    product: str | None = None
    severity: int | None = None
    """1 (the house is on fire) to 4 (whenever you have time); None where nobody reports a fault."""
    created_at: datetime | None = None


def read_texts(name: str) -> Toml:
    """Read one file of `texts/`."""
    return tomllib.loads((HERE / "texts" / f"{name}.toml").read_text(encoding="utf-8"))


def pick_time(rng: random.Random) -> datetime:
    """Choose a minute within the two years after `FIRST_DAY`."""
    return FIRST_DAY + timedelta(minutes=rng.randrange(2 * 365 * 24 * 60))


def write_ticket(
    *, topic: Toml, symptom: str, frame: Toml, labels: tuple[str, str], gap: str
) -> str:
    """Lay out one ticket: the report, then the agent's cause and resolution.

    Args:
        topic: A topic of the texts, with `title`, `product`, `cause` and `fix`.
        symptom: What this reporter has seen.
        frame: One chosen sentence for each of `greeting`, `place`, `tried` and `closing`.
        labels: The words for cause and resolution.
        gap: What stands between two sentences; empty in Chinese.
    """
    cause, fix = labels
    report = gap.join(part for part in (frame["greeting"], symptom, frame["place"]) if part)
    paragraphs = [
        topic["title"],
        f"{topic['product']}: {report}",
        frame["tried"],
        f"{cause}: {topic['cause']}",
        f"{fix}: {topic['fix']}",
        frame["closing"],
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def tickets(language: str, *, labels: tuple[str, str], gap: str) -> Iterator[Document]:
    """Yield one ticket per topic and symptom of `texts/tickets-{language}.toml`."""
    rng = random.Random(f"{SEED}-tickets-{language}")
    texts = read_texts(f"tickets-{language}")
    for number in range(max(len(topic["symptoms"]) for topic in texts["topic"])):
        for topic in texts["topic"]:
            frame = {
                "greeting": rng.choice(texts["frame"]["greetings"]),
                "place": rng.choice(texts["frame"]["places"]),
                "tried": rng.choice(texts["frame"]["tried"]),
                "closing": rng.choice(texts["frame"]["closings"]),
            }
            yield Document(
                id=f"ticket-{language}-{topic['key']}-{number + 1}",
                title=topic["title"],
                text=write_ticket(
                    topic=topic,
                    symptom=topic["symptoms"][number],
                    frame=frame,
                    labels=labels,
                    gap=gap,
                ),
                product=topic["product"],
                severity=rng.randint(1, 4),
                created_at=pick_time(rng),
            )


def short_tickets(language: str, texts: Toml, rng: random.Random) -> Iterator[Document]:
    """Yield the Arabic or Japanese tickets of `texts/mixed.toml`."""
    for topic in texts["topic"]:
        for number, symptom in enumerate(topic["symptoms"], start=1):
            frame = {
                "greeting": rng.choice(texts["intro"]),
                "place": "",
                "tried": "",
                "closing": "",
            }
            yield Document(
                id=f"ticket-{language}-{topic['key']}-{number}",
                title=topic["title"],
                text=write_ticket(
                    topic=topic,
                    symptom=symptom,
                    frame=frame,
                    labels=(texts["cause_label"], texts["fix_label"]),
                    gap=" ",
                ),
                product=topic["product"],
                severity=rng.randint(1, 4),
                created_at=pick_time(rng),
            )


def manuals() -> Iterator[Document]:
    """Yield the manuals, each with a heading per section."""
    rng = random.Random(f"{SEED}-manuals")
    for manual in read_texts("manuals")["manual"]:
        sections = [f"## {heading}\n\n{text}" for heading, text in manual["sections"]]
        yield Document(
            id=manual["id"],
            title=manual["title"],
            text="\n\n".join([f"# {manual['title']}", *sections]) + "\n",
            product=manual["product"],
            created_at=pick_time(rng),
        )


def unbroken_lines(rng: random.Random) -> Iterator[Document]:
    """Yield two texts without any white space to cut at."""
    yield Document(
        id="odd-base64-line",
        title="A crash dump pasted into the wrong field",
        text="dump=" + base64.b64encode(rng.randbytes(4500)).decode("ascii"),
        created_at=pick_time(rng),
    )
    characters = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
    yield Document(
        id="odd-zh-line",
        title="A calligraphy exercise without punctuation",
        text="".join(rng.choice(characters) for _ in range(3000)),
        created_at=pick_time(rng),
    )


def mixed() -> Iterator[Document]:
    """Yield Arabic and Japanese tickets, chat messages and texts with unusual characters."""
    rng = random.Random(f"{SEED}-mixed")
    texts = read_texts("mixed")
    yield from short_tickets("ar", texts["ar"], rng)
    yield from short_tickets("ja", texts["ja"], rng)
    for message in texts["chat"]:
        key = message["key"]
        yield Document(id=f"chat-{key}", title=key, text=message["text"], created_at=pick_time(rng))
    for odd in texts["odd"]:
        yield Document(
            id=odd["id"], title=odd["title"], text=odd["text"], created_at=pick_time(rng)
        )
    yield from unbroken_lines(rng)


def expand(rules: Rules, symbol: str, rng: random.Random) -> str:
    """Choose an alternative of `symbol` and expand every `{name}` in it."""
    return REFERENCE.sub(lambda found: expand(rules, found[1], rng), rng.choice(rules[symbol]))


def capitalise(sentence: str) -> str:
    """Raise the first letter and leave the rest alone."""
    return sentence[:1].upper() + sentence[1:]


def write_paragraph(rules: Rules, *, length: tuple[int, int], rng: random.Random, gap: str) -> str:
    """Expand between `length[0]` and `length[1]` different sentences."""
    wanted = rng.randint(*length)
    sentences: list[str] = []
    while len(sentences) < wanted:
        sentence = capitalise(expand(rules, "sentence", rng))
        if sentence not in sentences:
            sentences.append(sentence)
    return gap.join(sentences)


def with_landmarks(paragraphs: list[str], landmarks: list[str], rng: random.Random) -> list[str]:
    """Insert each landmark at a place somewhere in the middle."""
    woven = list(paragraphs)
    for landmark in landmarks:
        woven.insert(rng.randrange(len(woven) // 4, 3 * len(woven) // 4), landmark)
    return woven


def write_sections(texts: Toml, rng: random.Random) -> str:
    """Lay out a handbook: chapters, sections, paragraphs, and landmarks under their own heading."""
    gap = "" if "-zh-" in texts["id"] else " "
    length = (texts["sentences"][0], texts["sentences"][1])
    parts = [f"# {texts['title']}"]
    for number, chapter in enumerate(texts["chapter"]):
        parts.append(f"# {number + 1}. {chapter['title']}")
        rules = texts["rules"] | {key: val for key, val in chapter.items() if key != "title"}
        sections = [
            "\n\n".join(
                [f"## {number + 1}.{place} {heading}"]
                + [
                    write_paragraph(rules, length=length, rng=rng, gap=gap)
                    for _ in range(texts["paragraphs"])
                ]
            )
            for place, heading in enumerate(texts["sections"], start=1)
        ]
        landmarks = [
            f"## {landmark['heading']}\n\n{landmark['text']}"
            for landmark in texts["landmark"]
            if landmark["chapter"] == number
        ]
        parts.extend(with_landmarks(sections, landmarks, rng))
    return "\n\n".join(parts) + "\n"


def write_stream(texts: Toml, rng: random.Random) -> str:
    """Lay out a transcript in one paragraph, its clauses joined by commas."""
    length = (texts["sentences"][0], texts["sentences"][1])
    turns = [
        ", ".join(expand(texts["rules"], "sentence", rng) for _ in range(rng.randint(*length)))
        for _ in range(texts["paragraphs"])
    ]
    return ". ".join(with_landmarks(turns, [text["text"] for text in texts["landmark"]], rng)) + "."


def write_list(texts: Toml, rng: random.Random) -> str:
    """Lay out release notes: a heading per version, a bullet per change, Windows line ends."""
    landmark = texts["landmark"][0]["text"]
    lines: list[str] = [texts["title"], ""]
    for number in range(texts["paragraphs"]):
        lines.append(f"Version {1 + number // 10}.{number % 10}")
        changes = [
            expand(texts["rules"], "sentence", rng) for _ in range(rng.randint(*texts["sentences"]))
        ]
        if number == texts["paragraphs"] // 2:
            changes.insert(0, landmark)
        lines += [f"\t* {change}" for change in changes] + [""]
    return "\r\n".join(lines)


def write_log(texts: Toml, rng: random.Random) -> str:
    """Lay out a radio log: one time stamp and a few messages a line, three languages."""
    clock = FIRST_DAY
    lines: list[str] = []
    for _ in range(texts["paragraphs"]):
        clock += timedelta(minutes=rng.randint(2, 50))
        messages = [
            expand(texts["rules"], "sentence", rng) for _ in range(rng.randint(*texts["sentences"]))
        ]
        lines.append(f"{clock:%Y-%m-%d %H:%M} {' / '.join(messages)}")
    return "\n".join(with_landmarks(lines, [text["text"] for text in texts["landmark"]], rng))


LAYOUTS = {
    "sections": write_sections,
    "stream": write_stream,
    "list": write_list,
    "log": write_log,
}


def long_documents() -> Iterator[Document]:
    """Yield the five long documents, the first of them over 100,000 tokens."""
    for texts in read_texts("long")["document"]:
        rng = random.Random(f"{SEED}-{texts['id']}")
        yield Document(
            id=texts["id"],
            title=texts["title"],
            text=LAYOUTS[texts["layout"]](texts, rng),
            product=texts["product"],
            created_at=pick_time(rng),
        )


def broken_rows() -> Iterator[Document]:
    """Yield rows that a reader must refuse, between rows that it must keep."""
    for row in read_texts("mixed")["broken"]:
        yield Document(id=row.get("id"), title=row["title"], text=row.get("text"))


def corpus() -> dict[str, list[Document]]:
    """Write every document; the keys are the names of the files."""
    return {
        "tickets-en": list(tickets("en", labels=("Cause", "Resolution"), gap=" ")),
        "tickets-zh": list(tickets("zh", labels=("原因", "处理"), gap="")),
        "manuals": list(manuals()),
        "mixed": list(mixed()),
        "long": list(long_documents()),
        "broken": list(broken_rows()),
    }


def as_table(documents: list[Document]) -> pa.Table:
    """Arrange documents as a table of `SCHEMA`."""
    return pa.Table.from_pylist(
        [{name: getattr(document, name) for name in SCHEMA.names} for document in documents],
        schema=SCHEMA,
    )


def write_corpus(folder: Path) -> list[Path]:
    """Write one Parquet file per part of the corpus and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, documents in corpus().items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(
            as_table(documents),
            paths[-1],
            compression="zstd",
            row_group_size=ROWS_PER_GROUP[name],
        )
    return paths


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the sample corpus.")
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "corpus",
        help="folder for the Parquet files (default: corpus/ beside this script)",
    )
    for path in write_corpus(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()
