"""What one document becomes: `embed-index chunk`.

The doors are `document.cut_file` and `document.cut_of_corpus`; `page` writes down what they return.
It embeds and stores nothing; it knows neither servers, Milvus nor the ledger.
"""
