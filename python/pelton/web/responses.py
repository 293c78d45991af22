"""Response classes: Starlette's, server-sent events, and two deprecated ones."""

import importlib
from typing import Any

from starlette.responses import HTMLResponse as HTMLResponse
from starlette.responses import JSONResponse as JSONResponse
from starlette.responses import PlainTextResponse as PlainTextResponse
from starlette.responses import RedirectResponse as RedirectResponse
from starlette.responses import Response as Response
from starlette.responses import StreamingResponse as StreamingResponse
from typing_extensions import deprecated

from ._files import FileResponse as FileResponse
from .exceptions import FastAPIDeprecationWarning
from .sse import EventSourceResponse as EventSourceResponse


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


ujson = _optional("ujson")
orjson = _optional("orjson")

_REASON = (
    "is deprecated, FastAPI now serializes data directly to JSON "
    "bytes via Pydantic when a return type or response model is set, which is "
    "faster and doesn't need a custom response class. Read more in the FastAPI "
    "docs: https://fastapi.tiangolo.com/advanced/custom-response/#orjson-or-response-model "
    "and https://fastapi.tiangolo.com/tutorial/response-model/"
)


@deprecated(f"UJSONResponse {_REASON}", category=FastAPIDeprecationWarning, stacklevel=2)
class UJSONResponse(JSONResponse):
    """JSON written by ``ujson``, which must be installed. Deprecated: models are faster."""

    def render(self, content: Any) -> bytes:
        """The body."""
        assert ujson is not None, "ujson must be installed to use UJSONResponse"
        text: str = ujson.dumps(content, ensure_ascii=False)
        return text.encode()


@deprecated(f"ORJSONResponse {_REASON}", category=FastAPIDeprecationWarning, stacklevel=2)
class ORJSONResponse(JSONResponse):
    """JSON written by ``orjson``, which must be installed. Deprecated: models are faster."""

    def render(self, content: Any) -> bytes:
        """The body."""
        assert orjson is not None, "orjson must be installed to use ORJSONResponse"
        options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        text: bytes = orjson.dumps(content, option=options)
        return text
