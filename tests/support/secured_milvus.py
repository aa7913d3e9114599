"""A real Milvus server with users, roles and mutual TLS, as those who run one would have it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result
from milvus_server import MilvusServer
from pymilvus import MilvusClient

from embed_index.jobs.main import cli
from embed_index.pipeline.milvus.tls import TlsFiles

ROOT = "root:Milvus"
DATABASE, OTHERS = "ours", "others"


@dataclass(frozen=True, kw_only=True)
class SecuredMilvus:
    """The server, with a loader and a reader of one database, and another database."""

    uri: str
    tls: TlsFiles
    loader: str
    reader: str
    log: Path

    def access(self, token: str, *, database: str = DATABASE) -> dict[str, Any]:
        """Return what `open_store` takes."""
        return {"uri": self.uri, "token": token, "database": database, "tls": self.tls}

    def environment(self, token: str, *, database: str = DATABASE) -> dict[str, str]:
        """Return what a command takes from the environment."""
        return {
            "MILVUS_URI": self.uri,
            "MILVUS_TOKEN": token,
            "MILVUS_DB": database,
            "MILVUS_CA_FILE": str(self.tls.ca_file),
            "MILVUS_CLIENT_CERT": str(self.tls.client_cert),
            "MILVUS_CLIENT_KEY": str(self.tls.client_key),
        }

    def client(self, token: str = ROOT, *, database: str = "") -> MilvusClient:
        """Connect as another program would."""
        return MilvusClient(
            self.uri, token=token, db_name=database, dedicated=True, **self.tls.options()
        )

    def deploy_roles(self, job_file: Path, *more: str, token: str = ROOT) -> Result:
        """Give the command, for a job that names a database alone."""
        environment = self.environment(token)
        del environment["MILVUS_DB"]
        arguments = ["deploy", "milvus-roles", "--job", str(job_file), *more]
        return CliRunner().invoke(cli, arguments, env=environment)


def job_on(database: str, folder: Path) -> Path:
    """Write a job file that names a database."""
    path = folder / f"{database}.toml"
    path.write_text(f'[milvus]\ncollection = "articles"\ndb = "{database}"\n')
    return path


@pytest.fixture(scope="session")
def secured_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredMilvus]:
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    server_cert, client_cert = authority.issue_cert("localhost"), authority.issue_cert("embed")
    paths = {name: folder / name for name in ("ca.pem", "server.pem", "server.key", "ours.pem")}
    authority.cert_pem.write_to_path(str(paths["ca.pem"]))
    server_cert.cert_chain_pems[0].write_to_path(str(paths["server.pem"]))
    server_cert.private_key_pem.write_to_path(str(paths["server.key"]))
    client_cert.cert_chain_pems[0].write_to_path(str(paths["ours.pem"]))
    key = folder / "ours.key"
    key.touch(mode=0o600)
    client_cert.private_key_pem.write_to_path(str(key))
    settings = {
        "common": {"security": {"authorizationEnabled": True, "tlsMode": 2}},
        "tls": {
            "serverPemPath": str(paths["server.pem"]),
            "serverKeyPath": str(paths["server.key"]),
            "caPemPath": str(paths["ca.pem"]),
        },
    }
    with MilvusServer(folder / "server", settings=settings) as server:
        milvus = SecuredMilvus(
            uri=server.uri.replace("http://127.0.0.1", "https://localhost"),
            tls=TlsFiles(ca_file=paths["ca.pem"], client_cert=paths["ours.pem"], client_key=key),
            loader="loader:loads-5ec7e7",
            reader="reader:reads-5ec7e7",
            log=server.log_path,
        )
        applied = milvus.deploy_roles(job_on(DATABASE, folder), "--apply")
        assert applied.exit_code == 0, applied.output
        root = milvus.client()
        for token in (milvus.loader, milvus.reader):
            user, _, password = token.partition(":")
            root.create_user(user, password)
            root.grant_role(user, f"embed_index_{user}_{DATABASE}")
        root.create_database(OTHERS)
        root.close()
        yield milvus
