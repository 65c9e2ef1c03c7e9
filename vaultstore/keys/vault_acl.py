"""ACL policies of Vault as sets of rights: ours written, anybody's read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vaultstore.keys.vault_names import VaultNames
from vaultstore.policy.access import PurposeKeys

__all__ = [
    "KEPT_PARAMETERS",
    "Rights",
    "acl_text",
    "common",
    "marked",
    "parse_acl",
    "render_acl",
    "rights_of",
    "written",
]

Rights = Mapping[str, frozenset[str]]
"""Path pattern -> capabilities. ``update(a,b)`` is an update with the parameters `a` and `b` alone."""

KEPT_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "config": ("min_decryption_version", "min_encryption_version"),
    "trim": ("min_available_version",),
}
"""Verb under ``keys/NAME/`` -> the only parameters of it that who retires versions may give."""

_SELF = {"auth/token/lookup-self": frozenset({"read"}), "auth/token/revoke-self": frozenset({"update"})}
_MARK = re.compile(r"# vaultstore: prefix (\S+), purpose (\S+)\n")
_TOKENS = re.compile(
    r"""\s+ | \#[^\n]* | //[^\n]* | /\*.*?\*/          # space and comments
    | "(?P<text>(?:[^"\\\n]|\\.)*)" | (?P<word>[A-Za-z0-9_.+-]+) | (?P<mark>[{}\[\]=,:])""",
    re.DOTALL | re.VERBOSE,
)
_PARAMETERS = frozenset({"create", "update", "patch"})
"""Capabilities whose requests have parameters."""
_SHORTHAND = {  # the old form `policy = "write"`, which both servers still take
    "deny": {"deny"},
    "read": {"read", "list"},
    "write": {"create", "read", "update", "delete", "list"},
    "sudo": {"create", "read", "update", "delete", "list", "sudo"},
}


def rights_of(names: VaultNames, rights: PurposeKeys) -> Rights:
    """What the ACL of a purpose allows: its categories and indexes, and its own token's end.

    Who keeps keys sets the versions that may be used and nothing else of a key: ``exportable`` can't be undone.
    """
    keys = [
        *(f"decrypt/{names.category(name)}" for name in rights.unwrap),
        *(f"encrypt/{names.category(name)}" for name in rights.wrap),
        *(f"rewrap/{names.category(name)}" for name in rights.rewrap),
        *(f"hmac/{names.index(name)}" for name in rights.hmac),
        *(f"keys/{names.category(name)}/rotate" for name in rights.rotate),
        *(f"keys/{names.index(name)}/rotate" for name in rights.rotate_indexes),
    ]
    found = {f"{names.mount}/{path}": frozenset({"update"}) for path in keys}
    for key in (*map(names.category, rights.kept), *map(names.index, rights.kept_of("index"))):
        found[f"{names.mount}/keys/{key}"] = frozenset({"read"})
    for key in (*map(names.category, rights.retire), *map(names.index, rights.retire_indexes)):
        for verb, parameters in KEPT_PARAMETERS.items():
            found[f"{names.mount}/keys/{key}/{verb}"] = frozenset({_limited("update", parameters)})
    return dict(sorted(found.items())) | _SELF


def acl_text(names: VaultNames, purpose: str, rights: PurposeKeys) -> str:
    """The ACL policy (HCL) of one purpose. Its first line says whose it is."""
    return render_acl(names, purpose, rights_of(names, rights))


def render_acl(names: VaultNames, purpose: str, rights: Rights) -> str:
    """An ACL policy (HCL) of ours with these rights."""
    blocks = (_block(path, capabilities) for path, capabilities in rights.items())
    return f"# vaultstore: prefix {names.prefix}, purpose {purpose}\n" + "".join(blocks)


def _block(path: str, capabilities: frozenset[str]) -> str:
    lines = [f'path "{path}" {{', f"  capabilities = {json.dumps(sorted(c.partition('(')[0] for c in capabilities))}"]
    for capability in sorted(capabilities):
        if capability.endswith(")"):
            allowed = ", ".join(f"{json.dumps(name)} = []" for name in capability[:-1].partition("(")[2].split(","))
            lines.append(f"  allowed_parameters = {{ {allowed} }}")
    return "\n".join([*lines, "}\n"])


def _limited(capability: str, parameters: Iterable[str]) -> str:
    return f"{capability}({','.join(sorted(parameters))})"


def marked(text: str) -> tuple[str, str] | None:
    """Prefix and purpose that a vaultstore wrote into an ACL; None where none did."""
    found = _MARK.match(text)
    return (found[1], found[2]) if found else None


def common(one: Rights, other: Rights) -> Rights:
    """What both allow, path by path as written."""
    both = {path: one[path] & other[path] for path in one if path in other}
    return {path: capabilities for path, capabilities in both.items() if capabilities}


def written(rights: Rights) -> str:
    """Rights on one line, for people."""
    return ", ".join(f"{'+'.join(sorted(capabilities))} {path}" for path, capabilities in sorted(rights.items()))


def parse_acl(text: str, *, limits: bool = False) -> Rights | None:
    """Read an ACL policy in HCL or JSON; None where this reader does not understand it.

    Parameter constraints only narrow: they are passed over, but for `allowed_parameters` where `limits` are asked for.
    """
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else _body(_tokens(text), top=True)
        paths = document.get("path", {})
        found: dict[str, frozenset[str]] = {}
        for path, settings in paths.items():
            capabilities = set(settings.get("capabilities", []))
            if "policy" in settings:
                capabilities |= _SHORTHAND[settings["policy"]]
            if not all(isinstance(capability, str) for capability in capabilities):
                return None
            if limits and (allowed := settings.get("allowed_parameters")) and "*" not in allowed:
                given = [name if not values else f"{name}={values}" for name, values in allowed.items()]
                narrowed = capabilities & _PARAMETERS
                capabilities = capabilities - narrowed | {_limited(each, given) for each in narrowed}
            found[path] = found.get(path, frozenset()) | frozenset(capabilities)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            raise ValueError
        at = found.end()
        if found.lastgroup == "text":
            tokens.append(("text", json.loads(f'"{found["text"]}"')))
        elif found.lastgroup is not None:
            tokens.append((found.lastgroup, found[found.lastgroup]))
    tokens.reverse()
    return tokens


def _body(tokens: list[tuple[str, str]], *, top: bool = False) -> dict[str, Any]:
    """Attributes (``name = value``) and blocks (``name "label" { ... }``) up to the closing brace."""
    found: dict[str, Any] = {}
    while tokens:
        kind, name = tokens.pop()
        if (kind, name) == ("mark", "}") and not top:
            return found
        if (kind, name) == ("mark", ","):
            continue
        if kind == "mark":
            raise ValueError
        kind, text = tokens.pop()
        if (kind, text) in (("mark", "="), ("mark", ":")):
            found[name] = _value(tokens)
        elif (kind, text) == ("mark", "{"):
            found[name] = _body(tokens)
        elif kind == "text" and tokens.pop() == ("mark", "{"):
            block = _body(tokens)
            # The same path may be written twice: what either allows counts.
            known = text in found.setdefault(name, {})
            earlier = found[name].setdefault(text, {})
            if known and earlier.get("allowed_parameters") != block.get("allowed_parameters"):
                block["allowed_parameters"] = {}
            block["capabilities"] = [*earlier.get("capabilities", []), *block.get("capabilities", [])]
            earlier.update(block)
        else:
            raise ValueError
    if not top:
        raise ValueError
    return found


def _value(tokens: list[tuple[str, str]]) -> Any:
    kind, text = tokens.pop()
    if (kind, text) == ("mark", "{"):
        return _body(tokens)
    if (kind, text) != ("mark", "["):
        if kind == "mark":
            raise ValueError
        return text
    items = []
    while tokens[-1] != ("mark", "]"):
        items.append(_value(tokens))
        if tokens[-1] == ("mark", ","):
            tokens.pop()
    tokens.pop()
    return items
