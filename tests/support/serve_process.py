"""`embed-index serve` as people run it: a process of its own, with signals and a state folder."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from embed_index.pipeline.server.serving_record import ServingRecord, find_serving


def wait_for(condition: Callable[[], bool], *, seconds: float = 240) -> None:
    """Poll a condition of the outside world that nothing announces."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        pause.wait(0.05)


class ServeProcess:
    """A server on the CPU; leaving the context ends it."""

    def __init__(
        self, folder: Path, *arguments: str, model: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.errors = folder / "serve.err"
        self.environ = dict(os.environ if environ is None else environ)
        self._command = [
            *(sys.executable, "-m", "embed_index.jobs.main", "serve"),
            *("--model", str(model), "--max-tokens", "2048", "--state-dir", str(folder / "state")),
            *arguments,
        ]
        self.process: subprocess.Popen[bytes] = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.errors.open("ab") as errors:
            return subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def record(self) -> ServingRecord:
        record = find_serving(self.state)
        assert record is not None, self.said()
        return record

    def said(self) -> str:
        return self.errors.read_text()

    def wait_ready(self, times: int = 1) -> None:
        """Wait until so many servers became ready one after the other."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.said()
            return self.said().count("ready at") >= times

        wait_for(is_ready)

    def server_group(self) -> int:
        """Id of the server's process group: guard, SGLang and its children."""
        children = Path(f"/proc/{self.process.pid}/task")
        for task in children.iterdir():
            for pid in (task / "children").read_text().split():
                if b"pipeline.server.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        raise AssertionError(f"no server runs\n{self.said()}")

    def status(self, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{self.record.url}/v1/models", headers=headers, timeout=60).status_code

    def embed(self, key: str, *, num_inputs: int = 1, num_tokens: int = 1) -> httpx.Response:
        return httpx.post(
            f"{self.record.url}/v1/embeddings",
            json={"input": [[5] * num_tokens] * num_inputs, "model": "m"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=240,
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)
