"""The look of the report: one style sheet, light and dark, from a phone to a wide screen."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #1b1d22; --soft: #5f6470; --line: #e4e4de; --track: #edede8;
  --accent: #0f766e; --accent-soft: #9cc9c3; --adabn: #c2740a; --control: #6d4bc3; --both: #b83280; --loss: #c0392b;
  --shade: #0003;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111317; --card: #191c22; --ink: #e8e9ec; --soft: #9aa0ac; --line: #2a2e37; --track: #262a32;
    --accent: #4fc3b5; --accent-soft: #2b5f5a; --adabn: #f0a63c; --control: #a78bfa; --both: #f08cc0; --loss: #ef7d6e;
    --shade: #000a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 56px 24px 80px; }
h1 { font-size: clamp(28px, 5vw, 42px); line-height: 1.1; letter-spacing: -.025em; margin: 4px 0 18px;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 26px 0 10px; }
h3 small { color: var(--soft); font-weight: 400; margin-left: 10px; }
p { margin: 0; }
figure { margin: 0; }
.over { color: var(--accent); font-weight: 600; font-size: 13px; letter-spacing: .02em; }
.about { color: var(--soft); max-width: 74ch; margin-bottom: 20px; }
.num { font-variant-numeric: tabular-nums; white-space: nowrap; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 26px 28px 28px;
  margin-top: 22px; }

.chips { list-style: none; display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 30px; padding: 0; }
.chips li { border: 1px solid var(--line); background: var(--card); border-radius: 99px; padding: 3px 12px;
  font-size: 13px; }
.chips span { color: var(--soft); margin-right: 7px; }
.headline { font-size: clamp(18px, 2.6vw, 23px); line-height: 1.4; max-width: 60ch; letter-spacing: -.01em;
  margin-bottom: 26px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 1px; margin: 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 14px; overflow: hidden; }
.numbers div { background: var(--card); padding: 18px 20px; display: flex; flex-direction: column-reverse;
  justify-content: flex-end; }
.numbers dt { font-weight: 600; line-height: 1.35; }
.numbers small { display: block; color: var(--soft); font-weight: 400; font-size: 13px; }
.numbers dd { margin: 0 0 4px; font-size: 34px; line-height: 1.15; font-weight: 650; letter-spacing: -.03em;
  font-variant-numeric: tabular-nums; }
.numbers .won { color: var(--accent); }
.numbers .lost { color: var(--loss); }

.bars { margin: 0 0 28px; }
.bar-row { display: grid; grid-template-columns: minmax(110px, 170px) 1fr 44px; gap: 14px; align-items: center;
  margin: 12px 0; }
.bar-row .name { font-weight: 550; line-height: 1.25; }
.bar-row > b { text-align: right; }
.track { position: relative; height: 24px; background: var(--track); border-radius: 5px; }
.fill { height: 100%; background: var(--accent-soft); border-radius: 5px; }
.fill.last { background: var(--accent); }
.mark { display: inline-block; width: 11px; height: 11px; border: 2px solid var(--card); box-sizing: content-box;
  flex: none; }
.track .mark { position: absolute; top: 50%; transform: translate(-50%, -50%); }
.mark.adabn { background: var(--adabn); border-radius: 50%; }
.mark.control { background: var(--control); border-radius: 1px; }
.mark.both { background: var(--both); border-radius: 1px; rotate: 45deg; width: 9px; height: 9px; }
.track .mark.both { rotate: none; transform: translate(-50%, -50%) rotate(45deg); }
.mark.bar { background: var(--accent); border: 0; border-radius: 3px; width: 20px; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px;
  font-variant-numeric: tabular-nums; margin: -6px 0 0; }
.axis span { width: 0; display: flex; justify-content: center; }
.alarm { border-left: 3px solid var(--loss); padding-left: 12px; margin-bottom: 10px; }
.keys { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 13px; color: var(--soft); }
.keys span { display: inline-flex; align-items: center; gap: 7px; }

.scroll { overflow-x: auto; margin: 0 -28px; padding: 0 28px;  /* a shadow at the side where there is more */
  background: linear-gradient(90deg, var(--card) 28px, transparent 52px) 0 / 60px 100% no-repeat local,
    linear-gradient(270deg, var(--card) 28px, transparent 52px) 100% / 60px 100% no-repeat local,
    linear-gradient(90deg, var(--shade), transparent 16px) 0 / 16px 100% no-repeat scroll,
    linear-gradient(270deg, var(--shade), transparent 16px) 100% / 16px 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 9px 0 9px 22px; text-align: right; border-top: 1px solid var(--line); vertical-align: top; }
th:first-child { text-align: left; padding-left: 0; }
thead th { border: 0; color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom;
  line-height: 1.3; }
tbody th { font-weight: 550; }
tbody th small { display: block; color: var(--soft); font-weight: 400; font-size: 12.5px; }
td { color: var(--soft); }
td:nth-child(2):not(.drawn) { color: var(--ink); }
td b { color: var(--ink); font-weight: 700; }
.classes th, .classes td { padding-top: 6px; padding-bottom: 6px; vertical-align: middle; white-space: nowrap; }
.classes thead th { white-space: normal; vertical-align: bottom; }
.drawn { width: 42%; min-width: 130px; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 9px; flex: none;
  vertical-align: -1px; box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--ink) 18%, transparent); }
.keys .swatch { margin: 0; }
.scale { display: flex; justify-content: space-between; }
.dumbbell { position: relative; height: 12px; }
.dumbbell::before { content: ""; position: absolute; inset: 5.5px 0 auto; height: 1px; background: var(--line); }
.way, .dot { position: absolute; top: 50%; transform: translateY(-50%); }
.way { height: 4px; border-radius: 2px; opacity: .4; }
.dot { width: 12px; height: 12px; border-radius: 50%; margin-left: -6px; }
.gain { background: var(--accent); }
.loss { background: var(--loss); }
.dot.from { background: var(--card); border: 2px solid var(--soft); }
.meter { height: 8px; border-radius: 4px; background: var(--track); overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--accent); border-radius: 4px; }

nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 26px; font-size: 14px; }
a { color: var(--accent); text-underline-offset: 3px; }
nav a { text-decoration: none; }
a:hover { text-decoration: underline; }
section { scroll-margin-top: 16px; }
.save { font-size: 13px; margin-top: 14px; }

.matrix { font-size: 12.5px; font-variant-numeric: tabular-nums; }
.matrix thead th { writing-mode: vertical-rl; rotate: 180deg; text-align: left; vertical-align: middle; padding: 6px 0;
  font-size: 12.5px; }
.matrix tbody th { white-space: nowrap; padding-right: 14px; }
.matrix td { text-align: center; vertical-align: middle; padding: 4px; min-width: 34px; color: var(--ink);
  border: 1px solid var(--card); background: color-mix(in srgb, var(--hue) var(--share), var(--track)); }
.matrix .right { --hue: var(--accent-soft); }
.matrix .wrong { --hue: var(--loss); }
.filter button { all: unset; cursor: pointer; display: inline-flex; align-items: center; gap: 7px; border-radius: 4px; }
.filter button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.filter [aria-pressed=true] { color: var(--ink); font-weight: 650; }
.slider { position: relative; margin-top: 14px; --at: 50%; }
.slider .over { position: absolute; inset: 0; height: 100%; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.slider i { position: absolute; inset: 0 auto 0 var(--at); width: 3px; margin-left: -1.5px; background: var(--card); }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }

.pictures { display: grid; gap: 10px; margin-top: 18px; }
.of6 { grid-template-columns: repeat(6, 1fr); }
.of5 { grid-template-columns: repeat(5, 1fr); }
.of4 { grid-template-columns: repeat(4, 1fr); }
.of3 { grid-template-columns: repeat(3, 1fr); }
.of2 { grid-template-columns: repeat(2, 1fr); }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 26px; }
.pairs > figure { margin-top: 18px; }
.pairs > figure > .pictures { margin-top: 0; }
img { display: block; width: 100%; border-radius: 7px; }
img.labels { image-rendering: pixelated; }
figcaption { font-size: 12.5px; color: var(--soft); margin-bottom: 4px; }
@media (min-width: 641px) {
  section > .pictures + .pictures { margin-top: 10px; }
  section > .pictures + .pictures:not(.said) figcaption { display: none; }
}

.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); gap: 20px 26px; }
.curve figcaption { display: flex; justify-content: space-between; margin: 0 0 2px; padding: 0 8px 0 42px; }
.curve figcaption small { color: var(--soft); font-weight: 400; margin-left: 7px; }
.curve figcaption span { color: var(--ink); font-weight: 550; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
svg text { font-size: 10.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); }
polyline { fill: none; stroke: var(--accent); stroke-linejoin: round; stroke-linecap: round; }
.raw { stroke-width: 1; opacity: .28; }
.smooth { stroke-width: 1.8; }

.line0, .mark.line0 { stroke: var(--accent); background: var(--accent); }
.line1, .mark.line1 { stroke: var(--adabn); background: var(--adabn); }
.line2, .mark.line2 { stroke: var(--control); background: var(--control); }
.line3, .mark.line3 { stroke: var(--both); background: var(--both); }
svg .level { stroke: var(--soft); stroke-dasharray: 4 4; }
.area { fill: var(--accent); opacity: .14; }
.dot-best { fill: var(--ink); }
.scroll + .curves { margin-top: 24px; }
.curve .keys { padding: 2px 8px 0 42px; font-size: 12.5px; gap: 2px 16px; }
.curve .keys > span { white-space: nowrap; }
.curve .keys b { color: var(--ink); }
.curve .keys .mark { width: 14px; height: 4px; border-radius: 2px; }
.keys .shades { gap: 1px; }
.shades i { width: 12px; height: 10px; background: var(--accent); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }

.warning { border-left: 3px solid var(--adabn); background: color-mix(in srgb, var(--adabn) 9%, transparent);
  border-radius: 0 8px 8px 0; padding: 9px 14px; margin: 0 0 18px; max-width: 86ch; }
.note { color: var(--soft); margin-top: 10px; font-size: 13.5px; }
.heat { display: flex; align-items: flex-start; gap: 14px; max-width: 420px; font-size: 13px; color: var(--soft); }
.heat > div { flex: 1; }
.heat i { display: block; height: 14px; border-radius: 4px; }
.heat .scale { font-variant-numeric: tabular-nums; font-size: 12px; margin-top: 2px; }

.record th, .record td { text-align: left; }
.record td:last-child { min-width: 150px; }
.record td div { white-space: nowrap; }
.told td div { white-space: normal; overflow-wrap: anywhere; }
.scroll + .scroll, .scroll + details { margin-top: 24px; }

details + details { border-top: 1px solid var(--line); margin-top: 14px; padding-top: 14px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 12.5px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: 14px 0 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 6px 26px;
  margin: 14px 0 0; font-size: 13.5px; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }

@media (max-width: 640px) {
  main { padding: 32px 14px 48px; }
  section { padding: 20px 16px 22px; border-radius: 12px; }
  .scroll { margin: 0 -16px; padding: 0 16px; }
  .of6, .of5, .of4, .of3 { grid-template-columns: repeat(2, 1fr); }
  .numbers { grid-template-columns: repeat(2, 1fr); }
  .numbers div { padding: 14px 16px; }
  .numbers dd { font-size: 28px; }
  .bar-row { grid-template-columns: 1fr 44px; gap: 4px 10px; }
  .bar-row .name { grid-column: 1 / -1; }
  .bar-row > span:empty { display: none; }
  th, td { padding-left: 16px; }
  tbody th { min-width: 130px; }
  .classes tbody th { min-width: 0; }
}
@media print { body { background: none; } section { break-inside: avoid; } }
"""
