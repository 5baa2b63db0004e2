"""The schema of KubeRay's kinds from its CRDs, with the fields that `infra/` uses and no others.

`python -m tests.infra.crd_schema CRD.yaml...` prints it as the definitions of
`kuberay.schema.yaml`, which was written by hand from the API reference. A field of `infra/` that
the CRDs do not have ends it with one line.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

#: What is kept of the schema of a single value.
_OF_VALUES = ("type", "enum", "pattern", "minimum", "maximum")


def definitions(
    crds: Sequence[Mapping[str, Any]], manifests: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The schema of each kind that the CRDs define, by its name.

    Raises:
        ValueError: a manifest has a field that its kind does not have.
    """
    found = {}
    for crd in crds:
        kind, group = crd["spec"]["names"]["kind"], crd["spec"]["group"]
        for version in crd["spec"]["versions"]:
            name = f"{group}/{version['name']}"
            used = [
                {key: value for key, value in each.items() if key not in ("apiVersion", "metadata")}
                for each in manifests
                if (each["kind"], each["apiVersion"]) == (kind, name)
            ]
            if used:
                schema = _used(version["schema"]["openAPIV3Schema"], used, kind)
                schema["properties"]["apiVersion"] = {"const": name}
                schema["properties"]["metadata"] = {"$ref": "#/$defs/metadata"}
                found[kind] = schema
    return found


def manifests() -> Iterator[Mapping[str, Any]]:
    """Everything in `infra/` that is applied as it stands."""
    for file in sorted(ROOT.glob("infra/**/*.yaml")):
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if isinstance(each, dict) and {"kind", "apiVersion"} <= each.keys():
                yield each


def _used(schema: Mapping[str, Any], values: Sequence[Any], where: str) -> dict[str, Any]:
    """A schema without the fields that none of the values has."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        known = schema["properties"]
        names = sorted({name for value in values for name in value})
        for name in names:
            if name not in known:
                raise ValueError(f"{where} has no field {name}.")
        required = [name for name in schema.get("required", ()) if name in names]
        return {
            "type": "object",
            "additionalProperties": False,
            **({"required": required} if required else {}),
            "properties": {
                name: _used(known[name], [each[name] for each in values if name in each], at)
                for name, at in ((name, f"{where}.{name}") for name in names)
            },
        }
    if "items" in schema:
        items = [item for value in values for item in value]
        return {"type": "array", "items": _used(schema["items"], items, f"{where}[]")}
    if isinstance(schema.get("additionalProperties"), Mapping):
        inner = [item for value in values for item in value.values()]
        each = _used(schema["additionalProperties"], inner, f"{where}.*")
        return {"type": "object", "additionalProperties": each}
    return {key: schema[key] for key in _OF_VALUES if key in schema}


def main(files: Sequence[str]) -> None:
    """Print the definitions from CRD files."""
    crds = [
        each
        for file in files
        for each in yaml.safe_load_all(Path(file).read_text(encoding="utf-8"))
        if each and each["kind"] == "CustomResourceDefinition"
    ]
    try:
        found = definitions(crds, list(manifests()))
    except ValueError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(yaml.safe_dump({"$defs": found}, sort_keys=False))


if __name__ == "__main__":
    main(sys.argv[1:])
