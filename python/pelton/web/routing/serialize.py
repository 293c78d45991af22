"""From what an endpoint returns to a response."""

import json
import math
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..datastructures import DefaultPlaceholder
from ..dependencies.models import Dependant
from ..dependencies.solve import SolvedDependency
from ..encoders import jsonable_encoder
from ..exceptions import EndpointContext, ResponseValidationError
from ..fields import ModelField
from ..telemetry.hooks import operation, run_traced
from ..types import IncEx
from ..utils import is_body_allowed_for_status_code


async def serialize_response(
    *,
    field: ModelField | None = None,
    response_content: Any,
    include: IncEx | None = None,
    exclude: IncEx | None = None,
    by_alias: bool = True,
    exclude_unset: bool = False,
    exclude_defaults: bool = False,
    exclude_none: bool = False,
    is_coroutine: bool = True,
    endpoint_ctx: EndpointContext | None = None,
    dump_json: bool = False,
) -> Any:
    """`response_content`, validated by `field` and dumped: to JSON text if `dump_json`.

    Without a field, `jsonable_encoder` does what it can. What a blocking endpoint returned is
    validated in a thread, for it may be lazy. Raises `ResponseValidationError`.
    """
    if field is None:
        return jsonable_encoder(response_content)
    if is_coroutine:
        value, errors = field.validate(response_content, loc=("response",))
    else:
        value, errors = await run_in_threadpool(field.validate, response_content, loc=("response",))
    if errors:
        raise ResponseValidationError(errors, body=response_content, endpoint_ctx=endpoint_ctx)
    dump = field.serialize_json if dump_json else field.serialize
    return dump(
        value,
        include=include,
        exclude=exclude,
        by_alias=by_alias,
        exclude_unset=exclude_unset,
        exclude_defaults=exclude_defaults,
        exclude_none=exclude_none,
    )


async def run_endpoint_function(
    *, dependant: Dependant, values: dict[str, Any], is_coroutine: bool
) -> Any:
    """Calls the endpoint: awaits it, or runs it in a thread."""
    assert dependant.call is not None, "dependant.call must be a function"
    if is_coroutine:
        with operation("endpoint", dependant.call):
            return await dependant.call(**values)
    return await run_in_threadpool(run_traced, dependant.call, values)


@dataclass(frozen=True)
class ResponsePlan:
    """How the values that an endpoint gives become a response."""

    status_code: int | None
    response_class: type[Response] | DefaultPlaceholder
    response_field: ModelField | None
    item_field: ModelField | None
    include: IncEx | None
    exclude: IncEx | None
    by_alias: bool
    exclude_unset: bool
    exclude_defaults: bool
    exclude_none: bool

    @property
    def actual_class(self) -> type[Response]:
        """The response class, declared or default."""
        declared = self.response_class
        return declared.value if isinstance(declared, DefaultPlaceholder) else declared

    def arguments(self, solved: SolvedDependency) -> dict[str, Any]:
        """The background tasks and the status: the one set while running, else declared."""
        status = solved.response.status_code or self.status_code
        found: dict[str, Any] = {"background": solved.background_tasks}
        if status is not None:
            found["status_code"] = status
        return found

    def dump_options(self) -> dict[str, Any]:
        """The options of the serializer."""
        return {
            "include": self.include,
            "exclude": self.exclude,
            "by_alias": self.by_alias,
            "exclude_unset": self.exclude_unset,
            "exclude_defaults": self.exclude_defaults,
            "exclude_none": self.exclude_none,
        }

    async def respond(
        self,
        content: Any,
        solved: SolvedDependency,
        *,
        is_coroutine: bool,
        endpoint_ctx: EndpointContext,
    ) -> Response:
        """The response for what the endpoint returned; a response of its own is sent as it is."""
        if isinstance(content, Response):
            if content.background is None:
                content.background = solved.background_tasks
            return content
        # Straight to JSON text, where nobody asked for a response class of their own.
        is_direct = self.response_field is not None and isinstance(
            self.response_class, DefaultPlaceholder
        )
        body = await serialize_response(
            field=self.response_field,
            response_content=content,
            is_coroutine=is_coroutine,
            endpoint_ctx=endpoint_ctx,
            dump_json=is_direct,
            **self.dump_options(),
        )
        arguments = self.arguments(solved)
        if is_direct:
            response = Response(content=body, media_type="application/json", **arguments)
        else:
            response = self.actual_class(body, **arguments)
        if not is_body_allowed_for_status_code(response.status_code):
            response.body = b""
        response.headers.raw.extend(solved.response.headers.raw)
        return response

    def item_json(self, item: Any, endpoint_ctx: EndpointContext) -> bytes:
        """One item of a stream as JSON text, validated where its type is known."""
        if self.item_field is None:
            return json.dumps(finite(jsonable_encoder(item))).encode()
        value, errors = self.item_field.validate(item, loc=("response",))
        if errors:
            raise ResponseValidationError(errors, body=item, endpoint_ctx=endpoint_ctx)
        return self.item_field.serialize_json(value, **self.dump_options())


def finite(data: Any) -> Any:
    """`data` with null for the floats that JSON has no notation for."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    return data
