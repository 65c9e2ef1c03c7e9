"""A loaded policy: the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vaultstore.catalogue import Catalogue
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.check import Report, check
from vaultstore.policy.load import load_files, load_texts
from vaultstore.policy.lock import Lock
from vaultstore.policy.model import Category, Never, PolicyTest, Purpose, Service
from vaultstore.policy.rules import Rules

__all__ = ["Policy"]


class Policy:
    """Rules from policy files, checked as far as the files alone go; `bind` checks them against models."""

    __slots__ = ("rules",)

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def __repr__(self) -> str:
        return f"<Policy of {len(self.purposes)} purposes from {len(self.rules.files)} files>"

    @classmethod
    def load(cls, paths: str | Path | Iterable[str | Path]) -> Policy:
        """Load a file, a folder of ``*.yaml`` (deep, in sorted order), or several. Raises PolicyError."""
        return cls(load_files(paths))

    @classmethod
    def parse(cls, source: str | bytes, file: str = "policy.yaml") -> Policy:
        """Load the text of one file; `file` is the name that errors show. Raises PolicyError."""
        data = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
        return cls(load_texts([(file, data)]))

    @property
    def categories(self) -> Mapping[str, Category]:
        """Every category by name."""
        return self.rules.categories

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """Every purpose by name."""
        return self.rules.purposes

    @property
    def services(self) -> Mapping[str, Service]:
        """Every declared service by name."""
        return self.rules.services

    @property
    def never(self) -> tuple[Never, ...]:
        """The bars that no purpose may cross, in the order of the files."""
        return self.rules.never

    @property
    def tests(self) -> tuple[PolicyTest, ...]:
        """The expectations written beside the policy, in the order of the files."""
        return self.rules.tests

    @property
    def lock_file(self) -> Path | None:
        """Where ``fields.lock`` lives, there or not: in the first folder that was loaded."""
        return self.rules.folder and self.rules.folder / "fields.lock"

    def bind(self, catalogue: Catalogue) -> BoundPolicy:
        """Bind to models. Raises PolicyError, the first in the order of the files, where it does not fit them."""
        return BoundPolicy(self.rules, catalogue)

    def check(self, catalogue: Catalogue, lock: Lock | str | Path | None = None) -> Report:
        """Find every error and warning, `never`, tests and the lock included; it raises nothing."""
        return check(self, catalogue, lock)
