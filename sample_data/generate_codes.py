"""Write the code corpus: error codes and spare parts, and 20 queries that name one each.

The words live in `texts/codes.toml`; the numbers are drawn with a fixed seed, so that the same
pyarrow gives the same bytes. It lies beside the sample corpus and is no part of it.

    python sample_data/generate_codes.py [--output DIR]
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SEED = 20240301
ERRORS_PER_MACHINE = 10
NUM_QUERIES = 20
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("id", "title", "text", "product"), pa.string()),
        "severity": pa.int64(),
        "created_at": pa.timestamp("ms", tz="UTC"),
    }
)
"""The sample corpus' columns, of which pages have no more than four."""

CAUSES = (
    "a sensor gave no signal in time", "a cover was open while it started",
    "the supply voltage fell for a moment", "a motor drew more current than it may",
    "a temperature was above its limit", "a counter has reached its end",
    "the last calibration was not finished", "two settings contradict each other",
)  # fmt: skip
ACTIONS = (
    "Switch it off, wait a minute and start it again.", "Check the plug and the cable first.",
    "Run the self test from the service menu.", "If it comes back within a day, call the service.",
    "Clean the contacts with a dry cloth.", "Note the number of the counter in the log book.",
)  # fmt: skip


def error_page(machine: dict[str, Any], code: str, rng: random.Random) -> dict[str, str]:
    """Return what a service table says about an error code."""
    product = machine["product"]
    title = f"{product}: error {code}"
    text = (
        f"{title}\n\nThe display of the {product} shows {code} when {rng.choice(CAUSES)}. "
        f"{rng.choice(ACTIONS)}"
    )
    return {"id": f"code-{code}", "title": title, "text": text, "product": product}


def part_page(machine: dict[str, Any], part: str, number: str) -> dict[str, str]:
    """Return a line of a list of spare parts."""
    product = machine["product"]
    title = f"Spare part {number}: {part}"
    text = (
        f"{title}\n\n{part.capitalize()} for the {product}. Order it as {number}; one is in stock, "
        "and it is sent within two days."
    )
    return {"id": f"part-{number}", "title": title, "text": text, "product": product}


def pages() -> list[dict[str, str]]:
    """Write every page; numbers of one machine are close together, as they are in catalogues."""
    rng = random.Random(SEED)
    texts = tomllib.loads((HERE / "texts" / "codes.toml").read_text(encoding="utf-8"))
    found = []
    for machine in texts["machine"]:
        first = rng.randrange(10, 90)
        seconds = rng.sample(range(100), ERRORS_PER_MACHINE)
        codes = [f"{machine['error']}-{first}{second:02}" for second in seconds]
        found += [error_page(machine, code, rng) for code in codes]
        for part in machine["parts"]:
            number = f"{machine['series']}-{rng.randrange(1000, 10_000)}-{rng.choice('ABCD')}"
            found.append(part_page(machine, part, number))
    return found


def queries(documents: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Ask for some of the pages by their code alone, or in a few words, as people do."""
    rng = random.Random(SEED + 1)
    forms = ("{}", "what is {}", "{} meaning", "where do I find {}")
    chosen = rng.sample(documents, NUM_QUERIES)
    return [
        {
            "query": forms[place % len(forms)].format(document["id"].partition("-")[2]),
            "doc_ids": [document["id"]],
        }
        for place, document in enumerate(chosen)
    ]


def write_codes(folder: Path) -> None:
    """Write the Parquet file, and the queries beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = pages()
    pq.write_table(
        pa.Table.from_pylist(documents, SCHEMA), folder / "codes.parquet", compression="zstd"
    )
    lines = [json.dumps(query, ensure_ascii=False) for query in queries(documents)]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the corpus of codes.")
    parser.add_argument("--output", type=Path, default=HERE / "codes", help="folder to write to")
    write_codes(parser.parse_args().output)


if __name__ == "__main__":
    main()
