"""One path operation as OpenAPI describes it."""

import copy
import http.client
import inspect
import warnings
from dataclasses import dataclass
from typing import Any, cast

from starlette.responses import JSONResponse, Response

from .. import params
from ..annotations import lenient_issubclass
from ..datastructures import DefaultPlaceholder
from ..encoders import jsonable_encoder
from ..fields import ModelField
from ..routing.route import APIRoute
from ..utils import deep_dict_update, is_body_allowed_for_status_code
from .constants import METHODS_WITH_BODY, REF_PREFIX
from .definitions import FieldMapping, schema_of
from .parameters import dependency_data, parameters_of, security_of

VALIDATION_DEFINITIONS: dict[str, Any] = {
    "ValidationError": {
        "title": "ValidationError",
        "type": "object",
        "properties": {
            "loc": {
                "title": "Location",
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            },
            "msg": {"title": "Message", "type": "string"},
            "type": {"title": "Error Type", "type": "string"},
            "input": {"title": "Input"},
            "ctx": {"title": "Context", "type": "object"},
        },
        "required": ["loc", "msg", "type"],
    },
    "HTTPValidationError": {
        "title": "HTTPValidationError",
        "type": "object",
        "properties": {
            "detail": {
                "title": "Detail",
                "type": "array",
                "items": {"$ref": f"{REF_PREFIX}ValidationError"},
            }
        },
    },
}
"""The schemas of a 422 response."""

_RANGE_NAMES = {
    "1XX": "Information",
    "2XX": "Success",
    "3XX": "Redirection",
    "4XX": "Client Error",
    "5XX": "Server Error",
    "DEFAULT": "Default Response",
}
_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}


@dataclass
class PathDescriber:
    """Describes routes with the schemas of one document.

    `operation_ids` collects those that were given, to warn of one given twice;
    `security_schemes` and `definitions` what the operations refer to.
    """

    mapping: FieldMapping
    separate_input_output_schemas: bool
    operation_ids: set[str]
    security_schemes: dict[str, Any]
    definitions: dict[str, Any]

    def path_item(self, route: APIRoute) -> dict[str, Any]:
        """The operations of `route`, by method in lower case."""
        assert route.methods is not None, "Methods must be a list"
        if not route.include_in_schema:
            return {}
        return {method.lower(): self._operation(route, method) for method in route.methods}

    def _schema(self, field: ModelField) -> dict[str, Any]:
        return schema_of(
            field,
            self.mapping,
            separate_input_output_schemas=self.separate_input_output_schemas,
        )

    def _operation(self, route: APIRoute, method: str) -> dict[str, Any]:
        operation = self._metadata(route)
        data = dependency_data(route.dependant)
        schemes, requirements = security_of(data)
        self.security_schemes.update(schemes)
        if requirements:
            operation["security"] = requirements
        parameters = parameters_of(data, self.mapping, self.separate_input_output_schemas)
        if parameters:
            operation["parameters"] = parameters
        if method in METHODS_WITH_BODY and route.body_field is not None:
            operation["requestBody"] = self._request_body(route.body_field)
        if route.callbacks:
            operation["callbacks"] = {
                callback.name: {callback.path: self.path_item(callback)}
                for callback in route.callbacks
                if isinstance(callback, APIRoute)
            }
        operation["responses"] = self._responses(route)
        can_be_wrong = data.has_parameters or route.body_field is not None
        if can_be_wrong and not operation["responses"].keys() & {"422", "4XX", "default"}:
            self.definitions.update(VALIDATION_DEFINITIONS)
            schema = {"$ref": f"{REF_PREFIX}HTTPValidationError"}
            operation["responses"]["422"] = {
                "description": "Validation Error",
                "content": {"application/json": {"schema": schema}},
            }
        if route.openapi_extra:
            deep_dict_update(operation, route.openapi_extra)
        return operation

    def _metadata(self, route: APIRoute) -> dict[str, Any]:
        operation: dict[str, Any] = {"tags": route.tags} if route.tags else {}
        operation["summary"] = route.summary or route.name.replace("_", " ").title()
        if route.description:
            operation["description"] = route.description
        operation_id = route.operation_id or route.unique_id
        if operation_id in self.operation_ids:
            name = getattr(route.endpoint, "__name__", "<unnamed_endpoint>")
            message = f"Duplicate Operation ID {operation_id} for function {name}"
            file = getattr(route.endpoint, "__globals__", {}).get("__file__")
            warnings.warn(f"{message} at {file}" if file else message, stacklevel=1)
        self.operation_ids.add(operation_id)
        operation["operationId"] = operation_id
        if route.deprecated:
            operation["deprecated"] = route.deprecated
        return operation

    def _request_body(self, field: ModelField) -> dict[str, Any]:
        info = cast(params.Body, field.field_info)
        content: dict[str, Any] = {"schema": self._schema(field)}
        if info.openapi_examples:
            content["examples"] = jsonable_encoder(info.openapi_examples)
        elif info.example is not params.UNSET:
            content["example"] = jsonable_encoder(info.example)
        body: dict[str, Any] = {"required": True} if info.is_required() else {}
        body["content"] = {info.media_type: content}
        return body

    def _responses(self, route: APIRoute) -> dict[str, Any]:
        declared = route.response_class
        is_default = isinstance(declared, DefaultPlaceholder)
        response_class: type[Response] = declared.value if is_default else declared  # type: ignore[union-attr,assignment]
        assert response_class, "A response class is needed to generate OpenAPI"
        main: dict[str, Any] = {"description": route.response_description}
        responses = {_status_of(route, response_class): main}
        if is_body_allowed_for_status_code(route.status_code):
            content = self._content(route, response_class)
            if content:
                main["content"] = content
        for status, response in route.responses.items():
            key = str(status).upper()
            target = responses.setdefault("default" if key == "DEFAULT" else key, {})
            self._add_response(target, status, response, route, response_class.media_type)
        return responses

    def _content(self, route: APIRoute, response_class: type[Response]) -> dict[str, Any]:
        item = None if route.stream_item_field is None else self._schema(route.stream_item_field)
        if route.is_json_stream:
            return {"application/jsonl": {"itemSchema": item or {}}}
        if route.is_sse_stream:
            schema = copy.deepcopy(_EVENT_SCHEMA)
            if item is not None:
                schema["required"] = ["data"]
                schema["properties"]["data"] = {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": item,
                }
            return {"text/event-stream": {"itemSchema": schema}}
        if not response_class.media_type:
            return {}
        schema = {"type": "string"}
        if lenient_issubclass(response_class, JSONResponse):
            schema = {} if route.response_field is None else self._schema(route.response_field)
        return {response_class.media_type: {"schema": schema}}

    def _add_response(
        self,
        target: dict[str, Any],
        status: int | str,
        response: dict[str, Any],
        route: APIRoute,
        media_type: str | None,
    ) -> None:
        """Merges one of the additional `responses` into `target`."""
        extra = copy.deepcopy({key: value for key, value in response.items() if key != "model"})
        field = route.response_fields.get(status)
        if field is not None:
            content = extra.setdefault("content", {}).setdefault(
                media_type or "application/json", {}
            )
            deep_dict_update(content.setdefault("schema", {}), self._schema(field))
        # Looked up even where it is not needed: a status that is no number must not pass.
        meaning = _RANGE_NAMES.get(str(status).upper()) or http.client.responses.get(int(status))
        description = (
            extra.get("description")
            or target.get("description")
            or meaning
            or "Additional Response"
        )
        deep_dict_update(target, extra)
        target["description"] = description


def _status_of(route: APIRoute, response_class: type[Response]) -> str:
    """The declared status, else the one that the response class has by itself."""
    if route.status_code is not None:
        return str(route.status_code)
    parameter = inspect.signature(response_class.__init__).parameters.get("status_code")
    default = 200 if parameter is None else parameter.default
    return str(default if isinstance(default, int) else 200)
