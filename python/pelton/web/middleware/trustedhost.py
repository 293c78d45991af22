"""Requests for known hosts only."""

from starlette.middleware.trustedhost import TrustedHostMiddleware as TrustedHostMiddleware
