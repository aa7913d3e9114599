"""The server's own process: `python -m embed_index.pipeline.server.child [SGLang's flags]`.

Two processes come of it. The first, a guard of a few megabytes, leads the process group, forks the
second, which becomes SGLang, and stays. It writes the log, without the keys, and ends the whole
group as soon as SGLang ends or our parent does, in whatever way: then the kernel closes standard
input, unless a fork of our parent keeps it open, and the guard becomes an orphan. SGLang's own
children are ended with it, also those that are still starting and would outlive it.

Standard input: a line whenever the keys change (`key_pipe`); it stays open as a lifeline. The guard
keeps the keys themselves, for its masking, and hands their fingerprints on to the gate.
Standard output: the log file.
"""

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import secrets
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from embed_index.pipeline.secrecy.redaction import KeyRedactor
from embed_index.pipeline.server.access_log import AccessLog
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.gate import KeyGate
from embed_index.pipeline.server.key_pipe import GuardsEnd, follow
from embed_index.pipeline.server.precedence import Precedence
from embed_index.pipeline.server.server_log import BoundedLog

ACCESS_LOG_VARIABLE = "EMBED_INDEX_ACCESS_LOG"
"""Path of the log of who asked; without it there is none."""
_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 65_536
_CHECK_MILLISECONDS = 1_000
_LOOPBACK = "127.0.0.1"


def main() -> None:
    """Fork SGLang, and guard it until it or our parent ends."""
    log_read, log_write = os.pipe()
    ended_read, ended_write = os.pipe()
    keys_read, keys_write = os.pipe()
    # SGLang's own. It looks like others of ours, and shows where it should not.
    inner_key = f"ei-{secrets.token_urlsafe(32)}"
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        for descriptor in (log_read, ended_read, keys_write):
            os.close(descriptor)
        _enter_server(guard, log=log_write)
        # `ended_write` stays open in this process alone: its closing tells the guard of our end.
        _close_in_forks(ended_write)
        _close_in_forks(keys_read)
        run_sglang(sys.argv[1:], inner_key=inner_key, keys=keys_read)
        return
    for descriptor in (log_write, ended_write, keys_read):
        os.close(descriptor)
    keys = GuardsEnd(keys_write, redactor=KeyRedactor(inner_key.encode()))
    _guard(server, ended=ended_read, log=log_read, keys=keys)


def run_sglang(flags: Sequence[str], *, inner_key: str, keys: int) -> None:
    """Serve until SIGTERM; no key enters the command line that SGLang keeps and shows.

    Args:
        flags: SGLang's command line.
        inner_key: What SGLang asks for, and the gate presents.
        keys: Pipe from which the gate's keys come.
    """
    admission = Admission()
    threading.Thread(target=follow, args=(keys, admission), daemon=True).start()

    from sglang.srt.plugins import load_plugins

    load_plugins()
    from sglang.srt.entrypoints.http_server import app, launch_server
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    # From 0.5.17 on arguments cannot be changed once they are parsed; the list is ours alone. With
    # a key SGLang refuses the modes that serve from processes without our gate.
    server_args = prepare_server_args([*flags, f"--api-key={inner_key}"])
    if server_args.host != _LOOPBACK or server_args.admin_api_key:
        sys.exit("the flags set another address or a key; both are the launcher's")
    # Newer versions keep what they parsed, to show it.
    server_args._launch_command = None  # noqa: SLF001
    # They also resolve the arguments, and seal them, in a step of their own.
    if hasattr(server_args, "resolve_once"):
        server_args.resolve_once()
    _put_gate_before(app, admission=admission, inner_key=inner_key)
    if getattr(server_args, "device", None) == "cpu":
        keep_store_on_loopback()
        fork_workers()
    try:
        launch_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


def fork_workers() -> None:
    """Have SGLang fork its own processes, although it asks for ones that begin anew.

    Those would import all that this process has imported, which is most of a start on a CPU: on two
    cores it takes 16 s instead of 30, and the processes share their memory. With CUDA it stays as
    SGLang wants it, because CUDA does not outlive a fork.
    """
    multiprocessing.set_start_method("fork", force=True)

    def stay(*_: object, **__: object) -> None:
        return

    vars(multiprocessing)["set_start_method"] = stay


def _put_gate_before(app: Any, *, admission: Admission, inner_key: str) -> None:
    """Have the gate outermost, before the lock that SGLang itself adds while it launches."""
    build_stack = app.build_middleware_stack
    path = os.environ.get(ACCESS_LOG_VARIABLE)
    log = AccessLog(Path(path)) if path else None
    app.build_middleware_stack = lambda: KeyGate(
        Precedence(build_stack()), admission=admission, inner_key=inner_key, log=log
    )


def keep_store_on_loopback() -> None:
    """Have PyTorch's store for process groups listen on loopback alone.

    By itself it listens on every interface, whatever address it is given, and takes what anybody
    sends. A PyTorch that makes its stores in another way is left alone.
    """
    from torch.distributed import TCPStore

    # A function of the same name hides the module.
    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")
    create_store = getattr(rendezvous, "_create_c10d_store", None)
    if create_store is None:
        return

    def create(
        hostname: str, port: int, rank: int, world_size: int, timeout: Any, *more: Any, **named: Any
    ) -> Any:
        if rank != 0 or hostname not in (_LOOPBACK, "localhost"):
            return create_store(hostname, port, rank, world_size, timeout, *more, **named)
        listener = socket.create_server((_LOOPBACK, port))
        return TCPStore(
            host_name=_LOOPBACK,
            port=port,
            world_size=world_size,
            is_master=True,
            timeout=timeout,
            multi_tenant=True,
            master_listen_fd=listener.detach(),
        )

    rendezvous._create_c10d_store = create  # noqa: SLF001


def _enter_server(guard: int, *, log: int) -> None:
    """Turn the forked process into SGLang's: dies with the guard, logs to it, reads nothing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(nothing)
    os.close(log)


def _close_in_forks(descriptor: int) -> None:
    """Close a descriptor in what this process forks; programs that it starts never have it."""
    left = [descriptor]

    def close() -> None:
        # In a fork of a fork nothing is left.
        while left:
            os.close(left.pop())

    os.register_at_fork(after_in_child=close)


def _guard(server: int, *, ended: int, log: int, keys: GuardsEnd) -> NoReturn:
    """Write the log until SGLang or our parent ends, then end the whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _forward(server))
    lifeline, output = sys.stdin.fileno(), BoundedLog(sys.stdout.fileno())
    poller = select.poll()
    for descriptor in (lifeline, ended, log):
        poller.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll(_CHECK_MILLISECONDS)}
        if lifeline in ready:
            piece = os.read(lifeline, _PIPE_BYTES)
            if not piece:
                break
            keys.feed(piece)
        if keys.parent not in (None, os.getppid()):
            break
        if log in ready:
            if piece := os.read(log, _PIPE_BYTES):
                output.write(keys.redactor.feed(piece))
            else:
                poller.unregister(log)
        elif ended in ready:
            # Only once the log has run dry: its last lines say why the server ended.
            output.write(keys.redactor.flush())
            output.close(_describe_end(server))
            break
    os.killpg(0, signal.SIGKILL)
    raise AssertionError("unreachable: SIGKILL ends the guard too")


def _forward(server: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)


def _describe_end(server: int) -> bytes:
    _, status = os.waitpid(server, 0)
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"SGLang's main process ended: {how}\n".encode()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A process that SGLang spawned: it begins with this module, too.
    keep_store_on_loopback()
