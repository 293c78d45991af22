"""The names under which a field's value may come in a request."""

from typing import cast

from pydantic import AliasChoices, AliasPath

from .. import params
from ..fields import ModelField


def get_validation_alias(field: ModelField) -> str:
    """The name of the field in input."""
    return field.validation_alias or field.alias


def param_aliases(field: ModelField, *, convert_underscores: bool = False) -> list[tuple[str, str]]:
    """Pairs of the name that Pydantic reads and the name in the request, preferred first.

    They differ only for headers, with `convert_underscores`, and only for a name that was not
    given explicitly.
    """

    def in_request(name: str) -> str:
        return name.replace("_", "-") if convert_underscores else name

    alias = get_validation_alias(field)
    choices = field.field_info.validation_alias
    names = [(alias, in_request(alias) if alias == field.name else alias)]
    if isinstance(field.field_info, params.Path) or isinstance(choices, AliasPath):
        return names
    if isinstance(choices, AliasChoices):
        if any(isinstance(choice, AliasPath) for choice in choices.choices):
            return names
        names = [(choice, choice) for choice in cast(list[str], choices.choices)]
    config = field.config or {}
    own_name = (field.name, in_request(field.name))
    if config.get("validate_by_alias") is False:
        return [own_name]
    by_name = config.get("validate_by_name", config.get("populate_by_name", False))
    if by_name and field.name not in (name for name, _ in names):
        names.append(own_name)
    return names
