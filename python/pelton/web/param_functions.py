"""The functions that users write as an argument's default, or in its ``Annotated``.

They are functions, and return `Any`, so that ``q: str = Query()`` satisfies type checkers. The
options of each are those of the class in `pelton.web.params` that it makes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import Unpack

from . import params
from .fields import Undefined


def Path(default: Any = ..., **options: Unpack[params.FieldOptions]) -> Any:
    """The argument is part of the path."""
    return params.Path(default, **options)


def Query(default: Any = Undefined, **options: Unpack[params.FieldOptions]) -> Any:
    """The argument is read from the query string."""
    return params.Query(default, **options)


def Header(default: Any = Undefined, **options: Unpack[params.HeaderOptions]) -> Any:
    """The argument is a header; ``x_token`` reads ``x-token``."""
    return params.Header(default, **options)


def Cookie(default: Any = Undefined, **options: Unpack[params.FieldOptions]) -> Any:
    """The argument is a cookie."""
    return params.Cookie(default, **options)


def Body(default: Any = Undefined, **options: Unpack[params.BodyOptions]) -> Any:
    """The argument is the body, or one key of it."""
    return params.Body(default, **options)


def Form(default: Any = Undefined, **options: Unpack[params.FormOptions]) -> Any:
    """The argument is a field of a form."""
    return params.Form(default, **options)


def File(default: Any = Undefined, **options: Unpack[params.FormOptions]) -> Any:
    """The argument is an uploaded file."""
    return params.File(default, **options)


def Depends(
    dependency: Callable[..., Any] | None = None,
    *,
    use_cache: bool = True,
    scope: Literal["function", "request"] | None = None,
    max_concurrency: int | None = None,
) -> Any:
    """The argument is what `dependency` gives; see `pelton.web.params.Depends`.

    Without `dependency`, the argument's own type is called.
    """
    return params.Depends(
        dependency=dependency, use_cache=use_cache, scope=scope, max_concurrency=max_concurrency
    )


def Security(
    dependency: Callable[..., Any] | None = None,
    *,
    scopes: Sequence[str] | None = None,
    use_cache: bool = True,
) -> Any:
    """`Depends`, for a security scheme, which needs these OAuth2 `scopes`."""
    return params.Security(dependency=dependency, scopes=scopes, use_cache=use_cache)


for _function, _class in (
    (Path, params.Path),
    (Query, params.Query),
    (Header, params.Header),
    (Cookie, params.Cookie),
    (Body, params.Body),
    (Form, params.Form),
    (File, params.File),
):
    _function.__signature__ = params.spell_out(  # type: ignore[attr-defined]
        _function, _class.options_type
    )
