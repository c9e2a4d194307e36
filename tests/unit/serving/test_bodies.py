import asyncio
import base64
import json

import pytest

from tenshot.projects.errors import RequestError
from tenshot.serving.endpoints.bodies import MOST_IMAGES, Ask, Upload, parse

B64 = base64.b64encode(b"picture").decode()


def ask(content_type, body, **query):
    return asyncio.run(parse(content_type, body if isinstance(body, bytes) else json.dumps(body).encode(), query))


def form(*parts):
    lines = b"".join(
        b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts
    )
    return lines + b"--x--\r\n"


PICTURE = (b'name="image"; filename="a.png"', b"picture")


@pytest.mark.parametrize(
    ("content_type", "body", "query", "expected"),
    [
        pytest.param("image/png", b"picture", {}, Ask((Upload("image", b"picture"),)), id="raw"),
        pytest.param(
            "application/octet-stream",
            b"picture",
            {"min_confidence": "50.5", "max_results": "3"},
            Ask((Upload("image", b"picture"),), 50.5, 3),
            id="raw-with-options",
        ),
        pytest.param("application/json", {"image": B64}, {}, Ask((Upload("image", b"picture"),)), id="json"),
        pytest.param(
            "application/json; charset=utf-8",
            {"images": [B64, B64], "min_confidence": 0, "max_results": 0},
            {},
            Ask((Upload("images[0]", b"picture"), Upload("images[1]", b"picture")), 0.0, 0),
            id="json-list",
        ),
        pytest.param(
            "application/json",
            {"image": B64[:4] + "\n" + B64[4:]},
            {},
            Ask((Upload("image", b"picture"),)),
            id="line-break",
        ),
        pytest.param(
            "application/json",
            {"image": B64, "min_confidence": 7},
            {"min_confidence": "50"},
            Ask((Upload("image", b"picture"),), 7.0),
            id="the-document-beats-the-query",
        ),
        pytest.param(
            "multipart/form-data; boundary=x",
            form(PICTURE, (b'name="min_confidence"', b"20")),
            {},
            Ask((Upload("a.png", b"picture"),), 20.0),
            id="form",
        ),
    ],
)
def test_reads(content_type, body, query, expected):
    assert ask(content_type, body, **query) == expected


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        pytest.param("text/plain", b"x", 415, "UnsupportedMediaType", id="text"),
        pytest.param("", b"x", 415, "UnsupportedMediaType", id="no-type"),
        pytest.param("application/json", b"{", 400, "InvalidJson", id="half-json"),
        pytest.param("application/json", b"\xff\xfe\x00", 400, "InvalidJson", id="not-text"),
        pytest.param("application/json", b"[" * 100_000, 400, "InvalidJson", id="deep-json"),
        pytest.param("application/json", b'{"image": ' + b"9" * 9000 + b"}", 400, "InvalidJson", id="huge-integer"),
        pytest.param("application/json", [1], 400, "InvalidJson", id="json-list"),
        pytest.param("application/json", {}, 400, "NoImage", id="no-image"),
        pytest.param("application/json", {"image": B64, "images": [B64]}, 400, "NoImage", id="both"),
        pytest.param("application/json", {"images": []}, 400, "NoImage", id="empty-list"),
        pytest.param("application/json", {"images": "x"}, 400, "InvalidParameter", id="images-is-text"),
        pytest.param("application/json", {"images": [B64] * (MOST_IMAGES + 1)}, 400, "TooManyImages", id="too-many"),
        pytest.param("application/json", {"image": 5}, 400, "InvalidBase64", id="number-as-image"),
        pytest.param("application/json", {"image": "###"}, 400, "InvalidBase64", id="not-base64"),
        pytest.param(
            "application/json", {"image": "data:image/png;base64," + B64}, 400, "InvalidBase64", id="data-url"
        ),
        pytest.param("application/json", {"image": "é"}, 400, "InvalidBase64", id="not-ascii"),
        *(
            pytest.param(
                "application/json", {"image": B64, "min_confidence": bad}, 400, "InvalidParameter", id=f"min-{i}"
            )
            for i, bad in enumerate((-1, 101, "much", [1], {}, True, float("nan"), float("inf"), 10**400))
        ),
        *(
            pytest.param("application/json", {"image": B64, "max_results": bad}, 400, "InvalidParameter", id=f"max-{i}")
            for i, bad in enumerate((-1, 1.5, "all", float("nan"), [], 1e400))
        ),
        pytest.param("multipart/form-data", b"x", 400, "InvalidForm", id="form-without-boundary"),
        pytest.param("multipart/form-data; boundary=x", b"junk", 400, "InvalidForm", id="form-of-junk"),
        pytest.param("multipart/form-data; boundary=x", b"--x--\r\n", 400, "NoImage", id="empty-form"),
        pytest.param(
            "multipart/form-data; boundary=x", form((b'name="image"', b"picture")), 400, "NoImage", id="field-not-file"
        ),
        pytest.param(
            "multipart/form-data; boundary=x", form((b'filename="a"', b"picture")), 400, "InvalidForm", id="no-name"
        ),
        pytest.param(
            "multipart/form-data; boundary=x",
            form(*[PICTURE] * (MOST_IMAGES + 1)),
            400,
            "InvalidForm",
            id="too-many-files",
        ),
    ],
)
def test_refuses(content_type, body, status, code):
    with pytest.raises(RequestError) as caught:
        ask(content_type, body)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.message
    json.dumps(caught.value.document())


def test_many_options_in_a_large_max_results():
    assert ask("application/json", {"image": B64, "max_results": 1e12}).max_results == 2**31
