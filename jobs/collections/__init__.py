"""Collections as people see them: search, describe, promote, roll back, remove.

Doors: `search.search_collection`, `description.describe_collection`, `versions`, and `text`, which
writes their results.
"""
