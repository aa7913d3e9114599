"""A light stand-in for SGLang, found before it where `tests/support/light_sglang` is on PYTHONPATH.

What is ours runs unchanged around it: child, guard, key pipe, gate, supervision. It starts in a
second instead of half a minute, has children of its own as SGLang has, and answers with hashed
vectors. What SGLang itself does (its flags, words, routes and deaths) is proven on the real one.
"""
