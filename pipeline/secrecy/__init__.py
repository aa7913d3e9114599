"""All that touches keys, in files and in texts.

Doors: `key_file.read_key_file`, `files.create_private`, `checks.refuse_unsafe_place`,
`redaction.Redactor`, `proof.prove`. It does not know which server a key is for.
"""
