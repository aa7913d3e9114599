"""Documents as other people's files hold them, read as batches of rows.

Doors: `source.Source`, which every kind of corpus implements, `source.RowBatch`,
`parquet.ParquetSource` and `opening.open_parquet`. It does not know models, servers or Milvus.
"""
