// SPDX-License-Identifier: MIT

import { spawnSync } from 'node:child_process';

import { CONNECT_BUCKETS_SECONDS } from '#src/dataplane-stats.js';
import { histogramSamples } from '#src/metrics-samples.js';
import { STATS, answered, failed, PRIMARY, view, setUp, scrape, only } from '../helpers/metrics-sources.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('metrics');

test('the original seven names, and the totals, as the data plane counted them', async () => {
  const views = [view('a:1', 0, answered('a:1', PRIMARY)), view('b:1', 1, failed('b:1', 'refused')), view('c:1', 2)];
  const series = await scrape(setUp(views).metrics);
  const expected = {
    pg_gateway_connections_active: '5',
    pg_gateway_connections_limit: '320',
    pg_gateway_connections_total: '12',
    pg_gateway_bytes_client_to_backend_total: '1000000000007',
    pg_gateway_bytes_backend_to_client_total: '9007199254740991',
    pg_gateway_servers_total: '3',
    pg_gateway_servers_healthy: '1',
    pg_gateway_servers_unhealthy: '2',
    pg_gateway_accept_pauses_total: '13',
    pg_gateway_accept_rate_waits_total: '29',
    pg_gateway_pipe_waits_total: '17',
    pg_gateway_epoch: '3',
    'pg_gateway_clients_rejected_total{reason="no_primary"}': '1',
    'pg_gateway_clients_rejected_total{reason="resources"}': '4',
    'pg_gateway_sessions_cut_total{reason="demoted"}': '5',
    'pg_gateway_sessions_cut_total{reason="shutdown"}': '7',
    'pg_gateway_sessions_cut_total{reason="killed"}': '24',
    'pg_gateway_clients_rejected_total{reason="killed"}': '23',
    'pg_gateway_sessions_ended_total{reason="client_closed"}': '8',
    'pg_gateway_sessions_ended_total{reason="resources"}': '12',
    'pg_gateway_worker_sessions{worker="0"}': '2',
    'pg_gateway_worker_sessions{worker="1"}': '3',
    'pg_gateway_worker_loop_lag_seconds{worker="0"}': '0.0015',
    [`pg_gateway_build_info{version="1.2.3",node="${process.versions.node}"}`]: '1',
  };
  for (const [name, value] of Object.entries(expected)) assert.is(series.get(name), value, name);
});

test('counters follow the snapshots exactly over many scrapes', async () => {
  const { state, metrics } = setUp();
  for (const bytes of [0n, 1n, 1n, 4_503_599_627_370_497n, 9_007_199_254_740_991n]) {
    state.stats = { ...STATS, bytesClientToBackend: bytes };
    assert.is((await scrape(metrics)).get('pg_gateway_bytes_client_to_backend_total'), bytes.toString());
  }
});

test('two renders at once do not mix', async () => {
  const { state, metrics } = setUp([view('a:1', 0)]);
  const first = metrics.render();
  state.stats = { ...STATS, accepted: 99n };
  const [one, two] = await Promise.all([first, metrics.render()]);
  assert.match(one, /connections_total 12\n/);
  assert.match(two, /connections_total 99\n/);
});

test('a histogram of the data plane: cumulative, every bound, sum and count', () => {
  const buckets = [1n, 0n, 2n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 3n, 4n];
  const samples = histogramSamples('h', { server: 'a' }, CONNECT_BUCKETS_SECONDS, { buckets, sum: 12.5 });
  const text = samples.map(
    ({ metricName, labels, value }) => `${metricName ?? ''} ${labels['le'] ?? ''} ${value.toString()}`,
  );
  assert.equal(text, [
    'h_bucket 0.0005 1',
    'h_bucket 0.001 1',
    'h_bucket 0.0025 3',
    'h_bucket 0.005 3',
    'h_bucket 0.01 3',
    'h_bucket 0.025 3',
    'h_bucket 0.05 3',
    'h_bucket 0.1 3',
    'h_bucket 0.25 3',
    'h_bucket 0.5 3',
    'h_bucket 1 3',
    'h_bucket 2.5 6',
    'h_bucket +Inf 10',
    'h_sum  12.5',
    'h_count  10',
  ]);
});

test('verdicts: whether there is a primary, failovers, and how long decisions took', async () => {
  const { metrics } = setUp();
  const primary = { kind: 'primary', fenced: [] } as const;
  metrics.verdict(primary, {});
  let series = await scrape(metrics);
  assert.is(series.get('pg_gateway_has_primary'), '1');
  assert.is(series.get('pg_gateway_failovers_total'), '0');
  assert.is(series.get('pg_gateway_decision_duration_seconds_count'), '0');
  metrics.verdict({ kind: 'none', fenced: [] }, {});
  assert.is((await scrape(metrics)).get('pg_gateway_has_primary'), '0');
  metrics.verdict(primary, { decidedInMs: 30 });
  metrics.verdict(primary, { decidedInMs: 2000, failover: {} });
  series = await scrape(metrics);
  assert.is(series.get('pg_gateway_failovers_total'), '1');
  const buckets = only(series, /decision_duration_seconds_(?:bucket\{le="(?:0.025|0.05|1|2.5)"|sum|count)/);
  assert.equal(Object.values(buckets), ['0', '1', '1', '2', '2.03', '2']);
});

test('fenced servers by reason, and split brain', async () => {
  const { metrics } = setUp();
  const fenced = async () => only(await scrape(metrics), /servers_fenced|split_brain/);
  const expected = (foreign: string, stale: string, rival: string, splitBrain: string) => ({
    'pg_gateway_servers_fenced{reason="foreign-cluster"}': foreign,
    'pg_gateway_servers_fenced{reason="stale-timeline"}': stale,
    'pg_gateway_servers_fenced{reason="rival"}': rival,
    pg_gateway_split_brain: splitBrain,
  });
  assert.equal(await fenced(), expected('0', '0', '0', '0'));
  metrics.verdict({ kind: 'none', fenced: [{ reason: 'stale-timeline' }, { reason: 'foreign-cluster' }] }, {});
  assert.equal(await fenced(), expected('1', '1', '0', '0'));
  metrics.verdict({ kind: 'none', fenced: [{ reason: 'rival' }, { reason: 'rival' }] }, {});
  assert.equal(await fenced(), expected('0', '0', '2', '1'));
  metrics.verdict({ kind: 'none', fenced: [] }, {});
  assert.equal(await fenced(), expected('0', '0', '0', '0'));
});

test('what is remembered on disk', async () => {
  const { state, metrics } = setUp();
  const saved = async () => Object.values(only(await scrape(metrics), /pg_gateway_state_/));
  assert.equal(await saved(), ['1', '0']);
  state.state = { saved: false, writeFailures: 3 };
  assert.equal(await saved(), ['0', '3']);
});

test('seconds without a primary: from the start, with the running outage, never going back', async () => {
  const { state, metrics } = setUp();
  const seconds = async () => (await scrape(metrics)).get('pg_gateway_seconds_without_primary_total');
  const running = async () => (await scrape(metrics)).get('pg_gateway_seconds_without_primary');
  const primary = { kind: 'primary', fenced: [] } as const;
  state.now = 1500;
  assert.is(await seconds(), '1.5');
  metrics.verdict(primary, {});
  state.now = 5000;
  assert.is(await seconds(), '1.5');
  metrics.verdict({ kind: 'none', fenced: [] }, {});
  state.now = 6000;
  metrics.verdict({ kind: 'none', fenced: [] }, {}); // another reason: the outage goes on
  state.now = 7000;
  assert.is(await seconds(), '3.5');
  assert.is(await running(), '2');
  metrics.verdict(primary, {});
  state.now = 9000;
  metrics.verdict(primary, {});
  assert.is(await seconds(), '3.5');
  assert.is(await running(), '0');
});

test('reloads by result', async () => {
  const { metrics } = setUp();
  metrics.reloaded('ok');
  metrics.reloaded('ok');
  assert.equal(only(await scrape(metrics), /reloads/), {
    'pg_gateway_config_reloads_total{result="ok"}': '2',
    'pg_gateway_config_reloads_total{result="rejected"}': '0',
  });
});

test('label values are escaped', async () => {
  const { metrics } = setUp([view('a"b\\c\nd:1', 0)]);
  assert.ok((await scrape(metrics)).has('pg_gateway_server_up{server="a\\"b\\\\c\\nd:1"}'));
});

test('process metrics are there, but those that need a timer', async () => {
  const series = await scrape(setUp().metrics);
  for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_open_fds']) {
    assert.ok(series.has(name), name);
  }
  assert.ok(Number(series.get('pg_gateway_loop_busy_seconds_total')) > 0);
  assert.equal(Object.keys(only(series, /eventloop_lag_/)), ['nodejs_eventloop_lag_seconds']);
});

test('a configuration that was rejected is told for as long as an earlier one goes on', async () => {
  const { state, metrics } = setUp();
  assert.is((await scrape(metrics)).get('pg_gateway_config_rejected'), '0');
  state.configRejected = true;
  assert.is((await scrape(metrics)).get('pg_gateway_config_rejected'), '1');
});

test('a hold and a drain are told for as long as they last', async () => {
  const { state, metrics } = setUp();
  const told = async () => only(await scrape(metrics), /_(?:holding|draining)$/);
  assert.equal(await told(), { pg_gateway_holding: '0', pg_gateway_draining: '0' });
  state.holding = true;
  assert.equal(await told(), { pg_gateway_holding: '1', pg_gateway_draining: '0' });
  Object.assign(state, { holding: false, draining: true });
  assert.equal(await told(), { pg_gateway_holding: '0', pg_gateway_draining: '1' });
});

test('an idle process with metrics stays idle', () => {
  const url = new URL('../../../dist/metrics.js', import.meta.url).href;
  const program = `
    import { Metrics } from ${JSON.stringify(url)};
    new Metrics({ stats: () => ({}), candidates: () => [], epoch: () => 0, state: () => ({}), version: '1' });
    const switches = () => process.resourceUsage().voluntaryContextSwitches;
    setTimeout(() => {
      const before = switches();
      setTimeout(() => console.log(switches() - before), 1000);
    }, 100);`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  // A handful; prom-client's own event loop monitor makes it 100 and more.
  assert.match(child.stdout, /^\d+\n$/);
  assert.ok(Number(child.stdout) < 50, child.stdout);
});

test('the names pass promtool, where there is one', async () => {
  const { metrics } = setUp([view('a:1', 0, answered('a:1', PRIMARY))]);
  metrics.observation(answered('a:1', PRIMARY));
  const promtool = spawnSync('promtool', ['check', 'metrics'], { input: await metrics.render(), encoding: 'utf8' });
  if (promtool.error !== undefined) {
    console.log('skipped: promtool (Debian package prometheus) is not installed here');
    return;
  }
  assert.is(`${promtool.stdout}${promtool.stderr}`, '');
  assert.is(promtool.status, 0);
});

test('the content type is that of the text format', () => {
  assert.is(setUp().metrics.contentType, 'text/plain; version=0.0.4; charset=utf-8');
});

test.run();
