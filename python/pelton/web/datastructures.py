"""Values that requests carry, and the marks of arguments left at their default."""

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeVar, cast

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema
from starlette.datastructures import URL as URL
from starlette.datastructures import Address as Address
from starlette.datastructures import FormData as FormData
from starlette.datastructures import Headers as Headers
from starlette.datastructures import QueryParams as QueryParams
from starlette.datastructures import State as State
from starlette.datastructures import UploadFile as StarletteUploadFile

DefaultType = TypeVar("DefaultType")


class UploadFile(StarletteUploadFile):
    """A file that the client uploaded, in memory up to 1 MiB and then on disk.

    `file` is the plain (blocking) file object; `read`, `write`, `seek` and `close` are its
    asynchronous forms, run in a thread when the file is on disk. It is closed when the request
    ends. `filename`, `size` (bytes) and `content_type` are as the client declared them.
    """

    file: BinaryIO
    filename: str | None
    size: int | None
    headers: Headers
    content_type: str | None

    async def write(self, data: bytes) -> None:
        """Writes `data` at the current position."""
        await super().write(data)

    async def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes from the current position; all that is left by default."""
        return await super().read(size)

    async def seek(self, offset: int) -> None:
        """Moves the position to `offset` bytes from the start."""
        await super().seek(offset)

    async def close(self) -> None:
        """Closes the file, which deletes what it held."""
        await super().close()

    @classmethod
    def _check(cls, value: Any, _info: object) -> "UploadFile":
        if not isinstance(value, StarletteUploadFile):
            raise ValueError(f"Expected UploadFile, received: {type(value)}")
        # Starlette's parser makes its own class; it has the same methods and fields.
        return cast(UploadFile, value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: Callable[[Any], CoreSchema]
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._check)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Mapping[str, Any], handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "contentMediaType": "application/octet-stream"}


class DefaultPlaceholder:
    """Wraps a default value, so that leaving an argument out differs from passing its default.

    It is as true as the value it wraps.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefaultPlaceholder) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


def Default(value: DefaultType) -> DefaultType:
    """`value`, marked as a default that something more specific may replace."""
    return DefaultPlaceholder(value)  # type: ignore[return-value]


def first_set(first: Any, *others: Any) -> Any:
    """The first value that is not a mere default; `first` when all of them are."""
    for candidate in (first, *others):
        if not isinstance(candidate, DefaultPlaceholder):
            return candidate
    return first
