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
//   pipe[n].id   free       the id of the pipe in slot n, or forgotten_pipe() of the last one
//   pipe[n].owner nobody    seal_owner() of the session and direction whose bytes it may hold
//   missing_bytes  no       bytes may be lost with this process, and nobody can tell whose
//   set_up[n]      default  how the data plane was told to work last
//   cut            no       sessions of which epochs were to end, and why; decided, and perhaps not
//                           carried out. The upper half of set_up[0], of which programs that knew
//                           no cut have read the lower half alone, and written zero to the upper
//   unfinished     none     so many processes in a row have begun to take all this up, and nobody
//                           knows what became of them. The upper 16 bits of set_up[1], a timeout:
//                           programs that knew no such count have written zero to them, and do not
//                           believe one in which they are set
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
#include <utility>
#include <vector>

#include "counters.h"
#include "fd.h"

namespace pg_gateway {

// Never given twice, by no process that writes to the same ledger. 0: none.
using KeptId = std::uint64_t;

enum class Direction : std::uint8_t { kUp = 0, kDown = 1 };  // to the backend, to the client

constexpr std::uint64_t pipe_owner(KeptId session, Direction direction) {
  return session << 1 | static_cast<std::uint64_t>(direction);
}

// The rest of an owner's word tells that it is the word of this pipe: one that is damaged or
// another pipe's does not open. As many bytes may be in one pipe as in another, and then the
// kernel's counts would not notice that they have changed places.
inline constexpr unsigned kOwnerBits = 41;
constexpr std::uint64_t seal_owner(std::uint64_t owner, KeptId pipe) {
  std::uint64_t mixed = (owner ^ pipe * 0x9e37'79b9'7f4a'7c15) * 0xbf58'476d'1ce4'e5b9;
  mixed = (mixed ^ mixed >> 31) * 0x94d0'49bb'1331'11eb;
  return mixed >> kOwnerBits << kOwnerBits | owner;
}
constexpr std::optional<std::uint64_t> open_owner(std::uint64_t word, KeptId pipe) {
  const std::uint64_t owner = word & ((std::uint64_t{1} << kOwnerBits) - 1);
  if (seal_owner(owner, pipe) != word) return std::nullopt;
  return owner;
}

// What stands for a pipe that is not kept any more: bytes in it are nobody's.
constexpr std::uint64_t forgotten_pipe(KeptId id) {
  return seal_owner(id, ~KeptId{0});
}
constexpr std::optional<KeptId> open_forgotten_pipe(std::uint64_t word) {
  return open_owner(word, ~KeptId{0});
}

class Ledger {
 public:
  // Another number whenever the meaning of a byte here or of a parked message changes.
  static constexpr std::uint32_t kVersion = 3;
  static constexpr std::uint32_t kSessions = 1u << 18;
  static constexpr std::uint32_t kPipes = 1u << 16;
  static constexpr std::size_t kMaxNote = 64 * 1024;
  // Ten thousand a second for three years; a counter past it is damaged.
  static constexpr KeptId kMaxId = KeptId{1} << (kOwnerBits - 1);

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
  // For another ledger of this process; the memory stays here as well.
  UniqueFd release_fd() { return std::move(fd_); }

  KeptId next_id();
  // Ids up to this one are taken.
  void reserve_ids(KeptId taken);
  std::atomic<KeptId>& session(std::uint32_t slot);
  PipeWords& pipe(std::uint32_t slot);
  // Slots below these were ever used: reading the others would give them memory.
  std::uint32_t used_sessions() const;
  std::uint32_t used_pipes() const;

  // Bytes may be where the next process does not find them: who cannot be proven whole may not go
  // on.
  void note_missing_bytes(bool there_are);
  bool misses_bytes() const;

  // What the next process goes by until it has read its own configuration.
  struct SetUp {
    std::uint32_t workers = 1;
    std::int64_t connect_timeout_ns = 0;
    std::int64_t hold_timeout_ns = 0;
  };
  void note_set_up(const SetUp& set_up);
  // As it was noted, whatever that is: its reader knows what may be.
  SetUp set_up() const;

  // Sessions of an epoch below this were to end.
  struct Cut {
    std::uint32_t below_epoch = 0;  // 0: none were
    CutReason reason = CutReason::kSuperseded;
  };
  // Never takes back what was decided before, unless sessions of `routed` may begin from now on:
  // then those of that epoch and of later ones are none that were meant. Of two decisions about the
  // same sessions the first one's reason stays. The owner's thread, as of note_set_up().
  void note_cut(const Cut& cut, std::uint32_t routed = UINT32_MAX);
  // Damaged, it is another one; its reason is always that of a verdict.
  Cut cut() const;

  // Any thread. More than it has room for is that much.
  void note_unfinished(std::uint32_t count);
  std::uint32_t unfinished() const;
  // Of one that nobody has attached; 0 too where it cannot be read.
  static std::uint32_t unfinished_in(int fd);
  // Nobody lives any more: how many sessions there were. What else is known stays.
  std::uint32_t forget_sessions();

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
