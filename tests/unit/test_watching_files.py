"""Dashboard, alert rules and collector: about metrics that there are, each documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from refold.runtime.telemetry.gauges import GAUGES
from tests.support.scraping import PAGE, documented

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.temporal.yml").read_text())["services"]
WATCHING = ("collector", "prometheus", "grafana")


def series_in(expression: str) -> set[str]:
    """The metrics that an expression is about."""
    without_labels = re.sub(r"\b(by|without) \([^)]*\)|\{[^}]*\}", " ", expression)
    found = set(re.findall(r"\brefold_[a-z_]+", without_labels))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def alerts() -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    return {rule["alert"]: rule for group in loaded["groups"] for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    board = json.loads((DEPLOY / "grafana/dashboards/refold.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_dashboard_shows_every_documented_metric_and_no_other() -> None:
    shown = {
        series
        for panel in panels()
        for target in panel["targets"]
        for series in series_in(target["expr"])
    }
    assert shown == set(documented().values())


def test_the_panels_have_room_each() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_alerts_are_about_metrics_that_there_are() -> None:
    known = set(documented().values())
    for name, rule in alerts().items():
        series = series_in(rule["expr"])
        assert series, name
        assert series <= known, name
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_each_alert_is_explained_and_no_other() -> None:
    explained = re.findall(r"^\| `(Refold\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(alerts())


def test_each_gauge_is_documented() -> None:
    assert set(GAUGES) <= set(documented())


def test_what_watches_is_started_only_when_it_is_asked_for() -> None:
    for name in WATCHING:
        assert COMPOSE[name]["profiles"] == ["telemetry"]
    for name, service in COMPOSE.items():
        if name not in WATCHING:
            assert not set(service.get("depends_on", {})) & set(WATCHING), name


def test_workers_collector_and_prometheus_find_each_other() -> None:
    collector = yaml.safe_load((DEPLOY / "collector/collector.yaml").read_text())
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    port = collector["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    assert scraped["scrape_configs"][0]["static_configs"] == [{"targets": [f"collector:{port}"]}]
    mounted = {volume.split(":")[1] for volume in COMPOSE["prometheus"]["volumes"]}
    assert set(scraped["rule_files"]) <= mounted
    receiver = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert f"127.0.0.1:{receiver}:{receiver}" in COMPOSE["collector"]["ports"]
    assert f"http://collector:{receiver}" in (ROOT / "docker-compose.temporal.yml").read_text()
    for pipeline in collector["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= set(collector["receivers"])
        assert set(pipeline["processors"]) <= set(collector["processors"])
        assert set(pipeline["exporters"]) <= set(collector["exporters"])


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    provisioning = DEPLOY / "grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasource.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    used = {panel["datasource"]["uid"] for panel in panels()}
    assert used == {source["uid"]}
    provider = yaml.safe_load((provisioning / "dashboards.yaml").read_text())["providers"][0]
    mounted = {volume.split(":")[1] for volume in COMPOSE["grafana"]["volumes"]}
    assert f"{provider['options']['path']}/refold.json" in mounted
