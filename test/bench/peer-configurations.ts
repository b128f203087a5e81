// SPDX-License-Identifier: MIT
// Configurations of the peers for one PostgreSQL server, as their own manuals have it. Pure.

export interface PeerSetup {
  /** Where the peer listens, on 127.0.0.1. */
  readonly port: number;
  readonly serverPort: number;
  /** Threads, or processes. */
  readonly workers: number;
  /** Clients at the same time. */
  readonly connections: number;
  /** The folder of the file. */
  readonly folder: string;
}

/**
 * As Patroni's documentation has it (patroni/examples/haproxy.cfg), with the check that HAProxy's manual has for
 * PostgreSQL instead of the one that asks Patroni. `splice`: bytes go from socket to socket inside the kernel.
 */
export function haproxyConfiguration(
  { port, serverPort, workers, connections }: PeerSetup,
  { splice }: { readonly splice: boolean },
): string {
  return `global
    nbthread ${workers}
    maxconn ${connections}

defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
${splice ? '    option splice-request\n    option splice-response\n' : ''}
listen primary
    bind 127.0.0.1:${port}
    maxconn ${connections}
    option pgsql-check user postgres
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
    server postgresql 127.0.0.1:${serverPort} check
`;
}

/**
 * ngx_stream_core_module, ngx_stream_proxy_module. Of several workers each has a socket of its own to listen on
 * (\`reuseport\`): else one of them takes nearly all clients.
 */
export function nginxConfiguration({ port, serverPort, workers, connections, folder }: PeerSetup): string {
  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes ${workers};
pid ${folder}/nginx.pid;
lock_file ${folder}/nginx.lock;
error_log stderr warn;

events {
    worker_connections ${2 * connections + 64};
}

stream {
    server {
        listen 127.0.0.1:${port}${workers > 1 ? ' reuseport' : ''};
        proxy_connect_timeout 4s;
        proxy_timeout 30m;
        proxy_pass 127.0.0.1:${serverPort};
    }
}
`;
}

/**
 * pgbouncer(5), as a router: a server connection for each client that is there, and for that client alone
 * (server_lifetime = 0). Else a run would find the warm server processes of the run before it, which spares the server
 * work, not the proxy. Logs of every connection are off.
 */
export function pgbouncerConfiguration({ port, serverPort, connections, folder }: PeerSetup): string {
  return `[databases]
* = host=127.0.0.1 port=${serverPort}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${folder}/users.txt
pool_mode = session
max_client_conn = ${connections}
default_pool_size = ${connections}
server_lifetime = 0
log_connections = 0
log_disconnections = 0
`;
}

export const PGBOUNCER_USERS = '"postgres" ""\n';
