"""What another precision costs and saves on one's own texts: `embed-index precision`.

The door is `comparison.compare_precisions`, and `page.as_text` writes it down. It embeds a sample
twice and stores nothing; it knows neither Milvus nor the ledger.
"""
