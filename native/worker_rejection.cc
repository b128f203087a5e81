// SPDX-License-Identifier: MIT
// Clients that are turned away: at the door, or because they cannot be served (any longer).
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "worker.h"

namespace pg_gateway {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kNsPerMs = 1'000'000;
// What a client that has waited in silence is left of the start-up deadline, at least.
constexpr std::int64_t kLastChanceNs = kNsPerSecond;
// How long a client that was told may take to hang up.
constexpr std::int64_t kLingerTimeoutNs = 2 * kNsPerSecond;

// SQLSTATEs: PostgreSQL manual, "Error Codes": cannot_connect_now, too_many_connections.
std::string answer_for(RejectReason reason, int error, std::int64_t waited_ns,
                       const Admission::Limits& limits) {
  switch (reason) {
    case RejectReason::kResources:
      return fatal_error_response("53300", "the gateway is out of resources for another connection",
                                  describe_errno(error) + ".");
    case RejectReason::kTooManyHeld:
      return fatal_error_response("53300", "too many clients wait for a PostgreSQL primary", {});
    case RejectReason::kTooManyClients:
      return fatal_error_response(
          "53300", "the gateway has too many clients already",
          "It serves " + std::to_string(limits.clients) + " at once (MAX_CONNECTIONS).");
    case RejectReason::kTooManyOfOneHost:
      return fatal_error_response("53300", "too many connections from your address",
                                  "The gateway takes " + std::to_string(limits.of_one_host) +
                                      " from each (MAX_CONNECTIONS_PER_CLIENT).");
    default:
      break;
  }
  std::string detail;
  if (waited_ns > 0) detail = "Waited " + std::to_string(waited_ns / kNsPerMs) + " ms for one.";
  if (error != 0) {
    if (!detail.empty()) detail += ' ';
    detail += "Connecting to the primary failed: " + describe_errno(error) + ".";
  }
  return fatal_error_response("57P03", "no PostgreSQL primary is available", detail);
}

}  // namespace

// Accepted, and not let in. Who has hung up is told nothing.
void Worker::turn_away_at_the_door(UniqueFd socket, bool tcp, const ClientAddress& address,
                                   RejectReason reason) {
  counters_.accepted.add();
  load_.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t slot = sessions_.allocate();
  Session& session = sessions_[slot];
  session.begin(std::move(socket), tcp, {});
  name_session(session);
  session.address = address;
  session_log_.came(slot, session);
  if (reason == RejectReason::kGaveUp || !admission_->begin_telling()) return refuse(slot, reason);
  session.standing = Standing::kBeingTold;
  if (!watch(session.client.get(), slot, Side::kClient)) return refuse(slot, reason);
  start_rejection(slot, reason, 0);
}

// The client cannot even be told; the session is in kFree.
void Worker::refuse(std::uint32_t slot, RejectReason reason) {
  counters_.rejected[reason].add();
  Session& session = sessions_[slot];
  session_log_.turned_away(slot, session, reason);
  leave_store(session);
  session.shut_down(Side::kClient);
  session.shut_down(Side::kBackend);
  session.release_sockets();
  leave_company(session);
  sessions_.free(slot);
}

// From kFree, kSilent, kHeld, kConnecting or kStarting: the client is told that it cannot be
// served. `error`: the errno that prevented the connection, if there was one.
void Worker::start_rejection(std::uint32_t slot, RejectReason reason, int error) {
  Session& session = sessions_[slot];
  leave_store(session);
  give_up_backend(session);
  if (wants_server(session.state())) counters_.active.sub();
  if (session.state() == SessionState::kHeld) leave_hold(slot);
  if (session.state() == SessionState::kSilent) counters_.silent.sub();
  session.transition(SessionState::kRejecting);
  session.reject_reason = reason;
  const std::int64_t now = monotonic_ns();
  const std::int64_t waited_ns = session.held_since_ns == 0 ? 0 : now - session.held_since_ns;
  session.rejection =
      std::make_unique<Rejection>(answer_for(reason, error, waited_ns, settings_.limits));
  // Who has said nothing while it waited does not get the whole time once more.
  const bool was_silent = session.held_since_ns != 0 && !has_spoken(session);
  const std::int64_t whole = settings_.startup_timeout_ns;
  set_deadline(slot, now + (was_silent ? std::max(whole - waited_ns, std::min(whole, kLastChanceNs))
                                       : whole));
  // What the client has sent so far was an edge of the past.
  advance_rejection(slot);
}

void Worker::advance_rejection(std::uint32_t slot) {
  Session& session = sessions_[slot];
  const bool had_answered = session.rejection->answered();
  switch (session.rejection->advance(session.client.get())) {
    case RejectProgress::kWaiting:
      break;
    case RejectProgress::kAnswered:
      if (had_answered) break;
      count_rejection(slot);
      set_deadline(slot, monotonic_ns() + kLingerTimeoutNs);
      break;
    case RejectProgress::kCancels:
      pass_on_cancel(slot);
      break;
    case RejectProgress::kMalformed:
    case RejectProgress::kDone:
      close_session(slot);
      break;
  }
}

// Who cancels a query may be about to make room, and takes none for longer than it may take to be
// told why it is turned away: no limit of clients keeps it out. There are no more than may be told.
void Worker::pass_on_cancel(std::uint32_t slot) {
  Session& session = sessions_[slot];
  const bool one_too_many = session.reject_reason == RejectReason::kTooManyClients ||
                            session.reject_reason == RejectReason::kTooManyOfOneHost;
  // Its events so far were of another life: they come again.
  if (!one_too_many || must_wait() || !watch_again(slot)) return close_session(slot);
  session.rejection.reset();
  session.last_deadline_ns = session.deadline_ns;
  session.transition(SessionState::kConnecting);
  counters_.active.add();
  start_connect(slot);
}

// It has had its time, whichever side does not hang up: others want to be told, or to cancel.
void Worker::cancel_expired(std::uint32_t slot) {
  const Session& session = sessions_[slot];
  if (session.state() == SessionState::kRejecting) return close_session(slot);
  if (session.state() == SessionState::kRelaying && session.end_reason != EndReason::kCount) {
    return end_session(slot, session.end_reason);
  }
  // None of its sides has ended it: it is one too many still.
  turn_away(slot, session.reject_reason);
}

// Once for each client: under the reason it was turned away for, or as one that never
// got as far as asking.
void Worker::count_rejection(std::uint32_t slot) {
  Session& session = sessions_[slot];
  if (std::exchange(session.reject_counted, true)) return;
  const RejectReason reason =
      session.rejection->heard() ? session.reject_reason : RejectReason::kStartup;
  counters_.rejected[reason].add();
  session_log_.turned_away(slot, session, reason);
}

}  // namespace pg_gateway
