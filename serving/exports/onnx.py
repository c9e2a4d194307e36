"""The network as ONNX, for ONNX Runtime, with a predict.py beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenshot.serving.exporting.alone import Alone, command_line
from tenshot.serving.exporting.form import Answer, Form
from tenshot.serving.exporting.pins import PREDICT, pinned


class Onnx(Form):
    name = "onnx"
    runtime = "onnxruntime"

    def write(self) -> None:
        requirements = pinned([*PREDICT, self.runtime])
        self.carry()
        (self.folder / "requirements.txt").write_text("\n".join(requirements) + "\n", "utf-8")

    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        return [command_line(alone, self.folder, images, least) for least in min_confidence]

    def how_to_run(self) -> list[str]:
        return [
            "python3 -m venv venv",
            "venv/bin/pip install -r requirements.txt",
            "venv/bin/python predict.py photo.jpg",
        ]
