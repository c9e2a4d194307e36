"""Write docs/commands.md and docs/settings.md from the code. `make docs` runs it; tests/unit/test_docs.py compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DEFAULTS = DOCS.parent / "configs" / "default.yaml"
BAR = "\\|"
"""As it stands inside a cell of a table."""
EVERYWHERE = {"--json", "--debug", "--help"}

COMMANDS_HEAD = """# Commands

Written by `make docs` from the code; a test compares. State lives in `TENSHOT_HOME` (default `.tenshot` in the working
directory).

Every command also takes `--json` (one JSON document on stdout, everything else on stderr), `--debug` (tracebacks) and
`--help`. Exit status: 0 done, 1 failed, 2 wrong usage. A failure with `--json` prints
`{"error": {"code", "message", "hint"}}`.

A version is named `NAME@3`, `NAME@champion` (an alias) or `NAME` alone for the newest trained one.
"""

SETTINGS_HEAD = """# Settings

Written by `make docs` from `configs/default.yaml`; a test compares. A value is looked up in three places, the last one
wins:

1. the default below,
2. `TENSHOT_HOME/config.yaml`, of the same shape as `configs/default.yaml`, holding only what you change,
3. the environment: `TENSHOT_<SECTION>__<KEY>`, for instance `TENSHOT_JOBS__HEARTBEAT_S=2`.

An unknown section or key is refused by its name, with the nearest known ones as a hint. Two more variables are read:
`TENSHOT_HOME` (where state lives) and `XDG_CACHE_HOME` (where caches live).
"""


def settings_markdown() -> str:
    parts = [SETTINGS_HEAD]
    for section, rows in settings_rows(DEFAULTS.read_text("utf-8")).items():
        parts.append(f"## {section}\n\n| setting | default | meaning |\n|---|---|---|")
        parts += [f"| `{section}.{key}` | `{default}` | {meaning} |" for key, default, meaning in rows]
        parts.append("")
    return "\n".join(parts)


def settings_rows(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Section → (key, default, meaning), read from the lines and their comments."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"(\w+):", line):
            sections[found[1]] = []
        elif found := re.fullmatch(r"  (\w+): (\S+)\s+# (.+)", line):
            list(sections.values())[-1].append((found[1], found[2], _cell(found[3])))
    return sections


def _cell(text: str) -> str:
    """Fit for a cell of a Markdown table."""
    return text.replace("<", "&lt;").replace("|", BAR)


def commands_markdown() -> str:
    return "\n".join([COMMANDS_HEAD, *(block for path, command in commands() for block in _command(path, command))])


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of `tenshot` that does something, with its words, in the order of `--help`."""
    from tenshot.projects.cli import command_tree

    yield from _leaves("tenshot", command_tree())


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    if getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in below.items():
        yield from _leaves(f"{path} {name}", child)


def _command(path: str, command: Any) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    yield f"## {path}\n"
    yield "```\n" + " ".join([path, *map(_piece, command.collect_usage_pieces(context))]) + "\n```\n"
    yield plain(command.help or "") + "\n"
    rows = [p.get_help_record(context) for p in command.params if not set(p.opts) & EVERYWHERE and not p.hidden]
    if rows := [row for row in rows if row]:
        yield "| | |\n|---|---|"
        yield "\n".join(f"| `{left.replace('|', BAR)}` | {_cell(plain(meaning))} |" for left, meaning in rows) + "\n"


def _piece(text: str) -> str:
    """Typer writes a required argument as `{NAME}`."""
    return text.replace("{", "").replace("}", "")


def plain(text: str) -> str:
    """Help texts without their line breaks and form feeds; paragraphs stay apart."""
    paragraphs = re.split(r"\n\s*\n", text.partition("\f")[0])
    return "\n\n".join(" ".join(p.split()) for p in paragraphs if p.strip())


PAGES = {"commands.md": commands_markdown, "settings.md": settings_markdown}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), "utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
