"""Token ids to unit vectors, at any embedding server, seen from outside.

Doors: `embedder.Embedder`, which everything that embeds implements, `client.EmbeddingClient`,
`preflight.check_access`, `canaries.CanaryGate`. It does not know who started the server.
"""
