"""What this host remembers of a collection, in one SQLite file: documents, runs, dead letters.

Doors: `ledger.Ledger`, which gives `documents.DocumentLedger`, `runs.RunHistory` and
`letters.OpenDeadLetters`. It knows neither Parquet nor Milvus.
"""
