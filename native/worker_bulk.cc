// SPDX-License-Identifier: MIT
// Bulk transfers: woken for a lot at once (bulk_flows.h).
#include "worker.h"

namespace pg_gateway {

// After a turn of a session: a direction of it has become a bulk transfer, or is one still, or
// no more.
void Worker::note_bulk(std::uint32_t slot) {
  Session& session = sessions_[slot];
  for (const Side source : {Side::kClient, Side::kBackend}) {
    const bool was_read = session.take_pumped(source);
    bool& coalesced = session.coalesced[static_cast<std::size_t>(source)];
    const int socket = (source == Side::kClient ? session.client : session.backend).get();
    if (session.in_bulk(source) && !coalesced) {
      coalesced = !bulk_.full() && set_low_water(socket, BulkFlows::kLowWater);
    } else if (!session.in_bulk(source) && coalesced && set_low_water(socket, 1)) {
      coalesced = false;
      // What came before the mark was lowered is owed no event.
      session.look_again(source);
      enqueue(slot);
    }
    // Events of the other direction are no reason to let this one wait longer.
    if (coalesced) bulk_.touch({slot, session.generation}, source, monotonic_ns(), was_read);
  }
}

// Nothing has come for a while, or too little for an event.
void Worker::fetch_bulk(std::int64_t now_ns) {
  for (const BulkFlows::Flow& flow : bulk_.take_due(now_ns)) {
    Session* session = sessions_.find(flow.session);
    if (session == nullptr || session->state() != SessionState::kRelaying) continue;
    session->look_again(flow.source);
    relay(flow.session.slot);
  }
}

}  // namespace pg_gateway
