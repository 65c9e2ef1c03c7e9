"""The JSON Schema of a policy file, for editors: keys, words and forms, as far as one file alone shows them.

An editor that knows it completes keys, explains them, and marks what `load` would refuse. What needs a second look at
the files (names that are defined elsewhere) or at the models is left to `policy check`.
"""

from __future__ import annotations

from typing import Any

from vaultstore.policy.model import KEEPS, KEY_VERBS
from vaultstore.policy.words import BASES, LABELS

__all__ = ["schema"]

_Json = dict[str, Any]

_NAME = r"^[a-z][a-z0-9_]{0,47}$"
_PURPOSE = r"^(?=.{1,64}$)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
_SERVICE = r"^[a-z][a-z0-9_-]{0,47}$"
_WORD = "[A-Za-z_][A-Za-z0-9_]{0,62}"
_ZONE = r"^(UTC|(?!posix/|right/)[A-Za-z_]+(/[A-Za-z0-9_+-]+)+)$"
_TIME, _SOME_TIME = r"^[0-9]{1,6}[smhd]$", r"^(?=.{2,7}$)0*[1-9][0-9]*[smhd]$"


def schema() -> _Json:
    """A new JSON Schema (draft 2020-12) of one policy file, as JSON data."""
    named = {"type": "object", "propertyNames": {"pattern": _NAME}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vaultstore:policy:1",
        "title": "vaultstore policy",
        **_object(
            {
                "version": {"description": "The form of this file: 1.", "type": "integer", "const": 1},
                "timezone": _text("Where calendar days begin, for limits per day. Set once in all files.", _ZONE),
                "roles": {
                    "description": "Every role that a token may carry, and who that is.",
                    **named,
                    "additionalProperties": _text("Who that is."),
                },
                "categories": {
                    "description": "Groups of fields, each under a key of its own: the units of disclosure.",
                    **named,
                    "additionalProperties": _category(),
                },
                "purposes": {
                    "description": "What may be done, what for, and by whom.",
                    "type": "object",
                    "propertyNames": {"pattern": _PURPOSE},
                    "additionalProperties": _purpose(),
                },
                "services": {
                    "description": "Programs: each has one database login, and acts under its purposes only.",
                    "type": "object",
                    "propertyNames": {"pattern": _SERVICE},
                    "additionalProperties": _service(),
                },
                "never": {
                    "description": "Lines that no purpose may cross, whoever writes it.",
                    "type": "array",
                    "items": _never(),
                },
                "tests": {
                    "description": "What is expected of the policy; `policy check` runs them.",
                    "type": "array",
                    "items": _test(),
                },
            },
            "version",
        ),
    }


def _object(properties: _Json, *required: str) -> _Json:
    made: _Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


def _text(description: str, pattern: str = r"\S") -> _Json:
    return {"description": description, "type": "string", "pattern": pattern}


def _flag(description: str) -> _Json:
    return {"description": description, "type": "boolean", "default": False}


def _whole(description: str, low: int, high: int, **more: int) -> _Json:
    return {"description": description, "type": "integer", "minimum": low, "maximum": high, **more}


def _list(description: str, item: _Json, *, empty: bool = False) -> _Json:
    made: _Json = {"description": description, "type": "array", "items": item, "uniqueItems": True}
    return made if empty else {**made, "minItems": 1}


def _form(pattern: str) -> _Json:
    return {"type": "string", "pattern": pattern}


def _by_model(description: str, item: _Json) -> _Json:
    names = {"pattern": f"^{_WORD}$"}
    return {"description": description, "type": "object", "propertyNames": names, "additionalProperties": item}


def _category() -> _Json:
    made = _object(
        {
            "description": _text("What it holds."),
            "sensitive": _flag("Sensitive personal data: `check` asks for limits where it is read in clear."),
            "projection": _flag("It holds masks of fields of other categories, made when those are written."),
            "consent": _text(
                "Its own kind of consent, which purposes based on consent take to open or write it.", _NAME
            ),
        }
    )
    both = {key: {"const": True} for key in ("sensitive", "projection")}
    sensitive = {"properties": {"sensitive": {"const": True}}, "required": ["sensitive"]}
    barred = {"properties": both, "required": list(both)}
    return {**made, "not": barred, "dependentSchemas": {"consent": sensitive}}


def _purpose() -> _Json:
    category = _form(_NAME)
    read = _object(
        {
            "categories": _list(
                "Sources are read in clear, cards as masks; empty: clear columns only.", category, empty=True
            ),
            "rows": _text("The row scope that narrows what is seen; without one, all rows.", f"^{_WORD}$"),
        },
        "categories",
    )
    return _object(
        {
            "description": _text("What it is for, in a sentence."),
            "label": {"description": "Data use, in keys of the Fides taxonomy.", "enum": sorted(LABELS)},
            "dpv": _text("An IRI of the Data Privacy Vocabulary.", r"^https?://[^ ]+$"),
            "basis": {"description": "Legal basis.", "enum": sorted(BASES)},
            "roles": _list("Roles that may have a token for it.", _form(_NAME)),
            "read": _by_model("What it reads of each model.", read),
            "search": _by_model("Fields it may search by equality.", _list("Fields.", _form(f"^{_WORD}$"))),
            "write": _by_model("Source categories that it writes.", _list("Categories.", category, empty=True)),
            "approves": _list("Purposes whose access requests it may approve.", _form(_PURPOSE)),
            "keeps_keys": _list("Upkeep of the categories' keys; nothing is opened by it.", {"enum": list(KEY_VERBS)}),
            "replaces_keys": _flag("It may destroy a named subject's data keys for new ones that it made."),
            "requires": _requires(),
            "limits": _limits(),
            "batch": _whole("Objects that one disclosure opens at most.", 1, 1000, default=50),
            "ttl": {**_text("How long a token holds, at most 1d.", _SOME_TIME), "default": "15m"},
            "report_after": {**_text("When a member's report shows the content of an access.", _TIME), "default": "0d"},
        },
        "roles",
    )


def _requires() -> _Json:
    return {
        "description": "What must hold before the gate opens.",
        **_object(
            {
                "consent": _text("Kind of consent that the member must have given.", _NAME),
                "case": _flag("An open case, assigned to the actor, that names the member."),
                "approvals": _whole("How many other people must have agreed to exactly this.", 0, 9, default=0),
                "subjects": {
                    "description": "named: the token lists its members. self: the actor only.",
                    "enum": ["named", "self"],
                },
                "sees_restricted": _flag("It goes on for members whose processing is restricted."),
                "sees_canaries": _flag("Rows that are nobody's, planted to trace leaks, are members to it."),
            }
        ),
    }


def _limits() -> _Json:
    said = {
        "disclose": ("Distinct members that are opened.", ["actor", "purpose"]),
        "search": ("Values that are searched for.", ["actor", "purpose"]),
        "contact": ("Calls and texts.", ["actor", "subject", "purpose"]),
        "claim": ("Distinct members that are claimed as leads.", ["actor", "purpose"]),
        "assign": ("Distinct members whose leads are given to somebody else.", ["actor", "purpose"]),
    }
    window = {
        "description": "day, or a sliding window such as 1h or 30d.",
        "anyOf": [{"const": "day"}, _form(_SOME_TIME)],
    }
    verbs = {}
    for verb, (what, holders) in said.items():
        counted = {
            "max": _whole("How many.", 1, 10**9),
            "per": window,
            "by": {"description": "For each.", "enum": holders},
        }
        verbs[verb] = {"description": what, "type": "array", "minItems": 1, "items": _object(counted, *counted)}
    return {"description": "How much, in which time.", **_object(verbs)}


def _service() -> _Json:
    return _object(
        {
            "description": _text("Which program that is."),
            "purposes": _list("Purposes that it acts under.", _form(_PURPOSE)),
            "keeps": _list("Records of the gate that it may write besides.", {"enum": list(KEEPS)}, empty=True),
        },
        "purposes",
    )


def _never() -> _Json:
    masks = _list("Cards that are allowed all the same.", _form(_NAME))
    exceptions = {"type": "object", "propertyNames": {"pattern": rf"^{_WORD}\.{_WORD}$"}, "additionalProperties": masks}
    return _object(
        {
            "roles": _list("Whom it bars.", _form(_NAME)),
            "categories": _list("From what, and from every mask of its fields.", _form(_NAME)),
            "except": {"description": "Model.field: cards that are let through.", **exceptions},
            "because": _text("Why: whoever meets the bar reads this."),
        },
        "roles",
        "categories",
        "because",
    )


def _test() -> _Json:
    made = _object(
        {
            "purpose": _form(_PURPOSE),
            "model": _form(f"^{_WORD}$"),
            "field": {"description": "Without one, the test is of the model's rows.", **_form(f"^{_WORD}$")},
            "verb": {"enum": ["read", "search", "write"], "default": "read"},
            "expect": {"type": "string"},
        },
        "purpose",
        "model",
        "expect",
    )
    of_field = {"required": ["field"]}
    reads = {"properties": {"verb": {"const": "read"}}}
    seen = {
        "properties": {"expect": {"anyOf": [{"enum": ["clear", "denied"]}, _form("^masked:[a-z][a-z0-9_]{0,47}$")]}}
    }
    allowed = {"properties": {"expect": {"enum": ["allowed", "denied"]}}}
    rows = {"if": of_field, "else": {"properties": {"verb": {"enum": ["read", "write"]}}}}
    return {**made, "allOf": [{"if": {"allOf": [of_field, reads]}, "then": seen, "else": allowed}, rows]}
