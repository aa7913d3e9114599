"""What a run of a job would do, cost and leave in Milvus: `embed-index plan`, and a run's limits.

Doors: `planning.plan_job`, `limits.check_limits`, `page.as_text` and `page.as_json`. It reads the
corpus and the ledger, and writes nothing; Milvus is not asked.
"""
