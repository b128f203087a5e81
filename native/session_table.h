// SPDX-License-Identifier: MIT
// The sessions of one worker, by slot. A slot's address never changes; its
// generation does, each time it is freed, so that an event or a deadline of an
// earlier session is recognised as stale.
//
// Owns: the sessions. Thread: its worker's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
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
// front. Behind one that is far away there would be ever more of them: when they are most
// of all, what is still true is taken from the table anew.
class DeadlineQueue {
 public:
  // The session has it as its deadline_ns already.
  void push(SessionTable& table, std::int64_t at_ns, SessionRef ref) {
    entries_.push_back({at_ns, ref});
    std::push_heap(entries_.begin(), entries_.end());
    // As many have been pushed since the last time as there are to look at.
    if (entries_.size() > 2 * std::size_t{table.slots()} + kFew) rebuild(table);
  }

  // The next session that is still waiting, or null. `at_ns` receives its deadline.
  Session* front(SessionTable& table, std::int64_t& at_ns, std::uint32_t& slot) {
    for (; !entries_.empty(); pop()) {
      const Entry& entry = entries_.front();
      Session* session = table.find(entry.ref);
      if (session == nullptr || session->deadline_ns != entry.at_ns) continue;
      at_ns = entry.at_ns;
      slot = entry.ref.slot;
      return session;
    }
    return nullptr;
  }
  void pop() {
    std::pop_heap(entries_.begin(), entries_.end());
    entries_.pop_back();
  }

  // With those of sessions that have moved on.
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::int64_t at_ns;
    SessionRef ref;
    bool operator<(const Entry& other) const { return at_ns > other.at_ns; }  // earliest on top
  };
  // Of so few none is worth looking for.
  static constexpr std::size_t kFew = 1024;

  // In memory of its own size, however much there was before.
  void rebuild(SessionTable& table) {
    std::vector<Entry> live;
    for (std::uint32_t slot = 0; slot < table.slots(); ++slot) {
      const Session& session = table[slot];
      if (session.state() == SessionState::kFree || session.deadline_ns == 0) continue;
      live.push_back({session.deadline_ns, {slot, session.generation}});
    }
    std::make_heap(live.begin(), live.end());
    entries_ = std::move(live);
  }

  std::vector<Entry> entries_;  // a heap
};

}  // namespace pg_gateway
