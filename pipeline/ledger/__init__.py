"""What this host remembers of a collection, in one file: documents, runs, dead letters, figures.

Doors: `ledger.Ledger`, which gives `documents.DocumentLedger`, `runs.RunHistory`,
`letters.OpenDeadLetters` and `figures.FigureHistory`. It knows neither Parquet nor Milvus.
"""
