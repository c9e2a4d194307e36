"""`tenshot predict`: image files in, labels out; through the version's endpoint if it runs, else in this process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects.errors import EmptyDataError, EndpointError, ImageError
from tenshot.projects.records import UsageRecord

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint, ModelVersion
    from tenshot.projects.workspace import Workspace

Entry = dict[str, Any]
"""`{"image", "labels": [{"name", "confidence", "box"}]}`, `"novelty"` where the version
tells it, or with `"error": {"code", "message", "hint"}`."""
Ask = Callable[[Path], Entry]

SENT_AT_ONCE = 4
REQUEST_TIMEOUT_S = 120.0
TRIES = 20
"""Of one request that is answered 503; the endpoint says how long to wait in between."""


@dataclass(frozen=True, slots=True)
class Predictions:
    ref: str
    entries: list[Entry]
    through: str
    """The endpoint's address, or `in process`."""
    saved: tuple[Path, ...] = ()

    @property
    def failed(self) -> int:
        return sum(1 for entry in self.entries if "error" in entry)


def predict(
    workspace: Workspace,
    ref: str,
    words: Sequence[str],
    *,
    min_confidence: float | None = None,
    save: Path | None = None,
    seen: Callable[[int, int], None] = lambda done, of: None,
) -> Predictions:
    """Predict files, folders and globs. A bad image has an `error` in its entry and the others are answered.

    `min_confidence` is 0…100, None takes each label's own threshold; `save` is a folder for pictures with the labels
    drawn; `seen(done, of)` is told the progress. Raises EmptyDataError if the words name no image, EndpointError if the
    endpoint does not answer.
    """
    version = workspace.resolve(ref)
    files = list(find_images(words))
    with _asker(workspace, version, min_confidence) as (ask, through, at_once):
        entries: list[Entry] = []
        with ThreadPoolExecutor(at_once) as pool:
            for entry in pool.map(ask, files):
                entries.append(entry)
                seen(len(entries), len(files))
    saved = tuple(_save(workspace, save, files, entries)) if save else ()
    return Predictions(version.ref, entries, through, saved)


def find_images(words: Sequence[str]) -> Iterator[Path]:
    """Files as named; of folders, every file below with an image's ending; globs spelled out. Each file once.

    Raises EmptyDataError for a folder or glob without an image. A file that does not exist is given on: its entry will
    say so.
    """
    from tenshot.datasets.images import EXTENSIONS

    given: set[Path] = set()
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        elif not path.exists() and has_magic(word):
            found = sorted(Path(p) for p in glob(word, recursive=True) if Path(p).is_file())  # noqa: PTH207 – absolute patterns too
        else:
            found = [path]
        if not found:
            raise EmptyDataError(
                f"{word}: no image there", hint=f"expected files ending in {', '.join(sorted(EXTENSIONS))}"
            )
        yield from (p for p in found if p not in given)
        given.update(found)


@contextmanager
def _asker(workspace: Workspace, version: ModelVersion, min_confidence: float | None) -> Iterator[tuple[Ask, str, int]]:
    """How one image is answered, where, and how many at once."""
    from tenshot.serving.endpoints.control import running

    endpoint = running(workspace, version)
    if endpoint is None:
        yield _in_process(workspace, version, min_confidence), "in process", 1
        return
    import httpx

    from tenshot.serving.endpoints.keyring import client_options

    with httpx.Client(timeout=REQUEST_TIMEOUT_S, **client_options(workspace, endpoint)) as client:
        yield partial(_through, client, endpoint, min_confidence), endpoint.url, SENT_AT_ONCE


def _in_process(workspace: Workspace, version: ModelVersion, min_confidence: float | None) -> Ask:
    from tenshot.automl.predictor import Predictor
    from tenshot.datasets.images import read_image

    predictor = Predictor.load(workspace.bundle_dir(version.project, version.number))

    def ask(path: Path) -> Entry:
        try:
            image = read_image(path, max_megapixels=workspace.settings.images.max_megapixels)
        except ImageError as error:
            return _failed(path, error.document())
        answer = predictor.answer(predictor.look([image])[0], image.shape[:2], min_confidence=min_confidence)
        _count(workspace, version)
        return {"image": str(path), **answer}

    return ask


def _count(workspace: Workspace, version: ModelVersion) -> None:
    at = time.time()
    record = UsageRecord(
        f"predict-{uuid.uuid4().hex}", "image", version.project, version.number, "predict", 1.0, at, at
    )
    workspace.store.add_usage([record])


def _through(client: Any, endpoint: Endpoint, min_confidence: float | None, path: Path) -> Entry:
    import httpx

    from tenshot.datasets.images import read_bytes

    options = {} if min_confidence is None else {"min_confidence": str(min_confidence)}
    try:
        data = read_bytes(path)
        answer = _post(client, path, data, options)
        document = answer.json()
    except ImageError as error:
        return _failed(path, error.document())
    except (httpx.HTTPError, ValueError) as error:
        raise EndpointError(
            f"{endpoint.url} did not answer for {path}: {error or type(error).__name__}",
            hint=f"see: tenshot logs {endpoint.ref}",
        ) from None
    if answer.status_code != 200:
        if not isinstance(document.get("error"), dict):  # not ours: BentoML's own words for a request that timed out
            raise EndpointError(
                f"{endpoint.url} answered {answer.status_code} for {path}", hint=f"see: tenshot logs {endpoint.ref}"
            )
        return _failed(path, document)
    entry: Entry = document["images"][0]
    return entry | {"image": str(path)}


def _post(client: Any, path: Path, data: bytes, options: dict[str, str]) -> Any:
    """Try again while the endpoint is overloaded, as long as it says."""
    # Only what errors are to call it is sent of the name, in plain ASCII.
    files = {"image": (path.name.encode("ascii", "replace").decode(), data, "application/octet-stream")}
    for _ in range(TRIES):
        answer = client.post("/predict", files=files, params=options)
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    return answer


def _failed(path: Path, document: dict[str, Any]) -> Entry:
    return {"image": str(path), "labels": [], "error": document["error"]}


def _save(workspace: Workspace, folder: Path, files: list[Path], entries: list[Entry]) -> Iterator[Path]:
    from tenshot.datasets.images import read_image
    from tenshot.serving.drawing import draw

    folder.mkdir(parents=True, exist_ok=True)
    used: set[str] = set()
    for path, entry in zip(files, entries, strict=True):
        if "error" in entry:
            continue
        image = read_image(path, max_megapixels=workspace.settings.images.max_megapixels)
        target = folder / _free_name(path, used)
        draw(image, entry["labels"]).save(target, quality=92)
        yield target


def _free_name(path: Path, used: set[str]) -> str:
    """Two images of one name in different folders do not overwrite each other."""
    name, count = f"{path.stem}.jpg", 1
    while name in used:
        count += 1
        name = f"{path.stem}-{count}.jpg"
    used.add(name)
    return name
