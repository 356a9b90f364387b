"""What is delivered: locked dependencies, images of exact versions, containers with few rights."""

import configparser
import ipaddress
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from server import imaging
from tests.support.server import ROOT

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/parley.yaml").read_text()))
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
VERSION = SETUP["metadata"]["version"]

UNITS = {"Mi": 2**20, "Gi": 2**30, "m": 2**20, "g": 2**30}


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def of_kind(kind: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == kind}


# Dependencies.


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    found = {}
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            plain, *hashes = line.split(" --hash=")
            requirement = Requirement(plain)
            found[canonicalize_name(requirement.name)] = requirement, [each.strip() for each in hashes]
    return found


def wanted() -> list[Requirement]:
    extras = SETUP["options.extras_require"]
    lines = SETUP["options"]["install_requires"] + extras["s3"] + extras["heic"]
    return [Requirement(line) for line in lines.splitlines() if line.strip()]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_a_lock_file_names_versions_and_hashes_and_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra|find|trusted)", text, re.MULTILINE)
    for package, (requirement, hashes) in locked(name).items():
        assert [each.operator for each in requirement.specifier] == ["=="], package
        assert requirement.url is None, package
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), package


def test_the_lock_file_has_what_the_package_wants() -> None:
    have = locked("requirements.lock")
    for requirement in wanted():
        pinned, _ = have[canonicalize_name(requirement.name)]
        (version,) = [each.version for each in pinned.specifier]
        assert requirement.specifier.contains(version), f"{requirement}: `make lock` writes it again"


def test_the_lock_file_has_wheels_for_both_kinds_of_machines() -> None:
    """A package in C has a file for each Python and machine, one in Python alone two in all."""
    have = locked("requirements.lock")
    for compiled in ("uvloop", "orjson", "msgspec", "asyncpg", "pillow"):
        assert len(have[compiled][1]) >= 6, compiled


def test_what_builds_is_locked_too() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {canonicalize_name(Requirement(each).name) for each in needed} <= set(
        locked("requirements-build.lock")
    )


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    installs = re.findall(r"pip install (.*?)(?: \\)?$", DOCKERFILE, re.MULTILINE)
    assert installs
    for arguments in installs:
        by_hash = "--require-hashes" in arguments and bool(
            re.search(r"-r requirements(-docs)?\.lock", arguments)
        )
        own = {"--no-deps", "--no-build-isolation", "."} <= set(arguments.split())
        assert by_hash or own, arguments


# Images.

#: A version down to its last number, and a variant that names its own; a digest says it all.
EXACT = re.compile(
    r"[a-z0-9./-]+:(\d+\.\d+\.\d+(-[a-z0-9.-]+)?|\d+\.\d+-[a-z]+\d[\d.]+)(@sha256:[0-9a-f]{64})?"
)


def images() -> Iterator[str]:
    for service in COMPOSE["services"].values():
        yield service["image"]
    for _, pod in pods():
        yield from (container["image"] for container in pod["containers"])
    base = re.search(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert base
    yield base[1]


def test_images_are_named_exactly() -> None:
    for image in images():
        assert EXACT.fullmatch(image), image
        if image.startswith("parley"):
            assert image.partition("@")[0] == f"parley:{VERSION}"
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON}"}


def test_the_image_is_nobodys_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"


# Compose.


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["pids_limit"] > 0
    assert size(service["mem_limit"]) > 0
    assert "network_mode" not in service
    assert not [mount for mount in service.get("volumes", []) if "docker.sock" in str(mount)]


def test_a_node_has_memory_for_its_thumbnails() -> None:
    for name in ("node1", "node2", "node3"):
        assert round(size(COMPOSE["services"][name]["mem_limit"]) * imaging.SHARE) >= thumbnails()


def thumbnails() -> int:
    """What as many as are made at a time take at most; fewer are made where their share is less."""
    return imaging.AT_ONCE * imaging.MOST


def test_compose_has_no_secret_of_its_own() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text()
    for name in ("JWT_SECRET_KEY", "SECRET_KEY", "POSTGRES_PASSWORD"):
        given = re.findall(rf"\$\{{{name}(.*?)\}}", text)
        assert given
        assert all(rest.startswith(":?") for rest in given), f"{name} has to be set"
    for url in re.findall(r"\w+://[^\s'\"]+", text):
        assert not re.search(r"://[^/@$]*:[^/@$]+@", url), url


def test_the_databases_are_reached_by_nodes_alone() -> None:
    assert COMPOSE["networks"]["back"]["internal"] is True
    for name in ("postgres", "redis"):
        assert COMPOSE["services"][name]["networks"] == ["back"]
        assert "ports" not in COMPOSE["services"][name]
    assert "back" not in COMPOSE["services"]["nginx"]["networks"]
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_addresses_are_believed_from_the_balancer_alone() -> None:
    balancer = COMPOSE["services"]["nginx"]["networks"]["front"]["ipv4_address"]
    trusted = yaml.safe_load(COMPOSE["services"]["node1"]["environment"]["TRUSTED_PROXIES"])
    assert trusted == [f"{balancer}/32"]
    for entry in yaml.safe_load(of_kind("ConfigMap")["parley"]["data"]["TRUSTED_PROXIES"]):
        assert ipaddress.ip_network(entry).num_addresses <= 256, entry


# Kubernetes.


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for each in MANIFESTS:
        if each["kind"] in ("StatefulSet", "Job", "Deployment", "DaemonSet", "CronJob"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


PODS = dict(pods())


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    for version in ("1.30", "1.33"):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    """The restricted profile of the Pod Security Standards, and a root filesystem that is only read."""
    pod = PODS[name]
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["serviceAccountName"] == "parley"
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    emptied = {volume["name"] for volume in pod["volumes"] if "sizeLimit" in volume["emptyDir"]}
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/data"} <= set(mounts)
        assert set(mounts.values()) <= emptied
        assert {"memory", "ephemeral-storage"} <= set(container["resources"]["limits"])


def test_the_account_has_no_token() -> None:
    assert of_kind("ServiceAccount")["parley"]["automountServiceAccountToken"] is False
    assert not [each for each in MANIFESTS if "Role" in each["kind"]]


def test_a_pod_has_memory_for_its_thumbnails() -> None:
    (container,) = PODS["parley"]["containers"]
    assert round(size(container["resources"]["limits"]["memory"]) * imaging.SHARE) >= thumbnails()


def test_no_secret_stands_in_the_manifest_and_none_may_be_missing() -> None:
    assert of_kind("Secret") == {}
    (container,) = PODS["parley"]["containers"]
    secret = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    for name in ("JWT_SECRET_KEY", "SECRET_KEY", "DATABASE_URL", "REDIS_URL"):
        assert not secret[name].get("optional"), name
    (migrate,) = PODS["parley-migrate"]["containers"]
    given = {each["name"] for each in migrate["env"]}
    assert given == {"DATABASE_URL"}, "a migration needs no other secret"


def sources(policy: str) -> list[tuple[list[Any], list[Any]]]:
    rules = of_kind("NetworkPolicy")[policy]["spec"]["ingress"]
    return [(rule["from"], [each["port"] for each in rule["ports"]]) for rule in rules]


def labels(peer: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = peer.get("podSelector", {}).get("matchLabels", {})
    return found


def test_every_pod_has_a_policy_for_both_ways() -> None:
    selected = {
        tuple(each["spec"]["podSelector"]["matchLabels"].items()): each["spec"]["policyTypes"]
        for each in of_kind("NetworkPolicy").values()
    }
    for each in MANIFESTS:
        if each["kind"] in ("StatefulSet", "Job"):
            of_pod = tuple(each["spec"]["template"]["metadata"]["labels"].items())
            assert selected[of_pod] == ["Ingress", "Egress"]


def test_the_nodes_port_is_for_the_ingress_and_the_nodes() -> None:
    ((peers, ports),) = sources("parley")
    assert ports == [8003]
    ingress, nodes = peers
    assert ingress["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ingress-nginx"}
    assert labels(ingress)
    assert nodes == {"podSelector": {"matchLabels": {"app": "parley"}}}


@pytest.mark.parametrize(
    ("policy", "port", "who"),
    [("parley-redis", 6379, {"parley"}), ("parley-postgres", 5432, {"parley", "parley-migrate"})],
)
def test_the_stores_are_for_the_nodes(policy: str, port: int, who: set[str]) -> None:
    ((peers, ports),) = sources(policy)
    assert ports == [port]
    assert {labels(peer)["app"] for peer in peers} == who
    assert all(set(peer) == {"podSelector"} for peer in peers)


def test_a_node_reaches_out_but_not_into_the_own_network() -> None:
    for rule in of_kind("NetworkPolicy")["parley"]["spec"]["egress"]:
        assert rule["to"], "an empty list is everybody"
        assert rule["ports"]
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block is None:
                assert labels(peer)
                continue
            closed = [ipaddress.ip_network(each) for each in block["except"]]
            inside = (
                ("10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1")
                if ipaddress.ip_network(block["cidr"]).version == 4
                else ("fd00::1", "fe80::1")
            )
            for address in map(ipaddress.ip_address, inside):
                assert any(address in network for network in closed), address
            assert [each["port"] for each in rule["ports"]] == [443]
