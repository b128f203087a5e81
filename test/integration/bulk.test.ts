// SPDX-License-Identifier: MIT
// One gigabyte each way through COPY, by psql, compared by checksum.

import { open } from 'node:fs/promises';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { succeed } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';

const LINES = 1024;
/** A line of base64 and its end are one MiB. */
const LINE_BYTES = 1024 * 1024;
const TOTAL_BYTES = LINES * LINE_BYTES;

/** It takes 20 s on an idle machine with two processors, 95 s on one with a load of 15. */
const DEADLINE_MS = 280_000;
const EACH_WAY_MS = 120_000;

const test = suite('bulk', undefined, DEADLINE_MS);

/** Writes lines that cannot be compressed and hold nothing that COPY would escape; their checksum. */
async function writeLines(path: string): Promise<string> {
  const random = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const zeros = Buffer.alloc(LINE_BYTES);
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let line = 0; line < LINES; line += 1) {
    const text = Buffer.from(random.update(zeros).toString('base64'), 'latin1').subarray(0, LINE_BYTES);
    text[LINE_BYTES - 1] = '\n'.charCodeAt(0);
    hash.update(text);
    await file.write(text);
  }
  await file.close();
  return hash.digest('hex');
}

test('1 GB goes up and comes down unchanged', async () => {
  const folder = await temporaryFolder();
  const server = await PostgresServer.create({ settings: { max_wal_size: '4GB' } });
  const gateway = await Gateway.start({ candidates: [server.candidate] });
  try {
    const file = join(folder.path, 'lines');
    const checksum = await writeLines(file);
    await query(gateway.clients, 'CREATE UNLOGGED TABLE lines (line text STORAGE EXTERNAL)').catch(async () => {
      // The storage clause is new in PostgreSQL 16.
      await query(gateway.clients, 'CREATE UNLOGGED TABLE lines (line text)');
      await query(gateway.clients, 'ALTER TABLE lines ALTER COLUMN line SET STORAGE EXTERNAL');
    });
    const { host, port } = gateway.clients;
    const env = plainEnvironment({
      PGHOST: host,
      PGPORT: String(port),
      PGUSER: SUPERUSER,
      PGDATABASE: 'postgres',
      FILE: file,
    });
    const psql = `'${postgresProgram('psql')}' -Xq -v ON_ERROR_STOP=1`;
    const shell = (script: string): Promise<string> => succeed(['sh', '-c', script], { env, deadlineMs: EACH_WAY_MS });

    await shell(`${psql} -c 'COPY lines FROM STDIN' <"$FILE"`);
    const down = await shell(`{ ${psql} -c 'COPY lines TO STDOUT' || echo failed; } | sha256sum`);
    assert.is(down.split(' ')[0], checksum);
    assert.is(
      await query(gateway.clients, 'SELECT count(*), sum(length(line)) FROM lines'),
      `${LINES}|${TOTAL_BYTES - LINES}`,
    );

    const samples = await gateway.samples();
    assert.ok(samples.get('pg_gateway_bytes_client_to_backend_total') > TOTAL_BYTES);
    assert.ok(samples.get('pg_gateway_bytes_backend_to_client_total') > TOTAL_BYTES);
  } finally {
    await gateway.close();
    await server.close();
    await folder.close();
  }
});

test.run();
