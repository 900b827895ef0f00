"""How a page looks: one style sheet, for light and dark screens and for paper."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1d2126; --soft: #5d6670; --line: #e2dfd8;
  --instant: #7b8794; --thinking: #d9730d; --contemplating: #3457a6; --base: #9a8f7f; --good: #23804a; --bad: #b8322a;
  --look: #ffb000; --wash: #f3f0e9; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1d2024; --ink: #e8e6e1; --soft: #9aa2ab;
  --line: #33373c; --instant: #97a3b0; --thinking: #f0953f; --contemplating: #86a6f0; --base: #a89c8b; --good:
  #5dc389;
  --bad: #f08a80; --wash: #24282d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans",
  sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1040px; margin: 0 auto; padding: 48px 28px 64px; }
header p.over { margin: 0; color: var(--soft); letter-spacing: .08em; text-transform: uppercase; font-size: 12px; }
h1 { font-size: 34px; line-height: 1.15; margin: 6px 0 10px; letter-spacing: -.015em; }
h2 { font-size: 20px; margin: 52px 0 4px; letter-spacing: -.01em; }
p.lead { font-size: 19px; line-height: 1.45; max-width: 46em; margin: 0 0 6px; }
p.note, figcaption, footer { color: var(--soft); font-size: 14px; max-width: 62em; }
p.note { margin: 2px 0 14px; }
p.warn { border-left: 4px solid var(--bad); padding: 4px 12px; background: var(--wash); }
b.instant { color: var(--instant); } b.thinking { color: var(--thinking); }
b.contemplating { color: var(--contemplating); }
table { border-collapse: collapse; width: 100%; font-size: 15px; margin: 12px 0; }
th { font-weight: 600; color: var(--soft); font-size: 13px; text-align: right; padding: 4px 10px;
  vertical-align: bottom; }
td { text-align: right; padding: 7px 10px; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th:last-child, td:last-child {
  padding-right: 0; }
td.big { font-size: 20px; font-weight: 650; }
tr.base td { color: var(--soft); } tr.base td.big { font-size: 16px; font-weight: 500; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 8px; }
tr.base .key { background: none !important; border: 2px solid var(--base); border-radius: 50%; }
.wide { overflow-x: auto; }
figure { margin: 14px 0 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 18px 18px 12px; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; }
svg text { font: 13px system-ui, "Segoe UI", "Noto Sans", sans-serif; fill: var(--ink); }
svg text.soft { fill: var(--soft); font-size: 12px; } svg text.strong { font-weight: 600; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .guess { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 2 3; opacity: .55; }
svg .leader { stroke: var(--soft); stroke-width: .8; opacity: .7; }
svg .rope { fill: none; stroke: var(--soft); stroke-width: 1.5; opacity: .6; }
svg .whisker { stroke-width: 2; }
.instant { --c: var(--instant); } .thinking { --c: var(--thinking); } .contemplating { --c: var(--contemplating); }
.baseline { --c: var(--base); }
svg .bar { fill: var(--c); } svg .dot { fill: var(--c); } svg .ring { fill: var(--card); stroke: var(--c);
  stroke-width: 2; }
svg .whisker, svg .link { stroke: var(--c); } svg .link { stroke-width: 3; opacity: .45; fill: none; }
.over-bar { stroke: var(--ink); stroke-width: 1.5; opacity: .75; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; color: var(--soft); margin: 0 0 8px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px;
  background: var(--c); }
.legend i.dash { width: 0; height: 13px; border-left: 2px dashed var(--ink); border-radius: 0; background: none;
  opacity: .6; vertical-align: -2px; }
.examples { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; margin-top: 14px; }
.example { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px;
  break-inside: avoid; display: flex; flex-direction: column; gap: 10px; min-width: 0; }
.example h3 { margin: 0; font-size: 13px; color: var(--soft); font-weight: 600; display: flex; gap: 8px; }
.example h3 span.mark { margin-left: auto; }
.good { color: var(--good); font-weight: 650; } .bad { color: var(--bad); font-weight: 650; }
.shown { position: relative; flex: none; border-radius: 8px; overflow: hidden; border: 1px solid var(--line); }
.shown img { display: block; width: 100%; height: auto; }
.shown svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.shown rect.look { fill: none; stroke: var(--look); stroke-width: 7; }
.shown rect.under { fill: none; stroke: #000; stroke-width: 11; opacity: .45; }
.shown text { font-size: 44px; font-weight: 700; fill: var(--look); stroke: #000; stroke-width: 8; paint-order:
  stroke; }
.asked { font-size: 17px; font-weight: 600; overflow-wrap: anywhere; }
.thought { font-size: 14px; color: var(--soft); border-left: 3px solid var(--line); padding-left: 10px;
  overflow-wrap: anywhere; white-space: pre-wrap; }
.thought code { color: var(--ink); background: var(--wash); border-radius: 4px; padding: 1px 5px; font-size: 12.5px; }
.answers { display: grid; grid-template-columns: auto 1fr auto; gap: 2px 12px; font-size: 14px; margin-top: auto; }
.answers span { overflow-wrap: anywhere; } .answers .who { color: var(--soft); }
footer { margin-top: 56px; border-top: 1px solid var(--line); padding-top: 14px; }
footer dt { font-weight: 600; color: var(--ink); margin-top: 8px; } footer dd { margin: 0; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 13px; }
@media screen and (max-width: 760px) { .pair, .examples { grid-template-columns: 1fr; } main { padding: 28px 16px; } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc; --wash: #f4f4f4;
  --instant: #7b8794; --thinking: #d9730d; --contemplating: #3457a6; --base: #888; --good: #23804a; --bad: #b8322a; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 12px; } p.lead { font-size: 15px; } table, th { font-size: 10.5px; }
  th, td { padding: 3px 5px; } td.big, tr.base td.big { font-size: 12px; }
  main { padding: 0; max-width: none; } h2 { break-after: avoid; margin-top: 28px; }
  @page { size: A4; margin: 14mm; } }
"""
