"""A class of settings."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from pelton.settings.errors import InvalidSettings, invalid, unreadable
from pelton.settings.secret import is_secret, shown

S = TypeVar("S", bound="Settings")

_lock = threading.RLock()


class Settings(BaseSettings):
    """Derive from it and declare fields; ``model_config = SettingsConfigDict(env_prefix="SHOP_")``.

    An instance reads the environment, then the `.env` file and the directory of secrets that the
    configuration names; what is given to the constructor wins. `InvalidSettings` if something is
    missing or wrong. Values that are secret, by their type or their name, are printed as stars.
    """

    _current: ClassVar[dict[type[Settings], Settings]] = {}

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Without the cause: that prints the values.
            raise invalid(type(self), error) from None
        except SettingsError as error:
            raise unreadable(type(self), error) from None

    @classmethod
    def current(cls: type[S]) -> S:
        """The one instance of the process, read at the first call. Raises `InvalidSettings`."""
        with _lock:
            found = Settings._current.get(cls)
            if found is None:
                found = Settings._current[cls] = cls()
            assert isinstance(found, cls)
            return found

    @classmethod
    async def dependency(cls: type[S]) -> S:
        """`current`, to depend on: ``Depends(AppSettings.dependency)``. Tests override it."""
        return cls.current()

    @classmethod
    def forget(cls) -> None:
        """Has the next `current` read again, as after a change of the environment in a test."""
        with _lock:
            Settings._current.pop(cls, None)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            field = fields.get(name or "")
            hide = field is not None and is_secret(name or "", field.annotation)
            if hide or isinstance(value, str):
                value = shown(value, secret=hide)
            yield name, value


__all__ = ["InvalidSettings", "Settings"]
