"""The OpenAPI document of a list of routes."""

from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute

from ..dependencies.flat import get_flat_params
from ..encoders import jsonable_encoder
from ..fields import ModelField
from ..routing.included import RouteContext, iter_route_contexts
from ..routing.route import APIRoute
from .constants import REF_PREFIX as REF_PREFIX
from .definitions import get_definitions
from .models import OpenAPI
from .operation import PathDescriber

_Routes = Sequence[BaseRoute | RouteContext]


def _operations(routes: _Routes) -> list[APIRoute]:
    """The path operations among `routes`, with their full paths and options."""
    found = (context.effective or context.route for context in iter_route_contexts(routes))
    return [route for route in found if isinstance(route, APIRoute)]


def get_fields_from_routes(routes: _Routes) -> list[ModelField]:
    """Every field whose schema the document needs: callbacks', bodies', responses', parameters'."""
    callbacks: list[ModelField] = []
    bodies: list[ModelField] = []
    responses: list[ModelField] = []
    parameters: list[ModelField] = []
    for route in _operations(routes):
        if not route.include_in_schema:
            continue
        if route.body_field is not None:
            bodies.append(route.body_field)
        if route.response_field is not None:
            responses.append(route.response_field)
        responses.extend(route.response_fields.values())
        if route.stream_item_field is not None:
            responses.append(route.stream_item_field)
        callbacks.extend(get_fields_from_routes(route.callbacks or []))
        parameters.extend(get_flat_params(route.dependant))
    return callbacks + bodies + responses + parameters


def get_openapi(
    *,
    title: str,
    version: str,
    openapi_version: str = "3.1.0",
    summary: str | None = None,
    description: str | None = None,
    routes: _Routes,
    webhooks: _Routes | None = None,
    tags: list[dict[str, Any]] | None = None,
    servers: list[dict[str, str | Any]] | None = None,
    terms_of_service: str | None = None,
    contact: dict[str, str | Any] | None = None,
    license_info: dict[str, str | Any] | None = None,
    separate_input_output_schemas: bool = True,
    external_docs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The document as plain objects. Warns of operation ids that are given twice."""
    fields = get_fields_from_routes([*routes, *(webhooks or [])])
    mapping, definitions = get_definitions(
        fields=fields, separate_input_output_schemas=separate_input_output_schemas
    )
    describer = PathDescriber(
        mapping=mapping,
        separate_input_output_schemas=separate_input_output_schemas,
        operation_ids=set(),
        security_schemes={},
        definitions=definitions,
    )
    paths = _paths(describer, routes)
    webhook_paths = _paths(describer, webhooks or [])
    components: dict[str, Any] = {}
    if describer.security_schemes:
        components["securitySchemes"] = describer.security_schemes
    if definitions:
        components["schemas"] = dict(sorted(definitions.items()))
    info = {
        "title": title,
        "version": version,
        "summary": summary,
        "description": description,
        "termsOfService": terms_of_service,
        "contact": contact,
        "license": license_info,
    }
    document = {
        "openapi": openapi_version,
        "info": {key: value for key, value in info.items() if value or key in _ALWAYS},
        "servers": servers,
        "components": components,
        "paths": paths,
        "webhooks": webhook_paths,
        "tags": tags,
        "externalDocs": external_docs,
    }
    given = {key: value for key, value in document.items() if value or key in _ALWAYS}
    result: dict[str, Any] = jsonable_encoder(
        OpenAPI.model_validate(given), by_alias=True, exclude_none=True
    )
    return result


_ALWAYS = ("title", "version", "openapi", "info", "paths")


def _paths(describer: PathDescriber, routes: _Routes) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in _operations(routes):
        item = describer.path_item(route)
        if item:
            paths.setdefault(route.path_format, {}).update(item)
    return paths
