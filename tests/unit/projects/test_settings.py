"""Three layers of settings, strict, with complaints that a person understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenshot.projects import settings
from tenshot.projects.errors import SettingsError
from tenshot.projects.metering import prices


def load(home: Path, text: str = "", **environ: str) -> settings.Settings:
    (home / "config.yaml").write_text(text)
    return settings.load(home, environ)


def test_defaults(tmp_path: Path) -> None:
    found = settings.load(tmp_path, {})
    assert found.store.url is None
    assert found.images.max_megapixels == 100
    assert found.metering.sinks == ()


def test_layers(tmp_path: Path) -> None:
    text = "jobs: {heartbeat_s: 3, stale_after_s: 30}\n"
    found = load(tmp_path, text, TENSHOT_JOBS__HEARTBEAT_S="4.5", TENSHOT_HOME="elsewhere")
    assert (found.jobs.heartbeat_s, found.jobs.stale_after_s) == (4.5, 30)
    assert found.images.jpeg_quality == 95


@pytest.mark.parametrize(
    ("text", "environ", "message", "hint"),
    [
        pytest.param("jbos: {heartbeat_s: 1}", {}, "unknown section 'jbos'", "jobs", id="section"),
        pytest.param("jobs: {hearbeat_s: 1}", {}, "jobs.hearbeat_s (got 1)", "heartbeat_s", id="key"),
        pytest.param("jobs: 5", {}, "must hold keys, got 5", "", id="section that is a number"),
        pytest.param("jobs: {heartbeat_s: 0}", {}, "jobs.heartbeat_s: got 0", "docs/settings.md", id="range"),
        pytest.param("jobs: {heartbeat_s: often}", {}, "got 'often'", "docs/settings.md", id="type"),
        pytest.param("jobs: [", {}, "not valid YAML", "mend", id="yaml"),
        pytest.param("5: {a: 1}", {}, "unknown section 5", "", id="section by number"),
        pytest.param("", {"TENSHOT_STORE__URL": "[x"}, "TENSHOT_STORE__URL: got '[x'", "quotes", id="variable's value"),
        pytest.param("- jobs", {}, "got a list", "", id="list"),
        pytest.param("", {"TENSHOT_JOBS__HEARTBEAT": "1"}, "TENSHOT_JOBS__HEARTBEAT: ", "heartbeat_s", id="variable"),
        pytest.param(
            "", {"TENSHOT_JOBS__HEARTBEAT_S": "-1"}, "jobs.heartbeat_s: got -1", "docs", id="variable's range"
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, environ: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, **environ)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_section_whose_keys_are_all_commented_out(tmp_path: Path) -> None:
    assert load(tmp_path, "jobs:\n  # heartbeat_s: 1\nimages: {jpeg_quality: 90}").images.jpeg_quality == 90


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"jobs: {heartbeat_s: \xff}")
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load(tmp_path, {})


def test_default_prices_cost_nothing_and_know_the_hosted_service(tmp_path: Path) -> None:
    found = prices.load(tmp_path)
    assert found.cost("image", 1000) == 0
    assert found.hosted_cost("inference_unit_second", 7200) == pytest.approx(8.0)


def test_mistyped_key_of_a_price(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(IMAGE + "{price: 1, per: 1, hosted: {price: 1, sorce: x}}")
    with pytest.raises(SettingsError, match=r"units\.image\.hosted\.sorce") as caught:
        prices.load(tmp_path)
    assert "source" in caught.value.hint


def test_shipped_prices_say_where_they_are_from(tmp_path: Path) -> None:
    units = prices.load(tmp_path).units
    assert set(units) >= {"image_group_1", "image_group_2", "video_minute", "stored_face_month", "liveness_session"}
    assert all(price.meaning and price.short for price in units.values())
    hosted = [price.hosted for price in units.values() if price.hosted]
    assert hosted
    assert all(one.name and one.source and one.date for one in hosted)


def test_own_prices_need_not_say_what_units_are(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(IMAGE + "{price: 1, per: 1, hosted: 1, short: pics}")
    image = prices.load(tmp_path).units["image"]
    assert (image.short, image.meaning) == ("pics", "images analysed by an endpoint")


IMAGE = "currency: USD\nunits:\n  image: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("units: {}", "currency", id="no currency"),
        pytest.param(
            "currency: USD\nunits: {image: {price: 1, per: 0, hosted: 1}}", "units.image.per: got 0", id="range"
        ),
        pytest.param("currency: USD\nunits: {}\nunit: {}", "unit: got", id="unknown key"),
        pytest.param("currency: [", "not valid YAML", id="yaml"),
        pytest.param("", "the file: got None", id="empty"),
        pytest.param(IMAGE + "{prise: 1, per: 1, hosted: 1}", "unknown key units.image.prise", id="key of a unit"),
        pytest.param(IMAGE + "{price: 1, per: 1, hosted: {prize: 1}}", "key units.image.hosted.prize", id="hosted"),
        pytest.param(IMAGE + "{price: [{price: 1, until: 5}], per: 1, hosted: 1}", "price.0.until", id="key of a tier"),
        pytest.param(IMAGE + "{price: [{price: 1}, {price: 2}], per: 1, hosted: 1}", "but the last", id="open tier"),
        pytest.param(IMAGE + "{price: [{price: 1, units: 5}], per: 1, hosted: 1}", "holds the rest", id="closed tier"),
        pytest.param(IMAGE + "{price: [], per: 1, hosted: 1}", "expected a number", id="no tier"),
        pytest.param(IMAGE + "{price: .inf, per: 1, hosted: 1}", "units.image.price", id="endless"),
        pytest.param(IMAGE + "{price: 1, per: 1, free: -1, hosted: 1}", "units.image.free", id="negative"),
    ],
)
def test_mistakes_in_prices(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        prices.load(tmp_path)
    assert message in caught.value.message
    assert "prices.yaml" in caught.value.message
