"""How one setting is declared, and what follows from the declaration."""

from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic.fields import FieldInfo

ENVIRONMENT_PREFIX = "EMBED_INDEX_"

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "path", "choice", "secret"]
Location: TypeAlias = Literal["path", "path_or_url", "model"]

_KINDS: dict[object, Kind] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    SecretStr: "secret",
}


class Section(BaseModel):
    """Declared settings that stand together in the job file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        # Help and completion only ask what is declared, and are quicker without.
        defer_build=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The one declaration from which flag, variable, job file key, help and table row follow."""

    section: str
    help: str
    key: str | None = None
    """The key in the job file; None means the field's name."""
    env: str | None = None
    """The environment variable; None means the prefix and the field's name in capitals."""
    credential: str | None = None
    """The name under which systemd may hand in a secret."""
    flag_only: bool = False
    """A decision for one invocation; neither the environment nor a job file may hold it."""
    separator: str | None = None
    """Splits the text of a list; a space splits as a shell does. None: flags are not split."""
    private: bool = False
    """Whether an error must not repeat the value, because a key may have got into it."""
    location: Location | None = None
    """What a relative value is: resolved against the folder of the file that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingField:
    """A declared setting together with its field's name, type and default."""

    name: str
    setting: Setting
    kind: Kind
    many: bool
    choices: tuple[str, ...]
    default: Any

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown, passed as an argument or kept in a job file."""
        return self.kind == "secret"

    @property
    def section(self) -> str:
        """The section of the job file and of the help."""
        return self.setting.section

    @property
    def flag(self) -> str | None:
        """The command line flag; None for secrets, because `ps` shows arguments to everybody."""
        return None if self.secret else "--" + self.name.replace("_", "-")

    @property
    def negation(self) -> str | None:
        """The flag that turns a boolean off again; None where nothing else could turn it on."""
        if self.kind != "boolean" or self.setting.flag_only:
            return None
        return "--no-" + self.name.replace("_", "-")

    @property
    def env(self) -> str | None:
        """The environment variable, also read from `.env`."""
        if self.setting.flag_only:
            return None
        return self.setting.env or ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def key(self) -> str:
        """The key in the job file's section, for secrets the one that is refused there."""
        return self.setting.key or self.name

    @property
    def in_job_file(self) -> bool:
        """Whether a job file may hold the setting."""
        return not self.secret and not self.setting.flag_only

    @property
    def ways(self) -> str:
        """In words, how a user sets it."""
        ways = [way for way in (self.flag, self.env) if way]
        if self.in_job_file:
            ways.append(f"`{self.key}` under [{self.section}] in the job file")
        if self.secret:
            ways.append("a .env file")
        return " or ".join([", ".join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)


def setting_fields(model: type[BaseModel]) -> tuple[SettingField, ...]:
    """Return the declared settings of a model, in the order of declaration.

    Raises:
        TypeError: A field has no `Setting`, or a type for which no flag can be made.
    """
    return tuple(_setting_field(name, field) for name, field in model.model_fields.items())


def _setting_field(name: str, field: FieldInfo) -> SettingField:
    declared = [entry for entry in field.metadata if isinstance(entry, Setting)]
    if len(declared) != 1:
        raise TypeError(f"{name} must carry exactly one Setting")
    annotation, many = _element(field.annotation)
    is_choice = get_origin(annotation) is Literal
    kind = "choice" if is_choice else _KINDS.get(annotation)
    if kind is None:
        raise TypeError(f"{name}: no flag can be made for {annotation}")
    return SettingField(
        name=name,
        setting=declared[0],
        kind=kind,
        many=many,
        choices=get_args(annotation) if is_choice else (),
        default=field.get_default(),
    )


def _element(annotation: object) -> tuple[Any, bool]:
    """Strip `| None` and `tuple[..., ...]`; say whether there are many."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    return annotation, False
