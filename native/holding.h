// SPDX-License-Identifier: MIT
// Clients that wait for a primary: each worker's queue of them, and what the workers
// share: how many there are, and the pace at which they are let go.
//
// Owns: numbers. A held client is a Session in kHeld; the queue is a list through the
// sessions themselves, so that one that leaves costs the same wherever it stands.
#pragma once

#include <atomic>
#include <cstdint>

#include "pace.h"
#include "session_table.h"

namespace pg_gateway {

// Shared by the workers. Any thread.
class Holding {
 public:
  // One more is held. False: there are `limit` already.
  bool enter(std::uint32_t limit) {
    if (held_.fetch_add(1, std::memory_order_relaxed) < limit) return true;
    leave();
    return false;
  }
  void leave() { held_.fetch_sub(1, std::memory_order_relaxed); }
  std::uint32_t held() const { return held_.load(std::memory_order_relaxed); }

  // Takes the next place in the sequence of releases; when that is.
  std::int64_t claim(std::int64_t now_ns, std::uint32_t per_second) {
    return pace_.claim(now_ns, per_second);
  }

 private:
  std::atomic<std::uint32_t> held_{0};
  Pace pace_;
};

// One worker's, the client that has waited longest first. Thread: its worker's.
class HoldQueue {
 public:
  bool empty() const { return first_ == kNoSession; }
  std::uint32_t front() const { return first_; }

  void push_back(SessionTable& table, std::uint32_t slot) {
    table[slot].before_in_hold = last_;
    table[slot].behind_in_hold = kNoSession;
    (last_ == kNoSession ? first_ : table[last_].behind_in_hold) = slot;
    last_ = slot;
  }
  void push_front(SessionTable& table, std::uint32_t slot) {
    table[slot].before_in_hold = kNoSession;
    table[slot].behind_in_hold = first_;
    (first_ == kNoSession ? last_ : table[first_].before_in_hold) = slot;
    first_ = slot;
  }
  void remove(SessionTable& table, std::uint32_t slot) {
    const std::uint32_t before = table[slot].before_in_hold;
    const std::uint32_t behind = table[slot].behind_in_hold;
    (before == kNoSession ? first_ : table[before].behind_in_hold) = behind;
    (behind == kNoSession ? last_ : table[behind].before_in_hold) = before;
  }

 private:
  static constexpr std::uint32_t kNoSession = UINT32_MAX;

  std::uint32_t first_ = kNoSession;
  std::uint32_t last_ = kNoSession;
};

}  // namespace pg_gateway
