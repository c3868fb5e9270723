"""A bundle: one file that gives the same verdict everywhere, and a runtime without torch.

Example:
    >>> from deployment import open_bundle
    >>> bundle = open_bundle("line-3.bundle")
    >>> verdict = bundle.predict("part.png")
    >>> verdict.defective, verdict.score, verdict.regions, verdict.heat_map
"""

from deployment.bundle import Bundle, BundleVerdict, open_bundle

__all__ = ["Bundle", "BundleVerdict", "open_bundle"]
