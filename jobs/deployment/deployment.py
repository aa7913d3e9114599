"""What a host runs for a job, every night or all day: the facts that printed units are made of."""

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings

HOME = Path("/var/lib/embed-index")
"""Home of the user: what models and compiled kernels are cached in."""
SERVE_UNIT = "embed-index-serve"

_SERVER_PORT = 30_000
_COMMAND = "embed-index"
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A job on a host, and the user that it runs as."""

    job_file: Path
    settings: JobSettings
    user: str
    program: tuple[str, ...]
    """The command line's first words, absolute."""

    @property
    def run_unit(self) -> str:
        """Name of the nightly unit, one per job file; it also suits a file in /etc/cron.d."""
        return f"{_COMMAND}-run-{_NO_NAME.sub('-', self.job_file.stem)}"

    @property
    def search_path(self) -> str:
        """PATH for SGLang, which calls tools that were installed beside it."""
        folders = (Path(self.program[0]).parent, "/usr/local/bin", "/usr/bin", "/bin")
        return ":".join(dict.fromkeys(map(str, folders)))

    @property
    def _kept(self) -> tuple[Path, ...]:
        """What a run writes again and again."""
        settings = self.settings
        database = None if "://" in settings.milvus_uri else Path(settings.milvus_uri)
        files = (database, settings.keep_vectors, settings.metrics_file, settings.report)
        return tuple(path for path in files if path is not None)

    @property
    def written_folders(self) -> tuple[Path, ...]:
        """The folders that a run writes to."""
        settings = self.settings
        folders = [settings.state_dir]
        if "://" not in settings.milvus_uri:
            folders.append(Path(settings.milvus_uri).parent)
        if settings.metrics_file is not None:
            folders.append(settings.metrics_file.parent)
        if settings.keep_vectors is not None:
            folders.append(settings.keep_vectors)
        return tuple(dict.fromkeys(folders))

    @property
    def create_user(self) -> str:
        """What root types once, to have the user."""
        account = f"--system --user-group --home-dir {HOME} --shell /usr/sbin/nologin {self.user}"
        return f"id {self.user} > /dev/null 2>&1 || sudo useradd {account}"

    @property
    def create_folders(self) -> str:
        """What root types once, for the user's home, and what the job keeps or has kept.

        Whoever tried the job by hand owns the files that it made.
        """
        user, state = self.user, self.settings.state_dir
        # Path.exists would raise where one may not look.
        there = [path for path in self._kept if os.path.exists(path)]  # noqa: PTH110
        kept = [path for path in there if not path.is_relative_to(state)]
        owned = " ".join(shlex.quote(printable(path)) for path in (state, *kept))
        return (
            f'sudo install -d -m 0750 -o {user} -g "$(id -gn {user})" {HOME}'
            f" {shlex.quote(printable(state))} && sudo chown -R {user}: {owned}"
        )

    @property
    def serve_access(self) -> str:
        """In words, what the user must be allowed to do for a server."""
        return f"{self.user} must be able to read {_listed(*self._settings_files, *self._model)}."

    @property
    def run_access(self) -> str:
        """In words, what the user must be allowed to do for a run."""
        settings = self.settings
        judged = [path for path in (settings.quality_queries, settings.quality_qrels) if path]
        tls = (settings.milvus_ca_file, settings.milvus_client_cert, settings.milvus_client_key)
        read = _listed(
            *self._settings_files, *settings.input, *self._model, *judged, *filter(None, tls)
        )
        written = _listed(*self.written_folders)
        return f"{self.user} must be able to read {read}, and to write to {written}."

    @property
    def _settings_files(self) -> tuple[Path, ...]:
        env_file = self.job_file.with_name(".env")
        return (self.job_file, env_file) if env_file.is_file() else (self.job_file,)

    @property
    def _model(self) -> tuple[str, ...]:
        model = self.settings.model
        return (model,) if Path(model).is_absolute() else ()


def served_port(settings: JobSettings) -> int:
    """Return the fixed port of a server that others must find."""
    return settings.server_port or _SERVER_PORT


def installed_program() -> tuple[str, ...]:
    """Return how this installation is called from anywhere."""
    beside = Path(sys.executable).with_name(_COMMAND)
    if beside.is_file():
        return (str(absolute(beside)),)
    found = shutil.which(_COMMAND)
    return (str(absolute(found)),) if found else (sys.executable, "-m", "embed_index.jobs.main")


def absolute(path: Path | str) -> Path:
    """Return a path that holds in every folder, without `..`.

    Symbolic links stay as they are, but for one that a `..` comes after.
    """
    path = Path.cwd() / path
    plain = Path(os.path.normpath(path))
    return plain if plain.resolve() == path.resolve() else path.resolve()


def printable(path: Path | str) -> str:
    """Return a path that can stand on one line of a configuration file.

    Raises:
        ConfigurationError: It holds a line end or another control character.
    """
    text = str(path)
    if not text.isprintable():
        raise ConfigurationError(
            f"the path {text!r} holds characters that no configuration file takes",
            remedy="Rename it.",
        )
    return text


def _listed(*paths: Path | str) -> str:
    """List paths and URLs; the pattern of a corpus may still hold `..`."""
    return ", ".join(printable(p if "://" in str(p) else absolute(p)) for p in paths)
