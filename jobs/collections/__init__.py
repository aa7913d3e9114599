"""Collections as people see them: open, search, describe, promote, roll back, remove.

Doors: `opening.open_collection`, which programs use, `search.search_collection`,
`description.describe_collection`, `versions`, and `text`, which writes their results.
"""
