"""The settings of the section [server]: what embeds."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from embed_index.schemas import setting_checks as check
from embed_index.schemas.limits import MAX_SECONDS
from embed_index.schemas.setting import Section, Setting


class ServerSettings(Section):
    """The embedding server, one's own or another's."""

    server_url: Annotated[
        tuple[str, ...],
        Setting(
            section="server",
            key="url",
            env="EMBEDDING_API_BASE",
            help="Running embedding server to use, may be repeated; none starts one for the run.",
            separator=",",
        ),
        AfterValidator(check.server_urls),
    ] = ()
    server_key: Annotated[
        SecretStr | None,
        Setting(
            section="server",
            key="key",
            env="EMBEDDING_API_KEY",
            credential="embedding-api-key",
            help="API key of the embedding server.",
        ),
        AfterValidator(check.header_secret),
    ] = None
    server_port: Annotated[
        int,
        Setting(
            section="server",
            key="port",
            help="Loopback port of the server that is started; 0 for any free one.",
        ),
        Field(ge=0, le=65_535),
    ] = 0
    server_extra_args: Annotated[
        tuple[str, ...],
        Setting(
            section="server",
            key="extra_args",
            help="Further SGLang arguments, such as '--mem-fraction-static 0.8'; may be repeated.",
            separator=" ",
            private=True,
        ),
        AfterValidator(check.server_arguments),
    ] = ()
    start_timeout_seconds: Annotated[
        float,
        Setting(section="server", help="How long the server may take to start."),
        Field(gt=0, le=MAX_SECONDS),
    ] = 900.0
    request_timeout_seconds: Annotated[
        float,
        Setting(section="server", help="How long one embedding request may take."),
        Field(gt=0, le=MAX_SECONDS),
    ] = 300.0
    batch_tokens: Annotated[
        int,
        Setting(section="server", help="Token budget of one request; at least one whole chunk."),
        Field(ge=1),
    ] = 16_384
    max_in_flight: Annotated[
        int,
        Setting(section="server", help="Requests at the server at once; 0 chooses."),
        Field(ge=0, le=4096),
    ] = 0
    gpus: Annotated[
        tuple[int, ...],
        Setting(
            section="server",
            help="GPU to start a server on, may be repeated; none for all visible or the CPU.",
            separator=",",
        ),
        AfterValidator(check.gpu_numbers),
    ] = ()
