"""Ultralytics behind FastAPI as one would write it first: the model in the process, an image in, boxes out.

MODEL=best.pt uvicorn ultralytics_app:app
"""

from __future__ import annotations

import io
import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from PIL import Image, UnidentifiedImageError
from ultralytics import YOLO

app = FastAPI()
model = YOLO(os.environ["MODEL"])


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    try:
        image = Image.open(io.BytesIO(await request.body())).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise HTTPException(400, str(error)) from None
    found = model(image, imgsz=640, conf=0.25, verbose=False)[0].boxes
    return {"labels": [{"box": b.xyxyn[0].tolist(), "confidence": float(b.conf), "name": int(b.cls)} for b in found]}
