// SPDX-License-Identifier: MIT
// The status page of each state of things; that nothing in it can become markup; that
// nobody has to tell anything by its colour alone, or can fail to read it.

import { createHash } from 'node:crypto';

import type { FailoverDocument, FailoversDocument } from '#src/control/documents.js';
import type { Verdict } from '#src/election.js';
import { statusDocument } from '#src/control/status-document.js';
import type { StatusInput } from '#src/control/status-document.js';
import { pageHeaders, statusPage } from '#src/status/page.js';
import { StatusSite } from '#src/status/site.js';
import { STYLE } from '#src/status/style.js';
import type { TrafficPoint } from '#src/status/traffic-ring.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { candidate, failed, primary, standby } from '../helpers/observations.js';
import { NONE, NOON, NOW, PRIMARY, statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('status page');

const START = historyOf([]);

function failover(minutesAgo: number, change: Partial<FailoverDocument> = {}): FailoverDocument {
  const at = new Date(NOON - minutesAgo * 60_000).toISOString();
  return {
    at,
    old: 'b:5432',
    new: 'a:5432',
    old_timeline: 2,
    new_timeline: 3,
    cause: 'the probe connection to b:5432 broke',
    decided_in_ms: 31.4,
    sessions_cut: 1,
    clients_held: 2,
    steps: [{ at, step: 'doubt', ms: 0, detail: 'the probe connection to b:5432 broke' }],
    ...change,
  };
}

function historyOf(failovers: readonly FailoverDocument[], total = failovers.length): FailoversDocument {
  return { since: new Date(NOON - NOW).toISOString(), total, failovers };
}

interface Shown {
  readonly history?: FailoversDocument;
  readonly points?: readonly TrafficPoint[];
}

function page(change: Partial<StatusInput> = {}, { history = START, points = [] }: Shown = {}): string {
  return statusPage(statusDocument(statusInput(change)), points, history, { host: 'gw1', now: NOON });
}

/** What can be read of it, or of the section that has this id. */
function text(html: string, id?: string): string {
  const body = /<body>(.*)<\/body>/su.exec(html)?.[1] ?? '';
  const part = id === undefined ? body : (new RegExp(`<(\\w+)[^>]*id="${id}".*?</\\1>`, 'su').exec(body)?.[0] ?? '');
  return part
    .replace(/<script>.*<\/script>/su, '')
    .replaceAll(/<[^>]*>/gu, ' ')
    .replaceAll(/\s+/gu, ' ')
    .replaceAll(/ (?=[,;.:])/gu, '')
    .trim();
}

function titleOf(html: string): string | undefined {
  return /<title>(.*?)<\/title>/su.exec(html)?.[1];
}

// ---- states -------------------------------------------------------------------

const RIVAL = { candidate: candidate('b'), reason: 'rival', detail: 'split brain: it is writable too' } as const;
const SPLIT_BRAIN: Verdict = { kind: 'none', reason: 'split-brain', detail: 'both are', fenced: [], cut: null };
const STATES: readonly (readonly [what: string, change: Partial<StatusInput>, health: string, headline: string])[] = [
  ['a primary', {}, 'ok', 'a:5432 is the primary'],
  ['a primary in doubt', { suspected: true }, 'warning', 'a:5432 is in doubt'],
  ['no primary', { verdict: NONE }, 'critical', 'No primary'],
  ['a split brain', { verdict: SPLIT_BRAIN }, 'critical', 'Split brain: no primary'],
  ['a rival', { verdict: { ...PRIMARY, fenced: [RIVAL] } }, 'warning', 'a:5432, in a split brain'],
  ['nothing known yet', { verdict: undefined, observations: new Map() }, 'critical', 'Looking for the primary'],
  ['a hold', { hold: { since: NOW - 1000, until: NOW + 1000 } }, 'warning', 'a:5432 is the primary'],
];

for (const [what, change, health, headline] of STATES) {
  test(`${what}: a colour, a symbol and a word that agree, in the title too`, () => {
    const html = page(change);
    assert.match(html, `<section id="verdict" class="${health}">`);
    assert.match(html, new RegExp(`id="verdict"[^>]*>\\s*<svg[^>]*>\\s*<use href="#i-${health}"`, 'u'));
    assert.match(text(html, 'verdict'), new RegExp(`^${health.toUpperCase()} ${headline}`, 'u'));
    assert.is(titleOf(html), `${health.toUpperCase()}: ${headline} - pg-gateway on gw1`);
  });
}

test('it says what pg-gatewayctl status does', () => {
  const said = text(page());
  for (const part of [
    'pg-gateway gw1 1.2.3, up 16 min 40 s, process 4711',
    'Timeline 3, 192.0.2.97:5432, for 10 min 0 s, since 2026-11-30 11:50:00Z',
    'first-primary a:5432 on timeline 3',
    'Sessions 3 3 would outlive the process',
    'Waiting clients 0 3 of 100 clients',
    'a:5432 primary 3 – 3 1.0 ms 0.5 s ago 10 min 0 s 192.0.2.97:5432',
    'b:5432 standby 3 1.0 kB 0 1.0 ms 0.7 s ago – 192.0.2.98:5432',
    'No failover since the start Start of the process, 2026-11-30 11:43:20Z',
  ])
    assert.ok(said.includes(part), `"${part}" in: ${said}`);
});

test('problems are listed, and none is made up', () => {
  assert.not.match(page(), 'id="problems"');
  const change = {
    observations: new Map([
      ['a:5432', primary('a', 3)],
      ['b:5432', failed('b')],
    ]),
  };
  assert.is(text(page(change), 'problems'), '1 problem b:5432 is down (refused): as the test says');
});

test('a hold and a drain tell when they end', () => {
  const change = {
    hold: { since: NOW - 2000, until: NOW + 58_000 },
    drain: { since: NOW, until: NOW + 300_000, exits: true },
  };
  const html = page(change);
  assert.match(text(html, 'hold'), 'New clients wait since 2026-11-30 11:59:58Z; it ends by itself in 58 s.');
  assert.match(text(html, 'drain'), '3 sessions may end within 5 min 0 s, then the gateway stops.');
  assert.not.match(page(), /id="(?:hold|drain)"/u);
});

test('servers: every role, IPv6, and as many as there may be', () => {
  const hosts = Array.from({ length: 64 }, (_, at) => `host${at}`);
  const observations = new Map(hosts.map((host) => [`${host}:5432`, standby(host, 3, { address: '2001:db8::7' })]));
  const html = page({ candidates: hosts.map(candidate), observations });
  assert.is([...html.matchAll(/<tr role="row" class="plain">/gu)].length, 64);
  assert.match(text(html, 'servers'), 'host63:5432 standby 3');
  assert.match(text(html, 'servers'), '[2001:db8::7]:5432');
  const unprobed = text(page({ observations: new Map() }), 'servers');
  assert.match(unprobed, 'a:5432 unprobed – – 3 – never 10 min 0 s –');
});

test('the timeline: the outage that goes on, then the latest failover, and of many the last twenty', () => {
  const many = Array.from({ length: 30 }, (_, at) => failover(at + 1, { sessions_cut: 100 + at }));
  const html = page({ verdict: NONE, verdictSince: NOW - 4000 }, { history: historyOf(many) });
  const said = text(html, 'failovers');
  assert.match(said, /^30 failovers since the start No primary for 4\.0 s primary-in-doubt a:5432 does not answer/u);
  assert.match(
    said,
    '2026-11-30 11:59:00Z, 1 min 0 s ago b:5432 → a:5432 decided in 31.4 ms timeline 2 → 3 100 sessions cut',
  );
  assert.match(said, '119 sessions cut');
  assert.not.match(said, '120 sessions cut');
  assert.match(said, '10 earlier: pg-gatewayctl failovers');
  assert.is([...html.matchAll(/<details open>/gu)].length, 1, 'the steps of the latest are open');
});

test('the timeline: of more than are remembered it has the number all the same', () => {
  const remembered = Array.from({ length: 30 }, (_, at) => failover(at + 1));
  const html = page({}, { history: historyOf(remembered, 130) });
  const said = text(html, 'failovers');
  assert.match(said, /^130 failovers since the start /u);
  assert.match(said, '110 earlier: pg-gatewayctl failovers has 10 of them');
  assert.match(html, /<li id="failover-130">/u);
});

test('a line of the hour has gaps where nobody looked, and marks the failovers of that hour', () => {
  const point = (from: number, sessions: number): TrafficPoint => {
    return { from, to: Math.max(0, from - 8), sessions, held: 0, sent: 0, received: 2500 };
  };
  const points = [point(3600, 4), point(3590, 8), point(100, 2), point(8, 3)];
  const html = page({}, { points, history: historyOf([failover(30), failover(61)]) });
  const card = text(html, 'figures');
  assert.match(card, 'Sessions 3 3 would outlive the process 1 h ago peak 8 now');
  assert.match(card, 'To clients 2.5 kB/s');
  assert.match(html, 'aria-label="Sessions in the last hour, peak 8"');
  const [sessions = ''] = /<svg\s+class="spark".*?<\/svg>/su.exec(html) ?? [];
  assert.is([...sessions.matchAll(/class="line"/gu)].length, 3, 'three pieces');
  assert.equal(
    [...sessions.matchAll(/class="mark" d="([^"]*)"/gu)].map(([, path]) => path),
    ['M360 0V96'],
    'one failover is in the middle of the hour, the other before it',
  );
});

// ---- what others say ------------------------------------------------------------

test('whatever servers are called and say is text', () => {
  const evil = `"><script>alert(1)</script>&'<img src=x onerror=alert(1)>\u202e\u0007`;
  const name = { host: evil, port: 1, name: evil };
  const down = { ...failed('b'), candidate: name, detail: evil };
  const html = page(
    {
      candidates: [name],
      observations: new Map([[evil, down]]),
      verdict: { ...NONE, detail: evil, fenced: [{ candidate: name, reason: 'rival', detail: evil }] },
    },
    { history: historyOf([failover(1, { old: evil, new: evil, cause: evil })]) },
  );
  const plain = page({ verdict: NONE, candidates: [candidate('b')] }, { history: historyOf([failover(1)]) });
  const tags = (of: string): readonly string[] => [...of.matchAll(/<\/?(script|img)\b/gu)].map(([tag]) => tag);
  assert.equal(tags(html), tags(plain));
  assert.not.match(html, /[\u202e\u0007]/u);
  assert.match(text(html), '&lt;img src=x onerror=alert(1)&gt;');
});

// ---- what it is sent with ---------------------------------------------------------

test('the policy allows the style and the script that are in it, and nothing else', () => {
  const {
    'Content-Security-Policy': policy = '',
    'X-Frame-Options': framed,
    'Referrer-Policy': referrer,
  } = pageHeaders();
  const html = page();
  for (const name of ['style', 'script']) {
    const blocks = [...html.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gsu'))];
    assert.is(blocks.length, 1);
    const digest = createHash('sha256')
      .update(blocks[0]?.[1] ?? '')
      .digest('base64');
    assert.match(policy, `${name}-src 'sha256-${digest}';`);
  }
  assert.match(policy, /^default-src 'none';/u);
  assert.match(policy, "frame-ancestors 'none'");
  assert.not.match(policy, 'unsafe');
  assert.equal([framed, referrer], ['DENY', 'no-referrer']);
  assert.not.match(
    html,
    /\sstyle=|\son\w+=|https?:\/\/(?!www\.w3\.org\/2000\/svg)/u,
    'no inline style, no handler, no address',
  );
});

test('who has the page read out hears once that it is old: how old it is stands beside the alert', () => {
  const [banner = ''] = /<div id="stale".*?<\/div>/su.exec(page()) ?? [];
  const [alert = ''] = /<span role="alert">.*?<\/span>/su.exec(banner) ?? [];
  assert.match(alert, 'NO ANSWER FROM THE GATEWAY');
  assert.not.match(alert, '<b>');
  assert.match(banner.replace(alert, ''), '<b></b>');
  assert.not.match(banner.replace(alert, ''), /role=|aria-live/u);
});

test('a browser without JavaScript loads it again', () => {
  assert.match(page(), /<noscript><meta http-equiv="refresh" content="10" \/><\/noscript>/u);
});

test('who asks within a moment gets the same page, who asks later a new one', () => {
  const timers = new FakeTimers();
  let asked = 0;
  const status = () => {
    asked += 1;
    return statusDocument(statusInput());
  };
  const site = new StatusSite({ status, failovers: () => START }, timers);
  const first = site.page();
  timers.advance(200);
  assert.is(site.page().body, first.body);
  assert.is(asked, 1);
  timers.advance(100);
  site.page();
  assert.is(asked, 2);
});

// ---- for the eye ------------------------------------------------------------------

/** Name -> colour, of the light page, and of the dark one. */
function palettes(): readonly ReadonlyMap<string, string>[] {
  const [light = '', dark = ''] = [...STYLE.matchAll(/:root \{(.*?)\}/gsu)].map(([, block]) => block ?? '');
  const read = (block: string): [string, string][] =>
    [...block.matchAll(/--([\w-]+): (#[0-9a-f]{3,8})/gu)].map(([, name = '', colour = '']) => [name, colour]);
  return [new Map(read(light)), new Map([...read(light), ...read(dark)])];
}

/** WCAG 2.2, "relative luminance". */
function luminance(colour: string): number {
  const digits = colour.slice(1);
  const full = digits.length === 3 ? digits.replace(/./gu, '$&$&') : digits;
  const [red = 0, green = 0, blue = 0] = (full.match(/../gu) ?? []).map((part) => {
    const value = parseInt(part, 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const PAIRS: readonly (readonly [ink: string, ground: string])[] = [
  ...['ok', 'warning', 'critical', 'order'].map((name) => [`${name}-ink`, `${name}-fill`] as const),
  ...['page', 'card', 'good-row', 'doubtful-row', 'bad-row'].flatMap((ground) =>
    ['text', 'soft'].map((ink) => [ink, ground] as const),
  ),
  ...['head', 'good', 'doubtful', 'bad', 'plain', 'info'].map((ink) => [ink, 'card'] as const),
  ...['good', 'doubtful', 'bad'].map((ink) => [ink, `${ink}-row`] as const),
];

for (const [ink, ground] of PAIRS) {
  test(`${ink} on ${ground} has the contrast that letters need`, () => {
    for (const palette of palettes()) {
      const [one, other] = [luminance(palette.get(ink) ?? ''), luminance(palette.get(ground) ?? '')];
      const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      assert.ok(contrast >= 4.5, contrast.toFixed(2));
    }
  });
}

test.run();
