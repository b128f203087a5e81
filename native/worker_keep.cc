// SPDX-License-Identifier: MIT
// Sessions beyond the life of one process: taken up from an earlier one, kept for the next.
#include <cerrno>
#include <utility>

#include "worker.h"

namespace pg_gateway {

// A session of an earlier process goes on. What its sockets have to say comes as the first
// edge after they are added to epoll.
void Worker::resume_session(Survivor survivor) {
  const std::uint32_t slot = sessions_.allocate();
  Session& session = sessions_[slot];
  session.begin(std::move(survivor.client), survivor.tcp, survivor.kept);
  name_session(session);
  session.connect_started_ns = session.opened_ns;
  session.address = survivor.address;
  session.standing = Standing::kAdmitted;
  session.backend = std::move(survivor.backend);
  session.epoch = survivor.epoch;
  session.server = survivor.server;
  session.declined = survivor.declined;
  ++session.attempt;
  // The process before may have left it with a low-water mark (bulk_flows.h). Where it cannot be
  // taken away now, that is tried again after each turn.
  for (const Side side : {Side::kClient, Side::kBackend}) {
    const UniqueFd& socket = side == Side::kClient ? session.client : session.backend;
    session.coalesced[static_cast<std::size_t>(side)] =
        socket.valid() && !set_low_water(socket.get(), 1);
  }
  session_log_.came(slot, session);
  if (survivor.cut.has_value()) {
    // As any other, without ever having moved a byte here.
    session.transition(SessionState::kRelaying);
    session.resume(survivor.ways);
    counters_.active.add();
    counters_.servers[session.server].sessions.add();
    return cut(slot, *survivor.cut);
  }
  if (!watch(session.client.get(), slot, Side::kClient))
    return refuse(slot, RejectReason::kResources);
  if (survivor.stage == Stage::kWaiting) {
    // Who has said nothing need not have waited for a server: it may have been silent.
    const bool has_waited = !survivor.lost_server && has_spoken(session);
    session.held_since_ns = has_waited ? session.kept.opened_ns : monotonic_ns();
    return hold(slot, RejectReason::kNoPrimary, 0);
  }
  const bool watched = watch(session.backend.get(), slot, Side::kBackend);
  counters_.active.add();
  if (survivor.stage == Stage::kConnecting || survivor.stage == Stage::kStarting) {
    session.transition(SessionState::kConnecting);
    session.connect_started_ns = monotonic_ns();
    if (!watched) return connect_failed(slot, errno);
    if (survivor.stage == Stage::kStarting) return resume_opening(slot, survivor);
    return set_deadline(slot, session.connect_started_ns + settings_.connect_timeout_ns);
  }
  session.transition(SessionState::kRelaying);
  counters_.servers[session.server].sessions.add();
  session.resume(survivor.ways);
  if (!watched) return end_session(slot, EndReason::kResources);
  relay(slot);
}

// The server has not answered the client's startup message yet.
void Worker::resume_opening(std::uint32_t slot, Survivor& survivor) {
  Session& session = sessions_[slot];
  session.resume(survivor.ways);
  start_session(slot);
  if (session.state() != SessionState::kStarting) {
    // Nobody waits here.
    if (!discard_bytes(session.client.get(), survivor.ahead)) {
      return end_session(slot, EndReason::kResources);
    }
    session.count_passed_on(survivor.ahead, counters_);
    return relay(slot);
  }
  session.opening.ahead = survivor.ahead;
  if (survivor.declines && !tell_declined(slot)) return;
  advance_opening(slot);
}

void Worker::leave_store(Session& session) {
  if (store_ != nullptr) store_->discharge(session.kept);
}

// From now on the next process would find this connection to the backend.
void Worker::keep_backend(Session& session) {
  if (store_ == nullptr) return;
  store_->update(session.kept, session.client.get(), session.tcp_client(),
                 {session.backend.get(), session.epoch, session.server, session.declined});
}

void Worker::confirm(const Confirm& message) {
  if (message.again) {
    post(Confirm{message.waiting_for, false});
  } else if (message.waiting_for->fetch_sub(1) == 1) {
    store_->recovery_came_through();
  }
}

}  // namespace pg_gateway
