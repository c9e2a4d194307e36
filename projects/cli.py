"""The front door: `tenshot VERB …`.

A verb is a row of `VERBS`; its room is imported when the verb is used, and not for `tenshot --help`. The front door
adds `--json` and `--debug` to every command, and turns whatever goes wrong into an exit status (0 done, 1 failed,
2 wrong usage) and an error for people on stderr or, with `--json`, a document on stdout.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from tenshot.projects import console, offline
from tenshot.projects.errors import TenshotError, UsageError

INTERRUPTED = 130


class Verb(NamedTuple):
    target: str
    """`module:attribute`: a function, or a `typer.Typer` for a verb with verbs of its own."""
    help: str
    panel: str


_DATA, _MODELS, _SERVE, _CARE = "Projects and images", "Models", "Endpoints", "Upkeep"
VERBS: dict[str, Verb] = {
    "project": Verb("tenshot.projects.commands:project", "Create, list, show and delete projects.", _DATA),
    "dataset": Verb("tenshot.datasets.commands:dataset", "Import, check, show and export labeled images.", _DATA),
    "train": Verb("tenshot.automl.commands:train", "Train the next version of a project.", _MODELS),
    "worker": Verb("tenshot.automl.commands:worker", "Work off queued trainings and share running ones.", _MODELS),
    "versions": Verb("tenshot.automl.commands:versions", "List the trained versions of a project.", _MODELS),
    "report": Verb("tenshot.automl.commands:report", "Write or open the report of a version.", _MODELS),
    "compare": Verb("tenshot.automl.commands:compare", "Compare two versions.", _MODELS),
    "alias": Verb("tenshot.automl.commands:alias", "Point a name such as champion at a version.", _MODELS),
    "evaluate": Verb("tenshot.automl.commands:evaluate", "Measure a version on any labeled images.", _MODELS),
    "models": Verb("tenshot.automl.commands:models", "List, fetch and verify the pretrained base models.", _MODELS),
    "start": Verb("tenshot.serving.commands:start", "Start the endpoint of a version.", _SERVE),
    "stop": Verb("tenshot.serving.commands:stop", "Stop the endpoint of a version.", _SERVE),
    "endpoints": Verb("tenshot.serving.commands:endpoints", "List the endpoints that exist.", _SERVE),
    "logs": Verb("tenshot.serving.commands:logs", "Show what an endpoint wrote.", _SERVE),
    "predict": Verb("tenshot.serving.commands:predict", "Find labels and boxes in images.", _SERVE),
    "export": Verb("tenshot.serving.exporting.commands:export", "Write a version to run without Tenshot.", _SERVE),
    "bench": Verb("tenshot.serving.benching.commands:bench", "Measure how fast an endpoint answers.", _SERVE),
    "usage": Verb("tenshot.projects.metering.commands:usage", "Show the ledger: what was used, what it costs.", _CARE),
    "keys": Verb("tenshot.projects.key_commands:keys", "Create, list and revoke access keys.", _CARE),
    "budget": Verb("tenshot.projects.metering.commands:budget", "Set, list and remove what projects may cost.", _CARE),
    "jobs": Verb("tenshot.projects.commands:jobs", "List and cancel trainings and imports.", _CARE),
    "doctor": Verb("tenshot.projects.commands:doctor", "Check what is installed, reachable and writable.", _CARE),
    "demo": Verb("tenshot.serving.demo.commands:demo", "Run the main job from photos to ledger.", _CARE),
}


class FrontDoor(TyperGroup):
    """Lists the verbs from the table, and imports the one that is used."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in VERBS else command, rest


def main() -> None:
    """The console script."""
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone; Python would complain about the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit status. Never raises."""
    offline.set_defaults()
    options = argv[: argv.index("--")] if "--" in argv else argv
    console.mode.json, console.mode.debug = "--json" in options, "--debug" in options
    try:
        with _log_to_stderr() if console.mode.debug else nullcontext():
            result = front_door().main(list(argv), prog_name="tenshot", standalone_mode=False)
    except BrokenPipeError:
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return _fail(_as_tenshot_error(error), error)
    if result == INTERRUPTED:
        return _fail(Interrupted("interrupted"), None)
    return result if isinstance(result, int) else 0


def front_door() -> FrontDoor:
    """The root of the commands; its verbs are placeholders with the table's help."""
    placeholders = {
        name: TyperCommand(name, help=verb.help, rich_help_panel=verb.panel) for name, verb in VERBS.items()
    }
    about = "From ten labeled images to a metered endpoint."
    return FrontDoor(
        name="tenshot",
        commands=dict(placeholders),
        help=about,
        params=_options(_version),
        # Help is printed on stdout, where with --json only a document may be.
        no_args_is_help=not console.mode.json,
    )


def command_tree() -> TyperGroup:
    """All commands, every room imported: for the documentation and for tests."""
    return TyperGroup(name="tenshot", commands={name: load(name) for name in VERBS})


def load(verb: str) -> TyperCommand | TyperGroup:
    """The command of a verb, with `--json` and `--debug` on it and on every verb below it."""
    module, _, attribute = VERBS[verb].target.partition(":")
    found = getattr(import_module(module), attribute)
    command = typer.main.get_group(found) if isinstance(found, typer.Typer) else _command(found, verb)
    command.name = verb
    _add_flags(command, _options(_flags))
    return command


def _command(function: Callable[..., None], name: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name)(function)
    return typer.main.get_command(app)


def _add_flags(command: Any, flags: list[Any]) -> None:
    command.params = [*command.params, *flags]
    if console.mode.json:
        command.no_args_is_help = False
    for below in getattr(command, "commands", {}).values():
        _add_flags(below, flags)


def _options(function: Callable[..., None]) -> list[Any]:
    return list(_command(function, "options").params)


_JSON = typer.Option(False, "--json", help="Print one JSON document.", expose_value=False)
_DEBUG = typer.Option(False, "--debug", help="Show the traceback of an error.", expose_value=False)


def _flags(json: bool = _JSON, debug: bool = _DEBUG) -> None:
    """Declares the options of every command; `run` has read them from the command line before."""


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    number = version("tenshot")
    console.emit({"version": number}, lambda: f"tenshot {number}")
    raise typer.Exit


_VERSION = typer.Option(
    False, "--version", help="Print the version.", expose_value=False, is_eager=True, callback=_show_version
)


def _version(version: bool = _VERSION, json: bool = _JSON, debug: bool = _DEBUG) -> None:
    """Declares the options of `tenshot` itself."""


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """What our own modules log, as far down as they go."""
    import logging

    logger, handler = logging.getLogger("tenshot"), logging.StreamHandler()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Interrupted(TenshotError):
    """The user pressed Ctrl-C."""

    exit_status = INTERRUPTED


class InternalError(TenshotError):
    """Something that nobody thought of."""


def _as_tenshot_error(error: Exception) -> TenshotError:
    if isinstance(error, TenshotError):
        return error
    if isinstance(error, typer.TyperException):
        return _as_usage_error(error)
    if isinstance(error, typer.Abort):
        return Interrupted("aborted")
    if isinstance(error, ModuleNotFoundError):
        from tenshot.projects.extras import as_missing_dependency

        if missing := as_missing_dependency(error):
            return missing
    first_line = next(iter(str(error).splitlines()), "")
    message = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    return InternalError(message, hint="run again with --debug to see where it happened")


def _as_usage_error(error: typer.TyperException) -> TenshotError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tenshot"
    # Typer passes on how its validator words it.
    message = error.format_message().replace("Value error, ", "")
    return UsageError(message, hint=f"see: {path} --help")


def _fail(error: TenshotError, cause: Exception | None) -> int:
    if console.mode.debug and cause is not None:
        traceback.print_exception(cause)
    try:
        _show(error)
    except BrokenPipeError:
        return 1
    return error.exit_status


def _show(error: TenshotError) -> None:
    if console.mode.json:
        console.write(error.document())
        return
    from rich.text import Text

    if not error.message:
        # A group of verbs without a verb: its help has been printed.
        return
    console.stderr().print(Text.assemble(("error: ", "bold red"), error.message), highlight=False)
    if error.hint:
        console.stderr().print(Text.assemble(("hint: ", "bold cyan"), error.hint), highlight=False)
