#!/usr/bin/env python3
"""Prints a CycloneDX 1.5 bill of materials of the program, from Cargo.lock and what cargo says is built for a target.

`cargo metadata` alone also lists crates that no feature switches on; `cargo tree` knows what is compiled. Crates that run
only while building (procedural macros, build scripts) are listed with scope "excluded": they are not in the program.
The output depends on its input alone: no clock, no random serial number.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
import uuid

PACKAGE = "iam-authenticator"


def cargo(*arguments):
    done = subprocess.run([os.environ.get("CARGO", "cargo"), *arguments, "--locked"], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def built(target, edges):
    """The (name, version) pairs that are compiled for the target over edges of these kinds."""
    tree = cargo("tree", "--package", PACKAGE, "--edges", edges, "--target", target, "--prefix", "none", "--format", "{p}")
    found = set()
    for line in tree.splitlines():
        words = line.split()
        if words:
            found.add((words[0], words[1].removeprefix("v")))
    return found


def purl(name, version):
    return f"pkg:cargo/{name}@{version}"


def component(package, checksums, shipped):
    name, version = package["name"], package["version"]
    entry = {
        "type": "library",
        "bom-ref": purl(name, version),
        "name": name,
        "version": version,
        "scope": "required" if shipped else "excluded",
        "purl": purl(name, version),
    }
    if package.get("description"):
        entry["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Old crates write "MIT/Apache-2.0"; SPDX says OR.
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    if checksum := checksums.get((name, version)):
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def file_component(path):
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"file:{os.path.basename(path)}",
        "name": os.path.basename(path),
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="Rust target, such as x86_64-unknown-linux-gnu")
    parser.add_argument("--version", required=True)
    parser.add_argument("--timestamp", required=True, help="of the source, RFC 3339")
    parser.add_argument("--digest", help="of the image, sha256:…")
    parser.add_argument("--file", action="append", default=[], help="a file of the image")
    arguments = parser.parse_args()

    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", arguments.target))
    with open("Cargo.lock", "rb") as file:
        locked = tomllib.load(file)["package"]
    checksums = {(p["name"], p["version"]): p["checksum"] for p in locked if "checksum" in p}
    shipped = built(arguments.target, "normal,no-proc-macro")
    everything = built(arguments.target, "normal,build")
    packages = {(p["name"], p["version"]): p for p in metadata["packages"]}
    ids = {p["id"]: (p["name"], p["version"]) for p in metadata["packages"]}
    root = next(key for key in packages if key[0] == PACKAGE)
    listed = sorted(everything - {root})

    missing = [key for key in listed if key not in packages]
    if missing:
        sys.exit(f"tools/sbom.py: cargo tree names crates that cargo metadata does not: {missing}")

    subject = {
        "type": "application",
        "bom-ref": purl(*root),
        "name": "aws-iam-authenticator",
        "version": arguments.version,
        "licenses": [{"expression": packages[root]["license"]}],
        "purl": purl(*root),
    }
    if arguments.digest:
        subject["properties"] = [{"name": "oci:image:digest", "value": arguments.digest}]
    dependencies = []
    for node in metadata["resolve"]["nodes"]:
        if (key := ids[node["id"]]) not in everything:
            continue
        kept = {ids[d["pkg"]] for d in node["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])}
        dependencies.append({"ref": purl(*key), "dependsOn": sorted(purl(*other) for other in kept & everything)})
    files = [file_component(path) for path in arguments.file]
    content = [component(packages[key], checksums, key in shipped) for key in listed] + files
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "",
        "version": 1,
        "metadata": {"timestamp": arguments.timestamp, "component": subject},
        "components": content,
        "dependencies": sorted(dependencies, key=lambda entry: entry["ref"]),
    }
    # A name for this content, the same for the same content.
    name = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).hexdigest()
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"
    json.dump(bom, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
