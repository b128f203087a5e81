// SPDX-License-Identifier: MIT
// How the page looks: light and dark, on a wide screen and on a phone. The page carries
// it; its digest is in the policy that the page is sent with.

export const STYLE = `
:root { color-scheme: light dark;
  --page: #f3f5f7; --card: #fff; --line: #d5dce3; --text: #15202b; --soft: #51606f; --head: #5b6b7a;
  --good: #16703a; --doubtful: #8f4a00; --bad: #b81d1d; --plain: #51606f; --info: #1f5fae;
  --ok-fill: #14703a; --warning-fill: #f2b01e; --critical-fill: #bd1622; --order-fill: #1d4f91;
  --ok-ink: #fff; --warning-ink: #231800; --critical-ink: #fff; --order-ink: #fff;
  --chart: #1f6fb5; --tint: #1f6fb52b; --mark: #bd1622; --bad-row: #fdeeee; --doubtful-row: #fff6e5; --good-row: #ecf7f0; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1318; --card: #161e26; --line: #2b3743; --text: #e8eef4; --soft: #a3b2c0; --head: #93a3b2;
  --good: #56d089; --doubtful: #f5b94a; --bad: #ff8f8a; --plain: #a3b2c0; --info: #7fb6f5;
  --ok-fill: #115f31; --warning-fill: #e3a317; --critical-fill: #a8141f; --order-fill: #1b4a86;
  --chart: #58a6e8; --tint: #58a6e833; --mark: #ff7b75; --bad-row: #2d1a1c; --doubtful-row: #2b2415; --good-row: #15271e; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; }
code, time, table, .figure, .axis, .facts, .when { font-variant-numeric: tabular-nums; }
code { font: .92em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace; }
h1, h2, h3, p, ul, ol { margin: 0; padding: 0; }
h1, h2, h3, p, li, td, th { overflow-wrap: anywhere; }
a { color: var(--info); }
:focus-visible { outline: 3px solid var(--info); outline-offset: 2px; border-radius: 3px; }
.sheet { position: absolute; }
.icon { flex: none; width: 1em; height: 1em; fill: currentColor; }
.glyph { fill: none; stroke: var(--glyph, var(--card)); stroke-width: 2.8; stroke-linecap: round; stroke-linejoin: round; }

.top, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
.top { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; padding-top: 14px; padding-bottom: 12px; }
.top .name { font-weight: 700; font-size: 18px; }
.top .host { font-weight: 600; }
.top .soft { color: var(--soft); }
.top .asof { margin-left: auto; color: var(--soft); }
main { display: grid; gap: 14px; }
section, .card { min-width: 0; }
h2 { font-size: 13px; font-weight: 650; letter-spacing: .04em; text-transform: uppercase; color: var(--head); }
small { font-size: inherit; font-weight: 400; text-transform: none; letter-spacing: 0; }

#verdict { display: flex; gap: 22px; align-items: center; padding: 20px 24px; border-radius: 12px;
  background: var(--fill); color: var(--ink); --glyph: var(--fill); }
#verdict.ok { --fill: var(--ok-fill); --ink: var(--ok-ink); }
#verdict.warning { --fill: var(--warning-fill); --ink: var(--warning-ink); }
#verdict.critical { --fill: var(--critical-fill); --ink: var(--critical-ink); }
#verdict > .icon { font-size: 76px; }
#verdict h1 { font-size: 30px; line-height: 1.2; font-weight: 600; margin-bottom: 6px; }
#verdict .word { font-weight: 800; letter-spacing: .03em; margin-right: .35em; }
#verdict .icon .glyph { stroke-width: 3; }

.order { display: flex; gap: 16px; align-items: center; padding: 12px 24px; border-radius: 12px;
  background: var(--order-fill); color: var(--order-ink); --glyph: var(--order-fill); }
.order .icon { font-size: 34px; margin: 0 24px 0 21px; }
.order h2 { color: inherit; font-size: 18px; letter-spacing: 0; text-transform: none; }

.card, #problems, #servers, #failovers { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px; }
#problems { border-left-width: 6px; }
#problems.warning { border-left-color: var(--doubtful); --tone: var(--doubtful); }
#problems.critical { border-left-color: var(--bad); --tone: var(--bad); }
#problems ul { list-style: none; }
#problems li { display: flex; gap: 10px; margin-top: 8px; font-size: 16px; }
#problems .icon { color: var(--tone); font-size: 18px; margin-top: 3px; }

#figures { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 14px; }
.figure { font-size: 32px; line-height: 1.25; font-weight: 650; white-space: nowrap; }
.busy .figure { color: var(--doubtful); }
.note { color: var(--soft); min-height: 1.45em; }
.spark { display: block; width: 100%; height: 52px; margin-top: 8px; border-bottom: 1px solid var(--line); }
.spark path { vector-effect: non-scaling-stroke; }
.area { fill: var(--tint); }
.line { fill: none; stroke: var(--chart); stroke-width: 1.8; stroke-linejoin: round; }
.mark { fill: none; stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 3 3; }
.axis { display: flex; justify-content: space-between; gap: 8px; margin-top: 4px; font-size: 12px; color: var(--soft); }
.share { display: inline-block; vertical-align: middle; width: 48px; height: 7px; margin-left: 8px; border-radius: 4px; }
.share .all { fill: var(--line); } .share .part { fill: var(--chart); }

table { border-collapse: collapse; width: 100%; }
#servers > h2, #failovers > h2 { margin-bottom: 8px; }
#servers { padding-bottom: 8px; }
#servers th, #servers td { padding: 9px 12px; text-align: left; border-top: 1px solid var(--line); vertical-align: middle; }
#servers thead th { border-top: 0; padding-top: 0; padding-bottom: 7px; font-size: 12.5px; font-weight: 600; color: var(--head); white-space: nowrap; }
#servers tbody th { font-weight: 650; min-width: 130px; }
#servers td:nth-child(n+3):nth-child(-n+8), #servers thead th:nth-child(n+3):nth-child(-n+8) { text-align: right; white-space: nowrap; }
.badge { display: inline-flex; vertical-align: middle; align-items: center; gap: 7px; font-weight: 650; color: var(--tone); white-space: nowrap; --glyph: var(--row, var(--card)); }
.badge .icon { font-size: 17px; }
.good { --tone: var(--good); --row: var(--good-row); } .plain { --tone: var(--plain); }
.doubtful { --tone: var(--doubtful); --row: var(--doubtful-row); } .bad { --tone: var(--bad); --row: var(--bad-row); }
tr.good, tr.doubtful, tr.bad { background: var(--row); }
td code { color: var(--soft); }

#failovers ol { list-style: none; margin-left: 7px; border-left: 2px solid var(--line); }
#failovers li { position: relative; padding: 0 0 16px 24px; }
#failovers li::before { content: ""; position: absolute; left: -8px; top: 4px; width: 14px; height: 14px; border-radius: 50%;
  background: var(--chart); border: 3px solid var(--card); box-sizing: border-box; box-shadow: 0 0 0 2px var(--chart); }
#failovers li.running::before { background: var(--bad); box-shadow: 0 0 0 2px var(--bad); }
#failovers li.running h3 { color: var(--bad); }
#failovers li.start, #failovers li.more { color: var(--soft); padding-bottom: 2px; }
#failovers li.start::before, #failovers li.more::before { background: var(--card); box-shadow: 0 0 0 2px var(--line); }
#failovers h3 { font-size: 18px; font-weight: 650; line-height: 1.35; }
.when { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 6px; margin: 6px 0; }
.facts span { padding: 1px 9px; border: 1px solid var(--line); border-radius: 99px; white-space: nowrap; }
details { margin-top: 4px; } summary { cursor: pointer; color: var(--info); width: fit-content; }
details table { margin-top: 4px; width: auto; }
details td, details th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; font-weight: 400; }
details th { font-weight: 650; } details td:first-child { text-align: right; color: var(--soft); white-space: nowrap; }

footer { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); padding-top: 14px; padding-bottom: 24px; }
#stale { position: sticky; top: 0; z-index: 1; padding: 14px 24px; background: #3b0a45; color: #fff; font-size: 18px; text-align: center;
  border-bottom: 4px solid #ffd23f; }
#stale[hidden] { display: none; }
#stale strong { letter-spacing: .03em; } #stale i { font-style: normal; }
.stale main { filter: grayscale(1); opacity: .7; }
.stale #verdict { background: repeating-linear-gradient(135deg, #5b6670 0 18px, #4b555e 18px 36px); --ink: #fff; --glyph: #4b555e; }
.stale #verdict .word::before { content: "WAS "; } .stale #verdict > .icon { opacity: .35; }
#live { display: none; margin-right: 12px; color: var(--good); font-weight: 650; } .live:not(.stale) #live { display: inline; }
#live::before { content: ""; display: inline-block; width: 9px; height: 9px; margin-right: 6px; border-radius: 50%; background: var(--good); }

@media (max-width: 980px) { #figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 820px) {
  #servers thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  #servers table, #servers tbody { display: block; }
  #servers tbody tr { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 2px 16px; margin: 0 -18px; padding: 12px 18px; border-top: 1px solid var(--line); }
  #servers tbody th, #servers tbody td { border: 0; padding: 1px 0; }
  #servers tbody th, #servers .role { grid-column: 1 / -1; } #servers tbody th { font-size: 17px; }
  #servers .role { margin-bottom: 4px; }
  #servers td[data-title] { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 10px; white-space: normal; text-align: right; }
  #servers td[data-title]::before { content: attr(data-title); color: var(--soft); font-weight: 400; }
  #servers td[data-title="Address"] { grid-column: 1 / -1; }
  #servers .share { display: none; }
}
@media (max-width: 560px) {
  .top, main, footer { padding-left: 12px; padding-right: 12px; } .top .asof { margin-left: 0; width: 100%; }
  main { gap: 10px; }
  #verdict { gap: 14px; padding: 16px; align-items: flex-start; } #verdict > .icon { font-size: 48px; } #verdict h1 { font-size: 22px; }
  #verdict .word { display: block; font-size: 28px; }
  .order { padding: 12px 16px; } .order .icon { margin: 0 8px 0 7px; }
  #figures { gap: 10px; } .card { padding: 10px 12px; } .figure { font-size: 24px; }
  .note { font-size: 13px; } .axis span:first-child, .axis span:last-child { display: none; }
  #failovers { padding-right: 12px; } #failovers li { padding-left: 16px; }
  details table, details tbody, details tr { display: block; } details td, details th { display: inline; padding-right: 8px; }
  details td:last-child { display: block; padding-bottom: 6px; }
}
@media (prefers-contrast: more) { :root { --line: currentColor; --soft: var(--text); --head: var(--text); } }
`;
