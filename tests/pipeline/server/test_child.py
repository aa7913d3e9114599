"""What the server's own process gives to those that it starts."""

import subprocess
import sys

from embed_index.pipeline.server.launch_checks import free_port

FORKS = """
import multiprocessing, os, sys
from embed_index.pipeline.server.child import _close_in_forks, fork_workers

fork_workers()
reading, writing = os.pipe()
_close_in_forks(writing)
multiprocessing.set_start_method("spawn", force=True)
imported = ["here"]
seen = multiprocessing.Event()

def work():
    assert imported == ["here"]
    assert seen.wait(60)
    # Whatever takes the descriptor's number in a fork stays open in a fork of that.
    os.dup2(os.open(os.devnull, os.O_RDONLY), writing)
    again = multiprocessing.Process(target=os.fstat, args=(writing,))
    again.start()
    again.join()
    sys.exit(again.exitcode)

worker = multiprocessing.Process(target=work)
worker.start()
os.close(writing)
assert os.read(reading, 1) == b""
assert worker.is_alive()
seen.set()
worker.join()
sys.exit(worker.exitcode)
"""
"""The end of file comes while the fork lives: it does not hold the other end."""

SPAWNED = """
import runpy, sys
import psutil
runpy.run_module("embed_index.pipeline.server.child", run_name="__mp_main__")
import torch.distributed as dist
dist.init_process_group(
    "gloo", init_method=f"tcp://127.0.0.1:{sys.argv[1]}", rank=0, world_size=1
)
connections = psutil.Process().net_connections("inet")
print(*{c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN})
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_are_forked_and_do_not_hold_what_tells_of_our_end() -> None:
    run(FORKS)


def test_a_worker_that_is_spawned_keeps_its_store_on_loopback() -> None:
    assert run(SPAWNED, str(free_port())) == "127.0.0.1\n"
