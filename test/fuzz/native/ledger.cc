// SPDX-License-Identifier: MIT
// The memory of an earlier process: whatever is in it, it is refused or can be read, and what is
// written to it is read back.
//
// Input: the size of the file and whether it is sealed, then the head, then patches (a place, how
// many bytes, the bytes). A file of 3 MB is not an input that anybody mutates.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "input.h"
#include "ledger.h"

using namespace pg_gateway;
using fuzz::Input;
using fuzz::require;

namespace {

// What create() makes.
struct Fresh {
  std::string head;
  std::size_t bytes = 0;
};

Fresh fresh_ledger() {
  Ledger ledger;
  require(!ledger.create(), "a ledger can be made");
  Fresh fresh;
  fresh.bytes = static_cast<std::size_t>(::lseek(ledger.fd(), 0, SEEK_END));
  fresh.head.resize(64);
  require(::pread(ledger.fd(), fresh.head.data(), fresh.head.size(), 0) ==
              static_cast<ssize_t>(fresh.head.size()),
          "its head can be read");
  return fresh;
}

UniqueFd file_of(Input& input, const Fresh& fresh) {
  UniqueFd fd(::memfd_create("ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const std::size_t kind = input.choice(16);
  const std::size_t bytes = kind == 0 ? input.number<std::uint16_t>() : fresh.bytes;
  (void)::ftruncate(fd.get(), static_cast<off_t>(bytes));
  const auto put = [&](std::size_t at, std::string_view what) {
    if (what.empty() || at >= bytes) return;
    what = what.substr(0, bytes - at);
    (void)::pwrite(fd.get(), what.data(), what.size(), static_cast<off_t>(at));
  };
  if (kind != 1) put(0, fresh.head);
  for (int patches = 0; patches < 64 && !input.empty(); ++patches) {
    // Most of what means something is in the head, and at the beginnings of notes and tables.
    const std::size_t at = input.choice(2) == 0 ? input.number<std::uint8_t>()
                                                : input.number<std::uint32_t>() % (bytes + 1);
    put(at, input.bytes(1 + input.choice(32)));
  }
  if (kind != 2) ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK);
  return fd;
}

void use(Ledger& ledger, Input& input) {
  require(ledger.used_sessions() <= Ledger::kSessions, "sessions fit");
  require(ledger.used_pipes() <= Ledger::kPipes, "pipes fit");
  (void)ledger.set_up();
  (void)ledger.misses_bytes();
  const Ledger::Cut found = ledger.cut();
  require(found.reason <= CutReason::kLost, "a cut has a verdict's reason");
  const std::uint32_t below = input.number<std::uint32_t>();
  ledger.note_cut({below, CutReason::kLost});
  require(ledger.cut().below_epoch >= std::max(found.below_epoch, below),
          "a cut is not taken back");
  ledger.note_set_up(ledger.set_up());
  require(ledger.cut().below_epoch >= std::max(found.below_epoch, below), "a set-up is none");
  if (const std::optional<std::string> note = ledger.read_note()) {
    require(note->size() <= Ledger::kMaxNote, "a note has its bound");
  }
  const KeptId id = ledger.next_id();
  require(id != 0 && id <= Ledger::kMaxId, "the next id is one");
  require(open_owner(seal_owner(pipe_owner(id, Direction::kDown), id), id) ==
              pipe_owner(id, Direction::kDown),
          "an owner is read back");
  const std::string text(input.bytes(200));
  require(ledger.write_note(text), "a short note fits");
  require(ledger.read_note() == text, "the last note is read back");
  std::vector<bool> used(std::min<std::uint32_t>(ledger.used_sessions(), 1024));
  for (std::uint32_t slot = 0; slot < used.size(); ++slot) {
    used[slot] = ledger.session(slot).load() != 0;
  }
  SlotAllocator slots(Ledger::kSessions);
  slots.adopt(used);
  const std::uint32_t slot = slots.take();
  require(slot >= used.size() || !used[slot], "a slot that is given was free");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Fresh fresh = fresh_ledger();
  Input input(data, size);
  UniqueFd fd = file_of(input, fresh);
  Ledger ledger;
  const bool attached = !ledger.attach(fd);
  require(attached != fd.valid(), "the descriptor is taken over only on success");
  if (attached) use(ledger, input);
  return 0;
}
