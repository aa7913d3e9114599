"""Text of the systemd units: the server that stays, the nightly run, and its timer."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from embed_index.jobs.deployment.deployment import (
    HOME,
    SERVE_UNIT,
    Deployment,
    printable,
    served_port,
)

_NEEDS_QUOTES = re.compile(r"[^A-Za-z0-9_./:=,@%+-]")
_SERVER_STOP_SECONDS = 60
"""Beyond the grace period: a server's group gets 30 s to be gone."""

_SANDBOX = """\
# No PrivateDevices=, DeviceAllow= or ProtectClock= (which implies one), no ProcSubset= and no
# MemoryDenyWriteExecute=: with any of them CUDA finds no GPU or cannot compile its kernels.
NoNewPrivileges=true
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
LockPersonality=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
UMask=0077
"""


def serve_unit(deployment: Deployment, *, key_file: Path) -> str:
    """Return the service that keeps the authenticated server running."""
    port = served_port(deployment.settings)
    command = ("serve", "--job", str(deployment.job_file), "--server-port", str(port))
    key = printable(key_file)
    return f"""\
# /etc/systemd/system/{SERVE_UNIT}.service
#
# The embedding server of embed-index at http://127.0.0.1:{port}, for as long as the host is up.
#
# Once:
{_as_comment(deployment.setup_commands)}\
#   sudo install -d {shlex.quote(str(key_file.parent))}
#   sudo {shlex.join(deployment.program)} keys generate --key-file {shlex.quote(key)}
# The key file stays root's: systemd hands its content over.
# {deployment.serve_access}
# Then, and after every change to this file:
#   sudo systemctl daemon-reload && sudo systemctl enable --now {SERVE_UNIT}
# After a change of the key:
#   sudo systemctl reload {SERVE_UNIT}

[Unit]
Description=Embedding server of embed-index
Wants=network-online.target
After=network-online.target nvidia-persistenced.service
# A server that cannot start five times within half an hour is left alone, failed.
StartLimitIntervalSec=30min
StartLimitBurst=5

[Service]
Type=exec
{_identity(deployment)}\
LoadCredential=embedding-api-key:{_specifiers(key)}
{_LOAD_UVM}\
ExecStart={_command_line(deployment, command)}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=15s
# systemd 254 and later can wait longer each time:
#RestartSteps=4
#RestartMaxDelaySec=4min
# A wrong setting stays wrong.
RestartPreventExitStatus=2
# The server ends its own children in order.
KillMode=mixed
TimeoutStopSec={_stop_seconds(deployment)}s

{_write_paths([deployment.settings.state_dir])}\
{_SANDBOX}
[Install]
WantedBy=multi-user.target
"""


def run_unit(deployment: Deployment, *, key_file: Path) -> str:
    """Return the service that brings the collection in step once."""
    settings, unit = deployment.settings, deployment.run_unit
    own_server = not settings.server_url
    credential = "" if own_server else f"LoadCredential=embedding-api-key:{_specifiers(key_file)}\n"
    if "://" in settings.milvus_uri:
        token = _specifiers(key_file.with_name("milvus-token"))
        credential += (
            "# A token for Milvus, in a file of mode 0600 that is root's:\n"
            f"#LoadCredential=milvus-token:{token}\n"
        )
    before = "nvidia-persistenced.service" if own_server else f"{SERVE_UNIT}.service"
    return f"""\
# /etc/systemd/system/{unit}.service
#
# Brings the collection {settings.collection} in step with its corpus, once; {unit}.timer starts it.
#
# Once:
{_as_comment(deployment.setup_commands)}\
# {deployment.run_access}
# Then, and after every change to this file:
#   sudo systemctl daemon-reload
# Try it, and see what it said:
#   sudo systemctl start {unit}; journalctl -u {unit} -n 20

[Unit]
Description=Nightly run of embed-index for {settings.collection}
Wants=network-online.target
After=network-online.target {before}
# Three tries a night.
StartLimitIntervalSec=6h
StartLimitBurst=3
# A unit of your own that tells somebody:
#OnFailure=tell-somebody@%n.service

[Service]
Type=oneshot
{_identity(deployment)}\
{credential}\
{_LOAD_UVM if own_server else ""}\
ExecStart={_command_line(deployment, ("run", str(deployment.job_file)))}
# 130: stopped in good order; the next run goes on from there. Whatever else is not 0 is a failure:
# 1 a bug, 2 configuration, 3 too many dead letters, 4 server or Milvus away, 5 another run at work.
SuccessExitStatus=130
# Only what may pass by itself is tried again: exit code 4, or death by a signal.
Restart=on-failure
RestartPreventExitStatus=1 2 3 5 6
RestartSec=10min
# SIGTERM goes to the run alone: it finishes what is in flight, then ends its server.
KillMode=mixed
TimeoutStopSec={_stop_seconds(deployment)}s

{_write_paths(deployment.written_folders)}\
{_SANDBOX}"""


def timer_unit(deployment: Deployment, *, at: str) -> str:
    """Return the timer of the nightly run.

    Args:
        deployment: The job.
        at: Time of day such as `02:30`, in the host's time zone.
    """
    unit = deployment.run_unit
    return f"""\
# /etc/systemd/system/{unit}.timer
#
# Starts {unit}.service every night. After saving both:
#   sudo systemctl daemon-reload && sudo systemctl enable --now {unit}.timer
#   systemctl list-timers {unit}.timer

[Unit]
Description=Every night: embed-index for {deployment.settings.collection}

[Timer]
OnCalendar=*-*-* {at}:00
RandomizedDelaySec=10min
# A night that the host was off is made up for when it is on again.
Persistent=true

[Install]
WantedBy=timers.target
"""


_LOAD_UVM = """\
# CUDA's device files, where nobody has made them since the host started; not without a GPU.
ExecStartPre=-+/usr/bin/nvidia-modprobe -u -c 0
"""


def _as_comment(commands: Iterable[str]) -> str:
    return "".join(f"#   {command}\n" for command in commands)


def _identity(deployment: Deployment) -> str:
    return (
        f"User={deployment.user}\n"
        "# Where /dev/nvidia* belong to a group:\n"
        "#SupplementaryGroups=video\n"
        f"StateDirectory={HOME.name}\n"
        f"WorkingDirectory={HOME}\n"
        f"Environment=HOME={HOME} {_word(f'PATH={deployment.search_path}')}\n"
    )


def _write_paths(folders: Iterable[Path]) -> str:
    """Open what the state directory does not cover."""
    words = [_word(str(folder)) for folder in folders if not folder.is_relative_to(HOME)]
    return f"ReadWritePaths={' '.join(words)}\n" if words else ""


def _command_line(deployment: Deployment, arguments: Iterable[str]) -> str:
    return " ".join(_word(word).replace("$", "$$") for word in (*deployment.program, *arguments))


def _word(text: str) -> str:
    """Quote one word as systemd reads it."""
    escaped = _specifiers(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if _NEEDS_QUOTES.search(text) else escaped


def _specifiers(path: Path | str) -> str:
    return printable(path).replace("%", "%%")


def _stop_seconds(deployment: Deployment) -> int:
    return round(deployment.settings.grace_seconds) + _SERVER_STOP_SECONDS
