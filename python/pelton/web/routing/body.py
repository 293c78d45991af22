"""Reading the body of a request."""

import email.message
import json
from contextlib import AsyncExitStack
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..exceptions import EndpointContext, RequestValidationError
from ..fields import Undefined
from ..telemetry.hooks import validation_failed


def is_json_content_type(value: str) -> bool:
    """Whether a ``Content-Type`` is ``application/json`` or ``application/…+json``."""
    # The common case without the parser of mail headers, which is slow but lenient as needed.
    if value == "application/json":
        return True
    message = email.message.Message()
    message["content-type"] = value
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


async def read_body(
    request: Request,
    *,
    is_form: bool,
    strict_content_type: bool,
    files: AsyncExitStack,
    endpoint_ctx: EndpointContext,
) -> Any:
    """The form, what JSON gave, the bytes of another content type, or `Undefined` for no body.

    Without a ``Content-Type``, a body is JSON only if `strict_content_type` is false. A form's
    files are closed with `files`. Raises `RequestValidationError` for malformed JSON and 400
    for a body that cannot be read.
    """
    try:
        if is_form:
            form = await request.form()
            files.push_async_callback(form.close)
            return form
        body = await request.body()
        if not body:
            return Undefined
        content_type = request.headers.get("content-type")
        is_json = is_json_content_type(content_type) if content_type else not strict_content_type
        return await request.json() if is_json else body
    except json.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        invalid = RequestValidationError([detail], body=error.doc, endpoint_ctx=endpoint_ctx)
        validation_failed(invalid)
        raise invalid from error
    except HTTPException:
        raise
    except Exception as error:
        raise HTTPException(
            status_code=400, detail="There was an error parsing the body"
        ) from error
