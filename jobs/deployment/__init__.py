"""What a host runs for a job, as text for systemd, nginx and cron.

Doors: `options.load_deployment`, `systemd`, `nginx`, `cron`. Nothing is installed from here.
"""
