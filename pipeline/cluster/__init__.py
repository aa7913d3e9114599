"""Embedding on the nodes of a Ray cluster: for the flow, one more embedder.

Door: `service.cluster_service`. Each node's server, its key and its log stay there; token ids go
out and vectors come back. Nothing here knows of documents, the ledger or Milvus.
"""
