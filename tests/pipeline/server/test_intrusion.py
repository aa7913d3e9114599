"""The audit of a server's access: what is found, and what is never asked of an open server."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from misbehaving_server import KEY, Answer, Request, embeds, misbehaving_server
from pydantic import SecretStr

from embed_index.jobs.main import cli
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.server.intrusion import AccessAudit, audit_access
from embed_index.schemas.errors import ServerError

PATHS: dict[str, dict[str, dict[str, str]]] = {
    "/health": {"get": {}},
    "/v1/models": {"get": {}},
    "/release_memory_occupation": {"get": {}, "post": {}},
    "/v1/responses/{response_id}/cancel": {"post": {}},
}


class GuardedServer:
    """Asks for the key, and leaves the doors open that a test names."""

    def __init__(
        self,
        *open_paths: str,
        lists: bool = True,
        disguised: bool = False,
        upgrades: bool = False,
        paths: Mapping[str, Any] = PATHS,
    ) -> None:
        self._paths = paths
        self._open = {"/health", *open_paths}
        self._lists, self._disguised, self._upgrades = lists, disguised, upgrades
        self.effects: list[str] = []

    def __call__(self, request: Request) -> Answer:
        given = request.headers.get("authorization")
        if request.headers.get("upgrade") == "websocket" and self._upgrades:
            return Answer(status=101, body=b"")
        is_disguised = self._disguised and request.headers["host"].endswith("/health?")
        if given != f"Bearer {KEY}" and request.route not in self._open and not is_disguised:
            return Answer(status=401, body=b"")
        if request.method == "HEAD":
            return Answer(status=405, body=b"")
        if request.route == "/v1/embeddings":
            return embeds(request)
        if request.route == "/openapi.json" and self._lists:
            return Answer(body=orjson.dumps({"paths": self._paths}))
        if given != f"Bearer {KEY}":
            self.effects.append(f"{request.method} {request.route}")
        return Answer(status=200 if request.route in PATHS else 404)


async def audit(server: GuardedServer) -> AccessAudit:
    async with misbehaving_server(always=server) as address:
        return await audit_access(
            EmbeddingEndpoint.from_settings(address.url, key=SecretStr(KEY), model="m")
        )


def found(audited: AccessAudit) -> list[tuple[str, str, int]]:
    return [(str(entry.route), entry.how, entry.status) for entry in audited.open_routes]


async def test_a_guarded_server_is_open_only_where_it_is_meant_to_be() -> None:
    audited = await audit(GuardedServer())

    assert found(audited) == [("GET /health", "no key", 200)]
    assert audited.unexpected == ()
    assert audited.num_listed == 5
    assert audited.num_requests > 4 * audited.num_listed


async def test_what_describes_a_path_is_no_route() -> None:
    described = {path: {**methods, "parameters": [], "x-a": 1} for path, methods in PATHS.items()}

    assert (await audit(GuardedServer(paths=described))).num_listed == 5


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"http://elsewhere/": {"get": {}}}, "lists a route that is none"),
        ({"//elsewhere/": {"get": {}}}, "lists a route that is none"),
        ({"no-slash": {"get": {}}}, "lists a route that is none"),
        ({"/a b\r\nHost: x": {"get": {}}}, "lists a route that is none"),
        ({"/\u00e9\x00": {"get": {}}}, "lists a route that is none"),
        ({"/" + "a" * 100_000: {"get": {}}}, "lists a route that is none"),
        ({f"/{n}": {"get": {}} for n in range(100_000)}, "lists 100,000 routes"),
    ],
)
async def test_a_list_of_routes_that_no_server_has_is_refused(
    paths: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        await audit(GuardedServer(paths=paths))


async def test_an_open_route_is_found_without_being_made_use_of() -> None:
    server = GuardedServer("/release_memory_occupation")

    audited = await audit(server)

    assert [str(entry.route) for entry in audited.unexpected] == [
        "GET /release_memory_occupation",
        "POST /release_memory_occupation",
    ]
    assert "release_memory_occupation" not in " ".join(server.effects)


async def test_a_path_with_a_parameter_is_tried_with_a_value() -> None:
    audited = await audit(GuardedServer("/v1/responses/x/cancel"))

    assert found(audited)[1:] == [("POST /v1/responses/x/cancel", "no key", 405)]


async def test_a_server_without_a_list_is_tried_at_the_routes_that_are_known() -> None:
    audited = await audit(GuardedServer("/model_info", lists=False))

    assert audited.num_listed == 0
    assert ("GET /model_info", "no key", 405) in found(audited)


async def test_a_path_taken_from_the_host_header_is_found() -> None:
    audited = await audit(GuardedServer(disguised=True))

    assert [(entry.how, entry.status) for entry in audited.unexpected] == [("disguised path", 200)]


async def test_an_open_websocket_is_found() -> None:
    audited = await audit(GuardedServer(upgrades=True))

    assert [(entry.how, entry.status) for entry in audited.unexpected] == [("WebSocket", 101)]


async def verified(server: GuardedServer, folder: Path, *arguments: str) -> Result:
    key_file = folder / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    async with misbehaving_server(always=server) as address:
        options = ["--server-url", address.url, "--key-file", str(key_file), *arguments]
        return await asyncio.to_thread(CliRunner().invoke, cli, ["keys", "verify", *options])


async def test_the_command_lists_what_is_open_and_ends_well_where_it_is_meant_to_be(
    tmp_path: Path,
) -> None:
    result = await verified(GuardedServer(), tmp_path)

    assert result.exit_code == 0, result.output
    assert "  GET /health  200  no key          meant to be open\n" in result.stdout
    assert "5 of them listed" in result.stdout
    assert KEY not in result.output


async def test_the_command_ends_with_4_where_a_route_should_have_asked(tmp_path: Path) -> None:
    result = await verified(GuardedServer("/model_info"), tmp_path, "--json")
    (audited,) = json.loads(result.stdout)

    assert result.exit_code == 4
    assert "should ask for it: 1\n" in result.stderr
    assert audited["open_routes"][1] == {
        "method": "GET",
        "path": "/model_info",
        "how": "no key",
        "status": 405,
        "expected": False,
    }


async def test_the_command_ends_with_4_where_the_key_is_not_taken(tmp_path: Path) -> None:
    def refuses(_: Request) -> Answer:
        return Answer(status=401, body=b"")

    async with misbehaving_server(always=refuses) as address:
        options = {"EMBEDDING_API_BASE": address.url, "EMBEDDING_API_KEY": KEY}
        result = await asyncio.to_thread(CliRunner().invoke, cli, ["keys", "verify"], env=options)

    assert result.exit_code == 4
    assert "refuses the key" in result.stderr


async def test_a_server_that_embeds_for_anybody_is_not_tried_any_further() -> None:
    server = GuardedServer("/v1/embeddings", "/release_memory_occupation")

    with pytest.raises(ServerError, match="answers requests without a key"):
        await audit(server)

    assert server.effects == []
