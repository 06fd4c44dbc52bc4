"""Checks Kubernetes manifests, as YAML on standard input, and prints them as one JSON array.

Strictly: a field that the schema does not have is an error, too. Against the schemas of the oldest and of the latest version of
Kubernetes that is supported; the Prometheus operator's kinds against its models, which are made from its schemas.
"""

import json
import sys

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator

# The sleep of preStop is there, and on, since 1.30.
VERSIONS = ["1.30", "1.37"]


def check_operators(document):
    model = getattr(operator, document["kind"])
    # The models ignore what they don't know: it is missing afterwards.
    understood = model.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
    if understood != document:
        raise ValueError(f"{document['kind']} has fields that its schema does not have:\n{document}\nunderstood:\n{understood}")


documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
for document in documents:
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        check_operators(document)
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
json.dump(documents, sys.stdout)
