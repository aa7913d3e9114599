"""Milvus, embedded or a server, and everything that pymilvus gets wrong.

Doors: `store.open_store`, which gives `store.MilvusStore`, and `address.parse_address`. It does not
know where rows come from.
"""
