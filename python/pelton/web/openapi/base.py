"""Objects that many parts of a document share."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import AnyUrl, BaseModel, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..logger import logger

try:
    import email_validator as email_validator
    from pydantic import EmailStr as EmailStr
except ImportError:  # the package that checks addresses is optional

    class EmailStr(str):  # type: ignore[no-redef]
        """An e-mail address that nothing here can check."""

        @classmethod
        def _accept(cls, value: Any, _info: object) -> str:
            logger.warning(
                "email-validator not installed, email fields will be treated as str.\n"
                "To install, run: pip install email-validator"
            )
            return str(value)

        @classmethod
        def __get_pydantic_core_schema__(
            cls, source: type[Any], handler: Callable[[Any], CoreSchema]
        ) -> CoreSchema:
            return core_schema.with_info_plain_validator_function(cls._accept)

        @classmethod
        def __get_pydantic_json_schema__(
            cls, schema: Mapping[str, Any], handler: GetJsonSchemaHandler
        ) -> dict[str, Any]:
            return {"type": "string", "format": "email"}


class BaseModelWithConfig(BaseModel):
    """An object of a document; extensions (``x-…``) and newer keys pass through it."""

    model_config = {"extra": "allow"}


class Reference(BaseModel):
    """A pointer to an object elsewhere."""

    ref: str = Field(alias="$ref")


class ExternalDocumentation(BaseModelWithConfig):
    """A page that says more."""

    description: str | None = None
    url: AnyUrl
