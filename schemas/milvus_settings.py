"""The settings of the section [milvus]: where the collection is."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from embed_index.schemas import setting_checks as check
from embed_index.schemas.setting import Section, Setting


class MilvusSettings(Section):
    """Where the collection is."""

    collection: Annotated[
        str,
        Setting(section="milvus", help="Name by which searches find the collection."),
        AfterValidator(check.collection_name),
    ] = ""
    milvus_uri: Annotated[
        str,
        Setting(
            section="milvus",
            key="uri",
            env="MILVUS_URI",
            help="Path ending in .db for embedded Milvus Lite, or http(s)://host:port of a server.",
            location="path_or_url",
        ),
        AfterValidator(check.milvus_uri),
    ] = ".embed-index/milvus.db"
    milvus_token: Annotated[
        SecretStr | None,
        Setting(
            section="milvus",
            key="token",
            env="MILVUS_TOKEN",
            credential="milvus-token",
            help="Token, or user:password, of the Milvus server.",
        ),
        AfterValidator(check.header_secret),
    ] = None
    milvus_db: Annotated[
        str,
        Setting(
            section="milvus",
            key="db",
            env="MILVUS_DB",
            help="Database on the Milvus server; empty for the default one.",
        ),
    ] = ""
    milvus_ca_file: Annotated[
        Path | None,
        Setting(
            section="milvus",
            key="ca_file",
            env="MILVUS_CA_FILE",
            help="PEM file of the authority that signed the Milvus server's certificate.",
            location="path",
        ),
    ] = None
    milvus_client_cert: Annotated[
        Path | None,
        Setting(
            section="milvus",
            key="client_cert",
            env="MILVUS_CLIENT_CERT",
            help="PEM file of our own certificate, for a server with mutual TLS.",
            location="path",
        ),
    ] = None
    milvus_client_key: Annotated[
        Path | None,
        Setting(
            section="milvus",
            key="client_key",
            env="MILVUS_CLIENT_KEY",
            help="PEM file of its key, unencrypted and of mode 0600.",
            location="path",
        ),
    ] = None
