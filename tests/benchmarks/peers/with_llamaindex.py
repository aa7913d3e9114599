"""Index a Parquet file into Milvus with LlamaIndex, as its documentation has it.

    python with_llamaindex.py CORPUS COLLECTION STATE

Where `TOKENIZER_ENGINE` is `fastokens`, chunks are measured with our tokenizer.
"""

import asyncio
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
from fastokens import Tokenizer as FastTokenizer
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.vector_stores.milvus import MilvusVectorStore
from tokenizers import Tokenizer


async def main(corpus: str, collection: str, state: Path) -> None:
    engine = FastTokenizer if os.environ["TOKENIZER_ENGINE"] == "fastokens" else Tokenizer
    tokenizer = engine.from_file(os.environ["TOKENIZER"])
    file = state / f"{collection}.json"
    docstore = SimpleDocumentStore()
    if file.exists():
        docstore = SimpleDocumentStore.from_persist_path(str(file))
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(
                chunk_size=511, chunk_overlap=0, tokenizer=lambda text: tokenizer.encode(text).ids
            ),
            OpenAILikeEmbedding(
                model_name="instant",
                api_base=os.environ["EMBEDDING_API_BASE"] + "/v1",
                api_key=os.environ["EMBEDDING_API_KEY"],
                embed_batch_size=64,
                num_workers=8,
                dimensions=1024,
            ),
        ],
        vector_store=MilvusVectorStore(
            uri=os.environ["MILVUS_URI"], collection_name=collection, dim=1024, batch_size=1000
        ),
        docstore=docstore,
        docstore_strategy=DocstoreStrategy.UPSERTS,
        disable_cache=True,
    )
    table = pq.read_table(corpus)
    rows = zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
    await pipeline.arun(documents=[Document(id_=doc_id, text=text) for doc_id, text in rows])
    docstore.persist(str(file))


asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
