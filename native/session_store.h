// SPDX-License-Identifier: MIT
// Keeps sessions beyond the life of this process: copies of their sockets and of the
// pipes in the parking lot, who is alive in the ledger. What it kept for an earlier
// process it gives back (recovery.cc).
//
// Owns: ledger and parking lot. Any thread: one lock, taken when a session or a pipe
// begins or ends, never for a byte.
// Invariants:
//  - a session is parked before anything is said to its server, and struck from the
//    ledger before its sockets are shut down;
//  - what is in the ledger without a parked copy, or parked without being in the ledger,
//    is dead;
//  - while this process is on trial, whether it can live with what it takes up, the ledger has
//    counted that it cannot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client_address.h"
#include "fd.h"
#include "fd_store.h"
#include "ledger.h"
#include "parking_lot.h"
#include "pipe_pool.h"

namespace pg_gateway {

// A session's place in the store. Part of the session; id 0: it ends with this process.
struct Kept {
  KeptId id = 0;
  std::int64_t opened_ns = 0;
  std::uint32_t slot = 0;
  std::uint32_t revision = 0;
  std::uint32_t epoch = 0;  // of the connection to the backend that is parked; 0: none is
};

// Which connection to a backend a session has.
struct BackendFacts {
  int fd = -1;  // -1: none yet
  std::uint32_t epoch = 0;
  std::uint16_t server = 0;
  // Requests of the client for encryption that earlier servers have declined: this one has
  // neither got them nor given those answers.
  std::uint32_t declined = 0;
};

// Descriptors that the service manager gave back.
struct StoredFds {
  static constexpr const char* kLedgerName = "ledger";

  // False: not a name that this program gives. Takes the descriptor only if it is.
  bool take(const std::string& name, UniqueFd& fd);
  bool empty() const { return !ledger.valid() && segments.empty(); }

  UniqueFd ledger;
  std::map<std::uint32_t, std::pair<UniqueFd, UniqueFd>> segments;  // in, out
};

enum class Stage : std::uint8_t { kWaiting, kConnecting, kStarting, kRelaying };

// A session of an earlier process that may go on.
struct Survivor {
  Kept kept;
  UniqueFd client;
  ClientAddress address;
  UniqueFd backend;  // invalid in kWaiting
  Stage stage = Stage::kWaiting;
  bool tcp = true;
  std::uint16_t server = 0;
  std::uint32_t epoch = 0;
  std::uint32_t declined = 0;  // of BackendFacts; once it has been judged, by this server too
  // In kStarting: the server has so many bytes at the head of the client's queue as a copy.
  std::uint32_t ahead = 0;
  // In kStarting: it has declined encryption, and the client has not been told yet.
  bool declines = false;
  // An earlier process was to end it, and has not come to it.
  std::optional<CutReason> cut;
  // In kWaiting: likewise to take its server away, from which it had got nothing yet.
  bool lost_server = false;
  // By Direction.
  struct Way {
    std::unique_ptr<Pipe> pipe;  // null: nothing was under way
    std::uint32_t residue = 0;
    bool ended = false;  // the end of the stream has been passed on
  };
  std::array<Way, 2> ways;
};

// Decides the stage of a survivor, and whether the kernel's counts prove it whole.
bool prove(Survivor& survivor);
// Of one that is proven: what the cut would have done to it in the process before
// (Worker::apply()).
void apply_cut(const Ledger::Cut& cut, Survivor& survivor);

// After so many processes in a row that have begun to take up what is kept, and died before they
// could say that they live with it, it is given up. Chances such
// as memory that is short for a moment, or somebody who kills what is not up yet, seldom come so
// often in a row; systemd/after-exit goes by the same number.
inline constexpr std::uint32_t kMostUnfinished = 10;

struct RecoveryReport {
  std::uint32_t recovered = 0;
  std::uint32_t not_whole = 0;  // ended because the kernel's counts did not add up
  std::uint32_t missing = 0;    // in the ledger, but what was parked is not there or not usable
  std::uint32_t cut = 0;        // whole, and to be ended: see Survivor
  std::uint64_t bytes_in_pipes = 0;
  std::int64_t took_ns = 0;
  // Why nothing could be taken over, or why nothing is kept; none if it could, and is.
  SysError problem;
  std::optional<std::string> note;

  struct GivenUp {
    std::uint32_t sessions = 0;    // that the ledger knew of
    std::uint32_t unfinished = 0;  // processes before this one
  };
  // All was ended unseen (kMostUnfinished), and this process has begun with none.
  std::optional<GivenUp> given_up;
};

class SessionStore final : public PipeKeeper, private ParkingLot::Residents {
 public:
  explicit SessionStore(std::unique_ptr<FdStore> store);
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  // Once, before anything else: takes up what an earlier process left, or begins anew.
  // What cannot go on is shut down. An error: nothing can be kept. One that passes(): what an
  // earlier process left is as it was, and another process may take it up.
  SysError open(StoredFds stored, std::vector<Survivor>& survivors, RecoveryReport& report);

  // It has gone well: the next one that does not is the first. Any thread.
  void recovery_came_through();
  // Unless that is known, nothing is: this process ends, and not of what it took up. Waits for
  // nobody, as note_cut().
  void excuse_recovery();

  // A new session. On failure kept.id is 0.
  void admit(Kept& kept, int client, bool tcp, const BackendFacts& backend);
  // Its connection to a backend is another one now. On failure it is kept no longer.
  void update(Kept& kept, int client, bool tcp, const BackendFacts& backend);
  // It is dead: before its sockets are shut down.
  void end(const Kept& kept);
  // It is dead, and its place free; what was parked is dropped.
  void discharge(Kept& kept);

  void keep_pipe(Pipe& pipe) override;
  void forget_pipe(const Pipe& pipe) override;

  // From now on nothing that ends in this process ends in the store.
  void freeze();
  // Frozen, it lets go of what it was opened with and what has come to it since, for another one.
  StoredFds release();

  // How this process works, and how the one before it did.
  void note_set_up(const Ledger::SetUp& set_up);
  Ledger::SetUp set_up();

  // Ledger::note_cut(). The owner's thread, which does not wait for the lock here: a worker that
  // stands still may have it.
  void note_cut(const Ledger::Cut& cut, std::uint32_t routed = UINT32_MAX);
  // What the next process is told in RecoveryReport::note. False: too long.
  bool write_note(std::string_view note);

  struct Usage {
    std::size_t sessions = 0;
    std::size_t segments = 0;
    std::size_t messages = 0;
    std::uint64_t failures = 0;  // sessions that could not be kept
  };
  Usage usage();

 private:
  bool lives(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket) const override;
  void moved(ParkedKind kind, std::uint32_t slot, ParkingTicket to) override;
  std::vector<ParkingTicket>& tickets(ParkedKind kind) {
    return kind == ParkedKind::kPipe ? pipe_tickets_ : session_tickets_;
  }
  void set_ticket(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket);
  bool park_session(const Kept& kept, int client, bool tcp, const BackendFacts& backend);
  bool park_pipe(Pipe& pipe);
  void strike(Kept& kept);

  // recovery_trial.cc
  void begin_trial();
  void give_up(const StoredFds& stored, RecoveryReport& report);
  // recovery.cc
  struct Found;
  SysError begin_anew();
  SysError read_segments(StoredFds& stored, Found& found, RecoveryReport& report);
  void find_session(Found& found, const ParkedMessage& message, ParkingTicket ticket,
                    std::array<UniqueFd, kMaxParkedFds>& fds);
  void find_pipe(Found& found, const ParkedMessage& message, ParkingTicket ticket,
                 std::array<UniqueFd, kMaxParkedFds>& fds);
  void settle(Found& found, RecoveryReport& report);
  void trace_dead_pipes(const Found& found);
  void hand_out_pipes(Found& found, RecoveryReport& report);
  void judge(Found& found, std::vector<Survivor>& survivors, RecoveryReport& report);

  std::unique_ptr<FdStore> store_;
  std::uint32_t unfinished_before_ = 0;  // this process, while it is on trial
  std::atomic<bool> on_trial_{false};
  std::mutex mutex_;  // guards all below
  std::unique_ptr<Ledger> ledger_;
  ParkingLot lot_;
  SlotAllocator session_slots_{Ledger::kSessions};
  SlotAllocator pipe_slots_{Ledger::kPipes};
  std::vector<ParkingTicket> session_tickets_;  // by slot; 0: free
  std::vector<ParkingTicket> pipe_tickets_;
  std::size_t sessions_ = 0;
  std::size_t unkept_pipes_ = 0;
  std::uint64_t failures_ = 0;
  bool frozen_ = false;
};

}  // namespace pg_gateway
