"""What a run will cost, from the corpus, the ledger and curves that were measured.

Doors: `counting.count_work` reads a corpus and counts, `devices.find_device` and `curve.curve_of`
say how fast a GPU is, `prediction.Prediction` is what is kept of a run. It starts no server, asks
no Milvus, writes nothing, and does not know settings.
"""
