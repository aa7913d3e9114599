"""Documents as other people's files hold them, read as batches of rows.

Doors: `source.Source`, which every kind of corpus implements, `source.RowBatch`, and
`parquet.ParquetSource`. It does not know models, servers or Milvus.
"""
