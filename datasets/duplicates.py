"""Near duplicates among stored images: copies that were scaled, re-encoded or brightened, and frames of one scene.

Two images are near duplicates if their 64-bit dHash (signs of the horizontal steps of a 9×8 grey miniature) differs
in at most 10 bits and their 32×32 grey miniatures correlate above 0.98. The hash alone would not do: on 116 photos of
one kind of part taken in one pose it joins 1,675 pairs at 8 bits, the correlation leaves 7 of them. Copies at a third
of the size, at JPEG quality 60 or with the contrast raised by a fifth stay above 0.985.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenshot.datasets.annotations import Entry
    from tenshot.projects.workspace import Workspace

MAX_BITS = 10
MIN_CORRELATION = 0.98
_SIDE = 32
_ROWS = 256
"""Rows of the matrix of all pairs that are compared at once."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    dhash: int
    """64 bits."""
    miniature: NDArray[np.float32]
    """[1024] grey, mean 0 and length 1; all zero for a flat image, which is like no other."""


def fingerprint(data: bytes) -> Fingerprint:
    """Of the bytes of a stored image (upright JPEG or PNG). Raises OSError for what cannot be decoded."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        image.draft("L", (2 * _SIDE, 2 * _SIDE))  # a JPEG is decoded at a fraction of its size
        grey = image.convert("L")
    rows = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits((rows[:, 1:] > rows[:, :-1]).ravel())
    small = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32).ravel()
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    return Fingerprint(int.from_bytes(bits.tobytes(), "big"), small / length if length > _SIDE else small * 0)


def fingerprints(
    workspace: Workspace, images: Iterable[str], progress: Callable[[dict[str, Any]], None] | None = None
) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """Fingerprints of stored images by their ids, and what is wrong with those that are missing or changed."""
    store = ImageStore.of(workspace)
    ids = list(images)
    found: dict[str, Fingerprint] = {}
    broken: dict[str, str] = {}
    with ThreadPoolExecutor(2, thread_name_prefix="fingerprint") as pool:
        for done, (image, result) in enumerate(zip(ids, pool.map(partial(_read, store), ids), strict=True), 1):
            if isinstance(result, Fingerprint):
                found[image] = result
            else:
                broken[image] = result
            if progress:
                progress({"done": done, "total": len(ids)})
    return found, broken


Row = tuple[int, NDArray[np.int64], NDArray[np.float32]]
"""An image, the images after it that nearly repeat it, and their correlations; images are counted from 0."""


def near_rows(found: Sequence[Fingerprint]) -> Iterator[Row]:
    """All near duplicates, each pair once. Ten thousand frames of one scene are fifty million pairs, which only fit
    into memory a row at a time."""
    hashes = np.array([one.dhash for one in found], np.uint64)
    miniatures = np.stack([one.miniature for one in found]) if found else np.zeros((0, _SIDE * _SIDE), np.float32)
    for start in range(0, len(found), _ROWS):
        near = np.bitwise_count(hashes[start : start + _ROWS, None] ^ hashes[None, start:]) <= MAX_BITS
        near = np.triu(near, 1)
        # Where most images are alike, one product of matrices is a hundred times as fast as many of vectors.
        dense = miniatures[start : start + _ROWS] @ miniatures[start:].T if near.sum() * 8 > near.size else None
        for row in np.flatnonzero(near.any(axis=1)).tolist():
            columns = start + np.flatnonzero(near[row])
            correlations = miniatures[columns] @ miniatures[start + row] if dense is None else dense[row, near[row]]
            alike = correlations > MIN_CORRELATION
            if alike.any():
                yield start + row, columns[alike], correlations[alike]


def group_numbers(count: int, rows: Iterable[Row]) -> list[int]:
    """A group number for each of `count` images, from 0 in their order; near duplicates share one, also over others."""
    first = np.arange(count)
    for row, columns, _ in rows:
        joined = np.unique(first[np.append(columns, row)])
        if len(joined) > 1:
            first[np.isin(first, joined)] = joined[0]
    return [int(number) for number in np.unique(first, return_inverse=True)[1].reshape(-1)]


def leaks(workspace: Workspace, train: Sequence[Entry], test: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Each test image that nearly repeats a training image, with the first such image. What cannot be read is left
    out."""
    found, _ = fingerprints(workspace, [entry.image for entry in (*train, *test)])
    sides = [[entry for entry in side if entry.image in found] for side in (train, test)]
    entries, border = [*sides[0], *sides[1]], len(sides[0])
    pairs: dict[int, int] = {}
    for row, columns, _ in near_rows([found[entry.image] for entry in entries]):
        if row >= border:
            break
        for column in columns[columns >= border].tolist():
            pairs.setdefault(column, row)
    return [(entries[column], entries[row]) for column, row in sorted(pairs.items())]


def near_duplicate_groups(workspace: Workspace, entries: Iterable[Entry]) -> dict[str, int]:
    """Group number by image id, so that folds of a cross-validation keep near duplicates on one side.

    An image that cannot be read is a group of its own.
    """
    images = list(dict.fromkeys(entry.image for entry in entries))
    found, broken = fingerprints(workspace, images)
    known = [image for image in images if image in found]
    numbers = group_numbers(len(known), near_rows([found[image] for image in known]))
    alone = {image: len(images) + number for number, image in enumerate(broken)}
    return dict(zip(known, numbers, strict=True)) | alone


def _read(store: ImageStore, image: str) -> Fingerprint | str:
    try:
        data = Path(store.path(image)).read_bytes()
        if hashlib.sha256(data).hexdigest() != image:  # unchanged bytes were decoded in full when they came in
            return "its bytes have changed since it was stored"
        return fingerprint(data)
    except (OSError, NotFoundError) as error:
        return str(error)
