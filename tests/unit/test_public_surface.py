"""What others build on: the exported names, and the tree of errors."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

import vaultstore
from vaultstore import errors

SURFACE = {
    "Actor",
    "Encrypted",
    "EncryptedModel",
    "LocalKeys",
    "Masked",
    "OnErasure",
    "Policy",
    "Store",
    "VaultKeys",
    "blind_index",
    "encrypted_column",
    "errors",
    "is_masked",
    "masks",
    "metadata",
    "normalize",
    "row_scope",
    "uuid7",
}


def test_the_exported_names_are_these() -> None:
    assert set(vaultstore.__all__) == SURFACE
    assert set(dir(vaultstore)) >= SURFACE
    assert all(getattr(vaultstore, name) is not None for name in SURFACE)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'decrypt'"):
        vaultstore.decrypt


def test_policy_tools_load_neither_the_orm_nor_a_key_service() -> None:
    program = (
        "import sys, vaultstore.policy; print([m for m in ('sqlalchemy', 'hvac', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def tree() -> str:
    """The tree as the module's docstring draws it, from the classes themselves."""
    lines: list[str] = []

    def draw(cls: type, depth: int) -> None:
        lines.append(f"{depth} {cls.__name__}")
        for sub in sorted(cls.__subclasses__(), key=lambda c: c.__name__):
            if sub.__module__ == errors.__name__:
                draw(sub, depth + 1)

    draw(errors.VaultstoreError, 0)
    return "\n".join(sorted(lines))


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if words and words[0] in errors.__all__:
            drawn.append(f"{(len(line) - len(line.lstrip(' │├└─')) - 4) // 4} {words[0]}")
    assert "\n".join(sorted(drawn)) == tree()


def test_every_error_is_exported_and_survives_pickling() -> None:
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert classes == set(errors.__all__)
    denied = pickle.loads(pickle.dumps(errors.SubjectErased("gone", reason="subject.erased", subject="x")))
    assert (str(denied), denied.reason, denied.subject) == ("gone", "subject.erased", "x")
    wrong = pickle.loads(pickle.dumps(errors.PolicyError("no such word", file="a.yaml", line=3, column=5)))
    assert (str(wrong), wrong.line) == ("a.yaml:3:5: no such word", 3)
