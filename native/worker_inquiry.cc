// SPDX-License-Identifier: MIT
// What an administrator asks a worker about its sessions, and has it do with them. Sessions that
// nobody asks about pay nothing for it.
#include <algorithm>

#include "worker.h"

namespace pg_gateway {

namespace {

// Two system calls each, so some 100 us of a turn at most: the sessions come first.
constexpr std::uint32_t kAskedInATurn = 128;
// Sessions that are only looked at cost a cache line each.
constexpr std::uint32_t kSlotsInATurn = 8192;

}  // namespace

// After begin().
void Worker::name_session(Session& session) {
  const Kept& kept = session.kept;
  session.id = kept.id != 0 ? kept.id : admission_->next_id();
  session.opened_ns = kept.id != 0 ? kept.opened_ns : monotonic_ns();
}

// As much as one turn may take; the rest is behind the events that have come meanwhile.
void Worker::list_sessions(const ListSessions& message) {
  SessionListing& listing = *message.listing;
  const SessionFilter& filter = listing.filter();
  const std::int64_t now = monotonic_ns();
  const bool asks_kernel = filter.source_port != 0 || filter.idle_ms > 0;
  const std::uint32_t end = std::min(sessions_.slots(), message.from_slot + kSlotsInATurn);
  std::uint32_t asked = 0;
  std::uint32_t slot = message.from_slot;
  for (; slot < end && asked < kAskedInATurn; ++slot) {
    const Session& session = sessions_[slot];
    if (!may_match(filter, session)) continue;
    // There are enough that are older: how many more there are can be told without their facts.
    if (!asks_kernel && !listing.wants(session.opened_ns)) {
      listing.count();
      continue;
    }
    ++asked;
    SessionFacts facts = facts_of(session, now);
    facts.worker = number_;
    if (matches(filter, facts)) listing.add(facts);
  }
  if (slot < sessions_.slots()) {
    post(ListSessions{message.listing, slot});
  } else {
    listing.answered();
  }
}

void Worker::kill_sessions(KillOrder& order) {
  for (std::uint32_t slot = 0; slot < sessions_.slots(); ++slot) {
    const Session& session = sessions_[slot];
    if (!may_match({}, session) || !order.names(session.id)) continue;
    order.add(session.id);
    cut(slot, CutReason::kKilled);
  }
  order.answered();
}

}  // namespace pg_gateway
