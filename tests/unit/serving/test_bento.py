"""Bentos that a killed process left half built."""

import os
import shutil
import subprocess
import sys

from fixtures_serving import colour_classifier

from tenshot.serving.endpoints import bento

CODE = """
import sys
from pathlib import Path
from tenshot.serving.endpoints import bento
print(bento.ensure(*map(Path, sys.argv[1:])))
"""


def build(home, bundle):
    """In a process of its own: BentoML reads its environment at its import."""
    environ = {**os.environ, "PYTHONSAFEPATH": "1"}
    bento.prepare_environment(home, environ)
    words = [sys.executable, "-c", CODE, str(home), str(bundle)]
    done = subprocess.run(words, env=environ, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_half_built_bento_is_built_again(tmp_path):
    bundle, home = tmp_path / "bundle", tmp_path / "home"
    home.mkdir()
    manifest = colour_classifier(bundle)
    name, number = bento.tag_of(bundle)
    half = bento.store_dir(home) / "bentos" / name / number
    half.mkdir(parents=True)
    (half / "bento.yaml").write_text("service: service:service\n", "utf-8")
    assert build(home, bundle) == str(half)
    served = half / "src" / "bundle"
    assert all((served / file).is_file() for file in manifest.files)
    shutil.rmtree(served)  # whole ones are taken as they are: the network's files are checked when they are loaded
    assert build(home, bundle) == str(half)
    assert not served.exists()
