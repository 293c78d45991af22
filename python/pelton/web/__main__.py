"""``python -m pelton.web``: the ``fastapi`` command."""

from .cli import main

main()
