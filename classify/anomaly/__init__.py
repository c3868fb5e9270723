"""Anomaly detectors: methods that learn from good images alone."""
