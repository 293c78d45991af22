"""Where the studio keeps its things, and its limits."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VAR = Path(os.environ.get("STUDIO_VAR", HERE / "var")).resolve()
"""Pictures and databases. Remove it to begin anew."""

ORIGINALS = VAR / "originals"
SIZES = VAR / "sizes"
DATABASE = VAR / "studio.db"
JOBS = VAR / "jobs.db"

WIDTHS = (320, 800, 1600)
"""Pixels across of what is made of each photo."""
UPLOAD_BYTES = 25 * 1024 * 1024
UPLOAD_PIXELS = 60_000_000
"""Larger pictures would need too much memory to open."""
TOKEN_HOURS = 24 * 7
FLAKINESS = float(os.environ.get("STUDIO_FLAKINESS", "0.4"))
"""How often the notification fails, from 0 to 1."""

for directory in (ORIGINALS, SIZES):
    directory.mkdir(parents=True, exist_ok=True)


def secret() -> str:
    """The key that signs tokens: made at the first start, readable by this user only."""
    path = VAR / "secret"
    if not path.exists():
        descriptor, fresh = tempfile.mkstemp(dir=VAR)  # mode 600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # of several processes that start at once, one wins
        os.unlink(fresh)
    return path.read_text()
