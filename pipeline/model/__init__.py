"""The embedding model as far as it is used in this process: its files, tokenizer and prompts.

Doors: `files.find_model`, `tokenizer.ModelTokenizer`, `splitter.TextSplitter`. It does not know who
computes the vectors.
"""
