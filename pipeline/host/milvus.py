"""Whether Milvus can be used, asked with little patience."""

import re
from collections.abc import Callable

from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.milvus.capabilities import MilvusTarget
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.milvus.tls import TlsFiles
from embed_index.schemas.host_check import HostCheck

_OLDEST = (2, 3)
_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 10.0
_IMPATIENT = OutagePolicy(retry_seconds=0.0, doubt_seconds=0.0)


def check_milvus(
    uri: str,
    *,
    token: str,
    database: str,
    tls: TlsFiles,
    check: Callable[[MilvusTarget], None] = lambda _: None,
) -> HostCheck:
    """Connect to Milvus and ask for its version; an embedded one is not created.

    Args:
        uri: As for `open_store`, and so are the next two.
        token: Empty for none.
        database: Empty for the default one.
        tls: As for `open_store`.
        check: Refuses a Milvus that cannot do what is wanted.

    Raises:
        ConfigurationError: The address, the database or the file is wrong, or it cannot do that.
        StoreError: It is away, refuses the token, or another process has the folder open.
    """
    path = parse_address(uri).embedded_path
    if path is not None and not path.exists():
        check(MilvusTarget(uri=uri, version="", embedded=True))
        return HostCheck(
            subject="Milvus", outcome="ok", found=f"{path}, made by the first run (Milvus Lite)"
        )
    with open_store(
        uri,
        token=token,
        database=database,
        tls=tls,
        retry=_IMPATIENT,
        connect_seconds=_CONNECT_SECONDS,
        call_seconds=_CALL_SECONDS,
    ) as store:
        target = store.versions.ask_target()
        check(target)
    version = target.version
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if path is None and numbers < _OLDEST:
        return HostCheck(
            subject="Milvus",
            outcome="warning",
            found=f"{uri}, version {version}",
            remedy="Update it: versions before 2.3 were not tried.",
        )
    return HostCheck(subject="Milvus", outcome="ok", found=f"{uri}, version {version}")
