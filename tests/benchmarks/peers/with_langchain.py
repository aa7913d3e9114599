"""Index a Parquet file into Milvus with LangChain's `index()`, as its documentation has it.

    python with_langchain.py CORPUS COLLECTION STATE

Where `TOKENIZER_ENGINE` is `fastokens`, chunks are measured with our tokenizer.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from fastokens import Tokenizer as FastTokenizer
from langchain_classic.indexes import SQLRecordManager, index
from langchain_core.documents import Document
from langchain_milvus import Milvus
from langchain_openai import OpenAIEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from tokenizers import Tokenizer


def documents(corpus: str) -> Iterator[Document]:
    for batch in pq.ParquetFile(corpus).iter_batches(1000):
        rows = zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)
        for doc_id, text in rows:
            yield Document(page_content=text, metadata={"source": doc_id})


def main(corpus: str, collection: str, state: Path) -> None:
    engine = FastTokenizer if os.environ["TOKENIZER_ENGINE"] == "fastokens" else Tokenizer
    tokenizer = engine.from_file(os.environ["TOKENIZER"])
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=511,
        chunk_overlap=0,
        length_function=lambda text: len(tokenizer.encode(text).ids),
    )
    embeddings = OpenAIEmbeddings(
        model="instant",
        base_url=os.environ["EMBEDDING_API_BASE"] + "/v1",
        api_key=os.environ["EMBEDDING_API_KEY"],
        dimensions=1024,
        chunk_size=64,
        check_embedding_ctx_length=False,
    )
    store = Milvus(
        embeddings, collection_name=collection, connection_args={"uri": os.environ["MILVUS_URI"]}
    )
    records = SQLRecordManager(collection, db_url=f"sqlite:///{state}/{collection}.db")
    records.create_schema()
    chunks = (chunk for text in documents(corpus) for chunk in splitter.split_documents([text]))
    index(
        chunks,
        records,
        store,
        cleanup="incremental",
        source_id_key="source",
        batch_size=1000,
        key_encoder="blake2b",
    )


main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
