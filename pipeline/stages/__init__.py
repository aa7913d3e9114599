"""The steps between a row of the corpus and a row of the collection, one file a step.

Door: `pipeline/indexing.py`, which joins them. Steps do not know each other, nor which store,
source or server they work with.
"""
