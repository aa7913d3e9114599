"""Routes that a preflight asks, beside two children that would outlive it by themselves."""

import argparse
import asyncio
import base64
import contextlib
import http.client
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import uvicorn
from hash_embedding_server import WIDTH, vector_of
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

app = Starlette()
_SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


def launch_server(args: argparse.Namespace) -> None:
    # As a night's log may, it holds the key.
    sys.stderr.write(f"server_args={args}\n")
    children = [subprocess.Popen(_SLEEPER) for _ in range(2)]
    model = {"id": args.model_path, "root": args.model_path, "owned_by": "sglang"}
    tell = {
        "/model_info": {"model_path": args.model_path},
        "/v1/models": {"data": [model | {"max_model_len": args.context_length}]},
        "/server_info": {
            "version": "0.0.0",
            "dtype": "float32",
            "max_total_num_tokens": args.max_total_tokens,
        },
        "/health_generate": {},
        "/ready": {},
    }
    for path, content in tell.items():
        app.router.routes.append(Route(path, _telling(content)))
    app.router.routes.append(Route("/v1/embeddings", _embed, methods=["POST"]))
    _try_oneself(args)
    app.add_middleware(_Lock, key=args.api_key)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
    for child in children:
        child.kill()


def _try_oneself(args: argparse.Namespace) -> None:
    """Ask whoever has the port by then, with the key, as SGLang does before it listens itself."""
    asked = urllib.request.Request(f"http://{args.host}:{args.port}/model_info")
    asked.add_header("Authorization", f"Bearer {args.api_key}")
    with contextlib.suppress(OSError, http.client.HTTPException):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=0.5)


class _Lock(BaseHTTPMiddleware):
    """Asks for SGLang's own key, as SGLang does."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        super().__init__(app)
        self._expected = f"Bearer {key}"

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        is_open = request.url.path in ("/health_generate", "/ready")
        if not is_open and request.headers.get("authorization") != self._expected:
            return JSONResponse({"error": "refused by SGLang itself"}, status_code=401)
        return await call_next(request)


def _telling(content: dict[str, Any]) -> Callable[[Request], JSONResponse]:
    return lambda _: JSONResponse(content)


async def _embed(request: Request) -> JSONResponse:
    asked = await request.json()
    await asyncio.sleep(float(os.environ.get("SGLANG_LIGHT_SECONDS", "0")))
    if "say" in asked:
        sys.stderr.write(f"said: {asked['say']}\n")
    width = asked.get("dimensions") or WIDTH
    vectors = [vector_of(ids, dimension=width) for ids in asked["input"]]
    return JSONResponse(
        {
            "data": [
                {"index": place, "embedding": base64.b64encode(vector).decode()}
                for place, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": sum(map(len, asked["input"]))},
        }
    )
