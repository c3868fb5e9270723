"""The supervised classifier, which learns from good and from defective images."""
