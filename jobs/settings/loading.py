"""Puts the settings together: flag, environment, `.env`, job file, default.

This is the one place that reads the environment. Secrets come from a key file or systemd's
credentials before the environment; `.env` is read beside the job file, then in the working folder.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from embed_index.jobs.settings.job_file import read_job_file
from embed_index.jobs.settings.mistakes import Mistakes
from embed_index.jobs.settings.sourced import Sourced, refuse, resolve, split
from embed_index.pipeline.secrecy.key_file import read_credential, read_key_file
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.setting import SettingField
from embed_index.schemas.settings import SETTINGS, JobSettings

_FIELDS = {field.name: field for field in SETTINGS}
_UNSET: tuple[object, ...] = (None, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """The settings, and for each field where its value came from."""

    settings: JobSettings
    sources: Mapping[str, Sourced]


def load_settings(
    *,
    job_file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    required: Collection[str] = (),
    key_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> LoadedSettings:
    """Return the settings that hold, the nearest to the user winning.

    Args:
        job_file: TOML file, or None.
        flags: Values by field name as given on the command line; None and () are not given.
        arguments: Values by field name as a program gives them, secrets wrapped.
        required: Fields that this command cannot do without.
        key_file: File with the embedding server's key, or None.
        environ: None means the environment of this process.
        folder: The working folder; None means that of this process.

    Raises:
        ConfigurationError: A value is missing, unusable or stands in the wrong place; others that
            can be seen at the same time are in its notes.
    """
    mistakes = Mistakes()
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    job_file = None if job_file is None else folder / job_file
    home = folder if job_file is None else job_file.parent
    layers = [
        _from_arguments(arguments or {}, folder),
        _from_flags(flags or {}, folder),
        _from_key_file(key_file, folder),
        _from_credentials(environ, folder),
        _from_variables(environ, label="environment", folder=folder),
        *(_from_env_file(place) for place in dict.fromkeys((home, folder))),
        {} if job_file is None else read_job_file(job_file, mistakes),
        {field.name: _default(field, home) for field in SETTINGS},
    ]
    chosen: dict[str, Sourced] = {}
    for layer in reversed(layers):
        chosen.update(layer)
    for name in required:
        if name not in mistakes.names:
            with mistakes.noted():
                _require(_FIELDS[name], chosen[name])
    sources = dict(chosen)
    for name, field in _FIELDS.items():
        with mistakes.noted(name):
            sources[name] = _located(field, chosen[name])
    with mistakes.noted("milvus_uri"):
        sources = _move_password(sources)
    settings = _validated(sources, mistakes)
    REDACTOR.remember(*settings.secrets())
    return LoadedSettings(settings=settings, sources=sources)


def _from_arguments(arguments: Mapping[str, object], folder: Path) -> dict[str, Sourced]:
    return {
        name: Sourced(value=value, origin=f"argument {name}", folder=folder)
        for name, value in arguments.items()
    }


def _from_flags(flags: Mapping[str, object], folder: Path) -> dict[str, Sourced]:
    return {
        name: Sourced(
            value=_flag_value(_FIELDS[name], value),
            origin=f"flag {_FIELDS[name].negation if value is False else _FIELDS[name].flag}",
            folder=folder,
            public=True,
        )
        for name, value in flags.items()
        if value not in _UNSET
    }


def _flag_value(field: SettingField, value: object) -> object:
    if isinstance(value, tuple):
        return split(field, value, separator=field.setting.separator)
    return value


def _from_key_file(path: Path | None, folder: Path) -> dict[str, Sourced]:
    if path is None:
        return {}
    file = folder / path
    return {
        "server_key": Sourced(
            value=read_key_file(file), origin=f"key file {path}", folder=folder, file=file
        )
    }


def _from_credentials(environ: Mapping[str, str], folder: Path) -> dict[str, Sourced]:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return {}
    names = {f.name: f.setting.credential for f in SETTINGS if f.setting.credential}
    found = {name: read_credential(Path(directory), file) for name, file in names.items()}
    return {
        name: Sourced(
            value=value,
            origin=f"systemd credential {names[name]}",
            folder=folder,
            file=Path(directory) / names[name],
            from_systemd=True,
        )
        for name, value in found.items()
        if value is not None
    }


def env_file_in(folder: Path) -> Path | None:
    """Return the folder's `.env`; None where there is none, or not for this user to see.

    `sudo -u` leaves people in folders that the other user may not look into.
    """
    path = folder / ".env"
    return path if os.path.isfile(path) else None  # noqa: PTH113 - Path.is_file would raise


def _from_env_file(folder: Path) -> dict[str, Sourced]:
    path = env_file_in(folder)
    if path is None:
        return {}
    from dotenv import dotenv_values

    try:
        # Interpolation would rewrite a password with a dollar sign in it.
        variables = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {type(error).__name__}",
            remedy="Save it as UTF-8 text that you can read, or remove it.",
        ) from None
    given = {name: value for name, value in variables.items() if value is not None}
    return _from_variables(given, label=".env", folder=folder, file=path)


def _from_variables(
    variables: Mapping[str, str], *, label: str, folder: Path, file: Path | None = None
) -> dict[str, Sourced]:
    """Take the settings out of variables; an empty one is not set."""
    return {
        field.name: Sourced(
            value=_variable_value(field, variables[field.env]),
            origin=f"{label} {field.env}",
            folder=folder,
            file=file,
        )
        for field in SETTINGS
        if field.env and variables.get(field.env)
    }


def _variable_value(field: SettingField, text: str) -> object:
    if field.secret:
        return SecretStr(text)
    if field.many:
        # A flag can be repeated, a variable cannot.
        return split(field, [text], separator=field.setting.separator or ",")
    return text


def _default(field: SettingField, folder: Path) -> Sourced:
    return Sourced(value=field.default, origin="default", folder=folder)


def _require(field: SettingField, sourced: Sourced) -> None:
    if sourced.value in (None, (), ""):
        raise ConfigurationError(
            f"{field.name} is not set: {field.setting.help}",
            remedy=f"Set it with {field.ways}.",
        )


def _located(field: SettingField, sourced: Sourced) -> Sourced:
    """Make relative paths absolute."""
    location, value, folder = field.setting.location, sourced.value, sourced.folder
    if location is None or value is None:
        return sourced
    if isinstance(value, tuple):
        paths = tuple(resolve(entry, location=location, folder=folder) for entry in value)
        return replace(sourced, value=paths)
    if not str(value):
        raise refuse(field, sourced, "must not be empty")
    return replace(sourced, value=resolve(str(value), location=location, folder=folder))


def _move_password(sources: dict[str, Sourced]) -> dict[str, Sourced]:
    """Take user name and password out of the Milvus URI, so that the URI can be shown."""
    uri, token = sources["milvus_uri"], sources["milvus_token"]
    parts = urlsplit(str(uri.value)) if "://" in str(uri.value) else None
    if parts is None or "@" not in parts.netloc:
        return sources
    if uri.public:
        raise ConfigurationError(
            f"milvus_uri ({uri.origin}): a password must not stand where others can read it",
            remedy="Give the URI without it, and put user:password into .env as MILVUS_TOKEN=….",
        )
    if token.value is not None:
        raise refuse(_FIELDS["milvus_uri"], uri, f"a password is also given by {token.origin}")
    userinfo, _, host = parts.netloc.rpartition("@")
    return {
        **sources,
        "milvus_uri": replace(uri, value=parts._replace(netloc=host).geturl()),
        "milvus_token": replace(uri, value=SecretStr(unquote(userinfo))),
    }


def _validated(sources: Mapping[str, Sourced], mistakes: Mistakes) -> JobSettings:
    given = {
        name: sourced.value
        for name, sourced in sources.items()
        if sourced.value != _FIELDS[name].default or sourced.origin != "default"
        if name not in mistakes.names
    }
    settings = JobSettings()
    try:
        settings = JobSettings.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # Of a list, its last bad entry stands for all of them. Whether settings fit together is
        # not known where one of them is.
        by_name = {one["loc"][:1]: one for one in found if one["loc"] or not mistakes}
        for one in by_name.values():
            mistakes.add(_explained(one, sources))
    # Raised out here, for pydantic's error would show the value of a secret.
    mistakes.refuse()
    # A default path that was made absolute is still nobody's choice.
    settings.model_fields_set.difference_update(
        name for name, sourced in sources.items() if sourced.origin == "default"
    )
    return settings


def _explained(error: ErrorDetails, sources: Mapping[str, Sourced]) -> ConfigurationError:
    """Say in our words what pydantic found; its own text would show the value of a secret."""
    problem = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if error["loc"]:
        field = _FIELDS[str(error["loc"][0])]
        return refuse(field, sources[field.name], problem)
    names = error["ctx"]["fields"]
    origins = ", ".join(f"{name} from {sources[name].origin}" for name in names)
    remedy = f"Set {names[0]} with {_FIELDS[names[0]].ways}."
    if error["ctx"]["exclusive"]:
        remedy = f"Leave {' or '.join(names)} out."
    return ConfigurationError(f"{problem} ({origins})", remedy=remedy)
