"""A recipe in the words of Ultralytics' trainer. Names only: nothing of it is imported here."""

from __future__ import annotations

from typing import Any

from tenshot.automl.detectors.recipe import Recipe


def arguments(recipe: Recipe, images: int, seed: int, folder: str) -> dict[str, Any]:
    """Ultralytics' arguments. Its own defaults that a ten-image run cannot use are named here."""
    batch = min(recipe.batch, images)
    return {
        "data": None,
        "task": "detect",
        "mode": "train",
        "device": "cpu",
        "project": folder,
        "name": "run",
        "imgsz": recipe.image_size,
        "epochs": recipe.epochs,
        "batch": batch,
        "nbs": batch,  # the default of 64 would gather gradients over more images than there are
        "optimizer": "AdamW",  # `auto` ignores lr0
        "lr0": recipe.lr,
        "lrf": recipe.lr_final,
        "momentum": 0.9,
        "cos_lr": True,
        "weight_decay": recipe.weight_decay,
        "warmup_epochs": recipe.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "freeze": recipe.freeze or None,
        "box": recipe.box_gain,
        "cls": recipe.class_gain,
        "dfl": recipe.dfl_gain,
        "mosaic": recipe.mosaic,
        "close_mosaic": recipe.close_mosaic if recipe.mosaic else 0,
        "mixup": recipe.mixup,
        "scale": recipe.scale,
        "translate": recipe.translate,
        "degrees": recipe.degrees,
        "fliplr": recipe.fliplr,
        "flipud": recipe.flipud,
        "hsv_h": recipe.hsv_h,
        "hsv_s": recipe.hsv_s,
        "hsv_v": recipe.hsv_v,
        "multi_scale": recipe.multi_scale,
        "seed": seed,
        "deterministic": True,
        "workers": 0,
        "amp": False,
        "val": False,
        "save": False,
        "plots": False,
        "cache": False,
        "patience": 0,
        "verbose": False,
    }
