"""A model that MLflow loads: `mlflow.pyfunc.load_model(DIR)`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tenshot.serving.exporting import carrying
from tenshot.serving.exporting.alone import Alone, parsed
from tenshot.serving.exporting.form import Answer, Form
from tenshot.serving.exporting.pins import PREDICT, pinned

LOADER = "tenshot_export_loader"
"""Module in the model's folder `code`."""

_ASK = """
import json, sys
from pathlib import Path
import mlflow.pyfunc, pandas

model = mlflow.pyfunc.load_model(sys.argv[1])
images, asked = json.loads(sys.stdin.read())
answers = []
for least in asked:
    params = {} if least is None else {"min_confidence": float(least)}
    for path in images:
        row = model.predict(pandas.DataFrame({"image": [Path(path).read_bytes()]}), params=params).iloc[0]
        answer = {"labels": json.loads(row["labels"])}
        if row["novelty"] == row["novelty"]:
            answer["novelty"] = row["novelty"]
        answers.append(answer)
sys.stdout.write("\\n" + json.dumps(answers) + "\\n")
"""


class MlflowModel(Form):
    name = "mlflow"
    home = "data/model"

    def write(self) -> None:
        from tenshot.automl.tracking import write_portable_model

        requirements = pinned([*PREDICT, self.runtime])
        parts = self.folder.with_name("parts")
        self.carry(parts / "model")
        carrying.put("mlflow_loader.py", parts, f"{LOADER}.py")
        write_portable_model(self.folder, LOADER, parts / "model", parts / f"{LOADER}.py", requirements)

    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        asked = json.dumps([[str(path) for path in images], list(min_confidence)])
        found = parsed(alone.run("-c", _ASK, self.folder, cwd=alone.scratch, told=asked))
        size = len(images)
        return [found[i * size : (i + 1) * size] for i in range(len(min_confidence))]

    def how_to_run(self) -> list[str]:
        return [
            "python3 -m venv venv && venv/bin/pip install -r requirements.txt",
            "venv/bin/python -c \"import mlflow.pyfunc, pandas, pathlib; m = mlflow.pyfunc.load_model('.'); "
            "print(m.predict(pandas.DataFrame({'image': [pathlib.Path('photo.jpg').read_bytes()]})))\"",
        ]
