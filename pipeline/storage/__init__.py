"""Files outside of this host: object stores and HDFS, behind pyarrow's file systems.

Doors: `store.Storage`, which looks at addresses such as `s3://bucket/corpus`, `files.StoredFile`,
one file there, and `address.scheme_of`. Requests have time limits and are repeated here, because
pyarrow has neither to set. It knows neither Parquet nor which files are a corpus.
"""
