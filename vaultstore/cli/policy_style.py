"""How the matrix page looks: on a screen, light or dark, and on paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --head: #f3f5f7;
  --clear: #ffd9d3; --clear-ink: #7a1508; --masked: #fdf0c4; --masked-ink: #5d4300; --right: #0b5394;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --ink: #e6e9ec; --soft: #9aa4ae; --line: #3a424b; --head: #1f2429;
    --clear: #571f17; --clear-ink: #ffd9d3; --masked: #473a10; --masked-ink: #fdf0c4; --right: #8cc4ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 110rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
  sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.25rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { margin: 0 0 .3rem; font-size: 1.05rem; }
p { margin: .3rem 0 .7rem; max-width: 75ch; }
a { color: var(--right); }
code { font: .88em ui-monospace, "SFMono-Regular", Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .6rem 0; padding: 0; list-style: none; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }
.scroll { overflow-x: auto; position: relative; }
.place { white-space: nowrap; }
td { max-width: 32rem; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; white-space: nowrap; }
.scroll + .soft { font-size: .85rem; }
.scroll { margin-top: .8rem; }
th, td { border: 1px solid var(--line); padding: .22rem .5rem; text-align: left; vertical-align: top; }
thead th { background: var(--head); vertical-align: bottom; }
tbody th { font-weight: 600; background: var(--head); white-space: nowrap; }
.matrix tbody th { position: sticky; left: 0; }
.matrix td { white-space: nowrap; }
.matrix th small { font-weight: 400; color: var(--soft); }
td.clear, .key.clear { background: var(--clear); color: var(--clear-ink); font-weight: 600; }
td.masked, .key.masked { background: var(--masked); color: var(--masked-ink); }
td.none { color: var(--soft); }
.right { color: var(--right); font-weight: 600; text-decoration: none; }
.key { display: inline-block; border: 1px solid var(--line); padding: 0 .45rem; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .8rem 0; padding: 0; list-style: none; }
.purpose { border: 1px solid var(--line); border-radius: 4px; padding: .8rem 1rem; margin: 0 0 .8rem; }
.purposes { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: .8rem;
  align-items: start; }
.purposes .purpose { margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .12rem .9rem; margin: .5rem 0 0; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { .purposes { grid-template-columns: 1fr; } body { padding: .8rem; } }
@page { size: A4 landscape; margin: 11mm; }
@media print {
  :root {
    color-scheme: light; font-size: 8.5pt;
    --page: #fff; --ink: #000; --soft: #444; --line: #888; --head: #eee;
    --clear: #ffd9d3; --clear-ink: #000; --masked: #fdf0c4; --masked-ink: #000; --right: #000;
  }
  body { padding: 0; max-width: none; font-size: 8.5pt; }
  nav, .skip { display: none; }
  a { color: inherit; text-decoration: none; }
  h2 { break-after: avoid; }
  table, dl { font-size: 7pt; }
  dl { gap: 0 5pt; }
  th, td { padding: 1pt 2.5pt; }
  thead { display: table-header-group; }
  tr, .purpose, .scroll { break-inside: avoid; }
  .matrix tbody th { position: static; }
  .scroll { overflow: visible; }
  .purposes { display: block; columns: 3; column-gap: 5mm; }
  .purposes .purpose { margin-bottom: 3.5mm; padding: 5pt 7pt; }
  td, th, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
"""No font, image or script is fetched: the page has none."""
