"""What the benchmarks on a GPU host share: the model, the server, the folder they work in."""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from make_model import SHAPES, TOKENIZER_VOCABULARY, Shape
from pydantic import SecretStr

from embed_index.jobs.adapters.servers import server_profile
from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.secrecy.keyring import Keyring, hash_key
from embed_index.pipeline.server.process import ManagedServer
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.precision import Dtype
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One model on one host."""

    size: str
    device: str
    folder: Path
    server_args: tuple[str, ...]
    dtype: Dtype = "auto"

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> "Bench":
        """Read what `add_options` declared."""
        return cls(
            size=options.model,
            device=options.device,
            folder=options.folder.resolve(),
            server_args=tuple(options.server_arg),
            dtype=options.dtype,
        )

    @property
    def shape(self) -> Shape:
        """The model's sizes."""
        return SHAPES[self.size]

    @property
    def model_folder(self) -> Path:
        """Where the model is, or will be."""
        return self.folder / "models" / self.size

    @property
    def state_folder(self) -> Path:
        """State, server log and databases."""
        return self.folder / "state"

    @property
    def vocabulary(self) -> int:
        """Ids that the tokenizer can produce; the model knows at least these."""
        return TOKENIZER_VOCABULARY

    def make_model(self) -> None:
        """Write the model unless it is there; in a process of its own, for the GPU's memory."""
        if (self.model_folder / "tokenizer_config.json").exists():
            return
        script = str(Path(__file__).with_name("make_model.py"))
        command = [sys.executable, script, self.size, str(self.model_folder)]
        subprocess.run([*command, "--device", self.device], check=True)

    def tokenizer(self) -> ModelTokenizer:
        """Load the model's tokenizer."""
        return ModelTokenizer.load(find_model(str(self.model_folder)))

    def settings(self, **more: object) -> JobSettings:
        """Return a job's settings for this model."""
        given = {
            "model": str(self.model_folder),
            "state_dir": self.state_folder,
            "server_extra_args": self.server_args,
            "dtype": self.dtype,
        }
        return JobSettings.model_validate(given | more)

    def new_server(
        self, *flags: str, gpu: int | None = None, key: SecretStr | None = None
    ) -> ManagedServer:
        """Return a server with the flags that a run would give it, for all lengths, and more."""
        settings = self.settings(server_extra_args=(*self.server_args, *flags))
        profile = server_profile(
            settings, model=find_model(settings.model), max_tokens=MAX_CONTEXT_TOKENS
        )
        keyring = (
            Keyring(hashed=(hash_key(key, name="bench"),), secrets=(key,)) if key else Keyring()
        )
        log_folder = self.state_folder / "logs"
        return ManagedServer(profile, log_folder=log_folder, gpu=gpu, keyring=keyring)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which model on what, and where."""
    parser.add_argument("--model", choices=SHAPES, default="0.6b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="auto")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/embed-index-bench"))
    parser.add_argument(
        "--server-arg",
        action="append",
        default=[],
        help="Further SGLang argument, such as --server-arg=--max-prefill-tokens=32768.",
    )


class Stopwatch:
    """Says how long each step took."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self, step: str) -> float:
        """Print and return the seconds since the last lap."""
        seconds = time.monotonic() - self._last
        print(f"[{seconds:6.1f} s] {step}", flush=True)
        self._last += seconds
        return seconds
