"""From settings to adapters: the only place where sources, stores and servers are built.

Doors: `inputs.check_inputs`, `places.open_job_store`, `servers.choose_service`,
`live_version.settled_target`.
"""
