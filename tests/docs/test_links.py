"""Every link between the documents leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import anchors, documents, links
from tests.house.tree import ROOT


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    broken = [
        f"{path.name}:{number}: {target}"
        for number, target in links(path)
        if not leads_somewhere(path, target)
    ]
    assert not broken, "\n".join(broken)


def leads_somewhere(path: Path, target: str) -> bool:
    """Whether a file and heading of ours exists; the world outside is not asked."""
    if "://" in target or target.startswith("mailto:"):
        return True
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists():
        return False
    return not anchor or file.suffix != ".md" or anchor in anchors(file)
