"""The server that stays, and the life of its key.

Doors: `server.serve_until_stopped`, `key_rotation.rotate_key`, `key_life`, `access.audit_servers`.
"""
