"""What a training changes in its process, put back as it was: random states, threads, deterministic flags."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np

_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED")


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Random states, thread counts, deterministic flags and variables come out as they went in."""
    import cv2
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    cudnn = torch.backends.cudnn.deterministic
    kept = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.deterministic = cudnn
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
