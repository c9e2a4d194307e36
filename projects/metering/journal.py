"""Usage journals: how a process on the hot path counts without a database, and loses nothing when it dies.

A journal is a text file of lines `<id> <at> <operation> <quantity> <key> .` (without a key if none was asked for),
appended with one `write()` each, so that lines of several processes never mix and a killed process leaves at most one
torn line at the end. `collect` moves them into
the store; the store remembers how many bytes of each journal it has, in the transaction that stores the records, so
that nothing is counted twice or forgotten, however many collect at once. Lines of one operation, key and minute that
are read together become one record: a busy endpoint must not fill the store with a row a request. A torn line is never
counted (it lacks the full stop); what is appended after it starts on a line of its own.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tenshot.projects.records import UsageRecord

if TYPE_CHECKING:
    from tenshot.projects.store import Store

SUFFIX = ".journal"
MOST_BYTES = 4 << 20
"""Read at a time: about 80 000 lines."""
FIRST_BYTES = 4096
LONGEST_KEY = 128
"""As the store keeps it."""
MINUTE_S = 60
"""Counts are added up by the minute, so that a bill cut at any whole minute is exact."""


def path_in(endpoint_dir: Path) -> Path:
    """Where the endpoint with this folder (`Workspace.endpoint_dir`) keeps its journal."""
    return endpoint_dir / f"usage{SUFFIX}"


def append(path: Path, operation: str, quantity: int, at: float, key: str = "") -> None:
    """Count `quantity` images of `operation`, done at `at` (seconds since the epoch) for the access key with the id
    `key`; empty: none was asked for.

    Once it returns only a power cut can lose the line. Raises OSError.
    """
    # The line begins with its own line break too: what a killed process left unfinished stays apart.
    words = [secrets.token_hex(8), f"{at:.6f}", operation, str(quantity), *([_escaped(key)] if key else []), "."]
    line = f"\n{' '.join(words)}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(descriptor, line.encode()) < len(line.encode()):
            raise OSError(errno.ENOSPC, "the disk is full", str(path))
    finally:
        os.close(descriptor)


def collect(store: Store, directory: Path) -> int:
    """Move what the journals under `directory` count into the store; how many records that made.

    A journal lies in a folder named `PROJECT@VERSION`, where `path_in` puts it.
    """
    counted = 0
    for path in sorted(directory.glob(f"*@*/*{SUFFIX}")):
        if path.parent.name.rpartition("@")[2].isdecimal():
            with suppress(FileNotFoundError):  # its project was deleted meanwhile, which collected it first
                counted += _collect_one(store, path)
    return counted


def _collect_one(store: Store, path: Path) -> int:
    counted = 0
    source = f"{path.parent.name}/{path.name}:{_first_line(path)}"
    while True:
        offset = store.usage_offset(source)
        lines = _complete_lines(path, offset)
        if not lines:
            return counted
        records = _records(lines, path)
        if not store.add_usage_from(source, offset, offset + len(lines), records):
            # Another collector was faster with a part of it; go on where it stopped.
            continue
        counted += len(records)


def _first_line(path: Path) -> str:
    """Tells a journal from a later one of the same name, by the id of its first record."""
    return _complete_lines(path, 0, FIRST_BYTES).decode("utf-8", "replace").strip().partition("\n")[0]


def _complete_lines(path: Path, offset: int, most_bytes: int = MOST_BYTES) -> bytes:
    """From `offset` up to the last line break; a line that is still being written waits for the next time."""
    with path.open("rb") as stream:
        stream.seek(offset)
        found = stream.read(most_bytes)
    return found[: found.rfind(b"\n") + 1]


def _records(lines: bytes, path: Path) -> list[UsageRecord]:
    """One for each operation, key and minute, with the time and the id of the first line in it: whoever asks for the
    usage from before that line on gets all of it."""
    project, _, version = path.parent.name.rpartition("@")
    sums: dict[tuple[float, str, str], tuple[str, float, int]] = {}
    for line in lines.decode("utf-8", "replace").splitlines():
        if parsed := _parse(line):
            token, at, operation, quantity, key = parsed
            group = at // MINUTE_S * MINUTE_S, operation, key
            first, begun, counted = sums.get(group, (token, at, 0))
            sums[group] = first, begun, counted + quantity
    return [
        UsageRecord(f"journal-{token}", "image", project, int(version), operation, quantity, begun, begun, key)
        for (_, operation, key), (token, begun, quantity) in sums.items()
    ]


def _parse(line: str) -> tuple[str, float, str, int, str] | None:
    """None for an empty or torn line."""
    try:
        token, at, operation, quantity, *key, end = line.split(" ")
        if end != "." or len(key) > 1:
            return None
        return token, float(at), operation, int(quantity), unquote(key[0]) if key else ""
    except ValueError:
        return None


def _escaped(key: str) -> str:
    """One word in which no full stop stands: torn behind one, the line would look whole."""
    return quote(key[:LONGEST_KEY], safe="").replace(".", "%2E")
