"""What a host runs for a job, as text for systemd, nginx, cron and Milvus.

Doors: `options.load_deployment`, `systemd`, `nginx`, `cron`, `milvus_roles`. Nothing is installed
from here.
"""
