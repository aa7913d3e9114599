"""Text of the cron table for nightly runs without systemd."""

import shlex

from embed_index.jobs.deployment.deployment import Deployment, printable
from embed_index.jobs.deployment.template import fill


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
        metrics_file = settings.state_dir / f"{deployment.run_unit}.prom"
        command += ["--metrics-file", str(metrics_file)]
    history = [*deployment.program, "history", settings.collection]
    history += ["--job", str(deployment.job_file)]
    hour, minute = (int(part) for part in at.split(":"))
    return fill(
        "cron",
        unit=deployment.run_unit,
        collection=settings.collection,
        create_user=deployment.create_user,
        create_folders=deployment.create_folders,
        access=deployment.run_access,
        history=shlex.join(history),
        metrics_file=printable(metrics_file),
        search_path=deployment.search_path,
        mail_to=mail_to,
        minute=minute,
        hour=hour,
        user=deployment.user,
        # Cron takes a bare percent sign for a line end.
        command=shlex.join(map(printable, command)).replace("%", r"\%"),
    )
