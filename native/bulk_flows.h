// SPDX-License-Identifier: MIT
// The bulk transfers of one worker. A segment of one is worth no wake-up: the kernel is asked
// for an event when kLowWater bytes are there (SO_RCVLOWAT, socket(7); tcp_epollin_ready() in
// the kernel: or when the window has no room for more), and what is less is fetched when it has
// waited for kPatienceNs. The end of a stream and a reset come at once all the same.
//
// Owns: who is to be looked at when. Thread: its worker's.
// Invariant: a direction whose socket has a low-water mark is in the list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "session_table.h"

namespace pg_gateway {

class BulkFlows {
 public:
  static constexpr int kLowWater = 512 * 1024;
  // The last bytes of a bulk transfer may come so much later.
  static constexpr std::int64_t kPatienceNs = 1'000'000;
  // More are not worth it: each is looked at in every turn of the loop.
  static constexpr std::size_t kMost = 64;

  struct Flow {
    SessionRef session;
    Side source = Side::kClient;
    std::int64_t due_ns = 0;
  };

  bool full() const { return flows_.size() >= kMost; }
  // There has been a turn of its session. One that was read from just now is due when nothing
  // comes for kPatienceNs; one that was not stays due when it was.
  void touch(SessionRef session, Side source, std::int64_t now_ns, bool was_read);
  // When the next one is due; the end of time if there is none.
  std::int64_t next_ns() const;
  // Those that are due, which are in the list no more.
  std::vector<Flow> take_due(std::int64_t now_ns);

 private:
  std::vector<Flow> flows_;
};

// From now on an event comes when so many bytes are there; 1: for each.
bool set_low_water(int socket, int bytes);

}  // namespace pg_gateway
