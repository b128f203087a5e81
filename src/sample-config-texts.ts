// SPDX-License-Identifier: MIT
// What the sample of the configuration says of each setting, beside what the schema
// knows of it: names, defaults, allowed values and units are not repeated here.
//
// Paragraphs; a line that begins with two spaces stays as it is.

import { MAX_CANDIDATES } from './candidates.js';
import type { SettingKey, TableName } from './config-schema.js';
import { MAX_ADDRESSES } from './names.js';

export const SAMPLE_HEADER = `\
Configuration of pg-gateway: /etc/pg-gateway/pg-gateway.toml (TOML 1.0).

Every setting is listed with its default; take away the "#" before a key to change it. \
/etc/pg-gateway/conf.d/*.toml are read after this file, in the order of their names. What they say overrides this \
file, environment variables (named with each key) override files, and the command line overrides all. An environment \
variable that is set to the empty text counts as not set.

Try it:    pg-gateway --check-config --probe
Roles:     pg-gateway --print-hba
Apply it:  systemctl reload pg-gateway

A reload touches no session. The settings marked [restart] wait for a restart. A configuration with an error is \
rejected whole, and the old one goes on.`;

export const TABLE_TEXTS: Readonly<Record<TableName, string>> = {
  listen: `Where clients connect. Not used when systemd hands the sockets over, as pg-gateway.socket does: then the \
addresses stand there.`,
  sessions: "The clients' sessions.",
  failover: 'What becomes of clients while there is no primary.',
  probe: 'How the servers are watched. Each candidate keeps one connection for it.',
  metrics: `The HTTP listener: /metrics for Prometheus, /healthz and /readyz, and a status page for browsers at /. The \
address is not used when systemd hands a socket named "metrics" over.`,
  control: `Where pg-gatewayctl(8) asks and orders. Not used when systemd hands a socket named "control" over.`,
  log: 'The log, on standard error; under systemd, in the journal.',
};

const KEPT_SETTING = 'It is for sessions that come after a change; those that are there keep theirs.';

export const SETTING_TEXTS: Readonly<Record<SettingKey, string>> = {
  candidates: `\
The servers of the cluster, 1 to ${String(MAX_CANDIDATES)} of them. Required: the gateway does not start without. \
Each is "host", "host:port", "[v6]" or "[v6]:port"; the port is 5432 if not given. Either an array, or one text with \
commas or spaces:
  candidates = ["db1", "db2:5433", "[2001:db8::3]"]
  candidates = "db1, db2:5433, [2001:db8::3]"
Servers themselves: no proxy, and never this gateway, which would send its clients round in a circle. A name is looked up at each probe connection and every 30 seconds. Of one with several addresses each is a candidate, \
up to ${String(MAX_ADDRESSES)}, and up to ${String(MAX_CANDIDATES)} of all names.`,
  state_directory: `\
Directory where the cluster is remembered over a stop: its system identifier and the highest timeline seen, which keep \
clients away from an old primary that comes back, and from servers of another cluster. It is made if it is not there. \
The service has /var/lib/pg-gateway, which systemd makes and names by the variable. Without one a stop forgets the \
cluster.`,
  'listen.host': `A name is looked up, and every address of it serves; "::" is every address of the machine, IPv4 too.`,
  'listen.port': 'A free port that was chosen is named in the log.',
  'sessions.workers': 'Threads that carry sessions; "auto" is one for each CPU that this process may use.',
  'sessions.max_connections': `\
How many clients there may be at once, those that wait for a primary too. Who comes when there are as many is told "the \
gateway has too many clients already" (53300). "auto" is as many as the limit of open files (LimitNOFILE= of the \
service) has room for, with some of it kept for the gateway's own work; the log tells how many that is when the gateway \
starts. The server's max_connections is a limit of its own, which it answers for itself.`,
  'sessions.max_connections_per_client': `\
How many of them from one address; more are told "too many connections from your address" (53300). 0 is any number. \
Clients that come by an AF_UNIX socket have no address, and no such limit; those behind one NAT have one address \
together.`,
  'sessions.max_connection_rate': `\
How many new clients a second are accepted, at most, of all addresses together; more wait in the queues of the listening \
sockets, and nobody is turned away. 0 is any number. It keeps a flood of connections, or all of an application's at \
once, from taking the processors that the sessions there are need, and bounds how many processes a second the server has \
to start. Well above what comes on a busy day is a good value: everybody who is new waits in the same queue.`,
  'sessions.tcp_keepalive': `\
Whether the connections of new sessions, to the client and to the server, have TCP keepalive on.`,
  'sessions.tcp_keepalives_idle': `\
When a peer that has vanished without a word is noticed, in an idle session: after so many seconds without a packet it \
is asked whether it lives. With the defaults of this and of the two settings that follow that takes three minutes, and \
a network that fails for less than two ends nothing. It costs an idle session one packet a minute on each side. 0 is the \
kernel's own: net.ipv4.tcp_keepalive_time, two hours. ${KEPT_SETTING}`,
  'sessions.tcp_keepalives_interval': 'Seconds before it is asked again; 0 is net.ipv4.tcp_keepalive_intvl.',
  'sessions.tcp_keepalives_count': `\
How many of these go unanswered before the session ends; 0 is net.ipv4.tcp_keepalive_probes.`,
  'sessions.tcp_user_timeout': `\
The same where something was sent: how long it may go unacknowledged before the session ends. It counts for an idle \
session too, in place of tcp_keepalives_count. The price: a peer that lives but takes nothing for so long loses its \
session (a paused reader of a large result, COPY into a locked table). 0 leaves it to the kernel, which waits for such \
a one, and notices a vanished peer after some 15 minutes (net.ipv4.tcp_retries2). ${KEPT_SETTING}`,
  'sessions.drain_timeout_ms': `\
How long a stop waits for sessions to end by themselves. Meanwhile nobody new is accepted: clients wait in the queues of \
the listening sockets. 0 does not wait. Sessions that are still there then go on in the next process if systemd keeps \
them, and end if not. (systemd itself waits for TimeoutStopSec=, ten seconds as shipped.)`,
  'failover.hold_timeout_ms': `\
How long a client waits which cannot be given a server, because no primary is proven or connecting to it failed. It is \
not read from meanwhile, and goes on as soon as there is a primary. When its time is over it is told "no PostgreSQL \
primary is available" (57P03). 0 says so at once. (A client has a limit of its own: libpq's connect_timeout.)`,
  'failover.max_held': 'How many clients may wait. More are told so at once (53300).',
  'failover.release_rate': `\
How many waiting clients a second are sent to a new primary, those that came first before the others. Who comes while \
others still wait queues up behind them, and the first of them goes for it at once, beside these. All together they \
could overflow the primary's queue of connections (listen_backlog of the kernel, twice max_connections at most), and \
each costs it a process.`,
  'failover.cut_policy': `\
When sessions are cut: "proof" cuts a session when its server is proven to be in recovery, or another server to be the \
primary, and never because a server is slow or silent; "eager" cuts all sessions as soon as there is no proven primary.`,
  'probe.user': `\
User to log in as; it needs no privilege but to connect. pg-gateway --print-hba has the lines that make one.`,
  'probe.password': `\
Password of that user. It is better off in the systemd credential "pgpassword" (LoadCredential=pgpassword:...), which \
stands for PGPASSWORD when that is not set; without systemd in a password file. A file such as this one can be read by \
every user, and so must hold no password.`,
  'probe.passfile': `\
Password file in libpq's format (host:port:database:user:password), read when there is no password. It must be there if \
it is named.`,
  'probe.database': 'Database to connect to.',
  'probe.connect_timeout_ms': `\
How long connecting to a server and logging in may take. It also bounds how long a client's session may take to connect \
to the primary.`,
  'probe.query_timeout_ms': 'How long the answer to a probe may take.',
  'probe.check_every': `\
Seconds between two probes of a server while all is well, fractions allowed. In doubt the gateway probes faster, by \
itself; while there is a primary, a server that is down is probed after pauses that double, up to eight times this or \
10 seconds, each a fifth longer or shorter by chance.`,
  'probe.sslmode': `\
How probes encrypt, with libpq's meaning:
  "disable"      never
  "prefer"       if the server can
  "require"      always; the certificate is checked if there is a root
                 certificate
  "verify-ca"    always, and the certificate must be signed by a trusted root
  "verify-full"  the same, and it must be made out for the candidate's host name
Clients are not concerned: their encryption passes through untouched. If it is not set and sslrootcert is "system", it is \
"verify-full".`,
  'probe.sslrootcert': `\
File of the root certificates to trust (PEM), or "system" for those of the operating system, which needs "verify-full". \
It must be there if it is named.`,
  'probe.sslcert': 'File of a client certificate (PEM) to log in with. It must be there if it is named.',
  'probe.sslkey': 'File of its private key (PEM). It must be there if it is named.',
  'metrics.host': `A name is looked up, and every address of it serves; "::" is every address of the machine, IPv4 too.`,
  'metrics.port': 'A free port that was chosen is named in the log.',
  'metrics.status_page': `\
Whether / is a page that shows what pg-gatewayctl status does, with the traffic of the last hour and the failovers. It \
can change nothing, and has no secret, but names and addresses of servers are on it.`,
  'control.socket': `\
The path of an AF_UNIX socket. Its file lets the user and the group of the gateway in, and nobody else: who is let in \
may do everything that the program can.`,
  'log.level': 'Least severe message that is written.',
};
