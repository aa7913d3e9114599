"""How good a collection version finds: labelled queries, measures, comparisons, and a verdict.

The doors are `label_files.read_labels` and `known_items.draw_known_items`, which give queries with
the documents that answer them, `rankings.SearchedVersion`, which ranks a version's documents for
them, `assessment.assess`, `comparison.compare_versions` and `verdict.find_shortfall`. What was
found is a `quality.Quality`, kept as figures of the ledger, which `history` reads. It searches as
the library does, and does not know jobs, or where servers come from.
"""
