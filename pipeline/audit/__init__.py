"""Whether the collection is the corpus: what differs, and what a repair does about it.

Doors: `audit.AuditPass`, `ledger_rebuild.rebuild_ledger`, `mending`. It embeds nothing itself.
"""
