#!/usr/bin/env python3
"""Prints a CycloneDX 1.5 document of the crates that are in the binary: contrib/sbom.py TARGET

Crates of the build and of tests, and macros, which leave nothing but code of ours, are left out.
SOURCE_DATE_EPOCH is the document's time; the same input gives the same bytes.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid


def cargo(*arguments):
    command = ["cargo", arguments[0], "--locked", *arguments[1:]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def runtime(target):
    """By name and version, the root first: what each crate needs. The graph of cargo metadata would
    also have what optional features would need."""
    tree = ["--edges=normal,no-proc-macro", f"--target={target}", "--prefix=depth", "--format={p}"]
    needs = {}
    above = []
    for line in cargo("tree", *tree).splitlines():
        depth, name, version = re.match(r"(\d+)(\S+) v(\S+)", line).groups()
        crate = (name, version)
        needs.setdefault(crate, set())
        above[int(depth) :] = [crate]
        if len(above) > 1:
            needs[above[-2]].add(crate)
    return needs


def component(package, kind, checksums):
    # An older form of OR.
    licence = (package["license"] or "").replace("/", " OR ")
    if not licence:
        sys.exit(f"sbom: {purl(package)} names no license")
    entry = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "description": " ".join((package["description"] or "").split()),
        "licenses": [{"expression": licence}],
        "purl": purl(package),
    }
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def document(target):
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)["package"]
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock}
    packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
    packages = {(p["name"], p["version"]): p for p in packages}
    needs = runtime(target)
    root, *others = (packages[crate] for crate in needs)
    at = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(root, "application", checksums),
        },
        "components": [component(p, "library", checksums) for p in sorted(others, key=purl)],
        "dependencies": [
            {"ref": purl(packages[crate]), "dependsOn": sorted(purl(packages[c]) for c in needs[crate])}
            for crate in sorted(needs)
        ],
    }
    # By the content: the same content is the same document.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    return bom | {"serialNumber": f"urn:uuid:{serial}"}


if len(sys.argv) != 2:
    sys.exit("usage: sbom.py TARGET")
json.dump(document(sys.argv[1]), sys.stdout, indent=2)
print()
