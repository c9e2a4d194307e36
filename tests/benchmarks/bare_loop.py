"""The least that anybody can do: decode a JPEG and run the network, one after the other, in one process.

    python bare_loop.py BUNDLE SECONDS PHOTO…

One OpenVINO thread. Prints one JSON document: seconds of every image, of the whole, and of CPU.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle
from pathlib import Path

from tenshot.automl.predictor import Predictor
from tenshot.datasets.images import decode


def main() -> None:
    bundle, seconds, *paths = sys.argv[1:]
    predictor = Predictor.load(Path(bundle), threads=1)
    photos = [Path(path).read_bytes() for path in paths]

    def once(photo: bytes) -> float:
        begun = time.perf_counter()
        predictor.predict([decode(photo, name="photo", max_megapixels=100)])
        return time.perf_counter() - begun

    for photo in photos[:3]:
        once(photo)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()  # several begin together
    begun, cpu = time.perf_counter(), time.process_time()
    found = []
    for photo in cycle(photos):
        found.append(round(once(photo), 7))
        if time.perf_counter() - begun >= float(seconds):
            break
    seconds_taken, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    sys.stdout.write(json.dumps({"latencies_s": found, "seconds": seconds_taken, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
