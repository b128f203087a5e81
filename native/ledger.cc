// SPDX-License-Identifier: MIT
#include "ledger.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace pg_gateway {

namespace {

constexpr std::uint64_t kMagic = 0x5047'4154'4557'4159;  // "PGATEWAY"

// FNV-1a, 64 bits: tells a torn or damaged note, not a forged one.
std::uint64_t checksum(const char* bytes, std::size_t count) {
  std::uint64_t sum = 0xcbf2'9ce4'8422'2325;
  for (std::size_t i = 0; i < count; ++i) {
    sum = (sum ^ static_cast<unsigned char>(bytes[i])) * 0x100'0000'01b3;
  }
  return sum;
}

struct Note {
  std::atomic<std::uint64_t> sequence;  // 0: never written; written last
  std::uint64_t bytes;
  std::uint64_t sum;
  std::array<char, Ledger::kMaxNote> text;
};

// The whole one with the highest number wins: the other is the one being overwritten.
bool whole(const Note& note) {
  return note.sequence.load() != 0 && note.bytes <= note.text.size() &&
         note.sum == checksum(note.text.data(), note.bytes);
}

}  // namespace

struct Ledger::Layout {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t bytes;
  std::atomic<KeptId> last_id;
  std::atomic<std::uint32_t> used_sessions;
  std::atomic<std::uint32_t> used_pipes;
  std::atomic<std::uint64_t> missing_bytes;
  // set_up[0]: workers, and above them the cut; set_up[1]: a timeout, and above it `unfinished`
  std::array<std::atomic<std::uint64_t>, 3> set_up;
  std::array<Note, 2> notes;
  std::array<std::atomic<KeptId>, kSessions> sessions;
  std::array<PipeWords, kPipes> pipes;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

Ledger::~Ledger() {
  if (memory_ != nullptr) ::munmap(memory_, sizeof(Layout));
}

SysError Ledger::map(UniqueFd& fd) {
  void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return SysError::last("mmap");
  memory_ = static_cast<Layout*>(memory);
  fd_ = std::move(fd);
  return {};
}

SysError Ledger::create() {
  UniqueFd fd(::memfd_create("pg-gateway-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return SysError::last("memfd_create");
  // Sparse: a page takes memory when it is first written.
  if (::ftruncate(fd.get(), sizeof(Layout)) != 0) return SysError::last("ftruncate");
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return SysError::last("fcntl");
  }
  if (SysError error = map(fd)) return error;
  memory_->version = kVersion;
  memory_->bytes = sizeof(Layout);
  memory_->magic = kMagic;
  return {};
}

SysError Ledger::attach(UniqueFd& fd) {
  struct stat facts {};
  // Sealed: it cannot shrink under the mapping, which would be a SIGBUS.
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return {"ledger", EBADMSG};
  if (::fstat(fd.get(), &facts) != 0) return SysError::last("fstat");
  std::array<char, sizeof(std::uint64_t) + 2 * sizeof(std::uint32_t)> head{};
  const ssize_t got = ::pread(fd.get(), head.data(), head.size(), 0);
  if (got < 0) return SysError::last("pread");
  if (got != static_cast<ssize_t>(head.size())) return {"ledger", EBADMSG};
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint32_t bytes = 0;
  std::memcpy(&magic, head.data(), sizeof magic);
  std::memcpy(&version, head.data() + sizeof magic, sizeof version);
  std::memcpy(&bytes, head.data() + sizeof magic + sizeof version, sizeof bytes);
  if (magic != kMagic) return {"ledger", EBADMSG};
  if (version != kVersion) return {"ledger", EPROTO};
  if (bytes != sizeof(Layout) || facts.st_size != static_cast<off_t>(sizeof(Layout))) {
    return {"ledger", EBADMSG};
  }
  if (SysError error = map(fd)) return error;
  if (memory_->last_id.load() < kMaxId) return {};
  ::munmap(memory_, sizeof(Layout));
  memory_ = nullptr;
  fd = std::move(fd_);
  return {"ledger", EBADMSG};
}

KeptId Ledger::next_id() {
  const KeptId id = memory_->last_id.load(std::memory_order_relaxed) + 1;
  memory_->last_id.store(id, std::memory_order_relaxed);
  return id;
}

void Ledger::reserve_ids(KeptId taken) {
  if (taken > memory_->last_id.load()) memory_->last_id.store(taken);
}

namespace {

void raise(std::atomic<std::uint32_t>& mark, std::uint32_t to) {
  if (mark.load(std::memory_order_relaxed) < to) mark.store(to, std::memory_order_release);
}

}  // namespace

std::atomic<KeptId>& Ledger::session(std::uint32_t slot) {
  raise(memory_->used_sessions, slot + 1);
  return memory_->sessions[slot];
}

Ledger::PipeWords& Ledger::pipe(std::uint32_t slot) {
  raise(memory_->used_pipes, slot + 1);
  return memory_->pipes[slot];
}

std::uint32_t Ledger::used_sessions() const {
  return std::min(memory_->used_sessions.load(), kSessions);
}

std::uint32_t Ledger::used_pipes() const {
  return std::min(memory_->used_pipes.load(), kPipes);
}

void Ledger::note_missing_bytes(bool there_are) {
  memory_->missing_bytes.store(there_are ? 1 : 0);
}

bool Ledger::misses_bytes() const {
  return memory_->missing_bytes.load() != 0;
}

namespace {

constexpr unsigned kCutShift = 32;
constexpr unsigned kReasonBits = 2;
// Stands for itself and all above it: a primary would have to change every second for 34 years.
constexpr std::uint32_t kHighestCut = (1U << (32 - kReasonBits)) - 1;

// Another one is not of a verdict.
CutReason verdicts_reason(std::uint32_t number) {
  const auto last = static_cast<std::uint32_t>(CutReason::kLost);
  return number <= last ? static_cast<CutReason>(number) : CutReason::kSuperseded;
}

std::uint32_t pack(const Ledger::Cut& cut) {
  if (cut.below_epoch == 0) return 0;
  const CutReason reason = verdicts_reason(static_cast<std::uint32_t>(cut.reason));
  return std::min(cut.below_epoch, kHighestCut) << kReasonBits | static_cast<std::uint32_t>(reason);
}

Ledger::Cut unpack(std::uint32_t word) {
  const std::uint32_t below = word >> kReasonBits;
  return {below == kHighestCut ? UINT32_MAX : below,
          verdicts_reason(word & ((1U << kReasonBits) - 1))};
}

}  // namespace

void Ledger::note_cut(const Cut& cut, std::uint32_t routed) {
  Cut all = this->cut();
  all.below_epoch = std::min(all.below_epoch, routed);
  if (cut.below_epoch > all.below_epoch) all = cut;
  const std::uint64_t workers = memory_->set_up[0].load() & UINT32_MAX;
  memory_->set_up[0].store(std::uint64_t{pack(all)} << kCutShift | workers);
}

Ledger::Cut Ledger::cut() const {
  return unpack(static_cast<std::uint32_t>(memory_->set_up[0].load() >> kCutShift));
}

namespace {

constexpr unsigned kUnfinishedShift = 48;
constexpr std::uint64_t kUnfinishedBits = ~std::uint64_t{0} << kUnfinishedShift;

// These bits of the word alone, whoever writes the others.
void set_bits(std::atomic<std::uint64_t>& word, std::uint64_t which, std::uint64_t bits) {
  std::uint64_t before = word.load();
  while (!word.compare_exchange_weak(before, (before & ~which) | (bits & which))) continue;
}

}  // namespace

void Ledger::note_unfinished(std::uint32_t count) {
  const std::uint64_t most = kUnfinishedBits >> kUnfinishedShift;
  const std::uint64_t noted = std::min(std::uint64_t{count}, most);
  set_bits(memory_->set_up[1], kUnfinishedBits, noted << kUnfinishedShift);
}

std::uint32_t Ledger::unfinished() const {
  return static_cast<std::uint32_t>(memory_->set_up[1].load() >> kUnfinishedShift);
}

std::uint32_t Ledger::unfinished_in(int fd) {
  std::uint64_t word = 0;
  const ssize_t got = ::pread(fd, &word, sizeof word, offsetof(Layout, set_up) + sizeof word);
  return got == sizeof word ? static_cast<std::uint32_t>(word >> kUnfinishedShift) : 0;
}

std::uint32_t Ledger::forget_sessions() {
  std::uint32_t lived = 0;
  for (std::uint32_t slot = 0; slot < used_sessions(); ++slot) {
    if (memory_->sessions[slot].exchange(0) != 0) ++lived;
  }
  for (std::uint32_t slot = 0; slot < used_pipes(); ++slot) {
    std::atomic<KeptId>& id = memory_->pipes[slot].id;
    const KeptId last = id.load();
    if (last != 0 && !open_forgotten_pipe(last).has_value()) id.store(forgotten_pipe(last));
  }
  note_missing_bytes(false);
  return lived;
}

void Ledger::note_set_up(const SetUp& set_up) {
  memory_->set_up[0].store(std::uint64_t{pack(cut())} << kCutShift | set_up.workers);
  set_bits(memory_->set_up[1], ~kUnfinishedBits,
           static_cast<std::uint64_t>(set_up.connect_timeout_ns));
  memory_->set_up[2].store(static_cast<std::uint64_t>(set_up.hold_timeout_ns));
}

Ledger::SetUp Ledger::set_up() const {
  return {static_cast<std::uint32_t>(memory_->set_up[0].load()),
          static_cast<std::int64_t>(memory_->set_up[1].load() & ~kUnfinishedBits),
          static_cast<std::int64_t>(memory_->set_up[2].load())};
}

bool Ledger::write_note(std::string_view text) {
  if (text.size() > kMaxNote) return false;
  std::array<Note, 2>& notes = memory_->notes;
  const std::size_t older =
      !whole(notes[0]) || (whole(notes[1]) && notes[0].sequence < notes[1].sequence) ? 0 : 1;
  const Note& newer = notes[1 - older];
  const std::uint64_t sequence = (whole(newer) ? newer.sequence.load() : 0) + 1;
  Note& note = notes[older];
  note.sequence.store(0);
  std::copy(text.begin(), text.end(), note.text.begin());
  note.bytes = text.size();
  note.sum = checksum(note.text.data(), text.size());
  note.sequence.store(sequence);
  return true;
}

std::optional<std::string> Ledger::read_note() const {
  const Note* best = nullptr;
  for (const Note& note : memory_->notes) {
    if (whole(note) && (best == nullptr || note.sequence > best->sequence)) best = &note;
  }
  if (best == nullptr) return std::nullopt;
  return std::string(best->text.data(), best->bytes);
}

std::uint32_t SlotAllocator::take() {
  if (!free_.empty()) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  return fresh_ < limit_ ? fresh_++ : limit_;
}

void SlotAllocator::adopt(const std::vector<bool>& used) {
  free_.clear();
  fresh_ = 0;
  for (std::uint32_t slot = 0; slot < used.size(); ++slot) {
    if (!used[slot]) continue;
    for (; fresh_ < slot; ++fresh_) free_.push_back(fresh_);
    fresh_ = slot + 1;
  }
}

}  // namespace pg_gateway
