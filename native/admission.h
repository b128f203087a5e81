// SPDX-License-Identifier: MIT
// Who may come in: how many clients there are, together and of each host, and how many a second.
//
// Owns: numbers, one for each host that has a client now; so its memory is bounded by the
// number of clients. Shared by the workers. Any thread; each call takes the same short time
// however many there are.
// Invariant: who was counted in is counted out once, when its descriptors have been closed.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "client_address.h"
#include "pace.h"

namespace pg_gateway {

enum class Admitted : std::uint8_t { kYes, kTooMany, kTooManyOfOneHost };

class Admission {
 public:
  struct Limits {
    std::uint32_t clients = UINT32_MAX;
    // 0: as many as there may be. A client without an address (AF_UNIX) has no such limit.
    std::uint32_t of_one_host = 0;
    // 0: as many as come. More wait in the queues of the listening sockets.
    std::uint32_t per_second = 0;
  };
  // More who are turned away are not told why: each takes a descriptor for as long as it likes
  // to be silent, up to the start-up deadline; and no longer several, if it asks to cancel a query.
  static constexpr std::uint32_t kMostTold = 1024;

  Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // When the next client may be accepted: a time that has passed, or 0, is at once.
  std::int64_t next_ns(const Limits& limits) const {
    return limits.per_second == 0 ? 0 : pace_.next_ns();
  }
  // One has been accepted.
  void accepted(const Limits& limits);

  // One more, unless there are as many as there may be.
  Admitted enter(const ClientAddress& client, const Limits& limits);
  // One that is here already: of an earlier process.
  void readmit(const ClientAddress& client);
  void leave(const ClientAddress& client);
  std::uint32_t clients() const { return clients_.load(std::memory_order_relaxed); }

  // Names a client that is not kept for the next process (its id is 0 in the store).
  std::uint64_t next_id() { return next_id_.fetch_add(1, std::memory_order_relaxed); }

  // One that was not let in is told so. False: too many are.
  bool begin_telling();
  void end_telling() { told_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  // With a secret of this process: nobody can choose addresses that fall together.
  struct Hash {
    std::uint64_t secret;
    std::size_t operator()(const ClientAddress::Host& host) const;
  };

  // False: it has `limit` already (0: there is none).
  bool enter_host(const ClientAddress& client, std::uint32_t limit);

  std::atomic<std::uint32_t> clients_{0};
  std::atomic<std::uint32_t> told_{0};
  std::atomic<std::uint64_t> next_id_;
  Pace pace_;
  std::mutex mutex_;
  std::unordered_map<ClientAddress::Host, std::uint32_t, Hash> hosts_;  // guarded by mutex_
};

}  // namespace pg_gateway
