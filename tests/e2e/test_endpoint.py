"""Real endpoints of tiny bundles, over real HTTP, with real processes that are killed."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from fixtures_serving import colour_classifier, picture, trained

from tenshot.projects.errors import EndpointError
from tenshot.projects.metering import journal
from tenshot.projects.status import Task, VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import control
from tenshot.serving.endpoints.layout import EndpointFiles

pytestmark = pytest.mark.slow

MAX_BODY = 200_000
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def until(condition, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return found


def configured(home: Path, **serving) -> Workspace:
    home.mkdir(parents=True, exist_ok=True)
    settings = {"beat_s": 0.5, "stop_grace_s": 5.0, "max_body_bytes": MAX_BODY} | serving
    (home / "config.yaml").write_text(json.dumps({"serving": settings}), "utf-8")
    return Workspace(home)


def processes_of(workspace: Workspace) -> list[int]:
    """Every process that names this home in its command line, or works in it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
            mine = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not mine and any(str(workspace.home) in word for word in words):
            found.append(process.pid)
    return found


def supervisor_of(endpoint) -> int:
    children = psutil.Process(endpoint.supervisor_pid).children()
    assert len(children) == 1, "a keeper has one supervisor"
    return children[0].pid


def server_of(endpoint) -> int:
    children = psutil.Process(supervisor_of(endpoint)).children()
    assert len(children) == 1, "one worker a unit"
    return children[0].pid


def status(workspace, ref="colours@1"):
    return workspace.resolve(ref).status


def seconds_in_service(workspace):
    return sum(r.quantity for r in workspace.store.usage() if r.unit == "inference_unit_second")


def images_counted(workspace):
    journal.collect(workspace.store, workspace.home / "endpoints")
    return sum(r.quantity for r in workspace.store.usage() if r.unit == "image")


@pytest.fixture
def own(tmp_path):
    """A workspace with a trained classifier; whatever runs in it at the end is killed and is a failure."""
    workspace = configured(tmp_path / "home")
    trained(workspace)
    yield workspace
    left = processes_of(workspace)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    workspace.store.close()
    assert not left


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One endpoint for all tests that only talk to it."""
    workspace = configured(tmp_path_factory.mktemp("running") / "home")
    result = control.start(workspace, trained(workspace, novelty=True))
    with httpx.Client(base_url=result.url, timeout=30) as client:
        yield workspace, client
    control.stop(workspace, "colours@1")
    assert not processes_of(workspace)


def post(client, body, content_type="image/png", **query):
    return client.post("/predict", content=body, headers={"Content-Type": content_type}, params=query)


# Answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "name"), [(RED, "red"), (GREEN, "green"), (BLUE, "blue")])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_raw_bodies(running, colour, name, form):
    answer = post(running[1], picture(colour, form=form), f"image/{form.lower()}")
    assert answer.status_code == 200
    document = answer.json()
    assert document["model"] == "colours@1"
    [entry] = document["images"]
    assert [label["name"] for label in entry["labels"]] == [name]
    assert 90 < entry["labels"][0]["confidence"] <= 100
    assert entry["labels"][0]["box"] is None


def test_form_with_several_files_and_options(running):
    files = [("image", ("r.png", picture(RED))), ("other", ("b.png", picture(BLUE)))]
    answer = running[1].post("/predict", files=files, data={"min_confidence": "0", "max_results": "2"})
    images = answer.json()["images"]
    assert [entry["image"] for entry in images] == ["r.png", "b.png"]
    assert [entry["labels"][0]["name"] for entry in images] == ["red", "blue"]
    assert all(len(entry["labels"]) == 2 for entry in images)


def test_an_image_unlike_the_training_images_has_no_label(running):
    files = [("image", ("r.png", picture(RED))), ("image", ("w.png", picture((255, 255, 255))))]
    red, white = running[1].post("/predict", files=files).json()["images"]
    assert red["novelty"] == 0
    assert [label["name"] for label in red["labels"]] == ["red"]
    assert white["novelty"] > 0.99
    assert white["labels"] == []
    everything = running[1].post("/predict", files=files[1:], data={"min_confidence": "0"}).json()["images"][0]
    assert len(everything["labels"]) == 3
    assert all(label["confidence"] < 1 for label in everything["labels"])


def test_json_with_one_and_with_several(running):
    red, blue = (base64.b64encode(picture(colour)).decode() for colour in (RED, BLUE))
    one = running[1].post("/predict", json={"image": red}).json()["images"]
    two = (
        running[1]
        .post("/predict", json={"images": [red, blue], "min_confidence": 0, "max_results": 1})
        .json()["images"]
    )
    assert [entry["labels"][0]["name"] for entry in one + two] == ["red", "red", "blue"]


def test_a_bad_image_among_good_ones_has_an_error(running):
    files = [("image", ("good.png", picture())), ("image", ("bad.png", b"nothing"))]
    answer = running[1].post("/predict", files=files)
    good, bad = answer.json()["images"]
    assert answer.status_code == 200
    assert good["labels"]
    assert "error" not in good
    assert bad["error"]["code"] == "ImageError"
    assert bad["labels"] == []


def test_batches_are_answered_in_order(running):
    """Many at once: the batcher puts different images together, and each caller gets its own answer."""
    wanted = [random.Random(i).choice([(RED, "red"), (GREEN, "green"), (BLUE, "blue")]) for i in range(60)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda want: post(running[1], picture(want[0])), wanted))
    assert [a.json()["images"][0]["labels"][0]["name"] for a in answers] == [name for _, name in wanted]
    metrics = running[1].get("/metrics").text
    assert "tenshot_batch_size_bucket" in metrics


def test_detector(tmp_path):
    workspace = configured(tmp_path / "home")
    trained(workspace, "halves", Task.DETECTION)
    try:
        url = control.start(workspace, "halves").url
        from PIL import Image

        image = Image.new("RGB", (64, 64), RED)
        image.paste(BLUE, (32, 0, 64, 64))
        image.save(tmp_path / "i.png")
        labels = httpx.post(
            f"{url}/predict", content=(tmp_path / "i.png").read_bytes(), headers={"Content-Type": "image/png"}
        )
        found = labels.json()["images"][0]["labels"]
        assert {label["name"]: label["box"] for label in found} == {
            "red": {"left": 0, "top": 0, "width": 0.5, "height": 1},
            "blue": {"left": 0.5, "top": 0, "width": 0.5, "height": 1},
        }
    finally:
        control.stop(workspace, "halves")


# Other routes -------------------------------------------------------------------------------------------------------


def test_service_routes(running):
    _, client = running
    assert client.get("/readyz").status_code == client.get("/livez").status_code == 200
    document = client.get("/docs.json").json()
    assert set(document["paths"]["/predict"]["post"]["responses"]) >= {"200", "400", "413", "415", "503"}
    page = client.get("/")
    assert "swagger-ui" in page.text
    assert "http" not in page.text.replace("https://", "http"), "the page loads something from elsewhere"
    assert client.get("/static_content/swagger-ui-bundle.js").status_code == 200


def test_metrics_by_version(running):
    _, client = running

    def value(name):
        lines = client.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and "colours@1" in line
        )

    names = (
        "tenshot_requests_total",
        "tenshot_images_total",
        "tenshot_bad_images_total",
        "tenshot_request_seconds_count",
    )
    before = [value(name) for name in names]
    post(client, picture())
    post(client, b"junk")
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [2, 1, 1, 2]
    assert value("tenshot_in_flight") == 0


def test_nothing_of_training_in_the_process(running):
    workspace, _ = running
    [endpoint] = workspace.store.endpoints()
    for pid in (endpoint.supervisor_pid, supervisor_of(endpoint), server_of(endpoint)):
        maps = Path(f"/proc/{pid}/maps").read_text("utf-8")
        for name in ("torch", "pytorch_lightning", "optuna", "ultralytics", "mlflow"):
            assert f"/{name}/" not in maps
    code = (
        "import sys, tenshot.serving.endpoints.worker, tenshot.serving.endpoints.supervisor\n"
        "import tenshot.serving.endpoints.service\n"
        "import tenshot.serving.endpoints.web, _bentoml_impl.server.app, uvicorn, openvino\n"
        "print([m for m in ('torch', 'pytorch_lightning', 'optuna', 'ultralytics', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workspace.home, env=os.environ
    )
    assert done.stdout.strip() == "[]"


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NotFound"),
        ("POST", "/infer", 404, "NotFound"),
        ("GET", "/predict", 405, "MethodNotAllowed"),
    ],
)
def test_unknown_routes_and_methods(running, method, path, status, code):
    answer = running[1].request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def bomb():
    """A PNG of 40 000 × 40 000 pixels in a few bytes: only its header is ever read."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        pytest.param(b"", "image/png", 400, id="empty"),
        pytest.param(b"not an image", "image/png", 400, id="text"),
        pytest.param(picture(size=(200, 200))[:-30], "image/png", 400, id="truncated-png"),
        pytest.param(picture(size=(200, 200), form="JPEG")[:400], "image/jpeg", 400, id="truncated-jpeg"),
        pytest.param(bomb(), "image/png", 400, id="bomb"),
        pytest.param(b"{}", "application/json", 400, id="empty-json"),
        pytest.param(b"[" * 100_000, "application/json", 400, id="deep-json"),
        pytest.param(b'{"image": "AAAA", "min_confidence": 1e999}', "application/json", 400, id="infinite"),
        pytest.param(b'{"image": "AAAA", "max_results": ' + b"9" * 5000 + b"}", "application/json", 400, id="huge"),
        pytest.param(b'{"image": "\\ud800"}', "application/json", 400, id="half-a-surrogate-pair"),
        pytest.param(b"x", "multipart/form-data; boundary=b", 400, id="form"),
        pytest.param(b"x", "text/html", 415, id="html"),
        pytest.param(b"0" * (MAX_BODY + 1), "image/png", 413, id="too-large"),
    ],
)
def test_bad_bodies_get_a_code(running, body, content_type, status):
    answer = post(running[1], body, content_type)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "hint", "request_id"}
    assert post(running[1], picture()).status_code == 200


def test_too_large_without_a_length(running):
    def chunks():
        for _ in range(30):
            yield b"0" * 10_000

    answer = running[1].post("/predict", content=chunks(), headers={"Content-Type": "image/png"})
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.status_code == 413


def test_survives_fuzz(running):
    """Bytes from nowhere in every kind of body and in the protocol itself: always an answer, never an end."""
    workspace, client = running
    [endpoint] = workspace.store.endpoints()
    server = server_of(endpoint)
    dice = random.Random(7)
    good = {form: picture(size=(90, 70), form=form) for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}
    types = [
        "image/png",
        "application/json",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "\xe4/\xf6",
        "image/",
    ]
    for turn in range(250):
        body = bytearray(dice.choice([*good.values(), dice.randbytes(dice.randrange(2000))]))
        for _ in range(dice.randrange(1, 20)):
            if body:
                body[dice.randrange(len(body))] = dice.randrange(256)
        if dice.random() < 0.3:
            body = body[: dice.randrange(len(body) + 1)]
        kind = dice.choice(types)
        if "json" in kind:
            body = json.dumps({"image": base64.b64encode(body).decode()[dice.randrange(3) :]}).encode()
        headers = {b"Content-Type": kind.encode("latin-1")}
        answer = client.post("/predict", content=bytes(body), headers=headers)
        assert answer.status_code in (200, 400, 415), (turn, answer.text)
    for junk in (
        b"\0" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"X" * 100_000,
    ):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as raw:
            try:
                raw.sendall(junk)
                raw.shutdown(socket.SHUT_WR)
                raw.recv(1000)
            except (ConnectionError, TimeoutError):
                pass  # it may hang up, and nothing else
    assert server_of(endpoint) == server
    assert post(client, picture()).status_code == 200


def test_a_caller_who_hangs_up_does_no_harm(running):
    workspace, client = running
    [endpoint] = workspace.store.endpoints()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", endpoint.port)) as raw:
            raw.sendall(head)
    until(lambda: 'tenshot_in_flight{version="colours@1"} 0.0' in client.get("/metrics").text, "nothing in flight")
    assert post(client, picture()).status_code == 200


def test_overload(tmp_path):
    """Requests that never end sending fill the endpoint; the next one is told to come back."""
    workspace = configured(tmp_path / "home", max_in_flight=3)
    url = control.start(workspace, trained(workspace)).url
    port = int(url.rpartition(":")[2])
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    held = []
    try:
        for _ in range(3):
            held.append(socket.create_connection(("127.0.0.1", port)))
            held[-1].sendall(head)
        until(
            lambda: 'tenshot_in_flight{version="colours@1"} 3.0' in httpx.get(f"{url}/metrics").text, "three in flight"
        )
        answer = httpx.post(f"{url}/predict", content=picture(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["error"]["code"] == "Overloaded"
        assert httpx.get(f"{url}/readyz").status_code == 200
        held.pop().close()
        until(
            lambda: (
                httpx.post(f"{url}/predict", content=picture(), headers={"Content-Type": "image/png"}).status_code
                == 200
            ),
            "room again",
        )
    finally:
        for one in held:
            one.close()
        control.stop(workspace, "colours@1")
    assert images_counted(workspace) == 1


# Life and death -----------------------------------------------------------------------------------------------------


def test_start_answer_stop_and_the_bill(own):
    result = control.start(own, "colours@1", units=2, idle_stop_s=0)
    ready = result.endpoint.ready_at
    assert result.state is VersionStatus.RUNNING
    assert status(own) is VersionStatus.RUNNING
    until(lambda: own.store.endpoints()[0].workers == 2, "both units serve")
    for _ in range(7):
        assert (
            httpx.post(f"{result.url}/predict", content=picture(), headers={"Content-Type": "image/png"}).status_code
            == 200
        )
    httpx.post(f"{result.url}/predict", content=b"junk", headers={"Content-Type": "image/png"})
    asked = time.time()
    stopped = control.stop(own, "colours@1")
    assert stopped.state is status(own) is VersionStatus.STOPPED
    assert control.endpoints(own) == []
    first, second = (r for r in own.store.usage() if r.unit == "inference_unit_second")
    assert first.start == ready
    for worker in (first, second):
        assert asked <= worker.end <= asked + stopped.seconds
        assert worker.quantity == worker.end - worker.start
    assert images_counted(own) == 7, "a bad image is not work"
    assert not own.store.open_meters()
    assert control.stop(own, "colours@1").state is VersionStatus.STOPPED
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{result.url}/livez")


def test_two_starts_at_the_same_moment_are_one_endpoint(own):
    code = (
        "import sys; from tenshot.projects.workspace import Workspace; from tenshot.serving.endpoints import control\n"
        "print(control.start(Workspace.current(), 'colours@1').url)"
    )
    env = {**os.environ, "TENSHOT_HOME": str(own.home)}
    several = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    urls = {process.communicate(timeout=120)[0].strip() for process in several}
    assert [process.returncode for process in several] == [0, 0, 0]
    assert len(urls) == 1
    assert len(own.store.endpoints()) == 1
    assert len(processes_of(own)) == 3, "one keeper, one supervisor, one server"
    control.stop(own, "colours@1")


def test_a_killed_server_is_replaced_and_the_gap_is_not_billed(own):
    result = control.start(own, "colours@1")
    old = server_of(result.endpoint)
    crashed = time.time()
    os.kill(old, signal.SIGKILL)
    until(lambda: status(own) is VersionStatus.STARTING, "the crash is seen")
    until(lambda: status(own) is VersionStatus.RUNNING, "the server is back", 60)
    [endpoint] = own.store.endpoints()
    assert endpoint.restarts == 1
    assert endpoint.port == result.endpoint.port
    assert server_of(endpoint) != old
    assert (
        httpx.post(f"{result.url}/predict", content=picture(), headers={"Content-Type": "image/png"}).status_code == 200
    )
    control.stop(own, "colours@1")
    first, second = sorted(
        (r for r in own.store.usage() if r.unit == "inference_unit_second"), key=lambda record: record.start
    )
    assert first.start == result.endpoint.ready_at
    assert first.end == pytest.approx(crashed, abs=0.1 + own.settings.serving.beat_s)
    assert second.start == endpoint.ready_at > first.end


def test_a_server_that_keeps_crashing_fails_with_the_reason(tmp_path):
    workspace = configured(tmp_path / "home", max_restarts=1)
    endpoint = control.start(workspace, trained(workspace)).endpoint
    for _ in range(2):
        until(lambda: status(workspace) is VersionStatus.RUNNING, "running", 60)
        os.kill(server_of(endpoint), signal.SIGKILL)
        until(lambda: status(workspace) is not VersionStatus.RUNNING, "the crash is seen")
    until(lambda: status(workspace) is VersionStatus.FAILED, "given up")
    until(lambda: not workspace.store.endpoints(), "off the record, a moment later")
    [view] = control.endpoints(workspace)
    assert (view.state, view.endpoint) == (VersionStatus.FAILED, None)
    assert "signal 9" in view.message
    assert "after 1 restarts" in view.message
    until(lambda: not processes_of(workspace), "nothing is left")
    assert not workspace.store.open_meters()
    control.start(workspace, "colours@1")
    assert control.stop(workspace, "colours@1").state is VersionStatus.STOPPED


def test_what_was_killed_altogether_is_back_with_the_next_command(own):
    result = control.start(own, "colours@1", idle_stop_s=1234)
    control.set_wake_on_request(own, "colours@1", True)
    started = time.time()
    family = [psutil.Process(pid) for pid in (supervisor_of(result.endpoint), server_of(result.endpoint))]
    until(lambda: own.store.open_meters()[0].quantity > 0, "a beat")
    killed = time.time()
    os.kill(result.endpoint.supervisor_pid, signal.SIGKILL)
    until(
        lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in family), "all end with it"
    )
    [view] = control.endpoints(own)
    assert view.state in (VersionStatus.STARTING, VersionStatus.RUNNING)
    assert 0 < seconds_in_service(own) <= killed - started + 0.3, "closed at the last beat"
    until(lambda: status(own) is VersionStatus.RUNNING, "back")
    [endpoint] = own.store.endpoints()
    assert (endpoint.port, endpoint.restarts, endpoint.idle_stop_s, endpoint.wake_on_request) == (
        result.endpoint.port,
        1,
        1234,
        True,
    )
    assert httpx.get(f"{result.url}/readyz").status_code == 200
    assert control.stop(own, "colours@1").state is VersionStatus.STOPPED


def test_a_stop_does_not_bring_back_what_was_killed(own):
    result = control.start(own, "colours@1")
    os.kill(result.endpoint.supervisor_pid, signal.SIGKILL)
    assert control.stop(own, "colours@1").state is VersionStatus.STOPPED
    until(lambda: not processes_of(own), "nothing is left")
    assert not own.store.open_meters()


def test_stop_kills_what_does_not_end(tmp_path):
    workspace = configured(tmp_path / "home", stop_grace_s=0.2)
    result = control.start(workspace, trained(workspace))
    server = server_of(result.endpoint)
    for pid in (result.endpoint.supervisor_pid, supervisor_of(result.endpoint), server):
        os.kill(pid, signal.SIGSTOP)
    control_margin, control.MARGIN_S = control.MARGIN_S, 2.0
    try:
        assert control.stop(workspace, "colours@1").state is VersionStatus.STOPPED
    finally:
        control.MARGIN_S = control_margin
    assert not processes_of(workspace)
    assert not workspace.store.open_meters()


def test_a_request_in_flight_is_answered_before_the_end(own):
    result = control.start(own, "colours@1")
    body = picture()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", result.endpoint.port)) as raw:
        raw.sendall(head.encode() + body[:10])
        until(
            lambda: 'tenshot_in_flight{version="colours@1"} 1.0' in httpx.get(f"{result.url}/metrics").text, "in flight"
        )
        stopping = threading.Thread(target=control.stop, args=(Workspace(own.home), "colours@1"))
        stopping.start()
        until(lambda: status(own) is VersionStatus.STOPPING, "stopping")
        raw.sendall(body[10:])
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
    stopping.join(30)
    assert status(own) is VersionStatus.STOPPED
    assert images_counted(own) == 1


def test_idle_endpoints_stop(own):
    result = control.start(own, "colours@1", idle_stop_s=1.5)
    until(lambda: status(own) is VersionStatus.STOPPED, "idle stop", 20)
    assert "nobody called it for 1.5s" in own.resolve("colours@1").status_message
    until(lambda: not processes_of(own), "nothing is left")
    assert result.endpoint.idle_stop_s == 1.5
    assert seconds_in_service(own) >= 1.5


def test_a_taken_port_is_an_error_and_leaves_nothing(own):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EndpointError, match=rf"cannot listen on 127.0.0.1:{port}"):
            control.start(own, "colours@1", port=port)
    assert control.endpoints(own) == []
    assert status(own) is VersionStatus.TRAINING_COMPLETED


def test_a_damaged_bundle_fails_with_the_reason_and_can_be_mended(own):
    bundle = own.bundle_dir("colours", 1)
    (bundle / "model.bin").write_bytes(b"broken")
    with pytest.raises(EndpointError, match=r"model\.bin"):
        control.start(own, "colours@1")
    [view] = control.endpoints(own)
    assert view.state is VersionStatus.FAILED
    assert "damaged" in view.message
    colour_classifier(bundle)
    assert control.start(own, "colours@1").state is VersionStatus.RUNNING
    assert control.stop(own, "colours@1").state is VersionStatus.STOPPED


def test_a_server_that_never_gets_ready_fails_in_time(tmp_path):
    workspace = configured(tmp_path / "home", start_timeout_s=0.05)
    with pytest.raises(EndpointError, match="not ready after 50ms"):
        control.start(workspace, trained(workspace))
    assert status(workspace) is VersionStatus.FAILED
    until(lambda: not processes_of(workspace), "nothing is left")
    assert seconds_in_service(workspace) == 0


def test_the_bento_is_built_once(own):
    control.start(own, "colours@1")
    control.stop(own, "colours@1")
    [bento] = own.home.glob("bentoml/bentos/colours/1-*/bento.yaml")
    built = bento.stat().st_mtime_ns
    control.start(own, "colours@1")
    control.stop(own, "colours@1")
    assert bento.stat().st_mtime_ns == built
    assert (bento.parent / "src" / "bundle" / "model.xml").is_file()


# The command line ---------------------------------------------------------------------------------------------------


def tenshot(workspace, *words, status=0):
    program = [sys.executable, "-c", "from tenshot.projects.cli import main; main()", *words]
    done = subprocess.run(
        program, env={**os.environ, "TENSHOT_HOME": str(workspace.home)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def test_commands(own, tmp_path):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    (photos / "red.png").write_bytes(picture(RED))
    (photos / "deep" / "blue.jpg").write_bytes(picture(BLUE, form="JPEG"))
    (photos / "bad.png").write_bytes(b"nothing")

    in_process = tenshot(own, "predict", "colours", str(photos), "--json")
    assert images_counted(own) == 2
    started = tenshot(own, "start", "colours", "--idle-stop", "off", "--json")
    assert started["state"] == "RUNNING"
    assert {"url", "state", "seconds"} <= set(started)
    [listed] = tenshot(own, "endpoints", "--json")["endpoints"]
    assert (listed["version"], listed["url"], listed["idle_stop_s"]) == ("colours@1", started["url"], 0)
    through = tenshot(own, "predict", "colours", str(photos), "--json", "--save", str(tmp_path / "drawn"))
    assert images_counted(own) == 4
    for answers in (in_process, through):
        by_name = {Path(entry["image"]).name: entry for entry in answers["images"]}
        assert by_name["red.png"]["labels"][0]["name"] == "red"
        assert by_name["blue.jpg"]["labels"][0]["name"] == "blue"
        assert by_name["bad.png"]["error"]["code"] == "ImageError"
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["blue.jpg", "red.jpg"]
    tenshot(own, "predict", "colours", str(photos / "bad.png"), status=1)
    assert "ready at" in tenshot(own, "logs", "colours@1")
    assert tenshot(own, "stop", "colours@1", "--json")["state"] == "STOPPED"
    usage = {row["unit"]: row["quantity"] for row in tenshot(own, "usage", "--by", "project", "--json")["rows"]}
    assert usage["image"] == 4
    assert usage["inference_unit_second"] > 0


def test_log_can_be_followed(own):
    control.start(own, "colours@1")
    lines: list[str] = []
    follower = control.logs(own, "colours@1", follow=True)
    lines.append(next(follower))
    control.stop(own, "colours@1")
    assert any("ready at" in line for line in lines)
    log = EndpointFiles.of(own, own.resolve("colours@1")).log
    assert "stopped on request" in log.read_text("utf-8")
