"""Text of the nginx site in front of a server that listens on loopback."""

from dataclasses import dataclass
from pathlib import Path

from embed_index.jobs.deployment.deployment import printable, served_port
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.settings import JobSettings

_INPUTS_PER_REQUEST = 256
_BYTES_PER_TOKEN = 8
"""Of text in JSON: a common token has four characters, one that JSON escapes has six bytes."""
_EXTRA_SECONDS = 30
"""A client gives up first, and says why; nginx would only say 504."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where clients find the server."""

    server_name: str
    port: int
    certificate: Path
    certificate_key: Path
    access_log: Path


def nginx_site(site: Site, settings: JobSettings) -> str:
    """Return the configuration of the site, for the `http` block's sites folder."""
    port = served_port(settings)
    max_body = -(-_INPUTS_PER_REQUEST * MAX_CONTEXT_TOKENS * _BYTES_PER_TOKEN // 2**20)
    answer_seconds = round(settings.request_timeout_seconds) + _EXTRA_SECONDS
    name = site.server_name
    authority = name if site.port == 443 else f"{name}:{site.port}"
    return f"""\
# /etc/nginx/sites-available/embed-index
#
# https://{authority} in front of the embedding server at http://127.0.0.1:{port}.
# After saving it, and whenever it has changed:
#   sudo ln -sfn ../sites-available/embed-index /etc/nginx/sites-enabled/embed-index
#   sudo nginx -t && sudo systemctl reload nginx
# Clients then use EMBEDDING_API_BASE=https://{authority} and the server's key.

upstream embed_index {{
    server 127.0.0.1:{port};
    keepalive 32;
}}

# For each client: more than one embedding run keeps in flight, and no flood.
limit_req_zone $binary_remote_addr zone=embed_index_requests:10m rate=100r/s;
limit_req_zone $binary_remote_addr zone=embed_index_health:1m rate=1r/s;
limit_conn_zone $binary_remote_addr zone=embed_index_connections:10m;

# Neither header nor query string, and not $remote_user: somebody may have put a key there.
log_format embed_index '$remote_addr [$time_iso8601] $request_method $uri $status '
                       '$request_length $bytes_sent $request_time $upstream_response_time';

server {{
    listen {site.port} ssl;
    listen [::]:{site.port} ssl;
    server_name {name};

    ssl_certificate {_quoted(site.certificate)};
    ssl_certificate_key {_quoted(site.certificate_key)};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:embed_index_tls:10m;
    ssl_session_tickets off;
    server_tokens off;
    access_log {_quoted(site.access_log)} embed_index;

    limit_req_status 429;
    limit_conn_status 429;
    limit_conn embed_index_connections 128;

    # {_INPUTS_PER_REQUEST} inputs of {MAX_CONTEXT_TOKENS:,} tokens, as text. A request is taken in
    # whole before the server sees it, so that a slow client holds up nobody; the common ones never
    # touch the disk.
    client_max_body_size {max_body}m;
    client_body_buffer_size 8m;
    client_body_timeout 60s;

    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header Authorization $http_authorization;
    proxy_connect_timeout 5s;
    proxy_send_timeout 60s;
    # Longer than a request may take.
    proxy_read_timeout {answer_seconds}s;
    # A reply is taken in whole, too, as far as it fits, and is never written to disk.
    proxy_buffer_size 16k;
    proxy_buffers 64 64k;
    proxy_busy_buffers_size 256k;
    proxy_max_temp_file_size 0;
    proxy_next_upstream off;

    location = /v1/embeddings {{
        if ($request_method != POST) {{
            return 405;
        }}
        limit_req zone=embed_index_requests burst=200 nodelay;
        proxy_pass http://embed_index;
    }}

    location = /v1/models {{
        if ($request_method != GET) {{
            return 405;
        }}
        limit_req zone=embed_index_requests burst=200 nodelay;
        proxy_pass http://embed_index;
    }}

    # It needs no key and has the model embed one token.
    location = /health {{
        if ($request_method != GET) {{
            return 405;
        }}
        limit_req zone=embed_index_health burst=5 nodelay;
        proxy_pass http://embed_index;
    }}

    location / {{
        return 404;
    }}
}}
"""


def _quoted(path: Path) -> str:
    """Quote a path; nginx would take a dollar sign for a variable, quoted or not."""
    text = printable(path)
    if any(character in text for character in '"$\\'):
        raise ConfigurationError(
            f"nginx cannot take the path {text}", remedy='Use one without ", $ and backslash.'
        )
    return f'"{text}"' if any(character in text for character in " ;{}'#") else text
