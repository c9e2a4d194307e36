"""A log that several processes append to while it is put aside."""

import threading

import pytest

from tenshot.serving.endpoints import control, layout
from tenshot.serving.endpoints.layout import EndpointFiles, tail


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LOG_LIMIT_BYTES", 100)
    return EndpointFiles(tmp_path)


def test_who_has_it_open_goes_on_writing_where_people_look(files):
    with files.log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 20)
        files.rotate_log()
        assert files.log.stat().st_size == 80, "not long yet"
        writer.write(b"old\n" * 20)
        files.rotate_log()
        writer.write(b"new\n")
    assert files.log.read_bytes() == b"new\n"
    assert files.log.with_suffix(".log.1").read_bytes() == b"old\n" * 40
    assert tail(files.log, 3, offset=160) == ["new"], "an offset from before it was emptied"


def test_followers_go_on(files):
    done = threading.Event()

    def write() -> None:
        with files.log.open("ab", buffering=0) as writer:
            while not done.wait(0.05):
                files.rotate_log()
                writer.write(b"new line\n")

    files.log.write_bytes(b"old\n" * 40)
    writing = threading.Thread(target=write)
    writing.start()
    try:
        following = control._following(files)
        # More than the file ever holds, so that it is emptied on the way.
        assert {next(following) for _ in range(40)} == {"new line"}
    finally:
        done.set()
        writing.join()
