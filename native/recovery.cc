// SPDX-License-Identifier: MIT
// Taking up what an earlier process left in the session store. Everything is read as
// hostile input, nothing is taken out before it is judged, so that a crash in here leaves
// all as it was, but for the ledger's count of such crashes: it ends their row. A session goes on
// only if
//  - the ledger says that it lives, under the id that travelled with its sockets;
//  - its sockets are what they should be;
//  - the kernel's counts prove that no byte of it is missing or doubled;
//  - it was not to be cut: what was decided is carried out, before it moves a byte.
// Client and server of a session come out of one message, together as they went in:
// whatever the ledger says, no client can meet another's server.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <unordered_map>

#include "counters.h"
#include "opening.h"
#include "pg_wire.h"
#include "session_store.h"
#include "socket_address.h"
#include "tcp_account.h"

namespace pg_gateway {

namespace {

// None of the client's bytes was read, and it was told nothing, not even the end. (A closed
// client's FIN may count as a byte.)
bool nothing_said(const TcpAccount& client) {
  return client.known && !client.fin_sent && client.written == 0 &&
         client.consumed <= (client.closed ? 1U : 0U);
}

// GSSENCRequest and SSLRequest may both come before the startup message.
constexpr std::uint64_t kMostRequests = 2;

// How many requests for encryption are all that was read from the client, and no more than an
// answer of one byte to each was given; none if there was more.
std::optional<std::uint32_t> requests_read(const TcpAccount& client) {
  const std::uint64_t requests = client.consumed / kStartupHeaderBytes;
  const std::uint64_t rest = client.consumed % kStartupHeaderBytes;
  if (!client.known || client.fin_sent || requests > kMostRequests || client.written > requests ||
      rest > (client.closed ? 1U : 0U)) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(requests);
}

int option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

// -1: it cannot be told.
int bytes_in(const UniqueFd& pipe) {
  int bytes = 0;
  return ::ioctl(pipe.get(), FIONREAD, &bytes) == 0 ? bytes : -1;
}

bool is_stream(int fd, bool tcp) {
  const int domain = option(fd, SO_DOMAIN);
  const int flags = ::fcntl(fd, F_GETFL);
  // One that blocks would hold up its worker.
  return option(fd, SO_TYPE) == SOCK_STREAM && flags >= 0 && (flags & O_NONBLOCK) != 0 &&
         (tcp ? domain == AF_INET || domain == AF_INET6 : domain == AF_UNIX);
}

// `trouble`: why it could not be told.
bool is_same_file(const UniqueFd& one, const UniqueFd& other, SysError& trouble) {
  struct stat facts {};
  struct stat others {};
  if (::fstat(one.get(), &facts) != 0 || ::fstat(other.get(), &others) != 0) {
    trouble = SysError::last("fstat");
    return false;
  }
  return facts.st_dev == others.st_dev && facts.st_ino == others.st_ino;
}

bool is_pipe_pair(const UniqueFd& read_end, const UniqueFd& write_end, SysError& trouble) {
  const int reading = ::fcntl(read_end.get(), F_GETFL);
  const int writing = ::fcntl(write_end.get(), F_GETFL);
  return is_same_file(read_end, write_end, trouble) && ::fcntl(read_end.get(), F_GETPIPE_SZ) > 0 &&
         ::fcntl(write_end.get(), F_GETPIPE_SZ) > 0 && (reading & O_ACCMODE) == O_RDONLY &&
         (writing & O_ACCMODE) == O_WRONLY;
}

void shut(const UniqueFd& socket) {
  if (socket.valid()) ::shutdown(socket.get(), SHUT_RDWR);
}

}  // namespace

struct SessionStore::Found {
  struct FoundSession {
    ParkedMessage message;
    UniqueFd client;
    UniqueFd backend;
    std::array<Survivor::Way, 2> ways;
    bool damaged = false;
  };
  struct FoundPipe {
    std::unique_ptr<Pipe> pipe;
    KeptId id = 0;
  };

  // A pipe with bytes that is not in the ledger any more.
  struct DeadPipe {
    std::uint32_t slot = 0;
    KeptId id = 0;
  };

  // The session by that id, or null.
  FoundSession* session_of(std::uint64_t owner) {
    const auto found = by_id.find(owner >> 1);
    return found == by_id.end() ? nullptr : found->second;
  }

  std::unordered_map<std::uint32_t, FoundSession> sessions;  // by slot
  std::unordered_map<KeptId, FoundSession*> by_id;           // once all have been found
  std::unordered_map<std::uint32_t, FoundPipe> pipes;        // by slot
  std::vector<DeadPipe> dead_pipes;
  KeptId highest_id = 0;
  SysError trouble;  // something could not be looked at: all is to stay as it was
};

SysError SessionStore::open(StoredFds stored, std::vector<Survivor>& survivors,
                            RecoveryReport& report) {
  const std::int64_t begun = monotonic_ns();
  ledger_ = std::make_unique<Ledger>();
  if (stored.ledger.valid()) {
    report.problem = ledger_->attach(stored.ledger);
    if (passes(report.problem)) return report.problem;
  } else if (!stored.segments.empty()) {
    report.problem = {"ledger", ENOENT};
  }
  if (!stored.ledger.valid() && ledger_->fd() >= 0) {
    Found found;
    report.note = ledger_->read_note();
    if (!stored.segments.empty()) {
      if (ledger_->unfinished() >= kMostUnfinished) {
        give_up(stored, report);
        return {};
      }
      begin_trial();
    }
    if (SysError error = read_segments(stored, found, report)) {
      excuse_recovery();
      return error;
    }
    settle(found, report);
    hand_out_pipes(found, report);
    judge(found, survivors, report);
    ledger_->note_missing_bytes(false);
    report.took_ns = monotonic_ns() - begun;
    return {};
  }
  // Nothing, or nothing that could be trusted. The sockets in the segments end with them.
  for (const auto& [number, pair] : stored.segments) lot_.discard(number);
  return begin_anew();
}

SysError SessionStore::begin_anew() {
  store_->drop(StoredFds::kLedgerName);
  if (SysError error = ledger_->create()) return error;
  return store_->keep(StoredFds::kLedgerName, ledger_->fd());
}

SysError SessionStore::read_segments(StoredFds& stored, Found& found, RecoveryReport& report) {
  for (auto& [number, pair] : stored.segments) {
    const SysError error = lot_.adopt(number, std::move(pair.first), std::move(pair.second),
                                      [&](const ParkedMessage& message, ParkingTicket ticket,
                                          std::array<UniqueFd, kMaxParkedFds> fds) {
                                        if (message.id < Ledger::kMaxId)
                                          found.highest_id = std::max(found.highest_id, message.id);
                                        if (message.kind == ParkedKind::kSession)
                                          find_session(found, message, ticket, fds);
                                        if (message.kind == ParkedKind::kPipe)
                                          find_pipe(found, message, ticket, fds);
                                      });
    if (passes(error)) return error;
    if (passes(found.trouble)) return found.trouble;
    if (error && !report.problem) report.problem = error;
  }
  return {};
}

void SessionStore::find_session(Found& found, const ParkedMessage& message, ParkingTicket ticket,
                                std::array<UniqueFd, kMaxParkedFds>& fds) {
  if (message.slot >= ledger_->used_sessions() || message.id == 0 ||
      ledger_->session(message.slot).load() != message.id) {
    // It had ended. Its sockets may have been about to be shut down.
    shut(fds[0]);
    shut(fds[1]);
    return;
  }
  const auto [entry, is_new] = found.sessions.try_emplace(message.slot);
  Found::FoundSession& session = entry->second;
  // A session has one client for all its life.
  if (!is_new && !is_same_file(session.client, fds[0], found.trouble)) {
    if (found.trouble) return;
    session.damaged = true;
    shut(fds[0]);
    shut(fds[1]);
    return;
  }
  // Of two equal copies, one was being moved.
  if (!is_new && session.message.revision >= message.revision) return;
  session.message = message;
  session.client = std::move(fds[0]);
  session.backend = std::move(fds[1]);
  set_ticket(ParkedKind::kSession, message.slot, ticket);
}

void SessionStore::find_pipe(Found& found, const ParkedMessage& message, ParkingTicket ticket,
                             std::array<UniqueFd, kMaxParkedFds>& fds) {
  if (message.slot >= ledger_->used_pipes() || message.id == 0 ||
      ledger_->pipe(message.slot).id.load() != message.id) {
    if (bytes_in(fds[0]) > 0) found.dead_pipes.push_back({message.slot, message.id});
    return;
  }
  if (!is_pipe_pair(fds[0], fds[1], found.trouble) || found.pipes.contains(message.slot)) return;
  auto pipe = std::make_unique<Pipe>();
  pipe->read_end = std::move(fds[0]);
  pipe->write_end = std::move(fds[1]);
  pipe->measure();
  pipe->owner = &ledger_->pipe(message.slot).owner;
  pipe->kept_id = message.id;
  pipe->kept_slot = message.slot;
  found.pipes[message.slot] = {std::move(pipe), message.id};
  set_ticket(ParkedKind::kPipe, message.slot, ticket);
}

// What is in the ledger but was not found is struck; what was found but is not in the
// ledger leaves the parking lot.
void SessionStore::settle(Found& found, RecoveryReport& report) {
  ledger_->reserve_ids(found.highest_id);
  std::vector<bool> used(ledger_->used_sessions());
  for (std::uint32_t slot = 0; slot < used.size(); ++slot) {
    used[slot] = found.sessions.contains(slot);
    if (used[slot] || ledger_->session(slot).load() == 0) continue;
    ledger_->session(slot).store(0);
    ++report.missing;
  }
  session_slots_.adopt(used);
  used.assign(ledger_->used_pipes(), false);
  for (std::uint32_t slot = 0; slot < used.size(); ++slot) {
    used[slot] = found.pipes.contains(slot);
    const KeptId id = ledger_->pipe(slot).id.load();
    if (used[slot] || id == 0 || open_forgotten_pipe(id).has_value()) continue;
    ledger_->note_missing_bytes(true);
    ledger_->pipe(slot).id.store(0);
  }
  pipe_slots_.adopt(used);
  sessions_ = found.sessions.size();
  for (auto& [slot, session] : found.sessions) found.by_id[session.message.id] = &session;
  trace_dead_pipes(found);
  lot_.settle(*this);
  for (auto& [slot, entry] : found.pipes) entry.pipe->keeper = this;
}

// A pipe that dies with bytes in it was given up, with its session or one direction of it. Unless
// the ledger knows of that, it is damaged, and they are the bytes of a session that lives.
void SessionStore::trace_dead_pipes(const Found& found) {
  for (const Found::DeadPipe& pipe : found.dead_pipes) {
    if (found.pipes.contains(pipe.slot)) continue;  // it has a successor
    const std::optional<KeptId> last = pipe.slot < ledger_->used_pipes()
                                           ? open_forgotten_pipe(ledger_->pipe(pipe.slot).id.load())
                                           : std::nullopt;
    if (last < pipe.id) ledger_->note_missing_bytes(true);
  }
}

void SessionStore::hand_out_pipes(Found& found, RecoveryReport& report) {
  for (auto& [slot, entry] : found.pipes) {
    const int bytes = bytes_in(entry.pipe->read_end);
    if (bytes < 0) ledger_->note_missing_bytes(true);
    if (bytes <= 0) continue;
    const std::optional<std::uint64_t> owner =
        open_owner(entry.pipe->owner->load(), entry.pipe->kept_id);
    if (!owner.has_value()) ledger_->note_missing_bytes(true);
    Found::FoundSession* session = found.session_of(owner.value_or(0));
    if (session == nullptr) continue;  // it has ended
    Survivor::Way& way = session->ways[*owner & 1];
    if (way.pipe != nullptr) session->damaged = true;
    way.pipe = std::move(entry.pipe);
    way.residue = static_cast<std::uint32_t>(bytes);
    report.bytes_in_pipes += way.residue;
  }
  found.pipes.clear();
}

void SessionStore::judge(Found& found, std::vector<Survivor>& survivors, RecoveryReport& report) {
  const Ledger::Cut cut = ledger_->cut();
  for (auto& [slot, session] : found.sessions) {
    const ParkedMessage& message = session.message;
    Survivor survivor;
    survivor.kept = {message.id, message.opened_ns, message.slot, message.revision, message.epoch};
    survivor.client = std::move(session.client);
    survivor.backend = std::move(session.backend);
    survivor.tcp = message.tcp_client != 0;
    survivor.server = message.server;
    survivor.epoch = message.epoch;
    survivor.declined = message.declined;
    survivor.ways[0] = std::move(session.ways[0]);
    survivor.ways[1] = std::move(session.ways[1]);
    // Of an AF_UNIX client the kernel keeps no count.
    const bool provable = survivor.tcp || !ledger_->misses_bytes();
    const bool usable = !session.damaged && provable && survivor.server < kMaxServers &&
                        is_stream(survivor.client.get(), survivor.tcp) &&
                        (!survivor.backend.valid() || is_stream(survivor.backend.get(), true));
    // A server is connected to only after the control plane has left word of it.
    const bool known = !survivor.backend.valid() || report.note.has_value();
    if (usable && known && prove(survivor)) {
      apply_cut(cut, survivor);
      ++(survivor.cut.has_value() ? report.cut : report.recovered);
      survivors.push_back(std::move(survivor));
      continue;
    }
    strike(survivor.kept);
    shut(survivor.client);
    shut(survivor.backend);
    ++report.not_whole;
  }
}

namespace {

// Whether the server has yet to answer the client's startup message, or the client to send it: it
// may still be given another server (opening.h).
bool is_starting(Survivor& survivor, const TcpAccount& client, const TcpAccount& backend) {
  const std::optional<std::uint32_t> requests = requests_read(client);
  if (!survivor.tcp || !requests.has_value() || backend.fin_sent) return false;
  const std::uint64_t consumed = *requests * kStartupHeaderBytes;
  if (survivor.ways[0].pipe != nullptr || backend.written < consumed ||
      backend.written - consumed > kMaxStartupBytes) {
    return false;
  }
  // The answer to a request may be in the pipe, or still in the server's queue.
  const std::uint32_t in_pipe = survivor.ways[1].residue;
  const std::uint64_t told = client.written + in_pipe;
  const bool unread =
      told + 1 == *requests && in_pipe == 0 && declines_encryption(survivor.backend.get());
  if (told != *requests && !unread) return false;
  survivor.declines = in_pipe > 0 || unread;
  survivor.ahead = static_cast<std::uint32_t>(backend.written - consumed);
  if (survivor.ahead == 0) return true;
  return !survivor.declines && is_whole_message(survivor.client.get(), survivor.ahead);
}

// It has no server, or none that counts: not a byte may be under way.
bool prove_waiting(Survivor& survivor, bool connecting, bool client_is_whole) {
  survivor.stage = connecting ? Stage::kConnecting : Stage::kWaiting;
  if (!connecting) survivor.backend.reset();
  return survivor.ways[0].pipe == nullptr && survivor.ways[1].pipe == nullptr &&
         (!survivor.tcp || client_is_whole);
}

}  // namespace

bool prove(Survivor& survivor) {
  TcpAccount client =
      survivor.tcp ? tcp_account(survivor.client.get(), Opened::kByPeer) : TcpAccount{};
  if (survivor.tcp && !client.known) return false;
  TcpAccount backend;
  if (survivor.backend.valid()) {
    backend = tcp_account(survivor.backend.get(), Opened::kByUs);
    if (!backend.known) return false;
    // A connect to a port that nobody listens on may have found itself (finish_connect() knows).
    // If that cannot be told, its bytes might go to another server in the midst of the session.
    const std::optional<bool> itself = connected_to_itself(survivor.backend.get());
    if (!itself.has_value()) return false;
    backend.never_opened = backend.never_opened || *itself;
  }
  // What is left is between the client and this server.
  const std::uint64_t declined_bytes = std::uint64_t{survivor.declined} * kStartupHeaderBytes;
  if (survivor.declined > 0) {
    if (client.consumed < declined_bytes || client.written < survivor.declined) return false;
    client.consumed -= declined_bytes;
    client.written -= survivor.declined;
  }
  if (!survivor.backend.valid() || backend.connecting || backend.never_opened) {
    return prove_waiting(survivor, backend.connecting, nothing_said(client));
  }
  Survivor::Way& up = survivor.ways[static_cast<std::size_t>(Direction::kUp)];
  Survivor::Way& down = survivor.ways[static_cast<std::size_t>(Direction::kDown)];
  // That server did not serve it, or is not the primary: given up, and the client has lost nothing.
  const std::optional<std::uint32_t> requests = requests_read(client);
  if ((backend.fin_sent || backend.closed) && requests == client.written && up.pipe == nullptr &&
      down.pipe == nullptr) {
    survivor.declined += *requests;
    return prove_waiting(survivor, false, true);
  }
  const bool starting = is_starting(survivor, client, backend);
  survivor.stage = starting ? Stage::kStarting : Stage::kRelaying;
  if (starting) {
    survivor.declined += *requests;
    client.consumed += survivor.ahead;
  } else {
    // A part of the message: the relay has the patience for the rest.
    if (survivor.ahead > 0 && discard_bytes(survivor.client.get(), survivor.ahead)) {
      client.consumed += survivor.ahead;
    }
    up.ended = end_passed_on(client, backend);
    down.ended = end_passed_on(backend, client);
  }
  return direction_is_whole(client, backend, up.residue) &&
         direction_is_whole(backend, client, down.residue);
}

}  // namespace pg_gateway
