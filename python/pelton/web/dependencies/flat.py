"""All the fields of a whole graph, with parameter models taken apart."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from .. import params
from ..annotations import lenient_issubclass, model_of
from ..fields import ModelField, get_cached_model_fields
from .form_models import is_json_field
from .models import Dependant


def walk(dependant: Dependant) -> Iterator[Dependant]:
    """`dependant` and all below it, callers first, in the order of their arguments."""
    yield dependant
    for below in dependant.dependencies:
        yield from walk(below)


def flat_body_params(dependant: Dependant) -> list[ModelField]:
    """Every body field that the endpoint or one of its dependencies declares."""
    return [field for node in walk(dependant) for field in node.body_params]


def param_model(field: ModelField) -> type[BaseModel] | None:
    """The model whose attributes are parameters, if the parameter is declared as one."""
    annotation = field.field_info.annotation
    if isinstance(field.field_info, (params.Query, params.Header, params.Cookie)):
        annotation = model_of(annotation)
    if lenient_issubclass(annotation, BaseModel) and not is_json_field(field):
        return annotation
    return None


def flat_fields(fields: Sequence[ModelField]) -> list[ModelField]:
    """`fields`, each parameter model replaced by its attributes."""
    found: list[ModelField] = []
    for field in fields:
        model = param_model(field)
        found.extend([field] if model is None else get_cached_model_fields(model))
    return found


def once_each(dependant: Dependant) -> Iterator[Dependant]:
    """Like `walk`, but a dependency that is used twice comes once."""
    seen: set[int] = set()
    keys: list[object] = []

    def visit(node: Dependant) -> Iterator[Dependant]:
        # A key may hold a callable that cannot be hashed, so keys are compared one by one.
        if id(node) in seen or node.cache_key in keys:
            return
        seen.add(id(node))
        keys.append(node.cache_key)
        yield node
        for below in node.dependencies:
            yield from visit(below)

    yield from visit(dependant)


def get_flat_params(dependant: Dependant) -> list[ModelField]:
    """Every parameter of the graph: of the path, then query, headers, cookies."""
    nodes = list(once_each(dependant))
    groups = (
        [field for node in nodes for field in node.path_params],
        [field for node in nodes for field in node.query_params],
        [field for node in nodes for field in node.header_params],
        [field for node in nodes for field in node.cookie_params],
    )
    return [field for group in groups for field in flat_fields(group)]
