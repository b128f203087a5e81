// SPDX-License-Identifier: MIT
// The package under test, inside a machine: installed, configured, asked.

import { Samples } from '../helpers/metrics-text.js';
import { eventually } from '../helpers/wait.js';
import { Cluster, PROBE_PASSWORD } from './cluster.js';
import { Machine } from './machine.js';

/** The environments by which the runner tells where the packages are. */
export const PACKAGE_VARIABLE = 'PG_GATEWAY_TEST_PACKAGE';
export const NEWER_PACKAGE_VARIABLE = 'PG_GATEWAY_TEST_NEWER_PACKAGE';

export const SERVICE = 'pg-gateway.service';
export const SOCKET = 'pg-gateway.socket';
export const METRICS_SOCKET = 'pg-gateway-metrics.socket';
export const CONTROL_SOCKET = 'pg-gateway-control.socket';

/** The threads that move the bytes. */
export const WORKER = /^pg-gw-worker/;

export const CONFIG_FILE = '/etc/pg-gateway/pg-gateway.toml';
/** Read after the file of the package, which stays as it is. */
const TEST_CONFIG_FILE = '/etc/pg-gateway/conf.d/test.toml';
const PASSWORD_FILE = '/etc/pg-gateway/pgpassword';

/** Installs a package as a user does: apt install ./FILE. Without a network it fails if a dependency is missing. */
export async function install(machine: Machine, variable = PACKAGE_VARIABLE): Promise<void> {
  const path = process.env[variable];
  if (path === undefined) throw new Error(`${variable} is not set: start the tests by npm run test:system`);
  await machine.copyIn(path, '/root/package.deb');
  await machine.succeed(['apt-get', 'install', '-y', '--no-install-recommends', './package.deb']);
}

/** The password of the probe user comes as a credential. `more` is TOML at the end. */
export async function configure(
  machine: Machine,
  more = '',
  candidates: readonly string[] = Cluster.candidates,
): Promise<void> {
  const config = `candidates = ${JSON.stringify(candidates)}
[probe]
user = "probe"
check_every = 0.2
${more}`;
  await machine.write(TEST_CONFIG_FILE, config);
  await machine.write(PASSWORD_FILE, PROBE_PASSWORD, '600');
}

/** A machine with servers and the package, its sockets open: what most tests start from. */
export async function bootWithGateway(): Promise<{ machine: Machine; cluster: Cluster }> {
  const machine = await Machine.boot();
  try {
    const cluster = await Cluster.create(machine);
    await install(machine);
    await configure(machine);
    await machine.systemctl('enable', '--now', SOCKET);
    return { machine, cluster };
  } catch (error) {
    await machine.close();
    throw error;
  }
}

/** The service's main process, as the machine numbers it. @throws Error if it does not run */
export async function mainPid(machine: Machine, unit = SERVICE): Promise<number> {
  const pid = Number(await machine.property(unit, 'MainPID'));
  if (pid === 0) throw new Error(`${unit} has no process: ${await machine.property(unit, 'ActiveState')}`);
  return pid;
}

/** Ids of the service's threads whose name matches. */
export async function threads(machine: Machine, name: RegExp): Promise<number[]> {
  const listing = await machine.shell('cd /proc/$1/task; grep -H . */comm', String(await mainPid(machine)));
  return listing
    .trimEnd()
    .split('\n')
    .flatMap((line) => {
      const [, tid, comm = ''] = /^(\d+)\/comm:(.*)$/.exec(line) ?? [];
      return name.test(comm) ? [Number(tid)] : [];
    });
}

/** Waits until the service runs, in another process than `before`. */
export async function restarted(machine: Machine, before: number): Promise<number> {
  return eventually(
    `another process than ${before}`,
    async () => {
      const pid = await mainPid(machine);
      return pid !== before && (await machine.property(SERVICE, 'ActiveState')) === 'active' ? pid : undefined;
    },
    { deadlineMs: 45_000, everyMs: 100 },
  );
}

export async function httpBody(machine: Machine, path: string, port = 9090): Promise<string> {
  return machine.succeed(['curl', '-sSf', '--max-time', '10', `http://127.0.0.1:${port}${path}`]);
}

export async function samples(machine: Machine, port?: number): Promise<Samples> {
  return Samples.parse(await httpBody(machine, '/metrics', port));
}
