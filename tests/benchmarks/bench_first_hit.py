"""How long a new user waits for the first hit: five lines in a fresh Python, a server running.

    python tests/benchmarks/bench_first_hit.py lite
    python tests/benchmarks/bench_first_hit.py server --rounds 9

Indexes the sample corpus with a real `embed-index serve`, and then types the five lines into new
processes of Python. Prints the wall seconds from their first line to the printed hit, and from the
start of the interpreter, of all rounds; the first one also reads files that nobody read before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from milvus_server import MilvusServer  # noqa: E402
from serve_process import ServeProcess  # noqa: E402

from embed_index.pipeline.server.launch_checks import free_port  # noqa: E402

MODEL = ROOT / ".cache" / "sample-model"
LINES = """\
from embed_index import open_collection

with open_collection("sample", milvus_uri={uri!r}, state_dir="state", key_file="key") as sample:
    hit = sample.search("the coffee machine asks to be descaled", limit=1)[0]
    print(hit.doc_id, hit.text)
"""
TIMED = "import time; began = time.monotonic()\n{lines}\nprint(time.monotonic() - began)\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["lite", "server"])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        uri = "milvus.db"
        if arguments.target == "server":
            uri = stack.enter_context(MilvusServer(folder / "milvus")).uri
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(os.urandom(24).hex())
        port = free_port()
        serve = stack.enter_context(
            ServeProcess(folder, "--key-file", str(key), "--server-port", str(port), model=MODEL)
        )
        serve.wait_ready()
        server = {
            "EMBEDDING_API_BASE": f"http://127.0.0.1:{port}",
            "EMBEDDING_API_KEY": key.read_text(),
        }
        command = [sys.executable, "-m", "embed_index.jobs.main", "run"]
        command += [str(ROOT / "sample_data" / "job.toml"), "--model", str(MODEL)]
        command += ["--milvus-uri", uri, "--state-dir", "run", "--quiet"]
        subprocess.run(command, check=True, cwd=folder, env=os.environ | server)
        program = TIMED.format(lines=LINES.format(uri=uri))
        inside, whole = [], []
        for _ in range(arguments.rounds):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", program],
                check=True, cwd=folder, capture_output=True, text=True,
            )  # fmt: skip
            whole.append(time.monotonic() - began)
            inside.append(float(done.stdout.splitlines()[-1]))
        print(done.stdout.splitlines()[0])
        for label, seconds in (("five lines", inside), ("with Python's start", whole)):
            rounds = ", ".join(f"{each:.2f}" for each in seconds)
            print(f"{label:<20} median {median(seconds):.2f} s of {rounds}")
        os.killpg(serve.process.pid, 15)
        serve.process.wait(timeout=60)


if __name__ == "__main__":
    main()
