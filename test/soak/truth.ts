// SPDX-License-Identifier: MIT
// What the gateway's metrics say, against what its clients counted. All clients have left by then. Pure.
//
// Who met a failover may have been ended by it without knowing, or before it ended its own side: the counts by reason
// are exact for all others, and each of those may be under another reason.

import type { Samples } from '../helpers/metrics-text.js';
import { equals, isWithin } from './check.js';
import type { Check } from './check.js';
import { ENDINGS } from './tally.js';
import type { Ending, Totals } from './tally.js';

const ENDED = 'pg_gateway_sessions_ended_total';
const CUT = 'pg_gateway_sessions_cut_total';
const REJECTED = 'pg_gateway_clients_rejected_total';

export function checkTruth(samples: Pick<Samples, 'get'>, { opened, endings, toServer, toClient }: Totals): Check[] {
  const all = (...some: readonly Ending[]): number => some.reduce((sum, ending) => sum + endings[ending].all, 0);
  const calm = (...some: readonly Ending[]): number => some.reduce((sum, ending) => sum + endings[ending].calm, 0);
  // Any of these may have any end.
  const unsure = all(...ENDINGS) - calm(...ENDINGS);
  const reason = (name: string): number => samples.get(ENDED, { reason: name });
  // Who resets before it has a server has given up waiting for one.
  const gaveUp = samples.get(REJECTED, { reason: 'gave_up' });
  const ends = samples.get(ENDED) + samples.get(CUT) + samples.get(REJECTED);
  const byPeers = reason('client_closed') + reason('backend_closed');
  return [
    equals('connections counted', samples.get('pg_gateway_connections_total'), opened),
    equals('each of them has one end', ends, opened),
    equals('sessions that are left', samples.get('pg_gateway_connections_active'), opened - all(...ENDINGS)),
    isWithin('client_reset and gave_up', reason('client_reset') + gaveUp, {
      low: calm('reset'),
      high: calm('reset') + unsure,
    }),
    isWithin('client_closed', reason('client_closed'), {
      low: calm('closed'),
      high: calm('closed', 'either') + unsure,
    }),
    isWithin('backend_closed', reason('backend_closed'), { low: calm('left'), high: calm('left', 'either') + unsure }),
    isWithin('client_closed and backend_closed', byPeers, {
      low: calm('left', 'closed', 'either'),
      high: calm('left', 'closed', 'either') + unsure,
    }),
    isWithin(
      'broken by a server, cut or turned away',
      reason('backend_reset') + samples.get(CUT) + samples.get(REJECTED) - gaveUp,
      {
        low: 0,
        high: unsure,
      },
    ),
    equals('ended for want of resources', reason('resources'), 0),
    isWithin('bytes from clients', samples.get('pg_gateway_bytes_client_to_backend_total'), toServer),
    isWithin('bytes to clients', samples.get('pg_gateway_bytes_backend_to_client_total'), toClient),
  ];
}
