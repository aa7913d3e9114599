"""pyarrow's file systems, made for addresses; credentials are found by each one's own chain.

No key ever passes through here: what is not given, pyarrow cannot repeat in an error.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from pyarrow import fs

from embed_index.pipeline.storage.address import StorageAddress
from embed_index.schemas.errors import ConfigurationError

_CONNECT_SECONDS = 5
_SILENT_SECONDS = 10
"""A connection over which nothing has come for so long is given up."""
_DEFAULT_HDFS = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """Where a store with S3's interface is; empty for AWS, and for the bucket's own region."""

    endpoint: str = ""
    region: str = ""


def open_system(address: StorageAddress, access: S3Access) -> fs.FileSystem:
    """Return the file system of an address; paths in it begin with its root.

    This may ask the network for credentials or a region, and raises what pyarrow does.

    Raises:
        ConfigurationError: This host lacks what pyarrow needs for it.
    """
    opens = {"s3": _open_s3, "gcs": _open_gcs, "azure": _open_azure, "hdfs": _open_hdfs}
    return opens[address.kind](address, access)


def root_of(address: StorageAddress) -> str:
    """Return the path of everything that an address's authority holds."""
    if address.kind == "hdfs":
        return ""
    return address.authority.partition("@")[0]


def _open_s3(address: StorageAddress, access: S3Access) -> fs.FileSystem:
    region = access.region
    if not region and not access.endpoint:
        region = fs.resolve_s3_region(address.authority)
    endpoint = urlsplit(access.endpoint)
    return fs.S3FileSystem(
        # A store other than AWS takes any region, but requests are signed with one.
        region=region or "us-east-1",
        endpoint_override=f"{endpoint.netloc}{endpoint.path}" if access.endpoint else None,
        scheme=endpoint.scheme or "https",
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_SILENT_SECONDS,
        # Requests are repeated by us: the SDK gives up within seconds.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def _open_gcs(_address: StorageAddress, _access: S3Access) -> fs.FileSystem:
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_SILENT_SECONDS))


def _open_azure(address: StorageAddress, _access: S3Access) -> fs.FileSystem:
    if not hasattr(fs, "AzureFileSystem"):
        raise ConfigurationError(
            f"input: this pyarrow does not read {address.scheme}:// addresses",
            remedy="Install pyarrow 20 or newer, or mount the container.",
        )
    _, _, host = address.authority.partition("@")
    account = host.partition(".")[0]
    if not account:
        raise ConfigurationError(
            f"input: {address.top} names no storage account",
            remedy=f"Write {address.scheme}://container@account.dfs.core.windows.net/folder.",
        )
    return fs.AzureFileSystem(account)


def _open_hdfs(address: StorageAddress, _access: S3Access) -> fs.FileSystem:
    host, _, port = address.authority.partition(":")
    if address.scheme == "viewfs":
        host = f"viewfs://{host}"
    try:
        return fs.HadoopFileSystem(host or _DEFAULT_HDFS, int(port) if port.isdecimal() else 0)
    except OSError as error:
        if "libhdfs" not in str(error) and "libjvm" not in str(error):
            raise
        raise ConfigurationError(
            f"input: {address.top} needs Hadoop's own client, which is not found on this machine",
            remedy="Install Hadoop and Java, and set HADOOP_HOME, JAVA_HOME, ARROW_LIBHDFS_DIR and"
            " CLASSPATH=$(hadoop classpath --glob).",
        ) from error
