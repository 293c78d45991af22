"""Read by every interpreter that the suite starts: its subprocesses test `pelton.web`, too."""

import fastapi_alias

fastapi_alias.install()
