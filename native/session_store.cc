// SPDX-License-Identifier: MIT
#include "session_store.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

namespace pg_gateway {

bool StoredFds::take(const std::string& name, UniqueFd& fd) {
  if (name == kLedgerName) {
    ledger = std::move(fd);
    return true;
  }
  std::string_view rest = name;
  if (!rest.starts_with(ParkingLot::kPrefix)) return false;
  rest.remove_prefix(std::string_view(ParkingLot::kPrefix).size());
  const bool in = rest.ends_with(ParkingLot::kInSuffix);
  const std::string_view suffix = in ? ParkingLot::kInSuffix : ParkingLot::kOutSuffix;
  if (!rest.ends_with(suffix)) return false;
  rest.remove_suffix(suffix.size());
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc{} || end != rest.data() + rest.size() || number > ParkingLot::kMaxNumber) {
    return false;
  }
  auto& pair = segments[number];
  (in ? pair.first : pair.second) = std::move(fd);
  return true;
}

void apply_cut(const Ledger::Cut& cut, Survivor& survivor) {
  if (!survivor.backend.valid() || survivor.epoch >= cut.below_epoch) return;
  // An answer that is under way may be a yes to encryption, and then the client is that server's.
  if (survivor.stage == Stage::kRelaying || survivor.declines) {
    survivor.cut = cut.reason;
    return;
  }
  ::shutdown(survivor.backend.get(), SHUT_RDWR);
  survivor.backend.reset();
  survivor.stage = Stage::kWaiting;
  survivor.ahead = 0;
  survivor.lost_server = true;
}

SessionStore::SessionStore(std::unique_ptr<FdStore> store)
    : store_(std::move(store)), lot_(*store_) {}

bool SessionStore::lives(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket) const {
  const std::vector<ParkingTicket>& all =
      kind == ParkedKind::kPipe ? pipe_tickets_ : session_tickets_;
  return kind != ParkedKind::kNone && slot < all.size() && all[slot] == ticket;
}

void SessionStore::moved(ParkedKind kind, std::uint32_t slot, ParkingTicket to) {
  tickets(kind)[slot] = to;
}

void SessionStore::set_ticket(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket) {
  std::vector<ParkingTicket>& all = tickets(kind);
  if (slot >= all.size()) all.resize(slot + 1);
  all[slot] = ticket;
}

bool SessionStore::park_session(const Kept& kept, int client, bool tcp,
                                const BackendFacts& backend) {
  ParkedMessage message;
  message.kind = ParkedKind::kSession;
  message.tcp_client = tcp ? 1 : 0;
  message.server = backend.server;
  message.slot = kept.slot;
  message.revision = kept.revision;
  message.id = kept.id;
  message.opened_ns = kept.opened_ns;
  message.epoch = backend.epoch;
  message.declined = backend.declined;
  const std::array<int, kMaxParkedFds> fds = {client, backend.fd};
  Result<ParkingTicket> ticket = lot_.park(message, fds.data(), backend.fd >= 0 ? 2 : 1);
  if (!ticket.ok()) return false;
  const ParkingTicket before =
      kept.slot < session_tickets_.size() ? session_tickets_[kept.slot] : 0;
  set_ticket(ParkedKind::kSession, kept.slot, ticket.value());
  if (before != 0) lot_.died(before, *this);
  return true;
}

void SessionStore::admit(Kept& kept, int client, bool tcp, const BackendFacts& backend) {
  const std::lock_guard lock(mutex_);
  kept = {};
  if (frozen_) return;
  const std::uint32_t slot = session_slots_.take();
  if (slot == session_slots_.limit()) {
    ++failures_;
    return;
  }
  kept = {ledger_->next_id(), monotonic_ns(), slot, 1, backend.epoch};
  ledger_->session(slot).store(kept.id, std::memory_order_release);
  ++sessions_;
  if (park_session(kept, client, tcp, backend)) return;
  ++failures_;
  strike(kept);
}

void SessionStore::update(Kept& kept, int client, bool tcp, const BackendFacts& backend) {
  if (kept.id == 0) return;
  const std::lock_guard lock(mutex_);
  if (frozen_) return;
  ++kept.revision;
  kept.epoch = backend.epoch;
  if (park_session(kept, client, tcp, backend)) return;
  // What is parked would be taken for the present state.
  ++failures_;
  strike(kept);
}

void SessionStore::end(const Kept& kept) {
  if (kept.id == 0) return;
  const std::lock_guard lock(mutex_);
  if (!frozen_) ledger_->session(kept.slot).store(0, std::memory_order_release);
}

void SessionStore::discharge(Kept& kept) {
  if (kept.id == 0) return;
  const std::lock_guard lock(mutex_);
  if (!frozen_) strike(kept);
}

void SessionStore::strike(Kept& kept) {
  ledger_->session(kept.slot).store(0, std::memory_order_release);
  const ParkingTicket ticket =
      kept.slot < session_tickets_.size() ? std::exchange(session_tickets_[kept.slot], 0) : 0;
  if (ticket != 0) lot_.died(ticket, *this);
  session_slots_.give_back(kept.slot);
  --sessions_;
  kept = {};
}

// Bytes in a pipe that is not kept are lost with this process. Most sessions would be missing them;
// of those that cannot be proven whole none may go on, while there is such a pipe.
void SessionStore::keep_pipe(Pipe& pipe) {
  const std::lock_guard lock(mutex_);
  if (frozen_) return;
  if (pipe.keeper == nullptr) ++unkept_pipes_;
  pipe.keeper = this;
  if (park_pipe(pipe)) --unkept_pipes_;
  ledger_->note_missing_bytes(unkept_pipes_ > 0);
}

bool SessionStore::park_pipe(Pipe& pipe) {
  // A pipe is tried again with each use: not at the cost of an id.
  if (lot_.pauses()) return false;
  const std::uint32_t slot = pipe_slots_.take();
  if (slot == pipe_slots_.limit()) return false;
  ParkedMessage message;
  message.kind = ParkedKind::kPipe;
  message.slot = slot;
  message.id = ledger_->next_id();
  Ledger::PipeWords& words = ledger_->pipe(slot);
  words.owner.store(0, std::memory_order_release);
  const std::array<int, kMaxParkedFds> fds = {pipe.read_end.get(), pipe.write_end.get()};
  Result<ParkingTicket> ticket = lot_.park(message, fds.data(), fds.size());
  if (!ticket.ok()) {
    pipe_slots_.give_back(slot);
    return false;
  }
  words.id.store(message.id, std::memory_order_release);
  set_ticket(ParkedKind::kPipe, slot, ticket.value());
  pipe.owner = &words.owner;
  pipe.kept_id = message.id;
  pipe.kept_slot = slot;
  return true;
}

void SessionStore::forget_pipe(const Pipe& pipe) {
  const std::lock_guard lock(mutex_);
  if (frozen_) return;
  if (pipe.owner == nullptr) {
    --unkept_pipes_;
    return ledger_->note_missing_bytes(unkept_pipes_ > 0);
  }
  ledger_->pipe(pipe.kept_slot).id.store(forgotten_pipe(pipe.kept_id), std::memory_order_release);
  lot_.died(std::exchange(pipe_tickets_[pipe.kept_slot], 0), *this);
  pipe_slots_.give_back(pipe.kept_slot);
}

void SessionStore::freeze() {
  const std::lock_guard lock(mutex_);
  frozen_ = true;
}

StoredFds SessionStore::release() {
  const std::lock_guard lock(mutex_);
  StoredFds stored;
  stored.ledger = ledger_->release_fd();
  stored.segments = lot_.release();
  return stored;
}

void SessionStore::note_set_up(const Ledger::SetUp& set_up) {
  const std::lock_guard lock(mutex_);
  ledger_->note_set_up(set_up);
}

Ledger::SetUp SessionStore::set_up() {
  const std::lock_guard lock(mutex_);
  return ledger_->set_up();
}

void SessionStore::note_cut(const Ledger::Cut& cut, std::uint32_t routed) {
  ledger_->note_cut(cut, routed);
}

bool SessionStore::write_note(std::string_view note) {
  const std::lock_guard lock(mutex_);
  return ledger_->write_note(note);
}

SessionStore::Usage SessionStore::usage() {
  const std::lock_guard lock(mutex_);
  return {sessions_, lot_.segments(), lot_.messages(), failures_};
}

}  // namespace pg_gateway
