// SPDX-License-Identifier: MIT
// One direction of a session: source socket -> pipe -> sink socket, by splice(2).
// No byte enters user space, so a session's whole state is in kernel objects.
//
// Owns: the pipe, while bytes are stuck in it. Thread: its worker's.
// Invariants:
//  - pump() reads from the source only with an empty pipe, so EAGAIN from that
//    splice means "nothing to read" and nothing else.
//  - between turns residue_ > 0 exactly while pipe_ is held; then the sink has said
//    EAGAIN and an EPOLLOUT edge is owed to us (the kernel set SOCK_NOSPACE).
//  - readable_ is false only if the source was proven empty since its last edge.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "pipe_pool.h"

namespace pg_gateway {

enum class PumpResult : std::uint8_t {
  kWaiting,       // source empty or sink full: an edge will come
  kMore,          // the turn's budget is spent, there may be more
  kEnd,           // the source's end of stream has been passed on
  kSourceFailed,  // errno of the source's socket is in last_errno()
  kSinkFailed,    // errno of the sink's socket is in last_errno()
  kNoPipe,        // no pipe to be had now (EMFILE ...): try later, nothing is lost
};

class Relay {
 public:
  // At most this many bytes a turn, so that one bulk transfer does not starve the
  // small queries of the same worker.
  static constexpr std::size_t kTurnBudget = 512 * 1024;
  // What has moved this much, in turns of at least kLargeTurn each, is a bulk transfer.
  static constexpr std::uint32_t kBulkBytes = 1 << 20;
  static constexpr std::uint32_t kLargeTurn = 4096;
  // At most this many bytes in one splice: bounds what a stalled sink keeps.
  static constexpr std::size_t kMaxTake = 256 * 1024;

  // `stream_source`: a short splice from this source proves it empty. True for TCP
  // (epoll(7), question 9); false for AF_UNIX, which also stops at a message with
  // control data.
  // `owner`: what a kept pipe is marked with while it may hold bytes of this direction.
  explicit Relay(bool stream_source = true, std::uint64_t owner = 0)
      : owner_(owner), stream_source_(stream_source) {}

  // An edge: the source has bytes, an end of stream (`hangup`) or an error (`hangup`).
  void source_ready(bool hangup) {
    readable_ = true;
    hangup_ = hangup_ || hangup;
  }
  // An edge: the sink takes bytes again (or would fail at once).
  void sink_ready() { blocked_ = false; }
  // True if a pump() could do something: there are bytes to read or to push on.
  bool runnable() const { return !ended_ && !blocked_ && (readable_ || residue_ > 0); }
  // True once nothing more will come out of this direction.
  bool ended() const { return ended_; }
  // Gives the direction up; what is in its pipe is thrown away with the pipe.
  void abandon();

  // Goes on from where an earlier process was: with the bytes that are stuck in a pipe, or
  // after the end of the stream was passed on.
  void resume(std::unique_ptr<Pipe> pipe, std::uint32_t residue) {
    pipe_ = std::move(pipe);
    residue_ = residue;
  }
  void resume_ended() { ended_ = true; }

  // A bulk transfer from a stream runs through.
  bool in_bulk() const { return bulk_bytes_ >= kBulkBytes; }
  // An edge of the source may be missing. While the sink is full nothing can be read: that
  // ends a bulk transfer, until as much has come again.
  void look_again() {
    readable_ = true;
    if (blocked_) bulk_bytes_ = 0;
  }

  // Whether pump() had something to do since this was last asked.
  bool take_pumped() { return std::exchange(pumped_, false); }

  // Moves bytes until something blocks. `source` and `sink` are borrowed.
  [[nodiscard]] PumpResult pump(int source, int sink, PipePool& pool);

  // Bytes the sink's socket has taken, since the session began.
  std::uint64_t delivered() const { return delivered_; }
  // The sink has so many bytes of the source that came another way.
  void count_passed_on(std::uint32_t bytes) { delivered_ += bytes; }
  std::uint32_t residue() const { return residue_; }
  int last_errno() const { return last_errno_; }

 private:
  enum class Drain : std::uint8_t { kEmpty, kBlocked, kFailed };
  Drain drain(Pipe& pipe, int sink);
  PumpResult move(int source, int sink, PipePool& pool);

  std::unique_ptr<Pipe> pipe_;
  std::uint64_t delivered_ = 0;
  std::uint64_t owner_;
  std::uint32_t residue_ = 0;
  std::uint32_t bulk_bytes_ = 0;  // moved in large turns since the last small one
  int last_errno_ = 0;
  bool stream_source_;
  bool readable_ = false;
  bool blocked_ = false;  // the sink said EAGAIN and no edge has come since
  bool hangup_ = false;
  bool ended_ = false;
  bool pumped_ = false;
};

}  // namespace pg_gateway
