"""The examination of a host for a job, behind `embed-index doctor`.

Doors: `host.examine_host`, `check.checks_as_text`.
"""
