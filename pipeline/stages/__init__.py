"""The steps between a row of the corpus and a row of the collection, one file a step.

Doors: `pipeline/indexing.py`, which joins them, and `store.Store`, which every store implements.
Steps do not know which source, store or server they work with.
"""
