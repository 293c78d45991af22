"""Files of a directory: Starlette's, sent by the server itself where it can."""

from ._files import StaticFiles as StaticFiles
