"""Kubernetes manifests, and the build context of the image that they run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenshot.projects.errors import UsageError
from tenshot.serving.endpoints.bento import bento_name
from tenshot.serving.exporting.alone import Alone
from tenshot.serving.exporting.asking import through_http
from tenshot.serving.exporting.form import Answer, Form, Observed
from tenshot.serving.exports.docker import COMMAND, PORT, USER, image_of, write_context

MOST_REPLICAS = 4
BUSY_PERCENT = 70
"""CPU of the request from which on the autoscaler adds a replica."""
CONCURRENCY = 4
"""Requests in flight a replica, from which on KEDA adds one."""
KEDA_SCALER = "keda-add-ons-http-external-scaler.keda.svc.cluster.local:9090"
KEDA_PROXY = "keda-add-ons-http-interceptor-proxy.keda:8080"
_IMAGE = re.compile(r"[a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?")
_MIB = 1 << 20

Manifest = dict[str, Any]


class Kubernetes(Form):
    name = "k8s"
    home = "image/app"

    def write(self) -> None:
        image = self.leaving.options.image
        if image and not _IMAGE.fullmatch(image):
            raise UsageError(
                f"--image {image!r} is no container image", hint="for instance registry.example.com/parts:1"
            )
        write_context(self, self.folder / "image", self.model_dir)

    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        return through_http(alone, COMMAND[1:], self.model_dir, images, min_confidence, self.observed, {"THREADS": "1"})

    def finish(self) -> None:
        import yaml

        options, manifest = self.leaving.options, self.leaving.manifest
        name = resource_name(manifest.project)
        files = manifests(name, str(manifest.version), self._image, self.observed, keda=options.keda)
        for file, document in files.items():
            (self.folder / file).write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(files),
        }
        (self.folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False), "utf-8")

    def how_to_run(self) -> list[str]:
        name = resource_name(self.leaving.manifest.project)
        if self.leaving.options.keda:
            ask = f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' -H 'Host: {name}' {KEDA_PROXY}/predict"
        else:
            ask = f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://{name}/predict"
        return [f"docker build -t {self._image} image && docker push {self._image}", "kubectl apply -k .", ask]

    @property
    def _image(self) -> str:
        return self.leaving.options.image or image_of(self.leaving)


def resource_name(project: str) -> str:
    """A name for a Service: lower case, begins with a letter."""
    name = bento_name(project)
    return name if name[0].isalpha() else f"m-{name}"


def manifests(name: str, version: str, image: str, observed: Observed, *, keda: bool) -> dict[str, Manifest]:
    """File name → document, in the order in which they are to be created."""
    found = {
        "deployment.yaml": deployment(name, version, image, observed),
        "service.yaml": service(name, version),
    }
    if keda:
        return found | {
            "interceptor-route.yaml": interceptor_route(name, version, observed),
            "scaled-object.yaml": scaled_object(name, version),
        }
    return found | {"hpa.yaml": autoscaler(name, version)}


def deployment(name: str, version: str, image: str, observed: Observed) -> Manifest:
    """Without `replicas`: an autoscaler sets them, and applying this again would set them back."""
    container = {
        "name": "model",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": "PORT", "value": str(PORT)}, {"name": "THREADS", "value": "1"}],
        "resources": resources(observed),
        "startupProbe": _probe("/readyz", period=1, failures=max(60, math.ceil(10 * observed.start_s))),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 – where forms with large files are kept
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name, version),
        "spec": {
            "selector": {"matchLabels": _selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": _labels(name, version)}, "spec": pod},
        },
    }


def resources(observed: Observed) -> dict[str, dict[str, str]]:
    """One core; memory as measured and a quarter more, and as its limit room for two large photos besides."""
    least = 64 * math.ceil(1.25 * observed.memory_bytes / _MIB / 64) or 256
    return {
        "requests": {"cpu": "1", "memory": f"{least}Mi"},
        "limits": {"cpu": "1", "memory": f"{2 * least + 512}Mi"},
    }


def service(name: str, version: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, version),
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(name),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def autoscaler(name: str, version: str) -> Manifest:
    """Out fast, in slowly."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(name, version),
        "spec": {
            "scaleTargetRef": _target(name),
            "minReplicas": 1,
            "maxReplicas": MOST_REPLICAS,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT}},
                }
            ],
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    }


def interceptor_route(name: str, version: str, observed: Observed) -> Manifest:
    """Of KEDA's HTTP add-on: it holds a request until a replica is ready, and counts those in flight."""
    return {
        "apiVersion": "http.keda.sh/v1beta1",
        "kind": "InterceptorRoute",
        "metadata": _metadata(name, version),
        "spec": {
            "target": {"service": name, "port": 80},
            "rules": [{"hosts": [name]}],
            "scalingMetric": {"concurrency": {"targetValue": CONCURRENCY}},
            "timeouts": {"readiness": f"{max(60, math.ceil(10 * observed.start_s))}s"},
        },
    }


def scaled_object(name: str, version: str) -> Manifest:
    """Of KEDA: none while nobody asks, at once one when somebody does."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(name, version),
        "spec": {
            "scaleTargetRef": _target(name),
            "minReplicaCount": 0,
            "maxReplicaCount": MOST_REPLICAS,
            "cooldownPeriod": 300,
            "triggers": [
                {"type": "external-push", "metadata": {"scalerAddress": KEDA_SCALER, "interceptorRoute": name}}
            ],
        },
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 4,
        "failureThreshold": failures,
    }


def _target(name: str) -> Manifest:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}


def _metadata(name: str, version: str) -> Manifest:
    return {"name": name, "labels": _labels(name, version)}


def _selector(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def _labels(name: str, version: str) -> dict[str, str]:
    return {**_selector(name), "app.kubernetes.io/version": version}
