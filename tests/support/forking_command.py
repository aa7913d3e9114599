"""The command line, imported once and forked for each command: a start costs half a second less.

    python tests/support/forking_command.py

Reads a JSON object a line with `arguments`, `folder`, `environ` and `stderr`, a path; answers
`pid` with the id of the process that does it, and `code` with its exit code once it has ended.
"""

import json
import os
import pkgutil
import sys
from importlib import import_module
from typing import Any, NoReturn

import pymilvus  # noqa: F401

import embed_index.jobs
import embed_index.jobs.main


def become(order: dict[str, Any]) -> NoReturn:
    """Go on as the installed script does."""
    os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    nowhere = os.open(os.devnull, os.O_RDWR)
    said = os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, number in ((nowhere, 0), (nowhere, 1), (said, 2)):
        os.dup2(descriptor, number)
    sys.argv = ["embed-index", *order["arguments"]]
    embed_index.jobs.main.main()
    raise AssertionError("unreachable: the command exits")


def tell(name: str, number: int) -> None:
    sys.stdout.write(f"{name} {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for module in pkgutil.walk_packages(embed_index.jobs.__path__, "embed_index.jobs."):
        import_module(module.name)
    tell("ready", os.getpid())
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        tell("pid", child)
        _, status = os.waitpid(child, 0)
        tell("code", os.waitstatus_to_exitcode(status))
