"""The list of components (CycloneDX 1.6, JSON): of a wheel with the tested libraries, or of a Debian package."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from script.distribution.project import BuildError, Project


def sbom(project: Project, name: str, version: str, found: Iterable[Distribution], wheels: Path, epoch: int) -> str:
    """The list for `name`, which consists of the project's code and the libraries `found`, from the folder `wheels`.

    Valid, or raises BuildError. The hash of a component is that of its wheel.
    """
    digests = {
        parse_wheel_filename(path.name)[0]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in wheels.glob("*.whl")
    }
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{project.name}:{name}:{version}"))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    top = Component(
        name=name, version=version, type=ComponentType.APPLICATION, bom_ref=name, description=project.description,
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
        purl=PackageURL("pypi", None, project.name, project.version),
    )  # fmt: skip
    bom.metadata.component = top
    components = [_component(library, digests) for library in found]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(top, components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise BuildError(f"the list of components is invalid: {problem}")
    return text + "\n"


def _component(found: Distribution, digests: Mapping[NormalizedName, str]) -> Component:
    name, version = canonicalize_name(found.metadata["Name"]), found.version
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, bom_ref=f"{name}-{version}",
        description=_field(found, "Summary"),
        purl=PackageURL("pypi", None, name, version),
        licenses=[LicenseFactory().make_from_string(license_of(found))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digests[name])],
    )  # fmt: skip


def license_of(found: Distribution) -> str:
    """The licence that a distribution names: an SPDX expression if it has one."""
    if expression := _field(found, "License-Expression"):
        return expression
    classifiers = [
        line.rpartition(":: ")[2] for line in found.metadata.get_all("Classifier") or () if "License ::" in line
    ]
    return "; ".join(classifiers) or (_field(found, "License") or "").partition("\n")[0] or "unknown"


def _field(found: Distribution, name: str) -> str | None:
    values = found.metadata.get_all(name)
    return str(values[0]) if values else None
