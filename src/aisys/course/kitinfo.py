"""What a kit says of itself: which labs it holds, which exercises came open, its version."""

import functools
import json
from pathlib import Path
from typing import Any

KIT_FILE = Path(__file__).parents[1] / "kit.json"


@functools.cache
def kit() -> dict[str, Any]:
    """The kit's description, or an empty dict in a clone."""
    return json.loads(KIT_FILE.read_text(encoding="utf-8")) if KIT_FILE.exists() else {}


def is_open(key: str) -> bool:
    """Whether an exercise came with its reference: its deadline is past, or it was not chosen."""
    return key in kit().get("open", [])
