// SPDX-License-Identifier: MIT
// The sessions of one worker, by slot. A slot's address never changes; its
// generation does, each time it is freed, so that an event or a deadline of an
// earlier session is recognised as stale.
//
// Owns: the sessions. Thread: its worker's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "session.h"

namespace pg_gateway {

struct SessionRef {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

class SessionTable {
 public:
  // A free slot; the caller begins a session in it.
  std::uint32_t allocate() {
    if (free_.empty()) {
      sessions_.emplace_back();
      return static_cast<std::uint32_t>(sessions_.size() - 1);
    }
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  // The session has been moved to kFree.
  void free(std::uint32_t slot) {
    ++sessions_[slot].generation;
    free_.push_back(slot);
  }

  Session& operator[](std::uint32_t slot) { return sessions_[slot]; }
  // Null if the session is gone.
  Session* find(SessionRef ref) {
    if (ref.slot >= sessions_.size()) return nullptr;
    Session& session = sessions_[ref.slot];
    return session.generation == ref.generation && session.state() != SessionState::kFree ? &session
                                                                                          : nullptr;
  }
  std::uint32_t slots() const { return static_cast<std::uint32_t>(sessions_.size()); }

 private:
  std::deque<Session> sessions_;
  std::vector<std::uint32_t> free_;
};

// Deadlines of one kind. Each kind has one duration, so they expire in the order
// they were set, and a queue does; an entry whose session has moved on is dropped
// when it comes to the front. (When a reload shortens the duration, the entries
// already waiting keep theirs.)
class DeadlineQueue {
 public:
  void push(std::int64_t at_ns, SessionRef ref) { entries_.push_back({at_ns, ref}); }

  // The next session that is still waiting, or null. `at_ns` receives its deadline.
  Session* front(SessionTable& table, std::int64_t& at_ns, std::uint32_t& slot) {
    for (; !entries_.empty(); entries_.pop_front()) {
      const Entry& entry = entries_.front();
      Session* session = table.find(entry.ref);
      if (session == nullptr || session->deadline_ns != entry.at_ns) continue;
      at_ns = entry.at_ns;
      slot = entry.ref.slot;
      return session;
    }
    return nullptr;
  }
  void pop() { entries_.pop_front(); }

 private:
  struct Entry {
    std::int64_t at_ns;
    SessionRef ref;
  };
  std::deque<Entry> entries_;
};

}  // namespace pg_gateway
