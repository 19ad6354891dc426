"""What is done with each file."""

import hashlib
from pathlib import Path

from .app import app


@app.task
def measure(path: str) -> dict[str, int]:
    """Count the lines, words and bytes of a file."""
    data = Path(path).read_bytes()
    return {"lines": data.count(b"\n"), "words": len(data.split()), "bytes": len(data)}


@app.task
def digest(path: str) -> str:
    """Return a fingerprint of what a file says."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
