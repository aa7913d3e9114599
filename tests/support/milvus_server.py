"""A real Milvus standalone server on loopback, started and mistreated by tests.

The `milvus` wheel holds the server's binaries, lzma-compressed; they are unpacked once into
`.cache/` beside the tests. Every port is free at the start and fixed from then on, so several
servers run side by side and a restarted one keeps its address.
"""

import concurrent.futures
import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import lzma
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_LOG_TAIL_BYTES = 3000
_PORTS = (
    "proxy",
    "proxy_internal",
    "metrics",
    "etcd_client",
    "etcd_peer",
    "rootCoord",
    "queryCoord",
    "queryNode",
    "indexNode",
    "dataCoord",
    "dataNode",
)

_port_offsets = itertools.count(os.getpid() * 13)

_EXEC_BOUND_TO_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG with SIGKILL outlives exec, so the server never outlives the tests."""

DEFAULT_SETTINGS: Mapping[str, Any] = {
    "mq": {"type": "rocksmq"},
    "common": {"storageType": "local", "session": {"ttl": 10}},
    "proxy": {"grpc": {"serverMaxRecvSize": 64 << 20, "serverMaxSendSize": 64 << 20}},
    "queryCoord": {
        "checkInterval": 100,
        "distPullInterval": 100,
        **dict.fromkeys(("checkSegmentInterval", "checkChannelInterval"), 100),
        **dict.fromkeys(("checkHandoffInterval", "checkIndexInterval"), 100),
    },
    "log": {"level": "warn", "stdout": True},
    "grpc": {"log": {"level": "ERROR"}},
}
"""Beside ports and folders.

A killed server's session blocks its successor for `ttl` seconds; a server that was frozen for
longer than that comes back unhealthy and stays so until it is restarted.
"""


def unpack_server() -> Path:
    """Return the folder of the server's binaries, unpacking them on first use."""
    spec = importlib.util.find_spec("milvus")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the real Milvus server is missing: pip install milvus==2.3.5")
    target = _CACHE / f"milvus-server-{importlib.metadata.version('milvus')}"
    if target.is_dir():
        return target
    packed = sorted((Path(spec.submodule_search_locations[0]) / "data/bin").glob("*.lzma"))
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
        unpacked = Path(folder) / "bin"
        unpacked.mkdir()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda path: _unpack(path, unpacked / path.stem), packed))
        with contextlib.suppress(OSError):  # another process was faster
            unpacked.rename(target)
    return target


def _unpack(packed: Path, target: Path) -> None:
    with lzma.open(packed) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(0o755)


class MilvusServer:
    """One standalone server; a context manager that starts it and always ends it."""

    def __init__(self, folder: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        """Choose ports and write the configuration.

        Args:
            folder: Holds configuration, log and data; emptied by nobody.
            settings: Sections of `milvus.yaml` that go over `DEFAULT_SETTINGS`.
        """
        self.folder = folder
        self.log_path = folder / "server.log"
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self._write_settings(settings or {})

    @property
    def uri(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._ports['proxy']}"

    def start(self) -> None:
        """Start the server and return when it serves."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start the server and return at once.

        It dies with the thread that calls this, which therefore should be the main one.
        """
        binaries = unpack_server()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._ports["metrics"]),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(binaries),
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _EXEC_BOUND_TO_PARENT, str(os.getpid())),
                    *(str(binaries / "milvus"), "run", "standalone"),
                ],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, *, timeout_seconds: float = 120.0) -> None:
        """Return when the server reports itself healthy and listens."""
        deadline = time.monotonic() + timeout_seconds
        while not (self._healthy() and self._listening()):
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Milvus ended while starting:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Milvus did not start:\n{self._log_tail()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the whole process group with SIGKILL, frozen or not."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)
        self._process = None

    def restart(self) -> None:
        """Kill the server and start it again on the same data and ports."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the server in its tracks; connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        # On a busy machine its threads go on until each was told.
        assert self._process is not None
        threads = Path(f"/proc/{self._process.pid}/task")
        while not all(_is_stopped(thread) for thread in threads.iterdir()):
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not running")
        os.killpg(self._process.pid, number)

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        configs = self.folder / "configs"
        configs.mkdir(parents=True, exist_ok=True)
        etcd = {
            "name": "default",
            "listen-client-urls": f"http://127.0.0.1:{self._ports['etcd_client']}",
            "advertise-client-urls": f"http://127.0.0.1:{self._ports['etcd_client']}",
            "listen-peer-urls": f"http://127.0.0.1:{self._ports['etcd_peer']}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{self._ports['etcd_peer']}",
            "initial-cluster": f"default=http://127.0.0.1:{self._ports['etcd_peer']}",
        }
        (configs / "etcd.yaml").write_text(json.dumps(etcd), encoding="utf-8")
        merged: dict[str, Any] = {
            "etcd": {
                "endpoints": f"127.0.0.1:{self._ports['etcd_client']}",
                "use": {"embed": True},
                "data": {"dir": str(self.folder / "etcd")},
                "config": {"path": str(configs / "etcd.yaml")},
                "log": {"level": "error", "path": str(self.folder / "etcd.log")},
            },
            "localStorage": {"path": str(self.folder / "storage")},
            "rocksmq": {"path": str(self.folder / "rocksmq")},
            "proxy": {
                "ip": "127.0.0.1",
                "port": self._ports["proxy"],
                "internalPort": self._ports["proxy_internal"],
            },
        }
        for part in ("rootCoord", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode"):
            merged[part] = {"ip": "127.0.0.1", "port": self._ports[part]}
        for layer in (DEFAULT_SETTINGS, settings):
            merged = _merge(merged, layer)
        # JSON is YAML, which spares the tests a YAML library.
        (configs / "milvus.yaml").write_text(json.dumps(merged), encoding="utf-8")
        (configs / "glog.conf").write_text("--logtostdout=false\n--minloglevel=2\n", "utf-8")

    def _healthy(self) -> bool:
        url = f"http://127.0.0.1:{self._ports['metrics']}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                return b"OK" in reply.read()
        except (urllib.error.URLError, OSError):
            return False

    def _listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._ports["proxy"]), timeout=1).close()
        except OSError:
            return False
        return True

    def _log_tail(self) -> str:
        return self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = (
            _merge(known, value)
            if isinstance(known, Mapping) and isinstance(value, Mapping)
            else value
        )
    return merged


def _free_ports(count: int) -> list[int]:
    """Return distinct ports below the ephemeral range, where no client's port can take them."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            candidate = 20_000 + next(_port_offsets) % 12_000
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):
                probe.bind(("", candidate))
                ports.append(candidate)
        return ports


def _is_stopped(thread: Path) -> bool:
    """Tell whether a thread stands still; the state follows the name in parentheses."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
