"""WSGI apps under ASGI."""

from starlette.middleware.wsgi import WSGIMiddleware as WSGIMiddleware
