"""A night that changed nothing loads nothing that it does not need."""

import os
import subprocess
import sys

from job_fixtures import JobFolder

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(6)}

AFTERWARDS = """
import sys
from embed_index.jobs.main import cli
code = cli(sys.argv[1:], standalone_mode=False)
names = "fastokens tokenizers transformers httpx huggingface_hub requests pandas torch".split()
print("loaded:", [name for name in names if name in sys.modules])
"""


def loaded_by(job: JobFolder, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, *job.arguments(*more)],
        env=os.environ | dict(job.environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()[-1]


def test_no_tokenizer_and_no_client_is_loaded_until_a_document_changes(
    lite_job: JobFolder,
) -> None:
    job = lite_job
    job.write(CORPUS)
    instructed = ("--document-instruction", "Find passages about pumps.")
    job.run(*instructed)

    assert loaded_by(job, *instructed) == "loaded: []"

    job.write(CORPUS | {"d0": "Another text."})
    # The vocabulary is read once: the reference stays away.
    assert loaded_by(job, *instructed) == "loaded: ['fastokens', 'httpx']"
