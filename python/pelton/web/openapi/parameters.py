"""Parameters and security requirements of an operation, gathered from its graph."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import params
from ..dependencies.aliases import param_aliases
from ..dependencies.flat import flat_fields, param_model
from ..dependencies.models import Dependant
from ..encoders import jsonable_encoder
from ..fields import ModelField
from ..params import ParamTypes
from .definitions import FieldMapping, schema_of

_PLACES = (ParamTypes.path, ParamTypes.query, ParamTypes.header, ParamTypes.cookie)


@dataclass
class DependencyData:
    """What a graph asks of a request's head."""

    fields: dict[ParamTypes, list[ModelField]] = field(
        default_factory=lambda: {place: [] for place in _PLACES}
    )
    security: list[tuple[Dependant, list[str]]] = field(default_factory=list)

    @property
    def has_parameters(self) -> bool:
        """Whether a request can be wrong in its head."""
        return any(flat_fields(group) for group in self.fields.values())


def dependency_data(dependant: Dependant) -> DependencyData:
    """The parameters and security schemes of `dependant` and all below it."""
    data = DependencyData()
    seen: list[Any] = []

    def visit(node: Dependant, scopes: list[str], is_root: bool) -> None:
        # A key may hold a callable that cannot be hashed.
        if node.cache_key in seen:
            return
        seen.append(node.cache_key)
        for place, fields in zip(
            _PLACES,
            (node.path_params, node.query_params, node.header_params, node.cookie_params),
            strict=True,
        ):
            data.fields[place].extend(fields)
        scopes = list(dict.fromkeys([*scopes, *node.oauth_scopes]))
        if not is_root and node.security_scheme is not None:
            data.security.append((node, scopes))
        for below in node.dependencies:
            visit(below, scopes, False)

    visit(dependant, [], True)
    return data


def security_of(data: DependencyData) -> tuple[dict[str, Any], list[dict[str, list[str]]]]:
    """The definitions of the schemes, and the operation's requirements with all scopes."""
    definitions: dict[str, Any] = {}
    scopes_of: dict[str, dict[str, None]] = {}
    for dependant, scopes in data.security:
        scheme = dependant.security_scheme
        assert scheme is not None
        definitions[scheme.scheme_name] = jsonable_encoder(
            scheme.model, by_alias=True, exclude_none=True
        )
        scopes_of.setdefault(scheme.scheme_name, {}).update(dict.fromkeys(scopes))
    return definitions, [{name: list(scopes)} for name, scopes in scopes_of.items()]


def parameters_of(data: DependencyData, mapping: FieldMapping, separate: bool) -> list[Any]:
    """The operation's ``parameters``; of two with one name and place, the required one."""
    every = [
        parameter
        for place, fields in data.fields.items()
        for declared in fields
        for parameter in _parameters(place, declared, mapping, separate)
    ]
    by_name = {(parameter["in"], parameter["name"]): parameter for parameter in every}
    for parameter in every:
        if parameter["required"]:
            by_name[(parameter["in"], parameter["name"])] = parameter
    return list(by_name.values())


def _parameters(
    place: ParamTypes, declared: ModelField, mapping: FieldMapping, separate: bool
) -> Iterator[dict[str, Any]]:
    info = declared.field_info
    if not getattr(info, "include_in_schema", True):
        return
    model = param_model(declared)
    # None of an optional model's parameters must be given.
    is_optional = model is not None and info.annotation is not model and not info.is_required()
    converts = getattr(info, "convert_underscores", True)
    for one in flat_fields([declared]):
        one_converts = place is ParamTypes.header and getattr(
            one.field_info, "convert_underscores", converts
        )
        alias, name = param_aliases(one, convert_underscores=one_converts)[0]
        yield {
            "name": name,
            "in": place.value,
            "required": one.field_info.is_required() and not is_optional,
            "schema": schema_of(one, mapping, separate_input_output_schemas=separate, name=alias),
            **_described(one),
        }


def _described(one: ModelField) -> dict[str, Any]:
    info = one.field_info
    result: dict[str, Any] = {}
    if info.description:
        result["description"] = info.description
    examples = getattr(info, "openapi_examples", None)
    example = getattr(info, "example", None)
    if examples:
        result["examples"] = jsonable_encoder(examples)
    elif example is not params.UNSET:
        result["example"] = jsonable_encoder(example)
    if getattr(info, "deprecated", None):
        result["deprecated"] = True
    return result
