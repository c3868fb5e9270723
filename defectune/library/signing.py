"""Signatures of acceptances: Ed25519, by the library `cryptography`."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from annotations import InputError
from annotations.errors import install_extra, shortened

ALGORITHM: Final = "Ed25519"
_CONTEXT: Final = b"defectune acceptance\0"
"""Stands before what is signed: a signature of something else is none of an acceptance."""
_HOW: Final = "`openssl genpkey -algorithm ed25519 -out sign.pem` makes one"


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise InputError(
            f"Signatures need cryptography, not installed here. {install_extra('sign')}."
        ) from error
    return serialization


def load_private_key(path: Path) -> Any:
    """A private Ed25519 key of a PEM file.

    Raises:
        InputError: no such file, no key, another kind of key, one with a password, or
            `cryptography` is not installed.
    """
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except TypeError as error:
        raise InputError(
            f"The key {path} has a password. Write it without one for the time of signing: "
            "`openssl pkey -in KEY -out sign.pem`."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no private key in PEM ({shortened(error, 120)}). {_HOW}."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is a {type(key).__name__}, not an Ed25519 key. {_HOW}.")
    return key


def load_public_key(path: Path) -> bytes:
    """The 32 bytes of a public Ed25519 key of a PEM file.

    Raises:
        InputError: no such file, or no such key.
    """
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no public key in PEM. `openssl pkey -in sign.pem -pubout -out public.pem` "
            "makes one of a private key, which stays with whoever signs."
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is a {type(key).__name__}, not an Ed25519 key.")
    return _raw(key)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"There is no key file {path}. {_HOW}.")
    with path.open("rb") as file:
        return file.read(1 << 16)


def _raw(public: Any) -> bytes:
    serialization = _serialization()
    raw = serialization.PublicFormat.Raw
    return bytes(public.public_bytes(serialization.Encoding.Raw, raw))


def fingerprint(public: bytes) -> str:
    """SHA-256 of a public key, by which people compare keys."""
    return hashlib.sha256(public).hexdigest()


def signature_of(key: Any, whole: str) -> dict[str, str]:
    """The signature of a manifest's whole digest, as acceptance.json holds it."""
    public = _raw(key.public_key())
    return {
        "algorithm": ALGORITHM,
        "public_key": base64.b64encode(public).decode("ascii"),
        "fingerprint": fingerprint(public),
        "value": base64.b64encode(key.sign(_CONTEXT + whole.encode("ascii"))).decode("ascii"),
    }


def signature_fault(
    signature: Mapping[str, Any], whole: str, expected: bytes | None
) -> tuple[str, str]:
    """What is wrong with a signature, empty for nothing; and the fingerprint of its key.

    Args:
        signature: of acceptance.json.
        whole: digest that it should be of.
        expected: the public key that should have signed; None takes the one in the file.

    Raises:
        InputError: `cryptography` is not installed.
    """
    _serialization()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = base64.b64decode(signature["public_key"], validate=True)
        value = base64.b64decode(signature["value"], validate=True)
        mark = fingerprint(public)
        if (
            signature["algorithm"] != ALGORITHM
            or signature["fingerprint"] != mark
            or set(signature) != {"algorithm", "public_key", "fingerprint", "value"}
            or base64.b64encode(public).decode() != signature["public_key"]
            or base64.b64encode(value).decode() != signature["value"]
        ):
            return "The signature was changed.", mark
        if expected is not None and public != expected:
            return (
                f"It was signed by another key ({mark[:16]}…) than the one given "
                f"({fingerprint(expected)[:16]}…)."
            ), mark
        Ed25519PublicKey.from_public_bytes(public).verify(
            value, _CONTEXT + whole.encode("ascii", "replace")
        )
    except InvalidSignature:
        return "The signature does not belong to this content.", mark
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return "The signature is damaged.", ""
    return "", mark
