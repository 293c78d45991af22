"""Jinja templates: Starlette's."""

from starlette.templating import Jinja2Templates as Jinja2Templates
