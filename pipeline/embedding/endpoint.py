"""Where an embedding server answers, and the key it asks for."""

import re
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from pydantic import SecretStr

from embed_index.pipeline.embedding.proven import ProvenTransport
from embed_index.pipeline.secrecy.proof import fingerprint
from embed_index.schemas.errors import ConfigurationError

_CONNECT_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 4.0
"""Below the 5 s after which a stock SGLang closes an idle connection."""
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingEndpoint:
    """An OpenAI-compatible embeddings server, ours or somebody else's."""

    url: str
    """Base address without `/v1` and without a slash at the end."""
    key: SecretStr
    model: str
    """Name sent with each request; SGLang serves one model and ignores it."""
    is_ours: bool = False
    """Started by this program: it proves to know the key before anything is sent to it."""

    @classmethod
    def from_settings(
        cls, url: str, *, key: SecretStr, model: str, is_ours: bool = False
    ) -> "EmbeddingEndpoint":
        """Check the settings and return the endpoint; `url` may end in `/v1`.

        Raises:
            ConfigurationError: The address or the key is unusable. The key is not repeated.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(url):
            raise ConfigurationError(
                "The embedding server's address is not an http or https address.",
                remedy="Give it as https://host:port or https://host:port/v1.",
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigurationError(
                "The embedding server's address holds credentials or a query.",
                remedy="Give the key in EMBEDDING_API_KEY and the bare address.",
            )
        if not _HEADER_SAFE.fullmatch(key.get_secret_value()):
            raise ConfigurationError(
                "The embedding server's key is empty, or has spaces or non-ASCII characters.",
                remedy="Set EMBEDDING_API_KEY to the server's key.",
            )
        base = url.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls(url=base, key=key, model=model, is_ours=is_ours)

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this host."""
        return urlsplit(self.url).hostname in _LOOPBACK_HOSTS

    @property
    def is_proxied(self) -> bool:
        """Whether requests go through a proxy that the environment names."""
        parts = urlsplit(self.url)
        proxies = getproxies()
        is_named = parts.scheme in proxies or "all" in proxies
        return is_named and not self.is_loopback and not proxy_bypass(parts.hostname or "")

    @property
    def is_clear_text(self) -> bool:
        """Whether key and texts can be read on a network between."""
        return self.url.startswith("http://") and not self.is_loopback

    def bearer(self) -> dict[str, str]:
        """Return the header that presents the key."""
        return {"Authorization": f"Bearer {self.key.get_secret_value()}"}

    def _proven(self, limits: httpx.Limits) -> ProvenTransport:
        known = fingerprint(self.key.get_secret_value().encode())
        return ProvenTransport(known=known, limits=limits)

    def http_client(self) -> httpx.AsyncClient:
        """Return a client for the base address, without the key.

        Connections are kept alive; certificates are checked against the system's own authorities.
        Only connecting has a time limit: who sends a request knows how long its answer may take.
        Redirects are answers like others, so that a key goes to no other address. A server of our
        own proves itself on each connection; where it does not, requests raise UnprovenServerError.

        Raises:
            ConfigurationError: The environment names a proxy of a kind that is not supported.
        """
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=None,
            keepalive_expiry=_KEEP_ALIVE_SECONDS,
        )
        try:
            return httpx.AsyncClient(
                base_url=self.url,
                # A proxy named in the environment cannot reach our loopback address.
                trust_env=not self.is_loopback,
                follow_redirects=False,
                verify=self._authorities(),
                timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
                limits=limits,
                transport=self._proven(limits) if self.is_ours else None,
                headers={"Accept-Encoding": "identity"},
            )
        except (ImportError, ValueError):
            # The cause would repeat the proxy's address, and with it perhaps a password.
            raise ConfigurationError(
                f"The proxy that the environment names for {self.url} cannot be used.",
                remedy="Set HTTPS_PROXY or HTTP_PROXY to http://host:port, or NO_PROXY to the"
                " server's host name. SOCKS needs `pip install 'httpx[socks]'`.",
            ) from None

    def _authorities(self) -> ssl.SSLContext:
        """Return whom to believe about a server's name."""
        if self.is_loopback and self.url.startswith("http://"):
            # Nobody: nothing is encrypted, no proxy is asked, and reading them takes 0.1 s.
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return ssl.create_default_context()


def _has_port(url: str) -> bool:
    """Tell whether the port is one, or left out."""
    try:
        urlsplit(url).port  # noqa: B018 - reading it is the check
    except ValueError:
        return False
    return True
