"""A Bento: BentoML's own form of a service, as a folder and as an archive."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.serving.endpoints.bento import bento_name
from tenshot.serving.exporting import carrying
from tenshot.serving.exporting.alone import Alone
from tenshot.serving.exporting.asking import through_http
from tenshot.serving.exporting.form import Answer, Form
from tenshot.serving.exporting.pins import PREDICT, pinned

if TYPE_CHECKING:
    from collections.abc import Mapping

# The Bento is built and packed where Tenshot cannot be imported, so that nothing of it gets in.
_BUILD = """
import json, sys
import bentoml

context, told = sys.argv[1], json.loads(sys.argv[2])
built = bentoml.bentos.build("service:ExportedModel", build_ctx=context, include=["**"], **told)
sys.stdout.write("\\n" + json.dumps(str(built.path)) + "\\n")
"""
_PACK = """
import sys
from bentoml._internal.bento import Bento

Bento.from_path(sys.argv[1]).export(sys.argv[2], output_format="bento")
"""


class Bento(Form):
    name = "bento"
    home = "src"

    def write(self) -> None:
        self.requirements = pinned([*PREDICT, self.runtime, "bentoml"])
        self.carry()
        for name in ("app.py", "service.py"):
            carrying.put(name, self.model_dir)

    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        self._alone = alone
        self._build(alone)
        words = ("-m", "bentoml", "serve", self.folder, "--host", "127.0.0.1", "--port", "{port}")
        return through_http(alone, words, alone.scratch, images, min_confidence, self.observed)

    def finish(self) -> None:
        # Packed last, with the card that has the check's figures.
        packed = self._alone.scratch / self._archive
        self._alone.run("-c", _PACK, self.folder, packed, cwd=self._alone.scratch)
        shutil.move(packed, self.folder / self._archive)

    def how_to_run(self) -> list[str]:
        return [
            "python3 -m venv venv && venv/bin/pip install -r env/python/requirements.txt",
            "venv/bin/bentoml serve .",
            "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:3000/predict",
        ]

    @property
    def _archive(self) -> str:
        manifest = self.leaving.manifest
        return f"{bento_name(manifest.project)}-{manifest.version}.bento"

    def _build(self, alone: Alone) -> None:
        """What `write` put into src becomes a whole Bento around it."""
        import json

        from tenshot.serving.exporting.alone import parsed

        context = alone.scratch / "context"
        self.model_dir.rename(context) if _same_device(self.model_dir, alone.scratch) else shutil.move(
            self.model_dir, context
        )
        built = parsed(alone.run("-c", _BUILD, context, json.dumps(self._told()), cwd=alone.scratch))
        shutil.copytree(built, self.folder, dirs_exist_ok=True)

    def _told(self) -> Mapping[str, object]:
        manifest = self.leaving.manifest
        return {
            "name": bento_name(manifest.project),
            "version": str(manifest.version),
            "labels": {"task": str(manifest.task), "version": str(manifest.version)},
            "python": {"packages": self.requirements, "lock_packages": False},
            "description": f"{self.leaving.ref}, exported from Tenshot.",
        }


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
