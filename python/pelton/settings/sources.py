"""Where each setting came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, AliasPath
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from pelton.settings.secret import is_secret, shown


@dataclass(frozen=True)
class Setting:
    """One field of a class of settings, as `pelton settings` lists it.

    `variables` are the names it is read by, the first found wins; `source` is where its value came
    from, or `None` if it has none; `text` is the value for people, with secrets as stars.
    """

    name: str
    variables: tuple[str, ...]
    source: str | None
    text: str


def settings_of(cls: type[BaseSettings]) -> list[Setting]:
    """The settings that an instance of `cls` would have now, whether they are valid or not."""
    states = list(_states(cls))
    found = []
    for name, field in cls.model_fields.items():
        keys = {name, *_aliases(field)}
        origin: str | None = None
        value: Any = None
        for label, state in states:
            given = next((state[key] for key in state if key in keys), PydanticUndefined)
            if given is not PydanticUndefined:
                origin, value = label, given
                break
        if origin is None and not field.is_required():
            # A default that is made is made for people to see, too.
            made = field.default_factory is None or not field.default_factory_takes_validated_data
            origin = "default"
            value = field.get_default(call_default_factory=True) if made else "(computed)"
        text = "" if origin is None else shown(value, secret=is_secret(name, field.annotation))
        found.append(Setting(name, variables_of(cls, name), origin, text))
    return found


def variables_of(cls: type[BaseSettings], name: str) -> tuple[str, ...]:
    """The environment variables that field `name` of `cls` is read from."""
    config = cls.model_config
    field = cls.model_fields[name]
    prefix = config.get("env_prefix") or ""
    aliases = _aliases(field)
    names = list(aliases)
    if not aliases or config.get("populate_by_name") or config.get("validate_by_name"):
        names.append(prefix + name)
    case = str if config.get("case_sensitive") else str.upper
    return tuple(dict.fromkeys(case(item) for item in names))


def places_of(cls: type[BaseSettings]) -> str:
    """Where settings of `cls` may be put, for messages: the environment, and files by name."""
    places = ["the environment"]
    for path in _paths(cls.model_config.get("env_file")):
        places.append(str(path) if path.is_file() else f"{path} (which is not there)")
    for path in _paths(cls.model_config.get("secrets_dir")):
        there = "" if path.is_dir() else " (which is not there)"
        places.append(f"a file in {path}{there}")
    return " or ".join(places)


def label_of(source: Any) -> str:
    """A source of pydantic-settings in a word or two."""
    if isinstance(source, InitSettingsSource):
        return "constructor"
    if isinstance(source, DotEnvSettingsSource):
        return ", ".join(str(path) for path in _paths(source.env_file)) or ".env"
    if isinstance(source, SecretsSettingsSource):
        return ", ".join(str(path) for path in _paths(source.secrets_dir)) or "secrets"
    if isinstance(source, EnvSettingsSource):
        return "environment"
    return type(source).__name__.removesuffix("SettingsSource") or "source"


def _states(cls: type[BaseSettings]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each source of `cls` gives, the strongest first; what cannot be read gives nothing."""
    sources = cls.settings_customise_sources(
        cls,
        init_settings=InitSettingsSource(cls, init_kwargs={}),
        env_settings=EnvSettingsSource(cls),
        dotenv_settings=DotEnvSettingsSource(cls, env_file=cls.model_config.get("env_file")),
        file_secret_settings=SecretsSettingsSource(cls),
    )
    for source in sources:
        try:
            state = source()
        except SettingsError:
            # The instance raises it, with the variable's name.
            continue
        if isinstance(state, dict):
            yield label_of(source), state


def _aliases(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, str):
        return [alias]
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias] if alias else []
    heads = (choice.path[0] if isinstance(choice, AliasPath) else choice for choice in choices)
    return [str(head) for head in heads]


def _paths(value: Any) -> list[Path]:
    if value is None:
        return []
    several = value if isinstance(value, list | tuple) else [value]
    return [Path(item).expanduser() for item in several]
