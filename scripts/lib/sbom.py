"""Writes a CycloneDX 1.5 bill of materials from `cargo metadata`: every crate that the program is built from."""

import json
import sys


def main() -> None:
    version = sys.argv[1]
    metadata = json.load(sys.stdin)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]

    def uses(node: dict) -> list:
        """The crates that end up in the program: neither those of tests nor those of build scripts."""
        return [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]

    found, pending = set(), [root]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending.extend(uses(nodes[current]))

    def reference(identity: str) -> str:
        package = packages[identity]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(identity: str) -> dict:
        package = packages[identity]
        entry = {
            "type": "library",
            "bom-ref": reference(identity),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(identity),
        }
        if package.get("license"):
            # Cargo's old form of "or".
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return entry

    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference(root),
                "name": "jobrunr-scaler",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [component(identity) for identity in sorted(found - {root})],
        "dependencies": [
            {"ref": reference(identity), "dependsOn": sorted(set(map(reference, uses(nodes[identity]))))}
            for identity in sorted(found)
        ],
    }
    assert packages[root]["version"] == version and len(bill["components"]) > 100, version
    # Of the feature `protect`, which everything that is published has.
    assert "kube" in {component["name"] for component in bill["components"]}, "the program's features are missing"
    json.dump(bill, sys.stdout, indent=1)
    print()


main()
