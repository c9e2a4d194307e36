"""Settings: `configs/default.yaml`, over it `TENSHOT_HOME/config.yaml`, over it `TENSHOT_<SECTION>__<KEY>`.

Strict: an unknown key is refused by its dotted path, with the near ones as the hint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tenshot.projects.errors import SettingsError, did_you_mean

ENV_PREFIX = "TENSHOT_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    url: str | None


class TrackingSettings(_Section):
    uri: str | None
    artifacts: str | None


class CacheSettings(_Section):
    dir: str | None


class ModelSettings(_Section):
    hub_url: str | None = Field(pattern="^https?://")
    assets_url: str | None
    max_bytes: int = Field(gt=0)
    timeout_s: float = Field(gt=0)


class ImageSettings(_Section):
    max_megapixels: float = Field(gt=0)
    jpeg_quality: int = Field(ge=1, le=100)


class JobSettings(_Section):
    heartbeat_s: float = Field(gt=0)
    stale_after_s: float = Field(gt=0)


class MeteringSettings(_Section):
    sinks: tuple[str, ...]
    budget_check_s: float = Field(gt=0)


class TrainingSettings(_Section):
    budget_s: float = Field(gt=0)
    trials: int = Field(ge=1)
    threads: int = Field(ge=0)
    storage_url: str | None


class ServingSettings(_Section):
    host: str
    idle_stop_s: float = Field(ge=0)
    start_timeout_s: float = Field(gt=0)
    stop_grace_s: float = Field(ge=0)
    max_body_bytes: int = Field(gt=0)
    max_batch_size: int = Field(ge=1)
    max_latency_ms: int = Field(ge=1)
    max_in_flight: int = Field(ge=1)
    beat_s: float = Field(gt=0)
    max_restarts: int = Field(ge=0)
    restart_window_s: float = Field(gt=0)
    hang_s: float = Field(gt=0)
    max_memory_mb: float = Field(ge=0)
    unit_threads: int = Field(ge=0)
    scale_out_s: float = Field(gt=0)
    scale_in_s: float = Field(gt=0)
    target_p95_ms: float = Field(ge=0)
    access_log: Annotated[Literal["json", "off"], BeforeValidator(lambda value: "off" if value is False else value)]
    """YAML reads a bare off as false."""
    log_file_names: bool
    insecure_no_auth: bool
    tls_cert: str | None
    tls_key: str | None
    rate_per_s: float = Field(ge=0)
    rate_burst: int = Field(ge=1)
    header_timeout_s: float = Field(gt=0)
    max_connections: int = Field(ge=1)


class Settings(_Section):
    store: StoreSettings
    tracking: TrackingSettings
    cache: CacheSettings
    models: ModelSettings
    images: ImageSettings
    jobs: JobSettings
    metering: MeteringSettings
    training: TrainingSettings
    serving: ServingSettings


def load(home: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read all three layers. Raises SettingsError naming the dotted path, what was got and what was expected."""
    values = yaml.safe_load((files("tenshot.configs") / "default.yaml").read_text("utf-8"))
    own = home / "config.yaml"
    if own.is_file():
        _merge(values, _read(own), str(own))
    for path, value, name in _from_environment(os.environ if environ is None else environ):
        _merge(values, {path[0]: {path[1]: value}}, name)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {dotted}: got {first['input']!r}; {first['msg'][:1].lower()}{first['msg'][1:]}",
            hint="docs/settings.md lists every setting with its unit",
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="mend the file or remove it") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}", hint="mend the file or remove it") from None
    if not isinstance(loaded or {}, dict):
        raise SettingsError(f"{path}: got a {type(loaded).__name__}, expected sections of settings")
    return loaded or {}


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[list[str], Any, str]]:
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and "__" in name:
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError:
                raise SettingsError(
                    f"{name}: got {text!r}, which is no value", hint="put a text with special characters into quotes"
                ) from None
            yield name.removeprefix(ENV_PREFIX).lower().split("__", 1), value, name


def _merge(values: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    for section, keys in changes.items():
        if section not in values:
            raise SettingsError(f"{where}: unknown section {section!r}", hint=did_you_mean(str(section), values))
        if keys is None:  # every key of it is commented out
            continue
        if not isinstance(keys, dict):
            raise SettingsError(f"{where}: section {section!r} must hold keys, got {keys!r}")
        for key, value in keys.items():
            if key not in values[section]:
                near = did_you_mean(str(key), values[section])
                raise SettingsError(f"{where}: unknown setting {section}.{key} (got {value!r})", hint=near)
            values[section][key] = value
