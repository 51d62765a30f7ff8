"""What a device does with its card: enroll, renew its certificate, and join a network.

Imports `middleware`, `card` (for a card in the same process), `keystore` (errors, and how wpa_supplicant reaches a key)
and `interface`. Only the command line imports this room.

Inside, from the bottom up: names and certificates; the registry over HTTPS and EST; the DNS; the enrollment and the
fleet. The modules whose names start with `wpa_` are about joining, and import nothing of enrollment.
"""

from iot_safe_sim.device.bundle import Bundle
from iot_safe_sim.device.certificate import describe_certificate, dns_name, public_point, read_certificate
from iot_safe_sim.device.certification_request import build_request
from iot_safe_sim.device.enrollment import Enrollment, EnrollmentError, EnrollmentResult, Outcome
from iot_safe_sim.device.est import EstError
from iot_safe_sim.device.fleet import FAILURES, DeviceResult, enroll_fleet, read_bundles
from iot_safe_sim.device.https import BrokenError, HttpsError, RefusedError
from iot_safe_sim.device.names import identity_domain
from iot_safe_sim.device.provisioning import ProvisioningError
from iot_safe_sim.device.registry_settings import BundleError, RegistrySettings
from iot_safe_sim.device.resolver import Resolver, ResolverAddressError
from iot_safe_sim.device.tlsa import TlsaState
from iot_safe_sim.device.tlsa_wait import TlsaWait
from iot_safe_sim.device.wpa_configuration import JoinError, Network
from iot_safe_sim.device.wpa_files import Prepared, prepare
from iot_safe_sim.device.wpa_supplicant import Change, JoinState, Supplicant

__all__ = [
    "FAILURES",
    "BrokenError",
    "Bundle",
    "BundleError",
    "Change",
    "DeviceResult",
    "Enrollment",
    "EnrollmentError",
    "EnrollmentResult",
    "EstError",
    "HttpsError",
    "JoinError",
    "JoinState",
    "Network",
    "Outcome",
    "Prepared",
    "ProvisioningError",
    "RefusedError",
    "RegistrySettings",
    "Resolver",
    "ResolverAddressError",
    "Supplicant",
    "TlsaState",
    "TlsaWait",
    "build_request",
    "describe_certificate",
    "dns_name",
    "enroll_fleet",
    "identity_domain",
    "prepare",
    "public_point",
    "read_bundles",
    "read_certificate",
]
