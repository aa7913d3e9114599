"""Open dead letters, shown by reason."""

import json

from job_fixtures import JobFolder


def test_letters_are_counted_by_reason_and_named_for_one(lite_job: JobFolder) -> None:
    lite_job.write({"good": "A good document.", "n1": None, "n2": None, "n3": None, "e1": " "})
    lite_job.run("--max-dead-letters", "4")

    by_reason = lite_job.on_ledger("letters").stdout.splitlines()
    each = lite_job.on_ledger("letters", "--reason", "null_text").stdout.splitlines()
    all_of_them = json.loads(lite_job.on_ledger("letters", "--json").stdout)
    none = lite_job.on_ledger("letters", "--reason", "nul_in_text").stdout

    assert [line.split(":")[0] for line in by_reason] == [
        "1 empty_text",
        "  a.parquet#0",
        "3 null_text",
        "  a.parquet#0",
    ]
    assert by_reason[3] == "  a.parquet#0:1 (document n1): read, null_text, attempt 1"
    assert len(each) == 4
    assert [letter["doc_id"] for letter in all_of_them] == ["e1", "n1", "n2", "n3"]
    assert none == "no dead letters\n"


def test_letters_of_an_unknown_collection_are_refused(lite_job: JobFolder) -> None:
    refused = lite_job.on_ledger("letters", expect=2)

    assert "has left a ledger" in refused.stderr
