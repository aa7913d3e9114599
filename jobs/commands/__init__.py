"""The commands, one file each: options in, one call, text out.

A file is named as its command; `keys_generate` is `embed-index keys generate`.
"""
