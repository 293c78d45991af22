"""Settings: validated, typed, from the environment, `.env` files and directories of secrets.

Built on pydantic-settings (``pelton[settings]``), whose `BaseSettings` works as ever. `Settings` is
a `BaseSettings` whose errors name the variable and what to do, that prints no secret, and whose one
instance is a dependency: ``Depends(AppSettings.dependency)``. ``pelton settings APP`` lists what an
application reads, and from where each value came.
"""

try:
    import pydantic_settings as _pydantic_settings
except ModuleNotFoundError as _error:
    if _error.name != "pydantic_settings":
        raise
    raise ModuleNotFoundError(
        "pelton.settings needs pydantic-settings: pip install 'pelton[settings]'", name=_error.name
    ) from None

from pydantic_settings import BaseSettings as BaseSettings
from pydantic_settings import SettingsConfigDict as SettingsConfigDict

from pelton.settings.errors import InvalidSettings as InvalidSettings
from pelton.settings.model import Settings as Settings
from pelton.settings.sources import Setting as Setting
from pelton.settings.sources import settings_of as settings_of

del _pydantic_settings
