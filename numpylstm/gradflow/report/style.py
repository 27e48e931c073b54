"""The look of the page: one column, the reader's light or dark, colours that colour-blind eyes tell apart."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fdfcf9; --card: #ffffff; --ink: #1d1d1f; --quiet: #5c5f66; --grid: #dcdad4;
  --line: #e6e3dc; --accent: #0072b2;
  --series-1: #0072b2; --series-2: #e69f00; --series-3: #009e73; --series-4: #cc79a7; --series-5: #56b4e9;
  --series-6: #d55e00; --series-7: #8a8a8a; --lift: 0%;
  --prose: Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
  --plain: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131416; --card: #1a1b1e; --ink: #e9e7e2; --quiet: #a3a5ab; --grid: #37393f; --line: #2c2e33;
    --accent: #56b4e9;
    --series-1: #4fa8e0; --series-2: #e69f00; --series-3: #1fbf92; --series-4: #d894ba; --series-5: #8fd0f5;
    --series-6: #f07b2c; --series-7: #a8a8a8; --lift: 25%;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 18px/1.55 var(--prose); }
main { max-width: 51.5rem; margin: 0 auto; padding: 3.5rem 1rem 4rem; }
header, section { margin-bottom: 4rem; }
header { margin-bottom: 2rem; }
h1 { font-size: 2.5rem; line-height: 1.15; letter-spacing: -.015em; margin: .2em 0 .6em; text-wrap: balance; }
h2 { font-size: 1.55rem; line-height: 1.25; letter-spacing: -.01em; margin: .1em 0 .7em; text-wrap: balance; }
p { margin: 0 0 .7em; text-wrap: pretty; }
.kicker { font: 600 .8rem/1.4 var(--plain); letter-spacing: .06em; text-transform: uppercase;
  color: var(--accent); margin: 0; }
.kicker span { font-variant-numeric: tabular-nums; }
.kicker em { font-style: normal; font-weight: 400; letter-spacing: 0; text-transform: none; color: var(--quiet); }
.kicker em::before { content: "\\b7"; margin: 0 .3em; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 0 0 1.2rem; font: .9rem/1.4 var(--plain); }
dt { color: var(--quiet); font-size: .8rem; }
dd { margin: 0; font-weight: 600; }
table { width: 100%; border-collapse: collapse; font: .9rem/1.35 var(--plain); font-variant-numeric: tabular-nums; }
table { margin: 0 0 .7rem; }
th, td { padding: .45rem 0 .45rem .9rem; text-align: right; vertical-align: bottom;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; font-weight: 400; white-space: normal; }
thead th { border-bottom-color: var(--quiet); }
th.chosen, td.chosen { color: var(--accent); font-weight: 600; }
.note { font: .85rem/1.45 var(--plain); color: var(--quiet); margin-bottom: 4rem; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; font-family: var(--plain); overflow: visible; }
svg text { font-family: var(--plain); }
svg.narrow { display: none; }
figcaption { margin-top: 1.1rem; font-size: 1rem; max-width: 44rem; }
.formula { margin: 1rem 0; padding: .9rem 1.1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overflow-x: auto; }
math { font-size: 1.1rem; font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre",
  math; }
math[display="block"] { margin: .6rem 0; width: max-content; }
.files { font: .82rem/1.6 var(--plain); color: var(--quiet); }
a { color: var(--accent); text-underline-offset: .15em; text-decoration-thickness: 1px; margin-right: .5em; }
footer { border-top: 1px solid var(--line); padding-top: 1.2rem; font: .85rem/1.55 var(--plain); color: var(--quiet); }
code { font: .85em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; color: var(--ink);
  overflow-wrap: anywhere; }
@media (max-width: 620px) {
  body { font-size: 17px; }
  main { padding-top: 2rem; }
  h1 { font-size: 1.8rem; }
  h2 { font-size: 1.32rem; }
  header, section, .note { margin-bottom: 3rem; }
  header { margin-bottom: 1.5rem; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
}
@media print { section { break-inside: avoid; } }
"""
