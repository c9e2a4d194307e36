import pytest

from tenshot.serving.endpoints.gate import refuse


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/predict", None),
        ("GET", "/readyz", None),
        ("HEAD", "/livez", None),
        ("GET", "/static_content/swagger-ui.css", None),
        ("GET", "/predict", 405),
        ("DELETE", "/metrics", 405),
        ("POST", "/infer", 404),
        ("POST", "/predict/", 404),
        ("GET", "//predict", 404),
        ("GET", "/" + "x" * 10_000, 404),
    ],
)
def test_lets_in_what_is_known(method, path, status):
    found = refuse(path, method)
    assert (found and found.status) == status
    assert found is None or len(found.message) < 300
