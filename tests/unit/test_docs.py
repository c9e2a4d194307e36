"""The documents say what the code does: every verb, option, setting, format and error; every link leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
COVERED_BY_EVERY_COMMAND = {"--json", "--debug", "--help"}


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
COMMANDS: dict[str, Any] = dict(generate.commands())


def options(command: Any) -> set[str]:
    return {flag for p in command.params if p.param_type_name == "option" for flag in (*p.opts, *p.secondary_opts)}


def shell_lines() -> Iterator[tuple[str, str]]:
    """`(page, line)` of every `tenshot …` line in the code blocks of the pages."""
    for page in PAGES:
        inside = False
        for line in page.read_text("utf-8").splitlines():
            if line.startswith("```"):
                inside = not inside
            elif inside and re.match(r"(\$ )?tenshot [a-z]", line):
                yield page.name, line.removeprefix("$ ").partition("  #")[0].strip()


@pytest.mark.parametrize("page", list(generate.PAGES))
def test_generated_pages_are_up_to_date(page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == generate.PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("path", list(COMMANDS))
def test_every_command_and_option_is_described(path: str) -> None:
    section = (DOCS / "commands.md").read_text("utf-8").partition(f"## {path}\n")[2].partition("\n## ")[0]
    command = COMMANDS[path]
    assert generate.plain(command.help or "") in section
    assert len(generate.plain(command.help or "")) > 10, "a command without help"
    assert [flag for flag in options(command) - COVERED_BY_EVERY_COMMAND if flag not in section] == []


@pytest.mark.parametrize("path", list(COMMANDS))
def test_every_command_takes_json_and_debug(path: str) -> None:
    assert options(COMMANDS[path]) >= {"--json", "--debug"}


@pytest.mark.parametrize("path", list(COMMANDS))
def test_every_option_has_a_help_text(path: str) -> None:
    command = COMMANDS[path]
    assert [p.name for p in command.params if p.param_type_name == "option" and not getattr(p, "help", None)] == []


@pytest.mark.parametrize("verb", sorted({path.split()[1] for path in COMMANDS}))
def test_readme_names_every_verb(verb: str) -> None:
    assert f"tenshot {verb}" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("page", "line"), list(shell_lines()))
def test_commands_in_the_pages_exist(page: str, line: str) -> None:
    words = shlex.split(re.sub(r"\s*[|<>].*", "", line))
    path = next((p for p in (" ".join(words[:3]), " ".join(words[:2])) if p in COMMANDS), None)
    assert path, f"{page}: there is no command {line!r}"
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used - options(COMMANDS[path]) - {"--help"} == set(), f"{page}: {line}"


def _settings() -> list[tuple[str, str]]:
    import yaml

    values = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text("utf-8"))
    return [(f"{section}.{key}", str(value)) for section, keys in values.items() for key, value in keys.items()]


@pytest.mark.parametrize("name", [name for name, _ in _settings()])
def test_every_setting_is_described(name: str) -> None:
    line = next((x for x in (DOCS / "settings.md").read_text("utf-8").splitlines() if f"`{name}`" in x), "")
    assert len(line.split("|")[3].strip()) > 10


def test_every_format_is_described() -> None:
    from tenshot.datasets.formats import FORMATS

    text = (DOCS / "formats.md").read_text("utf-8")
    assert [name for name in FORMATS if not re.search(rf"^## .*`{re.escape(name)}`", text, re.MULTILINE)] == []


def test_every_priced_unit_is_described() -> None:
    import yaml

    text = (DOCS / "usage.md").read_text("utf-8")
    units = yaml.safe_load((ROOT / "configs" / "prices.yaml").read_text("utf-8"))["units"]
    assert [unit for unit in units if f"`{unit}`" not in text] == []


def test_every_sink_is_described() -> None:
    from tenshot.projects.metering.sinks import SINKS

    text = (DOCS / "usage.md").read_text("utf-8")
    assert [name for name in SINKS if f"| `{name}` |" not in text] == []


def anchors(page: Path) -> set[str]:
    """As the usual renderers make them: lower case, spaces to hyphens, punctuation gone."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_the_readme_picture_is_small() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert pictures
    assert all((ROOT / picture).stat().st_size <= 200_000 for picture in pictures)


def test_the_readme_session_runs(tmp_path: Path) -> None:
    """The block marked `<!-- executed -->` is run as it stands, in an empty folder with tiny photos in `photos/`."""
    text = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"<!-- executed -->\n```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block
    make_photos(tmp_path / "photos")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TENSHOT_")}
    environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block[1]],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".tenshot" / "tenshot.db").is_file()


def make_photos(folder: Path) -> None:
    import cv2
    import numpy as np

    draw = np.random.default_rng(0)
    for label, colour in (("good", 60), ("scratched", 180)):
        (folder / label).mkdir(parents=True)
        for i in range(5):
            pixels = np.clip(draw.normal(colour, 20, (64, 80, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{i}.jpg"), pixels)


def test_help_is_the_same_words_as_the_page() -> None:
    done = subprocess.run(
        [str(Path(sysconfig.get_path("scripts")) / "tenshot"), "--help"], capture_output=True, text=True, check=True
    )
    assert [verb for verb in sorted({p.split()[1] for p in COMMANDS}) if verb not in done.stdout] == []
