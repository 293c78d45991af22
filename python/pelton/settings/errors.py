"""Settings that are missing or wrong, in words for whoever runs the program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from pelton.settings.secret import is_secret, shown
from pelton.settings.sources import places_of, settings_of, variables_of


class InvalidSettings(ValueError):
    """The environment does not give what a class of settings needs.

    The message has a line for each problem, with the variable's name and what to do; it never has
    a secret in it. `problems` are those lines, `settings` the class.
    """

    def __init__(self, settings: type[BaseSettings], problems: Sequence[str]) -> None:
        self.settings = settings
        self.problems = tuple(problems)
        many = f"{len(problems)} settings are" if len(problems) > 1 else "1 setting is"
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{settings.__name__}: {many} missing or wrong{lines}")


def invalid(cls: type[BaseSettings], error: ValidationError) -> InvalidSettings:
    """What Pydantic found, by variable."""
    origins = {setting.name: setting.source for setting in settings_of(cls)}
    by_alias = {
        variable.lower(): name for name in cls.model_fields for variable in variables_of(cls, name)
    }
    problems = []
    for detail in error.errors(include_url=False):
        head = str(detail["loc"][0]) if detail["loc"] else ""
        name = head if head in cls.model_fields else by_alias.get(head.lower(), "")
        if not name:
            problems.append(_about_none(cls, head, detail))
            continue
        where = " or ".join(variables_of(cls, name))
        below = "".join(f"[{part!r}]" for part in detail["loc"][1:])
        if detail["type"] == "missing" and not below:
            problems.append(f"{where} is missing: set it in {places_of(cls)}")
            continue
        secret = is_secret(name, cls.model_fields[name].annotation)
        value = shown(detail["input"], secret=secret)
        origin = origins.get(name) or "constructor"
        problems.append(f"{where}{below}: {detail['msg']} (it is {value}, from {origin})")
    return InvalidSettings(cls, problems)


def _about_none(cls: type[BaseSettings], head: str, detail: Any) -> str:
    """A problem that belongs to no field: a validator of the whole, or a name nobody declared."""
    if detail["type"] == "extra_forbidden":
        return (
            f"{head} is no setting of {cls.__name__}: is it misspelt? "
            "(SettingsConfigDict(extra='ignore') lets such names be)"
        )
    return f"{head}: {detail['msg']}" if head else str(detail["msg"])


def unreadable(cls: type[BaseSettings], error: SettingsError) -> InvalidSettings:
    """A value of a list, a dict or a model that is no JSON."""
    found = re.search(r'field "([^"]+)" from source "([^"]+)"', str(error))
    if found is None or found[1] not in cls.model_fields:
        return InvalidSettings(cls, [str(error)])
    where = " or ".join(variables_of(cls, found[1]))
    source = found[2].removesuffix("SettingsSource")
    reason = f": {error.__cause__}" if error.__cause__ is not None else ""
    return InvalidSettings(cls, [f"{where} must be JSON, and cannot be read{reason} ({source})"])
