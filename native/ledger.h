// SPDX-License-Identifier: MIT
// What must be known of the sessions after this process has died, in memory that the
// service manager keeps (memfd_create(2) and systemd's file descriptor store): which
// sessions and pipes are alive, whose bytes a pipe may hold, and what the control plane
// remembers. All that never changes of a session travels with its parked descriptors
// instead (parking_lot.h).
//
// Owns: the memory and its descriptor. Thread: the session store's lock guards all but
// the words themselves, which are single atomic stores: no moment between two of them
// leaves anything that recovery could misread.
//
//   word         0 means    else
//   session[n]   free       the id of the session in slot n
//   pipe[n].id   free       the id of the pipe in slot n
//   pipe[n].owner nobody    session id * 2 + direction whose bytes it may hold
//
// Hostile input when it comes from an earlier process: attach() checks what can be
// checked, and nothing here can connect one client to another's server, since which
// two sockets belong together is never read from here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fd.h"

namespace pg_gateway {

// Never given twice, by no process that writes to the same ledger. 0: none.
using KeptId = std::uint64_t;

enum class Direction : std::uint8_t { kUp = 0, kDown = 1 };  // to the backend, to the client

constexpr std::uint64_t pipe_owner(KeptId session, Direction direction) {
  return session << 1 | static_cast<std::uint64_t>(direction);
}

class Ledger {
 public:
  // Another number whenever the meaning of a byte here or of a parked message changes.
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::uint32_t kSessions = 1u << 18;
  static constexpr std::uint32_t kPipes = 1u << 16;
  static constexpr std::size_t kMaxNote = 64 * 1024;
  // Ids have room for the direction, and for a damaged counter to be noticed.
  static constexpr KeptId kMaxId = KeptId{1} << 62;

  struct PipeWords {
    std::atomic<KeptId> id;
    std::atomic<std::uint64_t> owner;
  };

  Ledger() = default;
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Empty memory.
  SysError create();
  // That of an earlier process. Errors: {"ledger", EPROTO} another version; {"ledger",
  // EBADMSG} not one of ours, or damaged. The descriptor is taken over only on success.
  SysError attach(UniqueFd& fd);
  int fd() const { return fd_.get(); }

  KeptId next_id();
  // Ids up to this one are taken.
  void reserve_ids(KeptId taken);
  std::atomic<KeptId>& session(std::uint32_t slot);
  PipeWords& pipe(std::uint32_t slot);
  // Slots below these were ever used: reading the others would give them memory.
  std::uint32_t used_sessions() const;
  std::uint32_t used_pipes() const;

  // What the control plane wants back after a restart. False: too long.
  bool write_note(std::string_view text);
  // Of the last write_note() that was finished; none if there is none that is whole.
  std::optional<std::string> read_note() const;

 private:
  struct Layout;
  SysError map(UniqueFd& fd);

  UniqueFd fd_;
  Layout* memory_ = nullptr;
};

// Which slots of the ledger are free. Lives in this process only.
class SlotAllocator {
 public:
  explicit SlotAllocator(std::uint32_t limit) : limit_(limit) {}
  // `limit` if none is free.
  std::uint32_t take();
  void give_back(std::uint32_t slot) { free_.push_back(slot); }
  // At start: the slots that are in use, by `used[slot]`.
  void adopt(const std::vector<bool>& used);
  std::uint32_t limit() const { return limit_; }

 private:
  std::uint32_t limit_;
  std::uint32_t fresh_ = 0;  // slots from here on were never used
  std::vector<std::uint32_t> free_;
};

}  // namespace pg_gateway
