"""Open dead letters, shown by reason."""

import json

import pytest
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
    assert none == "no dead letters with the reason nul_in_text\n"


@pytest.mark.parametrize(
    ("given", "said"), [("null_texts", "Did you mean null_text?"), ("x", "refused_400"), ("", "")]
)
def test_what_is_no_reason_is_not_taken_for_a_reason_that_no_letter_has(
    lite_job: JobFolder, given: str, said: str
) -> None:
    lite_job.write({"good": "A good document.", "n1": None})
    lite_job.run("--max-dead-letters", "1")

    refused = lite_job.on_ledger("letters", "--reason", given, "--json", expect=2)
    status = lite_job.on_ledger("letters", "--reason", "refused_413", "--json")

    assert f"no dead letter has the reason {given!r}" in refused.stderr
    assert said in refused.stderr
    assert json.loads(status.stdout) == []


def test_letters_of_an_unknown_collection_are_refused(lite_job: JobFolder) -> None:
    refused = lite_job.on_ledger("letters", expect=2)

    assert "has left a ledger" in refused.stderr
