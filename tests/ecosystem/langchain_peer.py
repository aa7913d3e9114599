"""LangChain's Milvus store on a collection of ours; run in an environment that has it.

    python langchain_peer.py MILVUS_URI COLLECTION TEXT

Prints ids and scores of the five nearest chunks as JSON, once by the store and once by us.
"""

import json
import sys

from langchain_core.embeddings import Embeddings
from langchain_milvus import Milvus

from embed_index import Collection, open_collection


class ContractEmbeddings(Embeddings):  # type: ignore[misc]
    """Puts queries as the contract says; documents are embedded by `embed-index run`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def embed_query(self, text: str) -> list[float]:
        vector: list[float] = self._collection.embed([text])[0].tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError("embed-index run writes the collection")


def main(uri: str, name: str, text: str) -> None:
    with open_collection(name, milvus_uri=uri) as collection:
        store = Milvus(
            ContractEmbeddings(collection),
            collection_name=name,
            connection_args={"uri": uri},
            primary_field="chunk_id",
            text_field="text",
            vector_field="embedding",
            auto_id=False,
        )
        found = store.similarity_search_with_score(text, k=5)
        theirs = [(document.metadata["chunk_id"], round(score, 4)) for document, score in found]
        ours = [
            (hit.chunk.chunk_id, round(hit.score, 4)) for hit in collection.search(text, limit=5)
        ]
    print(json.dumps({"theirs": theirs, "ours": ours}))


if __name__ == "__main__":
    main(*sys.argv[1:])
