"""Acceptance: what can be signed of a run, in the language of attribute measurement systems."""

from evaluation.acceptance.agreement import Kappa, cohen_kappa, fleiss_kappa
from evaluation.acceptance.assemble import Acceptance, accept_photographs
from evaluation.acceptance.claims import Asked
from evaluation.acceptance.manifest import (
    FORMAT,
    changed_parts,
    document_bytes,
    sealed_document,
)
from evaluation.acceptance.parts import Photograph, merged_parts
from evaluation.acceptance.rates import BoundedRate, missing_parts, parts_needed

__all__ = [
    "FORMAT",
    "Acceptance",
    "Asked",
    "BoundedRate",
    "Kappa",
    "Photograph",
    "accept_photographs",
    "changed_parts",
    "cohen_kappa",
    "document_bytes",
    "fleiss_kappa",
    "merged_parts",
    "missing_parts",
    "parts_needed",
    "sealed_document",
]
