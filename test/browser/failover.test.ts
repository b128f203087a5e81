// SPDX-License-Identifier: MIT
// The status page while the primary fails over, as several people have it open: on a wide
// screen, light and dark, on a phone, and without JavaScript.

import { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { startBrowser, Viewer } from './browser.js';
import type { Browser, Look } from './browser.js';

const test = suite('status page in a browser: failover');

const OPEN: readonly Look[] = ['light', 'dark', 'phone', 'phone-dark', 'narrow'];

let browser: Browser;
let cluster: Cluster;
let gateway: Gateway;
let viewers: readonly Viewer[];
let session: PgSession;

test.before(async () => {
  [browser, cluster] = await Promise.all([startBrowser(), createCluster(2)]);
  const candidates = cluster.servers.map(({ candidate }) => candidate);
  gateway = await Gateway.start({ candidates, env: { HOLD_TIMEOUT_MS: '60000' } });
});

test.after(async () => {
  session.close();
  await browser.close();
  await gateway.close();
  await cluster.close();
});

async function allSee(words: string, shot: string): Promise<void> {
  for (const viewer of viewers) {
    await viewer.verdict(words);
    await viewer.screenshot(shot);
    assert.is(await viewer.overhang(), 0, `${viewer.look}, ${shot}: nothing sticks out at the side`);
  }
}

/** One of the roles' names, as the table has them. */
async function rowOf(viewer: Viewer, candidate: string): Promise<string> {
  return (await viewer.locate('#servers tbody tr', candidate).innerText()).replaceAll(/\s+/g, ' ');
}

test('before: the primary, a session, and who is asked for all of it', async () => {
  const { primary, standbys } = cluster;
  await Promise.all(standbys.map((standby) => standby.caughtUp(primary)));
  session = await PgSession.open(gateway.clients);
  viewers = await Promise.all(OPEN.map((look) => Viewer.open(browser, gateway.metricsAddress, look)));
  await Promise.all(viewers.map((viewer) => viewer.locate('#figures .card:first-child .figure', '1').waitFor()));
  await allSee(`OK ${primary.candidate} is the primary`, '1-before');
  const [viewer] = viewers;
  assert.ok(viewer);
  assert.match(await viewer.tree('main'), new RegExp(`heading "OK ${primary.candidate} is the primary" \\[level=1\\]`));
  assert.match(await viewer.tree('#verdict'), /- status:\n/, 'a change of the verdict is announced');
  const servers = await viewer.tree('#servers');
  assert.match(servers, 'table "Servers"');
  assert.match(servers, /columnheader "Role"/);
  for (const server of cluster.servers) {
    const role = server === primary ? 'primary' : 'standby';
    assert.match(servers, new RegExp(`rowheader "${server.candidate}"\\s+- cell "${role}"`));
  }
  // The line gets a point every ten seconds.
  await eventually(
    'the session in the line',
    async () => (await viewer.tree('#figures')).includes('img "Sessions in the last 10 min, peak 1"'),
    { deadlineMs: 30_000 },
  );
});

test('the table is one on a phone too, for who cannot see it', async () => {
  const wide = viewers.find(({ look }) => look === 'light');
  const phone = viewers.find(({ look }) => look === 'phone');
  assert.ok(wide && phone);
  const shape = (tree: string): string[] =>
    tree.split('\n').flatMap((line) => /^\s*- (table|row|rowheader|columnheader|cell)/.exec(line)?.[1] ?? []);
  assert.equal(shape(await phone.tree('#servers')), shape(await wide.tree('#servers')));
});

test('during: no primary, and a client that waits', async () => {
  const { primary } = cluster;
  await primary.crash();
  await gateway.primaryIs('none');
  const waiting = query(gateway.clients, 'SELECT 1');
  waiting.catch(() => undefined);
  await Promise.all(viewers.map((viewer) => viewer.locate('#figures .busy .figure', '1').waitFor()));
  await allSee('CRITICAL No primary', '2-during');
  const [viewer] = viewers;
  assert.ok(viewer);
  assert.match(await viewer.tree('#problems'), `${primary.candidate} is down (refused)`);
  assert.match(await rowOf(viewer, primary.candidate), `${primary.candidate} down refused`);
  assert.match(await viewer.tree('#failovers'), /heading "No primary for [^"]*"/);
  assert.match(await viewer.page.title(), /^CRITICAL: No primary - pg-gateway on /);

  const [next, other] = cluster.standbys;
  assert.ok(next && other);
  await next.promote();
  await other.follow(next);
  await gateway.primaryIs(next.candidate);
  assert.is(await waiting, '1', 'it got what it waited for');
});

test('after: the new primary, what is wrong with the old one, and the failover in the timeline', async () => {
  const { primary, standbys } = cluster;
  const [next] = standbys;
  assert.ok(next);
  await Promise.all(viewers.map((viewer) => viewer.locate('#failovers h3', primary.candidate).waitFor()));
  await allSee(`WARNING ${next.candidate} is the primary`, '3-after');
  const [viewer] = viewers;
  assert.ok(viewer);
  assert.match(await rowOf(viewer, next.candidate), `${next.candidate} primary`);
  const timeline = await viewer.tree('#failovers');
  assert.match(timeline, 'heading "1 failover since the start"');
  assert.match(timeline, `heading "${primary.candidate} → ${next.candidate}" [level=3]`);
  assert.match(timeline, /timeline 1 → 2/);
  for (const step of ['doubt', 'lost', 'proven', 'routed']) assert.match(timeline, `rowheader "${step}"`);
  assert.is(await viewer.locate('#figures .mark').count(), 4, 'each line of the hour marks it');
});

test('what was folded stays so while the page follows', async () => {
  const [viewer] = viewers;
  assert.ok(viewer);
  const steps = viewer.locate('#failovers details');
  await steps.locator('summary').click();
  const before = await viewer.pictureAt();
  await eventually('two newer pictures', async () => (await viewer.pictureAt()) !== before);
  assert.is(await steps.getAttribute('open'), null);
  assert.is(await viewer.page.evaluate('document.activeElement.nodeName'), 'SUMMARY', 'and the focus is where it was');
});

test('without JavaScript it is all there, and comes anew by itself', async () => {
  const viewer = await Viewer.open(browser, gateway.metricsAddress, 'without-javascript');
  await viewer.verdict('WARNING');
  await viewer.screenshot('3-after');
  assert.match(await viewer.locate('.asof').innerText(), 'loaded again every 10 s');
  const before = await viewer.pictureAt();
  await eventually('the next picture', async () => (await viewer.pictureAt()) !== before);
  assert.equal(viewer.complaints, []);
});

test('nobody has complained, and nothing was asked for but the page', () => {
  const { host, port } = gateway.metricsAddress;
  for (const { complaints, requests } of viewers) {
    assert.equal(complaints, []);
    const foreign = [...requests].filter((url) => url !== `http://${host}:${port}/` && !url.startsWith('data:'));
    assert.equal(foreign, []);
  }
});

test.run();
