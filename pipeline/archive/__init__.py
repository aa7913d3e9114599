"""Collections as Parquet files, which other programs open and which need no GPU to come back.

Doors: `writing.ArchiveWriter`, `reading.Archive`; for vectors that a run keeps, `keeping` and
`kept_reader`. It knows neither settings nor runs, and asks no embedding server.
"""
