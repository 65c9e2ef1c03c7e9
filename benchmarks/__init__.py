"""Ratios against plain SQLAlchemy and its peers, measured side by side in one run."""
