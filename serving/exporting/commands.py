"""`tenshot export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import console
from tenshot.projects.errors import UsageError
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.serving.exporting.run import Exported


def export(
    ref: Annotated[str, typer.Argument(metavar="NAME@V", help="NAME, NAME@2 or NAME@champion.")],
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="bento, docker, k8s, mlflow, onnx or openvino.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; it must be empty or not exist.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in DIR.")] = False,
    image: Annotated[
        str, typer.Option("--image", metavar="REF", help="k8s: the container image's name; left out: NAME:V.")
    ] = "",
    keda: Annotated[bool, typer.Option("--keda", help="k8s: scale to zero with KEDA's HTTP add-on.")] = False,
) -> None:
    """Write a version as files that work without Tenshot, and check that they answer as it does."""
    from tenshot.serving.exporting.form import Options
    from tenshot.serving.exporting.run import export as make

    if (image or keda) and format_ != "k8s":
        raise UsageError(f"--image and --keda are for the format k8s, not {format_}", hint="leave them out")
    with _Progress() as seen:
        made = make(Workspace.current(), ref, format_, directory, force=force, options=Options(image, keda), seen=seen)
    console.emit(made.to_json(), lambda: _view(made))


def _view(made: Exported) -> list[Any]:
    from rich.text import Text

    found = made.parity
    lines = [
        f"{made.ref} as {made.format} in {made.folder}, {made.bytes / 1e6:.1f} MB",
        f"it answers {found.images} images as the version does: confidences within {found.confidence:.4f} of 100"
        + (f", boxes within {found.box:.6f} of the image" if found.box else ""),
        *(f"  {line}" for line in made.run),
    ]
    return [Text(line) for line in lines]


class _Progress:
    """What is being done, on stderr; nothing with --json."""

    def __enter__(self) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console.stderr(),
            transient=True,
            disable=console.mode.json,
        )
        self._task = self._bar.add_task("export", total=None)
        self._bar.start()
        return self._seen

    def _seen(self, what: str, done: int, of: int) -> None:
        self._bar.update(self._task, description=what, completed=done, total=of or None)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
