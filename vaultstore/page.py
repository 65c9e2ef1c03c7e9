"""The frame of our pages: one file that fetches nothing and runs nothing, for a screen and for paper."""

from __future__ import annotations

from vaultstore.markup import Markup, join, tag

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --head: #f3f5f7;
  --bad: #ffd9d3; --bad-ink: #7a1508; --bar: #0b5394; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e6e9ec; --soft: #9aa4ae; --line: #3a424b;
  --head: #1f2429; --bad: #571f17; --bad-ink: #ffd9d3; --bar: #8cc4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 90rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
  sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; }
h2 { margin: 2rem 0 .6rem; font-size: 1.2rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
p, li { max-width: 80ch; }
code { font: .88em ui-monospace, "SFMono-Regular", Consolas, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; margin-top: .8rem; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { border: 1px solid var(--line); padding: .22rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
thead th { background: var(--head); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.when { white-space: nowrap; }
tr.bad th, tr.bad td, td.bad { background: var(--bad); color: var(--bad-ink); font-weight: 600; }
svg { display: block; max-width: 100%; height: auto; }
svg rect { fill: var(--bar); }
svg text { fill: var(--soft); font-size: 10px; }
@page { size: A4 landscape; margin: 11mm; }
@media print {
  :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444; --line: #888; --head: #eee; --bar: #333; }
  body { padding: 0; max-width: none; font-size: 9pt; }
  table { font-size: 7.5pt; }
  thead { display: table-header-group; }
  tr, li { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  tr.bad th, tr.bad td, td.bad, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(title: str, body: Markup) -> str:
    """A whole page around `body`."""
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", title),
            Markup(f"<style>{_STYLE}</style>"),
        ),
        "\n",
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
