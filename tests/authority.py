"""A certificate authority of a test's own."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "models.example.com"
"""A name that no resolver knows."""


@dataclass(frozen=True)
class Authority:
    """Files in PEM: the authority's certificate, and certificate and key of a server that it vouches for.

    Args:
        certificate: of the authority.
        server_certificate: for ``HOST`` and the loopback address.
        server_key: of the server.
    """

    certificate: Path
    server_certificate: Path
    server_key: Path


def authority_pem(name: str = "Test Authority") -> str:
    """The certificate of a new one in PEM."""
    return _pem(_authority(name, ec.generate_private_key(ec.SECP256R1()))).decode()


def make_authority(directory: Path) -> Authority:
    """One whose files are in `directory`."""
    root_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _authority("Test Authority", root_key)
    hosts = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _builder(x509.Name([]), server_key).issuer_name(root.subject).add_extension(hosts, critical=True)
    authority = Authority(directory / "ca.crt", directory / "tls.crt", directory / "tls.key")
    authority.certificate.write_bytes(_pem(root))
    authority.server_certificate.write_bytes(_pem(server.sign(root_key, hashes.SHA256())))
    authority.server_key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return authority


def _authority(common_name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """It lacks what RFC 5280 asks of authorities beyond basicConstraints, as those of companies do."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    builder = _builder(name, key).issuer_name(name).add_extension(constraints, critical=False)
    return builder.sign(key, hashes.SHA256())


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
