"""The build context of a container image that answers HTTP requests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tenshot.serving.endpoints.bento import bento_name
from tenshot.serving.exporting import carrying
from tenshot.serving.exporting.alone import Alone
from tenshot.serving.exporting.asking import through_http
from tenshot.serving.exporting.form import Answer, Form, Leaving
from tenshot.serving.exporting.pins import PREDICT, SERVE, pinned

USER = 10001
PORT = 3000
COMMAND = ("python", "app.py")
"""Of the container, in the folder `app`."""

_DOCKERFILE = """\
FROM python:{python}-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# The requirements change more seldom than the model: this layer is built once.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt \\
 && groupadd --gid {user} app \\
 && useradd --uid {user} --gid {user} --no-create-home --shell /usr/sbin/nologin app

COPY --chown=root:root --chmod=755 app/ ./
USER {user}:{user}
ENV PORT={port}
EXPOSE {port}
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \\
  CMD ["python", "app.py", "--check"]
CMD [{command}]
"""


def write_context(form: Form, folder: Path, app: Path) -> None:
    """Dockerfile, .dockerignore, requirements.txt in `folder`, and what the container holds in `app` below it."""
    requirements = pinned([*PREDICT, form.runtime, *SERVE])
    form.carry()
    carrying.put("app.py", app)
    dockerfile = _DOCKERFILE.format(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        user=USER,
        port=PORT,
        command=", ".join(f'"{word}"' for word in COMMAND),
    )
    (folder / "Dockerfile").write_text(dockerfile, "utf-8")
    (folder / ".dockerignore").write_text("*\n!requirements.txt\n!app/\n**/__pycache__\n", "utf-8")
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", "utf-8")


def image_of(leaving: Leaving) -> str:
    """NAME:VERSION, as container images are named."""
    return f"{bento_name(leaving.manifest.project)}:{leaving.manifest.version}"


class Docker(Form):
    name = "docker"
    home = "app"

    def write(self) -> None:
        write_context(self, self.folder, self.model_dir)

    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        # The container's command; there need not be a Docker daemon on the machine that exports.
        return through_http(alone, COMMAND[1:], self.model_dir, images, min_confidence, self.observed)

    def how_to_run(self) -> list[str]:
        image = image_of(self.leaving)
        return [
            f"docker build -t {image} .",
            f"docker run --rm -p {PORT}:{PORT} {image}",
            f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:{PORT}/predict",
        ]
