"""The script that makes the schema of KubeRay's kinds, on a CRD of its form."""

from typing import Any

import jsonschema
import pytest
import yaml

from tests.infra import crd_schema

_CRD = yaml.safe_load("""
kind: CustomResourceDefinition
spec:
  group: ray.io
  names: {kind: RayThing}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              required: [groups, unused]
              properties:
                unused: {type: string}
                groups:
                  type: array
                  items:
                    type: object
                    properties:
                      replicas: {type: integer, minimum: 0}
                      other: {type: string}
                      params: {type: object, additionalProperties: {type: string}}
                      port: {x-kubernetes-int-or-string: true}
""")


def _thing(**group: Any) -> dict[str, Any]:
    return {"apiVersion": "ray.io/v1", "kind": "RayThing", "spec": {"groups": [group]}}


def test_the_fields_that_are_used_are_kept_and_others_are_errors() -> None:
    used = [_thing(replicas=1, params={"a": "b"}), _thing(port=80)]
    schema = {**crd_schema.definitions([_CRD], used)["RayThing"], "$defs": {"metadata": {}}}
    for good in (*used, _thing(port="http")):
        jsonschema.validate(good, schema)
    for bad in (_thing(replica=1), _thing(replicas=-1), _thing(other="x"), _thing(params={"a": 1})):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_a_field_that_the_crd_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"^RayThing\.spec\.groups\[\] has no field replica\.$"):
        crd_schema.definitions([_CRD], [_thing(replica=1)])


def test_the_manifests_of_this_project_are_found() -> None:
    assert {each["kind"] for each in crd_schema.manifests()} >= {"RayCluster", "RayJob"}
