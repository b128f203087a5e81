// SPDX-License-Identifier: MIT
// What an administrator asks of all workers: which sessions there are, and to end some.
//
// Owns: what the workers have answered so far. The asker and each worker share it; the worker that
// answers last tells the asker, on its own thread.
// Threads: any, but for what an asker may look at only once done().
// Invariants:
//  - what is asked never changes once it is asked;
//  - an answer is bounded by what the asker said, however many sessions there are.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <vector>

#include "client_address.h"
#include "session.h"

namespace pg_gateway {

class Inquiry {
 public:
  // `told` is called once, when all have answered; it must not block.
  using Told = void (*)(void* context, std::uint32_t number);
  Inquiry(std::uint32_t number, Told told, void* context)
      : told_(told), context_(context), number_(number) {}
  Inquiry(const Inquiry&) = delete;
  Inquiry& operator=(const Inquiry&) = delete;

  void begin(std::size_t workers) { waiting_for_.store(workers); }
  // One worker has answered.
  void answered() {
    if (waiting_for_.fetch_sub(1) == 1) told_(context_, number_);
  }
  bool done() const { return waiting_for_.load() == 0; }
  std::uint32_t number() const { return number_; }

 protected:
  ~Inquiry() = default;

 private:
  Told told_;
  void* context_;
  std::uint32_t number_;
  std::atomic<std::size_t> waiting_for_{SIZE_MAX};
};

// Which sessions are meant; what is left out means any.
struct SessionFilter {
  // Of clients without an address (AF_UNIX), or of this one and, unless 0, this port.
  bool unix_clients = false;
  std::optional<ClientAddress::Host> client;
  std::uint16_t client_port = 0;
  std::optional<std::uint16_t> server;  // slot
  std::int64_t idle_ms = 0;             // for so long at least
  std::uint16_t source_port = 0;        // of the gateway's connection to the server; 0: any
};

struct SessionFacts {
  std::uint64_t id = 0;
  SessionState state = SessionState::kFree;
  ClientAddress client;
  std::uint16_t server = 0;       // slot; of one that is held that of its last server
  std::uint16_t source_port = 0;  // what pg_stat_activity.client_port tells; 0: none
  std::uint16_t worker = 0;
  std::int64_t opened_ns = 0;  // when the client came, by the monotonic clock
  std::int64_t age_ns = 0;     // for how long it has been there
  // Since a byte last came from the server or went to it; -1: not known.
  std::int64_t idle_ms = -1;
  // Over the whole life of the connection to the server, in earlier processes too.
  std::uint64_t bytes_up = 0;  // client to backend
  std::uint64_t bytes_down = 0;
};

// Of more than are wanted the oldest are told, whichever worker has them and in whatever order
// they are found: slots are used again, so theirs says nothing.
class SessionListing final : public Inquiry {
 public:
  SessionListing(SessionFilter filter, std::uint32_t limit, std::uint32_t number, Told told,
                 void* context)
      : Inquiry(number, told, context), filter_(filter), limit_(limit) {}

  const SessionFilter& filter() const { return filter_; }
  // False: there are enough that came before this moment, and it would only be counted.
  bool wants(std::int64_t opened_ns) const {
    return opened_ns <= youngest_ns_.load(std::memory_order_relaxed);
  }
  // Another one that is meant. If there are enough, the youngest of them is left out.
  void add(const SessionFacts& facts);
  void count() { matching_.fetch_add(1, std::memory_order_relaxed); }

  // Once done(), in no order; no more than the limit.
  const std::vector<SessionFacts>& found() const { return found_; }
  // The same, the oldest first.
  std::vector<const SessionFacts*> oldest_first() const;
  std::uint32_t matching() const { return matching_.load(); }

 private:
  SessionFilter filter_;
  std::uint32_t limit_;
  std::atomic<std::uint32_t> matching_{0};
  // When the youngest of those came that are wanted; only those from before can still be.
  std::atomic<std::int64_t> youngest_ns_{std::numeric_limits<std::int64_t>::max()};
  std::mutex mutex_;
  std::vector<SessionFacts> found_;  // a heap, the youngest on top; guarded by mutex_ until done()
};

class KillOrder final : public Inquiry {
 public:
  KillOrder(std::vector<std::uint64_t> ids, std::uint32_t number, Told told, void* context);

  bool names(std::uint64_t id) const;
  void add(std::uint64_t id);

  // Once done(): those that there were.
  const std::vector<std::uint64_t>& killed() const { return killed_; }

 private:
  std::vector<std::uint64_t> ids_;  // ascending
  std::mutex mutex_;
  std::vector<std::uint64_t> killed_;  // guarded by mutex_ until done()
};

// Whether what is known without asking the kernel speaks for a session.
bool may_match(const SessionFilter& filter, const Session& session);
// All of it, two system calls for a session that has a server. `now_ns`: of the monotonic clock.
SessionFacts facts_of(const Session& session, std::int64_t now_ns);
// Whether these are meant, by what only the kernel knew.
bool matches(const SessionFilter& filter, const SessionFacts& facts);

}  // namespace pg_gateway
