"""Collection versions behind an alias: which a run fills, whether it is sound, when it goes live.

Doors: `target.choose_target`, `check.find_fault`, `changes.promote`. It does not know how rows are
made.
"""
