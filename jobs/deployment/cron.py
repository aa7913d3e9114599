"""Text of the cron table for nightly runs without systemd."""

import shlex

from embed_index.jobs.deployment.deployment import Deployment, printable


def cron_table(deployment: Deployment, *, at: str, mail_to: str) -> str:
    """Return a file for /etc/cron.d.

    Args:
        deployment: The job.
        at: Time of day such as `02:30`, in the host's time zone.
        mail_to: Who gets the mail that cron sends when a run writes anything.
    """
    settings = deployment.settings
    command = [*deployment.program, "run", str(deployment.job_file)]
    command += ["--quiet", "--log-format", "text"]
    metrics_file = settings.metrics_file
    if metrics_file is None:
        metrics_file = settings.state_dir / f"{settings.collection}.prom"
        command += ["--metrics-file", str(metrics_file)]
    # Cron takes a bare percent sign for a line end.
    line = shlex.join(map(printable, command)).replace("%", r"\%")
    hour, minute = (int(part) for part in at.split(":"))
    history = [*deployment.program, "history", settings.collection]
    history += ["--job", str(deployment.job_file)]
    setup = "\n".join(f"#   {command}" for command in deployment.setup_commands)
    return f"""\
# /etc/cron.d/{deployment.run_unit}
#
# Brings the collection {settings.collection} in step with its corpus, every night. The file must be
# root's and writable by nobody else. Once:
{setup}
# {deployment.run_access}
#
# A run that goes well writes nothing, so cron sends mail only when one failed; its first line says
# why. No lock is needed around it: two runs never work on one collection. What each night did:
#   {shlex.join(history)}
# For Prometheus it is in {printable(metrics_file)}.

SHELL=/bin/sh
PATH={deployment.search_path}
MAILTO={mail_to}
{minute} {hour} * * * {deployment.user} {line}
"""
