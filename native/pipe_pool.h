// SPDX-License-Identifier: MIT
// The pipes of one worker. A relay borrows an empty pipe for the length of a turn
// and keeps it only while its sink is full, so an idle session owns none.
//
// Owns: the idle pipes. Thread: its worker's.
// Invariant: every idle pipe is empty. A pipe comes back only when all that went in
// has come out; one that dies with bytes in it is destroyed, never re-admitted.
#pragma once

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fd.h"
#include "ledger.h"

namespace pg_gateway {

struct Pipe;

// Who keeps copies of pipes beyond the life of this process. Any thread.
class PipeKeeper {
 public:
  // Sets `keeper`; and `owner`, `kept_id` and `kept_slot` if it could be kept. If it could not, it
  // may be tried again.
  virtual void keep_pipe(Pipe& pipe) = 0;
  virtual void forget_pipe(const Pipe& pipe) = 0;

 protected:
  ~PipeKeeper() = default;
};

struct Pipe {
  Pipe() = default;
  ~Pipe() {
    if (keeper != nullptr) keeper->forget_pipe(*this);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  // Reads back how many buffers it holds.
  void measure();
  // Before the first byte is in it: whoever finds it after a crash knows whose it is.
  void mark(std::uint64_t new_owner) {
    if (owner != nullptr) {
      owner->store(seal_owner(new_owner, kept_id), std::memory_order_release);
    }
  }

  UniqueFd read_end;
  UniqueFd write_end;
  // How many buffers it holds (pipe(7): one a page). A splice that moved fewer
  // bytes than this cannot have been stopped by a full pipe.
  std::uint32_t slots = 0;
  // Where to write whose bytes it holds, or is about to (ledger.h); null: it is not kept.
  std::atomic<std::uint64_t>* owner = nullptr;
  PipeKeeper* keeper = nullptr;
  KeptId kept_id = 0;
  std::uint32_t kept_slot = 0;
};

class PipePool {
 public:
  // One pipe of this many bytes is asked for; what the kernel really gave
  // (pipe-max-size and pipe-user-pages-soft, pipe(7)) is read back into `slots`.
  static constexpr int kPipeBytes = 1 << 20;
  // More idle pipes than this are closed: a worker pumps one relay at a time.
  static constexpr std::size_t kMaxIdle = 4;

  PipePool() = default;
  // Pipes are given to the keeper until it has taken them.
  void set_keeper(PipeKeeper* keeper) { keeper_ = keeper; }
  // None is made whose descriptors are not below this: EMFILE (DescriptorBounds).
  void set_bound(int bound) { bound_ = bound; }
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // An empty pipe, or null with errno set (EMFILE, ENFILE, ENOMEM).
  std::unique_ptr<Pipe> take();
  // Precondition: the pipe is empty.
  void give_back(std::unique_ptr<Pipe> pipe);
  // The pipe is going to hold bytes for a while. One that could not be kept so far has another try.
  void hold(Pipe& pipe, std::uint64_t owner) {
    if (pipe.owner != nullptr || keeper_ == nullptr) return;
    keep(pipe);
    pipe.mark(owner);
  }
  // Closes what is idle and could not be kept: it is empty, and need not count as missing.
  void close_unkept() {
    std::erase_if(idle_, [](const auto& pipe) { return pipe->owner == nullptr; });
  }

  std::size_t idle() const { return idle_.size(); }

 private:
  void keep(Pipe& pipe) {
    if (pipe.owner == nullptr && keeper_ != nullptr) keeper_->keep_pipe(pipe);
  }

  std::vector<std::unique_ptr<Pipe>> idle_;
  PipeKeeper* keeper_ = nullptr;
  int bound_ = INT_MAX;
};

}  // namespace pg_gateway
