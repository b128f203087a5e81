// SPDX-License-Identifier: MIT
// A certificate authority and certificates of its own, by openssl: for `localhost`
// and 127.0.0.1, valid for a day.

import { chmod, chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { succeed } from './child.js';
import { asServerOwner, plainEnvironment } from './postgres-install.js';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Writes `root.crt` into `folder`, and `server.crt` and `server.key`, where PostgreSQL looks for them, into `dataDir`. */
export async function installServerCertificate(folder: string, dataDir: string): Promise<void> {
  await createAuthority(folder);
  await issueCertificate(folder, 'localhost', join(dataDir, 'server'), ['DNS:localhost', 'IP:127.0.0.1']);
  const { uid, gid } = asServerOwner();
  for (const file of ['server.crt', 'server.key']) {
    if (uid !== undefined && gid !== undefined) await chown(join(dataDir, file), uid, gid);
  }
}

/** Writes `root.crt` and `root.key`. */
export async function createAuthority(folder: string): Promise<void> {
  const files = ['-keyout', join(folder, 'root.key'), '-out', join(folder, 'root.crt')];
  const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign'];
  await openssl(['req', '-x509', ...KEY, ...files, '-days', '1', '-subj', '/CN=test root', ...extensions]);
  await chmod(join(folder, 'root.crt'), 0o644);
}

/** Writes `PREFIX.crt` and `PREFIX.key`, signed by the authority in `folder`; for a client, `name` is the user. */
export async function issueCertificate(
  folder: string,
  name: string,
  prefix: string,
  alternativeNames: readonly string[] = [],
): Promise<void> {
  const request = `${prefix}.csr`;
  await openssl(['req', ...KEY, '-keyout', `${prefix}.key`, '-out', request, '-subj', `/CN=${name}`]);
  const extensions = join(folder, 'extensions');
  await writeFile(extensions, alternativeNames.length === 0 ? '' : `subjectAltName=${alternativeNames.join(',')}\n`);
  const signing = ['-CA', join(folder, 'root.crt'), '-CAkey', join(folder, 'root.key'), '-CAcreateserial'];
  await openssl([
    'x509',
    '-req',
    '-in',
    request,
    ...signing,
    '-days',
    '1',
    '-out',
    `${prefix}.crt`,
    '-extfile',
    extensions,
  ]);
  // libpq and the server refuse a key that others can read.
  await chmod(`${prefix}.key`, 0o600);
}

async function openssl(args: readonly string[]): Promise<void> {
  await succeed(['openssl', ...args], { env: plainEnvironment() });
}
