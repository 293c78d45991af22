"""What every security scheme has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..openapi.models import SecurityBase as SecurityBaseModel


class SecurityBase:
    """A dependency that OpenAPI documents as a security scheme.

    `model` describes the scheme in the document's ``components``, under `scheme_name`.
    """

    model: SecurityBaseModel
    scheme_name: str
