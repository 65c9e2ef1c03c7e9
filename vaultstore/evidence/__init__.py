"""What the audit log can show: to members, to auditors, to whoever looks for the source of a leak."""

from __future__ import annotations
