"""Certificates made on the fly, as who runs a cluster with TLS makes them for its machines."""

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HOURS = datetime.timedelta(hours=12)


@dataclass(frozen=True)
class Authority:
    """An authority that signs certificates of machines, and keeps all files in its folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self._builder("authority", self.key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._write("authority.crt", own)

    def variables(self, address: str) -> dict[str, str]:
        """What Ray's environment has of TLS on the machine of that address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(address))]
        builder = self._builder(address, key.public_key()).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        self._write(f"{address}.crt", builder)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{address}.key").write_bytes(pem)
        return {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(self.folder / f"{address}.crt"),
            "RAY_TLS_SERVER_KEY": str(self.folder / f"{address}.key"),
            "RAY_TLS_CA_CERT": str(self.folder / "authority.crt"),
        }

    def _builder(self, name: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            subject_name=_named(name),
            issuer_name=_named("authority"),
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _HOURS,
            not_valid_after=now + _HOURS,
        )

    def _write(self, name: str, builder: x509.CertificateBuilder) -> None:
        signed = builder.sign(self.key, hashes.SHA256())
        (self.folder / name).write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
