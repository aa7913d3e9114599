"""Runs and their outcomes: index, retry, audit and repair, and what the history keeps of them.

Doors: `index.run_index_job`, `retry.retry_dead_letters`, `audit.verify_collection`,
`history.read_history`; each has a `*_text` that writes its results.
"""
