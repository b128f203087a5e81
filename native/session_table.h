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
#include <queue>
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

  // One that this table has given out, and so has for ever: find() looks at what comes from
  // elsewhere. Not by the deque's own operator, whose check would be a tenth of a message's way in
  // user space.
  Session& operator[](std::uint32_t slot) { return sessions_.begin()[slot]; }
  // Null if the session is gone.
  Session* find(SessionRef ref) {
    if (ref.slot >= sessions_.size()) return nullptr;
    Session& session = sessions_[ref.slot];
    return session.generation == ref.generation && session.state() != SessionState::kFree ? &session
                                                                                          : nullptr;
  }
  // Likewise, by the attempt to connect its backend (Session::attempt).
  Session* find_attempt(SessionRef ref) {
    if (ref.slot >= sessions_.size()) return nullptr;
    Session& session = sessions_[ref.slot];
    return session.attempt == ref.generation && session.state() != SessionState::kFree ? &session
                                                                                       : nullptr;
  }
  std::uint32_t slots() const { return static_cast<std::uint32_t>(sessions_.size()); }

 private:
  std::deque<Session> sessions_;
  std::vector<std::uint32_t> free_;
};

// The sessions' deadlines, the earliest first. A session has one at a time, its
// deadline_ns; the entry of a session that has moved on is dropped when it comes to the
// front.
class DeadlineQueue {
 public:
  void push(std::int64_t at_ns, SessionRef ref) { entries_.push({at_ns, ref}); }

  // The next session that is still waiting, or null. `at_ns` receives its deadline.
  Session* front(SessionTable& table, std::int64_t& at_ns, std::uint32_t& slot) {
    for (; !entries_.empty(); entries_.pop()) {
      const Entry& entry = entries_.top();
      Session* session = table.find(entry.ref);
      if (session == nullptr || session->deadline_ns != entry.at_ns) continue;
      at_ns = entry.at_ns;
      slot = entry.ref.slot;
      return session;
    }
    return nullptr;
  }
  void pop() { entries_.pop(); }

 private:
  struct Entry {
    std::int64_t at_ns;
    SessionRef ref;
    bool operator<(const Entry& other) const { return at_ns > other.at_ns; }  // earliest on top
  };
  std::priority_queue<Entry> entries_;
};

}  // namespace pg_gateway
