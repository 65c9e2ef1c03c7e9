"""The guide's blocks as files and as one program whose comments are checked: `# -> value` and `# raises Error`."""

from __future__ import annotations

import ast
import re
import tokenize
from io import StringIO
from pathlib import Path

__all__ = ["FILE", "blocks", "files", "program"]

FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
"""First line of a block that is a file."""

_CLAIM = re.compile(r"# (->|raises) (.+)")

_HELPERS = """
import re as _re
def _shows(line, value, expected):
    pattern = ".*?".join(map(_re.escape, expected.split("...")))
    assert _re.fullmatch(pattern, repr(value), _re.DOTALL), f"line {line}: {value!r} is not {expected}"
class _Raises:
    def __init__(self, line, name):
        self.line, self.name = line, name
    def __enter__(self):
        return self
    def __exit__(self, kind, error, traceback):
        assert kind is not None, f"line {self.line}: nothing is raised, not {self.name}"
        names = [k.__name__ for k in kind.__mro__]
        assert self.name in names, f"line {self.line}: raises {kind.__name__}, not {self.name}: {error}"
        return True
"""


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """(line in the page, text) of every block of a language."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(page.count("\n", 0, match.start(1)), match[1]) for match in found]


def files(page: str, folder: Path) -> None:
    """Write the blocks that are files into `folder`."""
    for _, text in [*blocks(page, "python"), *blocks(page, "yaml")]:
        if name := FILE.match(text):
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def program(page: str) -> str:
    """The other blocks as one program that fails where a claim does not hold."""
    parts = [ast.parse(_HELPERS).body]
    for line, text in blocks(page, "python"):
        if not FILE.match(text):
            claims = _claims(text)
            tree = ast.parse(text)
            _Checked(claims, line).visit(tree)
            assert not claims, f"line {line + min(claims)}: a claim beside no statement"
            parts.append(tree.body)
    module = ast.Module([statement for part in parts for statement in part], [])
    return ast.unparse(ast.fix_missing_locations(module))


def _claims(text: str) -> dict[int, tuple[str, str]]:
    """Line in the block -> (kind, what) of each claim."""
    claims = {}
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.COMMENT and (found := _CLAIM.fullmatch(token.string)):
            claims[token.start[0]] = (found[1], found[2])
    return claims


class _Checked(ast.NodeTransformer):
    """Puts each statement that a claim stands beside into a check of that claim."""

    def __init__(self, claims: dict[int, tuple[str, str]], offset: int) -> None:
        self._claims, self._offset = claims, offset

    def visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, ast.stmt) or hasattr(node, "body"):
            return self.generic_visit(node)
        claim = self._claims.pop(node.end_lineno or 0, None)
        if claim is None:
            return node
        kind, what = claim
        line = ast.Constant(self._offset + node.lineno)
        if kind == "raises":
            context = ast.Call(ast.Name("_Raises", ast.Load()), [line, ast.Constant(what)], [])
            return ast.With([ast.withitem(context)], [node])
        assert isinstance(node, ast.Expr), f"line {line.value!r}: only an expression shows something"
        return ast.Expr(ast.Call(ast.Name("_shows", ast.Load()), [line, node.value, ast.Constant(what)], []))
