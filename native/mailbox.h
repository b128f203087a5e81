// SPDX-License-Identifier: MIT
// Messages to one worker, from any thread: a queue and an eventfd that wakes it.
//
// Owns: the undelivered messages (and the descriptors in them).
// Threads: post() any; take() and fd() the worker's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "admission.h"
#include "fd.h"
#include "inquiry.h"
#include "route.h"
#include "session_store.h"

namespace pg_gateway {

struct Settings {
  std::int64_t connect_timeout_ns = 800'000'000;
  TcpOptions tcp;
  // How long one side may take nothing of what the other, which is gone, has left for it.
  std::int64_t farewell_timeout_ns = 30'000'000'000;
  // Tell of each session that comes and goes (session_log.h).
  bool log_sessions = false;
  // How long a client without a server waits for one; 0: it is turned away at once.
  std::int64_t hold_timeout_ns = 0;
  // So many may wait, of all workers together.
  std::uint32_t max_held = 1000;
  // So many of them a second are let go, once there is a server; and one for each that comes then.
  std::uint32_t release_rate = 500;
  // How long a client that waits, or is to be told of an error, may take to say what it wants.
  std::int64_t startup_timeout_ns = 10'000'000'000;
  Admission::Limits limits;
  DescriptorBounds bounds;
};

struct NewClient {
  UniqueFd socket;
  bool tcp = true;
  ClientAddress address;
  // Not connected yet; may be invalid. Made before the client was accepted.
  UniqueFd backend;
  int backend_family = 0;
  Kept kept;
  bool has_spoken = false;  // its startup message has come
};
// A listening socket to accept from; owned by the engine, which outlives the workers.
struct NewListener {
  int fd = -1;
  bool tcp = true;
};
struct Heartbeat {
  std::int64_t posted_ns = 0;
};
// From this slot on; the worker tells itself when there is more to look at than one turn may take.
struct ListSessions {
  std::shared_ptr<SessionListing> listing;
  std::uint32_t from_slot = 0;
};
struct KillSessions {
  std::shared_ptr<KillOrder> order;
};
// The worker has gone round with all that was posted before: the last one tells the store.
struct Confirm {
  std::shared_ptr<std::atomic<std::size_t>> waiting_for;
  bool again = true;  // what is ready only now comes first
};
struct StopAccepting {};
struct Stop {
  bool keep_sessions = false;  // for the next process; else they are cut
};

using Message = std::variant<NewClient, std::unique_ptr<Survivor>, NewListener,
                             std::shared_ptr<const RouteUpdate>, Settings, Heartbeat, ListSessions,
                             KillSessions, Confirm, StopAccepting, Stop>;

class Mailbox {
 public:
  Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  SysError open();
  void post(Message message);
  // All messages, in the order they were posted; clears the wake-up.
  std::vector<Message> take();
  int fd() const { return wake_.get(); }

 private:
  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<Message> queue_;  // guarded by mutex_
};

}  // namespace pg_gateway
