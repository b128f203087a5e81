// SPDX-License-Identifier: MIT
// The status page when the gateway does not answer: an old picture never looks as if it
// were of now. And what the browser is not allowed.

import { Gateway } from '../helpers/gateway.js';
import type { GatewayOptions } from '../helpers/gateway.js';
import { freePort } from '../helpers/ports.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { startBrowser, Viewer } from './browser.js';
import type { Browser } from './browser.js';

const test = suite('status page in a browser: no answer');

let browser: Browser;
let cluster: Cluster;
let options: GatewayOptions;

test.before(async () => {
  [browser, cluster] = await Promise.all([startBrowser(), createCluster(0)]);
  options = { candidates: [cluster.primary.candidate], env: { METRICS_PORT: String(await freePort()) } };
});

test.after(async () => {
  await browser.close();
  await cluster.close();
});

async function isLive(viewer: Viewer): Promise<void> {
  await viewer.locate('html:not(.stale)').waitFor();
  await viewer.locate('#stale').waitFor({ state: 'hidden' });
  await viewer.locate('#live').waitFor();
  await viewer.verdict('OK');
  assert.match(await viewer.page.title(), /^OK: /);
}

async function isStale(viewer: Viewer): Promise<void> {
  await viewer.locate('#stale', 'NO ANSWER FROM THE GATEWAY').waitFor();
  await viewer.locate('#live').waitFor({ state: 'hidden' });
  assert.match(await viewer.tree('body'), /- alert:/);
  assert.match(await viewer.page.title(), /^NO ANSWER - /);
}

test('a gateway that is stopped, and started again', async () => {
  let gateway = await Gateway.start(options);
  try {
    const viewer = await Viewer.open(browser, gateway.metricsAddress, 'light');
    await isLive(viewer);
    assert.equal(viewer.complaints, []);

    await gateway.stop();
    await isStale(viewer);
    await viewer.screenshot('4-no-answer');
    const age = async (): Promise<number> => parseInt(await viewer.locate('#stale b').innerText(), 10);
    const before = await age();
    await viewer.page.evaluate(`(() => {
      window.readOut = 0;
      new MutationObserver((changes) => { window.readOut += changes.length; })
        .observe(document.querySelector('[role=alert]'), { subtree: true, childList: true, characterData: true });
    })()`);
    await eventually('the picture to grow older', async () => (await age()) > before + 2);
    assert.is(
      await viewer.page.evaluate('window.readOut'),
      0,
      'an alert is read out again whenever it is written anew',
    );
    // The browser itself tells of what it could not load, and nothing else.
    for (const complaint of viewer.complaints.splice(0)) assert.match(complaint, 'net::ERR_');

    await gateway.close();
    gateway = await Gateway.start(options);
    await isLive(viewer);
    await viewer.locate('#top', `process ${gateway.pid}`).waitFor();
    for (const complaint of viewer.complaints) assert.match(complaint, 'net::ERR_');
  } finally {
    await gateway.close();
  }
});

test('a gateway that stands still, and goes on', async () => {
  const gateway = await Gateway.start(options);
  try {
    const viewer = await Viewer.open(browser, gateway.metricsAddress, 'phone');
    await isLive(viewer);
    gateway.kill('SIGSTOP');
    await isStale(viewer);
    await viewer.screenshot('4-no-answer');
    gateway.kill('SIGCONT');
    await isLive(viewer);
    assert.equal(viewer.complaints, []);
  } finally {
    gateway.kill('SIGCONT');
    await gateway.close();
  }
});

test('what would come into the page by any way is not run', async () => {
  const gateway = await Gateway.start(options);
  try {
    const { page, complaints } = await Viewer.open(browser, gateway.metricsAddress, 'light');
    await page.evaluate(`(() => {
      const script = document.createElement('script');
      script.textContent = 'window.ran = true';
      document.body.append(script);
      const image = document.createElement('img');
      image.setAttribute('onerror', 'window.ran = true');
      image.src = 'data:,';
      document.body.append(image);
    })()`);
    assert.is(await page.evaluate('window.ran'), undefined);
    assert.ok(complaints.length >= 1);
    for (const complaint of complaints) assert.match(complaint, 'Content Security Policy');
  } finally {
    await gateway.close();
  }
});

test('where the page is turned off there is none', async () => {
  const gateway = await Gateway.start({ ...options, env: { ...options.env, STATUS_PAGE: '0' } });
  try {
    assert.equal(await gateway.http('/'), { status: 404, body: 'not found\n' });
    assert.is((await gateway.http('/metrics')).status, 200);
  } finally {
    await gateway.close();
  }
});

test.run();
