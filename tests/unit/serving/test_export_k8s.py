"""The manifests against Kubernetes' JSON schemas, and KEDA's kinds against schemas of the fields that KEDA documents.

kubernetes-validate carries the first. The second are written here, from the reference of KEDA 2 (ScaledObject) and of
its HTTP add-on (InterceptorRoute v1beta1), for the fields that can stand in an export; a field they do not name fails.
"""

from __future__ import annotations

import re

import jsonschema
import kubernetes_validate
import pytest

from tenshot.serving.exporting.form import Observed
from tenshot.serving.exports.docker import USER
from tenshot.serving.exports.k8s import _IMAGE, manifests, resource_name, resources

OBSERVED = Observed(memory_bytes=180 << 20, start_s=1.5, cpu_s_per_image=0.02)
KUBERNETES = ("1.25", "1.31", "1.37")
DURATION = {"type": "string", "pattern": r"^\d+s$"}
NAME = {"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}


def closed(properties, required=()):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def kind(api, name, spec):
    labels = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
    metadata = closed({"name": NAME, "labels": labels}, ["name"])
    parts = {"apiVersion": {"const": api}, "kind": {"const": name}, "metadata": metadata, "spec": spec}
    return closed(parts, parts)


AT_LEAST_ONE = {"type": "integer", "minimum": 1}
ROUTE = kind(
    "http.keda.sh/v1beta1",
    "InterceptorRoute",
    closed(
        {
            "target": closed({"service": NAME, "port": {**AT_LEAST_ONE, "maximum": 65535}}, ["service", "port"]),
            "rules": {
                "type": "array",
                "items": closed({"hosts": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}),
            },
            "scalingMetric": closed({"concurrency": closed({"targetValue": AT_LEAST_ONE})}, ["concurrency"]),
            "timeouts": closed({"readiness": DURATION, "request": DURATION, "responseHeader": DURATION}),
        },
        ["target", "scalingMetric"],
    ),
)
COUNT = {"type": "integer", "minimum": 0}
TRIGGER = closed(
    {
        "type": {"const": "external-push"},
        "metadata": {
            "type": "object",
            "required": ["scalerAddress", "interceptorRoute"],
            "additionalProperties": {"type": "string"},
        },
    },
    ["type", "metadata"],
)
SCALED = kind(
    "keda.sh/v1alpha1",
    "ScaledObject",
    closed(
        {
            "scaleTargetRef": closed({"apiVersion": {"const": "apps/v1"}, "kind": {}, "name": NAME}, ["name"]),
            "minReplicaCount": COUNT,
            "maxReplicaCount": AT_LEAST_ONE,
            "cooldownPeriod": COUNT,
            "triggers": {"type": "array", "items": TRIGGER, "minItems": 1},
        },
        ["scaleTargetRef", "triggers"],
    ),
)
KEDA = {"interceptor-route.yaml": ROUTE, "scaled-object.yaml": SCALED}


def made(keda=False):
    return manifests("parts", "3", "registry.example.com/parts:3", OBSERVED, keda=keda)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", ["deployment.yaml", "service.yaml", "hpa.yaml"])
def test_kubernetes_kinds(file, version):
    kubernetes_validate.validate(made()[file], version, strict=True)


def test_the_validator_refuses_what_is_wrong():
    document = made()["deployment.yaml"]
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("file", list(KEDA))
def test_keda_kinds(file):
    jsonschema.validate(made(keda=True)[file], KEDA[file])


def test_keda_scales_to_zero_and_takes_the_place_of_the_autoscaler():
    found = made(keda=True)
    assert list(found) == ["deployment.yaml", "service.yaml", "interceptor-route.yaml", "scaled-object.yaml"]
    assert found["scaled-object.yaml"]["spec"]["minReplicaCount"] == 0
    trigger = found["scaled-object.yaml"]["spec"]["triggers"][0]["metadata"]
    assert trigger["interceptorRoute"] == found["interceptor-route.yaml"]["metadata"]["name"]
    assert found["interceptor-route.yaml"]["spec"]["target"]["service"] == found["service.yaml"]["metadata"]["name"]


def test_the_documents_belong_together():
    found = made()
    deployment, service, scaler = (found[f"{name}.yaml"] for name in ("deployment", "service", "hpa"))
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # the autoscaler's
    container = pod["spec"]["containers"][0]
    assert {probe for probe in container if probe.endswith("Probe")} == {
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
    }
    assert {container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe")} == {"http"}


def test_nothing_runs_as_root_or_writes():
    pod = made()["deployment.yaml"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER > 0
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("measured_mib", "request_"),
    [
        pytest.param(180, "256Mi", id="a quarter more, in steps of 64"),
        pytest.param(410, "576Mi", id="larger"),
        pytest.param(0, "256Mi", id="not measured"),
    ],
)
def test_memory_is_asked_for_as_measured(measured_mib, request_):
    found = resources(Observed(memory_bytes=measured_mib << 20))
    assert found["requests"]["memory"] == request_
    assert int(found["limits"]["memory"][:-2]) > int(found["requests"]["memory"][:-2])


@pytest.mark.parametrize("project", ["parts", "4-eyes", "Ünïcode", "a" * 100, "x_y"])
def test_names_are_names(project):
    assert re.fullmatch(NAME["pattern"], resource_name(project))
    assert len(resource_name(project)) <= 63


@pytest.mark.parametrize(
    ("image", "good"),
    [
        pytest.param("parts:1", True, id="short"),
        pytest.param("registry.example.com:5000/team/parts:v1.2-RC", True, id="registry"),
        pytest.param("parts@sha256:" + "0" * 64, True, id="digest"),
        pytest.param("parts:1; rm -rf /", False, id="shell"),
        pytest.param("Parts:1", False, id="upper case"),
        pytest.param("parts 1", False, id="space"),
    ],
)
def test_image_references(image, good):
    assert bool(_IMAGE.fullmatch(image)) is good
