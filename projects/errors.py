"""Every error that Tenshot raises on purpose.

    TenshotError
    ├── UsageError                wrong words on the command line, exit status 2
    ├── SettingsError             a setting that is unknown or out of range
    ├── UnknownNameError          a name that is not in a table (format, backbone, …)
    ├── NotFoundError
    │   ├── ProjectNotFound
    │   ├── DatasetNotFound
    │   ├── VersionNotFound
    │   ├── JobNotFound
    │   ├── RecordNotFound        a usage record
    │   └── AccessKeyNotFound
    ├── ConflictError
    │   ├── AlreadyExists
    │   ├── IllegalTransition     a status change that the noun does not allow
    │   ├── ResourceInUse
    │   └── BudgetExceeded        what a project may cost in this period is used up
    ├── AccessError               nobody, or everybody, could call an endpoint
    │   ├── KeyFileError          the file that seals secrets: missing, exchanged, unreadable
    │   └── CertificateError      files for TLS: missing, unreadable, not of one pair, expired
    ├── StoreError                the database cannot be reached, read or written
    ├── DataError                 what the user handed in is wrong
    │   ├── ImageError            one image: unreadable, too large, not an image
    │   ├── RecordError           one record: carries the file and the line
    │   ├── FormatError           a whole file or folder: not the format it was said to be
    │   ├── EmptyDataError        nothing usable is left
    │   └── RequestError          a request to an endpoint that cannot be answered; carries the HTTP status
    ├── WeightsError              pretrained weights: cannot be fetched, wrong sha256
    ├── TrainingError             a training that cannot start or did not finish
    │   └── JobCancelled
    ├── BundleError               a model version's files: missing, damaged, of another format
    ├── EndpointError             an endpoint that did not start, answer or stop
    ├── ExportError               an export that does not run or does not answer as its version does
    └── MissingDependencyError    an optional part of Tenshot is not installed

The message says what was got and what was expected; the hint says the way out. `code` is what `--json` prints; the
wire codes of the HTTP API are mapped at the edge, not here.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


MOST_LISTED = 40
"""Known names that a message lists; of more it says the number."""


class TenshotError(Exception):
    """The root. `fields` holds the values that the message was made of, for machines."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    @property
    def code(self) -> str:
        return type(self).__name__

    def document(self) -> dict[str, object]:
        """The JSON form: `{"error": {"code", "message", "hint"}}`."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class UsageError(TenshotError):
    exit_status = 2


class SettingsError(TenshotError):
    pass


class UnknownNameError(TenshotError):
    exit_status = 2

    def __init__(self, kind: str, got: str, known: Iterable[str]) -> None:
        names = sorted(set(known))
        expected = ", ".join(names) if len(names) <= MOST_LISTED else f"{len(names)} names"
        super().__init__(f"unknown {kind} {got!r}; expected one of {expected}", hint=did_you_mean(got, names), got=got)


class NotFoundError(TenshotError):
    pass


class ProjectNotFound(NotFoundError):
    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        near = did_you_mean(name, known)
        super().__init__(f"there is no project named {name!r}", hint=near or "see: tenshot project list", name=name)


class DatasetNotFound(NotFoundError):
    pass


class VersionNotFound(NotFoundError):
    pass


class JobNotFound(NotFoundError):
    pass


class RecordNotFound(NotFoundError):
    pass


class AccessKeyNotFound(NotFoundError):
    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no access key {key_id!r}", hint="see: tenshot keys list", id=key_id)


class ConflictError(TenshotError):
    pass


class AlreadyExists(ConflictError):
    pass


class IllegalTransition(ConflictError):
    pass


class ResourceInUse(ConflictError):
    pass


class BudgetExceeded(ConflictError):
    pass


class AccessError(TenshotError):
    pass


class KeyFileError(AccessError):
    pass


class CertificateError(AccessError):
    pass


class StoreError(TenshotError):
    pass


class DataError(TenshotError):
    pass


class ImageError(DataError):
    """`file` is the image as the user named it."""

    def __init__(self, file: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{file}: {reason}", hint=hint, file=file, reason=reason)
        self.file = file
        self.reason = reason


class RecordError(DataError):
    """One bad record. `line` is 1-based, or None where the format has no lines (then `file` alone names the record)."""

    def __init__(self, file: str, line: int | None, reason: str, *, hint: str = "") -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {reason}", hint=hint, file=file, line=line, reason=reason)
        self.file = file
        self.line = line
        self.reason = reason


class FormatError(DataError):
    pass


class EmptyDataError(DataError):
    pass


class RequestError(DataError):
    """`code` is its own word here, because clients of an endpoint tell failures apart by it."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, status=status)
        self.status = status
        self._code = code

    @property
    def code(self) -> str:
        return self._code


class WeightsError(TenshotError):
    pass


class TrainingError(TenshotError):
    pass


class JobCancelled(TrainingError):
    pass


class BundleError(TenshotError):
    pass


class EndpointError(TenshotError):
    pass


class ExportError(TenshotError):
    pass


class MissingDependencyError(TenshotError):
    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"this command needs the package {package!r}, which is not installed",
            hint=f"install the {extra!r} extra: pip install 'tenshot[{extra}]'",
        )


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """A hint with the nearest known names, or an empty string."""
    near = get_close_matches(got, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
