"""Generates a client from a published document: generate.py DOCUMENT FOLDER

The client is the package `barkd` in FOLDER. The document is rewritten where the generator does not read it, with the same meaning:
a variant that is put together with `allOf` becomes one object, and an object inside of a variant gets a name.
"""

import json
import subprocess
import sys
from pathlib import Path

published, folder = Path(sys.argv[1]), Path(sys.argv[2])
document = json.loads(published.read_text())
schemas = document["components"]["schemas"]


def resolve(schema):
    return resolve(schemas[schema["$ref"].rsplit("/", 1)[1]]) if "$ref" in schema else schema


def merge(parts):
    merged = {"type": "object", "properties": {}, "required": []}
    for part in map(resolve, parts):
        merged["properties"].update(part.get("properties", {}))
        merged["required"].extend(part.get("required", []))
    return merged


def name_objects(variant, prefix):
    for key, schema in variant.get("properties", {}).items():
        if "properties" in schema:
            name = f"{prefix}{key.title().replace('-', '')}Fields"
            schemas[name] = schema
            variant["properties"][key] = {"$ref": f"#/components/schemas/{name}"}


for name, schema in list(schemas.items()):
    if "oneOf" in schema:
        schema["oneOf"] = [merge(it["allOf"]) if "allOf" in it else it for it in schema["oneOf"]]
        for variant in schema["oneOf"]:
            name_objects(variant, name)

rewritten = folder / "openapi.json"
rewritten.write_text(json.dumps(document))
# The generator wants to format what it writes.
config = folder / "config.json"
config.write_text(json.dumps({"post_hooks": []}))
generator = Path(sys.executable).with_name("openapi-python-client")
arguments = {"path": rewritten, "output-path": folder / "barkd", "meta": "none", "config": config}
options = [str(it) for name, value in arguments.items() for it in (f"--{name}", value)]
subprocess.run([generator, "generate", "--fail-on-warning", *options], check=True)
