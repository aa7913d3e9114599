"""The server's own process: `python -m embed_index.pipeline.server.child [SGLang's flags]`.

Two processes come of it. The first, a guard of a few megabytes, leads the process group, forks the
second, which becomes SGLang, and stays. It writes the log, without the key, and ends the whole
group as soon as SGLang ends or our parent does, in whatever way: then the kernel closes standard
input, unless a fork of our parent keeps it open, and the guard becomes an orphan. SGLang's own
children are ended with it, also those that are still starting and would outlive it.

Standard input: one line, our parent's process id and the key; then it stays open as a lifeline.
Standard output: the log file.
"""

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from embed_index.pipeline.secrecy.redaction import KeyRedactor
from embed_index.pipeline.server.gate import KeyGate
from embed_index.pipeline.server.server_log import BoundedLog

_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 65_536
_MAX_LINE_BYTES = 65_536
"""As long as the headers that a server takes, and what a pipe holds without a reader."""
_CHECK_MILLISECONDS = 1_000
_LOOPBACK = "127.0.0.1"


def main() -> None:
    """Read the key, fork SGLang, and guard it until it or our parent ends."""
    line = _read_line(sys.stdin.fileno())
    if line is None:
        sys.exit("standard input ended before the key came")
    parent, key = line.split(b" ", 1)
    log_read, log_write = os.pipe()
    ended_read, ended_write = os.pipe()
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        os.close(log_read)
        os.close(ended_read)
        _enter_server(guard, log=log_write)
        # `ended_write` stays open in this process alone: its closing tells the guard of our end.
        _close_in_forks(ended_write)
        run_sglang(sys.argv[1:], key=key.decode("ascii"))
        return
    os.close(log_write)
    os.close(ended_write)
    redactor = KeyRedactor(key)
    _guard(server, parent=int(parent), ended=ended_read, log=log_read, redactor=redactor)


def run_sglang(flags: Sequence[str], *, key: str) -> None:
    """Serve until SIGTERM; the key never enters the command line that SGLang keeps and shows."""
    from sglang.srt.plugins import load_plugins

    load_plugins()
    from sglang.srt.entrypoints.http_server import app, launch_server
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    # From 0.5.17 on arguments cannot be changed once they are parsed; the list is ours alone.
    server_args = prepare_server_args([*flags, f"--api-key={key}"])
    if server_args.host != _LOOPBACK or server_args.admin_api_key:
        sys.exit("the flags set another address or a key; both are the launcher's")
    # Newer versions keep what they parsed, to show it.
    server_args._launch_command = None  # noqa: SLF001
    # They also resolve the arguments, and seal them, in a step of their own.
    if hasattr(server_args, "resolve_once"):
        server_args.resolve_once()
    app.add_middleware(KeyGate, key=key)
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


def _read_line(stdin: int) -> bytes | None:
    """Read one line byte by byte, so that nothing after it is taken from the pipe."""
    line = bytearray()
    while len(line) < _MAX_LINE_BYTES and (byte := os.read(stdin, 1)):
        if byte == b"\n":
            return bytes(line)
        line += byte
    return None


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


def _guard(server: int, *, parent: int, ended: int, log: int, redactor: KeyRedactor) -> NoReturn:
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
        closed = lifeline in ready and not os.read(lifeline, _PIPE_BYTES)
        if closed or os.getppid() != parent:
            break
        if log in ready:
            if piece := os.read(log, _PIPE_BYTES):
                output.write(redactor.feed(piece))
            else:
                poller.unregister(log)
        elif ended in ready:
            # Only once the log has run dry: its last lines say why the server ended.
            output.write(redactor.flush())
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
